"""What is said to the recognisers in tests. Numbers are words, everything is lower case."""

FORESEEN = (
    "what is two plus three",
    "how much is seven times eight",
    "what is twenty percent of eighty",
    "what is the square root of eighty one",
    "twelve divided by four",
    "what time is it",
    "what day is it today",
    "how many days until christmas",
    "what time is it in tokyo",
    "how many feet are in a mile",
    "convert ten miles to kilometers",
    "what is twenty degrees celsius in fahrenheit",
    "what is the capital of france",
    "what is the population of japan",
    "what currency is used in mexico",
    "on which continent is egypt",
    "how big is brazil",
    "good morning",
    "how are you",
    "what can you do",
    "tell me a joke",
    "thank you goodbye",
    "never mind",
    "please repeat that",
)
"""Questions the language model's templates can make."""

HELD_OUT = (
    "how many days are left until the new year",
    "hello there can you hear me",
    "good morning who are you",
    "sorry could you say that one more time",
    "thanks a lot and goodbye",
    "please stop talking now",
    "do you know what you can do",
    "which city is poland's capital",
    "how much do you get for nine times nine",
    "how cold is ten degrees fahrenheit in celsius",
    "how many weeks does a year have in total",
    "what is the currency they use in sweden",
    "what is one hundred less thirty",
    "on what day does christmas fall",
    "could you say what time it is",
    "so how big is australia really",
    "what language would i hear in brazil",
    "how many meters make up a kilometer",
    "what is the largest country on earth",
    "can you count the days until christmas",
    "what is twelve and eighteen added up",
    "which day of the week will it be tomorrow",
    "is france larger or smaller than spain",
    "how do you say your name",
    "thank you that was good",
)
"""Questions of the same subjects that no template makes; tests assert so."""

OPEN_SPEECH = (
    "the weather was terrible so we stayed at home and watched an old movie",
    "my brother bought a new car last week and he already regrets it",
    "could you recommend a good book about the history of rome",
    "i think the government should spend more on public transport",
    "write me a poem about the autumn leaves",
    "how do i bake a chocolate cake",
    "who won the football match last night",
    "explain how a steam engine works",
    "where did you buy that jacket",
    "my cat is sleeping",
)
"""What the question model knows nothing of."""

VOICES = (
    ("en-us", 150),
    ("en-us", 180),
    ("en-us+klatt4", 150),
    ("en-us+m3", 165),
    ("en-us+f3", 150),
    ("en-gb-x-rp", 160),
    ("en", 150),
)
"""espeak-ng voices and rates in words a minute."""
