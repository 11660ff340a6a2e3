"""A client comes back to its conversation: what it goes on with, which places and limits hold, what does not end it."""

import asyncio
from typing import Any

import aiohttp
import pytest

from app.call import Call
from app.registry import NEVER_CONNECTED
from tests.support.rtc_client import RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import RunningServer, running_server
from tests.support.ws_client import WsClient, bearer, secret

CALLS = "/v1/realtime/calls"
TOOL = {"type": "function", "name": "lamp", "description": "", "parameters": {"type": "object", "properties": {}}}


async def opened(
    client: WsClient, server: RunningServer, http: aiohttp.ClientSession, query: str = "", **session: Any
) -> dict[str, Any]:
    """The session of a call over a WebSocket that may be resumed."""
    session["kame"] = {"grace_s": 10, **session.get("kame", {})}
    key = await secret(server, http, **session)
    await client.connect(server.base_url, query=query, headers=bearer(key), microphone=False)
    created: dict[str, Any] = (await client.event("session.created"))["session"]
    return created


async def offered(
    server: RunningServer, http: aiohttp.ClientSession, kame: dict[str, Any], key: str = ""
) -> tuple[int, dict[str, Any], Call | None]:
    """Post an offer that nobody goes on with: status, body, the call."""
    async with RtcClient() as client:
        body = {"sdp": await client.offer(), "session": {"type": "realtime", "kame": kame}}
        url = server.url(CALLS + "?ticket=new")
        async with http.post(url, json=body, headers=bearer(key) if key else {}) as response:
            answer = await response.json()
            return response.status, answer, server.calls.get(answer.get("id", ""))


async def conversations_become(server: RunningServer, number: int) -> None:
    """Wait until there are so many, and no calls."""
    async with asyncio.timeout(5):
        await server.calls.idle()
        while server.calls.counts()["conversations"] != number:
            await asyncio.sleep(0.02)


async def test_on_a_full_server_a_client_takes_the_place_of_its_own_dead_call(http: aiohttp.ClientSession) -> None:
    async with (
        running_server(loaders=ScriptedEar(), capacity=1) as server,
        WsClient() as first,
        WsClient() as second,
        WsClient() as third,
    ):
        created = await opened(first, server, http)
        first.die()  # and nobody has noticed
        kame = {"resume": created["kame"]["resume"]}
        again = await opened(second, server, http, "?ticket=new", kame=kame)
        assert again["kame"]["conversation_id"] == created["kame"]["conversation_id"]
        second.die()
        kame = {"resume": again["kame"]["resume"]}
        assert (await offered(server, http, kame))[0] == 201  # WebRTC, which does not get through
        again = await opened(third, server, http, "?ticket=new", kame=kame)
        assert again["kame"]["conversation_id"] == created["kame"]["conversation_id"]

        status, refused, _ = await offered(server, http, {"resume": created["kame"]["resume"]})
        assert (status, refused["error"]["code"]) == (400, "resume_token_invalid")
        assert server.calls.places.line.count == 0
        assert (await offered(server, http, {}))[1]["error"]["code"] == "server_full"
        assert server.calls.places.line.count == 1
        first.abort()
        second.abort()


async def test_who_comes_back_too_late_to_a_full_server_does_not_stand_in_its_queue(
    http: aiohttp.ClientSession,
) -> None:
    async with (
        running_server(loaders=ScriptedEar(), capacity=2) as server,
        WsClient() as first,
        WsClient() as second,
        WsClient() as third,
    ):
        created = await opened(first, server, http)
        first.abort()
        await server.calls.idle()
        for other in (second, third):
            await other.connect(server.base_url, query="?transport=echo", microphone=False)
        status, refused, _ = await offered(server, http, {"resume": created["kame"]["resume"]})
        assert (status, refused["error"]["code"]) == (503, "server_full")
        assert "kame" not in refused["error"]
        assert server.calls.places.line.count == 0
        await third.hang_up()
        async with asyncio.timeout(3):
            while server.calls.count == 2:
                await asyncio.sleep(0.02)
        server.calls.places._overloaded = lambda: True  # its engines run already
        assert (await offered(server, http, {"resume": created["kame"]["resume"]}))[0] == 201


