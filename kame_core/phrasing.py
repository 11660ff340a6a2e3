"""What the wording of a partial transcript says about the turn: finished, going on, or only a backchannel.

English word lists; in other languages the length of the pause decides alone.
"""

import re
import unicodedata
from collections.abc import Sequence
from enum import StrEnum

from kame_core.scripts import CLAUSE_END, COMBINING, HAN, SENTENCE_END, UNSPACED


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_BACKCHANNELS = _set(
    "mm hm mhm mm-hm mmhm mm-hmm hmm uh huh uh-huh um ah oh yeah yep yup yes ok okay right sure wow cool nice great "
    "good really exactly indeed aha i see got it all-right alright true"
)
_HALTS = _set("stop wait hold quiet enough pause cancel")
_STOPPERS = _HALTS | _set("no sorry but what why")
_OPEN_ENDINGS = _set(
    "and or but so because if when while which who whose the a an of in on at to from for with by about into "
    "than as is are was were be do does did can could will would should my your his her our their "
    "plus minus times divided multiplied over between per um uh er like well how what where why whether whose many "
    "much you we they he she i it's there's i'm he's she's very really just maybe even only also any some every each "
    "no not both either until unless although though since under through around without against during among"
)
_ASKS_FOR_MORE = _set(
    "think know guess suppose believe hope wonder wondering want wanted wants need needs told said says mean means "
    "explain tell telling show give let going trying able about-to called named prefer decided started tried asked"
)
"""Verbs that are seldom the last word of a statement: what is thought, wanted or told still comes."""
_OF_WHAT = _set(
    "name number capital price population height size weight age meaning example difference rest amount kind sort type "
    "part end beginning top middle best worst most first last second biggest largest smallest longest oldest author "
    "colour color temperature distance cost history thing things way reason"
)
"""Words that mostly go on: with "of", with what they stand before, or with a clause."""
_AUXILIARIES = _set("are is was were do does did can could will would should")
_PERSONS = _set("you we they he she i")
_STRANDED = _AUXILIARIES | _set("in on at from for with by about into over through be")
"""They call for more in a statement, but may end a question; so may a person after an auxiliary."""
_POINTERS = _set("that this these those")
_BEFORE_CLAUSES = _ASKS_FOR_MORE | _set("me true so sure clear possible likely is was are in on at of for with to from")
_SUBORDINATORS = _set("if when while because although unless since after before once whenever as")
_SUBJECTS = _set("i you he she it we they that this there the a an my your his her our their i'm you're it's we're")
_MAIN_CLAUSE_WORDS = 8
"""A turn that begins with a subordinate clause and is longer than this has its main clause, most probably."""
_QUESTION_STARTS = _set(
    "what what's who who's when when's where where's why how how's which whose is are was were do does did can could "
    "will would should has have may convert tell give say please name calculate"
)
_WH_WORDS = _set("what what's who who's when's where where's why how how's which whose")
_SHORT_TURNS = re.compile(
    r"(?:hello|hi|hey|good (?:morning|evening|afternoon|day|night)|thanks|thank you(?: very much)?|bye|goodbye|"
    r"good bye|yes|no|stop|never mind|(?:please )?repeat(?: that)?(?: please)?|say that again(?: please)?|"
    r"how are you|who are you|what can you do)"
)
_PLAIN_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_LETTERS = rf"[^\W_{UNSPACED}]+(?:[{COMBINING}]+[^\W_{UNSPACED}]*)*"
_WORD = re.compile(rf"{_LETTERS}(?:['’-]{_LETTERS})*|(?=[^\W_])[{UNSPACED}][{COMBINING}]*")
_FIRST_COMBINING = "\u0300"
"""Below it the plain pattern, which takes a quarter of the time, finds the same."""
_UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")
_HAN_LETTER = re.compile(f"[{HAN}]")
_EDGE_MARKS = ".,!?;:…\"'()[]«»“”‘’¿¡。、！？，"


class Ending(StrEnum):
    """How a partial transcript ends."""

    FINISHED = "finished"
    OPEN = "open"
    UNKNOWN = "unknown"


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation; single letters where writing has no spaces between words."""
    lower = text.lower()
    pattern = _PLAIN_WORD if max(lower, default="") < _FIRST_COMBINING else _WORD
    return pattern.findall(lower)


def length_in_words(words: Sequence[str]) -> float:
    """How many words these are about: a letter of Han is half a word, one of other unspaced writing a quarter."""
    return sum(_part_of_a_word(word) for word in words)


def _part_of_a_word(word: str) -> float:
    if not _UNSPACED_LETTER.match(word):
        return 1.0
    return 0.5 if _HAN_LETTER.match(word) else 0.25


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
    if any(word in _WH_WORDS for word in words[:-2]) and (
        words[-1] in _STRANDED or (words[-1] in _PERSONS and words[-2] in _AUXILIARIES)
    ):
        return Ending.UNKNOWN  # where are you from, how old are you
    if words[-1] in _OPEN_ENDINGS or text.rstrip().endswith(("...", "…", "-", *CLAUSE_END)):
        return Ending.OPEN
    if text.rstrip().endswith(tuple(SENTENCE_END)):
        return Ending.FINISHED
    if _only_subordinate(words):
        return Ending.OPEN
    asks = words[0] in _QUESTION_STARTS
    if words[-1] in _POINTERS:  # "i think that ...", but: who told you that?
        return Ending.OPEN if words[-2:-1] and words[-2] in _BEFORE_CLAUSES else Ending.UNKNOWN
    if words[-1] in _ASKS_FOR_MORE or (words[-1] == "me" and words[-2:-1] != ["about"]):
        return Ending.UNKNOWN if asks and words[0] in _WH_WORDS else Ending.OPEN
    if words[-1] in _OF_WHAT:
        return Ending.UNKNOWN
    if asks and len(words) >= 3:
        return Ending.FINISHED
    return Ending.UNKNOWN


def _only_subordinate(words: list[str]) -> bool:
    """The main clause has not begun, as in: if it rains tomorrow."""
    if len(words) < 2 or words[0] not in _SUBORDINATORS or words[1] not in _SUBJECTS:
        return False
    subjects = sum(word in _SUBJECTS for word in words)
    return len(words) <= _MAIN_CLAUSE_WORDS and subjects < 3 and not any(word in _WH_WORDS for word in words[1:])


def is_backchannel(text: str) -> bool:
    """Only listener's noises ("mm-hm", "yeah", "okay"), four words at most."""
    words = words_of(text)
    return 0 < len(words) <= 4 and all(word in _BACKCHANNELS for word in words)


def says_stop(text: str) -> bool:
    """One of its words means stop and hardly anything else."""
    return any(word in _HALTS for word in words_of(text))


def takes_the_turn(text: str) -> bool:
    """Words said over the agent that are more than a backchannel: two content words, or one that means stop."""
    content = [word for word in words_of(text) if word not in _BACKCHANNELS]
    return length_in_words(content) >= 2 or any(word in _STOPPERS for word in content)
