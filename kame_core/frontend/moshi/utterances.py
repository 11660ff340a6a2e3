"""A candidate as the model was trained to read one: whole utterances of at most thirty words, one after the other.

KAME's weights (arXiv 2510.02327) know oracles of 10 to 30 words with periods and commas only, read three to four times
faster than they are spoken. A longer answer is therefore handed on sentence by sentence, each part as an oracle of its
own, and the next one only when the voice has said the one before: a new oracle takes the word from the older.
"""

import re

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

_WORD = re.compile(r"\s*\S+")
_SENTENCE = re.compile(r"\S.*?[.?!](?=\s|$)", re.DOTALL)
_REGISTER = str.maketrans({"!": ".", ";": ",", "…": ".", "—": ",", "–": ","} | dict.fromkeys('"“”«»()[]{}*_#`', ""))


class UtteranceCursor:
    """Oracle updates in, one token per tick out; and how far the voice followed, from its inner monologue.

    Args:
        tokenizer: of the checkpoint.
        start_id: fed at the beginning of each utterance.
        pad_id: fed where there is nothing (yet).
    """

    def __init__(self, tokenizer: TextTokenizer, start_id: int, pad_id: int) -> None:
        self._cursor = OracleCursor(tokenizer, start_id, pad_id)
        self._candidate_id: str | None = None
        self._text = ""
        self._finished = False
        self._taken_chars = 0
        # of the utterance being read
        self._words = 0
        self._ended = False
        self._began_char = 0
        self._ends: list[tuple[int, int]] = []
        """Of its words: index in the cursor's text, index in the candidate's."""
        self._spoken_chars = 0
        self._waited_ticks = self._mark_ticks = 0
        self._follows = False

    def apply(self, update: OracleUpdate) -> None:
        """Take in an update of the oracle stream."""
        match update:
            case OracleAdopt():
                self._forget(update.candidate_id)
                self._begin()
            case OracleText() if update.candidate_id == self._candidate_id and not self._finished:
                self._text += update.text
            case OracleFinish() if update.candidate_id == self._candidate_id:
                self._finished = True
            case OracleClear():
                self._forget(None)
                self._cursor.apply(update)
            case _:  # of a candidate that was superseded
                pass

    def next_token(self) -> int:
        """The token of this tick. Call once per tick; takes microseconds."""
        if self._ended and self._read_all:
            self._waited_ticks += 1
            if self._next_is_due():
                self._begin()
        if not self._ended and self._read_all:
            self._take_words()
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
        return self._follows

    @property
    def progress(self) -> OracleProgress:
        """How far the candidate was read, and spoken."""
        return OracleProgress(
            self._candidate_id,
            self._in_candidate(self._cursor.read_chars),
            self._in_candidate(self._spoken_chars),
            self._candidate_id is not None and self._finished and not self.pending,
        )

    @property
    def pending(self) -> bool:
        """Words of the candidate were not read yet."""
        return any(map(str.isalnum, self._text[self._in_candidate(self._cursor.read_chars) :]))

    # --- utterances ---

    def _forget(self, candidate_id: str | None) -> None:
        self._candidate_id = candidate_id
        self._text = ""
        self._finished = False
        self._taken_chars = 0
        self._reset_utterance()

    def _reset_utterance(self) -> None:
        self._words = 0
        self._ended = False
        self._began_char = self._taken_chars
        self._ends = []
        self._spoken_chars = 0
        self._waited_ticks = self._mark_ticks = 0
        self._follows = False

    def _begin(self) -> None:
        assert self._candidate_id is not None
        self._reset_utterance()
        self._cursor.apply(OracleAdopt(self._candidate_id))

    @property
    def _read_all(self) -> bool:
        return self._cursor.read_chars >= len(self._cursor.text.rstrip())

    def _next_is_due(self) -> bool:
        if not any(map(str.isalnum, self._text[self._taken_chars :])):
            return False
        unsaid = self._cursor.text[self._spoken_chars :].strip()
        if not any(map(str.isalnum, unsaid)):
            self._mark_ticks += 1
            return not unsaid or self._mark_ticks > _MARK_TICKS
        return self._waited_ticks > _SPOKEN_TICKS_PER_WORD * self._words

    def _take_words(self) -> None:
        """Give the cursor the next word; signs that stand alone pass with it."""
        while self._candidate_id is not None:
            match = _WORD.match(self._text, self._taken_chars)
            if match is None:
                if self._finished:
                    self._end()
                return
            if match.end() == len(self._text) and not self._finished:
                return  # the word may still grow
            self._taken_chars = match.end()
            word = _in_register(match.group().strip())
            if not any(map(str.isalnum, word)):
                continue
            self._words += 1
            self._cursor.apply(OracleText(self._candidate_id, word + " "))
            self._ends.append((len(self._cursor.text) - 1, self._taken_chars))
            if self._ends_with(word):
                self._end()
            return

    def _end(self) -> None:
        assert self._candidate_id is not None
        self._ended = True
        self._cursor.apply(OracleFinish(self._candidate_id))

    def _ends_with(self, word: str) -> bool:
        if self._words >= MOST_WORDS or (self._words >= _CLAUSE_WORDS and word[-1] in ",.?"):
            return True
        if self._words < _ENOUGH_WORDS or word[-1] not in ".?":
            return False
        following = _SENTENCE.search(self._text, self._taken_chars)
        return following is None or self._words + len(following.group().split()) > MOST_WORDS

    def _in_candidate(self, chars: int) -> int:
        """An index in the cursor's text as one in the candidate's, at the end of a word."""
        if chars <= 0 or not self._ends:
            return self._began_char
        passed = [end for here, end in self._ends if here <= chars]
        return passed[-1] if passed else self._began_char


def _in_register(word: str) -> str:
    """A word with no other signs than the model knows from its oracles."""
    plain = word.translate(_REGISTER)
    return f"{plain[:-1]}," if plain.endswith(":") else plain
