"""From a stream of text tokens, one per 80 ms, to words that know when they were said."""

from collections import deque
from dataclasses import dataclass
from typing import Protocol

MAX_WORDS = 2000
"""Of one utterance; the oldest give way. A quarter of an hour of speech."""


class Detokenizer(Protocol):
    """Text of a word's tokens; `MoshiTokenizer` is one."""

    def piece(self, token: int) -> str | bytes:
        """The text of one token, a space first where a word starts; bytes for a part of a character."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or a piece that was written apart."""

    begin: int
    """The step in which its first token was written."""
    text: str
    """With its leading space where it has one."""


class WordStream:
    """Tokens of one conversation in, words out.

    The model writes a word's tokens one after the other, a step each, and paddings between words.

    Args:
        detokenizer: of the model's vocabulary.
        paddings: tokens that stand for no text.
    """

    def __init__(self, detokenizer: Detokenizer, paddings: frozenset[int]) -> None:
        self._detokenizer = detokenizer
        self._paddings = paddings
        self._words: deque[Word] = deque(maxlen=MAX_WORDS)
        self._from_step = 0
        self._begin = 0
        self._pieces: list[str | bytes] = []

    @property
    def between_words(self) -> bool:
        """The last token ended a word, or was none."""
        return not self._pieces

    def push(self, step: int, token: int) -> None:
        """Take in what was written in a step."""
        piece = "" if token in self._paddings else self._detokenizer.piece(token)
        if not piece or (isinstance(piece, str) and piece.startswith(" ")):
            self._complete()
        if piece:
            if not self._pieces:
                self._begin = step
            self._pieces.append(piece)

    def text(self, *, partial_word: bool = False) -> str:
        """What was said; of the word still being written what there is, where asked for."""
        words = [word.text for word in self._words]
        if partial_word and self._begin >= self._from_step:
            words.append(_joined(self._pieces))
        return "".join(words).strip()

    def forget_before(self, step: int) -> None:
        """Drop words that began before a step, also such as are still to come or being written."""
        self._from_step = max(self._from_step, step)
        while self._words and self._words[0].begin < step:
            self._words.popleft()

    def fork(self) -> "WordStream":
        """A copy that goes on by itself."""
        other = WordStream(self._detokenizer, self._paddings)
        other._words = self._words.copy()
        other._from_step, other._begin = self._from_step, self._begin
        other._pieces = self._pieces.copy()
        return other

    def _complete(self) -> None:
        if self._pieces and self._begin >= self._from_step:
            self._words.append(Word(self._begin, _joined(self._pieces)))
        self._pieces.clear()


def _joined(pieces: list[str | bytes]) -> str:
    """Characters the vocabulary lacks come as several bytes; what never becomes a character is left out."""
    encoded = (piece.encode() if isinstance(piece, str) else piece for piece in pieces)
    return b"".join(encoded).decode(errors="ignore")
