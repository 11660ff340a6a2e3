"""Ears and voices of a speech service as the server loads them, against real local services."""

import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.doctor import examine
from app.engines import EngineRoom
from app.loaders import Loaders
from app.speech_loaders import load_voice, texts_at_once
from kame_core.clock import RealClock
from kame_core.errors import KameError, UnavailableError
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.tts.pocket import is_installed
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import make_settings
from tests.support.speech_server import Fault, SpeechServer, speech_server
from tests.support.tone_words import ToneLanguage
from tests.support.transcription_server import Fault as HearingFault
from tests.support.transcription_server import TranscriptionServer, transcription_server

needs_websockets = pytest.mark.skipif(
    importlib.util.find_spec("websockets") is None, reason="websockets is not installed"
)


@asynccontextmanager
async def room(**settings: Any) -> AsyncIterator[EngineRoom]:
    made = EngineRoom(make_settings(**settings), RealClock())
    try:
        yield made
    finally:
        await made.aclose()


@pytest.fixture
async def server() -> AsyncIterator[SpeechServer]:
    async with speech_server() as running:
        yield running


async def say_something(made: EngineRoom) -> int:
    tts = await load_voice(made)
    return sum([chunk.pcm.size async for chunk in tts.speak("Hello there.")])


async def test_the_embedded_voice_is_the_default_and_says_how_to_get_a_better_one() -> None:
    async with room(tts="auto") as made:
        assert await say_something(made)
        assert made.part("tts").choice.startswith("espeak-ng")
        assert "KAME_TTS" in made.part("tts").better
        assert "en-us" in made.voices


async def test_a_voice_over_http_has_espeak_behind_it(server: SpeechServer) -> None:
    async with room(tts="openai", speech_base_url=server.api.base_url, speech_api_key="k1", voice="cedar") as made:
        assert await say_something(made)
        part = made.part("tts")
        assert part.choice == f"gpt-4o-mini-tts (cedar) at {server.api.place}"
        assert "espeak-ng" in part.why
        assert server.requests[0].authorization == "Bearer k1"
        assert server.requests[0].body["voice"] == "cedar"
        assert made.tts is None  # the room sets it itself


async def test_a_service_that_is_down_for_now_is_no_reason_not_to_start(server: SpeechServer) -> None:
    server.fault = Fault.SERVER_ERROR
    async with room(tts="openai", speech_base_url=server.api.base_url) as made:
        assert await say_something(made)
        assert made.part("tts").why.startswith("espeak-ng speaks at present")


async def test_a_service_that_refuses_the_key_is_told_at_the_start(server: SpeechServer) -> None:
    server.fault = Fault.UNAUTHORIZED
    async with room(tts="openai", speech_base_url=server.api.base_url) as made:
        with pytest.raises(KameError, match="API key"):
            await load_voice(made)


async def test_the_llm_servers_key_goes_to_no_other_server(server: SpeechServer) -> None:
    async with room(
        tts="openai", speech_base_url=server.api.base_url, openai_api_key="sk-llm", openai_base_url="http://llm/v1"
    ) as made:
        await say_something(made)
        assert "sk-llm" not in server.requests[0].authorization
    async with room(tts="openai", openai_api_key="sk-llm", openai_base_url=server.api.base_url) as made:
        await say_something(made)
        assert server.requests[-1].authorization == "Bearer sk-llm"


@pytest.mark.parametrize("part", ["tts", "stt"])
async def test_without_a_service_the_advice_names_the_settings(part: str) -> None:
    async with room(**{part: "openai"}) as made:
        loading = load_voice(made) if part == "tts" else Loaders().load_stt(made)
        with pytest.raises(UnavailableError, match="KAME_SPEECH_BASE_URL"):
            await loading


@pytest.mark.skipif(is_installed(), reason="pocket-tts is installed")
async def test_without_pocket_tts_the_advice_is_to_install_it() -> None:
    async with room(tts="pocket") as made:
        with pytest.raises(UnavailableError, match="pip install pocket-tts"):
            await load_voice(made)


