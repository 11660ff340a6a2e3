"""What the wording of a partial transcript says about the turn: finished, going on, or only a backchannel.

English word lists; in other languages the length of the pause decides alone.
"""

import re
import unicodedata
from enum import StrEnum


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_BACKCHANNELS = _set(
    "mm hm mhm mm-hm mmhm mm-hmm hmm uh huh uh-huh um ah oh yeah yep yup yes ok okay right sure wow cool nice great "
    "good really exactly indeed aha i see got it all-right alright true"
)
_STOPPERS = _set("stop wait no hold quiet enough pause cancel sorry but what why")
_OPEN_ENDINGS = _set(
    "and or but so because if when while that which who whose the a an of in on at to from for with by about into "
    "than as is are was were be do does did can could will would should my your his her our their this these those "
    "plus minus times divided multiplied over between per um uh er like well how what where many much you we they he "
    "she it's there's very just maybe even"
)
_QUESTION_STARTS = _set(
    "what what's who who's when when's where where's why how how's which whose is are was were do does did can could "
    "will would should has have may convert tell give say please name calculate"
)
_SHORT_TURNS = re.compile(
    r"(?:hello|hi|hey|good (?:morning|evening|afternoon|day|night)|thanks|thank you(?: very much)?|bye|goodbye|"
    r"good bye|yes|no|stop|never mind|(?:please )?repeat(?: that)?(?: please)?|say that again(?: please)?|"
    r"how are you|who are you|what can you do)"
)
_EDGE_MARKS = ".,!?;:…\"'()[]«»“”‘’¿¡。、！？，"


class Ending(StrEnum):
    """How a partial transcript ends."""

    FINISHED = "finished"
    OPEN = "open"
    UNKNOWN = "unknown"


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower())


def normalised(text: str) -> str:
    """Text for comparing questions: case, spacing and marks at the edges of words do not count, signs in them do."""
    words = (word.strip(_EDGE_MARKS) for word in unicodedata.normalize("NFKC", text).casefold().split())
    return " ".join(word for word in words if word)


def ending_of(text: str) -> Ending:
    """Does this sound like a finished turn?"""
    words = words_of(text)
    if not words:
        return Ending.UNKNOWN
    if _SHORT_TURNS.fullmatch(" ".join(words)):
        return Ending.FINISHED
    if words[-1] in _OPEN_ENDINGS or text.rstrip().endswith((",", "...", "…", "-")):
        return Ending.OPEN
    if text.rstrip().endswith((".", "?", "!")):
        return Ending.FINISHED
    if len(words) >= 3 and words[0] in _QUESTION_STARTS:
        return Ending.FINISHED
    return Ending.UNKNOWN


def is_backchannel(text: str) -> bool:
    """Only listener's noises ("mm-hm", "yeah", "okay"), four words at most."""
    words = words_of(text)
    return 0 < len(words) <= 4 and all(word in _BACKCHANNELS for word in words)


def takes_the_turn(text: str) -> bool:
    """Words said over the agent that are more than a backchannel: two content words, or one that means stop."""
    content = [word for word in words_of(text) if word not in _BACKCHANNELS]
    return len(content) >= 2 or any(word in _STOPPERS for word in content)
