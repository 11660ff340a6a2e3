"""Calls through the real server: every way to open and to end one, and nothing left behind by any of them."""

import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import psutil
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples
from tests.support.peer_side import settled
from tests.support.rtc_client import CallRefusedError, RtcClient
from tests.support.server import NoEngines, RunningServer, running_server

CALLS = "/v1/realtime/calls"
ECHO = "?transport=echo"


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server(loaders=NoEngines()) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def until_empty(server: RunningServer, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        await server.calls.idle()


async def offer_of(client: RtcClient, http: aiohttp.ClientSession, url: str) -> tuple[int, str, str]:
    """Post an offer without going on with it: status, body, Location."""
    headers = {"Content-Type": "application/sdp"}
    async with http.post(url, data=await client.offer(), headers=headers) as response:
        return response.status, await response.text(), response.headers.get("Location", "")


def tone(seconds: float, hz: float = 440.0) -> Samples:
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.4 * np.sin(2 * np.pi * hz * at)).astype(np.float32)


async def test_a_sound_check_says_back_what_it_hears(server: RunningServer) -> None:
    async with RtcClient() as client:
        await client.connect_http(server.base_url, query=ECHO)
        assert client.location is not None
        assert client.location.startswith(CALLS + "/rtc_")
        assert server.calls.count == 1
        client.say(tone(0.5))
        await client.mouth.finished()
        await asyncio.sleep(0.3)
        line = client.ear.line
        spectrum = np.abs(np.fft.rfft(line))
        loudest_hz = np.argmax(spectrum) * SAMPLE_RATE_HZ / line.size
        assert 430 < loudest_hz < 450
        assert await client.delete() == 200
        assert server.calls.count == 0
        async with asyncio.timeout(5):
            await client.closed.wait()


async def test_a_form_opens_a_call_and_its_session_is_read(server: RunningServer) -> None:
    async with RtcClient() as client:
        session = {"type": "realtime", "kame": {"transport": "echo"}}
        await client.connect_http(server.base_url, session, multipart=True)
        assert server.calls.count == 1


