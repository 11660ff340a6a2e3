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
_GOOD = 2
_REST_TICKS = 50
"""After one that was made anew did not come out well either."""


class OpenerClips:
    """The openers in every voice in use, shared by all slots; the voice not asked for longest is dropped beyond 8.

    A clip that failed, or that another voice stood in for, is made anew when its voice is asked for, and if that comes
    out well, so are the voice's others; one at a time, since answers wait for the same synthesiser.
    """

    def __init__(self, synthesiser: Synthesiser) -> None:
        self._synthesiser = synthesiser
        self._voices: OrderedDict[str, dict[str, Utterance]] = OrderedDict()
        self._renewal: Utterance | None = None
        self._rest_ticks = 0

    def prepare(self, voice: str) -> None:
        """Begin to synthesise all openers in a voice, unless that was done."""
        if voice in self._voices:
            self._voices.move_to_end(voice)
            self._renew(voice)
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
        if clip is None or not clip.done or not _worth(clip):
            return None
        if len(clip.chunks) > 1 or clip.chunks[0].pcm.size > _end_samples(clip.chunks[0].pcm):
            clip = clips[text] = _trimmed(clip)
        return clip

    def tick(self) -> None:
        """Once a tick: put the clip that was made anew in the old one's place."""
        self._rest_ticks = max(0, self._rest_ticks - 1)
        new = self._renewal
        if new is None or not new.done:
            return
        self._renewal = None
        clips = self._voices.get(new.voice, {})
        if clips:
            old = clips.pop(new.text)  # to the end: the others come before it if it has to be made again
            clips[new.text] = new if _worth(new) >= _worth(old) else old
        if _worth(new) < _GOOD:
            self._rest_ticks = _REST_TICKS
        elif clips:
            self._renew(new.voice)

    def failure(self, voice: str) -> KameError | None:
        """Why the first opener that could not be synthesised was not."""
        return next((clip.error for clip in self._voices.get(voice, {}).values() if clip.error is not None), None)

    def _renew(self, voice: str) -> None:
        if self._renewal is None and not self._rest_ticks:
            flawed = (text for text, clip in self._voices[voice].items() if clip.done and _worth(clip) < _GOOD)
            text = next(flawed, None)
            self._renewal = None if text is None else self._synthesiser.submit(text, voice)


def _worth(clip: Utterance) -> int:
    """0: it cannot be heard; 1: in another voice; 2: as it should be."""
    if clip.error is not None or not clip.chunks:
        return 0
    return _GOOD - any(chunk.stand_in for chunk in clip.chunks)


def _trimmed(clip: Utterance) -> Utterance:
    """The clip as one chunk, without most of the silence at its end."""
    pcm = np.concatenate([chunk.pcm for chunk in clip.chunks])
    whole = Utterance(clip.text, clip.voice)
    marks = tuple(mark for chunk in clip.chunks for mark in chunk.marks)
    stand_in = any(chunk.stand_in for chunk in clip.chunks)
    whole.chunks.append(SpeechChunk(pcm[: _end_samples(pcm)], marks, stand_in))
    whole.end()
    return whole


def _end_samples(pcm: Samples) -> int:
    audible = np.flatnonzero(np.abs(pcm) > _AUDIBLE)
    return min(pcm.size, int(audible[-1]) + _PAUSE_SAMPLES) if audible.size else pcm.size
