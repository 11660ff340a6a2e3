"""A candidate as the model was trained to read one: whole utterances of at most thirty words, one after the other.

KAME's weights (arXiv 2510.02327) know oracles of 10 to 30 words with periods and commas only, read three to four times
faster than they are spoken. A longer answer is therefore handed on sentence by sentence, each part as an oracle of its
own, and the next one only when the voice has said the one before: a new oracle takes the word from the older.

For the same reason a newer candidate that begins with the words already read goes on where they end. A new oracle in
the middle of an answer would make the voice begin it again.
"""

import re
from dataclasses import dataclass, field

from kame_core.frontend.base import OracleAdopt, OracleClear, OracleFinish, OracleProgress, OracleText, OracleUpdate
from kame_core.oracle_cursors import OracleCursor, TextTokenizer

MOST_WORDS = 30
"""Of an utterance."""
_ENOUGH_WORDS = 12
"""From here on an utterance may end with its sentence, if the next does not fit in or has not come."""
_CLAUSE_WORDS = 24
"""From here on it ends with its clause."""
_SPOKEN_TICKS_PER_WORD = 5
"""0.4 s: after that many for each word an utterance counts as said, whatever the voice made of it."""
_MARK_TICKS = 3
"""The mark after the last word may follow it by so many ticks."""
_SKIPPED_CHARS = 60
"""So much of its text the voice may leave out and still be followed."""
_FRESH_TICKS = 15
"""An oracle begun so long ago is still one that the voice will follow: in training it came up to 1.2 s early."""

_UTTERANCE = "utterance"
"""What the cursor of one utterance knows its text by."""
_WORD = re.compile(r"\s*\S+")
_SENTENCE = re.compile(r"\S.*?[.?!](?=\s|$)", re.DOTALL)
_REGISTER = str.maketrans({"!": ".", ";": ",", "…": ".", "—": ",", "–": ","} | dict.fromkeys('"“”«»()[]{}*_#`', ""))


@dataclass(slots=True)
class _Candidate:
    """The text of a candidate as far as it has come, and the words taken of it."""

    candidate_id: str | None = None
    text: str = ""
    finished: bool = False
    ends: list[int] = field(default_factory=list)
    """Of the words that were taken: index in the text."""
    words: list[str] = field(default_factory=list)
    """Those words, letters and digits only."""
    signs_end: int = 0
    """Index after signs that stood alone and were passed over."""

    @property
    def taken_chars(self) -> int:
        return max(self.signs_end, self.ends[-1] if self.ends else 0)

    def take(self) -> str | None:
        """The next word, in the register of oracles; None where none is complete. Signs alone are passed over."""
        while True:
            match = _WORD.match(self.text, self.taken_chars)
            if match is None or (match.end() == len(self.text) and not self.finished):
                return None  # the word may still grow
            word = _in_register(match.group().strip())
            bare = "".join(filter(str.isalnum, word)).casefold()
            if bare:
                self.ends.append(match.end())
                self.words.append(bare)
                return word
            self.signs_end = match.end()

    @property
    def complete(self) -> bool:
        """All its words were taken and no more will come."""
        return self.finished and not self.text[self.taken_chars :].strip()