async def test_form_parts_need_no_headers_of_their_own(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with RtcClient() as client:

        async def post(offer: str) -> str:
            session = json.dumps({"kame": {"transport": "echo"}})
            body = (
                f'--xyz\r\nContent-Disposition: form-data; name="session"\r\n\r\n{session}\r\n'
                f'--xyz\r\nContent-Disposition: form-data; name=sdp; filename="blob"\r\n\r\n{offer}\r\n--xyz--\r\n'
            )
            headers = {"Content-Type": "multipart/form-data; boundary=xyz"}
            async with http.post(server.url(CALLS), data=body.encode(), headers=headers) as response:
                assert response.status == 201, await response.text()
                return await response.text()

        await client.connect(post)


async def test_json_opens_a_call_and_is_answered_in_json(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with RtcClient(channel=None) as client:

        async def post(offer: str) -> str:
            body = {"sdp": offer, "session": {"kame": {"transport": "echo"}}}
            async with http.post(server.url(CALLS), json=body) as response:
                answer = await response.json()
                assert response.status == 201
                assert response.headers["Location"] == f"{CALLS}/{answer['id']}"
                assert answer["ice_servers"] == []
                sdp: str = answer["sdp"]
                return sdp

        await client.connect(post)


async def test_ice_servers_are_linked_on_the_answer(http: aiohttp.ClientSession) -> None:
    servers = json.dumps([{"urls": ["turn:127.0.0.1:9", "stuns:127.0.0.1:9"], "username": "u", "credential": "c"}])
    async with running_server(loaders=NoEngines(), ice_servers=servers) as server, RtcClient() as client:
        headers = {"Content-Type": "application/sdp"}
        url = server.url(CALLS + ECHO)
        async with http.post(url, data=await client.offer(), headers=headers) as response:
            assert response.status == 201
            links = response.headers.getall("Link")
    credentials = '; rel="ice-server"; username="u"; credential="c"; credential-type="password"'
    assert links == [f"<turn:127.0.0.1:9>{credentials}", f"<stuns:127.0.0.1:9>{credentials}"]


async def test_candidates_may_come_later(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with RtcClient(candidate_free=True) as client:
        status, answer, location = await offer_of(client, http, server.url(CALLS + ECHO))
        assert status == 201
        full = client.connection.localDescription.sdp
        lines = [line for line in full.splitlines() if line.startswith(("a=ice-ufrag", "a=candidate", "a=mid"))]
        for body, content_type, expected in (
            ("\r\n".join(lines), "application/trickle-ice-sdpfrag", 204),
            ("a=end-of-candidates", "application/trickle-ice-sdpfrag", 204),
            ("a=candidate:broken", "application/trickle-ice-sdpfrag", 400),
            ("no sdp at all", "application/trickle-ice-sdpfrag", 400),
            ("{}", "application/json", 415),
        ):
            headers = {"Content-Type": content_type}
            async with http.patch(server.url(location), data=body, headers=headers) as response:
                assert response.status == expected, await response.text()
                if expected >= 400:
                    assert (await response.json())["error"]["code"]
        await client.take_answer(answer)
        async with asyncio.timeout(5):
            await client.connected.wait()


@pytest.mark.parametrize("verb", ["delete", "hangup"])
async def test_a_call_can_be_ended_by_its_url_once(
    server: RunningServer, http: aiohttp.ClientSession, verb: str
) -> None:
    async with RtcClient() as client:
        await client.connect_http(server.base_url, query=ECHO)
        assert client.location is not None
        method, url = ("DELETE", client.location) if verb == "delete" else ("POST", client.location + "/hangup")
        async with http.request(method, server.url(url)) as response:
            assert response.status == 200
        assert server.calls.count == 0
        async with http.request(method, server.url(url)) as response:
            assert response.status == 404


async def test_a_client_that_hangs_up_frees_its_place(server: RunningServer) -> None:
    async with RtcClient() as client:
        await client.connect_http(server.base_url, query=ECHO)
        await client.hang_up()
        await until_empty(server, 2.0)


async def test_a_client_that_vanishes_is_noticed(server: RunningServer) -> None:
    async with RtcClient() as client:
        await client.connect_http(server.base_url, query=ECHO)
        client.die()
        await until_empty(server, 6.5)


async def test_a_negotiation_that_never_ends_is_given_up(http: aiohttp.ClientSession) -> None:
    async with running_server(loaders=NoEngines(), connect_deadline_s=0.5) as server, RtcClient() as client:
        status, _, _ = await offer_of(client, http, server.url(CALLS + ECHO))
        assert status == 201
        assert server.calls.count == 1
        await until_empty(server, 2.0)


async def test_a_full_server_says_when_to_come_back(http: aiohttp.ClientSession) -> None:
    async with running_server(loaders=NoEngines(), capacity=1) as server, RtcClient() as first, RtcClient() as second:
        await first.connect_http(server.base_url, query=ECHO)
        headers = {"Content-Type": "application/sdp"}
        url = server.url(CALLS + ECHO)
        async with http.post(url, data=await second.offer(), headers=headers) as response:
            body = await response.json()
            assert (response.status, body["error"]["code"]) == (503, "server_full")
            assert int(response.headers["Retry-After"]) > 0
        assert await first.delete() == 200
        async with http.post(url, data=await second.offer(), headers=headers) as response:
            assert response.status == 201


async def test_a_call_has_a_longest_time() -> None:
    async with running_server(loaders=NoEngines(), max_call_s=3) as server, RtcClient() as client:
        await client.connect_http(server.base_url, query=ECHO)
        async with asyncio.timeout(6):
            await client.closed.wait()
        await until_empty(server, 1.0)


async def test_offers_without_opus_or_audio_are_refused(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with RtcClient() as client:
        offer = await client.offer()
    no_opus = offer.replace("opus/48000/2", "speex/16000/1")
    for sdp, code in ((no_opus, "no_opus"), (offer.replace("m=audio", "m=video"), "no_audio")):
        headers = {"Content-Type": "application/sdp"}
        async with http.post(server.url(CALLS + ECHO), data=sdp, headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (400, code)
    assert server.calls.count == 0


async def test_call_ids_cannot_be_guessed(server: RunningServer, http: aiohttp.ClientSession) -> None:
    locations = set()
    for _ in range(5):
        async with RtcClient() as client:
            _, _, location = await offer_of(client, http, server.url(CALLS + ECHO))
            locations.add(location)
    assert len(locations) == 5
    assert all(len(location.rsplit("_", 1)[1]) >= 20 or len(location) > 40 for location in locations)


async def test_shutdown_ends_all_calls_and_takes_no_more() -> None:
    async with RtcClient() as one, RtcClient() as two:
        async with running_server(loaders=NoEngines()) as server:
            for client in (one, two):
                await client.connect_http(server.base_url, query=ECHO)
            await server.calls.aclose()
            assert server.calls.count == 0
            async with RtcClient() as late:
                with pytest.raises(CallRefusedError) as refused:
                    await late.connect_http(server.base_url, query=ECHO)
            assert refused.value.status == 503
            assert json.loads(refused.value.body)["error"]["code"] == "shutting_down"
        async with asyncio.timeout(5):
            await one.closed.wait()
            await two.closed.wait()


async def test_fifty_calls_leave_nothing_behind(server: RunningServer) -> None:
    async def one(number: int) -> None:
        async with RtcClient(channel=None if number % 5 == 0 else "oai-events") as client:
            await client.connect_http(server.base_url, query=ECHO)
            if number % 3 == 0:
                await client.delete()
            else:
                await client.hang_up()

    def left() -> dict[str, Any]:
        gc.collect()
        return {
            "tasks": sorted(task.get_name() for task in asyncio.all_tasks()),
            "threads": threading.active_count(),
            "sockets": len(psutil.Process().net_connections("udp")),
        }

    await one(0)
    await until_empty(server)
    before = left()
    for batch in range(10):
        await asyncio.gather(*(one(5 * batch + number) for number in range(5)))
    await until_empty(server)

    def no_more() -> bool:
        after = left()
        fewer = len(after["tasks"]) <= len(before["tasks"]) and after["sockets"] <= before["sockets"]
        return fewer and after["threads"] <= before["threads"] + 1

    assert await settled(no_more, 5.0), (before, left())  # sockets of the clients close a little later
