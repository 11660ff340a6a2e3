"""The agent's voice on its way out: frames in every 80 ms, pieces out every 20 ms, with the words that lie on them.

A transport reads; what it has read counts as played. The buffer holds a small margin above the frame being played, so
that a tick may come late; the margin follows what really happened and shrinks again. No clock is needed: time here
is counted in samples read.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kame_core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence

_FADE_SAMPLES = SAMPLE_RATE_HZ * 5 // 1000
_MIN_MARGIN_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000
_MAX_MARGIN_SAMPLES = SAMPLE_RATE_HZ * 100 // 1000
_MARGIN_STEP_SAMPLES = SAMPLE_RATE_HZ * 10 // 1000
_MARGIN_HOLD_SAMPLES = SAMPLE_RATE_HZ * 10
_SURPLUS_SAMPLES = SAMPLE_RATE_HZ * 60 // 1000
_DUCKED_GAIN = 10 ** (-18 / 20)
_DUCK_RAMP_SAMPLES = SAMPLE_RATE_HZ * 30 // 1000
_RESTORE_RAMP_SAMPLES = SAMPLE_RATE_HZ * 120 // 1000


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a frame of voice says."""

    response_id: str
    text: str
    """Words that begin in the frame, each with its leading space."""
    origin: str
    voiced: bool


class _Frame:
    __slots__ = ("begun", "samples", "spoken")

    def __init__(self, samples: Samples, spoken: Spoken | None) -> None:
        self.samples = samples
        self.spoken = spoken
        self.begun = False


