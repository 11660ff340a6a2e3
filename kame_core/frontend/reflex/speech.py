"""What a slot is about to say: finished or growing sound of several texts, joined without gaps, cut cleanly."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, fade, silence
from kame_core.errors import KameError
from kame_core.frontend.base import SpeechOrigin
from kame_core.frontend.reflex.synthesis import Utterance
from kame_core.tts.base import WordMark

_FADE_SAMPLES = SAMPLE_RATE_HZ * 5 // 1000


class Segment:
    """One text being said. `start_char` is where it stands in its candidate, `spaced` whether a space comes before."""

    def __init__(self, utterance: Utterance, origin: SpeechOrigin, start_char: int = 0, spaced: bool = True) -> None:
        self.utterance = utterance
        self.origin = origin
        self.start_char = start_char
        self.spoken_chars = start_char
        self.superseded = False
        self._spaced = spaced
        self._taken = 0
        self._limit: int | None = None
        self._next_chunk = 0
        self._ready: deque[Samples] = deque()
        self._ready_samples = 0
        self._marks: list[WordMark] = []
        self._begun_words = 0

    @property
    def begun(self) -> bool:
        """Some of its sound was said."""
        return self._taken > 0

    @property
    def waiting_samples(self) -> int:
        """Sound that is here and not said yet."""
        self._fetch()
        return self._ready_samples

    @property
    def over(self) -> bool:
        """Nothing of it is left to be said."""
        done = self.utterance.done
        self._fetch()
        return self._ready_samples == 0 and (done or self._limit is not None)

    @property
    def failure(self) -> KameError | None:
        """Why it was not said; None if some of it was."""
        return self.utterance.error if not self._taken else None

    def take(self, samples: int) -> tuple[Samples, str]:
        """Up to `samples` of its sound, float32 [m <= samples], and the words that begin therein."""
        self._fetch()
        pieces: list[Samples] = []
        missing = samples
        while missing and self._ready:
            head = self._ready.popleft()
            if head.size > missing:
                self._ready.appendleft(head[missing:])
                head = head[:missing]
            pieces.append(head)
            missing -= head.size
        sound = np.concatenate(pieces) if pieces else silence(0)
        self._ready_samples -= sound.size
        begun = self._taken
        self._taken += sound.size
        return sound, self._words(first=begun == 0 and sound.size > 0)

    def end_after_word(self) -> None:
        """Say the word in progress to its end and nothing more."""
        self._fetch()
        self.superseded = True
        following = next((mark.start_samples for mark in self._marks if mark.start_samples >= self._taken), None)
        limit = self._taken + self._ready_samples if following is None else following
        rest = self._joined()[: limit - self._taken]
        ramp = min(_FADE_SAMPLES, rest.size)
        if ramp:
            rest = np.concatenate([rest[:-ramp], fade(rest[-ramp:], 1.0, 0.0)])
        self._limit = limit
        self._ready = deque([rest] if rest.size else [])
        self._ready_samples = rest.size
        self.utterance.cancel()

    def fading(self) -> Samples:
        """The next 5 ms of its sound, faded out; the rest is dropped. Empty if it had not begun."""
        self.utterance.cancel()
        rest = self._joined()[:_FADE_SAMPLES] if self.begun else silence(0)
        self._limit, self._ready_samples = self._taken, 0
        self._ready.clear()
        return fade(rest, 1.0, 0.0)

    def _joined(self) -> Samples:
        return np.concatenate([*self._ready, silence(0)])

    def _fetch(self) -> None:
        chunks = self.utterance.chunks
        while self._limit is None and self._next_chunk < len(chunks):
            chunk = chunks[self._next_chunk]
            self._next_chunk += 1
            if chunk.pcm.size:
                self._ready.append(chunk.pcm)
                self._ready_samples += chunk.pcm.size
            self._marks.extend(chunk.marks)

    def _words(self, *, first: bool) -> str:
        text = self.utterance.text
        if first and not self._marks:  # a voice without marks: all at once
            self.spoken_chars = self.start_char
            return (" " if self._spaced else "") + text.strip()
        words = ""
        while self._begun_words < len(self._marks):
            mark = self._marks[self._begun_words]
            if mark.start_samples >= self._taken:
                break
            spaced = self._spaced if self._begun_words == 0 else text[mark.start_char - 1].isspace()
            if self._begun_words:
                self.spoken_chars = self.start_char + self._marks[self._begun_words - 1].end_char
            words += (" " if spaced else "") + text[mark.start_char : mark.end_char]
            self._begun_words += 1
        return words


@dataclass(frozen=True, slots=True)
class Said:
    """A frame's worth of speech."""

    voice: Samples
    text: str
    origin: SpeechOrigin
    spoken_chars: int | None
    """Of the adopted candidate; None: unchanged."""
    failures: tuple[KameError | None, ...]
    """One entry for each text that came to its end: why nothing of it was heard, or None."""


