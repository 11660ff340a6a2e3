"""Contract of streaming speech-to-text (STT)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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
    """The recogniser failed; it recovers by itself where it can. `text` is what was understood before, as long as its
    sound will be read again; empty: that sound is gone, and later texts hold only what was said since."""
    language: str = ""
    """Code (ISO 639) of the language it is spoken in, where the recogniser has recognised that."""


MULTIPLE = "mul"
"""The language tag of what is spoken in more than one language (BCP 47, ISO 639-2)."""


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


@runtime_checkable
class MultilingualRecognizer(Recognizer, Protocol):
    """A recogniser that may be told anew what is spoken."""

    def expect(self, languages: tuple[str, ...]) -> None:
        """From now on one of these languages is spoken (tags, at least one), another one in each utterance perhaps.

        Raises:
            SpeechToTextError: `unsupported_language`; it goes on as before.
        """


class SpeechToText(Protocol):
    """An engine that opens recognisers."""

    name: str

    async def open(self, language: str) -> Recognizer:
        """A recogniser ready to be pushed to, for a language tag; `MULTIPLE`: more than one is spoken.

        Raises:
            SpeechToTextError: it cannot start, or hears no such language (`unsupported_language`).
        """

    async def aclose(self) -> None:
        """Free models and processes."""
