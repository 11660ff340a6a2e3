"""Calls over a WebSocket through the real server: opened, refused, ended in every way, and nothing left behind."""

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples, silence
from tests.support.rtc_client import RtcClient
from tests.support.scripted_ear import QUESTION, ScriptedEar
from tests.support.server import NoEngines, RunningServer, running_server
from tests.support.speech import say
from tests.support.understanding import understood
from tests.support.wire_conversation import check_server_event
from tests.support.ws_client import PATH, WsClient, append_of

KEY = "a server key of some length"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server(loaders=ScriptedEar(), max_grace_s=20) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def conversations_end(server: RunningServer, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        await server.calls.idle()
        while server.calls.counts()["conversations"]:
            await asyncio.sleep(0.02)


async def secret(server: RunningServer, http: aiohttp.ClientSession, kame: dict[str, Any] | None = None) -> str:
    """A client secret whose session holds this `kame` object."""
    body = {"session": {"type": "realtime", "kame": kame or {}}}
    async with http.post(server.url("/v1/realtime/client_secrets"), json=body) as response:
        value: str = (await response.json())["value"]
        return value


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def refused(server: RunningServer, http: aiohttp.ClientSession, **given: Any) -> tuple[int, dict[str, Any]]:
    headers = UPGRADE | given.pop("headers", {})
    async with http.get(server.url(PATH + given.pop("query", "")), headers=headers) as response:
        return response.status, (await response.json())["error"]


# --- a talk ---


async def test_a_question_is_heard_and_answered_aloud(server: RunningServer) -> None:
    async with WsClient() as client:
        await client.connect(server.base_url, query="?model=kame-reflex")
        created = await client.event("session.created")
        assert client.kinds[0] == "session.created"
        assert client.location == f"/v1/realtime/calls/{created['session']['kame']['call_id']}"
        client.say(say("What is two plus three?"))
        final = await client.event("conversation.item.input_audio_transcription.completed", 10)
        assert final["transcript"] == QUESTION
        done = await client.event("response.done", 15, where=lambda event: event["response"]["status"] == "completed")
        await client.event("output_audio_buffer.stopped", 5)
        for event in client.events:
            check_server_event(event)
        output = done["response"]["output"][0]
        assert "five" in output["content"][0]["transcript"].lower()
        assert {item for _, item, _ in client.voice} == {output["id"]}
        assert {"three", "five"} <= set(understood(client.line))
        kinds = [kind for kind in client.kinds if kind.startswith(("response.", "output_audio"))]
        first, last = (
            kinds.index("response.output_audio.delta"),
            len(kinds) - 1 - kinds[::-1].index("response.output_audio.delta"),
        )
        assert kinds.index("response.content_part.added") < first
        assert last < kinds.index("response.output_audio.done") < kinds.index("response.done")
        assert await client.delete() == 200
        async with asyncio.timeout(3):
            await client.closed.wait()
    await conversations_end(server)


async def test_turns_ended_by_the_client(server: RunningServer) -> None:
    """Push to talk, the sound in one go."""
    async with WsClient() as client:
        await client.connect(server.base_url, microphone=False)
        await client.event("session.created")
        manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await client.send({"type": "session.update", "session": manual})
        await client.event("session.updated")
        await client.send({"type": "input_audio_buffer.commit", "event_id": "too_early"})
        error = (await client.event("error"))["error"]
        assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "too_early")
        await client.send(append_of(say("What is two plus three?")))
        await client.send({"type": "input_audio_buffer.commit"})
        await client.send({"type": "response.create"})
        committed = await client.event("input_audio_buffer.committed", 10)
        final = await client.event("conversation.item.input_audio_transcription.completed", 10)
        assert final["item_id"] == committed["item_id"]
        done = await client.event("response.done", 15)
        assert "five" in done["response"]["output"][0]["content"][0]["transcript"].lower()
        assert len([event for event in client.events if event["type"] == "error"]) == 1


async def test_a_cleared_buffer_is_forgotten_and_events_behind_it_count(server: RunningServer) -> None:
    async with WsClient() as client:
        await client.connect(server.base_url, microphone=False)
        manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await client.send({"type": "session.update", "session": manual})
        await client.send(append_of(np.concatenate([silence(SAMPLE_RATE_HZ), say("What is two plus three?")])))
        await client.send({"type": "input_audio_buffer.clear"})
        await client.event("input_audio_buffer.cleared")
        await client.send({"type": "kame.ping", "t": 7})
        assert (await client.event("kame.pong"))["t"] == 7
        await asyncio.sleep(0.3)
        await client.send({"type": "input_audio_buffer.commit"})
        assert (await client.event("error"))["error"]["code"] == "input_audio_buffer_commit_empty"
        assert "input_audio_buffer.committed" not in client.kinds


