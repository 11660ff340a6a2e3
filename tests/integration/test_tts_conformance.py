"""What every text-to-speech engine does alike, on real engines: a voice over HTTP answers from a real local server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples, level_dbfs
from kame_core.clock import RealClock
from kame_core.errors import TextToSpeechError
from kame_core.tts.base import SpeechChunk, TextToSpeech
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.tts.fallback import FallbackTextToSpeech
from kame_core.tts.openai_speech import OpenAITextToSpeech
from kame_core.tts.pocket import PocketTextToSpeech, is_installed
from tests.support.espeak_voices import synthesised
from tests.support.speech_server import speech_server

ENGINES = (
    "espeak",
    "openai",
    "openai, then espeak",
    pytest.param("pocket", marks=pytest.mark.skipif(not is_installed(), reason="pocket-tts is not installed")),
)
SENTENCE = "The capital of France is “Paris”, and it has 2 million people – more or less."
Open = Callable[[], Awaitable[TextToSpeech]]


@asynccontextmanager
async def engine(name: str, folder: Path) -> AsyncIterator[TextToSpeech]:
    async with speech_server() as server:
        made: TextToSpeech
        match name:
            case "espeak":
                made = EspeakTextToSpeech()
            case "openai":
                made = OpenAITextToSpeech(server.api)
            case "pocket":
                from tests.support.tiny_pocket import build_pocket

                model, voice = build_pocket(folder)
                made = PocketTextToSpeech(model=str(model), voice=str(voice))
                await made.load()
            case _:
                made = FallbackTextToSpeech(OpenAITextToSpeech(server.api), EspeakTextToSpeech(), RealClock())
        try:
            yield made
        finally:
            await made.aclose()


async def spoken(tts: TextToSpeech, text: str, voice: str = "", language: str = "") -> list[SpeechChunk]:
    async with asyncio.timeout(20):
        return [chunk async for chunk in tts.speak(text, voice, language)]


def joined(chunks: list[SpeechChunk]) -> Samples:
    return np.concatenate([chunk.pcm for chunk in chunks])


@pytest.mark.parametrize("name", ENGINES)
async def test_speech_is_24_khz_float_without_silence_before_it(name: str, tmp_path: Path) -> None:
    async with engine(name, tmp_path) as tts:
        chunks = await spoken(tts, SENTENCE)
        pcm = joined(chunks)
        assert all(chunk.pcm.dtype == np.float32 and chunk.pcm.ndim == 1 and chunk.pcm.size for chunk in chunks)
        assert np.isfinite(pcm).all()
        assert np.abs(pcm).max() <= 1.0
        assert level_dbfs(pcm) > -40
        assert np.flatnonzero(np.abs(pcm) > 0.003)[0] <= SAMPLE_RATE_HZ * 25 // 1000
        assert abs(pcm[-1]) < 0.003


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("text", [SENTENCE, "Hi.", "one two three four five six seven eight nine ten " * 8])
async def test_every_word_is_marked_once_in_the_piece_in_which_it_begins(name: str, text: str, tmp_path: Path) -> None:
    async with engine(name, tmp_path) as tts:
        chunks = await spoken(tts, text)
    offset = 0
    for chunk in chunks:
        assert all(offset <= mark.start_samples < offset + chunk.pcm.size for mark in chunk.marks)
        offset += chunk.pcm.size
    marks = [mark for chunk in chunks for mark in chunk.marks]
    starts = [mark.start_samples for mark in marks]
    assert starts == sorted(starts)
    assert starts[0] <= SAMPLE_RATE_HZ // 20
    assert " ".join(text[mark.start_char : mark.end_char] for mark in marks) == text.strip()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("text", ["", "  ", "...", "😀", "**"])
async def test_nothing_to_say_is_no_sound_and_no_error(name: str, text: str, tmp_path: Path) -> None:
    async with engine(name, tmp_path) as tts:
        chunks = await spoken(tts, text)
        assert not chunks or level_dbfs(joined(chunks)) > -60  # espeak-ng reads some of them aloud


@pytest.mark.parametrize("name", ENGINES)
async def test_an_end_in_the_middle_leaves_a_working_voice(name: str, tmp_path: Path) -> None:
    async with engine(name, tmp_path) as tts:
        async with aclosing(tts.speak("This goes on for quite a while, and nobody wants to hear it. " * 12)) as chunks:
            assert (await anext(chunks)).pcm.size
        task = asyncio.create_task(spoken(tts, SENTENCE))
        await asyncio.sleep(0)  # it has begun, and espeak-ng needs but a few ms
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [mark for chunk in await spoken(tts, "Still here.") for mark in chunk.marks]


@pytest.mark.parametrize("name", ENGINES)
async def test_texts_spoken_at_the_same_time_do_not_mix(name: str, tmp_path: Path) -> None:
    texts = ["Yes.", "No, and never.", "Perhaps the day after tomorrow, if it does not rain."]
    async with engine(name, tmp_path) as tts:
        results = await asyncio.gather(*(spoken(tts, text) for text in texts))
    for text, chunks in zip(texts, results, strict=True):
        assert " ".join(text[m.start_char : m.end_char] for chunk in chunks for m in chunk.marks) == text


@pytest.mark.parametrize("name", ENGINES)
async def test_a_language_as_the_voice_is_spoken_or_refused_by_name(name: str, tmp_path: Path) -> None:
    async with engine(name, tmp_path) as tts:
        if name == "pocket":
            with pytest.raises(TextToSpeechError) as caught:
                await spoken(tts, "Guten Tag.", "de")
            assert caught.value.code == "unknown_voice"
        else:
            assert joined(await spoken(tts, "Guten Tag.", "de")).size > SAMPLE_RATE_HZ // 4
        assert joined(await spoken(tts, "Good morning.", "en")).size > SAMPLE_RATE_HZ // 4


@pytest.mark.parametrize("name", ENGINES)
async def test_a_text_of_another_language_than_the_voices(name: str, tmp_path: Path) -> None:
    """A voice that speaks one language gives way to one of the text's; a language nobody has changes nothing."""
    text = "Eins, zwei und drei."
    async with engine(name, tmp_path) as tts:
        voice = {"espeak": "en-gb", "pocket": ""}.get(name, "cedar")
        if name == "pocket":
            with pytest.raises(TextToSpeechError) as caught:
                await spoken(tts, text, voice, "de")
            assert caught.value.code == "unknown_voice"
            return
        with synthesised() as said:
            for language in ("", "de-AT", "xx"):
                assert joined(await spoken(tts, text, voice, language)).size > SAMPLE_RATE_HZ // 2
        assert [one.language for one in said] == (["en", "de", "en"] if name == "espeak" else [])


@pytest.mark.parametrize("name", ["espeak", "openai", ENGINES[-1]])
async def test_an_unknown_voice_is_refused_and_the_others_go_on(name: str, tmp_path: Path) -> None:
    async with engine(name, tmp_path) as tts:
        with pytest.raises(TextToSpeechError) as caught:
            await spoken(tts, "Hello.", "nobody_at_all")
        assert not caught.value.retryable
        assert await spoken(tts, "Hello.")


@pytest.mark.parametrize("name", ENGINES)
async def test_closing_can_be_repeated_and_ends_speaking(name: str, tmp_path: Path) -> None:
    async with engine(name, tmp_path) as tts:
        await spoken(tts, "Hi.")
        await tts.aclose()
        await tts.aclose()
        with pytest.raises(TextToSpeechError):
            await spoken(tts, "Hi.")
