"""Contract of streaming speech-to-text (STT)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from kame_core.audio import Samples
from kame_core.errors import KameError


@dataclass(frozen=True, slots=True)
class RecognizerUpdate:
    """What was understood of one utterance so far; always the whole text, never a piece of it."""

    utterance: int
    """Counts utterances from 0; `Recognizer.commit` begins the next."""
    text: str
    settled: bool = False
    """Answer to a `flush`: the best reading of all sound pushed before it. More speech may still follow."""
    fault: KameError | None = None
    """The recogniser failed; it recovers by itself where it can, and `text` then starts anew."""


class Recognizer(Protocol):
    """One conversation's ear. It is pushed speech only (the conversation's VAD gates), from any one task."""

    sample_rate_hz: int

    def push(self, samples: Samples) -> None:
        """Add sound, float32 [n] mono at `sample_rate_hz`. Never blocks; bounded at 30 s, the oldest is dropped."""

    def flush(self) -> None:
        """A pause began: read all that was pushed as well as possible and answer with one `settled` update.

        The utterance stays open: if more is pushed, later readings cover it whole.
        """

    def commit(self) -> None:
        """The turn is over: what comes next is a new utterance. Readings of older ones no longer come."""

    def updates(self) -> AsyncIterator[RecognizerUpdate]:
        """Readings in order, delivered on the loop; a newer unread one replaces an older of the same utterance."""

    async def aclose(self) -> None:
        """Free the recogniser; idempotent; within 2 s."""


class SpeechToText(Protocol):
    """An engine that opens recognisers."""

    name: str

    async def open(self, language: str) -> Recognizer:
        """A recogniser ready to be pushed to.

        Raises:
            SpeechToTextError: it cannot start.
        """

    async def aclose(self) -> None:
        """Free models and processes."""
