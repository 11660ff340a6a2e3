"""How something is said, beside what is said: cheap measures of a voice, window by window.

Articulation tells words from hums: the shape of the spectrum changes quickly in words, hardly in "mm" or a drawn-out
"oh". Melody tells whether a pause may be an end: towards the end of a turn pitch falls below the speaker's middle,
before a pause within it pitch is held (Gravano and Hirschberg, Turn-taking cues in task-oriented dialogue, Computer
Speech and Language 25, 2011). Decay tells that a sound is dying away. About 0.1 ms for 32 ms of speech, nothing in
silence.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
import numpy.fft
import numpy.ma  # `median` imports it when first called: in the middle of a call, for 0.2 s

from kame_core.audio import Samples, silence
from kame_core.vad import SAMPLE_RATE_HZ, WINDOW_SAMPLES, GateChange, GateState

_FRAME_SAMPLES = 640
_HOP_SAMPLES = 256
_BAND_EDGES_HZ = (100, 300, 500, 800, 1200, 1800, 2600, 3600, 5000, 7500)
_CHANGE_HOPS = 4
"""Spectra 64 ms apart are compared: a sound of speech lasts about so long."""
_RANGE_DB = 45.0
"""Bands further below the loudest so far count as silent."""
_AUDIBLE_DB = 20.0
"""What changes below this counts once the voice is back: it was a consonant then, else only the end."""
_JOINED_MS = 400
"""Sounds that are no further apart are judged as one ("uh-huh")."""
_LEVEL_HOPS = 5
"""A voice that is low for so long is no consonant's closure."""
_LEAD_WINDOWS = 2
"""Speech began so long before the gate noticed it."""
_PITCH_SAMPLES = 1024
_PITCH_HZ = (60, 400)
_PERIODIC = 0.5
"""Normalised autocorrelation from which a frame has a pitch."""
_NEAR_BEST = 0.88
"""The shortest period that is nearly as good as the best is taken: multiples of it are as good."""
_REMEMBERED_PITCHES = 320
_KNOWN_PITCHES = 12
_FINAL_PITCHES = 3
_FALLEN_SEMITONES = -2.5
_HELD_SEMITONES = (-1.8, 3.5)
"""Below it is a fall that says little, above it a question's rise, or an octave error."""


class Melody(StrEnum):
    """How the pitch of the last sounds lies to the speaker's median."""

    UNKNOWN = "unknown"
    HELD = "held"
    FALLEN = "fallen"


@dataclass(frozen=True, slots=True)
class Prosody:
    """The voice at a moment."""

    articulation_db: float | None = None
    """Mean change of the spectrum's shape over 64 ms since the speech began; None: too short to tell."""
    decay_db: float = 0.0
    """How far the level of the last 80 ms is below the loudest of this stretch of speech."""
    melody: Melody = Melody.UNKNOWN
    """Where the pitch was when the voice ceased; meant for pauses."""


NOTHING_KNOWN = Prosody()


def _bands() -> Samples:
    frequencies = np.fft.rfftfreq(_FRAME_SAMPLES, 1 / SAMPLE_RATE_HZ)
    rows = [(frequencies >= low) & (frequencies < high) for low, high in pairwise(_BAND_EDGES_HZ)]
    return np.array(rows, np.float32).T


