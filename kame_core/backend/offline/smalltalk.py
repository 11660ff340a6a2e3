"""Greetings, thanks, questions about the responder itself, and a few jokes of our own."""

import re
from dataclasses import dataclass
from typing import Final

from kame_core.backend.offline.reply import Reply

JOKES: Final = (
    "Why did the clock leave the meeting. It had run out of time.",
    "I asked the calendar for a date. It said its days were numbered.",
    "What did the ruler say to the pencil. Draw me a line, and I will measure up.",
    "I tried to count to infinity once. I am still on hold.",
    "Why was the thermometer so popular. It always rose to the occasion.",
    "My favourite capital is the letter K. It is only ever found in the king.",
)
FALLBACKS: Final = (
    "I run here without a language model, so I cannot answer that. I can do sums, dates, units and countries. The page "
    "shows how to connect one.",
    "That is beyond me without a language model. Ask me for a sum, a date, a conversion or a capital city.",
    "Sorry, I only know sums, dates, units and countries. With a language model connected I could say more, the page "
    "shows how.",
    "I do not know that one. Try me with something like, what is twelve times seven, or, what time is it in Tokyo.",
)
NOT_HEARD: Final = "Sorry, I did not catch that. Please say it again."
BAD_SUM: Final = "I am not sure I heard that sum right. Please say it again, for example, what is twelve times seven."
NOTHING_SAID: Final = "I have not said anything yet. Ask me something."
CAN_DO: Final = (
    "I can work out sums, convert units, tell you times and dates anywhere, and answer questions about countries and "
    "cities."
)
WHO: Final = (
    "I am KAME, a voice that answers at once. Right now I run without a language model, so I know sums, dates, units "
    "and places."
)
HOW: Final = (
    "Two halves of me work side by side. One speaks as soon as you pause, the other finds the answer and hands it over."
)

_YOU = r"(?: today| doing| doing today| feeling| going| now| there| too)*"


@dataclass(frozen=True, slots=True)
class _Talk:
    pattern: re.Pattern[str]
    answers: tuple[str, ...]


def _talk(pattern: str, *answers: str) -> _Talk:
    return _Talk(re.compile(pattern), answers)


