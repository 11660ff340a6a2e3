"""When each word is said, estimated from the text and the sound where a voice does not tell.

Words take time by their length, only voiced sound counts, and the pauses that are heard are matched with punctuation.
How fast a voice speaks is learned from one utterance to the next.
"""

from collections import OrderedDict

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples
from kame_core.tts.base import WordMark
from kame_core.tts.text import word_spans

_FRAME_SAMPLES = SAMPLE_RATE_HZ // 100
_QUIET = 0.003
_QUIET_SHARE = 0.04
"""Of the loudest frame so far."""
_PAUSE_SAMPLES = SAMPLE_RATE_HZ * 90 // 1000
"""Shorter silence belongs to a word: closures of p, t and k last up to 80 ms."""

_LETTER = 1.0
_WORD = 0.5
_DIGIT = 5.5
_SYMBOL = 6.0
_CHARACTER = 3.0
"""Durations in letters: the first three fitted to espeak-ng's own word times (English, 81 ms standard error)."""
_SPOKEN_SYMBOLS = "$£€¥%&@#+=×÷°©®™"
_PAUSING = ".,;:!?…—–。？！，、；："
_CLOSING = "\"'”’)]"
_SLACK = 0.25
"""A word after punctuation waits for the pause this much longer than expected."""
_SLACK_LETTERS = 2.0
_LONG_PAUSE_SAMPLES = SAMPLE_RATE_HZ * 200 // 1000
_REACH_LETTERS = (3.0, 6.0)
_REACH = (0.12, 0.35)
"""A short or long pause is taken for punctuation this far from where it was expected."""
_MOST_CHANGE = 1.3
"""Of the pace, between two pauses of an utterance."""
_LEARNS = 0.4
_LEARNS_FROM_LETTERS = 12.0
_FIRST_RATE = SAMPLE_RATE_HZ * 60 / 1000
_MOST_VOICES = 64


class SpeakingRates:
    """How long a letter takes in each voice, in samples of voiced sound; of more than 64 voices the oldest is
    forgotten.
    """

    def __init__(self) -> None:
        self._rates: OrderedDict[str, float] = OrderedDict()

    def of(self, voice: str) -> float:
        """Samples a letter."""
        return self._rates.get(voice, _FIRST_RATE)

    def learn(self, voice: str, letters: float, voiced_samples: int) -> None:
        """An utterance was spoken; very short ones say nothing."""
        if letters < _LEARNS_FROM_LETTERS or not voiced_samples:
            return
        heard = voiced_samples / letters
        known = self._rates.pop(voice, None)
        self._rates[voice] = heard if known is None else known + _LEARNS * (heard - known)
        while len(self._rates) > _MOST_VOICES:
            self._rates.popitem(last=False)


def word_letters(word: str) -> float:
    """How long a word takes, in letters."""
    return _WORD + sum(map(_character_letters, word))


def _character_letters(character: str) -> float:
    if character.isdigit():
        return _DIGIT
    if character.isalpha():
        return _CHARACTER if ord(character) > 0x2E7F else _LETTER  # CJK and Hangul: a syllable each
    return _SYMBOL if character in _SPOKEN_SYMBOLS else 0.0


class WordTimer:
    """Marks the words of one utterance while its sound comes in.

    Args:
        text: what is said.
        samples_per_letter: expected pace, from `SpeakingRates`.
    """

    def __init__(self, text: str, samples_per_letter: float = _FIRST_RATE) -> None:
        self._spans = word_spans(text)
        words = [text[start:end] for start, end in self._spans]
        self._starts = np.concatenate([[0.0], np.cumsum([word_letters(word) for word in words])])
        self._pauses_before = [False, *(word.rstrip(_CLOSING)[-1:] in _PAUSING for word in words)]
        self._rate = samples_per_letter
        self._next = 0
        self._letters = 0.0
        self._anchor_letters = 0.0
        self._anchor_voiced = 0
        self._voiced = 0
        self._gap = 0
        self._position = 0
        self._loudest = 0.0
        self._carry: Samples = np.zeros(0, np.float32)

    @property
    def letters(self) -> float:
        """Length of the text, in letters."""
        return float(self._starts[-1])

    @property
    def voiced_samples(self) -> int:
        """Sound of speech so far, pauses excluded."""
        return self._voiced

    def push(self, pcm: Samples, *, last: bool = False) -> tuple[WordMark, ...]:
        """The words that begin in this piece, float32 [n] mono 24 kHz; with the `last`, all that are left."""
        begin = self._position + self._carry.size
        sound = np.concatenate([self._carry, pcm])
        marks: list[WordMark] = []
        frames = sound.size // _FRAME_SAMPLES
        levels = np.sqrt(np.mean(np.square(sound[: frames * _FRAME_SAMPLES].reshape(frames, _FRAME_SAMPLES)), axis=1))
        for level in levels.tolist():
            self._frame(level, begin, marks)
        self._carry = sound[frames * _FRAME_SAMPLES :]
        if last and pcm.size:
            left = len(self._spans) - self._next
            first = marks[-1].start_samples if marks else begin
            for number in range(left):
                self._mark(first + (begin + pcm.size - first) * number // left, marks)
        return tuple(marks)

    def _frame(self, level: float, earliest: int, marks: list[WordMark]) -> None:
        self._loudest = max(self._loudest, level)
        if level > max(_QUIET, _QUIET_SHARE * self._loudest):
            if self._gap >= _PAUSE_SAMPLES and self._voiced:
                self._pause(max(earliest, self._position - self._gap), marks)
            elif self._voiced:
                self._advance(self._gap)
            self._gap = 0
            while self._next < len(self._spans) and self._due():
                self._mark(max(earliest, self._position), marks)
            self._advance(_FRAME_SAMPLES)
        else:
            self._gap += _FRAME_SAMPLES
        self._position += _FRAME_SAMPLES

    def _advance(self, samples: int) -> None:
        self._voiced += samples
        self._letters += samples / self._rate

    def _due(self) -> bool:
        start = self._starts[self._next]
        if self._pauses_before[self._next]:
            start += _SLACK_LETTERS + _SLACK * (start - self._anchor_letters)
        return bool(self._letters >= start)

    def _pause(self, began_samples: int, marks: list[WordMark]) -> None:
        """A pause has ended: at which punctuation are we?"""
        long = self._gap >= _LONG_PAUSE_SAMPLES
        reach = _REACH_LETTERS[long] + _REACH[long] * (self._letters - self._anchor_letters)
        candidates = [
            index
            for index in range(1, len(self._spans))
            if self._pauses_before[index]
            and self._starts[index] > self._anchor_letters
            and abs(self._starts[index] - self._letters) <= reach
        ]
        if not candidates:
            return
        word = min(candidates, key=lambda index: abs(self._starts[index] - self._letters))
        letters = float(self._starts[word])
        while self._next < word:
            self._mark(began_samples, marks)
        if letters - self._anchor_letters >= _LEARNS_FROM_LETTERS:
            heard = (self._voiced - self._anchor_voiced) / (letters - self._anchor_letters)
            self._rate = min(max(heard, self._rate / _MOST_CHANGE), self._rate * _MOST_CHANGE)
        self._letters = self._anchor_letters = letters
        self._anchor_voiced = self._voiced
        if self._next == word:
            self._mark(max(began_samples, self._position), marks)

    def _mark(self, start_samples: int, marks: list[WordMark]) -> None:
        start, end = self._spans[self._next]
        marks.append(WordMark(start, end, start_samples))
        self._next += 1
