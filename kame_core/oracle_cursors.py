"""The front end's side of the oracle stream: what was adopted comes out as tokens or as phrases, once, in order.

Both cursors are FIFOs. When the LLM falls behind they hand out nothing new and go on later where they stopped, so no
word is lost. (The published KAME code addresses its oracle by the wall clock: whatever arrives after its 80 ms step
has gone by is never read.)
"""

import math
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from kame_core.frontend.base import OracleAdopt, OracleClear, OracleFinish, OracleText, OracleUpdate
from kame_core.scripts import CLAUSE_END, SENTENCE_END, UNSPACED, UNSPACED_CLAUSE_END, UNSPACED_SENTENCE_END

START_ID = 32000
"""Text start id of Moshi-family models: marks where a new oracle begins."""
PAD_ID = 3
"""Text padding id of Moshi-family models."""

_UNSPACED_END = UNSPACED_SENTENCE_END + UNSPACED_CLAUSE_END
_UNSPACED_CLOSERS = "」』）】〉》”’"
# A piece: white space, then text up to the next white space or through ideographic punctuation. Tokenizers of both
# families never join characters across these borders, so text may be tokenised piece by piece.
_PIECE = re.compile(rf"\s*(?:[^\s{_UNSPACED_END}]*[{_UNSPACED_END}]+[{_UNSPACED_CLOSERS}]*|[^\s{_UNSPACED_END}]+)")


class TextTokenizer(Protocol):
    """What a front end tokenises text with."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without start or end marks."""


class _Adopted:
    """The text of the adopted candidate as far as it has come, and how far it was read."""

    def __init__(self) -> None:
        self.candidate_id: str | None = None
        self.text = ""
        self.finished = False
        self.read_chars = 0

    def apply(self, update: OracleUpdate) -> bool:
        """Take in an update; True if what was unread before is void."""
        match update:
            case OracleAdopt():
                self.candidate_id, self.text, self.finished, self.read_chars = update.candidate_id, "", False, 0
                return True
            case OracleClear():
                self.candidate_id, self.text, self.finished, self.read_chars = None, "", False, 0
                return True
            case OracleText():
                if update.candidate_id == self.candidate_id and not self.finished:
                    self.text += update.text
            case OracleFinish():
                if update.candidate_id == self.candidate_id:
                    self.finished = True
        return False


class _Cursor:
    """What both cursors tell of themselves."""

    def __init__(self) -> None:
        self._adopted = _Adopted()

    @property
    def candidate_id(self) -> str | None:
        """The candidate being read."""
        return self._adopted.candidate_id

    @property
    def text(self) -> str:
        """Its text as far as it has come."""
        return self._adopted.text

    @property
    def read_chars(self) -> int:
        """Characters of it handed out so far."""
        return self._adopted.read_chars

    @property
    def exhausted(self) -> bool:
        """It is complete and all its words were handed out; False where nothing is adopted."""
        adopted = self._adopted
        if adopted.candidate_id is None or not adopted.finished:
            return False
        return not self._has_words(adopted.text[adopted.read_chars :])

    @staticmethod
    def _has_words(text: str) -> bool:
        """Whether this still has to be handed out."""
        return bool(text.strip())