class Speech:
    """The opener, then the other texts in order. Bounded by whoever appends (see `waiting_s`)."""

    def __init__(self) -> None:
        self.opener: Segment | None = None
        self._texts: deque[Segment] = deque()
        self._tail = silence(0)

    @property
    def texts(self) -> int:
        """Texts that are being said or wait, without the opener."""
        return len(self._texts)

    @property
    def waiting_s(self) -> float:
        """Finished sound that waits, in seconds."""
        return sum(segment.waiting_samples for segment in self._texts) / SAMPLE_RATE_HZ

    @property
    def pending(self) -> bool:
        """Something is left to be said."""
        return any(not segment.over for segment in self._all())

    @property
    def fading(self) -> bool:
        """The end of something that was cut waits."""
        return self._tail.size > 0

    def append(self, segment: Segment) -> None:
        """Say this after everything else."""
        self._texts.append(segment)

    def begun(self, origin: SpeechOrigin) -> bool:
        """A text of this origin is being said."""
        return any(segment.begun and not segment.superseded for segment in self._texts if segment.origin is origin)

    def supersede(self) -> None:
        """Finish the word in progress and drop all other texts; an opener is said to its end."""
        kept: deque[Segment] = deque()
        for segment in self._texts:
            if segment.begun:
                segment.end_after_word()
                kept.append(segment)
            else:
                segment.utterance.cancel()
        self._texts = kept

    def cut(self, *, keep_unbegun_oracle: bool = False, keep_opener: bool = False) -> None:
        """Fade out within 5 ms and drop what is left."""
        kept: deque[Segment] = deque()
        for segment in self._all():
            unbegun_oracle = segment.origin is SpeechOrigin.ORACLE and not segment.begun
            if segment is self.opener and keep_opener:
                continue
            if unbegun_oracle and keep_unbegun_oracle:
                kept.append(segment)
            elif segment is self.opener:  # its clip is shared: nothing to cancel
                faded = segment.take(_FADE_SAMPLES)[0] if segment.begun else silence(0)
                self._tail = fade(faded, 1.0, 0.0)
                self.opener = None
            elif segment.begun and not segment.over:
                self._tail = segment.fading()
            else:
                segment.utterance.cancel()
        self._texts = kept

    def take(self, samples: int, *, opener_only: bool, nothing_new: bool = False) -> Said:
        """Fill float32 [samples]: the fading end of what was cut, the opener, then the texts; silence where none is."""
        voice = silence(samples)
        filled = min(self._tail.size, samples)
        voice[:filled] = self._tail[:filled]
        self._tail = silence(0)
        text, origin, spoken_chars = "", SpeechOrigin.NONE, None
        failures: list[KameError | None] = []
        while not nothing_new:
            segment = self._head(opener_only)
            if segment is None:
                break
            sound, words = segment.take(samples - filled)
            voice[filled : filled + sound.size] = sound
            filled += sound.size
            text += words
            if sound.size:
                origin = segment.origin
            if segment.origin is SpeechOrigin.ORACLE and not segment.superseded:
                spoken_chars = segment.spoken_chars
            if not segment.over:
                break
            if segment.origin is SpeechOrigin.ORACLE and not segment.superseded and segment.begun:
                spoken_chars = segment.start_char + len(segment.utterance.text)
            failures.append(segment.failure)
            if segment is self.opener:
                self.opener = None
            else:
                self._texts.popleft()
            if filled == samples:
                break
        return Said(voice, text, origin, spoken_chars, tuple(failures))

    def _head(self, opener_only: bool) -> Segment | None:
        if self.opener is not None:
            return self.opener
        return self._texts[0] if self._texts and not opener_only else None

    def _all(self) -> Iterator[Segment]:
        if self.opener is not None:
            yield self.opener
        yield from self._texts