class Playout:
    """One conversation's outgoing voice. Every method is called on the event loop.

    Args:
        on_begin: told when the first sample of a frame that says something is read.
        on_end: told when its last sample has been read: from then on its words count as heard.
        on_lost: told when a frame that says something was thrown away unplayed.
    """

    def __init__(
        self,
        on_begin: Callable[[Spoken], None],
        on_end: Callable[[Spoken], None],
        on_lost: Callable[[Spoken], None],
    ) -> None:
        self._on_begin = on_begin
        self._on_end = on_end
        self._on_lost = on_lost
        self._frames: deque[_Frame] = deque()
        self._depth_samples = 0
        self._margin_samples = _MIN_MARGIN_SAMPLES
        self._since_underrun_samples = 0
        self._tail = silence(0)
        self._gain = 1.0
        self._target_gain = 1.0
        self._listeners = 0
        self._in_voice = False
        self.underruns = 0
        self.dropped_samples = 0

    # --- who listens ---

    def attach(self) -> None:
        """A transport begins to read."""
        self._listeners += 1

    def detach(self) -> None:
        """It stops; with nobody reading, what is said is not heard."""
        self._listeners = max(0, self._listeners - 1)
        if self._listeners == 0:
            self._drop_all()

    @property
    def depth_samples(self) -> int:
        """Samples that wait to be read."""
        return self._depth_samples

    @property
    def voiced(self) -> bool:
        """Something that waits or is being played is voice."""
        return any(frame.spoken is not None and frame.spoken.voiced for frame in self._frames)

    # --- in ---

    def push(self, samples: Samples, spoken: Spoken | None) -> None:
        """Append a frame of voice, float32 [n] mono 24 kHz; `spoken` None for silence between responses."""
        if self._listeners == 0:
            if spoken is not None:
                self._on_lost(spoken)
            return
        if spoken is None or not spoken.voiced:
            samples = self._fitted_silence(samples)
            if samples.size == 0 and spoken is None:
                return
        elif self._depth_samples > self._margin_samples + FRAME_SAMPLES + _SURPLUS_SAMPLES:
            self._shorten(self._depth_samples - self._margin_samples - FRAME_SAMPLES)
        self._frames.append(_Frame(samples, spoken))
        self._depth_samples += samples.size

    def _fitted_silence(self, samples: Samples) -> Samples:
        """Silence may be stretched or cut freely: bring the depth back to the margin."""
        surplus = self._depth_samples - self._margin_samples
        if surplus >= samples.size:
            self.dropped_samples += samples.size
            return silence(0)
        return samples[: samples.size - surplus] if surplus > 0 else np.concatenate([silence(-surplus), samples])

    def _shorten(self, samples: int) -> None:
        """Cut the oldest samples away. Words that began there pass to the frame behind: most of each is heard."""
        self.dropped_samples += samples
        while samples > 0 and self._frames:
            head = self._frames[0]
            if head.samples.size > samples:
                head.samples = head.samples[samples:]
                self._depth_samples -= samples
                return
            samples -= head.samples.size
            self._depth_samples -= head.samples.size
            self._frames.popleft()
            self._carry_words(head)
            self._finish(head)

    def _carry_words(self, cut: _Frame) -> None:
        heir = self._frames[0] if self._frames else None
        if cut.begun or cut.spoken is None or heir is None or heir.spoken is None:
            return
        if heir.spoken.response_id == cut.spoken.response_id:
            heir.spoken = replace(heir.spoken, text=cut.spoken.text + heir.spoken.text)
            cut.spoken = replace(cut.spoken, text="")

    # --- out ---

    def read(self, samples: int) -> Samples:
        """The next `samples` of voice, float32; silence where there is none. Never waits."""
        out = silence(samples)
        filled = min(samples, self._tail.size)
        out[:filled] = self._tail[:filled]
        self._tail = self._tail[filled:]
        while filled < samples and self._frames:
            head = self._frames[0]
            if not head.begun:
                head.begun = True
                if head.spoken is not None:
                    self._on_begin(head.spoken)
                    if not self._frames or self._frames[0] is not head:  # the listener flushed
                        break
            self._in_voice = head.spoken is not None and head.spoken.voiced
            taken = min(samples - filled, head.samples.size)
            out[filled : filled + taken] = head.samples[:taken]
            head.samples = head.samples[taken:]
            filled += taken
            self._depth_samples -= taken
            if head.samples.size == 0:
                self._frames.popleft()
                self._finish(head)
        self._adapt(samples, underrun=filled < samples and self._in_voice)
        return self._with_gain(out)

    def _adapt(self, samples: int, *, underrun: bool) -> None:
        self._since_underrun_samples += samples
        if underrun:
            self.underruns += 1
            self._in_voice = False  # one gap is one underrun, however long
            self._since_underrun_samples = 0
            self._margin_samples = min(_MAX_MARGIN_SAMPLES, self._margin_samples + _MARGIN_STEP_SAMPLES)
        elif self._since_underrun_samples > _MARGIN_HOLD_SAMPLES:
            self._since_underrun_samples = 0
            self._margin_samples = max(_MIN_MARGIN_SAMPLES, self._margin_samples - _MARGIN_STEP_SAMPLES // 2)

    def _with_gain(self, out: Samples) -> Samples:
        if self._gain == self._target_gain:
            return out if self._gain == 1.0 else out * np.float32(self._gain)
        ramp = _DUCK_RAMP_SAMPLES if self._target_gain < 1.0 else _RESTORE_RAMP_SAMPLES
        step = (1.0 - _DUCKED_GAIN) / ramp * (1 if self._target_gain > self._gain else -1)
        gains = self._gain + step * np.arange(1, out.size + 1, dtype=np.float32)
        gains = np.clip(gains, min(self._gain, self._target_gain), max(self._gain, self._target_gain))
        self._gain = float(gains[-1])
        if abs(self._gain - self._target_gain) < 1e-4:
            self._gain = self._target_gain
        louder: Samples = out * gains.astype(np.float32)
        return louder

    # --- control ---

    def duck(self) -> None:
        """Lower the voice by 18 dB within 30 ms, beginning with the next piece read."""
        self._target_gain = _DUCKED_GAIN

    def restore(self) -> None:
        """Bring the voice back within 120 ms."""
        self._target_gain = 1.0

    def flush(self) -> None:
        """Throw away what waits: the voice fades within 5 ms and what was not played is lost."""
        if self._frames and self._frames[0].begun:
            head = self._frames[0].samples[:_FADE_SAMPLES]
            ramp = np.linspace(1.0, 0.0, head.size, dtype=np.float32)
            self._tail = head * ramp * np.float32(self._gain)
        self._drop_all()
        self._gain = self._target_gain = 1.0

    def _drop_all(self) -> None:
        frames, self._frames = self._frames, deque()
        self._depth_samples = 0
        for frame in frames:
            if frame.spoken is not None:
                self._on_lost(frame.spoken)

    def _finish(self, frame: _Frame) -> None:
        if frame.spoken is None:
            return
        if frame.begun:
            self._on_end(frame.spoken)
        else:
            self._on_lost(frame.spoken)