_TALKS: Final = (
    _talk(
        r"(?:hello|hi|hey|howdy|greetings)(?: there| again| everyone| hello| hi| you)*",
        "Hello. What would you like to know.",
        "Hello again. What can I do for you.",
    ),
    _talk(r"good morning(?: to you| there)?", "Good morning. What can I do for you."),
    _talk(r"good (?:afternoon|day)(?: to you| there)?", "Good afternoon. What can I do for you."),
    _talk(r"good evening(?: to you| there)?", "Good evening. What can I do for you."),
    _talk(r"good night|sleep well", "Good night. Sleep well."),
    _talk(
        rf"(?:hello |hi |hey )?(?:how are (?:you|things|you all)|how is it going|how do you do|how do you feel|"
        rf"what is up){_YOU}",
        "I am fine, thank you. What can I do for you.",
        "Still fine, thank you. Ask me something.",
    ),
    _talk(
        r"(?:i am |i feel )?(?:fine|good|very well|great|i am okay)(?: thanks| thank you)?(?: and you)?",
        "Good to hear.",
    ),
    _talk(
        r"(?:and )?(?:who|what) are you|who (?:is this|am i (?:talking|speaking) (?:to|with))|introduce yourself",
        WHO,
    ),
    _talk(r"tell me about yourself|about yourself|yourself", WHO),
    _talk(
        r"(?:what is|do you have a|tell me|say)(?: your)? name|what are you called|what should i call you|your name",
        "My name is KAME.",
    ),
    _talk(
        r"what does your name mean|why are you called that",
        "Kame is Japanese for turtle. I am a rather quick one.",
    ),
    _talk(
        r"what is (?:this|this page|this thing|an oracle|the oracle)|"
        r"how (?:does|do) (?:this|it|that|you) work|what is going on(?: here)?",
        HOW,
    ),
    _talk(
        r"what (?:else )?can you do(?: for me)?|what you can do|what do you (?:know|do)|help(?: me)?|"
        r"what can i (?:ask|say)(?: you)?|"
        r"how can you help(?: me)?|what are you able to do|what should i ask(?: you)?|can you help me|i need help|"
        r"what are your (?:skills|abilities)",
        CAN_DO,
        "Ask me, for example, what is fifteen percent of eighty, how many feet are in a mile, or, what is the "
        "capital of Peru.",
    ),
    _talk(
        r"are you (?:a )?(?:human|real|real person|person|man|woman|robot|machine|computer|bot|alive|an ai|ai|"
        r"artificial intelligence|a human being|program)(?: or (?:a )?(?:human|robot|machine|computer|person|not))?|"
        r"am i (?:talking|speaking) (?:to|with) a (?:human|robot|machine|real person|person|computer)",
        "I am a computer program, not a person.",
    ),
    _talk(r"who (?:made|built|created|wrote|invented|programmed) you|where (?:are|do) you (?:come )?from",
          "I am part of KAME voice, an open source project."),
    _talk(r"how old are you|when were you born|when is your birthday", "I am a program, so I do not count birthdays."),
    _talk(r"where (?:are you|do you live)(?: now)?", "I live in the computer that serves this page."),
    _talk(
        r"(?:can you hear me|do you hear me|are you (?:there|listening|still there|awake)|testing|test|mic test|"
        r"one two three testing|hello can you hear me)(?: now)?",
        "Yes, I can hear you.",
    ),
    _talk(
        r"(?:what|which|how many) languages? (?:do|can) you (?:speak|understand)|"
        r"(?:can|do) you (?:speak|understand) \w+",
        "I speak English.",
    ),
    _talk(
        r"(?:thank you|thanks|thank you so much|many thanks|cheers|thanks a lot|thank you very much|thanks very much|"
        r"great thanks|great thank you|perfect thank you|that is (?:great|perfect|very kind)(?: thank you| thanks)?)"
        r"(?: for (?:your help|that|everything))?",
        "You are welcome.",
        "My pleasure.",
    ),
    _talk(
        r"(?:(?:thank you|thanks|thanks a lot|thank you very much|okay)(?: and)? )?"
        r"(?:good ?bye|bye|bye bye|see you|see you (?:later|soon|tomorrow)|farewell|so long|talk to you later|"
        r"have a (?:nice|good) day|that is all|i am done|i have to go)(?: (?:bye|now|then|thank you|thanks|goodbye))*",
        "Goodbye.",
        "Goodbye, until next time.",
    ),
    _talk(
        r"(?:stop|be quiet|quiet|shut up|stop talking|stop it|enough|silence|wait|hold on|hang on|one moment)(?: it|"
        r" now)?",
        "Okay.",
    ),
    _talk(
        r"(?:never ?mind|forget it|forget (?:about )?that|cancel|cancel that|no thanks?|no thank you|nothing|"
        r"it is okay)",
        "All right.",
    ),
    _talk(
        r"(?:yes|yeah|yep|yup|sure|okay|ok|all right|alright|fine|right|of course)",
        "Good. What would you like to know.",
    ),
    _talk(r"(?:no|nope|nah|not really)", "All right."),
    _talk(r"(?:i am )?(?:so )?sorry|my apologies|excuse me|pardon me", "No problem."),
    _talk(r"(?:nice|good|pleased|great) to meet you(?: too)?|my name is \w+(?: \w+)?", "Nice to meet you."),
    _talk(
        r"i (?:love|like) you|you are (?:great|nice|cool|smart|clever|awesome|amazing|funny|good|the best)",
        "Thank you, that is kind.",
    ),
    _talk(r"you are (?:stupid|dumb|useless|bad|wrong|slow)|that is wrong|that is not right|wrong",
          "Sorry about that. Please ask me again in other words."),
    _talk(r"(?:that is |that was |very )?(?:funny|interesting|nice|cool|great|awesome|amazing|good one|wow|good|"
    r"perfect)",
          "I am glad you like it."),
    _talk(r"i am (?:bored|sad|tired|lonely)", "I am sorry to hear that. Shall I tell you a joke."),
    _talk(r"sing (?:me )?a song|can you sing|sing something", "I cannot sing. I could tell you a joke instead."),
    _talk(
        r"what is the meaning of life",
        "Forty two, according to a famous book. I can only vouch for six times seven.",
    ),
)  # fmt: skip
_JOKE: Final = re.compile(
    r"(?:please )?(?:tell|say|give|do you know|know|got|make|have you got|can you tell|i want|let me hear|"
    r"do you have)?(?: me| us)?"
    r"\s*(?:a|another|one more|any|some|an other|more)?(?: good| funny| new)?(?: more)? ?jokes?(?: for me)?|"
    r"make me laugh|(?:tell me )?something funny|say something funny"
)
_ANOTHER: Final = re.compile(r"(?:tell me )?(?:another|another one|one more|one more please|again|more|next)")
REPEAT: Final = re.compile(
    r"(?:(?:can|could|would) you )?(?:please )?(?:say|repeat|tell me)(?: (?:that|it|this|the last one|what you said))?"
    r"(?: once more| one more time| again)?|"
    r"(?:say|tell me)(?: that| it)? (?:once more|one more time)|what did you (?:just )?say|"
    r"(?:come again|once more|one more time|again|pardon|what|what was that|i did not (?:hear|get|catch|understand) "
    r"(?:that|you|it)|excuse me what|sorry what)"
)


def answer_smalltalk(plain: str, turns_before: int = 0, jokes_before: int = 0) -> Reply | None:
    """The answer to small talk, else None.

    Args:
        plain: a normalised text.
        turns_before: how often the user spoke before; varies the answers.
        jokes_before: how many jokes were told, so that the next is another one.
    """
    if _JOKE.fullmatch(plain) or (jokes_before and _ANOTHER.fullmatch(plain)):
        return Reply(JOKES[jokes_before % len(JOKES)])
    for talk in _TALKS:
        if talk.pattern.fullmatch(plain):
            return Reply(talk.answers[turns_before % len(talk.answers)])
    return None


def all_answers() -> list[str]:
    """Every fixed answer to small talk, for a check that all can be spoken."""
    return [answer for talk in _TALKS for answer in talk.answers]