class UtteranceCursor:
    """Oracle updates in, one token per tick out; and how far the voice followed, from its inner monologue.

    Args:
        tokenizer: of the checkpoint.
        start_id: fed at the beginning of each utterance.
        pad_id: fed where there is nothing (yet).
    """

    def __init__(self, tokenizer: TextTokenizer, start_id: int, pad_id: int) -> None:
        self._cursor = OracleCursor(tokenizer, start_id, pad_id)
        self._candidate = _Candidate()
        self._newer: _Candidate | None = None
        """Adopted, and so far it repeats what was read of the one before."""
        self._ticks = 0
        """Since the candidate's first utterance, or that of the one it goes on from, was begun."""
        self._said = False
        # of the utterance being read
        self._first_word = 0
        self._ended = False
        self._ends: list[int] = []
        """Of its words: index in the cursor's text."""
        self._spoken_chars = 0
        self._waited_ticks = self._mark_ticks = 0
        self._follows = False

    def apply(self, update: OracleUpdate) -> None:
        """Take in an update of the oracle stream."""
        match update:
            case OracleAdopt():
                self._adopt(_Candidate(update.candidate_id))
            case OracleClear():
                self._candidate, self._newer = _Candidate(), None
                self._reset_utterance()
                self._cursor.apply(update)
            case OracleText() if update.candidate_id == self._adopted.candidate_id and not self._adopted.finished:
                self._adopted.text += update.text
                self._compare()
            case OracleFinish() if update.candidate_id == self._adopted.candidate_id:
                self._adopted.finished = True
                self._compare()
            case _:  # of a candidate that was superseded
                pass

    def next_token(self) -> int:
        """The token of this tick. Call once per tick; takes microseconds."""
        self._ticks += 1
        if self._newer is None:
            if self._ended and self._read_all:
                self._waited_ticks += 1
                if self._next_is_due():
                    self._begin()
            if not self._ended and self._read_all:
                self._take_word()
        return self._cursor.next_token()

    def said(self, text: str) -> bool:
        """The voice said this piece of a word; whether the oracle is where it came from."""
        piece = text.strip().lower()
        if not piece:
            return self._follows
        whole = self._cursor.text.lower()
        at = len(whole) - len(whole[self._spoken_chars :].lstrip())
        if not whole.startswith(piece, at):
            found = -1
            if text[:1].isspace() and any(map(str.isalnum, piece)):
                found = f" {whole}".find(f" {piece}", at, at + _SKIPPED_CHARS)
            self._follows = found >= 0
            at = found
        else:
            self._follows = True
        if self._follows:
            self._spoken_chars = at + len(piece)
            self._said = True
        return self._follows

    @property
    def progress(self) -> OracleProgress:
        """How far the candidate was read, and spoken."""
        adopted = self._adopted
        return OracleProgress(
            adopted.candidate_id,
            self._in_candidate(self._cursor.read_chars),
            self._in_candidate(self._spoken_chars),
            adopted.candidate_id is not None and adopted.finished and not self.pending,
        )

    @property
    def pending(self) -> bool:
        """Words of the candidate were not read yet."""
        return any(map(str.isalnum, self._adopted.text[self._in_candidate(self._cursor.read_chars) :]))

    # --- one candidate after the other ---

    @property
    def _adopted(self) -> _Candidate:
        return self._newer or self._candidate

    def _adopt(self, candidate: _Candidate) -> None:
        if self._candidate.words and (self._said or self._ticks <= _FRESH_TICKS):
            self._newer = candidate
        else:
            self._start(candidate)

    def _compare(self) -> None:
        """Whether the newer candidate goes on from what was read, or says something else."""
        newer, read = self._newer, self._candidate.words
        if newer is None:
            return
        while len(newer.words) < len(read) and newer.take() is not None:
            if newer.words[-1] != read[len(newer.words) - 1]:
                break
        else:
            if len(newer.words) == len(read):
                self._candidate, self._newer = newer, None
            elif newer.complete:
                self._start(newer)  # it is shorter
            return
        self._start(newer)

    def _start(self, candidate: _Candidate) -> None:
        """Read it from its beginning."""
        self._candidate = _Candidate(candidate.candidate_id, candidate.text, candidate.finished)
        self._newer = None
        self._ticks = 0
        self._said = False
        self._begin()

    # --- utterances ---

    def _reset_utterance(self) -> None:
        self._first_word = len(self._candidate.words)
        self._ended = False
        self._ends = []
        self._spoken_chars = 0
        self._waited_ticks = self._mark_ticks = 0
        self._follows = False

    def _begin(self) -> None:
        self._reset_utterance()
        self._cursor.apply(OracleAdopt(_UTTERANCE))

    @property
    def _read_all(self) -> bool:
        return self._cursor.read_chars >= len(self._cursor.text.rstrip())

    @property
    def _words(self) -> int:
        return len(self._ends)

    def _next_is_due(self) -> bool:
        if not any(map(str.isalnum, self._candidate.text[self._candidate.taken_chars :])):
            return False
        unsaid = self._cursor.text[self._spoken_chars :].strip()
        if not any(map(str.isalnum, unsaid)):
            self._mark_ticks += 1
            return not unsaid or self._mark_ticks > _MARK_TICKS
        return self._waited_ticks > _SPOKEN_TICKS_PER_WORD * self._words

    def _take_word(self) -> None:
        """Give the cursor the next word."""
        word = self._candidate.take()
        if word is not None:
            self._cursor.apply(OracleText(_UTTERANCE, word + " "))
            self._ends.append(len(self._cursor.text) - 1)
        if self._candidate.complete if word is None else self._ends_with(word):
            self._ended = True
            self._cursor.apply(OracleFinish(_UTTERANCE))

    def _ends_with(self, word: str) -> bool:
        if self._words >= MOST_WORDS or (self._words >= _CLAUSE_WORDS and word[-1] in ",.?"):
            return True
        if self._words < _ENOUGH_WORDS or word[-1] not in ".?":
            return False
        following = _SENTENCE.search(self._candidate.text, self._candidate.taken_chars)
        return following is None or self._words + len(following.group().split()) > MOST_WORDS

    def _in_candidate(self, chars: int) -> int:
        """An index in the cursor's text as one in the adopted candidate's, at the end of a word."""
        words = self._first_word + sum(end <= chars for end in self._ends)
        ends = self._adopted.ends[:words]
        return ends[-1] if ends else 0


def _in_register(word: str) -> str:
    """A word with no other signs than the model knows from its oracles."""
    plain = word.translate(_REGISTER)
    return f"{plain[:-1]}," if plain.endswith(":") else plain
