"""Kyutai's speech-to-text behind a front end whose codec writes each of the tokens that are spelt in the sound.

Sound passes through a slot there, not through the recogniser. So a recogniser of this engine brings a slot of its own:
what is pushed to it is heard by the slot, frame by frame, and silence whenever nothing is pushed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kame_core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from kame_core.frontend.moshi.tokenizer import MoshiTokenizer
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.kyutai import KyutaiRecognizer
from kame_core.stt.kyutai_listener import KyutaiListener
from kame_core.stt.kyutai_lm import SttBatch, SttStep
from kame_core.stt.outbox import Outbox
from tests.support.tiny_kyutai import CODEBOOKS, DELAY, build_listening_lm
from tests.support.tiny_moshi import CODEBOOK_SIZE, PAD_ID, build_tokenizer

_QUIET_FRAMES = 2
_FRAME_S = 0.004
"""Frames of silence come twenty times as fast as in a talk."""
_LOUDEST = 0.9


class SpeltBatch(SttBatch):
    """The model's batch; its numbers overflow where a test wants that."""

    def __init__(self, capacity: int) -> None:
        super().__init__(build_listening_lm(), capacity, torch.zeros(CODEBOOKS, 4, dtype=torch.long))
        self.overflows: set[int] = set()
        """Slots whose next step fails."""

    def _stepped(self, codes: Tensor) -> SttStep:
        step = super()._stepped(codes)
        faults, self.overflows = frozenset(self.overflows), set()
        return SttStep(step.tokens, step.pauses, step.faults | faults)


class SpeltSpeechToText:
    """Opens ears on slots of a listener of their own.

    Args:
        folder: for the tokenizer's file.
        capacity: slots.
    """

    name = "kyutai"

    def __init__(self, folder: Path, capacity: int = 2) -> None:
        path = folder / "tokenizer.model"
        path.write_bytes(build_tokenizer())
        self._tokenizer = MoshiTokenizer(path)
        self.batch = SpeltBatch(capacity)
        self.listener = KyutaiListener(self.batch, self._tokenizer, frozenset({0, PAD_ID}), DELAY)
        self._free = list(range(capacity))
        self._ears: dict[int, SpeltEar] = {}

    def say(self, text: str) -> Samples:
        """A text as sound, float32 [n] mono 24 kHz: a frame for each token, in a little quiet."""
        tokens = [0] * _QUIET_FRAMES + list(self._tokenizer.encode(text)) + [0] * _QUIET_FRAMES
        return np.repeat(np.array(tokens, np.float32) * np.float32(_LOUDEST / CODEBOOK_SIZE), FRAME_SAMPLES)

    async def open(self, language: str) -> "SpeltEar":
        """An ear on a free slot."""
        slot = self._free.pop()
        self.listener.open(slot)
        ear = self._ears[slot] = SpeltEar(self, slot)
        return ear

    def step(self, slot: int, code: int) -> None:
        """A frame of one slot; the others hear silence."""
        codes = torch.zeros(self.batch.capacity, CODEBOOKS, 1, dtype=torch.long)
        codes[slot, 0, 0] = code
        for other, updates in self.listener.hear(codes, spare_s=1.0).items():
            for update in updates:
                self._ears[other].told(update)

    def give_back(self, slot: int) -> None:
        """The ear on it was closed."""
        self.listener.close(slot)
        del self._ears[slot]
        self._free.append(slot)

    async def aclose(self) -> None:
        """Close all ears."""
        for ear in list(self._ears.values()):
            await ear.aclose()
        self.listener.shutdown()


class SpeltEar:
    """A `KyutaiRecognizer` and its slot."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, engine: SpeltSpeechToText, slot: int) -> None:
        self._engine = engine
        self.slot = slot
        self._recognizer = KyutaiRecognizer(engine.listener)
        self._recognizer.attach(slot)
        self._outbox = Outbox()
        self._rest = silence(0)
        self._speaks = False
        self._ticking = asyncio.create_task(self._tick())
        self._closed = False

    def push(self, samples: Samples) -> None:
        """Hear speech."""
        if self._closed:
            return
        self._speaks = True
        self._recognizer.push(samples)
        sound = np.concatenate([self._rest, samples])
        frames = sound.size // FRAME_SAMPLES
        self._rest = sound[frames * FRAME_SAMPLES :]
        for frame in sound[: frames * FRAME_SAMPLES].reshape(frames, FRAME_SAMPLES):
            spelt = float(np.ptp(frame)) < 1e-6  # all else is noise, of which this codec makes nothing
            self._engine.step(self.slot, round(float(frame[0]) * CODEBOOK_SIZE / _LOUDEST) if spelt else 0)

    def flush(self) -> None:
        """A pause."""
        self._complete_frame()
        self._recognizer.flush()
        self._speaks = False

    def commit(self) -> None:
        """The next utterance."""
        self._complete_frame()
        self._recognizer.commit()
        self._outbox.drop_readings()

    def be_quiet(self, seconds: float) -> None:
        """Nobody speaks for so long, of the slot's time."""
        for _ in range(round(seconds * SAMPLE_RATE_HZ / FRAME_SAMPLES)):
            self._engine.step(self.slot, 0)

    def updates(self) -> AsyncIterator[RecognizerUpdate]:
        """Readings of the slot."""
        return self._outbox

    def told(self, update: RecognizerUpdate) -> None:
        """What came with a frame."""
        self._outbox.put(update)

    async def aclose(self) -> None:
        """Give the slot back; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._ticking.cancel()
        with suppress(asyncio.CancelledError):
            await self._ticking
        await self._recognizer.aclose()
        self._outbox.close()
        self._engine.give_back(self.slot)

    def _complete_frame(self) -> None:
        if self._rest.size and not self._closed:
            self.push(silence(FRAME_SAMPLES - self._rest.size))

    async def _tick(self) -> None:
        """Silence comes in pauses; pieces of speech may be as far apart as the test likes."""
        while True:
            await asyncio.sleep(_FRAME_S)
            if not self._speaks:
                self._engine.step(self.slot, 0)
