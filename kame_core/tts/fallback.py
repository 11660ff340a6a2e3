"""A voice that cannot fall silent: when the first fails, another says the rest of the sentence."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from kame_core.audio import SAMPLE_RATE_HZ
from kame_core.clock import Clock
from kame_core.errors import KameError
from kame_core.tts.base import SpeechChunk, TextToSpeech, WordMark, shifted
from kame_core.tts.text import is_language_tag
from kame_core.tts.word_timing import word_letters

log = logging.getLogger(__name__)

_FIRST_REST_S = 4.0
_LONGEST_REST_S = 60.0
_LETTER_SAMPLES = SAMPLE_RATE_HZ * 60 / 1000
_SAID = 0.7
"""A word of which this much was heard is not said again."""


class FallbackTextToSpeech:
    """Speaks with `primary`; what that leaves unsaid, with `fallback`.

    After a failure the primary rests, 4 s at first and up to 60 s, so that not every sentence waits for it.

    Args:
        primary: closed with this.
        fallback: closed with this.
        clock: for the rest.
        on_change: told the error when the primary fails and None when it is back.
    """

    def __init__(
        self,
        primary: TextToSpeech,
        fallback: TextToSpeech,
        clock: Clock,
        on_change: Callable[[KameError | None], None] | None = None,
    ) -> None:
        self.name = primary.name
        self._primary = primary
        self._fallback = fallback
        self._clock = clock
        self._on_change = on_change
        self._rest_s = 0.0
        self._rests_until_s = 0.0
        self.failure: KameError | None = None
        """Why the primary is not used at present."""

    async def speak(self, text: str, voice: str = "", language: str = "") -> AsyncGenerator[SpeechChunk, None]:
        """Synthesise; closing the generator cancels whichever voice speaks.

        Raises:
            TextToSpeechError: the fallback failed too.
        """
        said_samples = 0
        begun: WordMark | None = None
        if self.failure is None or self._clock.now() >= self._rests_until_s:
            try:
                async with aclosing(self._primary.speak(text, voice, language)) as chunks:
                    async for chunk in chunks:
                        said_samples += chunk.pcm.size
                        begun = chunk.marks[-1] if chunk.marks else begun
                        yield chunk
                self._worked()
                return
            except KameError as error:
                self._failed(error)
        start = _rest_of(text, begun, said_samples)
        if not any(map(str.isalnum, text[start:])):
            return
        async with aclosing(self._stand_in(text[start:], voice, language)) as chunks:
            async for chunk in chunks:
                marks = shifted(chunk.marks, start, said_samples)
                if begun is not None:  # a word that is said again counts once
                    marks = tuple(mark for mark in marks if mark.start_char > begun.start_char)
                yield SpeechChunk(chunk.pcm, marks, stand_in=True)

    async def aclose(self) -> None:
        """Close both; idempotent."""
        try:
            await self._primary.aclose()
        finally:
            await self._fallback.aclose()

    async def _stand_in(self, text: str, voice: str, language: str) -> AsyncGenerator[SpeechChunk, None]:
        """Said by the fallback: in the language asked for, where it is one and not the name of a primary's voice."""
        if is_language_tag(voice):
            try:
                async with aclosing(self._fallback.speak(text, voice, language)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except KameError as error:
                if error.code != "unknown_voice":  # raised before any sound
                    raise
        async with aclosing(self._fallback.speak(text, "", language)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _worked(self) -> None:
        self._rest_s = 0.0
        if self.failure is not None:
            self.failure = None
            log.info("the voice %s is back", self._primary.name)
            if self._on_change is not None:
                self._on_change(None)

    def _failed(self, error: KameError) -> None:
        if error.code == "unknown_voice":  # of this call only
            return
        self._rest_s = min(_LONGEST_REST_S, max(_FIRST_REST_S, 2 * self._rest_s))
        self._rests_until_s = self._clock.now() + (self._rest_s if error.retryable else _LONGEST_REST_S)
        first = self.failure is None
        self.failure = error
        if first:
            log.warning("the voice %s failed (%s); %s speaks", self._primary.name, error.code, self._fallback.name)
            if self._on_change is not None:
                self._on_change(error)


def _rest_of(text: str, begun: WordMark | None, said_samples: int) -> int:
    """Where in the text to go on: a word of which only the beginning was said is said again."""
    if begun is None:
        return 0
    word = text[begun.start_char : begun.end_char]
    needed_samples = _SAID * word_letters(word) * _LETTER_SAMPLES
    return begun.end_char if said_samples - begun.start_samples >= needed_samples else begun.start_char
