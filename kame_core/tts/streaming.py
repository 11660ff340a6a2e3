"""From the raw sound of a streaming voice to `SpeechChunk`s: edges trimmed, words timed, ends that do not click."""

from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, fade, silence
from kame_core.errors import KameError
from kame_core.tts.base import SpeechChunk
from kame_core.tts.text import pause_samples
from kame_core.tts.word_timing import SpeakingRates, WordTimer

_AUDIBLE = 0.003
_MARGIN_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000
_HOLD_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000
"""Kept back, so that there is something to fade where the stream ends."""
_RAMP_SAMPLES = SAMPLE_RATE_HZ * 5 // 1000
_LONGEST_SILENCE_SAMPLES = 3 * SAMPLE_RATE_HZ
"""Longer silence inside an utterance is passed on, not kept back."""


class Edges:
    """Takes the silence off both ends of a stream and puts the pause of the text's punctuation after it.

    Silence is kept back until speech follows: to the listener both are the same.
    """

    def __init__(self, text: str) -> None:
        self._pause_samples = pause_samples(text)
        self._held = silence(0)
        self._begun = False

    def push(self, pcm: Samples) -> Samples:
        """What may be said now, float32 [m]."""
        held = np.concatenate([self._held, pcm])
        audible = np.flatnonzero(np.abs(held) > _AUDIBLE)
        if not self._begun:
            if audible.size == 0:
                self._held = held[-_MARGIN_SAMPLES:]
                return silence(0)
            first = max(0, int(audible[0]) - _MARGIN_SAMPLES)
            held, audible = held[first:], audible - first
            self._begun = True
        end = int(audible[-1]) + 1 if audible.size else 0
        end = max(0, min(end, held.size - _HOLD_SAMPLES), held.size - _LONGEST_SILENCE_SAMPLES)
        self._held = held[end:]
        return held[:end]

    def finish(self) -> Samples:
        """The end, with the pause after it."""
        audible = np.flatnonzero(np.abs(self._held) > _AUDIBLE)
        end = min(self._held.size, int(audible[-1]) + _MARGIN_SAMPLES) if audible.size else _MARGIN_SAMPLES
        rest = _faded(self._held[:end]) if self._begun else silence(0)
        pause = silence(self._pause_samples if self._begun else 0)
        self._held = silence(0)
        return np.concatenate([rest, pause])

    def cut(self) -> Samples:
        """The stream broke: what is left, faded out."""
        rest = _faded(self._held[:_HOLD_SAMPLES]) if self._begun else silence(0)
        self._held = silence(0)
        return rest


def _faded(samples: Samples) -> Samples:
    ramp = min(_RAMP_SAMPLES, samples.size)
    return np.concatenate([samples[: samples.size - ramp], fade(samples[samples.size - ramp :], 1.0, 0.0)])


async def speech_chunks(
    text: str, stream: AsyncIterator[Samples], rates: SpeakingRates, voice: str
) -> AsyncGenerator[SpeechChunk, None]:
    """Chunks of one utterance, with estimated word marks.

    Args:
        text: what is said.
        stream: its sound, float32 pieces of any size, mono 24 kHz; not closed.
        rates: asked and taught how fast the voice speaks.
        voice: its name there.

    Raises:
        KameError: whatever the stream raises, after the end of what came before has been faded out.
    """
    edges = Edges(text)
    timer = WordTimer(text, rates.of(voice))
    try:
        async for piece in stream:
            pcm = edges.push(piece)
            if pcm.size:
                yield SpeechChunk(pcm, timer.push(pcm))
    except KameError:
        rest = edges.cut()
        if rest.size:
            yield SpeechChunk(rest, timer.push(rest))
        raise
    rest = edges.finish()
    if rest.size:
        yield SpeechChunk(rest, timer.push(rest, last=True))
    rates.learn(voice, timer.letters, timer.voiced_samples)
