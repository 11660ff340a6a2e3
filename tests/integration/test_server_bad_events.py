"""Nonsense on a real data channel: a precise error to its sender; call, sound and everybody else go on."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.rtc_client import RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import RunningServer, running_server
from tests.support.speech import say


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server(loaders=ScriptedEar()) as running:
        yield running


NONSENSE: list[tuple[str, str]] = [
    ("{", "invalid_json"),
    ("[1, 2]", "invalid_type"),
    ('"hello"', "invalid_type"),
    ("null", "invalid_type"),
    (json.dumps({"no": "type"}), "missing_required_parameter"),
    (json.dumps({"type": 7}), "invalid_type"),
    (json.dumps({"type": "session.dance"}), "invalid_value"),
    (json.dumps({"type": "session.update", "session": "loud"}), "invalid_type"),
    (
        json.dumps({"type": "session.update", "session": {"type": "realtime", "kame": {"mode": "magic"}}}),
        "invalid_value",
    ),
    (json.dumps({"type": "conversation.item.create", "item": {"type": "message", "role": "user"}}), ""),
    (json.dumps({"type": "conversation.item.delete", "item_id": "nowhere"}), "item_not_found"),
    (json.dumps({"type": "response.cancel"}), "response_cancel_not_active"),
    (json.dumps({"type": "input_audio_buffer.append", "audio": "AAAA"}), ""),
]


async def test_every_kind_of_nonsense_is_answered_and_the_talk_goes_on(server: RunningServer) -> None:
    async with RtcClient() as rude, RtcClient() as polite:
        await rude.connect_http(server.base_url)
        await polite.connect_http(server.base_url)
        await rude.event("session.created")
        await polite.event("session.created")
        assert rude.channel is not None
        for message, code in NONSENSE:
            seen = len(rude.events)
            rude.channel.send(message)
            error = (await rude.event("error", after=seen))["error"]
            assert error["type"] == "invalid_request_error", message
            assert error["message"].endswith("."), message
            assert not code or error["code"] == code, (message, error)
        rude.channel.send(b"\x00\x01\x02")
        rude.channel.send("x" * 60_000)
        rude.say(say("What is two plus three?"))
        await rude.answered()
        assert "error" not in polite.kinds()
        assert len(polite.events) <= 3


async def test_linked_errors_carry_the_clients_event_id(server: RunningServer) -> None:
    async with RtcClient() as client:
        await client.connect_http(server.base_url)
        await client.event("session.created")
        client.send({"type": "response.cancel", "event_id": "mine_1"})
        error = await client.event("error")
        assert error["error"]["event_id"] == "mine_1"


async def test_the_session_is_merged_not_replaced(server: RunningServer) -> None:
    async with RtcClient() as client:
        await client.connect_http(server.base_url)
        await client.event("session.created")
        patches: list[dict[str, Any]] = [{"instructions": "Be brief."}, {"kame": {"mode": "direct"}}]
        for patch in patches:
            seen = len(client.events)
            client.send({"type": "session.update", "session": {"type": "realtime", **patch}})
            updated = await client.event("session.updated", after=seen)
        assert updated["session"]["instructions"] == "Be brief."
        assert updated["session"]["kame"]["mode"] == "direct"
