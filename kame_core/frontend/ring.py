"""The sample ring between a conversation, where sound arrives in pieces, and the ticker, which takes whole frames.

Arriving sound never drives the clock: `take` always returns what it is asked for. What is missing is concealed, and
the late samples are then left out, so that an underrun does not add delay for ever. The depth kept in reserve (the
target) follows the measured jitter. See the discussion of playout delay in RFC 3550, section 6.4.4, and of adaptive
jitter buffers in WebRTC's NetEQ, of which this is a much smaller relative.
"""

import threading
from dataclasses import dataclass

import numpy as np

from kame_core.audio import MAX_GAP_S, SAMPLE_RATE_HZ, Samples, level_dbfs, silence

CAPACITY_SAMPLES = 2 * SAMPLE_RATE_HZ
_MAX_GAP_SAMPLES = round(MAX_GAP_S * SAMPLE_RATE_HZ)
_LEAST_TARGET_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000
_MOST_TARGET_SAMPLES = SAMPLE_RATE_HZ * 100 // 1000
_DECAY_SAMPLES = SAMPLE_RATE_HZ * 5 // 1000
_DECAY_EVERY_SAMPLES = 10 * SAMPLE_RATE_HZ
_DEBT_EXPIRY_SAMPLES = SAMPLE_RATE_HZ
_SLACK_WINDOW_SAMPLES = SAMPLE_RATE_HZ
_SLACK_STEP_SAMPLES = SAMPLE_RATE_HZ * 10 // 1000
_MOST_SLACK_SAMPLES = SAMPLE_RATE_HZ * 200 // 1000
_QUIET_DBFS = -45.0
_FADE_SAMPLES = SAMPLE_RATE_HZ * 5 // 1000
_FALLING = np.linspace(1.0, 0.0, _FADE_SAMPLES, dtype=np.float32)
_RISING = np.linspace(0.0, 1.0, _FADE_SAMPLES, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class RingStats:
    """Counters since the ring was made, and its state now; all in samples."""

    pushed: int
    concealed: int
    """Made up because nothing was there in time."""
    discarded: int
    """Left out: came late, or stood in the way of a short delay."""
    overflowed: int
    """Dropped because the ring was full."""
    depth: int
    target: int
    debt: int


class SampleRing:
    """A bounded FIFO of float32 mono 24 kHz samples with a fixed-rate reader. Thread-safe; locks last microseconds.

    Overflow policy: drop the oldest, counted.
    """

    def __init__(self, capacity_samples: int = CAPACITY_SAMPLES) -> None:
        self._lock = threading.Lock()
        self._buffer = silence(capacity_samples)
        self._first = 0
        self._depth = 0
        self._target = _LEAST_TARGET_SAMPLES
        self._started = False
        self._debt = 0
        self._since_underrun = 0
        self._since_decay = 0
        self._missing_run = 0
        self._idle = 0
        self._target_before_gap = self._target
        self._low_water = capacity_samples
        self._window = 0
        self._fade_in = True
        self._history = silence(_FADE_SAMPLES)
        self._pushed = self._concealed = self._discarded = self._overflowed = 0

    @property
    def depth_samples(self) -> int:
        """Samples waiting."""
        with self._lock:
            return self._depth

    @property
    def stats(self) -> RingStats:
        """A snapshot of the counters."""
        with self._lock:
            return RingStats(
                self._pushed, self._concealed, self._discarded, self._overflowed, self._depth, self._target, self._debt
            )

    def push(self, samples: Samples) -> None:
        """Add sound, float32 [n], any n."""
        capacity = self._buffer.size
        with self._lock:
            self._pushed += samples.size
            self._idle = 0
            if samples.size > capacity:
                self._overflowed += samples.size - capacity
                samples = samples[-capacity:]
            surplus = self._depth + samples.size - capacity
            if surplus > 0:
                self._overflowed += surplus
                self._advance(surplus)
            end = (self._first + self._depth) % capacity
            head = min(samples.size, capacity - end)
            self._buffer[end : end + head] = samples[:head]
            self._buffer[: samples.size - head] = samples[head:]
            self._depth += samples.size

    def take(self, samples: int) -> Samples:
        """The next `samples` of the time line, float32 [samples]; silence until enough has been gathered."""
        with self._lock:
            self._idle += samples
            if not self._started and not self._start(samples):
                return silence(samples)
            self._drop_late(samples)
            have = min(samples, self._depth)
            out = silence(samples)
            out[:have] = self._read(have)
            if self._fade_in and have:
                ramp = min(_FADE_SAMPLES, have)
                out[:ramp] *= _RISING[:ramp]
                self._fade_in = False
            if have < samples:
                self._conceal(out, have)
            else:
                self._settle(samples)
            self._history = out[-_FADE_SAMPLES:].copy()
            return out

    def _start(self, samples: int) -> bool:
        if self._depth < samples + self._target:
            if self._idle >= _MAX_GAP_SAMPLES:  # the rest of something long past
                self._discarded += self._depth
                self._advance(self._depth)
            return False
        surplus = self._depth - samples - self._target  # gathered while waiting for the tick: nobody has heard it yet
        self._discarded += surplus
        self._advance(surplus)
        self._started = True
        self._fade_in = True
        self._forget()
        return True

    def _forget(self) -> None:
        self._debt = self._missing_run = self._since_underrun = self._since_decay = self._window = 0
        self._low_water = self._buffer.size

    def _drop_late(self, samples: int) -> None:
        """Leave out what comes after its time was concealed, or stands in a burst longer than any jitter."""
        surplus = self._depth - samples - self._target
        late = surplus if surplus > _MOST_SLACK_SAMPLES else min(self._debt, surplus)
        if late > 0:
            self._debt = max(0, self._debt - late)
            self._splice(late)

    def _conceal(self, out: Samples, have: int) -> None:
        """Fade out on a mirror image of the last 5 ms, so that there is no step, then silence; take note of the gap."""
        samples = out.size
        missing = samples - have
        if not self._fade_in:  # sound was going on
            before = np.concatenate([self._history, out[:have]])[-_FADE_SAMPLES:]
            ramp = min(_FADE_SAMPLES, missing)
            out[have : have + ramp] = before[::-1][:ramp] * _FALLING[:ramp]
        self._fade_in = True
        self._concealed += missing
        if self._missing_run == 0:
            self._target_before_gap = self._target
        self._missing_run = self._missing_run + missing if have == 0 else missing
        if self._missing_run >= _MAX_GAP_SAMPLES:  # no jitter but mute, DTX or a lost track
            self._target = self._target_before_gap
            self._started = False
            self._forget()
            return
        raised = min(missing, _MOST_TARGET_SAMPLES - self._target)
        self._target += raised
        self._debt = min(self._debt + missing - raised, _MAX_GAP_SAMPLES)
        self._since_underrun = self._since_decay = self._window = 0
        self._low_water = self._buffer.size

    def _settle(self, samples: int) -> None:
        """A whole frame was there: forget old debts, decay the target, take slack out in quiet passages."""
        self._missing_run = 0
        self._since_underrun += samples
        self._since_decay += samples
        if self._since_underrun >= _DEBT_EXPIRY_SAMPLES:  # those samples are lost, not late
            self._debt = 0
        if self._since_decay >= _DECAY_EVERY_SAMPLES:
            self._since_decay = 0
            self._target = max(_LEAST_TARGET_SAMPLES, self._target - _DECAY_SAMPLES)
        self._low_water = min(self._low_water, self._depth)
        self._window += samples
        if self._window < _SLACK_WINDOW_SAMPLES:
            return
        slack = min(self._low_water - self._target, _SLACK_STEP_SAMPLES)
        if slack > 0 and level_dbfs(self._peek(slack)) < _QUIET_DBFS:
            self._discarded += slack
            self._advance(slack)
            self._low_water -= slack
        if self._low_water <= self._target or self._window >= 2 * _SLACK_WINDOW_SAMPLES:
            self._window = 0
            self._low_water = self._buffer.size

    def _splice(self, samples: int) -> None:
        """Leave out the next `samples`, with a cross-fade over 5 ms."""
        self._discarded += samples
        leaving = self._peek(min(_FADE_SAMPLES, samples))
        self._advance(samples)
        ramp = min(leaving.size, self._depth)
        if ramp == 0:
            return
        blend = np.linspace(0.0, 1.0, ramp, dtype=np.float32)
        mixed = leaving[:ramp] * (1.0 - blend) + self._peek(ramp) * blend
        index = (self._first + np.arange(ramp)) % self._buffer.size
        self._buffer[index] = mixed

    def _peek(self, samples: int) -> Samples:
        end = self._first + samples
        if end <= self._buffer.size:
            return self._buffer[self._first : end].copy()
        return np.concatenate([self._buffer[self._first :], self._buffer[: end - self._buffer.size]])

    def _read(self, samples: int) -> Samples:
        out = self._peek(samples)
        self._advance(samples)
        return out

    def _advance(self, samples: int) -> None:
        self._first = (self._first + samples) % self._buffer.size
        self._depth -= samples
