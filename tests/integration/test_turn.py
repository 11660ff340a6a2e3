"""Calls through a real TURN server, the test of the servers at start, and credentials that are fetched."""

import asyncio
import ipaddress
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from app.engines import PartState
from app.relay import IceKeeper
from app.webrtc.cloudflare import CloudflareTurn
from app.webrtc.ice import IceServer, turn_credentials
from app.webrtc.probe import probe
from kame_core.audio import SAMPLE_RATE_HZ
from kame_core.errors import UnavailableError
from tests.support.coturn import SECRET, WHY_NOT, Coturn, coturn
from tests.support.loopback import serving
from tests.support.rtc_client import RtcClient
from tests.support.server import NoEngines, RunningServer, running_server

ECHO = "?transport=echo"
needs_coturn = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "it can run")


@pytest.fixture
async def turn() -> AsyncIterator[Coturn]:
    async with coturn() as server:
        yield server


async def tried(server: RunningServer) -> dict[str, Any]:
    """The part `ice`, once the servers were tried."""
    async with asyncio.timeout(15):
        while "Tried:" not in server.room.part("ice").why:
            await asyncio.sleep(0.02)
    return server.room.part("ice").as_json()


def relay_client(servers: list[dict[str, Any]]) -> RtcClient:
    """A client that may give away no address of its own."""
    ice = [RTCIceServer(one["urls"], one.get("username"), one.get("credential")) for one in servers]
    return RtcClient(configuration=RTCConfiguration(iceServers=ice, iceTransportPolicy=RTCIceTransportPolicy.RELAY))


def candidate_types(sdp: str) -> set[str]:
    return {line.split()[7] for line in sdp.splitlines() if line.startswith("a=candidate:")}


def ways(connection: RTCPeerConnection) -> set[tuple[str, str]]:
    """Types of the candidates over which sound flows, this side's and the other's."""
    ice = connection.getTransceivers()[0].receiver.transport.transport
    pairs = ice._connection._nominated.values()
    return {(pair.local_candidate.type, pair.remote_candidate.type) for pair in pairs}


async def hears_itself(client: RtcClient) -> bool:
    """Whether a tone comes back."""
    at = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    client.say((0.4 * np.sin(2 * np.pi * 440 * at)).astype(np.float32))
    async with asyncio.timeout(10):
        while not (np.abs(client.ear.line) > 0.2).sum() > 2000:
            await asyncio.sleep(0.05)
    return True


