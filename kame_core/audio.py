"""Sound: formats, resampling, gap filling, files.

Inside the engine sound is always float32 in [-1, 1], mono, 24 kHz, in frames of 1,920 samples (80 ms).
"""

import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler

Samples = npt.NDArray[np.float32]

SAMPLE_RATE_HZ = 24_000
FRAME_SAMPLES = 1_920
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
PIECE_SAMPLES = 480
"""20 ms: what transports carry and what the ear takes at a time."""
MAX_GAP_S = 0.4
"""Longest gap that is filled with silence; after a longer one the time line starts anew."""


def silence(samples: int) -> Samples:
    """`samples` zeros."""
    return np.zeros(samples, np.float32)


def level_dbfs(samples: Samples) -> float:
    """Root mean square level in dB against full scale; -120 for silence."""
    if samples.size == 0:
        return -120.0
    power = float(np.dot(samples, samples)) / samples.size
    return max(-120.0, 10.0 * float(np.log10(power))) if power > 0 else -120.0


def to_int16(samples: Samples) -> npt.NDArray[np.int16]:
    """Float32 in [-1, 1] to 16 bit; louder samples are clipped."""
    clipped: npt.NDArray[np.int16] = np.clip(np.rint(samples * 32767.0), -32768, 32767).astype(np.int16)
    return clipped


def from_int16(samples: npt.NDArray[np.int16]) -> Samples:
    """16 bit to float32 in [-1, 1]."""
    return samples.astype(np.float32) / 32768.0


def fade(samples: Samples, start_gain: float, end_gain: float) -> Samples:
    """A copy with a linear gain ramp over its whole length."""
    return samples * np.linspace(start_gain, end_gain, samples.size, dtype=np.float32)


class StreamResampler:
    """Resamples one live stream; about 1 ms of lag, steady output (PyAV; soxr's streams come in bursts)."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self.from_hz = from_hz
        self.to_hz = to_hz
        self._resampler = AudioResampler(format="flt", layout="mono", rate=to_hz)

    def push(self, samples: Samples) -> Samples:
        """float32 [n] at `from_hz` to float32 [about n * to_hz / from_hz]."""
        if self.from_hz == self.to_hz:
            return samples
        return _joined(self._resampler.resample(_frame(samples, self.from_hz)))

    def flush(self) -> Samples:
        """What is still inside; the stream is over then."""
        if self.from_hz == self.to_hz:
            return silence(0)
        return _joined(self._resampler.resample(None))


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """A whole clip, float32 [n], to another rate."""
    if from_hz == to_hz or samples.size == 0:
        return samples
    stream = StreamResampler(from_hz, to_hz)
    return np.concatenate([stream.push(samples), stream.flush()])


def _frame(samples: Samples, rate_hz: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="flt", layout="mono")
    frame.sample_rate = rate_hz
    return frame


def _joined(frames: list[Any]) -> Samples:
    if not frames:
        return silence(0)
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


class GapFiller:
    """Puts pieces that carry a position on one continuous time line.

    Missing samples become silence, with 2 ms ramps at the edges so that they do not click; overlapping ones are cut.
    A jump of more than `MAX_GAP_S`, forwards or backwards, starts a new time line.
    """

    _RAMP_SAMPLES = 48

    def __init__(self, rate_hz: int = SAMPLE_RATE_HZ) -> None:
        self._max_gap_samples = round(MAX_GAP_S * rate_hz)
        self._next: int | None = None
        self.filled_samples = 0

    def push(self, position_samples: int, samples: Samples) -> Samples:
        """A piece that begins at `position_samples`; returns what to append to the time line, float32 [m]."""
        gap = 0 if self._next is None else position_samples - self._next
        if abs(gap) > self._max_gap_samples:
            gap = 0
            self._next = None
        self._next = max(self._next or 0, position_samples + samples.size)
        if gap == 0:
            return samples
        if gap < 0:
            return samples[min(-gap, samples.size) :]
        self.filled_samples += gap
        head = samples.copy()
        ramp = min(self._RAMP_SAMPLES, head.size)
        head[:ramp] = fade(head[:ramp], 0.0, 1.0)
        return np.concatenate([silence(gap), head])


def read_audio(path: str | Path) -> Samples:
    """Any file FFmpeg reads, as float32 [n] mono 24 kHz."""
    resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    pieces: list[Samples] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            pieces.append(_joined(resampler.resample(frame)))
    pieces.append(_joined(resampler.resample(None)))
    return np.concatenate(pieces)


def write_wav(path: str | Path, samples: Samples, rate_hz: int = SAMPLE_RATE_HZ) -> None:
    """float32 [n] mono to a 16 bit WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(to_int16(samples).tobytes())
