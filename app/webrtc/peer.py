"""One peer connection, from the client's offer to its end."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDtlsTransport,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.sdp import candidate_from_sdp
from aiortc.stats import RTCRemoteInboundRtpStreamStats

from app.webrtc.channel import LABEL, MessageChannel
from app.webrtc.ice import MAX_CANDIDATES, IceServer, IceSettings, first_usable, parse_fragment
from app.webrtc.liveness import GATHERING_S, SilenceWatch, limit_chunks, watch_channel, watch_transport
from app.webrtc.sdp import Offer, complete_answer, read_offer
from app.webrtc.tracks import IncomingAudio, OnAudio, OutgoingAudio, VoiceSource
from kame_core.clock import Clock, RealClock
from kame_core.errors import InvalidRequestError, KameError

logger = logging.getLogger(__name__)

CONNECT_DEADLINE_S = 15.0
SILENCE_DEADLINE_S = 5.0
CLOSE_DEADLINE_S = 5.0
WATCH_INTERVAL_S = 1.0

CloseReason = Literal["hangup", "peer_gone", "connect_timeout", "failed", "local_close"]
"""The client closed; nothing arrived any more; it never came up; ICE or DTLS failed; `aclose` was called."""


@dataclass(frozen=True, slots=True)
class PeerStats:
    """Counters of one call."""

    packets_received: int
    packets_lost: int
    packets_undecodable: int
    recovered_ms: float
    """Lost sound that was recovered or extrapolated."""
    filled_ms: float
    """Lost sound that became silence."""
    packets_sent: int
    max_gap_ms: float
    """Longest time between two packets sent."""
    stalls: int
    audio_errors: int
    messages_dropped: int
    remote_loss_percent: float
    """What the client reports to lose of what is sent."""


class Peer:
    """The server's side of one WebRTC call: sound both ways, and text over the client's data channel.

    One owner task, begun by `answer`, watches over the connection and releases everything at its end. All callbacks run
    on the event loop, must be quick, and may raise without harm to the connection.

    Args:
        ice: this installation's servers, or the list to use as it is; an empty one means: none.
        voice: where outgoing sound is read from, 20 ms at a time.
        on_audio: takes incoming sound, float32 [n] mono 24 kHz.
        on_message: takes each text message of the client.
        on_open_channel: called once, when messages can be exchanged.
        on_closed: called exactly once with the reason, as soon as the end is known; `aclose` waits for the rest.
        on_error: is told of what the client sent that cannot be taken, and of failing sound.
        on_connected: called once, when sound flows.
        connect_deadline_s: from the beginning of `answer`.
        silence_deadline_s: how long nothing at all may arrive.
        channel_label: the data channel to use; None: the first one.
    """

    def __init__(
        self,
        ice: IceSettings | Sequence[IceServer],
        voice: VoiceSource,
        *,
        on_audio: OnAudio,
        on_message: Callable[[str], None],
        on_open_channel: Callable[[], None],
        on_closed: Callable[[CloseReason], None],
        on_error: Callable[[KameError], None] | None = None,
        on_connected: Callable[[], None] | None = None,
        clock: Clock | None = None,
        connect_deadline_s: float = CONNECT_DEADLINE_S,
        silence_deadline_s: float = SILENCE_DEADLINE_S,
        channel_label: str | None = LABEL,
    ) -> None:
        self._ice = ice if isinstance(ice, IceSettings) else IceSettings(tuple(ice))
        self._clock = clock or RealClock()
        self._on_closed = on_closed
        self._on_error = on_error
        self._on_connected = on_connected
        self._connect_deadline_s = connect_deadline_s
        self._silence_deadline_s = silence_deadline_s
        self._outgoing = OutgoingAudio(voice, self._clock, self._report)
        self._incoming = IncomingAudio(on_audio, self._clock, self._report)
        self._channel = MessageChannel(on_message, on_open_channel, self._report, channel_label)
        self._arrivals = SilenceWatch(self._clock)
        self._watched = False
        self._connected = False
        self._remote_loss_percent = 0.0
        self._candidates = 0
        self._offer: Offer | None = None
        self._connection: RTCPeerConnection | None = None
        self._ended: asyncio.Future[CloseReason] | None = None
        self._track: asyncio.Future[MediaStreamTrack] | None = None
        """What the owner is to read, where packets cannot be taken straight from the receiver."""
        self._owner: asyncio.Task[None] | None = None
        self._negotiation: asyncio.Task[str] | None = None

    @property
    def connected(self) -> bool:
        """Whether the connection came up, and has not ended."""
        return self._connected and self._ended is not None and not self._ended.done()

    @property
    def has_channel(self) -> bool:
        """Whether the client offered data channels at all."""
        return self._offer is not None and self._offer.has_channel

    @property
    def outgoing(self) -> OutgoingAudio:
        """The sound that is sent."""
        return self._outgoing

    @property
    def stats(self) -> PeerStats:
        """Counters up to now."""
        return PeerStats(
            packets_received=self._incoming.packets,
            packets_lost=self._incoming.lost_packets,
            packets_undecodable=self._incoming.undecodable_packets,
            recovered_ms=self._incoming.recovered_samples / 24.0,
            filled_ms=self._incoming.filled_samples / 24.0,
            packets_sent=self._outgoing.packets,
            max_gap_ms=self._outgoing.max_gap_ms,
            stalls=self._outgoing.stalls,
            audio_errors=self._incoming.errors + self._outgoing.source_errors,
            messages_dropped=self._channel.dropped_messages,
            remote_loss_percent=self._remote_loss_percent,
        )

    async def answer(self, offer_sdp: str) -> str:
        """Accept an offer and return the answer, candidates included. To be called once.

        Raises:
            InvalidRequestError: `sdp_too_large`, `invalid_sdp`, `no_audio` or `no_opus`; nothing is left behind then.
            KameError: `connect_failed`; no answer could be made.
        """
        if self._owner is not None:
            raise InvalidRequestError("This call was answered already; open another one.", code="already_answered")
        offer = self._offer = read_offer(offer_sdp)
        limit_chunks()
        self._connection = RTCPeerConnection(self._configuration())
        self._ended = asyncio.get_running_loop().create_future()
        self._track = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(self._connection, self._ended, self._track), name="peer")
        self._negotiation = asyncio.create_task(self._negotiate(self._connection, offer), name="peer negotiation")
        try:
            async with asyncio.timeout(self._connect_deadline_s):
                return await asyncio.shield(self._negotiation)
        except KameError:
            await self._end_with("failed")
            raise
        except TimeoutError:
            await self._end_with("connect_timeout")
            raise KameError("The connection could not be prepared in time; try again.", code="connect_failed") from None
        except Exception as error:
            logger.warning("an offer could not be answered: %s", type(error).__name__)
            await self._end_with("failed")
            raise InvalidRequestError(
                "The offer cannot be answered: its SDP is not usable.", code="invalid_sdp"
            ) from None
        except BaseException:  # cancelled: the client gave up
            await self._end_with("local_close")
            raise

    async def add_candidate(self, fragment: str) -> None:
        """Candidates trickled by the client (`application/trickle-ice-sdpfrag`, RFC 8840).

        Raises:
            InvalidRequestError: malformed, for another ICE session (`ice_restart_unsupported`), or not answered yet.
        """
        parsed = parse_fragment(fragment)
        if self._offer is None or self._connection is None:
            raise InvalidRequestError("Send the offer before its candidates.", code="no_offer")
        if parsed.ufrag is not None and parsed.ufrag != self._offer.ufrag:
            raise InvalidRequestError(
                "ICE restarts are not supported; open a new call.", code="ice_restart_unsupported"
            )
        if self._ended is None or self._ended.done():
            return
        for trickled in parsed.candidates:
            if self._candidates >= MAX_CANDIDATES:
                return
            self._candidates += 1
            candidate = candidate_from_sdp(trickled.line)
            mid = trickled.mid if trickled.mid in self._offer.transport_mids else self._offer.primary_mid
            candidate.sdpMid = mid
            await self._connection.addIceCandidate(candidate)
        if parsed.is_end and self._candidates > 0:  # with none, ICE would give up before the client's own checks come
            await self._connection.addIceCandidate(None)

    def send(self, text: str, *, droppable: bool = False) -> None:
        """Send a text message, or queue it until that is possible; `droppable` ones go first when the queue is full."""
        self._channel.send(text, droppable=droppable)

    async def aclose(self) -> None:
        """End the call and wait until everything is released, `CLOSE_DEADLINE_S` at most. Idempotent."""
        await self._end_with("local_close")

    # --- inside ---

    def _configuration(self) -> RTCConfiguration:
        servers = self._ice.for_server(time.time())
        policy = RTCIceTransportPolicy.RELAY if self._ice.relay_only else RTCIceTransportPolicy.ALL
        return RTCConfiguration(
            iceServers=[  # always a list: None would mean a public STUN server
                RTCIceServer(urls=list(server.urls), username=server.username, credential=server.credential)
                for server in first_usable(servers)
            ],
            iceTransportPolicy=policy,
        )

    async def _negotiate(self, connection: RTCPeerConnection, offer: Offer) -> str:
        connection.on("connectionstatechange", self._state_changed)
        connection.on("datachannel", self._channel.accept)
        connection.addTrack(self._outgoing)  # before the offer is read, so that the answer is sendrecv
        audio = connection.getTransceivers()[0]
        audio.setCodecPreferences(
            [c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType.lower() == "audio/opus"]
        )
        await connection.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type="offer"))
        self._candidates = offer.candidates
        for other in connection.getTransceivers():
            if other is not audio:  # video, or a second microphone: nothing here would read it
                other.direction = "inactive"
        self._watch(connection)
        if not self._incoming.attach(audio.receiver) and self._track is not None:
            self._track.set_result(audio.receiver.track)
        await connection.setLocalDescription(await connection.createAnswer())
        if audio.currentDirection != "sendrecv":
            raise InvalidRequestError("The audio of the offer must be sendrecv.", code="no_audio")
        return self._ice.advertise(complete_answer(connection.localDescription.sdp))

    def _watch(self, connection: RTCPeerConnection) -> None:
        transports: set[RTCDtlsTransport] = {t.receiver.transport for t in connection.getTransceivers()}
        if connection.sctp is not None:
            transports.add(connection.sctp.transport)
            watch_channel(connection.sctp, self._arrivals.note)
        watched = [watch_transport(one, self._clock, self._arrivals.note, self._own_end_lost) for one in transports]
        self._watched = all(watched)

    def _state_changed(self) -> None:
        if self._connection is None or self._ended is None:
            return
        state = self._connection.connectionState
        if state == "connected" and not self._connected:
            self._connected = True
            self._arrivals.note()
            self._call(self._on_connected)
        elif state in ("failed", "disconnected"):
            self._set_ended("failed")
        elif state == "closed":
            self._set_ended("hangup")

    def _own_end_lost(self) -> None:
        self._set_ended("failed")

    def _set_ended(self, reason: CloseReason) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    async def _end_with(self, reason: CloseReason) -> None:
        self._set_ended(reason)
        if self._owner is not None:
            await asyncio.shield(self._owner)

    async def _own(
        self,
        connection: RTCPeerConnection,
        ended: asyncio.Future[CloseReason],
        track: asyncio.Future[MediaStreamTrack],
    ) -> None:
        """The connection's life: wait for its end, tell of it, release everything."""
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(track), name="peer reader")
                await self._watch_over(connection, ended)
                reader.cancel()
        except* Exception:
            logger.exception("the connection is given up after an unforeseen error")
        finally:
            self._set_ended("failed")
            self._call(lambda: self._on_closed(ended.result()))
            await self._release(connection)

    async def _read(self, track: asyncio.Future[MediaStreamTrack]) -> None:
        await self._incoming.drain(await track)

    async def _watch_over(self, connection: RTCPeerConnection, ended: asyncio.Future[CloseReason]) -> None:
        connect_by_s = self._clock.now() + self._connect_deadline_s
        while True:
            now_s = self._clock.now()
            if not self._connected and now_s >= connect_by_s:
                return self._set_ended("connect_timeout")
            silent_by_s = self._arrivals.last_s + self._silence_deadline_s
            if self._connected and self._watched and now_s >= silent_by_s:
                return self._set_ended("peer_gone")
            wake_s = min(now_s + WATCH_INTERVAL_S, silent_by_s if self._connected and self._watched else connect_by_s)
            await asyncio.wait({ended}, timeout=wake_s - now_s)
            if ended.done():
                return None
            self._arrivals.forgive(self._clock.now() - wake_s)
            if self._connected:
                await self._follow_loss(connection)

    async def _follow_loss(self, connection: RTCPeerConnection) -> None:
        """Let the encoder know what the client's receiver reports say."""
        report = await connection.getTransceivers()[0].sender.getStats()
        for entry in report.values():
            if isinstance(entry, RTCRemoteInboundRtpStreamStats):
                self._remote_loss_percent = entry.fractionLost * 100.0 / 256.0
        self._outgoing.expect_loss(round(self._remote_loss_percent))

    async def _release(self, connection: RTCPeerConnection) -> None:
        self._channel.close()
        self._outgoing.stop()
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self._finish_negotiation()
                await connection.close()
        except TimeoutError:
            logger.warning("a peer connection did not close within %.0f s", CLOSE_DEADLINE_S)
        except Exception:
            logger.exception("a peer connection did not close cleanly")

    async def _finish_negotiation(self) -> None:
        """Let gathering come to its own end: cancelled, it would leave its requests behind without an owner."""
        if self._negotiation is None or self._negotiation.done():
            return
        await asyncio.wait({self._negotiation}, timeout=GATHERING_S + 0.5)
        self._negotiation.cancel()
        await asyncio.gather(self._negotiation, return_exceptions=True)

    def _report(self, error: KameError) -> None:
        if self._on_error is not None:
            on_error = self._on_error
            self._call(lambda: on_error(error))

    def _call(self, callback: Callable[[], None] | None) -> None:
        if callback is None:
            return
        try:
            callback()
        except Exception:  # a callback's failure is its owner's, not the connection's
            logger.exception("a callback of a peer failed")
