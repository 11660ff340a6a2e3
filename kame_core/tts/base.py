"""Contract of text-to-speech (TTS)."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from kame_core.audio import Samples


@dataclass(frozen=True, slots=True)
class WordMark:
    """Where a word lies in text and in sound."""

    start_char: int
    """Index of its first character in the text given to `speak`."""
    end_char: int
    """Index after its last character, closing punctuation included."""
    start_samples: int
    """Where its sound begins, counted from the start of the whole utterance."""


@dataclass(frozen=True, slots=True)
class SpeechChunk:
    """A piece of synthesised speech."""

    pcm: Samples
    """float32 [n], mono 24 kHz."""
    marks: tuple[WordMark, ...] = ()
    """The words that begin in this piece."""


def shifted(marks: tuple[WordMark, ...], chars: int, samples: int) -> tuple[WordMark, ...]:
    """The marks of a part of a text, as marks of the whole."""
    return tuple(
        WordMark(mark.start_char + chars, mark.end_char + chars, mark.start_samples + samples) for mark in marks
    )


class TextToSpeech(Protocol):
    """A voice."""

    name: str

    def speak(self, text: str, voice: str = "") -> AsyncGenerator[SpeechChunk, None]:
        """Synthesise; closing the generator cancels.

        Raises:
            TextToSpeechError: synthesis failed.
        """

    async def aclose(self) -> None:
        """Free the engine."""