@needs_coturn
@pytest.mark.parametrize("over", ["udp", "tcp"])
async def test_a_client_that_can_only_relay_talks_with_credentials_the_server_made(turn: Coturn, over: str) -> None:
    url = getattr(turn, over)
    async with (
        running_server(loaders=NoEngines(), ice_servers=url, turn_secret=SECRET) as server,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(server.url("/v1/realtime/ice-servers")) as response:
            servers = (await response.json())["ice_servers"]
        async with relay_client(servers) as client:
            await client.connect_http(server.base_url, query=ECHO)
            assert candidate_types(client.connection.localDescription.sdp) == {"relay"}
            assert await hears_itself(client)
            assert {local for local, _ in ways(client.connection)} == {"relay"}
            assert await client.delete() == 200


async def test_a_public_address_is_named_beside_each_private_one() -> None:
    async with running_server(loaders=NoEngines(), public_address="203.0.113.7") as server, RtcClient() as client:
        await client.connect_http(server.base_url, query=ECHO)
        lines = [line.split() for line in client.answer_sdp.splitlines() if line.startswith("a=candidate:")]
        ports = {line[4]: line[5] for line in lines if line[7] == "host"}
        public = ports.pop("203.0.113.7", None)
        own = [(ipaddress.ip_address(address), port) for address, port in ports.items()]
        private = {port for a, port in own if a.version == 4 and a.is_private and not a.is_loopback}
        assert public in private if private else public is None


@needs_coturn
async def test_fixed_credentials_are_used_as_they_are(turn: Coturn) -> None:
    username, credential = turn_credentials(SECRET, time.time(), user="fixed")
    fixed = json.dumps([{"urls": turn.udp, "username": username, "credential": credential}])
    settings: dict[str, Any] = {"ice_servers": fixed, "ice_transport_policy": "relay"}
    async with running_server(loaders=NoEngines(), **settings) as server, RtcClient() as client:
        assert (await tried(server))["choice"] == "relayed"
        assert server.calls.client_ice_servers() == json.loads(fixed.replace(f'"{turn.udp}"', f'["{turn.udp}"]'))
        await client.connect_http(server.base_url, query=ECHO)
        assert candidate_types(client.answer_sdp) == {"relay"}


@needs_coturn
async def test_a_server_that_may_only_relay_gives_no_address_of_its_own(turn: Coturn) -> None:
    settings = {"ice_servers": turn.tcp, "turn_secret": SECRET, "ice_transport_policy": "relay"}
    async with running_server(loaders=NoEngines(), load=True, **settings) as server, RtcClient() as client:
        part = await tried(server)
        assert (part["state"], part["choice"]) == ("ready", "relayed")
        await client.connect_http(server.base_url, query=ECHO)
        assert candidate_types(client.answer_sdp) == {"relay"}
        assert await hears_itself(client)


@needs_coturn
async def test_what_works_is_used_and_what_does_not_is_named_and_left_out(
    turn: Coturn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.webrtc.probe.PROBE_DEADLINE_S", 1.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((turn.address, 0))
        mute = f"stun:{turn.address}:{silent.getsockname()[1]}"
        listed = json.dumps(
            [
                {"urls": mute},
                {"urls": turn.udp, "username": "stranger", "credential": "wrong"},
                {"urls": [turn.tcp, turn.stun]},
            ]
        )
        async with running_server(loaders=NoEngines(), ice_servers=listed, turn_secret=SECRET) as server:
            part = await tried(server)
            assert part["choice"] == "direct, relay beside it"
            note = part["note"]
            assert f"{mute} does not answer" in note
            assert f"{turn.udp} refuses the credentials" in note
            assert f"{turn.tcp} relays at {turn.address}" in note
            assert f"{turn.stun} sees {turn.address}" in note
            assert f"Look at {mute} and {turn.udp}" in note
            assert [one.urls[0] for one in server.room.ice.for_server(0)] == [turn.tcp, turn.stun]
            assert len(server.calls.client_ice_servers()) == 3  # clients have another way
            async with RtcClient() as client:
                await client.connect_http(server.base_url, query=ECHO)


@needs_coturn
async def test_without_a_relay_that_works_a_relay_only_server_is_not_ready_until_it_does(turn: Coturn) -> None:
    settings = {"ice_servers": turn.udp, "turn_secret": "another secret", "ice_transport_policy": "relay"}
    async with running_server(loaders=NoEngines(), load=True, **settings) as server:
        part = await tried(server)
        assert part["state"] == "failed"
        assert "refuses the credentials" in part["note"]
        assert not server.room.transport_ready
        keeper = IceKeeper(server.room)
        server.room.ice = server.room.ice.__class__(server.room.ice.servers, turn_secret=SECRET, relay_only=True)
        assert await keeper.check()
        assert server.room.part("ice").state is PartState.READY


async def test_a_server_that_cannot_be_reached_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    result = await probe(IceServer((f"turn:127.0.0.1:{port}?transport=tcp",), "u", "c"))
    assert not result.works
    assert "cannot be reached" in result.words


class Cloudflare:
    """The part of Cloudflare's interface that gives credentials, on loopback; counts what it gave."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.status = 201
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        if request.headers["Authorization"] != "Bearer token" or request.match_info["key"] != "key1":
            return web.json_response({"success": False}, status=401)
        self.asked.append(await request.json())
        if self.status != 201:
            return web.Response(status=self.status)
        urls = ["turn:t.example:3478?transport=udp", "turn:t.example:53?transport=udp", "turns:t.example:5349"]
        given = {"urls": urls, "username": f"user{len(self.asked)}", "credential": "c"}
        servers = [{"urls": ["stun:s.example:3478", "stun:s.example:53"]}, given]
        return web.json_response({"iceServers": servers}, status=201)


@pytest.fixture
async def cloudflare() -> AsyncIterator[Cloudflare]:
    service = Cloudflare()
    app = web.Application()
    app.router.add_post("/keys/{key}/credentials/generate-ice-servers", service.answer)
    async with serving(app) as base_url:
        service.url = f"{base_url}/keys"
        yield service


async def test_credentials_of_cloudflare_reach_clients_and_are_kept_while_they_are_good(cloudflare: Cloudflare) -> None:
    async with running_server(loaders=NoEngines(), ice_servers="stun:127.0.0.1:9") as server:
        keeper = IceKeeper(server.room, CloudflareTurn("key1", "token", 3600, cloudflare.url))
        await keeper._renew()
        await keeper._renew()
        assert cloudflare.asked == [{"ttl": 3600}]
        assert server.calls.client_ice_servers() == [
            {"urls": ["stun:127.0.0.1:9"]},
            {"urls": ["stun:s.example:3478"]},
            {
                "urls": ["turn:t.example:3478?transport=udp", "turns:t.example:5349"],
                "username": "user1",
                "credential": "c",
            },
        ]
        cloudflare.status = 500
        keeper._renew_at_s = 0.0
        await keeper._renew()
        assert server.calls.client_ice_servers()[2]["username"] == "user1"  # better than none
        cloudflare.status = 201
        await keeper._renew()
        assert server.calls.client_ice_servers()[2]["username"] == "user3"


@pytest.mark.parametrize(
    ("token", "status", "code"), [("wrong", 201, "turn_key_refused"), ("token", 500, "turn_unavailable")]
)
async def test_trouble_with_cloudflare_is_told_without_the_token(
    cloudflare: Cloudflare, token: str, status: int, code: str
) -> None:
    cloudflare.status = status
    key = CloudflareTurn("key1", token, 3600, cloudflare.url)
    async with running_server(loaders=NoEngines()) as server:
        with pytest.raises(UnavailableError) as refused:
            await server.room.work(key.fetch)
    assert refused.value.code == code
    assert token not in refused.value.user_message.replace("TURN_TOKEN", "")
    assert token not in repr(key)
