"""espeak-ng as a voice: no download, no GPU, hundreds of times faster than real time. The embedded default.

espeak-ng is GPL-3 software, loaded at run time from the `espeakng-loader` package or from the system; any other
`TextToSpeech` can take its place.
"""

import asyncio
import difflib
import re
import threading
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, fade, from_int16, resample, silence
from kame_core.errors import TextToSpeechError
from kame_core.tts.base import SpeechChunk, WordMark, shifted
from kame_core.tts.espeak_library import EspeakLibrary, Synthesis, find_library
from kame_core.tts.text import pause_samples, speakable, split_pieces, word_spans
from kame_core.workers import ThreadWorkers, Workers

T = TypeVar("T")

DEFAULT_VOICE = "en-us+klatt4"
"""American English with the `klatt4` variant: best understood by a recogniser of all 105 variants that ship."""
DEFAULT_RATE_WPM = 150
DEFAULT_VOLUME = 75
"""klatt4 clips at 100."""

_PEAK = 0.84
"""-1.5 dBFS: what is louder is turned down as a whole."""
_AUDIBLE = 0.003
_MARGIN_SAMPLES = SAMPLE_RATE_HZ * 20 // 1000
_RAMP_SAMPLES = SAMPLE_RATE_HZ * 2 // 1000

_REGIONAL = re.compile(r"[a-z]{2,3}-(?:[a-z]{2}|\d{3})")


class EspeakTextToSpeech:
    """The espeak-ng voice.

    Args:
        voice: language code or espeak-ng voice name, with "+variant" where wished, e.g. "en-us+klatt4".
        rate_wpm: words a minute.
        volume: 100 is the library's own loudness.
        workers: where synthesis runs; by default a thread of its own. Injected ones are not closed.
        library: path of the shared library; None finds it.
        data: path of its data folder, with `library`.

    Raises:
        UnavailableError: espeak-ng is not on this machine.
    """

    name = "espeak-ng"

    def __init__(
        self,
        voice: str = DEFAULT_VOICE,
        *,
        rate_wpm: int = DEFAULT_RATE_WPM,
        volume: int = DEFAULT_VOLUME,
        workers: Workers | None = None,
        library: str | None = None,
        data: str | None = None,
    ) -> None:
        self._where = (library, data) if library else find_library()
        self._default_voice = voice
        self._rate_wpm = rate_wpm
        self._volume = volume
        self._owns_workers = workers is None
        self._workers: Workers = workers if workers is not None else ThreadWorkers("espeak")
        self._library: EspeakLibrary | None = None
        self._closed = False

    async def speak(self, text: str, voice: str = "", language: str = "") -> AsyncGenerator[SpeechChunk, None]:
        """Synthesise; one chunk a piece of up to a few sentences; closing the generator cancels.

        Raises:
            TextToSpeechError: the voice is unknown, or synthesis failed.
        """
        cancelled = threading.Event()
        offset_samples = 0
        try:
            for start, end in split_pieces(text):
                chunk = await self._run(text[start:end], voice, language, cancelled)
                marks = shifted(chunk.marks, start, offset_samples)
                offset_samples += chunk.pcm.size
                if chunk.pcm.size:
                    yield SpeechChunk(chunk.pcm, marks)
        finally:
            cancelled.set()

    async def voices(self) -> list[str]:
        """Languages and voices that `speak` takes, sorted."""
        library = await self._guarded_run(self._loaded)
        return sorted(name for name in library.voices if "/" not in name)

    async def aclose(self) -> None:
        """Free the library; idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            await asyncio.shield(self._workers.run(self._release))
        finally:
            if self._owns_workers:
                self._workers.close()

    async def _run(self, text: str, voice: str, language: str, cancelled: threading.Event) -> SpeechChunk:
        chosen = voice or self._default_voice
        return await self._guarded_run(lambda: self._synthesise(text, chosen, language, cancelled))

    async def _guarded_run(self, function: Callable[[], T]) -> T:
        if self._closed:
            raise TextToSpeechError("The voice has been closed.", retryable=False)
        return await self._workers.run(function)

    def _loaded(self) -> EspeakLibrary:
        if self._library is None:
            self._library = EspeakLibrary.acquire(*self._where)
        return self._library

    def _release(self) -> None:
        if self._library is not None:
            self._library.release()
            self._library = None

    def _synthesise(self, text: str, voice: str, language: str, cancelled: threading.Event) -> SpeechChunk:
        spoken = speakable(text)
        if cancelled.is_set() or not spoken.strip():
            return SpeechChunk(silence(0))
        library = self._loaded()
        synthesis = library.synthesise(
            spoken,
            voice=_voice_of_language(library, language) or resolve_voice(library, voice),
            rate_wpm=self._rate_wpm,
            volume=self._volume,
            cancelled=cancelled.is_set,
        )
        return _finished(text, synthesis, library.rate_hz)


def _voice_of_language(library: EspeakLibrary, language: str) -> str:
    """The library's voice for a language tag; empty: it has none, or no language is given."""
    try:
        return resolve_voice(library, language) if language else ""
    except TextToSpeechError:
        return ""


