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
    stand_in: bool = False
    """Another voice says it than is meant to, for that one is out of order."""


def shifted(marks: tuple[WordMark, ...], chars: int, samples: int) -> tuple[WordMark, ...]:
    """The marks of a part of a text, as marks of the whole."""
    return tuple(
        WordMark(mark.start_char + chars, mark.end_char + chars, mark.start_samples + samples) for mark in marks
    )


class TextToSpeech(Protocol):
    """A voice."""

    name: str

    def speak(self, text: str, voice: str = "", language: str = "") -> AsyncGenerator[SpeechChunk, None]:
        """Synthesise; closing the generator cancels.

        Args:
            text: what is said.
            voice: a name of the engine's, or a language tag; empty: its default.
            language: tag of the text's language where that is another than the voice's: an engine whose voices speak
                one language each takes one of that language instead, where it has any.

        Raises:
            TextToSpeechError: synthesis failed.
        """

    async def aclose(self) -> None:
        """Free the engine."""
