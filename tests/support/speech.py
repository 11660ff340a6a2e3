"""Synthetic speech for tests: espeak-ng through ctypes, on a private copy of its library.

The copy matters: espeak-ng keeps its voice and callback in globals, and the engine under test may have it open too.
"""

import ctypes
import functools
import json
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, from_int16, read_audio, resample, silence
from kame_core.hearing import PRE_ROLL_MS, TAIL_MS
from kame_core.vad import SileroModel, SpeechGate, VoiceActivityDetector

_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8_END_PAUSE = 1 | 0x1000
_RATE = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_MAX_DATA_PATH = 120
"""espeak-ng keeps its data path in a fixed buffer of about 160 bytes."""

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "audio"
"""Real recordings, where the checkout has them beside it."""


class _Espeak:
    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="espeak-"))
        try:
            copy = shutil.copy(espeakng_loader.get_library_path(), folder)
            self._library = ctypes.CDLL(str(copy))
        finally:
            shutil.rmtree(folder)  # the loaded copy stays mapped
        data = espeakng_loader.get_data_path()
        if len(data) > _MAX_DATA_PATH:
            short = Path(tempfile.mkdtemp(prefix="es-")) / "d"
            short.symlink_to(data)
            data = str(short)
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self.rate_hz: int = self._library.espeak_Initialize(_SYNCHRONOUS, 100, data.encode(), _DONT_EXIT)
        assert self.rate_hz > 0, "espeak-ng found no data"
        self._lock = threading.Lock()
        self._pieces: list[Samples] = []
        self._callback = _CALLBACK(self._take)  # kept: C holds only the address
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, pcm: Any, samples: int, _events: Any) -> int:
        if pcm and samples:
            self._pieces.append(from_int16(np.ctypeslib.as_array(pcm, (samples,)).copy()))
        return 0

    def say(self, text: str, voice: str, words_per_minute: int) -> Samples:
        data = text.encode() + b"\0"
        with self._lock:
            self._pieces.clear()
            assert self._library.espeak_SetVoiceByName(voice.encode()) == 0, f"no voice {voice}"
            self._library.espeak_SetParameter(_RATE, words_per_minute, 0)
            assert self._library.espeak_Synth(data, len(data), 0, 1, 0, _UTF8_END_PAUSE, None, None) == 0
            return np.concatenate(self._pieces)


@functools.cache
def _espeak() -> _Espeak:
    return _Espeak()


def say(text: str, voice: str = "en-us+klatt4", rate: int = 150) -> Samples:
    """Speech, float32 [n] mono 24 kHz, peak at most 0.6; `rate` in words a minute."""
    espeak = _espeak()
    pcm = espeak.say(text, voice, rate)
    pcm = pcm * np.float32(0.6 / max(0.6, float(np.abs(pcm).max())))
    return resample(pcm, espeak.rate_hz, SAMPLE_RATE_HZ)


def microphone(*parts: Samples | float) -> Samples:
    """Speech and pauses in seconds, one after the other, in a quiet room: no microphone hears digital silence."""
    line = np.concatenate([silence(round(p * SAMPLE_RATE_HZ)) if isinstance(p, float) else p for p in parts])
    room = np.random.default_rng(7).standard_normal(line.size).astype(np.float32)
    heard: Samples = line + np.float32(10 ** (-62 / 20)) * room
    return heard


@functools.cache
def _silero() -> SileroModel:
    return SileroModel()


def spoken_part(samples16k: Samples, pre_roll_ms: int = PRE_ROLL_MS, tail_ms: int = TAIL_MS) -> Samples:
    """What voice activity detection lets through, as one piece; float32 mono 16 kHz in and out."""
    parts = speech_segments(samples16k, pre_roll_ms=pre_roll_ms, tail_ms=tail_ms)
    return np.concatenate(parts) if parts else samples16k[:0]


def speech_segments(
    samples16k: Samples, *, pre_roll_ms: int = PRE_ROLL_MS, tail_ms: int = TAIL_MS, pause_ms: int = 400
) -> list[Samples]:
    """The stretches of speech that are more than `pause_ms` apart, with a little sound around each."""
    detector = VoiceActivityDetector(_silero())
    gate = SpeechGate()
    spans: list[tuple[int, int]] = []
    padded = np.concatenate([samples16k, np.zeros(8000, np.float32)])
    for window in detector.push(padded):
        state = gate.push(window)
        if not state.speaking or state.onset_samples is None or state.last_voiced_samples is None:
            continue
        begin = max(0, state.onset_samples - pre_roll_ms * 16)
        end = state.last_voiced_samples + tail_ms * 16
        if spans and state.onset_samples - spans[-1][1] + tail_ms * 16 < pause_ms * 16:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((begin, end))
    return [padded[begin:end] for begin, end in spans]


@dataclass(frozen=True, slots=True)
class Recording:
    """A real voice and what it says."""

    name: str
    samples16k: Samples
    text: str


def recordings() -> list[Recording]:
    """The real recordings; empty where the checkout has none beside it."""
    listing = RECORDINGS / "transcripts.json"
    if not listing.exists():
        return []
    texts: dict[str, str] = json.loads(listing.read_text())
    return [
        Recording(name, resample(read_audio(RECORDINGS / name), SAMPLE_RATE_HZ, 16_000), text)
        for name, text in texts.items()
    ]


def word_errors(reference: str, heard: str) -> int:
    """Word-level edit distance (substitutions, insertions and deletions each count one)."""
    expected, words = reference.split(), heard.split()
    row = list(range(len(words) + 1))
    for i, word in enumerate(expected, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(words, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]
