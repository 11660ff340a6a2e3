"""Ears for people who do not all speak one language: who can hear them, and what is told where nobody can."""

from typing import Protocol, runtime_checkable

from kame_core.errors import SpeechToTextError
from kame_core.languages import language_name, primary_code
from kame_core.stt.base import MULTIPLE, MultilingualRecognizer, Recognizer, SpeechToText


@runtime_checkable
class FewLanguages(Protocol):
    """An engine that says which languages it hears."""

    languages: frozenset[str]
    """Codes (ISO 639); empty: not known."""


async def open_ear(stt: SpeechToText, languages: tuple[str, ...]) -> Recognizer:
    """A recogniser for all these languages (tags, at least one), or else for the first; `tune` then tells which.

    Raises:
        SpeechToTextError: it cannot start, or does not hear the first.
    """
    if len(languages) > 1:
        try:
            return await stt.open(MULTIPLE)
        except SpeechToTextError as error:
            if error.code != "unsupported_language":
                raise
    return await stt.open(languages[0])


def tune(stt: SpeechToText, recognizer: Recognizer, languages: tuple[str, ...]) -> SpeechToTextError | None:
    """Have a recogniser listen for these languages from now on; returns what people must know of what it cannot hear.

    Args:
        stt: that opened it.
        languages: tags, the conversation's own first.
    """
    if isinstance(recognizer, MultilingualRecognizer):
        try:
            recognizer.expect(languages)
        except SpeechToTextError:
            recognizer.expect(languages[:1])
            return _not_heard(stt, languages[1:])
        return None
    known = stt.languages if isinstance(stt, FewLanguages) else frozenset()
    return _not_heard(stt, tuple(tag for tag in languages if known and primary_code(tag) not in known))


def _not_heard(stt: SpeechToText, languages: tuple[str, ...]) -> SpeechToTextError | None:
    if not languages:
        return None
    named = " and ".join(map(language_name, languages))
    return SpeechToTextError(
        f"Speech-to-text on this server ({stt.name}) does not understand {named}: what is said in it will be misheard, "
        "what is typed is understood. Set KAME_STT to faster-whisper with a Whisper model whose name does not end in "
        ".en, or to openai.",
        code="language_not_heard",
        retryable=False,
    )
