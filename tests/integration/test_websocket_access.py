"""Who may call over a WebSocket, and what those are told who may not."""

import asyncio
import json
import logging
from io import StringIO
from typing import Any

import aiohttp
import pytest

from app.engines import PartState
from app.observability import configure_logging
from tests.support.rtc_client import CallRefusedError, RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import NoEngines, RunningServer, running_server
from tests.support.ws_client import PATH, UPGRADE, WsClient, bearer, refused, secret

KEY = "a server key of some length"


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


async def test_a_key_among_subprotocols_never_reaches_the_log() -> None:
    root, log = logging.getLogger(), StringIO()
    handlers, level = root.handlers[:], root.level
    configure_logging("info", as_json=False, stream=log)
    try:
        async with running_server(loaders=NoEngines(), api_key=KEY.replace(" ", "-")) as server, WsClient() as client:
            protocols = (f"openai-insecure-api-key.{KEY.replace(' ', '-')}",)
            await client.connect(server.base_url, query="?transport=echo", protocols=protocols, microphone=False)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "call began" in log.getvalue()
    assert KEY.replace(" ", "-") not in log.getvalue()


async def test_without_a_way_for_webrtc_there_are_websockets(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    server.room.set("ice", state=PartState.FAILED, choice="none", why="No TURN server can be used.")
    async with WsClient() as client, RtcClient() as other:
        with pytest.raises(CallRefusedError) as refused:
            await other.connect_http(server.base_url)
        error = json.loads(refused.value.body)["error"]
        assert (refused.value.status, error["code"]) == (503, "connect_failed")  # upon which the page takes a WebSocket
        assert "No TURN server can be used." in error["message"]
        async with http.get(server.url("/v1/realtime/ice-servers")) as response:
            assert (await response.json())["mode"] == "websocket"
        async with http.get(server.url("/status")) as status, http.get(server.url("/readyz")) as readyz:
            assert ((await status.json())["ready"], (await readyz.json())["ready"]) == (True, False)
        await client.connect(server.base_url, microphone=False)
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
    key = await secret(server, http, audio={"input": {"format": {"type": "audio/pcm", "rate": 8000}}})
    status, error = await refused(server, http, headers=bearer(key))
    assert (status, error["code"]) == (400, "unsupported_audio_format")
    assert "audio/pcmu" in error["message"]
    assert server.room.require().frontend.free == 8
