"""Openers synthesised beforehand, so that one can begin in the very next tick."""

from collections import OrderedDict

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples
from kame_core.errors import KameError
from kame_core.frontend.reflex.opener import ALL_OPENERS, NEUTRAL_OPENER
from kame_core.frontend.reflex.synthesis import Synthesiser, Utterance
from kame_core.tts.base import SpeechChunk

_MOST_VOICES = 8
_PAUSE_SAMPLES = SAMPLE_RATE_HZ * 80 // 1000
"""After an opener; shorter than after a sentence, for the answer may be there already."""
_AUDIBLE = 0.003


class OpenerClips:
    """The openers in every voice in use, shared by all slots; the voice not asked for longest is dropped beyond 8."""

    def __init__(self, synthesiser: Synthesiser) -> None:
        self._synthesiser = synthesiser
        self._voices: OrderedDict[str, dict[str, Utterance]] = OrderedDict()

    def prepare(self, voice: str) -> None:
        """Begin to synthesise all openers in a voice, unless that was done."""
        if voice in self._voices:
            self._voices.move_to_end(voice)
            return
        texts = dict.fromkeys((*ALL_OPENERS, NEUTRAL_OPENER))
        self._voices[voice] = {text: self._synthesiser.submit(text, voice) for text in texts}
        while len(self._voices) > _MOST_VOICES:
            self._voices.popitem(last=False)

    def get(self, text: str, voice: str) -> Utterance | None:
        """The finished clip, to be read by any number of segments; None if it is not (yet) there."""
        self.prepare(voice)
        clips = self._voices[voice]
        clip = clips.get(text)
        if clip is None or not clip.done or clip.error is not None or not clip.chunks:
            return None
        if len(clip.chunks) > 1 or clip.chunks[0].pcm.size > _end_samples(clip.chunks[0].pcm):
            clip = clips[text] = _trimmed(clip)
        return clip

    def failure(self, voice: str) -> KameError | None:
        """Why the first opener that could not be synthesised was not."""
        return next((clip.error for clip in self._voices.get(voice, {}).values() if clip.error is not None), None)


def _trimmed(clip: Utterance) -> Utterance:
    """The clip as one chunk, without most of the silence at its end."""
    pcm = np.concatenate([chunk.pcm for chunk in clip.chunks])
    whole = Utterance(clip.text, clip.voice)
    marks = tuple(mark for chunk in clip.chunks for mark in chunk.marks)
    whole.chunks.append(SpeechChunk(pcm[: _end_samples(pcm)], marks))
    whole.end()
    return whole


def _end_samples(pcm: Samples) -> int:
    audible = np.flatnonzero(np.abs(pcm) > _AUDIBLE)
    return min(pcm.size, int(audible[-1]) + _PAUSE_SAMPLES) if audible.size else pcm.size
