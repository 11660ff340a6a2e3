"""How calls come about and are refused: the peer against a real aiortc client over real sockets."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.webrtc.ice import IceServer
from kame_core.errors import InvalidRequestError
from tests.support.held_up import HeldUp
from tests.support.peer_side import Side, click, nothing_left, settled
from tests.support.rtc_client import CALLS_PATH, CallRefusedError, RtcClient


@pytest.fixture(autouse=True)
async def clean() -> AsyncIterator[None]:
    async with nothing_left():
        yield


# --- ways to connect ---


async def test_an_offer_without_candidates_connects() -> None:
    side = Side()
    async with RtcClient(candidate_free=True) as client:
        await client.connect(side.peer.answer)
        assert side.peer.connected
    await side.peer.aclose()


async def test_trickled_candidates_connect() -> None:
    side = Side()
    async with RtcClient() as client:
        full = await client.offer()
        bare = [line for line in full.splitlines() if not line.startswith(("a=candidate", "a=end-of"))]
        candidates = [line for line in full.splitlines() if line.startswith("a=candidate")]
        with pytest.raises(InvalidRequestError, match="offer"):
            await side.peer.add_candidate("a=mid:0")
        await client.take_answer(await side.peer.answer("\r\n".join(bare) + "\r\n"))
        ufrag = next(line for line in bare if line.startswith("a=ice-ufrag"))
        with pytest.raises(InvalidRequestError) as caught:
            await side.peer.add_candidate("a=ice-ufrag:other\r\n")
        assert caught.value.code == "ice_restart_unsupported"
        await side.peer.add_candidate("\r\n".join([ufrag, "m=application 9 x x", "a=mid:1", *candidates]))
        await side.peer.add_candidate("a=end-of-candidates")
        await side.peer.add_candidate("a=end-of-candidates")
        async with asyncio.timeout(5):
            await client.connected.wait()
    await side.peer.aclose()


async def test_video_is_declined_and_a_call_without_channel_is_fine() -> None:
    before = threading.active_count()
    side = Side()
    async with RtcClient(video=True, channel=None) as client:
        await client.connect(side.peer.answer)
        video = client.answer_sdp[client.answer_sdp.index("m=video") :]
        assert "a=inactive" in video
        assert not side.peer.has_channel
        side.peer.send("nobody hears")
        assert threading.active_count() <= before + 1
    await side.peer.aclose()


async def test_an_unreachable_stun_server_costs_three_seconds_not_five(held_up: HeldUp) -> None:
    side = Side(ice=(IceServer(("stun:192.0.2.200:3478",)),))  # TEST-NET: nobody answers
    async with RtcClient() as client:
        begin = time.monotonic()
        await client.connect(side.peer.answer)
        assert time.monotonic() - begin < 4.5 + 2 * held_up.worst_ms / 1000, held_up.worst_ms
    await side.peer.aclose()


async def test_where_the_libraries_have_changed_a_call_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    side = Side()
    async with RtcClient() as client:
        answer = side.peer.answer

        async def post(offer: str) -> str:
            with monkeypatch.context() as changed:
                changed.setattr("app.webrtc.jitter.install", lambda receiver, sink: None)
                changed.setattr("app.webrtc.peer.watch_transport", lambda *args: False)
                return await answer(offer)

        await client.connect(post)
        client.say(click(0.2))
        assert await settled(lambda: len(client.ear.onsets()) == 1, 4.0)
        assert side.peer.stats.packets_received > 10
    await side.wait_ended(1.0)
    assert side.reasons == ["hangup"]
    await side.peer.aclose()


async def test_the_client_calls_over_http() -> None:
    sides: list[Side] = []

    async def open_call(request: web.Request) -> web.Response:
        side = Side()
        sides.append(side)
        if request.content_type == "multipart/form-data":
            form: Any = await request.post()  # parts that are no text come as bytes
            sdp = bytes(form["sdp"]).decode()
            side.messages.append(bytes(form["session"]).decode())
        else:
            sdp = await request.text()
        try:
            answer = await side.peer.answer(sdp)
        except InvalidRequestError as error:
            return web.json_response({"error": {"message": error.user_message, "code": error.code}}, status=400)
        headers = {"Location": f"{CALLS_PATH}/{len(sides)}"}
        return web.Response(status=201, text=answer, content_type="application/sdp", headers=headers)

    async def delete(request: web.Request) -> web.Response:
        await sides[int(request.match_info["id"]) - 1].peer.aclose()
        return web.Response()

    app = web.Application()
    app.router.add_post(CALLS_PATH, open_call)
    app.router.add_delete(CALLS_PATH + "/{id}", delete)
    async with TestServer(app) as server:
        url = str(server.make_url("/"))
        async with RtcClient(candidate_free=True) as client:
            await client.connect_http(url, {"model": "x"})
            assert client.location == f"{CALLS_PATH}/1"
            assert await settled(lambda: '"session.update"' in "".join(sides[0].messages))
            assert await client.delete() == 200
            async with asyncio.timeout(2.0):
                await client.closed.wait()
        async with RtcClient() as client:
            await client.connect_http(url, {"model": "y"}, multipart=True)
            assert sides[1].messages == ['{"model": "y"}']
        async with RtcClient() as client:
            client.connection.getTransceivers()[0].direction = "sendonly"
            with pytest.raises(CallRefusedError) as caught:
                await client.connect_http(url)
            assert caught.value.status == 400
            assert "no_audio" in caught.value.body
        for side in sides:
            await side.peer.aclose()


# --- refusals ---


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda sdp: "nonsense", "invalid_sdp"),
        (lambda sdp: sdp[: len(sdp) // 3], "invalid_sdp"),
        (lambda sdp: sdp.replace("a=sendrecv", "a=recvonly"), "no_audio"),
        (lambda sdp: sdp.replace("opus/48000/2", "red/48000/2"), "no_opus"),
        (lambda sdp: sdp + "a=x\r\n" * 20_000, "sdp_too_large"),
    ],
    ids=["nonsense", "cut", "recvonly", "no opus", "too large"],
)
async def test_a_bad_offer_is_refused_at_once_and_leaves_nothing(change: Callable[[str], str], code: str) -> None:
    side = Side()
    async with RtcClient() as client:
        offer = change(await client.offer())
        with pytest.raises(InvalidRequestError) as caught:
            await side.peer.answer(offer)
    assert caught.value.code == code
    await side.peer.aclose()
    assert side.reasons == []


async def test_what_only_the_library_trips_over_is_refused_too() -> None:
    side = Side()
    async with RtcClient() as client:
        offer = (await client.offer()).replace("a=sctp-port:5000", "a=sctp-port:5000\r\na=rtcp:x y")
        with pytest.raises(InvalidRequestError) as caught:
            await side.peer.answer(offer)
    assert caught.value.code == "invalid_sdp"
    await side.peer.aclose()


async def test_a_second_answer_is_refused() -> None:
    side = Side()
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        with pytest.raises(InvalidRequestError) as caught:
            await side.peer.answer(await client.offer())
        assert caught.value.code == "already_answered"
        assert side.peer.connected
    await side.peer.aclose()