async def test_a_cancelled_response_is_silent_and_what_was_not_played_is_not_heard(server: RunningServer) -> None:
    async with WsClient() as client:
        await client.connect(server.base_url)
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "what can you do"}]}
        await client.send({"type": "conversation.item.create", "item": item})
        await client.send({"type": "response.create"})
        await client.event("output_audio_buffer.started", 10)
        await client.event("kame.spoken", 10)
        async with asyncio.timeout(10):
            while client.line.size < SAMPLE_RATE_HZ:
                await asyncio.sleep(0.05)
        await client.send({"type": "response.cancel"})
        await client.event("output_audio_buffer.cleared")
        done = await client.event("response.done")
        heard = done["response"]["output"][0]["content"][0]["transcript"]
        assert done["response"]["status"] == "cancelled"
        assert heard
        sent = len(client.voice)
        await asyncio.sleep(0.3)
        assert len(client.voice) == sent
        item_id = done["response"]["output"][0]["id"]
        truncate = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": 500}
        await client.send(truncate)
        await client.event("conversation.item.truncated", where=lambda event: event["audio_end_ms"] == 500)
        await client.send({"type": "conversation.item.retrieve", "item_id": item_id})
        kept = (await client.event("conversation.item.retrieved"))["item"]["content"][0]["transcript"]
        assert len(kept) < len(heard)
        assert heard.startswith(kept)


async def test_the_sound_check_says_back_what_it_hears(http: aiohttp.ClientSession) -> None:
    async with running_server(loaders=NoEngines()) as server, WsClient() as client:
        await client.connect(server.base_url, query="?transport=echo")
        await client.event("session.created")
        client.say(tone(0.6))
        async with asyncio.timeout(5):
            while float(np.abs(client.line).max(initial=0)) < 0.1 or client.line.size < SAMPLE_RATE_HZ:
                await asyncio.sleep(0.05)
        line = client.line
        loudest_hz = np.argmax(np.abs(np.fft.rfft(line))) * SAMPLE_RATE_HZ / line.size
        assert 430 < loudest_hz < 450
        await client.send({"type": "response.create"})
        assert (await client.event("error"))["error"]["code"] == "unsupported_in_sound_check"
        assert await client.delete() == 200


def tone(seconds: float, hz: float = 440.0) -> Samples:
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.4 * np.sin(2 * np.pi * hz * at)).astype(np.float32)


# --- who may ---


async def test_keys_are_taken_from_the_header_and_from_subprotocols(http: aiohttp.ClientSession) -> None:
    async with running_server(loaders=ScriptedEar(), api_key=KEY) as server:
        assert (await refused(server, http))[1]["code"] == "missing_api_key"
        assert await status_of(server, http, bearer("wrong")) == (401, "invalid_api_key")
        async with http.post(server.url("/v1/realtime/client_secrets"), headers=bearer(KEY)) as response:
            ephemeral = (await response.json())["value"]
        for key in (KEY, ephemeral):
            async with WsClient() as client:
                await client.connect(server.base_url, headers=bearer(key))
                await client.event("session.created")
        protocols = ("realtime", f"openai-insecure-api-key.{ephemeral}", "openai-agents-sdk.0.20.0")
        async with WsClient() as client:
            await client.connect(
                server.base_url, protocols=protocols, headers={"Origin": "https://shop.example"}, microphone=False
            )
            assert client.socket.protocol == "realtime"
            await client.event("session.created")


async def status_of(server: RunningServer, http: aiohttp.ClientSession, headers: dict[str, str]) -> tuple[int, str]:
    status, error = await refused(server, http, headers=headers)
    return status, error["code"]


async def test_a_browser_is_told_why_it_is_refused(http: aiohttp.ClientSession) -> None:
    async with running_server(loaders=ScriptedEar(), api_key=KEY) as server, WsClient() as client:
        protocols = ("realtime", "openai-insecure-api-key.ek_nonsense")
        await client.connect(server.base_url, protocols=protocols, microphone=False)
        assert (await client.event("error"))["error"]["code"] == "invalid_api_key"
        async with asyncio.timeout(3):
            await client.closed.wait()
        assert client.close_frame == (3000, "invalid_request_error.invalid_api_key")
        assert server.calls.count == 0


async def test_pages_of_foreign_origins_need_a_secret(server: RunningServer, http: aiohttp.ClientSession) -> None:
    foreign = {"Origin": "https://shop.example"}
    assert await status_of(server, http, foreign) == (403, "origin_not_allowed")
    async with WsClient() as client:
        headers = foreign | bearer(await secret(server, http))
        await client.connect(server.base_url, headers=headers, microphone=False)
        await client.event("session.created")


