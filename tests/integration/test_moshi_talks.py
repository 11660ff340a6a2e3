"""The whole application with the moshi front end on a CPU: a tiny KAME that says its oracle, through real calls."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import torch
from huggingface_hub import constants

from app.__main__ import EXIT_BAD_SETTINGS, main
from app.doctor import examine
from app.engines import EngineRoom, PartState
from app.loaders import Loaders
from kame_core import hub_download
from kame_core.audio import level_dbfs
from kame_core.clock import RealClock
from kame_core.errors import UnavailableError
from kame_core.frontend.host import LocalHost
from tests.support.openai_server import Messages, OpenAIServer
from tests.support.range_hub import RangeHub
from tests.support.rtc_client import CallRefusedError, RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.server import NoEngines, RunningServer, make_settings, running_server
from tests.support.speech import say
from tests.support.tiny_moshi import MIMI_CONFIG, WEIGHTS, Variant, build_moshi

KAME = Path(__file__).parents[1] / "assets" / "tiny_kame"
ANSWERS = {
    "moon": "About twenty eight days.",
    "colour": "Blue, or green.",
    "france": "Paris.",
    "story": "It was the best of times, it was the worst of times, and the fox was in the market.",
}


def answer(messages: Messages) -> str:
    asked = messages[-1]["content"].lower().splitlines()[-1]  # the newest of the messages that were not answered
    return next((text for word, text in ANSWERS.items() if word in asked), "")


@asynccontextmanager
async def talking(slots: int, heard: str = "") -> AsyncIterator[RunningServer]:
    async with (
        OpenAIServer(answer) as llm,
        running_server(
            loaders=ScriptedEar(ScriptedSpeechToText(heard)),
            frontend="moshi",
            moshi_weights=str(KAME),
            moshi_device="cpu",
            moshi_slots=slots,
            llm="openai",
            openai_base_url=llm.base_url,
            llm_model="test-model",
        ) as server,
    ):
        yield server


def ask(client: RtcClient, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    client.send({"type": "conversation.item.create", "item": item})
    client.send({"type": "response.create"})


def said(client: RtcClient) -> str:
    deltas = [event for _, event in client.events if event.get("type") == "response.output_audio_transcript.delta"]
    return "".join(event["delta"] for event in deltas).strip()


async def done(client: RtcClient) -> dict[str, Any]:
    response: dict[str, Any] = (await client.event("response.done", 40))["response"]
    return response


async def all_over(server: RunningServer) -> None:
    async with asyncio.timeout(10):
        await server.calls.idle()
        while server.calls.counts()["conversations"]:
            await asyncio.sleep(0.02)


def engine_of(server: RunningServer) -> Any:
    host = server.room.require().frontend
    assert isinstance(host, LocalHost)
    return host._ticker._batch._engine  # type: ignore[attr-defined]


def poison(server: RunningServer, slot: int) -> None:
    """Make a slot's numbers not finite."""
    for cache in engine_of(server)._lm._states.caches:
        cache.cache[:, slot] = torch.nan


async def refusal(server: RunningServer) -> str:
    """Why a call is not taken."""
    async with RtcClient() as client:
        with pytest.raises(CallRefusedError) as refused:
            await client.connect_http(server.base_url)
    assert refused.value.status == 503
    return refused.value.body


async def test_two_calls_say_what_the_llm_wrote_for_them_and_one_outlives_the_others_failure() -> None:
    async with talking(2) as server:
        part = server.room.part("frontend")
        assert (part.choice, part.state) == ("moshi", PartState.READY)
        assert "2 calls at once" in part.why
        async with RtcClient() as one, RtcClient() as two:
            await asyncio.gather(one.connect_http(server.base_url), two.connect_http(server.base_url))
            ask(one, "How long does the moon take?")
            ask(two, "Which colour do you like?")
            assert "server_full" in await refusal(server)
            responses = await asyncio.gather(done(one), done(two))
            assert [response["status"] for response in responses] == ["completed", "completed"]
            assert said(one) == ANSWERS["moon"]
            assert said(two) == ANSWERS["colour"]
            assert responses[0]["output"][0]["content"][0]["transcript"] == ANSWERS["moon"]
            for client in (one, two):
                assert client.ear.onsets(level=0.01)
                assert level_dbfs(client.ear.line) > -50
            poison(server, slot=0)
            error = await one.event("error", 10)
            assert error["error"]["code"] == "model_failed"
            before = len(two.events)
            ask(two, "How long does the moon take?")
            await two.event("response.done", 40, after=before)
            assert said(two) == f"{ANSWERS['colour']} {ANSWERS['moon']}"
            assert "error" not in two.kinds()
        await all_over(server)
        assert server.room.require().frontend.free == 2


async def test_a_spoken_question_is_answered_and_the_next_call_in_the_slot_knows_nothing_of_it() -> None:
    async with talking(1, heard="what is the capital of france") as server:
        async with RtcClient() as first:
            await first.connect_http(server.base_url)
            first.say(say("What is the capital of France?"))
            final = await first.event("conversation.item.input_audio_transcription.completed", 20)
            assert final["transcript"] == "what is the capital of france"
            response = await done(first)
            assert response["status"] == "completed"
            assert said(first) == ANSWERS["france"]
            timing = await first.event("kame.turn.timing", 5)
            assert timing["first_oracle_audio_ms"] > 0
            before = len(first.events)
            ask(first, "Tell me a story.")
            await first.event("response.output_audio_transcript.delta", 20, after=before)
        await all_over(server)  # hung up in the middle of a word
        async with RtcClient() as second:
            await second.connect_http(server.base_url)
            await asyncio.sleep(1.0)
            assert said(second) == ""
            ask(second, "Which colour do you like?")
            await done(second)
            assert said(second) == ANSWERS["colour"]


