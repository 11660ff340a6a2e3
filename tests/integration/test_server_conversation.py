"""Whole calls through the real server, its voice and front end: only what is understood is scripted."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import psutil
import pytest

from kame_core.audio import level_dbfs
from kame_core.errors import SpeechToTextError
from tests.support.peer_side import settled
from tests.support.rtc_client import CallRefusedError, RtcClient
from tests.support.scripted_ear import QUESTION, ScriptedEar
from tests.support.scripted_stt import ScriptedRecognizer, ScriptedSpeechToText
from tests.support.server import RunningServer, running_server
from tests.support.speech import say


class FailingSpeechToText(ScriptedSpeechToText):
    """Cannot open a recogniser."""

    async def open(self, language: str) -> ScriptedRecognizer:
        raise SpeechToTextError("The recogniser cannot start. Try again.", code="stt_failed")


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server(loaders=ScriptedEar(), max_grace_s=20) as running:
        yield running


async def conversations_end(server: RunningServer, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        await server.calls.idle()
        while server.calls.counts()["conversations"]:
            await asyncio.sleep(0.02)


async def test_a_question_is_heard_and_answered_aloud(server: RunningServer) -> None:
    async with RtcClient() as client:
        await client.connect_http(server.base_url)
        created = await client.event("session.created")
        assert created["session"]["type"] == "realtime"
        assert created["session"]["id"].startswith("sess_")
        engine = await client.event("kame.engine")
        assert engine["stt"] == {"name": "scripted", "note": "This is a test."}
        client.say(say("What is two plus three?"))
        final = await client.event("conversation.item.input_audio_transcription.completed", 10)
        assert final["transcript"] == QUESTION
        done = await client.answered()
        said = done["response"]["output"][0]["content"][0]["transcript"]
        assert "five" in said.lower()
        await client.event("output_audio_buffer.stopped", 10)
        assert level_dbfs(client.ear.line[-3 * 24_000 :]) > -60
        kinds = client.kinds()
        assert kinds[0] == "session.created"
        assert await client.delete() == 200
    await conversations_end(server)


async def test_a_session_can_be_given_with_the_offer_and_with_the_key(server: RunningServer) -> None:
    async with aiohttp.ClientSession() as http:
        body = {"session": {"type": "realtime", "instructions": "From the key.", "kame": {"opener": False}}}
        async with http.post(server.url("/v1/realtime/client_secrets"), json=body) as response:
            secret = (await response.json())["value"]
    async with RtcClient() as client:
        session = {"type": "realtime", "kame": {"mode": "cascaded"}}
        headers = {"Authorization": f"Bearer {secret}"}
        await client.connect_http(server.base_url, session, multipart=True, headers=headers)
        created = (await client.event("session.created"))["session"]
    assert created["instructions"] == "From the key."
    assert created["kame"]["opener"] is False
    assert created["kame"]["mode"] == "cascaded"


async def test_a_bad_session_is_refused_before_a_slot_is_taken(server: RunningServer) -> None:
    async with RtcClient() as client:
        with pytest.raises(CallRefusedError) as refused:
            await client.connect_http(
                server.base_url, {"type": "realtime", "kame": {"mode": "sideways"}}, multipart=True
            )
    assert refused.value.status == 400
    assert "kame.mode" in refused.value.body
    assert server.room.require().frontend.free == 8


async def test_a_recogniser_that_cannot_start_releases_everything() -> None:
    async with running_server(loaders=ScriptedEar(FailingSpeechToText())) as server, RtcClient() as client:
        with pytest.raises(CallRefusedError) as refused:
            await client.connect_http(server.base_url)
        assert refused.value.status >= 500
        assert "stt_failed" in refused.value.body
        await conversations_end(server)
        assert server.room.require().frontend.free == 8


async def test_without_grace_a_lost_client_ends_its_conversation(server: RunningServer) -> None:
    async with RtcClient() as client:
        await client.connect_http(server.base_url)
        assert "resume" not in (await client.event("session.created"))["session"]["kame"]
        await client.hang_up()
        await conversations_end(server, 2.0)
    assert server.room.require().frontend.free == 8


async def with_grace(server: RunningServer, client: RtcClient, kame: dict[str, Any]) -> str:
    await client.connect_http(server.base_url, {"type": "realtime", "kame": kame}, multipart=True)
    created = (await client.event("session.created"))["session"]
    token: str = created["kame"]["resume"]
    return token


async def test_a_lost_client_comes_back_to_its_conversation(server: RunningServer) -> None:
    async with RtcClient() as first:
        token = await with_grace(server, first, {"grace_s": 10})
        conversation = (await first.event("session.created"))["session"]["kame"]["conversation_id"]
        first.die()
        async with asyncio.timeout(7):
            await server.calls.idle()
        assert server.calls.counts()["conversations"] == 1
    async with RtcClient() as second:
        next_token = await with_grace(server, second, {"resume": token})
        assert next_token != token
        created = (await second.event("session.created"))["session"]
        assert created["kame"]["conversation_id"] == conversation
        async with RtcClient() as thief:  # a token is good for once
            with pytest.raises(CallRefusedError) as refused:
                await with_grace(server, thief, {"resume": token})
            assert refused.value.status == 400
        second.say(say("What is two plus three?"))
        await second.answered()
        assert await second.delete() == 200
    await conversations_end(server)


async def test_a_client_may_come_back_before_its_loss_is_noticed(server: RunningServer) -> None:
    async with RtcClient() as first, RtcClient() as second:
        token = await with_grace(server, first, {"grace_s": 10})
        first.die()
        await with_grace(server, second, {"resume": token})
        await asyncio.sleep(0.5)
        assert server.calls.counts() == {"open": 1, "capacity": 8, "refused": 0, "conversations": 1}
        assert await second.delete() == 200
    await conversations_end(server)


async def test_hanging_up_by_url_ends_also_a_conversation_that_waits(server: RunningServer) -> None:
    async with RtcClient() as client:
        await with_grace(server, client, {"grace_s": 10})
        client.die()
        async with asyncio.timeout(7):
            await server.calls.idle()
        assert server.calls.counts()["conversations"] == 1
        assert await client.delete() == 200
        await conversations_end(server, 2.0)
        assert await client.delete() == 404


async def test_hanging_up_ends_the_conversation_whatever_its_grace(server: RunningServer) -> None:
    async with RtcClient() as client:
        await with_grace(server, client, {"grace_s": 10})
        await client.hang_up()
        await conversations_end(server, 2.0)


async def test_two_conversations_do_not_mix(server: RunningServer) -> None:
    async with RtcClient() as one, RtcClient() as other:
        await asyncio.gather(*(client.connect_http(server.base_url) for client in (one, other)))
        one.say(say("What is two plus three?"))
        await one.answered()
        assert other.kinds().count("response.created") == 0
        assert level_dbfs(other.ear.line) < -60


@pytest.mark.parametrize("log_content", [False, True])
async def test_what_is_said_is_logged_only_on_wish(log_content: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with running_server(loaders=ScriptedEar(), log_content=log_content) as server, RtcClient() as client:
        await client.connect_http(server.base_url)
        client.say(say("What is two plus three?"))
        await client.answered()
        await client.delete()
    ours = "\n".join(record.getMessage() for record in caplog.records)
    assert ("plus three" in ours.lower()) is log_content
    assert "call began" in ours


async def test_shutdown_tells_the_client_why() -> None:
    async with RtcClient() as client:
        async with running_server(loaders=ScriptedEar()) as server:
            await client.connect_http(server.base_url)
            await client.event("session.created")
        trouble = await client.event("kame.trouble", 1)
        assert (trouble["code"], trouble["fatal"]) == ("server_shutdown", True)


async def test_fifty_calls_leave_nothing_behind(server: RunningServer) -> None:
    process = psutil.Process()

    def left() -> dict[str, Any]:
        gc.collect()
        sockets = len(process.net_connections("all"))
        return {"tasks": len(asyncio.all_tasks()), "threads": threading.active_count(), "sockets": sockets}

    async def one(number: int, talks_s: float = 0.0) -> None:
        async with RtcClient() as client:
            await client.connect_http(server.base_url, timeout_s=20)
            await client.event("session.created")
            await asyncio.sleep(talks_s)
            if number % 2:
                await client.delete()
            else:
                await client.hang_up()

    await one(0, 0.5)  # by then all threads that stay are there
    await one(1)
    await conversations_end(server)
    before = left()
    for _ in range(12):
        await asyncio.gather(*(one(number) for number in range(4)))
    await conversations_end(server)
    before["threads"] += 1
    assert await settled(lambda: all(left()[what] <= count for what, count in before.items()), 5.0), (before, left())
    assert server.room.require().frontend.free == 8
