"""SIGTERM with calls open: they may end by themselves, nobody new gets in, and the process is gone in time."""

import asyncio
import json
import signal
import time

import aiohttp
import pytest

from tests.support.rtc_client import CallRefusedError, RtcClient
from tests.support.server import server_process

FLAGS = ("--port", "0", "--frontend", "echo", "--stt", "pocketsphinx", "--tts", "espeak", "--llm", "offline")
ECHO = "?transport=echo"
SLACK_S = 6.0
"""For what follows the drain: calls still open are ended within 4.5 s."""


async def test_a_live_call_is_told_and_ends_by_itself_while_new_ones_are_refused() -> None:
    async with server_process(*FLAGS, "--drain-s", "30", "--log-json") as server:
        await server.line("Network")
        async with RtcClient() as client, RtcClient() as late, aiohttp.ClientSession() as http:
            await client.connect_http(server.base_url, query=ECHO)
            server.process.send_signal(signal.SIGTERM)
            ending = await client.event("kame.ending")
            assert ending["reason"] == "server_shutdown"
            assert 25 < ending["in_s"] <= 30
            with pytest.raises(CallRefusedError) as refused:
                await late.connect_http(server.base_url, query=ECHO)
            assert refused.value.status == 503
            assert "shutting_down" in refused.value.body
            async with http.get(server.base_url + "/readyz") as response:
                assert response.status == 503
                assert (await response.json())["draining"] is True
                assert "Retry-After" in response.headers
            async with http.get(server.base_url + "/healthz") as response:
                assert response.status == 200  # a probe of life must not kill it now
            assert not client.closed.is_set()
            began_s = time.monotonic()
            assert await client.delete() == 200
            async with asyncio.timeout(SLACK_S):
                assert await server.process.wait() == 0
            assert time.monotonic() - began_s < SLACK_S
        await server.finished()
    assert any("waiting 30 s at most" in line for line in server.lines)
    assert client.location is not None
    call_id = client.location.rsplit("/", 1)[1]
    entries = [json.loads(line) for line in server.lines]  # nothing but JSON, for whoever collects it
    assert {"call": call_id, "message": "call ended: hangup"}.items() <= next(
        entry for entry in entries if "call ended" in entry["message"]
    ).items()


async def test_who_stays_is_ended_at_the_deadline() -> None:
    async with server_process(*FLAGS, "--drain-s", "1") as server, RtcClient() as client:
        await server.line("Network")
        await client.connect_http(server.base_url, query=ECHO)
        assert await server.end() == 0
        assert "Closing." in server.lines
        async with asyncio.timeout(5):
            await client.closed.wait()


async def test_a_second_sigterm_waits_no_longer() -> None:
    async with server_process(*FLAGS, "--drain-s", "600") as server, RtcClient() as client:
        await server.line("Network")
        await client.connect_http(server.base_url, query=ECHO)
        server.process.send_signal(signal.SIGTERM)
        await server.line("waiting 600 s")
        assert await server.end() == 0
        assert "Closing." in server.lines