class OracleCursor(_Cursor):
    """Oracle text as token ids, one per tick, for front ends of the Moshi family.

    On adoption comes the start id, then the text's tokens; pad where there is nothing (yet). Text is tokenised only up
    to its last complete word, always as the beginning of the whole text, so the ids equal those of the whole text
    encoded at once however the deltas were cut.

    Args:
        tokenizer: of the front end's checkpoint.
        start_id: fed once after each adoption.
        pad_id: fed when starved or idle.
    """

    def __init__(self, tokenizer: TextTokenizer, start_id: int = START_ID, pad_id: int = PAD_ID) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._start_id = start_id
        self._pad_id = pad_id
        self._ids: deque[int] = deque()
        self._encoded_chars = 0
        self._encoded_ids = 0

    def apply(self, update: OracleUpdate) -> None:
        """Take in an update of the oracle stream."""
        if self._adopted.apply(update):
            self._ids.clear()
            self._encoded_chars = self._encoded_ids = 0
            if isinstance(update, OracleAdopt):
                self._ids.append(self._start_id)

    def next_token(self) -> int:
        """The token of this tick. Call once per tick; encodes one word at most, so it takes microseconds."""
        if not self._ids:
            self._encode_next_word()
        if not self._ids:
            return self._pad_id
        token = self._ids.popleft()
        if not self._ids:
            self._adopted.read_chars = self._encoded_chars
        return token

    def _encode_next_word(self) -> None:
        adopted = self._adopted
        while not self._ids and self._encoded_chars < len(adopted.text):
            piece = _PIECE.match(adopted.text, self._encoded_chars)
            end = len(adopted.text) if piece is None else piece.end()
            if end == len(adopted.text) and not adopted.finished:
                return  # the word may still grow
            # Always from the beginning: a tokenizer may treat the first word differently (dummy prefix).
            ids = self._tokenizer.encode(adopted.text[:end])
            self._ids.extend(ids[self._encoded_ids :])
            self._encoded_chars, self._encoded_ids = end, len(ids)
            if not self._ids:  # white space at the end, or signs the tokenizer does not know
                adopted.read_chars = end


class _Cut(IntEnum):
    WORD = 0
    CLAUSE = 1
    SENTENCE = 2


@dataclass(frozen=True, slots=True)
class _Border:
    """A place where the unread text may be cut."""

    end_char: int
    words: float
    """Words before it in the unread text; two characters of unspaced writing count as one word."""
    cut: _Cut
    weak: bool
    """The word before it leans on the next one ("the", "of"): a poor place for a cut."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A piece of the candidate's text to be spoken in one breath."""

    text: str
    """As in the candidate, white space before it included."""
    start_char: int
    """Index of its first character in the candidate's text."""
    end_char: int
    """Index after its last character."""


class PhraseCursor(_Cursor):
    """Oracle text as phrases to be synthesised one after the other.

    The first phrase is small, so that speech starts early: to the first comma or sentence end near its beginning, or
    four words. Later ones end with a sentence where one has come, else at a comma, else after six words or more. Only
    complete words are handed out. Joined phrases equal the text; only marks that come after its last word was handed
    out are left away.
    """

    _FIRST_WORDS = 4
    _LATER_WORDS = 6
    _MOST_FIRST_WORDS = 8
    _MOST_WORDS = 24

    def __init__(self) -> None:
        super().__init__()
        self._first = True

    def apply(self, update: OracleUpdate) -> None:
        """Take in an update of the oracle stream."""
        if self._adopted.apply(update):
            self._first = True

    def next_phrase(self, whole_sentences: bool = False) -> Phrase | None:
        """Hand out the next phrase, or None if not enough text has come (or nothing is adopted).

        Args:
            whole_sentences: cut at sentence ends only.
        """
        adopted = self._adopted
        start = adopted.read_chars
        if start >= len(adopted.text):
            return None
        if adopted.finished and not self._has_words(adopted.text[start:]):
            adopted.read_chars = len(adopted.text)  # only marks or white space are left: nothing to say
            return None
        most_words = math.inf if whole_sentences else self._MOST_WORDS
        borders = [border for border in _borders(adopted.text, start, adopted.finished, most_words) if border.words]
        end = self._choose(borders, whole_sentences) if borders else None
        if end is None:
            return None
        if adopted.finished and not self._has_words(adopted.text[end:]):
            end = len(adopted.text)  # closing marks that stand apart belong to the last words
        adopted.read_chars = end
        self._first = False
        return Phrase(adopted.text[start:end], start, end)

    def _choose(self, borders: list[_Border], whole_sentences: bool) -> int | None:
        sentence = next((border for border in borders if border.cut is _Cut.SENTENCE), None)
        if whole_sentences:
            return None if sentence is None else sentence.end_char
        if self._first:
            early = (border for border in borders if border.cut and 2 <= border.words <= self._MOST_FIRST_WORDS)
            clause = next(early, None)
            if clause is not None and (sentence is None or clause.end_char < sentence.end_char):
                return clause.end_char
            if sentence is not None and sentence.words <= self._MOST_FIRST_WORDS:
                return sentence.end_char
            return self._by_word(borders, self._FIRST_WORDS)
        if sentence is not None and sentence.words <= self._MOST_WORDS:
            return sentence.end_char
        clauses = [border for border in borders if border.cut is _Cut.CLAUSE and border.words >= 2]
        if clauses:
            return clauses[-1].end_char
        return self._by_word(borders, self._LATER_WORDS)

    @staticmethod
    def _has_words(text: str) -> bool:
        return any(map(str.isalnum, text))

    @staticmethod
    def _by_word(borders: list[_Border], least_words: int) -> int | None:
        """A cut between words: the last one not after a weak word, in no more than twice the least length."""
        if borders[-1].words < least_words:
            return None
        within = [border for border in borders if 2 <= border.words <= 2 * least_words] or borders
        return next((border for border in reversed(within) if not border.weak), within[-1]).end_char


