import itertools
import logging
from typing import Any

import aiortc.rtcsctptransport
import pytest
from aioice.ice import Connection
from aioice.stun import TransactionTimeout
from aiortc import RTCPeerConnection

from app.webrtc.liveness import (
    CONSENT_EXPIRY_S,
    SCTP_CHUNK_BYTES,
    SilenceWatch,
    _check_consent,
    limit_chunks,
    watch_channel,
    watch_transport,
)
from kame_core.clock import VirtualClock, run_virtual


def test_silence_is_measured_from_the_last_arrival() -> None:
    clock = VirtualClock(100.0)
    watch = SilenceWatch(clock)
    clock.advance(3.0)
    assert watch.last_s == 100.0
    watch.note()
    assert watch.last_s == 103.0


def test_time_in_which_the_loop_stood_still_is_not_held_against_the_client() -> None:
    clock = VirtualClock(100.0)
    watch = SilenceWatch(clock)
    clock.advance(8.0)
    watch.forgive(0.4)  # ordinary lateness
    assert watch.last_s == 100.0
    watch.forgive(7.0)
    assert watch.last_s == 107.0
    watch.forgive(50.0)
    assert watch.last_s == clock.now()


@pytest.fixture
async def connection() -> Any:
    made = RTCPeerConnection()
    made.addTransceiver("audio")
    made.createDataChannel("x")
    yield made
    await made.close()


async def test_it_fits_this_aiortc_and_aioice(connection: RTCPeerConnection) -> None:
    transport = connection.getTransceivers()[0].receiver.transport
    notes: list[int] = []
    assert watch_transport(transport, VirtualClock(), lambda: notes.append(1), lambda: None), (
        "adapt app/webrtc/liveness.py"
    )
    assert connection.sctp is not None
    assert watch_channel(connection.sctp, lambda: notes.append(2)), "adapt app/webrtc/liveness.py"
    await transport._handle_rtp_data(b"", arrival_time_ms=0)
    await transport._handle_rtcp_data(b"")
    await connection.sctp._handle_data(b"")
    assert notes == [1, 1, 2]


async def test_changed_transports_are_left_alone_with_a_warning(
    connection: RTCPeerConnection, caplog: pytest.LogCaptureFixture
) -> None:
    transport: Any = connection.getTransceivers()[0].receiver.transport
    ice: Any = transport.transport._connection
    ice.check_incoming = lambda message: None  # as if a parameter had gone
    with caplog.at_level(logging.WARNING):
        assert not watch_transport(transport, VirtualClock(), lambda: None, lambda: None)
    assert "half a minute" in caplog.text
    assert ice.query_consent.__func__ is Connection.query_consent


def test_chunks_of_the_data_channel_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc.rtcsctptransport, "USERDATA_MAX_LENGTH", 1_160)
    assert limit_chunks()
    assert limit_chunks()
    assert aiortc.rtcsctptransport.USERDATA_MAX_LENGTH == SCTP_CHUNK_BYTES
    monkeypatch.setattr(aiortc.rtcsctptransport, "USERDATA_MAX_LENGTH", None)
    assert not limit_chunks()


class Ice:
    """An ICE connection whose other side answers for a while."""

    def __init__(self, clock: VirtualClock, answers_until_s: float) -> None:
        self._clock = clock
        self._until_s = answers_until_s
        self._nominated = {1: self}
        self._query_consent_task: object = object()
        self.protocol = self
        self.remote_addr = ("192.0.2.1", 1)
        self.remote_password = "x"
        self.closed_s: float | None = None
        self.requests = 0

    def build_request(self, pair: object, nominate: bool) -> str:
        return "request"

    async def request(self, *args: object, retransmissions: int, integrity_key: bytes) -> None:
        self.requests += 1
        if self._clock.now() >= self._until_s:
            await self._clock.sleep_until(self._clock.now() + 1.5)
            raise TransactionTimeout

    async def close(self) -> None:
        self.closed_s = self._clock.now()


def test_consent_is_asked_each_second_and_expires_after_half_a_minute() -> None:
    async def main(clock: VirtualClock) -> None:
        begin = clock.now()
        ice = Ice(clock, begin + 60.0)
        notes: list[float] = []
        await _check_consent(ice, clock, lambda: notes.append(clock.now()))
        assert 50 <= len(notes) <= 75
        assert max(later - earlier for earlier, later in itertools.pairwise(notes)) <= 1.2001
        assert ice.closed_s is not None
        assert CONSENT_EXPIRY_S <= ice.closed_s - notes[-1] <= CONSENT_EXPIRY_S + 3.0
        assert ice._query_consent_task is None

    run_virtual(main)