async def test_cancelling_silences_it_at_once() -> None:
    async with talking(1) as server, RtcClient() as client:
        await client.connect_http(server.base_url)
        ask(client, "Tell me a story.")
        await client.event("response.output_audio_transcript.delta", 20)
        client.send({"type": "response.cancel"})
        response = await done(client)
        assert response["status"] == "cancelled"
        assert len(said(client)) < len(ANSWERS["story"]) / 2
        before = len(client.events)
        ask(client, "Which colour do you like?")
        again = await client.event("response.done", 40, after=before)
        assert again["response"]["status"] == "completed"
        assert said(client).endswith(ANSWERS["colour"])


# --- what is wrong is said ---


async def test_what_a_slot_or_time_is_lacking_for_is_refused_and_the_others_talk_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(slot: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    async with talking(2) as server, RtcClient() as client:
        await client.connect_http(server.base_url)
        engine = engine_of(server)
        with monkeypatch.context() as patch:
            patch.setattr(engine._mimi, "open", full)
            assert "There is no memory for one more call" in await refusal(server)
        with monkeypatch.context() as patch:
            patch.setattr(type(engine), "_too_slow", property(lambda self: True))
            assert "does not keep up with the calls it has" in await refusal(server)
        ask(client, "Which colour do you like?")
        await done(client)
        assert said(client) == ANSWERS["colour"]


class OnlyFrontend(NoEngines):
    """The front end as it is loaded for real, and nothing beside it."""

    load_frontend = Loaders.load_frontend


async def load_and_look(place: str, state: str, says: str) -> None:
    """What the server says of its front end to machines, and the doctor to a person."""
    settings: dict[str, Any] = {"frontend": "moshi", "moshi_device": "cpu", "moshi_slots": 1, "moshi_weights": place}
    async with (
        running_server(loaders=OnlyFrontend(), **settings) as server,
        aiohttp.ClientSession() as http,
        http.get(server.url("/readyz")) as response,
    ):
        assert response.status == 503
        parts = (await response.json())["parts"]
    (part,) = [part for part in parts if part["name"] == "frontend"]
    assert part["state"] == state
    assert says in part["note"]
    findings = await examine(make_settings(**settings), RealClock(), OnlyFrontend())
    (finding,) = [finding for finding in findings if finding.title == part["title"]]
    assert finding.fine is (state == "ready")
    assert says in finding.text


async def test_a_download_broken_half_way_is_said_and_goes_on_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub_download, "_RETRY_WAIT_S", 0.01)
    size = (KAME / WEIGHTS).stat().st_size
    async with RangeHub(KAME, "someone/tiny-kame", breaks_after_bytes={WEIGHTS: size // 2}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        resolve = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", resolve)
        await load_and_look("someone/tiny-kame", "failed", "has arrived is kept")
        hub.breaks_after_bytes.clear()
        await load_and_look("someone/tiny-kame", "ready", "1 call at once")
        assert hub.sent_bytes[WEIGHTS] == size


async def test_memory_too_small_for_the_model_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemAvailable:    100 kB\n")
    monkeypatch.setattr("kame_core.frontend.moshi.checkpoint._MEMORY_INFO", info)
    await load_and_look(str(KAME), "failed", "GB are free. End what else uses that memory")


async def load_frontend(**settings: Any) -> str:
    room = EngineRoom(make_settings(frontend="moshi", moshi_device="cpu", **settings), RealClock())
    try:
        with pytest.raises(UnavailableError) as caught:
            await Loaders().load_frontend(room, asyncio.get_running_loop().create_future())
        return caught.value.user_message
    finally:
        await room.aclose()


async def test_a_bad_checkpoint_is_named_at_the_start(tmp_path: Path) -> None:
    assert "There is no checkpoint" in await load_frontend(moshi_weights=str(tmp_path / "nothing"))


async def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kame_core.frontend.moshi.load", None)
    assert "make run-gpu" in await load_frontend(moshi_weights=str(KAME))


def test_weights_goes_with_doctor_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--weights", str(KAME)]) == EXIT_BAD_SETTINGS
    assert "--moshi-weights" in capsys.readouterr().err


def doctor(place: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["doctor", "--weights", str(place)])
    return code, " ".join(capsys.readouterr().out.split())


def test_doctor_checks_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = doctor(KAME, capsys)
    assert code == 0
    assert "ok Checkpoint" in text
    assert "KAME: it follows an LLM." in text
    plain = build_moshi(tmp_path / "plain", Variant(oracle=False))
    code, text = doctor(plain, capsys)
    assert code == 0
    assert "Better: It has no oracle embedding" in text
    weights = plain / WEIGHTS
    os.truncate(weights, weights.stat().st_size - 1000)
    code, text = doctor(plain, capsys)
    assert code == 1
    assert f"BAD Checkpoint {plain}" in text
    assert WEIGHTS in text
    wide = build_moshi(tmp_path / "wide", dim=64)
    (wide / "config.json").write_text((tmp_path / "plain" / "config.json").read_text())
    code, text = doctor(wide, capsys)
    assert code == 1
    assert "does not fit the checkpoint's configuration" in text
    assert "[" in text
    (wide / MIMI_CONFIG).write_text((wide / MIMI_CONFIG).read_text().replace("24000", "16000"))
    code, text = doctor(wide, capsys)
    assert code == 1
    assert f"{MIMI_CONFIG} says sample_rate = 16000, but sound here has sample_rate = 24000" in text
    code, text = doctor(tmp_path / "nothing", capsys)
    assert code == 1
    assert "There is no checkpoint" in text