_CLOSERS = "\"'”’»›)]}"
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+")
_ORDINAL = re.compile(r"\d+\.")
_ABBREVIATIONS = re.compile(
    r"(?:mr|mrs|ms|dr|prof|st|sr|jr|messrs|gen|col|capt|lt|sgt|rev|hon|vs|etc|approx|ca|cf|viz|inc|ltd|co|corp|dept|est|"
    r"fig|vol|pp|ave|blvd|mt|ft|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|bzw|usw|nr|hr|fr|str|sog|evtl|sra|srta|"
    r"sig|mme)\."
)
_BEFORE_NUMBERS = re.compile(r"(?:no|nos|p|op|art|sec|ch)\.")
_WEAK = re.compile(
    r"an?|the|of|in|on|at|to|for|from|with|by|about|into|as|and|or|but|that|which|who|is|are|was|were|be|been|ha[sd]|have|"
    r"will|would|can|could|should|may|might|must|not?|very|its?|his|her|their|our|my|your|this|these|those|than|between|"
    r"under|over|after|before|de|la|les?|des|du|der|die|das|de[nm]|eine?|el|los|las|una?|il|lo"
)


def _borders(text: str, start: int, finished: bool, most_words: float) -> Iterator[_Border]:
    """Places after complete words from `start` on, until `most_words` have passed."""
    words = 0.0
    position = start
    while position < len(text):
        piece = _PIECE.match(text, position)
        if piece is None:
            return  # white space at the end
        end = piece.end()
        if end == len(text) and not finished:
            return  # the word may still grow
        word = piece.group().strip()
        unspaced = len(re.findall(f"[{UNSPACED}]", word))
        opens = words == 0
        words += unspaced / 2 if unspaced else float(any(map(str.isalnum, word)))
        rest = text[end:].lstrip()
        cut = _Cut.SENTENCE if finished and not rest else _cut_after(word, rest[:1], opens)
        yield _Border(end, words, cut, _WEAK.fullmatch(word.lower()) is not None)
        if words >= most_words:
            return
        position = end


def _cut_after(word: str, following: str, opens: bool) -> _Cut:
    """What may end after `word`; `following` is the first character after the white space, if it has come."""
    bare = word.rstrip(_CLOSERS)
    if not bare:
        return _Cut.WORD
    if bare[-1] in CLAUSE_END:
        return _Cut.CLAUSE
    if bare[-1] not in SENTENCE_END:
        return _Cut.WORD
    plain = bare.lower().lstrip("\"'“‘«‹([{")
    if _ABBREVIATIONS.fullmatch(plain) or _INITIALS.fullmatch(plain):
        return _Cut.WORD
    if _BEFORE_NUMBERS.fullmatch(plain) and (not following or following.isdigit()):
        return _Cut.WORD
    if opens and _ORDINAL.fullmatch(plain):
        return _Cut.WORD  # "1. Boil the water."
    if following.islower():
        return _Cut.CLAUSE  # "well... perhaps"
    return _Cut.SENTENCE


__all__ = ["PAD_ID", "START_ID", "OracleCursor", "Phrase", "PhraseCursor", "TextTokenizer"]
