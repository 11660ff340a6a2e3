"""Calls over a WebSocket through the real server: what is said and heard."""

import asyncio
from typing import Any

import aiohttp
import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, level_dbfs, silence
from tests.support.scripted_ear import ScriptedEar
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.server import NoEngines, RunningServer, running_server
from tests.support.speech import say
from tests.support.understanding import CAPITALS, understood
from tests.support.wire_conversation import check_server_event
from tests.support.ws_client import WsClient, append_of, bearer, conversations_end, secret


async def test_a_question_is_heard_and_answered_aloud() -> None:
    question = "what is the capital of france"  # its answer is recognised well
    ear = ScriptedEar(ScriptedSpeechToText(question))
    async with running_server(loaders=ear) as server, WsClient() as client:
        await client.connect(server.base_url, query="?model=kame-reflex")
        created = await client.event("session.created")
        assert client.kinds[0] == "session.created"
        assert client.location == f"/v1/realtime/calls/{created['session']['kame']['call_id']}"
        client.say(say(question))
        final = await client.event("conversation.item.input_audio_transcription.completed", 10)
        assert final["transcript"] == question
        done = await client.event("response.done", 15, where=lambda event: event["response"]["status"] == "completed")
        await client.event("output_audio_buffer.stopped", 5)
        for event in client.events:
            check_server_event(event)
        output = done["response"]["output"][0]
        assert "Paris" in output["content"][0]["transcript"]
        assert {item for _, item, _ in client.voice} == {output["id"]}
        assert {"capital", "france"} <= set(understood(client.line, CAPITALS))
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


def telephone(kind: str) -> dict[str, Any]:
    """The `audio` of a session in this format."""
    return {"input": {"format": {"type": kind}}, "output": {"format": {"type": kind}}}


async def test_the_sound_check_says_back_what_it_hears(http: aiohttp.ClientSession) -> None:
    async with running_server(loaders=NoEngines()) as server, WsClient("audio/pcma") as client:
        key = await secret(server, http, audio=telephone("audio/pcma"))
        await client.connect(server.base_url, query="?transport=echo", headers=bearer(key))
        assert (await client.event("session.created"))["session"]["kame"]["not_honoured"] == []
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


async def test_a_telephone_is_heard_and_answered_in_its_own_coding(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    async with WsClient("audio/pcmu") as client:
        key = await secret(server, http, audio=telephone("audio/pcmu"))
        await client.connect(server.base_url, headers=bearer(key))
        created = (await client.event("session.created"))["session"]
        assert created["audio"]["output"]["format"] == created["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        client.say(say("What is two plus three?"))
        done = await client.event("response.done", 20, where=lambda event: event["response"]["status"] == "completed")
        assert "five" in done["response"]["output"][0]["content"][0]["transcript"].lower()
        for event in client.events:
            check_server_event(event)
        assert client.line.size > SAMPLE_RATE_HZ  # the embedded ear does not understand the telephone's narrow band
        assert level_dbfs(client.line) > -45
        assert await client.delete() == 200
