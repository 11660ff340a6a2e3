"""A sentence said in one breath by espeak-ng, cut where its speaker pauses: no final fall comes before a pause.

Said each for itself, the parts would end with the melody of finished sentences, which pauses within a turn lack.
"""

from itertools import pairwise

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, fade
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.workers import InlineWorkers

_RAMP_SAMPLES = SAMPLE_RATE_HZ * 8 // 1000


async def say_parts(parts: list[str], voice: str, rate_wpm: int) -> list[Samples]:
    """One sound a part, float32 mono 24 kHz, without pauses between them."""
    engine = EspeakTextToSpeech(voice, rate_wpm=rate_wpm, workers=InlineWorkers())
    chunks = [chunk async for chunk in engine.speak(" ".join(parts))]
    await engine.aclose()
    assert len(chunks) == 1, "one sentence is one piece"
    starts = [mark.start_samples for mark in chunks[0].marks]
    words = np.cumsum([len(part.split()) for part in parts[:-1]])
    bounds = [0, *(starts[word] for word in words), chunks[0].pcm.size]
    return [_ramped(chunks[0].pcm[begin:end]) for begin, end in pairwise(bounds)]


def _ramped(sound: Samples) -> Samples:
    ramp = min(_RAMP_SAMPLES, sound.size // 2)
    ramped = sound.copy()
    ramped[:ramp] = fade(sound[:ramp], 0.0, 1.0)
    ramped[-ramp:] = fade(sound[-ramp:], 1.0, 0.0)
    return ramped
