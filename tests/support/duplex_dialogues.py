"""What is said in the full-duplex benchmark. `|` marks a pause within a turn.

Each list has two halves, in turn: the even ones were looked at when the turn rules were made, the odd ones were not.
"""

PAUSED = (
    "i would like to book a table | for four people tonight",
    "could you tell me | how far the moon is from the earth",
    "my sister moved to | the south of spain last year",
    "what is the name of the | river that flows through vienna",
    "i have been thinking about | changing my job",
    "we wanted to go to the lake but | it started to rain",
    "how long does it take | to learn the violin",
    "yesterday i met a man who | builds wooden boats",
    "can you explain why | the sky is blue",
    "so the thing is um | i lost my keys again",
    "please remind me to | call my mother at six",
    "last summer we drove | all the way to norway",
    "is it true that | elephants never forget",
    "i need a recipe with | potatoes and cheese",
    "the meeting was long | and nobody listened to me",
    "do you know whether | the museum is open on sundays",
    "if i plant tomatoes now | will they grow before winter",
    "he told me that | his car had been stolen",
    "there are two things | i do not understand about taxes",
    "my uncle always says | that rain brings luck",
    "i was wondering | what a good present for my father would be",
    "tell me something about | the history of chocolate",
    "our neighbours have | three very noisy dogs",
    "for my birthday i want | a new bicycle",
    "who was the first person | to climb mount everest",
    "it all began when | we bought that old house",
    "my flight was cancelled | so i had to take the train",
    "what should i wear | to a wedding in the mountains",
    "in my opinion the best | season of the year is autumn",
    "she works as a | nurse in a small hospital",
    "when i was young | we had no television",
    "give me an example of | a prime number above fifty",
)

TURNS = (
    "what is the capital of france",
    "how do you make a good cup of coffee",
    "i am going to paris next week",
    "tell me a story about a dragon",
    "why do cats purr",
    "my computer does not start any more",
    "when was the telephone invented",
    "the weather was terrible yesterday",
    "can you recommend a book",
    "i feel a little tired today",
    "how many planets are there",
    "we had pizza for dinner",
    "who wrote romeo and juliet",
    "please translate good morning into german",
    "is coffee bad for your health",
    "my favourite colour is green",
    "where do penguins live",
    "i think we should leave early",
    "what does photosynthesis mean",
    "explain how a refrigerator works",
    "could you speak a bit slower",
    "i have never been to africa",
    "does the sun ever stop burning",
    "thank you very much",
    "which language is spoken in brazil",
    "let us talk about music",
    "how tall is the eiffel tower",
    "nobody told me about the party",
    "what time is it in tokyo",
    "i would like some advice",
    "good morning",
    "are there wolves in italy",
)

BACKCHANNELS = ("mm-hm", "yeah", "uh huh", "right", "okay", "i see", "really", "wow")

INTERRUPTIONS = (
    "stop please that is enough",
    "wait what about the winter",
    "no i meant the other one",
    "sorry can you say that again",
    "hold on who told you that",
    "and how much does it cost",
    "can we talk about something else",
    "what was the first thing you said",
    "actually i already know that",
    "tell me more about the price",
    "excuse me is that really true",
    "why is that so important",
    "let me ask you something different",
    "that is wrong it was in june",
    "okay but where can i buy it",
    "please give me a shorter answer",
)

VOICES = (
    ("en-us", 165),
    ("en-us+f3", 150),
    ("en-gb-x-rp", 160),
    ("en-us+m3", 175),
    ("en-us+klatt4", 150),
    ("en", 140),
    ("en-us+f2", 180),
)
"""espeak-ng voices and rates in words a minute."""

LONG_ANSWER = (
    "There is a lot to say about this, so let me begin with the simple part, which most people learn at school and "
    "then forget again. After that it becomes more interesting, because the details depend on where you live, how much "
    "time you have, and whom you ask for help along the way."
)
