"""The queue of a full server, what one caller may take, and the end of a call that lasts too long, over real calls."""

import asyncio
from typing import Any

import aiohttp
import pytest

from app.observability import Load, LoopLag
from kame_core.clock import VirtualClock
from tests.support.rtc_client import CallRefusedError, RtcClient
from tests.support.server import NoEngines, RunningServer, running_server
from tests.support.ws_client import WsClient

ECHO = "?transport=echo"
QUEUE = "/v1/realtime/queue/"
CALLS = "/v1/realtime/calls"


async def refusal(server: RunningServer, query: str = ECHO, **headers: str) -> tuple[int, dict[str, Any], str | None]:
    """What a caller is told who is not let in: status, error, Retry-After."""
    async with RtcClient() as client, aiohttp.ClientSession() as http:
        headers["Content-Type"] = "application/sdp"
        url = server.url(CALLS + query)
        async with http.post(url, data=await client.offer(), headers=headers) as response:
            return response.status, (await response.json())["error"], response.headers.get("Retry-After")


async def test_a_caller_waits_for_a_place_and_gets_it_before_those_who_do_not() -> None:
    async with (
        running_server(loaders=NoEngines(), capacity=1) as server,
        aiohttp.ClientSession() as http,
        RtcClient() as talking,
        RtcClient() as waiting,
    ):
        await talking.connect_http(server.base_url, query=ECHO)
        status, error, retry_after = await refusal(server, ECHO + "&ticket=new")
        assert (status, error["code"]) == (503, "server_full")
        assert retry_after is not None
        place = error["kame"]
        assert (place["position"], place["waiting"], place["ready"]) == (1, 1, False)
        status, error, _ = await refusal(server, ECHO + "&ticket=new")
        assert error["kame"]["position"] == 2
        async with http.delete(server.url(QUEUE + error["kame"]["ticket"])) as response:
            assert response.status == 200
        assert (await refusal(server))[1]["code"] == "server_full"

        await talking.delete()
        async with http.get(server.url(QUEUE + place["ticket"])) as response:
            assert await response.json() == {**place, "ready": True}
        status, error, _ = await refusal(server)
        assert "kame" not in error  # the place is free, and not theirs
        await waiting.connect_http(server.base_url, query=f"{ECHO}&ticket={place['ticket']}")
        async with http.get(server.url(QUEUE + place["ticket"])) as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "ticket_not_found"
        assert server.calls.count == 1


async def test_a_websocket_is_told_its_place_too() -> None:
    async with running_server(loaders=NoEngines(), capacity=1) as server, RtcClient() as talking:
        await talking.connect_http(server.base_url, query=ECHO)
        url = server.url("/v1/realtime" + ECHO + "&ticket=new")
        async with aiohttp.ClientSession() as http, http.ws_connect(url, protocols=["realtime"]) as socket:
            event = await socket.receive_json()
        assert event["error"]["code"] == "server_full"
        assert event["error"]["kame"]["position"] == 1


async def test_one_address_and_one_secret_have_their_share_of_calls() -> None:
    async with (
        running_server(loaders=NoEngines(), calls_per_ip=2, calls_per_secret=1, trusted_proxies=1) as server,
        aiohttp.ClientSession() as http,
    ):
        async with http.post(server.url("/v1/realtime/client_secrets"), json={}) as response:
            key = {"Authorization": f"Bearer {(await response.json())['value']}"}
        here = {"X-Forwarded-For": "203.0.113.1, 198.51.100.7"}
        async with RtcClient() as one, RtcClient() as two, RtcClient() as three:
            await one.connect_http(server.base_url, query=ECHO, headers=key | here)
            status, error, _ = await refusal(server, **key)
            assert status == 429
            assert "client secret" in error["message"]
            await two.connect_http(server.base_url, query=ECHO, headers=here)
            status, error, retry_after = await refusal(server, **here)
            assert (status, error["code"], error["type"]) == (429, "rate_limited", "rate_limit_error")
            assert retry_after is not None
            await three.connect_http(server.base_url, query=ECHO, headers={"X-Forwarded-For": "198.51.100.8"})
            assert await one.delete() == 200
            async with RtcClient() as again:
                await again.connect_http(server.base_url, query=ECHO, headers=key | here)


async def test_a_sound_check_does_not_pass_for_a_caller_who_comes_back() -> None:
    async with (
        running_server(loaders=NoEngines(), calls_per_ip=1, capacity=8) as server,
        RtcClient() as one,
        RtcClient() as other,
    ):
        session = {"kame": {"transport": "echo", "resume": "no token at all"}}
        await one.connect_http(server.base_url, session, multipart=True)
        with pytest.raises(CallRefusedError) as refused:
            await other.connect_http(server.base_url, session, multipart=True)
        assert refused.value.status == 429


async def test_requests_of_one_address_are_limited_calls_and_secrets_together() -> None:
    async with running_server(loaders=NoEngines(), opens_per_minute=2) as server, aiohttp.ClientSession() as http:
        for expected in (200, 200, 429):
            async with http.post(server.url("/v1/realtime/client_secrets"), json={}) as response:
                assert response.status == expected
        assert (await refusal(server))[0] == 429
        assert server.calls.count == 0


async def test_a_sound_check_ends_as_a_silent_call_does() -> None:
    async with running_server(loaders=NoEngines(), max_idle_s=1.0) as server, WsClient() as client:
        await client.connect(server.base_url, query=ECHO)
        warning = await client.event("kame.ending")
        assert warning["reason"] == "idle"
        assert warning["in_s"] <= 0.25
        error = await client.event("error", 5)
        assert error["error"]["code"] == "call_idle"
        async with asyncio.timeout(5):
            await server.calls.idle()


async def test_a_machine_that_cannot_keep_up_takes_no_more_calls_than_it_has() -> None:
    slow = {"lag": False}
    async with running_server(loaders=NoEngines(), capacity=None) as server:
        server.calls.places._overloaded = lambda: slow["lag"]
        async with RtcClient() as one, RtcClient() as two:
            slow["lag"] = True
            await one.connect_http(server.base_url, query=ECHO)  # one call at least
            assert (await refusal(server))[1]["code"] == "server_full"
            slow["lag"] = False
            await two.connect_http(server.base_url, query=ECHO)


def test_the_load_is_too_high_when_the_loop_or_the_ticker_is_late() -> None:
    ticks = [(0, 0), (50, 0), (60, 40), (120, 41)]
    seen: list[bool] = []

    class Steps(VirtualClock):
        """A clock on which one waits without waiting."""

        async def sleep_until(self, deadline_s: float) -> None:
            seen.append(load.too_high())
            if len(ticks) == 0:
                raise asyncio.CancelledError
            self.advance(deadline_s - self.now())

    clock = Steps()
    lag = LoopLag(clock)
    load = Load(lag, lambda: ticks.pop(0))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(load.watch(clock))
    assert seen == [False, False, True, False]
    lag.recent_ms = 150.0
    assert load.too_high()
