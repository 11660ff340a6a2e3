"""What the reader of speech works with: the utterance's sound, and one pocketsphinx decoder reading it."""

import re
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kame_core.audio import Samples, silence, to_int16

SAMPLE_RATE_HZ = 16_000
MAX_UTTERANCE_SAMPLES = 30 * SAMPLE_RATE_HZ

CepstralMean = npt.NDArray[np.float64]
"""float64 [13]."""

_NOT_WORDS = re.compile(r"\(\d+\)|<[^>]*>|\[[^\]]*\]|\+\+[^+]*\+\+")
_SPOKEN = {"mr": "mister", "mrs": "missus", "dr": "doctor"}
"""The general model writes some words short."""
_LEVEL_SAMPLES = SAMPLE_RATE_HZ // 50
FLOOR_BELOW_SPEECH = 3e-3
"""25 dB: noise power aimed at, against the mean power of the utterance."""
_FLOOR_QUANTILE = 0.03
_NOISE_SAMPLES = 8 * SAMPLE_RATE_HZ
_PINK_FROM_HZ = 100.0
_SILENT_POWER = 10.0 ** (-62.0 / 10.0)


class Utterance:
    """The sound of one utterance, given out with a noise floor; bounded at 30 s, the oldest is dropped.

    Positions count from the utterance's first sample, dropped ones included.
    """

    def __init__(self) -> None:
        self._noise = _room_noise()
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._pieces: deque[Samples] = deque()
        self._added_noise_rms = 0.0
        self.begin = 0
        self.end = 0

    @property
    def size(self) -> int:
        """Samples kept."""
        return self.end - self.begin

    def append(self, samples: Samples) -> None:
        """Add sound, float32 [n] mono 16 kHz."""
        self._pieces.append(samples)
        self.end += samples.size
        while self.end - self.begin - self._pieces[0].size >= MAX_UTTERANCE_SAMPLES:
            self.begin += self._pieces.popleft().size

    def measure(self, floor_below_speech: float = FLOOR_BELOW_SPEECH) -> bool:
        """Set the noise to be added from all sound so far; False where nobody can have spoken."""
        sound = self._joined()
        frames = sound[: sound.size // _LEVEL_SAMPLES * _LEVEL_SAMPLES].reshape(-1, _LEVEL_SAMPLES)
        if frames.shape[0] == 0:
            return False
        powers = np.mean(np.square(frames), axis=1)
        if float(np.quantile(powers, 0.9)) < _SILENT_POWER:
            return False
        missing = float(powers.mean()) * floor_below_speech - float(np.quantile(powers, _FLOOR_QUANTILE))
        self._added_noise_rms = max(0.0, missing) ** 0.5
        return True

    def pcm(self, begin: int, end: int) -> bytes:
        """16 bit little-endian PCM of a stretch, with the noise; the noise at a position is always the same."""
        sound = self._joined()[begin - self.begin : end - self.begin]
        if self._added_noise_rms > 0.0:
            at = np.arange(begin, begin + sound.size) % self._noise.size
            sound = sound + np.float32(self._added_noise_rms) * self._noise[at]
        return to_int16(sound).tobytes()

    def _joined(self) -> Samples:
        if len(self._pieces) > 1:
            self._pieces = deque([np.concatenate(self._pieces)])
        return self._pieces[0] if self._pieces else silence(0)


def _room_noise() -> Samples:
    """Pink noise, as rooms have it, at a power of 1; the same every time."""
    white = np.random.default_rng(20261122).standard_normal(_NOISE_SAMPLES)
    spectrum = np.fft.rfft(white)
    frequency_hz = np.fft.rfftfreq(_NOISE_SAMPLES, 1 / SAMPLE_RATE_HZ)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency_hz, _PINK_FROM_HZ)))
    noise: Samples = (pink / pink.std()).astype(np.float32)
    return noise


@dataclass(frozen=True, slots=True)
class Path:
    """A decoder's best path through the sound."""

    text: str
    score: float
    """Log probability per 10 ms frame in pocketsphinx's units: base 1.0001, acoustic scores scaled by 1/1024."""
    posterior: float
    """Of the whole path within the word lattice, in [0, 1]; only where the path is complete."""


NO_PATH = Path("", -1e9, 0.0)


class Stream:
    """A pocketsphinx decoder, used piece by piece or on a whole utterance.

    Args:
        options: pocketsphinx configuration (its own names).
    """

    def __init__(self, **options: Any) -> None:
        from pocketsphinx import Decoder

        # The second pass (fwdflat) doubles the time at a pause and gains 0.6 points.
        self._decoder = Decoder(loglevel="FATAL", fwdflat=False, **options)
        self.running = False
        self.position = 0
        self.mean: CepstralMean = np.zeros(13)
        """What the sound was or is normalised by."""

    def start(self, mean: CepstralMean, position: int) -> None:
        """Begin to read piece by piece at a position of the utterance, with a cepstral mean."""
        self.stop()
        self._decoder.reinit_feat(None)
        self._decoder.set_cmn(",".join(f"{value:.5g}" for value in mean))
        self.mean = mean
        self._decoder.start_utt()
        self.running = True
        self.position = position

    def feed(self, utterance: Utterance, end: int) -> None:
        """Read on up to a position."""
        begin = max(self.position, utterance.begin)
        if end > begin:
            self._decoder.process_raw(utterance.pcm(begin, end), False, False)
            self.position = end

    def path(self) -> Path:
        """The best path so far."""
        hypothesis = self._decoder.hyp()
        if hypothesis is None or hypothesis.score <= 0.0:
            return NO_PATH
        frames = max(1, self._decoder.n_frames())
        words = _NOT_WORDS.sub("", hypothesis.hypstr).split()
        text = " ".join(_SPOKEN.get(word, word) for word in words)
        return Path(text, self._decoder.get_logmath().log(hypothesis.score) / frames, hypothesis.prob)

    def finish(self) -> Path:
        """End the reading and return its best path."""
        self.stop()
        return self.path()

    def stop(self) -> None:
        """End the reading if there is one."""
        if self.running:
            self._decoder.end_utt()
            self.running = False

    def read_whole(self, utterance: Utterance, begin: int, end: int) -> Path:
        """Read a stretch at once, normalised by its own cepstral mean."""
        self.stop()
        # Ending any utterance switches the decoder to live normalisation for good; this (0.1 ms) switches it back.
        self._decoder.reinit_feat(None)
        self._decoder.start_utt()
        self._decoder.process_raw(utterance.pcm(begin, end), False, True)
        self._decoder.end_utt()
        self.mean = np.array([float(value) for value in self._decoder.get_cmn(False).split(",")])
        return self.path()


__all__ = ["MAX_UTTERANCE_SAMPLES", "NO_PATH", "SAMPLE_RATE_HZ", "CepstralMean", "Path", "Stream", "Utterance"]
