"""A recogniser that understands what the test says was said, paced by the sound it is pushed."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from kame_core.audio import Samples
from kame_core.errors import SpeechToTextError
from kame_core.hearing import PRE_ROLL_MS
from kame_core.stt.base import RecognizerUpdate

RATE_HZ = 16_000


class ScriptedRecognizer:
    """Reveals the words of one script line per utterance, one for each `word_s` of speech pushed.

    Args:
        lines: what each utterance says, in order; the last repeats.
        settle_s: from `flush` to the settled reading; None: it never comes.
        word_s: speech per word for partials.
        spoken: the language recognised in each utterance; the last repeats.
    """

    sample_rate_hz = RATE_HZ

    def __init__(
        self,
        lines: Sequence[str],
        settle_s: float | None = 0.15,
        word_s: float = 0.3,
        spoken: Sequence[str] = ("",),
    ) -> None:
        self.lines = list(lines)
        self.spoken = spoken
        self.expected: list[tuple[str, ...]] = []
        """What it was told to expect."""
        self.settle_s = settle_s
        self.takes_back_words = 0
        """So many words of the last partial are not in the settled reading."""
        self.word_s = word_s
        self.utterance = 0
        self.pushed_samples = 0
        self.flushes = 0
        self.closed = False
        self._updates: asyncio.Queue[RecognizerUpdate | None] = asyncio.Queue()
        self._timers: list[asyncio.TimerHandle] = []

    @property
    def _line(self) -> list[str]:
        return self.lines[min(self.utterance, len(self.lines) - 1)].split()

    def push(self, samples: Samples) -> None:
        before = self._revealed()
        self.pushed_samples += samples.size
        if self._revealed() > before:
            self._tell(" ".join(self._line[: self._revealed()]))

    def _revealed(self) -> int:
        return min(len(self._line), int(max(0.0, self.pushed_samples / RATE_HZ - PRE_ROLL_MS / 1000) / self.word_s))

    def flush(self) -> None:
        self.flushes += 1
        utterance = self.utterance
        words = self._line
        loop = asyncio.get_running_loop()
        if self.settle_s is None:
            return
        known = self._revealed() - self.takes_back_words if self.takes_back_words else self._revealed() + 2
        text = " ".join(words[: max(0, known)])  # the best reading knows the end of the sound, partials lag
        self._timers.append(loop.call_later(self.settle_s, lambda: self._tell(text, settled=True, utterance=utterance)))

    def expect(self, languages: tuple[str, ...]) -> None:
        self.expected.append(languages)

    def commit(self) -> None:
        self.utterance += 1
        self.pushed_samples = 0

    def crash(self) -> None:
        """The recogniser's process dies and comes back; it reads the utterance's sound again."""
        fault = SpeechToTextError("The recogniser crashed.", code="stt_crashed")
        known = " ".join(self._line[: self._revealed()])
        self._updates.put_nowait(RecognizerUpdate(self.utterance, known, fault=fault))

    def _tell(self, text: str, *, settled: bool = False, utterance: int | None = None) -> None:
        number = self.utterance if utterance is None else utterance
        if number == self.utterance and not self.closed:
            language = self.spoken[min(number, len(self.spoken) - 1)]
            self._updates.put_nowait(RecognizerUpdate(number, text, settled, language=language))

    async def updates(self) -> AsyncIterator[RecognizerUpdate]:
        while (update := await self._updates.get()) is not None:
            yield update

    async def aclose(self) -> None:
        self.closed = True
        for timer in self._timers:
            timer.cancel()
        self._updates.put_nowait(None)


class ScriptedSpeechToText:
    """Opens scripted recognisers; keeps them for the test to look at."""

    name = "scripted"

    def __init__(
        self,
        *lines: str,
        settle_s: float | None = 0.15,
        word_s: float = 0.3,
        spoken: Sequence[str] = ("",),
    ) -> None:
        self._lines = lines or ("",)
        self._spoken = spoken
        self._settle_s = settle_s
        self._word_s = word_s
        self.opened: list[ScriptedRecognizer] = []

    async def open(self, language: str) -> ScriptedRecognizer:
        recognizer = ScriptedRecognizer(self._lines, self._settle_s, self._word_s, self._spoken)
        self.opened.append(recognizer)
        return recognizer

    async def aclose(self) -> None:
        for recognizer in self.opened:
            await recognizer.aclose()
