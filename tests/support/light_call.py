"""A WebRTC call that costs its client little: packets encoded beforehand go out, what comes in is only counted."""

import asyncio
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Self

import aiohttp
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import Packet

from app.webrtc import jitter
from app.webrtc.opus import open_encoder
from app.webrtc.tracks import PIECE_S, RTP_RATE_HZ
from kame_core.audio import PIECE_SAMPLES, Samples
from tests.support.rtc_client import CALLS_PATH, CallRefusedError

CONNECT_DEADLINE_S = 20.0


def encoded(sound: Samples) -> list[bytes]:
    """float32 [n] mono 24 kHz as Opus packets of 20 ms; a rest is left out."""
    encoder = open_encoder()
    whole = sound.size - sound.size % PIECE_SAMPLES
    return [encoder.encode(sound[begin : begin + PIECE_SAMPLES]) for begin in range(0, whole, PIECE_SAMPLES)]


class LightCall:
    """One call; use as `async with LightCall(...) as call: await call.connect(...)`.

    Args:
        packets: what the caller says, again and again.
        first: the packet to begin with, so that calls do not all say the same.
    """

    def __init__(self, packets: Sequence[bytes], first: int = 0) -> None:
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection.addTrack(_EncodedTrack(packets, first))
        self._connection.createDataChannel("oai-events")
        self.arrivals_s: list[float] = []
        """When each packet of the agent's voice came."""

    async def connect(self, http: aiohttp.ClientSession, base_url: str, query: str = "") -> None:
        """Call a server.

        Raises:
            CallRefusedError: it does not take the call.
            TimeoutError: the connection does not come up.
        """
        connection = self._connection
        async with asyncio.timeout(CONNECT_DEADLINE_S):
            await connection.setLocalDescription(await connection.createOffer())
            headers = {"Content-Type": "application/sdp"}
            url = base_url + CALLS_PATH + query
            async with http.post(url, data=connection.localDescription.sdp, headers=headers) as response:
                answer = await response.text()
                if response.status != 201:
                    raise CallRefusedError(response.status, answer)
            await connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
            jitter.install(connection.getTransceivers()[0].receiver, self)
            while connection.connectionState != "connected":
                await asyncio.sleep(0.05)

    @property
    def connected(self) -> bool:
        """Whether the call lives."""
        return self._connection.connectionState == "connected"

    def on_packet(self, packet: jitter.MediaPacket) -> None:
        """See `jitter.PacketSink`."""
        self.arrivals_s.append(time.monotonic())

    def on_end(self) -> None:
        """See `jitter.PacketSink`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


class _EncodedTrack(MediaStreamTrack):
    """Packets on an absolute schedule of 20 ms."""

    kind = "audio"

    def __init__(self, packets: Sequence[bytes], first: int) -> None:
        super().__init__()
        self._packets = packets
        self._next = first
        self._sent = 0
        self._begun_s: float | None = None

    async def recv(self) -> "Packet[Any]":
        """The next packet, when it is due."""
        if self._begun_s is None:
            self._begun_s = time.monotonic()
        await asyncio.sleep(max(0.0, self._begun_s + self._sent * PIECE_S - time.monotonic()))
        if self.readyState != "live":
            raise MediaStreamError
        packet = Packet(self._packets[self._next % len(self._packets)])
        packet.pts = round(self._sent * PIECE_S * RTP_RATE_HZ)
        packet.time_base = Fraction(1, RTP_RATE_HZ)
        self._next += 1
        self._sent += 1
        return packet
