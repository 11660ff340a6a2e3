"""Talking to Whisper speech-to-text on a model at hand, and taking its updates."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kame_core.audio import Samples
from kame_core.stt.base import Recognizer, RecognizerUpdate
from kame_core.stt.faster_whisper import FasterWhisperSpeechToText

RATE_HZ = 16_000
PIECE_SAMPLES = 512


@asynccontextmanager
async def engine(model: Path, **options: Any) -> AsyncIterator[FasterWhisperSpeechToText]:
    stt = FasterWhisperSpeechToText(model, device="cpu", **options)
    try:
        yield stt
    finally:
        await stt.aclose()


def speech(seconds: float, seed: int = 1) -> Samples:
    """Syllable-like noise bursts, float32 16 kHz."""
    count = round(seconds * RATE_HZ)
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * np.arange(count) / RATE_HZ)
    noise = np.random.default_rng(seed).standard_normal(count)
    return (0.1 * envelope * noise).astype(np.float32)


def push(recognizer: Recognizer, sound: Samples) -> None:
    for start in range(0, sound.size, PIECE_SAMPLES):
        recognizer.push(sound[start : start + PIECE_SAMPLES])


class Reader:
    """Takes a recogniser's updates one by one, or all that come within a time."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._updates = recognizer.updates()

    async def next(self) -> RecognizerUpdate:
        async with asyncio.timeout(20):
            return await anext(self._updates)

    async def settled(self) -> RecognizerUpdate:
        while not (update := await self.next()).settled:
            pass
        return update

    async def within(self, seconds: float) -> list[RecognizerUpdate]:
        updates: list[RecognizerUpdate] = []
        task = asyncio.ensure_future(anext(self._updates))
        async with asyncio.timeout(20):
            while (await asyncio.wait([task], timeout=seconds))[0]:
                updates.append(task.result())
                task = asyncio.ensure_future(anext(self._updates))
        task.cancel()
        await asyncio.wait([task])
        return updates
