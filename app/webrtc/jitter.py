"""The jitter buffer, in place of aiortc's own.

aiortc 1.16 holds four packets (80 ms) always, stalls for 320 ms at every lost one and never gives that delay back
(measured: 104 ms before, 304 ms for the rest of the call). Here a packet in order goes on at once; behind a hole at
most `HOLD_PACKETS` packets or `HOLD_S` are waited for, then the hole is skipped and the delay is gone. Concealing what
was lost is the decoder's task, smoothing the arrival that of whoever reads the sound by a clock.

`install` is the only place that touches the receiver's private parts. It also takes the packets before aiortc's decoder
thread does, so that they are decoded inline: Opus needs about 30 us a packet, less than waking a thread.
"""

import asyncio
import logging
import queue
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from aiortc import RTCRtpReceiver
from aiortc.jitterbuffer import JitterBuffer as StockJitterBuffer

logger = logging.getLogger(__name__)

HOLD_PACKETS = 3
HOLD_S = 0.060
MAX_JUMP_PACKETS = 100
"""Two seconds: a sequence number farther away belongs to a sender that began anew (RFC 3550, appendix A.1)."""

_HALF = 0x8000
_MASK = 0xFFFF


@dataclass(frozen=True, slots=True)
class MediaPacket:
    """One RTP packet of sound (RFC 3550)."""

    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


class JitterBuffer:
    """Packets in any order in, packets in ascending order out, each at most once; never waits for what is lost.

    Times are monotonic seconds; the caller asks `expire` at `deadline_s`.
    """

    def __init__(self, hold_packets: int = HOLD_PACKETS, hold_s: float = HOLD_S) -> None:
        self._hold_packets = hold_packets
        self._hold_s = hold_s
        self._next: int | None = None
        self._ssrc = 0
        self._restart: int | None = None
        self._held: dict[int, tuple[MediaPacket, float]] = {}
        self.lost_packets = 0
        self.late_packets = 0
        self.restarts = 0

    @property
    def deadline_s(self) -> float | None:
        """When the hole in front of the held packets is given up; None if nothing is held."""
        return min(arrived for _, arrived in self._held.values()) + self._hold_s if self._held else None

    def push(self, packet: MediaPacket, now_s: float) -> list[MediaPacket]:
        """What can go on now that `packet` is here."""
        if self._next is None or packet.ssrc != self._ssrc:
            return self._start_over(packet)
        ahead = self._ahead(packet.sequence)
        if min(ahead, _MASK + 1 - ahead) > MAX_JUMP_PACKETS:
            return self._jump(packet)
        self._restart = None
        if ahead >= _HALF or packet.sequence in self._held:
            self.late_packets += 1
            return []
        if ahead == 0 and not self._held:
            self._next = (packet.sequence + 1) & _MASK
            return [packet]
        self._held[packet.sequence] = (packet, now_s)
        ready = self._run()
        while len(self._held) >= self._hold_packets:
            ready += self._skip()
        return ready

    def expire(self, now_s: float) -> list[MediaPacket]:
        """What goes on because its hole was waited for long enough."""
        ready: list[MediaPacket] = []
        while self.deadline_s is not None and now_s >= self.deadline_s:
            ready += self._skip()
        return ready

    def _start_over(self, packet: MediaPacket) -> list[MediaPacket]:
        """A new line of numbers begins with `packet`; what was still held of the old one goes first."""
        if self._next is not None:
            self.restarts += 1
        held = [self._held[sequence][0] for sequence in sorted(self._held, key=self._ahead)]
        self._held.clear()
        self._next = (packet.sequence + 1) & _MASK
        self._ssrc = packet.ssrc
        self._restart = None
        return [*held, packet]

    def _jump(self, packet: MediaPacket) -> list[MediaPacket]:
        """Believe a far sequence number when the one after it comes too."""
        if packet.sequence == self._restart:
            return self._start_over(packet)
        self._restart = (packet.sequence + 1) & _MASK
        self.late_packets += 1
        return []

    def _run(self) -> list[MediaPacket]:
        """Packets that follow without a hole."""
        ready = []
        while self._held and (entry := self._held.pop(self._next or 0, None)):
            ready.append(entry[0])
            self._next = ((self._next or 0) + 1) & _MASK
        return ready

    def _skip(self) -> list[MediaPacket]:
        """Give up the hole in front of the first held packet."""
        first = min(self._held, key=self._ahead)
        self.lost_packets += self._ahead(first)
        self._next = first
        return self._run()

    def _ahead(self, sequence: int) -> int:
        return (sequence - (self._next or 0)) & _MASK


class PacketSink(Protocol):
    """Takes packets in order, on the event loop."""

    def on_packet(self, packet: MediaPacket) -> None:
        """The next packet; must not raise."""

    def on_end(self) -> None:
        """No more packets will come."""


class Installed:
    """Stands in a receiver for its jitter buffer and for the queue to its decoder thread.

    The thread is given its end mark at once and ends; nothing ever waits for it.
    """

    def __init__(self, sink: PacketSink, loop: asyncio.AbstractEventLoop) -> None:
        self.buffer = JitterBuffer()
        self._sink = sink
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    def add(self, packet: Any) -> tuple[Literal[False], None]:
        """A packet has come; what the receiver should decode itself is: nothing."""
        if not self._ended:
            media = MediaPacket(packet.sequence_number, packet.timestamp, packet.ssrc, packet._data)
            self._pass_on(self.buffer.push(media, self._loop.time()))
        return False, None

    def get(self) -> None:
        """End mark for the decoder thread."""

    def put(self, item: object) -> None:
        """The receiver puts None when it stops, when the transport is lost, and at an RTCP BYE."""
        if item is not None or self._ended:
            return
        self._ended = True
        self._cancel_timer()
        self._sink.on_end()

    def _pass_on(self, packets: list[MediaPacket]) -> None:
        for packet in packets:
            self._sink.on_packet(packet)
        deadline_s = self.buffer.deadline_s
        if deadline_s is None:
            self._cancel_timer()
        elif self._timer is None or self._timer.when() != deadline_s:
            self._cancel_timer()
            self._timer = self._loop.call_at(deadline_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._pass_on(self.buffer.expire(self._loop.time()))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_BUFFER = "_RTCRtpReceiver__jitter_buffer"
_QUEUE = "_RTCRtpReceiver__decoder_queue"
_THREAD = "_RTCRtpReceiver__decoder_thread"


def install(receiver: RTCRtpReceiver, sink: PacketSink) -> Installed | None:
    """Lead a receiver's packets to `sink` instead of to its track.

    To be called on the event loop after the remote description is set and before the connection is up. Returns None,
    with a warning in the log and the receiver left as it is, if aiortc's private parts are not those known.
    """
    missing = object()
    known = (
        isinstance(getattr(receiver, _BUFFER, None), StockJitterBuffer)
        and isinstance(getattr(receiver, _QUEUE, None), queue.Queue)
        and getattr(receiver, _THREAD, missing) is None
    )
    if not known:
        logger.warning("aiortc's receiver has changed: its own jitter buffer is used, with 80 ms of delay or more")
        return None
    installed = Installed(sink, asyncio.get_running_loop())
    setattr(receiver, _BUFFER, installed)
    setattr(receiver, _QUEUE, installed)
    return installed
