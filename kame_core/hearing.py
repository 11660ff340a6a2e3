"""The ear of one conversation: incoming sound on one time line, through voice detection, gated to speech-to-text.

Sound is analysed on a named worker and acted on in the event loop. Where none arrives (a muted microphone, packets
lost), silence is put in by the clock, so that a turn also ends when the sender falls silent altogether.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, StreamResampler, silence
from kame_core.clock import Clock
from kame_core.prosody import NOTHING_KNOWN, Prosody, ProsodyTracker
from kame_core.stt.base import Recognizer
from kame_core.vad import SAMPLE_RATE_HZ as EAR_RATE_HZ
from kame_core.vad import WINDOW_SAMPLES, GateState, SileroModel, SpeechGate, VadWindow, VoiceActivityDetector
from kame_core.workers import Workers

_MAX_WAITING_SAMPLES = 2 * SAMPLE_RATE_HZ
_NOTHING_ARRIVED_S = 0.1
PRE_ROLL_MS = 200
"""Speech-to-text gets this much of what was before the speech: its beginning may be too quiet to be noticed."""
_PRE_ROLL_SAMPLES = EAR_RATE_HZ * PRE_ROLL_MS // 1000
TAIL_MS = 200
"""Speech-to-text gets this much of a pause; longer silence inside an utterance costs accuracy."""
_RECENT_S = 2.0


@dataclass(frozen=True, slots=True)
class EarState:
    """What is heard at a moment."""

    speaking: bool
    silence_ms: int
    """Since the last voiced window; 0 while voiced."""
    lag_ms: int
    """How long ago the newest analysed sound arrived."""
    voice: Prosody = NOTHING_KNOWN


@dataclass(frozen=True, slots=True)
class _Analysed:
    sound: Samples
    states: tuple[tuple[GateState, Prosody], ...]


class Hearing:
    """Feeds one recogniser; owns nothing but its task `run`.

    Args:
        model: the shared voice detector.
        recognizer: where speech goes; its rate must be 16 or 24 kHz.
        on_state: told on the loop after every 32 ms of sound, in order.
    """

    def __init__(
        self,
        model: SileroModel,
        recognizer: Recognizer,
        workers: Workers,
        clock: Clock,
        on_state: Callable[[EarState], None],
    ) -> None:
        if recognizer.sample_rate_hz not in (EAR_RATE_HZ, SAMPLE_RATE_HZ):
            raise ValueError(f"a recogniser takes 16 or 24 kHz, not {recognizer.sample_rate_hz} Hz")
        self._recognizer = recognizer
        self._wide = recognizer.sample_rate_hz == SAMPLE_RATE_HZ
        self._workers = workers
        self._clock = clock
        self._on_state = on_state
        self._detector = VoiceActivityDetector(model)
        self._gate = SpeechGate()
        self._prosody = ProsodyTracker()
        self._resampler = StreamResampler(SAMPLE_RATE_HZ, EAR_RATE_HZ)
        self._waiting: deque[Samples] = deque()
        self._waiting_samples = 0
        self._window_came = asyncio.Event()
        self._wanted_samples = WINDOW_SAMPLES * SAMPLE_RATE_HZ // EAR_RATE_HZ
        """With so many, at 24 kHz, the next window is complete; before that there is nothing to find out."""
        self._arrived_s = 0.0
        self._filled_samples = 0
        """Silence put in by the clock since sound arrived last."""
        self._recent = _RecentSound(round(_RECENT_S * recognizer.sample_rate_hz))
        self._pushed_until = 0
        self._total_samples = 0
        self.dropped_samples = 0

    def push(self, samples: Samples) -> None:
        """Sound as it arrives, float32 [n] mono 24 kHz. Bounded at 2 s: the oldest is dropped and counted.

        What was lost before it comes with it as silence, of which the clock may have put in some already: that is not
        heard twice, as a pause that nobody made.
        """
        filled = samples[: self._filled_samples]
        self._filled_samples = 0
        self._append(samples[_leading_zeros(filled) :] if filled.size else samples)

    def _append(self, samples: Samples) -> None:
        self._arrived_s = self._clock.now()
        self._waiting.append(samples)
        self._waiting_samples += samples.size
        while self._waiting_samples > _MAX_WAITING_SAMPLES and len(self._waiting) > 1:
            oldest = self._waiting.popleft()
            self._waiting_samples -= oldest.size
            self.dropped_samples += oldest.size
        if self._waiting_samples >= self._wanted_samples:
            self._window_came.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        self._arrived_s = self._clock.now()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fill(), name="hearing silence")
            group.create_task(self._listen(), name="hearing")

    async def _fill(self) -> None:
        """Silence where nothing arrives."""
        while True:
            await self._clock.sleep_until(self._arrived_s + _NOTHING_ARRIVED_S)
            now_s = self._clock.now()
            if now_s >= self._arrived_s + _NOTHING_ARRIVED_S:
                missing = silence(round(min(now_s - self._arrived_s, 1.0) * SAMPLE_RATE_HZ))
                self._filled_samples += missing.size
                self._append(missing)

    async def _listen(self) -> None:
        while True:
            await self._window_came.wait()
            self._window_came.clear()
            sound = np.concatenate(self._waiting)
            self._waiting.clear()
            self._waiting_samples = 0
            self._act(await self._workers.run(self._analyse, sound))
            missing = WINDOW_SAMPLES - self._detector.pending_samples
            self._wanted_samples = missing * SAMPLE_RATE_HZ // EAR_RATE_HZ
            if self._waiting_samples >= self._wanted_samples:
                self._window_came.set()

    def _analyse(self, sound: Samples) -> _Analysed:
        """On the worker: one call at a time, in order."""
        narrow = self._resampler.push(sound)
        windows = self._detector.push(narrow)
        return _Analysed(sound if self._wide else narrow, tuple(self._judge(window) for window in windows))

    def _judge(self, window: VadWindow) -> tuple[GateState, Prosody]:
        state = self._gate.push(window)
        return state, self._prosody.push(window.sound, state)

    def _act(self, analysed: _Analysed) -> None:
        scale = 1.5 if self._wide else 1.0
        self._recent.push(analysed.sound)
        for state, voice in analysed.states:
            self._total_samples += WINDOW_SAMPLES
            position = min(round(self._total_samples * scale), self._recent.end)
            lag_ms = round((self._recent.end - position) * 1000 / (EAR_RATE_HZ * scale))
            # Told before the sound is passed on: speech that begins a new utterance must not be heard in the old one.
            self._on_state(EarState(state.speaking, state.silence_ms, lag_ms, voice))
            if state.speaking or (state.last_voiced_samples is not None and state.silence_ms <= TAIL_MS):
                onset = (state.onset_samples or 0) - _PRE_ROLL_SAMPLES
                self._pass_on(max(self._pushed_until, round(onset * scale)), position)

    def _pass_on(self, begin: int, end: int) -> None:
        sound = self._recent.between(begin, end)
        if sound.size:
            self._recognizer.push(sound)
            self._pushed_until = end


def _leading_zeros(samples: Samples) -> int:
    sound = np.flatnonzero(samples)
    return int(sound[0]) if sound.size else samples.size


class _RecentSound:
    """The newest samples of a time line, addressed by their position on it.

    Args:
        samples: how many are kept at least.
    """

    def __init__(self, samples: int) -> None:
        self._kept = samples
        self._buffer = silence(2 * samples)
        self._size = 0
        self.end = 0
        """Position behind the newest sample."""

    def push(self, sound: Samples) -> None:
        """Append float32 [n]."""
        if self._size + sound.size > self._buffer.size:
            line = np.concatenate([self._buffer[: self._size], sound])[-self._kept :]
            self._buffer[: line.size] = line
            self._size = line.size
        else:
            self._buffer[self._size : self._size + sound.size] = sound
            self._size += sound.size
        self.end += sound.size

    def between(self, begin: int, end: int) -> Samples:
        """A copy of what is still kept of this stretch."""
        first = self.end - self._size
        return self._buffer[max(begin, first) - first : max(end, first) - first].copy()