async def test_a_full_server_refuses_whatever_the_transport(http: aiohttp.ClientSession) -> None:
    async with running_server(loaders=ScriptedEar(), capacity=1) as server, RtcClient() as first, WsClient() as second:
        await first.connect_http(server.base_url)
        assert await refused(server, http) == (503, await full_error(server, http))
        assert await first.delete() == 200
        await second.connect(server.base_url, microphone=False)
        await second.event("session.created")
        assert (await full_error(server, http))["code"] == "server_full"
        assert server.calls.counts()["open"] == 1


async def full_error(server: RunningServer, http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get(server.url(PATH), headers=UPGRADE) as response:
        assert int(response.headers["Retry-After"]) > 0
        error: dict[str, Any] = (await response.json())["error"]
        return error


async def test_requests_that_cannot_be_a_call(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with http.get(server.url(PATH)) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (426, "upgrade_required")
    for query, param in (("?call_id=rtc_x", "call_id"), ("?transport=pigeon", "transport")):
        status, error = await refused(server, http, query=query)
        assert (status, error["param"]) == (400, param)
    async with http.post(server.url(PATH)) as response:
        assert response.status == 405
    assert server.calls.count == 0


async def test_a_session_in_the_key_is_checked_before_the_upgrade(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    body = {"session": {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}}
    async with http.post(server.url("/v1/realtime/client_secrets"), json=body) as response:
        key = (await response.json())["value"]
    status, error = await refused(server, http, headers=bearer(key))
    assert (status, error["code"]) == (400, "unsupported_audio_format")
    assert server.room.require().frontend.free == 8


# --- bad events ---

NONSENSE: list[tuple[str, str]] = [
    ("{", "invalid_json"),
    ("[1, 2]", "invalid_type"),
    (json.dumps({"type": "session.dance"}), "invalid_value"),
    (json.dumps({"type": "input_audio_buffer.append"}), "missing_required_parameter"),
    (json.dumps({"type": "input_audio_buffer.append", "audio": 7}), "invalid_type"),
    (json.dumps({"type": "input_audio_buffer.append", "audio": "no base64!"}), "invalid_value"),
    (json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA"}), "invalid_value"),
    (json.dumps({"type": "session.update", "session": {"instructions": "x" * 70_000}}), "request_too_large"),
    (json.dumps({"type": "conversation.item.create", "item": {}, "x": [0] * 40_000}), "request_too_large"),
    (json.dumps({"type": "input_audio_buffer.append", "audio": "A" * (1024 * 1024)}), "request_too_large"),
    (
        json.dumps({"type": "session.update", "session": {"audio": {"output": {"format": {"type": "audio/pcma"}}}}}),
        "unsupported_audio_format",
    ),
    (
        json.dumps({"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 1}),
        "item_not_found",
    ),
]


async def test_every_kind_of_nonsense_is_answered_and_the_talk_goes_on(server: RunningServer) -> None:
    async with WsClient() as rude, WsClient() as polite:
        await rude.connect(server.base_url)
        await polite.connect(server.base_url)
        await polite.event("session.created")
        for message, code in NONSENSE:
            seen = len(rude.events)
            await rude.send(message)
            error = (await rude.event("error", after=seen))["error"]
            assert (error["type"], error["code"]) == ("invalid_request_error", code), message[:100]
            assert error["message"].endswith("."), message[:100]
        seen = len(rude.events)
        await rude.socket.send_bytes(b"\x00\x01")
        assert (await rude.event("error", after=seen))["error"]["code"] == "binary_message"
        await rude.send({"type": "kame.ping"})
        await rude.event("kame.pong")
        assert "error" not in polite.kinds


async def test_more_sound_than_can_wait_is_refused(server: RunningServer) -> None:
    async with WsClient() as client:
        await client.connect(server.base_url, microphone=False)
        minute = append_of(np.zeros(15 * SAMPLE_RATE_HZ, np.float32))
        for _ in range(5):
            await client.send(minute)
        assert (await client.event("error"))["error"]["code"] == "input_audio_buffer_full"
        await client.send({"type": "input_audio_buffer.clear"})
        await client.event("input_audio_buffer.cleared")


async def test_a_message_beyond_all_measure_ends_the_connection(server: RunningServer) -> None:
    async with WsClient() as client:
        await client.connect(server.base_url, microphone=False)
        await client.send("x" * (2 * 1024 * 1024))
        async with asyncio.timeout(3):
            await client.closed.wait()
        assert client.close_frame is not None
        assert client.close_frame[0] == 1009
    await conversations_end(server)


# --- the end ---


@pytest.mark.parametrize("end", ["close", "leave", "break", "delete"])
async def test_without_grace_every_end_ends_the_conversation(server: RunningServer, end: str) -> None:
    async with WsClient() as client:
        await client.connect(server.base_url)
        await client.event("session.created")
        match end:
            case "close":
                await client.hang_up()
            case "leave":
                await client.hang_up(4000)
            case "break":
                client.abort()
            case _:
                assert await client.delete() == 200
        await conversations_end(server, 3.0)
    assert server.room.require().frontend.free == 8


async def test_a_client_that_vanishes_is_noticed_and_a_silent_one_that_answers_pings_stays(
    server: RunningServer,
) -> None:
    async with WsClient() as silent, WsClient() as vanished:
        await silent.connect(server.base_url, microphone=False)
        await vanished.connect(server.base_url)
        await vanished.event("session.created")
        vanished.die()
        async with asyncio.timeout(8):
            while server.calls.counts()["conversations"] == 2:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        assert server.calls.counts()["conversations"] == 1
        await silent.send({"type": "kame.ping"})
        await silent.event("kame.pong")


@pytest.mark.parametrize("end", ["leave", "break"])
async def test_a_lost_client_comes_back_to_its_conversation(
    server: RunningServer, http: aiohttp.ClientSession, end: str
) -> None:
    async with WsClient() as first, WsClient() as second:
        await first.connect(server.base_url, headers=bearer(await secret(server, http, {"grace_s": 10})))
        created = (await first.event("session.created"))["session"]["kame"]
        if end == "leave":
            await first.hang_up(4000)
        else:
            first.abort()
        async with asyncio.timeout(7):
            await server.calls.idle()
        assert server.calls.counts()["conversations"] == 1
        resume = {"resume": created["resume"], "grace_s": 10}
        await second.connect(server.base_url, headers=bearer(await secret(server, http, resume)))
        again = (await second.event("session.created"))["session"]["kame"]
        assert again["conversation_id"] == created["conversation_id"]
        assert again["resume"] != created["resume"]
        await second.hang_up()
        await conversations_end(server, 2.0)


async def test_a_call_over_webrtc_goes_on_over_a_websocket(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with RtcClient() as first, WsClient() as second:
        session = {"type": "realtime", "kame": {"grace_s": 10}}
        await first.connect_http(server.base_url, session, multipart=True)
        created = (await first.event("session.created"))["session"]["kame"]
        first.die()
        key = await secret(server, http, {"resume": created["resume"]})
        await second.connect(server.base_url, headers=bearer(key), microphone=False)
        again = (await second.event("session.created"))["session"]["kame"]
        assert again["conversation_id"] == created["conversation_id"]
        assert server.calls.counts()["conversations"] == 1


async def test_a_call_takes_no_candidates(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with WsClient() as client:
        await client.connect(server.base_url, microphone=False)
        headers = {"Content-Type": "application/trickle-ice-sdpfrag"}
        async with http.patch(server.url(str(client.location)), data="a=x", headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (400, "no_ice")


async def test_a_call_has_a_longest_time_and_says_so() -> None:
    async with running_server(loaders=ScriptedEar(), max_call_s=1) as server, WsClient() as client:
        await client.connect(server.base_url)
        assert (await client.event("kame.trouble", 4))["code"] == "call_time_limit"
        async with asyncio.timeout(3):
            await client.closed.wait()
        assert client.close_frame == (1000, "")


async def test_shutdown_tells_the_client_why() -> None:
    async with WsClient() as client:
        async with running_server(loaders=ScriptedEar()) as server:
            await client.connect(server.base_url)
            await client.event("session.created")
        trouble = await client.event("kame.trouble", 1)
        assert (trouble["code"], trouble["fatal"]) == ("server_shutdown", True)


async def test_calls_leave_nothing_behind(server: RunningServer) -> None:
    def left() -> dict[str, Any]:
        gc.collect()
        return {"tasks": len(asyncio.all_tasks()), "threads": threading.active_count()}

    async def one(number: int) -> None:
        async with WsClient() as client:
            await client.connect(server.base_url)
            await client.event("session.created", 20)
            match number % 3:
                case 0:
                    await client.delete()
                case 1:
                    await client.hang_up()
                case _:
                    client.abort()

    for number in range(3):
        await one(number)
    await conversations_end(server)
    await asyncio.sleep(0.2)
    before = left()
    for _ in range(5):
        await asyncio.gather(*(one(number) for number in range(4)))
    await conversations_end(server)
    await asyncio.sleep(0.3)
    after = left()
    assert after["tasks"] <= before["tasks"]
    assert after["threads"] <= before["threads"] + 1
    assert server.room.require().frontend.free == 8
