"""Every speech-to-text engine that runs here, with a way to speak to it and one to break it in the middle."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, resample, silence
from kame_core.stt.base import Recognizer, RecognizerUpdate, SpeechToText
from kame_core.stt.faster_whisper import FasterWhisperSpeechToText
from kame_core.stt.openai_realtime import OpenAIRealtimeSpeechToText
from kame_core.stt.pocketsphinx import PocketsphinxRecognizer, PocketsphinxSpeechToText
from kame_core.stt.whisper_reader import WhisperReader
from tests.support.speech import say
from tests.support.tiny_whisper import build_whisper
from tests.support.tone_words import ToneLanguage
from tests.support.transcription_server import Fault, TranscriptionServer, transcription_server

VOCABULARY = "what is the capital of france spain and population japan two plus three"


@dataclass(frozen=True, slots=True)
class Ears:
    """An engine, and how to speak to it."""

    stt: SpeechToText
    say: Callable[[str], Samples]
    break_down: Callable[[Recognizer], None]
    """Its process dies, its decoder fails, its connection breaks, its numbers overflow: once, at the next moment."""
    be_quiet: Callable[[Recognizer, float], None] = lambda recognizer, seconds: None
    """What reaches the engine of so many seconds in which nobody speaks: nothing, where it is told of speech only."""
    exact: bool = True
    """It understands every word; else only that it reads is tested (its weights are random)."""


@asynccontextmanager
async def ears(name: str, folder: Path) -> AsyncIterator[Ears]:
    """The engine of that name; `folder` is for its files, and may hold them from an earlier time."""
    async with _ENGINES[name](folder) as made:
        try:
            yield made
        finally:
            await made.stt.aclose()


class Reader:
    """Collects a recogniser's updates."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.updates: list[RecognizerUpdate] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read(recognizer))

    async def _read(self, recognizer: Recognizer) -> None:
        async for update in recognizer.updates():
            self.updates.append(update)
            self._news.set()

    async def settled(self, count: int = 1, deadline_s: float = 20.0) -> RecognizerUpdate:
        """The n-th settled update."""
        async with asyncio.timeout(deadline_s):
            while len(found := [update for update in self.updates if update.settled]) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    async def ended(self) -> None:
        """The stream of updates is over."""
        async with asyncio.timeout(2.0):
            await self._task


def narrow(text: str) -> Samples:
    """Speech as the gate passes it on: a little quiet around it, 16 kHz."""
    sound = np.concatenate([silence(6000), say(text), silence(3000)])
    return resample(sound, SAMPLE_RATE_HZ, 16_000)


@asynccontextmanager
async def _pocketsphinx(folder: Path) -> AsyncIterator[Ears]:
    def kill(recognizer: Recognizer) -> None:
        assert isinstance(recognizer, PocketsphinxRecognizer)
        os.kill(recognizer.pid, signal.SIGKILL)

    yield Ears(PocketsphinxSpeechToText(spares=0), narrow, kill)


@asynccontextmanager
async def _whisper(folder: Path) -> AsyncIterator[Ears]:
    model = folder / "whisper"
    if not model.exists():
        build_whisper(model)
    real = WhisperReader.read

    def fail(recognizer: Recognizer) -> None:
        def failing(*args: object, **options: object) -> None:
            WhisperReader.read = real  # type: ignore[method-assign]
            raise RuntimeError("out of memory")

        WhisperReader.read = failing  # type: ignore[method-assign, assignment]

    try:
        yield Ears(FasterWhisperSpeechToText(model, device="cpu"), narrow, fail, exact=False)
    finally:
        WhisperReader.read = real  # type: ignore[method-assign]


@asynccontextmanager
async def _openai(folder: Path) -> AsyncIterator[Ears]:
    language = ToneLanguage(VOCABULARY)
    async with transcription_server(TranscriptionServer(language)) as server:

        def drop(recognizer: Recognizer) -> None:
            server.fault, server.fault_count = Fault.DROP_ON_APPEND, 1

        yield Ears(OpenAIRealtimeSpeechToText(server.api), language.say, drop)


@asynccontextmanager
async def _kyutai(folder: Path) -> AsyncIterator[Ears]:
    from tests.support.spelt_ear import SpeltEar, SpeltSpeechToText  # PyTorch, which the other engines do without

    stt = SpeltSpeechToText(folder)

    def overflow(recognizer: Recognizer) -> None:
        assert isinstance(recognizer, SpeltEar)
        stt.batch.overflows.add(recognizer.slot)

    def be_quiet(recognizer: Recognizer, seconds: float) -> None:
        assert isinstance(recognizer, SpeltEar)
        recognizer.be_quiet(seconds)

    yield Ears(stt, stt.say, overflow, be_quiet)


_ENGINES = {"pocketsphinx": _pocketsphinx, "faster-whisper": _whisper, "openai": _openai, "kyutai": _kyutai}
