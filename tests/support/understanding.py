"""What a general recogniser makes of received sound; independent of the recogniser under test."""

import functools
from typing import Any

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, resample, to_int16
from kame_core.vad import SileroModel, SpeechGate, VoiceActivityDetector

_RATE_HZ = 16_000
_LEAD_SAMPLES = _RATE_HZ * 3 // 10
_MERGE_SAMPLES = _RATE_HZ * 6 // 10


@functools.cache
def _decoder() -> Any:
    from pocketsphinx import Decoder

    return Decoder(loglevel="FATAL")


def understood(sound: Samples) -> list[str]:
    """Words in float32 [n] mono 24 kHz, lower case, recognised stretch by stretch with the whole-utterance mean."""
    narrow = resample(sound, SAMPLE_RATE_HZ, _RATE_HZ)
    words: list[str] = []
    for begin, end in _speech(narrow):
        piece = to_int16(narrow[max(0, begin - _LEAD_SAMPLES) : end + _LEAD_SAMPLES])
        decoder = _decoder()
        decoder.start_utt()
        decoder.process_raw(piece.tobytes(), False, True)
        decoder.end_utt()
        if decoder.hyp() is not None:
            words += decoder.hyp().hypstr.split()
    return words


def _speech(narrow: Samples) -> list[tuple[int, int]]:
    """Stretches of speech in samples at 16 kHz, near ones merged."""
    detector, gate = VoiceActivityDetector(SileroModel()), SpeechGate()
    stretches: list[tuple[int, int]] = []
    for window in detector.push(np.concatenate([narrow, np.zeros(_RATE_HZ, np.float32)])):
        state = gate.push(window)
        if not state.speaking or state.onset_samples is None:
            continue
        if stretches and state.onset_samples - stretches[-1][1] < _MERGE_SAMPLES:
            stretches[-1] = (stretches[-1][0], window.end_samples)
        else:
            stretches.append((state.onset_samples, window.end_samples))
    return stretches