def resolve_voice(library: EspeakLibrary, voice: str) -> str:
    """A language code or voice name, in any case and with an optional "+variant", as the library wants it.

    Raises:
        TextToSpeechError: `unknown_voice`, saying which would be right. espeak-ng itself ignores unknown variants.
    """
    name, _, variant = voice.partition("+")
    wanted = name.strip().lower().replace("_", "-")
    known = library.voices.get(wanted)
    if known is None and _REGIONAL.fullmatch(wanted):  # an unknown region: the language alone (RFC 4647, lookup)
        known = library.voices.get(wanted.partition("-")[0])
    if known is None:
        near = difflib.get_close_matches(wanted, [key for key in library.voices if "/" not in key], 3, 0.5)
        hint = ", ".join(near or ["en-us", "en-gb", "de", "fr", "es"])
        raise TextToSpeechError(f"espeak-ng has no voice {name!r}. Try {hint}.", code="unknown_voice", retryable=False)
    if not variant:
        return known
    chosen = library.variants.get(variant.strip().lower())
    if chosen is None:
        near = difflib.get_close_matches(variant.lower(), library.variants, 3, 0.5)
        hint = ", ".join(near or ["klatt4", "caleb", "edward2"])
        raise TextToSpeechError(
            f"espeak-ng has no voice variant {variant!r}. Try {hint}.", code="unknown_voice", retryable=False
        )
    return f"{known}+{chosen}"


def _finished(text: str, synthesis: Synthesis, rate_hz: int) -> SpeechChunk:
    """Trimmed, levelled 24 kHz sound, with one mark for each word of the text."""
    pcm = resample(from_int16(synthesis.pcm), rate_hz, SAMPLE_RATE_HZ)
    audible = np.flatnonzero(np.abs(pcm) > _AUDIBLE)
    if audible.size == 0:
        return SpeechChunk(silence(0))
    start = max(0, int(audible[0]) - _MARGIN_SAMPLES)
    sound = pcm[start : int(audible[-1]) + _MARGIN_SAMPLES].copy()
    peak = float(np.abs(sound).max())
    if peak > _PEAK:
        sound *= _PEAK / peak
    ramp = min(_RAMP_SAMPLES, sound.size // 2)
    sound[:ramp] = fade(sound[:ramp], 0.0, 1.0)
    sound[-ramp:] = fade(sound[-ramp:], 1.0, 0.0)
    begun = [
        (event.position_chars, min(sound.size - 1, max(0, event.position_samples * SAMPLE_RATE_HZ // rate_hz - start)))
        for event in synthesis.words
    ]
    return SpeechChunk(np.concatenate([sound, silence(pause_samples(text))]), _marks(text, begun, sound.size))


def _marks(text: str, begun: list[tuple[int, int]], total_samples: int) -> tuple[WordMark, ...]:
    """One mark for each word between spaces.

    espeak-ng reports several words for a number, one for "of the", none for some; a word's beginning is that of its
    first report, else between its neighbours by length.
    """
    spans = word_spans(text)
    starts: list[int | None] = [None] * len(spans)
    for position, sample in begun:
        for index, (start, end) in enumerate(spans):
            if start <= position < end and starts[index] is None:
                starts[index] = sample
    if spans and starts[0] is None:
        starts[0] = 0
    return tuple(
        WordMark(start, end, sample)
        for (start, end), sample in zip(spans, _interpolated(spans, starts, total_samples), strict=True)
    )


def _interpolated(spans: list[tuple[int, int]], starts: list[int | None], total_samples: int) -> list[int]:
    known = [index for index, sample in enumerate(starts) if sample is not None]
    chars = [spans[index][0] for index in known] + [spans[-1][1] if spans else 0]
    samples = [starts[index] or 0 for index in known] + [total_samples]
    positions = np.interp([start for start, _ in spans], chars, np.maximum.accumulate(samples))
    return [int(position) for position in positions]
