"""Words as tones: a language that a few lines can speak and understand, so that lost sound shows as lost words."""

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, from_int16, silence

_TONE_SAMPLES = SAMPLE_RATE_HZ * 160 // 1000
_GAP_SAMPLES = SAMPLE_RATE_HZ * 80 // 1000
_LOWEST_HZ = 400
_STEP_HZ = 40
_MOST_WORDS = 200
_FRAME_SAMPLES = SAMPLE_RATE_HZ // 100
_LOUD = 0.05
_LEAST_FRAMES = 5
_PURE = 0.5
"""Of a tone's energy around its frequency; noise has far less."""

WORD_SAMPLES = _TONE_SAMPLES + _GAP_SAMPLES


class ToneLanguage:
    """Says and understands a vocabulary, which the two sides share."""

    def __init__(self, vocabulary: str) -> None:
        self._words = sorted(set(vocabulary.split()))
        assert len(self._words) <= _MOST_WORDS

    def say(self, text: str) -> Samples:
        """The words of a text, float32 [n] mono 24 kHz, 240 ms each."""
        time_s = np.arange(_TONE_SAMPLES) / SAMPLE_RATE_HZ
        pieces = [silence(_GAP_SAMPLES)]
        for word in text.split():
            frequency_hz = _LOWEST_HZ + _STEP_HZ * self._words.index(word)
            pieces += [(0.4 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32), silence(_GAP_SAMPLES)]
        return np.concatenate(pieces)

    def reader(self) -> "ToneReader":
        """Of one utterance."""
        return ToneReader(self)

    def word(self, frequency_hz: float) -> str | None:
        """The word of a tone."""
        number = round((frequency_hz - _LOWEST_HZ) / _STEP_HZ)
        return self._words[number] if 0 <= number < len(self._words) else None


class ToneReader:
    """Understands tones as their sound comes in."""

    def __init__(self, language: ToneLanguage) -> None:
        self._language = language
        self._rest = b""
        self._tone: list[Samples] = []
        self.words: list[str] = []
        self.samples = 0

    def push(self, pcm: bytes) -> None:
        """Sound, int16 mono 24 kHz."""
        self.samples += len(pcm) // 2
        data = self._rest + pcm
        whole = len(data) // (2 * _FRAME_SAMPLES)
        self._rest = data[whole * 2 * _FRAME_SAMPLES :]
        frames = from_int16(np.frombuffer(data[: whole * 2 * _FRAME_SAMPLES], "<i2")).reshape(whole, _FRAME_SAMPLES)
        for frame in frames:
            if np.sqrt(np.mean(np.square(frame))) > _LOUD:
                self._tone.append(frame)
            else:
                self.end()

    def end(self) -> None:
        """No more sound comes: what is there may be a word."""
        tone, self._tone = self._tone, []
        if len(tone) < _LEAST_FRAMES:
            return
        sound = np.concatenate(tone)[:_TONE_SAMPLES]
        size = SAMPLE_RATE_HZ  # one bin a hertz
        power = np.square(np.abs(np.fft.rfft(sound * np.hanning(sound.size), size)))
        peak = int(power.argmax())
        if power[max(0, peak - 20) : peak + 21].sum() < _PURE * power.sum():
            return
        word = self._language.word(peak)
        if word is not None:
            self.words.append(word)