async def test_what_goes_on_with_nothing_counts_as_a_new_call(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    async with http.post(server.url("/v1/realtime/client_secrets"), json={"kame": {"max_calls": 1}}) as response:
        key = (await response.json())["value"]
    assert (await offered(server, http, {"resume": None}, key))[0] == 201
    status, refused, _ = await offered(server, http, {"resume": None}, key)
    assert (status, refused["error"]["code"]) == (403, "client_secret_used_up")


@pytest.mark.parametrize("by", ["its own secret", "the first secret", "an exchanged secret"])
async def test_it_goes_on_with_what_was_agreed_and_changed_since(
    server: RunningServer, http: aiohttp.ClientSession, by: str
) -> None:
    async with WsClient() as first, WsClient() as second:
        key = await secret(server, http, instructions="of the secret", kame={"grace_s": 10, "context": "page A"})
        await first.connect(server.base_url, headers=bearer(key), microphone=False)
        created = (await first.event("session.created"))["session"]["kame"]
        changes = {
            "tools": [TOOL],
            "tool_choice": "required",
            "instructions": "changed in the call",
            "audio": {"input": {"transcription": None}, "output": {"format": {"type": "audio/pcmu"}}},
            "kame": {"context": "page B"},
        }
        await first.send({"type": "session.update", "session": {"type": "realtime", **changes}})
        before = (await first.event("session.updated"))["session"]
        first.abort()
        wanted: dict[str, Any] = {"resume": created["resume"], "opener": False}
        if by == "the first secret":
            status, _, call = await offered(server, http, wanted, key)
            assert status == 201
            assert call is not None
            conversation, agreed = call.conversation, call._codec.session.render()  # type: ignore[union-attr]
        else:
            if by == "an exchanged secret":  # as our page does it for a host's
                headers = {"Origin": server.base_url} | bearer(key)
                body = {"session": {"kame": wanted}, "kame": {"embedder": "null"}}
                async with http.post(server.url("/v1/realtime/client_secrets"), json=body, headers=headers) as response:
                    own = (await response.json())["value"]
                headers = {"Origin": server.base_url} | bearer(own)
                await second.connect(server.base_url, headers=headers, microphone=False)
                agreed = (await second.event("session.created"))["session"]
            else:
                agreed = await opened(second, server, http, kame=wanted)
            [conversation] = [call.conversation for call in server.calls._calls.values() if call.conversation]
        assert conversation is not None
        assert [tool.name for tool in conversation.options.tools] == ["lamp"]
        assert (conversation.options.instructions, conversation.options.context) == ("changed in the call", "page B")
        for name in ("tools", "tool_choice", "instructions", "audio"):
            assert agreed[name] == before[name]
        assert (agreed["kame"]["opener"], agreed["kame"]["context"]) == (False, "page B")


async def test_an_attempt_that_never_connects_leaves_the_conversation(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    async with WsClient() as first, WsClient() as second:
        created = (await opened(first, server, http))["kame"]
        first.abort()
        _, _, call = await offered(server, http, {"resume": created["resume"]})
        assert call is not None
        call.end(NEVER_CONNECTED)  # what its transport tells at the deadline
        await server.calls.idle()
        again = await opened(second, server, http, kame={"resume": created["resume"]})
        assert again["kame"]["conversation_id"] == created["conversation_id"]
        second.abort()
        await server.calls.idle()
        _, _, new = await offered(server, http, {"grace_s": 10})
        assert new is not None
        new.end(NEVER_CONNECTED)
        await server.calls.idle()
        await conversations_become(server, 1)  # nobody could come back to the new one


async def test_the_longest_time_is_that_of_the_conversation(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with WsClient() as first:
        created = (await opened(first, server, http))["kame"]
        [call] = server.calls._calls.values()
        first.abort()
        await server.calls.idle()
        _, _, again = await offered(server, http, {"resume": created["resume"]})
        assert again is not None
        assert again._time._limits.max_call_s < call._time._limits.max_call_s
        assert again.conversation is not None
        entry = server.calls._agreements._agreements[again.conversation.id]
        server.calls._agreements.note(again.conversation, entry.session, 0.0)  # it passes
        again.end("peer_gone")
        await conversations_become(server, 0)


async def test_a_call_that_was_lost_can_be_hung_up_while_it_is_released(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    async with WsClient() as client:
        await opened(client, server, http)
        [call] = server.calls._calls.values()
        call.end("peer_gone")
        assert await client.delete() == 200
        assert server.calls.counts()["conversations"] == 0
