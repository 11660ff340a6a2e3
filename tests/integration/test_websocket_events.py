"""Messages over a WebSocket that are wrong, too many or too large: answered, and nobody else notices."""

import asyncio
import json

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ
from tests.support.server import RunningServer
from tests.support.ws_client import WsClient, append_of, conversations_end

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
        json.dumps({"type": "session.update", "session": {"audio": {"output": {"format": {"rate": 8000}}}}}),
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