@pytest.mark.skipif(not is_installed(), reason="pocket-tts is not installed")
async def test_without_pocket_tts_weights_the_advice_is_to_fetch_them() -> None:
    async with room(tts="pocket") as made:
        with pytest.raises(UnavailableError, match="pocket-tts generate --language english"):
            await load_voice(made)
    async with room(tts="auto") as made:
        assert await say_something(made)
        assert made.part("tts").choice.startswith("espeak-ng")


async def test_a_voice_that_waits_for_a_network_is_given_more_at_a_time(server: SpeechServer) -> None:
    async with room(tts="openai", speech_base_url=server.api.base_url, capacity=8) as made:
        assert texts_at_once(made.settings, await load_voice(made)) == 16
    async with room(tts="espeak", capacity=8) as made:
        assert texts_at_once(made.settings, await load_voice(made)) == 2


async def test_the_server_holds_conversations_with_a_voice_over_http_and_the_doctor_tries_it(
    server: SpeechServer,
) -> None:
    settings = make_settings(tts="openai", speech_base_url=server.api.base_url)
    findings = {one.title: one for one in await examine(settings, RealClock(), ScriptedEar())}
    assert all(one.fine for one in findings.values() if one.title != "Page"), findings
    assert findings["Front end"].choice == "reflex"
    assert "s of speech made in" in findings["Text-to-speech"].text
    openers = {asked.body["input"] for asked in server.requests}
    assert len(openers) == len(server.requests) > 10  # "ready", each opener once, the doctor's question
    assert all(asked.ended == "finished" for asked in server.requests)


@pytest.mark.parametrize(("language", "spoken_by"), [("de", "de"), ("en-GB", "en-us+klatt4"), ("tlh", "en-us+klatt4")])
async def test_the_voice_behind_speaks_the_language_of_the_server(
    server: SpeechServer, language: str, spoken_by: str
) -> None:
    async with room(tts="openai", speech_base_url=server.api.base_url, voice="cedar", language=language) as made:
        tts = await load_voice(made)
        server.fault = Fault.SERVER_ERROR
        said = sum([chunk.pcm.size async for chunk in tts.speak("Eins, zwei und drei.", "cedar")])
        espeak = EspeakTextToSpeech(spoken_by)
        expected = sum([chunk.pcm.size async for chunk in espeak.speak("Eins, zwei und drei.")])
        assert abs(said - expected) < 100  # a few samples of resampling
        await espeak.aclose()


@needs_websockets
async def test_the_ear_over_a_websocket_is_tried_at_the_start() -> None:
    async with (
        transcription_server(TranscriptionServer(ToneLanguage("one two"))) as server,
        room(stt="openai", speech_base_url=server.api.base_url, stt_model="my-model", language="de") as made,
    ):
        stt, _ = await Loaders().load_stt(made)
        assert stt.name == "openai"
        assert made.part("stt").choice == f"my-model at {server.api.place}"
        assert server.sessions[0]["audio"]["input"]["transcription"] == {"model": "my-model", "language": "de"}


@needs_websockets
@pytest.mark.parametrize(("fault", "starts"), [(HearingFault.SERVER_ERROR, True), (HearingFault.UNAUTHORIZED, False)])
async def test_an_ear_that_is_down_is_told_and_one_that_refuses_is_a_reason(fault: HearingFault, starts: bool) -> None:
    server = TranscriptionServer(ToneLanguage("one two"))
    server.fault = fault
    async with (
        transcription_server(server),
        room(stt="openai", speech_base_url=server.api.base_url) as made,
    ):
        if starts:
            await Loaders().load_stt(made)
            assert "At present" in made.part("stt").why
        else:
            with pytest.raises(KameError, match="API key"):
                await Loaders().load_stt(made)
