"""The voice over HTTP, its troubles, and the other voice that takes over within the sentence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

import numpy as np
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples
from kame_core.clock import VirtualClock
from kame_core.errors import KameError, TextToSpeechError
from kame_core.frontend.reflex.synthesis import LoopSynthesiser
from kame_core.speech_api import SpeechApi
from kame_core.tts.base import SpeechChunk, TextToSpeech
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.tts.fallback import FallbackTextToSpeech
from kame_core.tts.openai_speech import OpenAITextToSpeech
from tests.support.speech_server import Fault, SpeechServer, speech_server

SENTENCE = "The weather today is sunny and warm in the whole country, but tomorrow it will rain in the north."


@pytest.fixture
async def server() -> AsyncIterator[SpeechServer]:
    async with speech_server() as running:
        yield running


@pytest.fixture
async def tts(server: SpeechServer) -> AsyncIterator[OpenAITextToSpeech]:
    voice = OpenAITextToSpeech(server.api, first_sound_deadline_s=1.0, stall_deadline_s=0.5)
    yield voice
    await voice.aclose()


async def spoken(tts: TextToSpeech, text: str, voice: str = "") -> list[SpeechChunk]:
    async with asyncio.timeout(20):
        return [chunk async for chunk in tts.speak(text, voice)]


def joined(chunks: list[SpeechChunk]) -> Samples:
    return np.concatenate([chunk.pcm for chunk in chunks])


def words(text: str, chunks: list[SpeechChunk]) -> list[str]:
    return [text[mark.start_char : mark.end_char] for chunk in chunks for mark in chunk.marks]


def clicks(pcm: Samples) -> float:
    """The biggest step between two samples."""
    return float(np.abs(np.diff(pcm)).max())


async def test_it_asks_for_pcm_with_key_model_voice_and_cleaned_text(
    server: SpeechServer, tts: OpenAITextToSpeech
) -> None:
    await spoken(tts, "**Two** plus two 😀", "cedar")
    asked = server.requests[0]
    assert asked.authorization == "Bearer secret-key"
    assert asked.body["response_format"] == "pcm"
    assert asked.body["model"] == "gpt-4o-mini-tts"
    assert asked.body["voice"] == "cedar"
    assert asked.body["input"].split() == ["Two", "plus", "two"]
    assert len(asked.body["input"]) == len("**Two** plus two 😀")
    for voice in ("af_heart", "am_adam", "ash", "de", "pt_BR", "zh-Hant-TW"):
        with suppress(TextToSpeechError):  # the server does not have them all
            await spoken(tts, "One.", voice)
    assert [asked.body["voice"] for asked in server.requests[1:]] == ["af_heart", "am_adam", "ash", *["marin"] * 3]


async def test_sound_comes_while_the_server_still_speaks(server: SpeechServer, tts: OpenAITextToSpeech) -> None:
    server.gate = asyncio.Event()
    async with asyncio.timeout(20), aclosing(tts.speak(SENTENCE)) as chunks:
        first = await anext(chunks)
        assert first.pcm.size
        assert server.requests[0].ended == "running"
        server.gate.set()
        assert sum([chunk.pcm.size async for chunk in chunks]) > 3 * SAMPLE_RATE_HZ


async def test_cancelling_ends_the_request(server: SpeechServer, tts: OpenAITextToSpeech) -> None:
    server.gate = asyncio.Event()
    async with aclosing(tts.speak(SENTENCE)) as chunks:
        await anext(chunks)
    async with asyncio.timeout(5):
        await server.requests[0].done.wait()
    assert server.requests[0].ended == "aborted"


@pytest.mark.parametrize(
    ("fault", "code", "retryable"),
    [
        (Fault.UNAUTHORIZED, "speech_api_auth", False),
        (Fault.NOT_FOUND, "speech_api_not_found", False),
        (Fault.BUSY, "speech_api_busy", True),
        (Fault.NO_CREDIT, "speech_api_no_credit", False),
        (Fault.SERVER_ERROR, "speech_api_failed", True),
        (Fault.HANG, "tts_timeout", True),
        (Fault.STALL_MIDWAY, "tts_timeout", True),
        (Fault.DROP_MIDWAY, "speech_api_unreachable", True),
        (Fault.EMPTY, "tts_failed", True),
        (Fault.WAV, "tts_bad_answer", False),
    ],
)
async def test_every_trouble_has_its_code_and_passes(
    server: SpeechServer, tts: OpenAITextToSpeech, fault: Fault, code: str, retryable: bool
) -> None:
    server.fault = fault
    with pytest.raises(TextToSpeechError) as caught:
        await spoken(tts, SENTENCE)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert SENTENCE[:20] not in caught.value.user_message
    server.fault = Fault.NONE
    assert words("All is well.", await spoken(tts, "All is well.")) == ["All", "is", "well."]


async def test_nobody_there_is_an_error_of_its_own() -> None:
    tts = OpenAITextToSpeech(SpeechApi("http://127.0.0.1:9/v1"))
    with pytest.raises(TextToSpeechError) as caught:
        await spoken(tts, "Hello.")
    assert caught.value.code == "speech_api_unreachable"
    assert "127.0.0.1:9" in caught.value.user_message
    await tts.aclose()


async def test_what_came_before_a_break_ends_without_a_click(server: SpeechServer, tts: OpenAITextToSpeech) -> None:
    chunks: list[SpeechChunk] = []
    server.fault = Fault.DROP_MIDWAY

    async def listen() -> None:
        async for chunk in tts.speak(SENTENCE):
            chunks.append(chunk)

    with pytest.raises(TextToSpeechError):
        await listen()
    assert joined(chunks).size > SAMPLE_RATE_HZ
    assert abs(joined(chunks)[-1]) < 0.003


# --- the other voice ---


class Pair:
    """The voice over HTTP with espeak-ng behind it, in a time of its own."""

    def __init__(self, server: SpeechServer) -> None:
        self.clock = VirtualClock()
        self.changes: list[KameError | None] = []
        self.tts = FallbackTextToSpeech(
            OpenAITextToSpeech(server.api, first_sound_deadline_s=1.0, stall_deadline_s=0.5),
            EspeakTextToSpeech(),
            self.clock,
            self.changes.append,
        )


@pytest.fixture
async def pair(server: SpeechServer) -> AsyncIterator[Pair]:
    made = Pair(server)
    yield made
    await made.tts.aclose()


@pytest.mark.parametrize("fault", [Fault.STALL_MIDWAY, Fault.DROP_MIDWAY])
@pytest.mark.parametrize("midway", [0.1, 0.37, 0.5, 0.81])
async def test_the_other_voice_says_the_rest_of_the_sentence(
    server: SpeechServer, pair: Pair, fault: Fault, midway: float
) -> None:
    server.fault, server.midway = fault, midway
    chunks = await spoken(pair.tts, SENTENCE)
    assert words(SENTENCE, chunks) == SENTENCE.split()
    pcm = joined(chunks)
    starts = [mark.start_samples for chunk in chunks for mark in chunk.marks]
    assert starts == sorted(starts)
    assert starts[-1] < pcm.size
    whole = joined(await spoken_by_espeak(SENTENCE))
    assert 0.8 * whole.size < pcm.size < 1.35 * whole.size
    assert clicks(pcm) < 0.5


async def spoken_by_espeak(text: str) -> list[SpeechChunk]:
    tts = EspeakTextToSpeech()
    try:
        return await spoken(tts, text)
    finally:
        await tts.aclose()


@pytest.mark.parametrize("fault", [Fault.UNAUTHORIZED, Fault.BUSY, Fault.HANG, Fault.EMPTY, Fault.WAV])
async def test_the_other_voice_says_all_where_nothing_came(server: SpeechServer, pair: Pair, fault: Fault) -> None:
    server.fault = fault
    assert words(SENTENCE, await spoken(pair.tts, SENTENCE)) == SENTENCE.split()


@pytest.mark.parametrize("voice", ["ash", "eve", "af_heart"])
async def test_the_other_voice_also_stands_in_for_one_whose_name_may_be_a_languages(
    server: SpeechServer, pair: Pair, voice: str
) -> None:
    server.fault = Fault.UNAUTHORIZED
    chunks = await spoken(pair.tts, SENTENCE, voice)
    assert words(SENTENCE, chunks) == SENTENCE.split()
    assert all(chunk.stand_in for chunk in chunks)
    german = await spoken(pair.tts, SENTENCE, "de")
    assert joined(german).size != joined(chunks).size


async def test_a_voice_that_failed_rests_and_is_tried_again(server: SpeechServer, pair: Pair) -> None:
    server.fault = Fault.SERVER_ERROR
    for _ in range(3):
        assert words("One.", await spoken(pair.tts, "One.")) == ["One."]
    assert len(server.requests) == 1
    assert [error.code for error in pair.changes if error] == ["speech_api_failed"]
    pair.clock.advance(4.1)
    await spoken(pair.tts, "Two.")  # fails again: a longer rest
    pair.clock.advance(4.1)
    await spoken(pair.tts, "Three.")
    assert len(server.requests) == 2
    server.fault = Fault.NONE
    pair.clock.advance(4.1)
    await spoken(pair.tts, "Four.")
    assert len(server.requests) == 3
    assert [error and error.code for error in pair.changes] == ["speech_api_failed", None]
    assert pair.tts.failure is None
    await spoken(pair.tts, "Five.")
    assert len(server.requests) == 4


async def test_an_unknown_voice_of_one_call_does_not_silence_the_others(server: SpeechServer, pair: Pair) -> None:
    assert words("Hello.", await spoken(pair.tts, "Hello.", "nobody_at_all")) == ["Hello."]
    await spoken(pair.tts, "Hello.")
    assert [asked.body["voice"] for asked in server.requests] == ["nobody_at_all", "marin"]
    assert pair.changes == []


async def test_the_front_end_hears_no_trouble(server: SpeechServer, pair: Pair) -> None:
    server.fault = Fault.DROP_MIDWAY
    synthesiser = LoopSynthesiser(pair.tts)
    utterances = [synthesiser.submit(SENTENCE, ""), synthesiser.submit("And that is all.", "")]
    async with asyncio.timeout(20):
        await synthesiser.idle()
    await synthesiser.aclose()
    assert [utterance.error for utterance in utterances] == [None, None]
    assert words("And that is all.", utterances[1].chunks) == ["And", "that", "is", "all."]
    assert synthesiser.failures == 0