class ProsodyTracker:
    """One conversation's voice. Not thread-safe; told every window in order, beside the gate's state after it."""

    def __init__(self) -> None:
        self._recent = silence(0)
        self._bands = _bands()
        self._window = np.hanning(_FRAME_SAMPLES).astype(np.float32)
        self._pitch_window = np.hanning(_PITCH_SAMPLES).astype(np.float32)
        self._pitch_weight = _autocorrelation(self._pitch_window)
        self._shapes: deque[Samples] = deque(maxlen=_CHANGE_HOPS)
        self._pitches: deque[float] = deque(maxlen=_REMEMBERED_PITCHES)
        self._final: deque[float] = deque(maxlen=_FINAL_PITCHES)
        self._silence_ms = _JOINED_MS + 1
        self._heard = NOTHING_KNOWN
        self._begin()

    def push(self, samples: Samples, state: GateState) -> Prosody:
        """The next window, float32 [512] mono 16 kHz, and what the gate knows after it."""
        self._recent = np.concatenate([self._recent, samples])[-_kept_samples() :]
        if state.change is GateChange.BEGAN:
            if self._silence_ms > _JOINED_MS:
                self._begin()
            self._follow((1 + _LEAD_WINDOWS) * WINDOW_SAMPLES)
        elif state.speaking:
            self._follow(WINDOW_SAMPLES)
        elif state.change is not GateChange.PAUSED:
            self._silence_ms = state.silence_ms
            return self._heard
        if state.silence_ms == 0:
            self._listen_for_pitch()
        self._silence_ms = state.silence_ms
        melody = self._judged_melody() if state.silence_ms else Melody.UNKNOWN
        articulation_db = self._changed_db / self._changes if self._changes else None
        self._heard = Prosody(articulation_db, self._peak_db - max(self._levels_db), melody)
        return self._heard

    def _begin(self) -> None:
        self._shapes.clear()
        self._final.clear()
        self._onset_hops = _CHANGE_HOPS
        self._uncounted_db: list[float] = []
        self._changed_db = 0.0
        self._changes = 0
        self._peak_db = -200.0
        self._levels_db: deque[float] = deque([-200.0], maxlen=_LEVEL_HOPS)

    def _follow(self, new_samples: int) -> None:
        """Spectra of the newest sound."""
        sound = self._recent[-(new_samples + _FRAME_SAMPLES - _HOP_SAMPLES) :]
        if sound.size < _FRAME_SAMPLES:
            return
        frames = np.lib.stride_tricks.sliding_window_view(sound, _FRAME_SAMPLES)[::_HOP_SAMPLES]
        power = np.abs(np.fft.rfft(frames * self._window, axis=1)) ** 2
        bands_db = 10.0 * np.log10(power.astype(np.float32) @ self._bands + 1e-6)
        for band_db in bands_db:
            self._peak_db = max(self._peak_db, float(band_db.max()))
            floored = np.maximum(band_db, self._peak_db - _RANGE_DB)
            shape = floored - floored.mean()
            if len(self._shapes) == _CHANGE_HOPS and self._onset_hops:
                self._onset_hops -= 1  # between silence and speech
            elif len(self._shapes) == _CHANGE_HOPS:
                self._uncounted_db.append(float(np.abs(shape - self._shapes[0]).mean()))
            if band_db.max() >= self._peak_db - _AUDIBLE_DB:
                self._changed_db += sum(self._uncounted_db)
                self._changes += len(self._uncounted_db)
                self._uncounted_db.clear()
            self._shapes.append(shape)
            self._levels_db.append(float(band_db.max()))

    def _listen_for_pitch(self) -> None:
        sound = self._recent[-_PITCH_SAMPLES:]
        if sound.size < _PITCH_SAMPLES:
            return
        correlation = _autocorrelation((sound - sound.mean()) * self._pitch_window)
        if correlation[0] <= 0.0:
            return
        shortest, longest = SAMPLE_RATE_HZ // _PITCH_HZ[1], SAMPLE_RATE_HZ // _PITCH_HZ[0]
        likeness = (correlation / correlation[0] * self._pitch_weight[0] / self._pitch_weight)[
            shortest - 1 : longest + 2
        ]
        middle = likeness[1:-1]
        peaks = np.flatnonzero((middle >= likeness[:-2]) & (middle >= likeness[2:]))
        if peaks.size == 0 or middle[peaks].max() < _PERIODIC:
            return
        period = shortest + int(peaks[middle[peaks] >= _NEAR_BEST * middle[peaks].max()][0])
        semitones = 12.0 * float(np.log2(SAMPLE_RATE_HZ / period))
        self._pitches.append(semitones)
        self._final.append(semitones)

    def _judged_melody(self) -> Melody:
        if len(self._pitches) < _KNOWN_PITCHES or len(self._final) < _FINAL_PITCHES:
            return Melody.UNKNOWN
        final = float(np.median(self._final)) - float(np.median(self._pitches))
        if final <= _FALLEN_SEMITONES:
            return Melody.FALLEN
        return Melody.HELD if _HELD_SEMITONES[0] <= final <= _HELD_SEMITONES[1] else Melody.UNKNOWN


def _kept_samples() -> int:
    return max(_PITCH_SAMPLES, (1 + _LEAD_WINDOWS) * WINDOW_SAMPLES + _FRAME_SAMPLES)


def _autocorrelation(sound: Samples) -> Samples:
    """float32 [n] for lags of 0 to n - 1, by the power spectrum."""
    spectrum = np.fft.rfft(sound, 2 * sound.size)
    found: Samples = np.fft.irfft(np.abs(spectrum) ** 2)[: sound.size].astype(np.float32)
    return found
