"""A recogniser that is told what is said, and understands every word when a good streaming one would.

With it the modes are compared by what they do, not by what was misheard; and it needs no model.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from kame_core.audio import Samples
from kame_core.errors import ConversationClosedError
from kame_core.stt.base import RecognizerUpdate

PARTIAL_LAG_S = 0.3
"""From the end of a word to the reading that holds it."""
SETTLE_S = 0.15
"""From a flush to the settled reading."""


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word and when its sound ends, in the loop's time."""

    text: str
    end_s: float


class KnownSpeechRecognizer:
    """Told what is being said and when, it reports it word by word."""

    sample_rate_hz = 16_000

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._words: list[SpokenWord] = []
        self._begun_s = self._loop.time()
        self._utterance = 0
        self._updates: asyncio.Queue[RecognizerUpdate | None] = asyncio.Queue()
        self._timers: list[asyncio.TimerHandle] = []

    def hears(self, words: list[SpokenWord]) -> None:
        """Note what is being said."""
        now_s = self._loop.time()
        self._words = [word for word in self._words if word.end_s > self._begun_s] + words
        self._timers = [timer for timer in self._timers if timer.when() > now_s]
        for word in words:
            self._timers.append(self._loop.call_at(word.end_s + PARTIAL_LAG_S, self._tell, word.end_s))

    def push(self, samples: Samples) -> None:
        """Sound is not looked at."""

    def flush(self) -> None:
        """Read all that was said until now."""
        until_s, utterance = self._loop.time(), self._utterance
        self._timers.append(self._loop.call_later(SETTLE_S, self._settle, until_s, utterance))

    def commit(self) -> None:
        """Begin the next utterance."""
        self._utterance += 1
        self._begun_s = self._loop.time()

    def _settle(self, until_s: float, utterance: int) -> None:
        if utterance == self._utterance:
            self._updates.put_nowait(RecognizerUpdate(utterance, self._text(until_s), settled=True))

    def _tell(self, until_s: float) -> None:
        text = self._text(until_s)
        if text:
            self._updates.put_nowait(RecognizerUpdate(self._utterance, text))

    def _text(self, until_s: float) -> str:
        return " ".join(word.text for word in self._words if self._begun_s < word.end_s <= until_s)

    async def updates(self) -> AsyncIterator[RecognizerUpdate]:
        """Readings in order."""
        while (update := await self._updates.get()) is not None:
            yield update

    async def aclose(self) -> None:
        """No more readings."""
        for timer in self._timers:
            timer.cancel()
        self._updates.put_nowait(None)


class KnownSpeechToText:
    """For one conversation at a time: `hears` tells the one opened last."""

    name = "known"

    def __init__(self) -> None:
        self._recognizer: KnownSpeechRecognizer | None = None

    async def open(self, language: str) -> KnownSpeechRecognizer:
        """Open a recogniser that waits to be told."""
        self._recognizer = KnownSpeechRecognizer()
        return self._recognizer

    def hears(self, words: list[SpokenWord]) -> None:
        """Note what is being said.

        Raises:
            ConversationClosedError: no conversation is open.
        """
        if self._recognizer is None:
            raise ConversationClosedError("Nobody listens: open a conversation first.")
        self._recognizer.hears(words)

    async def aclose(self) -> None:
        """Close the recogniser."""
        if self._recognizer is not None:
            await self._recognizer.aclose()
