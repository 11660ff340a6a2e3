"""What a half-heard turn seems to be: enough to say something fitting at once. English."""

import re
from enum import StrEnum

from kame_core.phrasing import words_of


class Kind(StrEnum):
    """A rough sort of a user's turn."""

    NOTHING = "nothing"
    """No word was understood."""
    GREETING = "greeting"
    HOW_ARE_YOU = "how_are_you"
    THANKS = "thanks"
    GOODBYE = "goodbye"
    WHO_ARE_YOU = "who_are_you"
    CAN_YOU_HEAR = "can_you_hear"
    CALCULATION = "calculation"
    QUESTION = "question"
    REQUEST = "request"
    AGREEMENT = "agreement"
    REFUSAL = "refusal"
    APOLOGY = "apology"
    STATEMENT = "statement"


_NUMBER = (
    r"(?:\d[\d.,]*|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:[ -]\w+)?|hundred|thousand|million)"
)
_OPERATION = r"(?:plus|minus|times|divided by|multiplied by|over|squared|cubed|percent of|[-+×*/÷])"

_RULES: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (Kind.CALCULATION, rf"\b{_NUMBER} ?{_OPERATION}|\b(?:square|cube) root\b|\bpercent of\b"),
        (Kind.CALCULATION, r"\b(?:add|subtract|multiply|divide|calculate|convert|sum of)\b"),
        (Kind.CALCULATION, rf"\bhow (?:many|much) \w+ (?:are|is|in)\b.*\b{_NUMBER}\b"),
        (Kind.CAN_YOU_HEAR, r"\b(?:can|do) you hear me\b|\b(?:are|is) (?:you|anybody|anyone) there\b|^testing\b"),
        (Kind.HOW_ARE_YOU, r"\bhow(?: are|'re) you(?: doing)?(?: today)?$|\bhow(?:'s| is) it going$|\bhow do you do$"),
        (Kind.WHO_ARE_YOU, r"\b(?:who|what) are you\b|\bwhat(?:'s| is) your name\b|\bwhat can you do\b"),
        (Kind.THANKS, r"^(?:many |ok(?:ay)? |great |well |alright )*(?:thanks|thank you|cheers|much appreciated)\b"),
        (Kind.GOODBYE, r"\b(?:good ?bye|bye(?:[ -]bye)?|see you(?: later)?|good night|talk to you later)$"),
        (Kind.APOLOGY, r"^(?:oh )?(?:i'm |i am )?(?:so |very )?sorry$"),
        (
            Kind.REQUEST,
            r"^(?:please |ok(?:ay)? |hey |now |and )*(?:(?:can|could|would|will) you\b|i(?:'d| would) like you to\b|"
            r"i (?:want|need) you to\b|(?:tell|give|show|find|play|set|make|write|read|sing|translate|explain|"
            r"describe|remind|turn|open|start|stop|help|say|repeat|name|list|spell|describe|call|send|book|let's)\b)",
        ),
        (
            Kind.QUESTION,
            r"^(?:so |and |but |well |ok(?:ay)? |hey |um |uh |please )*(?:what|who|whom|whose|when|where|why|how|which|"
            r"is|are|was|were|do|does|did|can|could|will|would|should|has|have|may|what's|who's|where's|when's|"
            r"how's|isn't|aren't|don't|doesn't|didn't|can't)\b",
        ),
        (Kind.QUESTION, r"\b(?:do you know|i wonder|i was wondering|tell me (?:what|who|when|where|why|how))\b"),
        (
            Kind.GREETING,
            r"^(?:oh |well )?(?:hello|hi|hey|hiya|howdy|greetings|good (?:morning|afternoon|evening|day))\b"
            r"(?: (?:there|again|everybody|everyone|kame|you))*$",
        ),
        (Kind.AGREEMENT, r"^(?:yes|yeah|yep|yup|sure|ok(?:ay)?|right|exactly|of course|all ?right|correct|true)\b"),
        (Kind.REFUSAL, r"^(?:no|nope|nah|never mind|not really|not at all)\b"),
    )
)


def kind_of(heard: str) -> Kind:
    """Sort a transcript, complete or not."""
    words = words_of(heard)
    if not words:
        return Kind.NOTHING
    plain = " ".join(words).replace("’", "'")
    signs = re.sub(r"\s+", " ", heard.lower().replace("’", "'"))
    without_greeting = re.sub(r"^(?:hello|hi|hey)(?: there)? (?=\w+ \w+)", "", plain)
    for kind, pattern in _RULES:
        text = signs if kind is Kind.CALCULATION else without_greeting
        if pattern.search(text) or (kind is Kind.CALCULATION and pattern.search(plain)):
            return kind
    return Kind.QUESTION if heard.rstrip().endswith("?") else Kind.STATEMENT
