"""How calls over a WebSocket end, how they are resumed, and that nothing is left of them."""

import asyncio
import gc
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import psutil
import pytest

from app.websocket.socket import SILENCE_DEADLINE_S
from tests.support.peer_side import settled
from tests.support.rtc_client import RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import RunningServer, running_server
from tests.support.ws_client import PATH, UPGRADE, WsClient, bearer, conversations_end, secret


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
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SILENCE_DEADLINE_S == 5.0
    monkeypatch.setattr("app.websocket.socket.SILENCE_DEADLINE_S", 2.5)  # of which two pings fall into
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
        await first.connect(server.base_url, headers=bearer(await secret(server, http, kame={"grace_s": 10})))
        created = (await first.event("session.created"))["session"]["kame"]
        if end == "leave":
            await first.hang_up(4000)
        else:
            first.abort()
        async with asyncio.timeout(7):
            await server.calls.idle()
        assert server.calls.counts()["conversations"] == 1
        resume = {"resume": created["resume"], "grace_s": 10}
        await second.connect(server.base_url, headers=bearer(await secret(server, http, kame=resume)))
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
        key = await secret(server, http, kame={"resume": created["resume"]})
        await second.connect(server.base_url, headers=bearer(key), microphone=False)
        again = (await second.event("session.created"))["session"]["kame"]
        assert again["conversation_id"] == created["conversation_id"]
        assert server.calls.counts()["conversations"] == 1


@asynccontextmanager
async def plain_client(server: RunningServer) -> AsyncIterator[socket.socket]:
    """A sound check of a client that answers no ping and never reads."""
    host, port = server.base_url.removeprefix("http://").split(":")
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect((host, int(port)))
        plain.setblocking(False)
        lines = [f"GET {PATH}?transport=echo HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in UPGRADE.items())]
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(plain, "\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(5):
            while not server.calls.count:
                await asyncio.sleep(0.02)
        yield plain


async def test_a_client_that_never_reads_leaves_no_connection_open(server: RunningServer) -> None:
    port = int(server.base_url.rpartition(":")[2])

    def connections() -> int:
        all_tcp = psutil.Process().net_connections("tcp")
        return sum(one.laddr.port == port and one.status == "ESTABLISHED" for one in all_tcp)

    async with plain_client(server):
        [call] = server.calls._calls.values()
        await asyncio.sleep(0.1)
        while server.calls.count:
            call._transport.send("x" * 200_000)
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            while connections():
                await asyncio.sleep(0.05)


async def test_a_long_message_over_a_slow_network_is_no_silence(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.websocket.socket.SILENCE_DEADLINE_S", 1.0)
    message = b'{"type":"kame.ping","t":"' + b"x" * 4_000 + b'"}'
    frame = bytes([0x81, 0x80 | 126]) + struct.pack("!H", len(message)) + bytes(4) + message
    async with plain_client(server) as plain:
        loop = asyncio.get_running_loop()
        for begin in range(0, len(frame), 250):
            await loop.sock_sendall(plain, frame[begin : begin + 250])
            await asyncio.sleep(0.1)
        assert server.calls.count == 1
        async with asyncio.timeout(5):
            await server.calls.idle()  # now it is silent


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
    before["threads"] += 1
    assert await settled(lambda: all(left()[what] <= count for what, count in before.items()), 5.0), (before, left())
    assert server.room.require().frontend.free == 8
