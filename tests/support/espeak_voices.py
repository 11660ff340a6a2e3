"""Which voices espeak-ng really speaks with: written down beside the real synthesis."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from kame_core.tts.espeak_library import EspeakLibrary


@dataclass(frozen=True, slots=True)
class Synthesised:
    """A text and the identifier of the voice it was spoken with."""

    text: str
    voice: str

    @property
    def language(self) -> str:
        """Of the voice: "en" of "gmw/en-US+klatt4"."""
        return self.voice.rpartition("/")[2].partition("-")[0].partition("+")[0]


@contextmanager
def synthesised() -> Iterator[list[Synthesised]]:
    """All that is synthesised meanwhile, in order."""
    real, said = EspeakLibrary.synthesise, list[Synthesised]()

    def noted(library: EspeakLibrary, text: str, *, voice: str, **options: Any) -> Any:
        said.append(Synthesised(" ".join(text.split()), voice))
        return real(library, text, voice=voice, **options)

    with mock.patch.object(EspeakLibrary, "synthesise", noted):
        yield said
