"""The peer against a real aiortc client over real sockets: sound, messages, ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from app.webrtc.ice import IceServer
from app.webrtc.peer import Peer
from kame_core.audio import SAMPLE_RATE_HZ, Samples, level_dbfs
from tests.support.held_up import HeldUp
from tests.support.peer_side import Side, click, nothing_left, settled
from tests.support.rtc_client import RtcClient

RTP_RATE_HZ = 48_000


@pytest.fixture(autouse=True)
async def clean() -> AsyncIterator[None]:
    async with nothing_left():
        yield


# --- sound and messages ---


async def test_sound_comes_back_and_messages_go_both_ways(held_up: HeldUp) -> None:
    side = Side()
    side.peer.send('{"type": "early"}')
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        await client.event("early")
        assert side.peer.connected
        assert side.peer.has_channel
        assert side.opened == 1
        client.say(np.concatenate([click() for _ in range(3)]))
        await client.mouth.finished()
        assert await settled(lambda: len(client.ear.onsets()) == 3, 10.0)
        client.channel.send("hello")  # type: ignore[union-attr]
        assert await settled(lambda: side.messages == ["hello"])
        stats = side.peer.stats
        assert stats.packets_lost == stats.packets_undecodable == stats.audio_errors == 0
        assert stats.packets_sent > 100  # of 150; those that come due while the machine holds it up are left out
        assert "useinbandfec=1" in client.answer_sdp
        assert "a=sendrecv" in client.answer_sdp
        assert "PCMU" not in client.answer_sdp
        first, second = client.ear.onsets()[:2]
        off_ms = 1000 * abs(second - first - SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
        assert off_ms < 150 + 2 * held_up.worst_ms, held_up.worst_ms  # the time line is true
    await side.wait_ended(1.0)
    assert side.reasons == ["hangup"]
    await side.peer.aclose()
    await side.peer.aclose()
    assert side.reasons == ["hangup"]


async def test_events_are_json_in_order_and_survive_bursts() -> None:
    side = Side()
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        for number in range(300):
            side.peer.send(f'{{"type": "burst", "number": {number}, "filler": "{"x" * 2000}"}}')
        await client.event("burst", 10.0, where=lambda event: event["number"] == 299)
        numbers = [event["number"] for _, event in client.events]
        assert numbers == list(range(300))
        assert side.peer.stats.messages_dropped == 0
    await side.peer.aclose()


async def test_bad_messages_are_errors_and_the_call_goes_on() -> None:
    side = Side()
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        assert client.channel is not None
        client.channel.send(b"\x00\x01")
        assert await settled(lambda: [e.code for e in side.errors] == ["binary_message"])
        with pytest.raises(ValueError, match="65536"):  # the answer said so
            client.channel.send("x" * 70_000)
        client.channel.send("still here")
        assert await settled(lambda: side.messages == ["still here"])
        other = client.connection.createDataChannel("something-else")
        assert await settled(lambda: other.readyState == "closed")
    await side.peer.aclose()


@pytest.mark.alone
async def test_lost_packets_leave_no_delay() -> None:
    side = Side()
    lost = {60, 61, 120, 180, 181, 182}
    async with RtcClient(loss=lambda number: number in lost) as client:
        await client.connect(side.peer.answer)
        client.say(np.concatenate([click(0.9) for _ in range(5)]))
        await client.mouth.finished()
        assert await settled(lambda: len(client.ear.onsets()) == 5, 5.0)
        assert client.lost_packets == 6
        assert side.peer.stats.packets_lost == 6
        assert side.peer.stats.recovered_ms == pytest.approx(120.0)
        received = sum(piece.size for piece in side.heard) / SAMPLE_RATE_HZ
        sent = client.outgoing._timestamp / RTP_RATE_HZ  # not the packets' number: a late sender leaves some out
        assert received == pytest.approx(sent, abs=0.1)
    await side.peer.aclose()


async def test_the_encoder_learns_of_loss_from_receiver_reports() -> None:
    side = Side()
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        receiver: Any = client.connection.getTransceivers()[0].receiver.transport
        original, count = receiver._handle_rtp_data, iter(range(10**9))

        async def lossy(data: bytes, arrival_time_ms: int) -> None:
            if next(count) % 5:
                await original(data, arrival_time_ms=arrival_time_ms)

        receiver._handle_rtp_data = lossy
        assert await settled(lambda: side.peer.stats.remote_loss_percent > 5.0, 6.0)
    await side.peer.aclose()


async def test_a_failing_voice_does_not_end_the_call() -> None:
    class Broken:
        def read(self, samples: int, /) -> Samples:
            raise RuntimeError("broken")

    side = Side(voice=Broken())
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        assert await settled(lambda: client.incoming.packets > 20)
        assert level_dbfs(client.ear.line) < -80
        assert [error.code for error in side.errors] == ["audio_failed"]
        assert side.peer.connected
    await side.peer.aclose()


async def test_a_flooded_default_executor_does_not_touch_the_sound() -> None:
    side = Side()
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(None, time.sleep, 0.3) for _ in range(20)]
        before = client.incoming.packets
        assert await settled(lambda: client.incoming.packets - before >= 15, 30.0)
        assert not all(job.done() for job in jobs)
        await asyncio.gather(*jobs)
    await side.peer.aclose()
    await loop.shutdown_default_executor()


# --- ends ---


async def test_a_vanished_client_is_noticed_within_six_seconds(held_up: HeldUp) -> None:
    side = Side()
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        await asyncio.sleep(0.5)
        died_s = time.monotonic()
        client.die()
        await side.wait_ended(20.0)
        assert side.reasons == ["peer_gone"]
        assert 4.5 < side.ended_s - died_s < 6.0 + 2 * held_up.worst_ms / 1000, held_up.worst_ms
    await side.peer.aclose()


async def test_a_relay_that_is_lost_here_is_no_hang_up_of_the_client() -> None:
    side = Side()
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        assert side.peer._connection is not None
        ice: Any = side.peer._connection.getTransceivers()[0].receiver.transport.transport._connection
        [pair] = ice._nominated.values()
        pair.protocol.connection_lost(ConnectionResetError("what the relay's connection passes on"))
        await side.wait_ended(2)
        assert side.reasons == ["failed"]


async def test_a_client_that_sends_no_sound_at_all_stays() -> None:
    side = Side(silence_deadline_s=2.5)
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        await asyncio.sleep(0.3)
        client.mute()
        await asyncio.sleep(0.1)
        packets = side.peer.stats.packets_received
        await asyncio.sleep(3.5)
        assert side.peer.stats.packets_received <= packets + 1
        assert side.reasons == []
        client.unmute()
        client.say(np.concatenate([click(0.2) for _ in range(3)]))  # a busy machine may lose the first
        assert await settled(lambda: bool(client.ear.onsets()), 4.0)
    await side.peer.aclose()


async def test_answers_to_consent_checks_alone_keep_a_client() -> None:
    side = Side(silence_deadline_s=2.5)
    async with RtcClient(channel=None) as client:
        await client.connect(side.peer.answer)
        transport: Any = client.connection.getTransceivers()[0].receiver.transport

        async def nothing(data: bytes) -> None:
            """No sound, no reports."""

        transport._send_rtp = nothing
        transport.transport._connection._query_consent_task.cancel()  # no checks of its own
        await asyncio.sleep(4.0)
        assert side.reasons == []
        client.die()
        await side.wait_ended(4.0)
        assert side.reasons == ["peer_gone"]
    await side.peer.aclose()


async def test_a_connection_that_never_comes_up_ends_at_its_deadline(held_up: HeldUp) -> None:
    side = Side(connect_deadline_s=1.0)
    async with RtcClient() as client:
        offer = await client.offer()
        lines = [line for line in offer.splitlines() if not line.startswith(("a=candidate", "a=end-of"))]
        lines.append("a=candidate:1 1 udp 2130706431 192.0.2.250 40000 typ host")
        begin = time.monotonic()
        await side.peer.answer("\r\n".join(lines) + "\r\n")  # its answer is thrown away
        await side.wait_ended(10.0)
        assert side.reasons == ["connect_timeout"]
        assert 0.9 < side.ended_s - begin < 2.0 + 2 * held_up.worst_ms / 1000, held_up.worst_ms
    await side.peer.aclose()


async def test_aclose_ends_a_live_call_for_both_sides(held_up: HeldUp) -> None:
    side = Side()
    async with RtcClient() as client:
        await client.connect(side.peer.answer)
        begin = time.monotonic()
        await asyncio.gather(side.peer.aclose(), side.peer.aclose())
        assert time.monotonic() - begin < 2.0 + 2 * held_up.worst_ms / 1000, held_up.worst_ms
        assert side.reasons == ["local_close"]
        async with asyncio.timeout(10.0):
            await client.closed.wait()
        side.peer.send("too late")
        await side.peer.add_candidate("a=candidate:1 1 udp 1 192.0.2.250 40000 typ host")


async def test_a_client_that_gives_up_while_being_answered_leaves_nothing() -> None:
    side = Side(ice=(IceServer(("stun:192.0.2.200:3478",)),))
    async with RtcClient() as client:
        answering = asyncio.create_task(side.peer.answer(await client.offer()))
        await asyncio.sleep(0.2)
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
    assert side.reasons == ["local_close"]


async def test_aclose_of_a_peer_never_used_does_nothing() -> None:
    side = Side()
    await side.peer.aclose()
    assert side.reasons == []


async def test_failing_callbacks_do_no_harm() -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    side = Side()
    peer = Peer(
        [], side.loop, on_audio=broken, on_message=broken, on_open_channel=broken, on_closed=broken, on_error=broken
    )
    async with RtcClient() as client:
        await client.connect(peer.answer)
        client.channel.send("x")  # type: ignore[union-attr]
        assert await settled(lambda: peer.stats.audio_errors > 10)
        assert peer.connected
    await peer.aclose()


async def test_twenty_calls_in_a_row_leave_nothing() -> None:
    for _ in range(20):
        side = Side()
        async with RtcClient() as client:
            await client.connect(side.peer.answer)
        await side.peer.aclose()
