"""What a recogniser of its own makes of received sound; independent of the recogniser under test.

With a closed list of words it must choose among them: the same sound, shifted by some samples, is not "friends" once
and "France" the next time, and whichever other answer of the list was said is still told apart.
"""

import functools
from typing import Any

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, resample, to_int16
from kame_core.vad import SileroModel, SpeechGate, VoiceActivityDetector

_RATE_HZ = 16_000
_LEAD_SAMPLES = _RATE_HZ * 3 // 10
_MERGE_SAMPLES = _RATE_HZ * 6 // 10


#: Words of answers about capitals: thirty places that could have been said instead.
CAPITALS = (
    "there is the capital of what and paris france london england berlin germany madrid spain rome italy lisbon "
    "portugal vienna austria athens greece dublin ireland oslo norway stockholm sweden helsinki finland warsaw poland "
    "brussels belgium prague moscow russia tokyo japan ottawa canada cairo egypt"
)

#: Words of answers that count what is on the Earth.
COUNTED = (
    "there are is the and of what one two three four five six seven eight nine ten continents oceans countries rivers "
    "lakes islands mountains cities languages planets"
)


@functools.cache
def _decoder(words: str) -> Any:
    from pocketsphinx import Decoder

    decoder = Decoder(loglevel="FATAL")
    if words:
        choice = " | ".join(words.split())
        decoder.add_jsgf_string("closed", f"#JSGF V1.0; grammar closed; public <said> = ({choice})+;")
        decoder.activate_search("closed")
    return decoder


def understood(sound: Samples, words: str = "") -> list[str]:
    """Words in float32 [n] mono 24 kHz, lower case, recognised stretch by stretch with the whole-utterance mean.

    `words`, where given, are the only ones it may choose from.
    """
    narrow = resample(sound, SAMPLE_RATE_HZ, _RATE_HZ)
    heard: list[str] = []
    for begin, end in _speech(narrow):
        piece = to_int16(narrow[max(0, begin - _LEAD_SAMPLES) : end + _LEAD_SAMPLES])
        decoder = _decoder(words)
        decoder.start_utt()
        decoder.process_raw(piece.tobytes(), False, True)
        decoder.end_utt()
        if decoder.hyp() is not None:
            heard += decoder.hyp().hypstr.split()
    return heard


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
