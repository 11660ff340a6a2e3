import asyncio
import logging
import queue
from typing import Any

import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver
from aiortc.rtp import RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from app.webrtc.jitter import HOLD_S, Installed, JitterBuffer, MediaPacket, install


def packet(sequence: int, ssrc: int = 1) -> MediaPacket:
    return MediaPacket(sequence & 0xFFFF, sequence * 960 % 2**32, ssrc, b"x")


def numbers(packets: list[MediaPacket]) -> list[int]:
    return [p.sequence for p in packets]


def test_packets_in_order_go_on_at_once() -> None:
    buffer = JitterBuffer()
    for number in range(65_530, 65_550):  # across the wrap
        assert numbers(buffer.push(packet(number), 0.0)) == [number & 0xFFFF]
    assert buffer.deadline_s is None
    assert buffer.lost_packets == 0


def test_a_hole_is_skipped_after_three_newer_packets_and_leaves_no_delay() -> None:
    buffer = JitterBuffer()
    buffer.push(packet(10), 0.0)
    assert buffer.push(packet(12), 0.02) == []
    assert buffer.push(packet(13), 0.04) == []
    assert numbers(buffer.push(packet(14), 0.06)) == [12, 13, 14]
    assert numbers(buffer.push(packet(15), 0.08)) == [15]
    assert buffer.lost_packets == 1


def test_a_hole_is_given_up_by_time_when_little_comes() -> None:
    buffer = JitterBuffer()
    buffer.push(packet(10), 1.0)
    buffer.push(packet(13), 1.02)
    assert buffer.deadline_s == pytest.approx(1.02 + HOLD_S)
    assert buffer.expire(1.02 + HOLD_S - 0.001) == []
    assert numbers(buffer.expire(1.02 + HOLD_S)) == [13]
    assert buffer.deadline_s is None
    assert buffer.lost_packets == 2


def test_reordered_packets_are_put_right_and_nothing_is_lost() -> None:
    buffer = JitterBuffer()
    buffer.push(packet(1), 0.0)
    assert buffer.push(packet(3), 0.0) == []
    assert numbers(buffer.push(packet(2), 0.0)) == [2, 3]
    assert buffer.lost_packets == 0


def test_late_and_doubled_packets_are_dropped() -> None:
    buffer = JitterBuffer()
    for number in (5, 6, 9):
        buffer.push(packet(number), 0.0)
    assert buffer.push(packet(6), 0.0) == []
    assert buffer.push(packet(9), 0.0) == []
    assert buffer.late_packets == 2


def test_two_holes_are_skipped_one_after_the_other() -> None:
    buffer = JitterBuffer()
    buffer.push(packet(0), 0.0)
    buffer.push(packet(2), 0.0)
    buffer.push(packet(4), 0.0)
    assert numbers(buffer.push(packet(6), 0.0)) == [2]
    assert numbers(buffer.expire(HOLD_S)) == [4, 6]


def test_a_far_number_is_believed_only_when_its_successor_follows() -> None:
    buffer = JitterBuffer()
    buffer.push(packet(100), 0.0)
    assert buffer.push(packet(30_000), 0.0) == []
    assert numbers(buffer.push(packet(101), 0.0)) == [101]
    assert buffer.push(packet(40_000), 0.0) == []
    assert numbers(buffer.push(packet(40_001), 0.0)) == [40_001]
    assert numbers(buffer.push(packet(40_002), 0.0)) == [40_002]
    assert buffer.restarts == 1


def test_a_sender_that_begins_anew_behind_is_followed() -> None:
    buffer = JitterBuffer()
    buffer.push(packet(5_000), 0.0)
    buffer.push(packet(7), 0.0)
    assert numbers(buffer.push(packet(8), 0.0)) == [8]


def test_another_source_flushes_what_was_held() -> None:
    buffer = JitterBuffer()
    buffer.push(packet(10), 0.0)
    buffer.push(packet(12), 0.0)
    assert numbers(buffer.push(packet(500, ssrc=2), 0.0)) == [12, 500]
    assert numbers(buffer.push(packet(501, ssrc=2), 0.0)) == [501]


@given(
    start=st.integers(0, 0xFFFF),
    offsets=st.lists(st.integers(0, 90), min_size=1, max_size=200),
)
def test_any_order_loss_and_doubling_gives_each_packet_at_most_once_and_in_order(
    start: int, offsets: list[int]
) -> None:
    buffer = JitterBuffer()
    out: list[MediaPacket] = []
    for step, offset in enumerate([0, *offsets]):
        now_s = step * 0.02
        out += buffer.expire(now_s)
        out += buffer.push(packet(start + offset), now_s)
        assert buffer.deadline_s is None or buffer.deadline_s > now_s - HOLD_S
    out += buffer.expire(1e9)
    assert buffer.deadline_s is None
    positions = [(p.sequence - start) & 0xFFFF for p in out]
    assert positions == sorted(set(positions))
    assert set(positions) <= {0, *offsets}
    assert positions[-1] + 1 == len(positions) + buffer.lost_packets
    assert len(positions) + buffer.late_packets == len(offsets) + 1


class Collected:
    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.ended = 0

    def on_packet(self, packet: MediaPacket) -> None:
        self.sequences.append(packet.sequence)

    def on_end(self) -> None:
        self.ended += 1


@pytest.fixture
async def receiver() -> Any:
    connection = RTCPeerConnection()
    yield connection.addTransceiver("audio").receiver
    await connection.close()


def rtp(sequence: int) -> RtpPacket:
    made = RtpPacket(payload_type=96, sequence_number=sequence, timestamp=sequence * 960, ssrc=1, payload=b"x")
    made._data = made.payload  # type: ignore[attr-defined]  # as aiortc's receiver does
    return made


async def test_it_fits_into_the_receiver_of_this_aiortc(receiver: RTCRtpReceiver) -> None:
    sink = Collected()
    assert isinstance(install(receiver, sink), Installed), (
        "aiortc has moved its private parts: adapt app/webrtc/jitter.py"
    )
    buffer: Any = receiver._RTCRtpReceiver__jitter_buffer  # type: ignore[attr-defined]
    assert buffer.add(rtp(1)) == (False, None)
    assert sink.sequences == [1]


async def test_a_changed_receiver_is_left_alone_with_a_warning(receiver: Any, caplog: pytest.LogCaptureFixture) -> None:
    original = receiver._RTCRtpReceiver__jitter_buffer
    receiver._RTCRtpReceiver__decoder_queue = object()
    with caplog.at_level(logging.WARNING):
        assert install(receiver, Collected()) is None
    assert receiver._RTCRtpReceiver__jitter_buffer is original
    assert "jitter buffer" in caplog.text
    receiver._RTCRtpReceiver__decoder_queue = queue.Queue()
    assert install(receiver, Collected()) is not None


async def test_a_held_packet_goes_on_by_timer_and_the_end_is_told_once(receiver: RTCRtpReceiver) -> None:
    sink = Collected()
    installed = install(receiver, sink)
    assert installed is not None
    installed.add(rtp(1))
    installed.add(rtp(3))
    assert sink.sequences == [1]
    await asyncio.sleep(HOLD_S + 0.05)
    assert sink.sequences == [1, 3]
    installed.add(rtp(5))
    installed.put(None)
    installed.put(None)
    await asyncio.sleep(HOLD_S + 0.05)
    assert sink.sequences == [1, 3]
    assert sink.ended == 1
