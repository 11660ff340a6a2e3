"""A real WebRTC client: speaks, listens, exchanges events, loses packets, and dies when told to."""

import asyncio
import itertools
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Self

import aiohttp
import numpy as np
from aiortc import RTCConfiguration, RTCDataChannel, RTCDtlsTransport, RTCPeerConnection, RTCSessionDescription

from app.webrtc.tracks import IncomingAudio, OutgoingAudio
from kame_core.audio import SAMPLE_RATE_HZ, Samples, silence
from kame_core.clock import RealClock

Post = Callable[[str], Awaitable[str]]
"""Takes an offer, returns the answer."""
CALLS_PATH = "/v1/realtime/calls"


class Mouth:
    """Speech to be said in real time, silence otherwise."""

    def __init__(self) -> None:
        self._waiting: deque[Samples] = deque()
        self._said = asyncio.Event()
        self._said.set()
        self.spoken: list[tuple[float, int]] = []
        """When each non-empty 20 ms left, and how many samples of speech it held."""

    def say(self, samples: Samples) -> None:
        """Queue speech, float32 [n] mono 24 kHz."""
        if samples.size:
            self._waiting.append(np.asarray(samples, np.float32))
            self._said.clear()

    def stop(self) -> None:
        """Fall silent."""
        self._waiting.clear()
        self._said.set()

    async def finished(self) -> None:
        """Until all that was queued has left."""
        await self._said.wait()

    def read(self, samples: int, /) -> Samples:
        """The next piece."""
        if not self._waiting:
            self._said.set()
            return silence(samples)
        pieces: list[Samples] = []
        wanted = samples
        while wanted and self._waiting:
            head = self._waiting.popleft()
            pieces.append(head[:wanted])
            if head.size > wanted:
                self._waiting.appendleft(head[wanted:])
            wanted -= pieces[-1].size
        self.spoken.append((time.monotonic(), samples - wanted))
        return np.concatenate([*pieces, silence(wanted)])


class Ear:
    """All that was heard, on one time line."""

    def __init__(self) -> None:
        self._pieces: list[Samples] = []
        self._first_s = 0.0
        self.arrivals: list[tuple[float, int]] = []
        """When each piece came, and where on the time line it begins, in samples."""
        self.samples = 0

    def hear(self, samples: Samples) -> None:
        """The next piece."""
        self.arrivals.append((time.monotonic(), self.samples))
        self._pieces.append(samples)
        self.samples += samples.size

    @property
    def line(self) -> Samples:
        """Everything, float32 [n] mono 24 kHz."""
        return np.concatenate([silence(0), *self._pieces])

    @property
    def gaps_ms(self) -> list[float]:
        """Times between the arrivals of pieces."""
        times = [at for at, _ in self.arrivals]
        return [1000.0 * (later - earlier) for earlier, later in itertools.pairwise(times)]

    def heard_at(self, sample: int) -> float:
        """When a sample of the time line could be played at the earliest: with its piece, at its place in it."""
        index = int(np.searchsorted([start for _, start in self.arrivals], sample, side="right")) - 1
        at, start = self.arrivals[index]
        return at + (sample - start) / SAMPLE_RATE_HZ

    def onsets(self, level: float = 0.1, quiet_s: float = 0.3) -> list[int]:
        """Where something louder than `level` begins after `quiet_s` of less, in samples."""
        loud = np.flatnonzero(np.abs(self.line) > level)
        return [int(at) for i, at in enumerate(loud) if i == 0 or at - loud[i - 1] > quiet_s * SAMPLE_RATE_HZ]


class RtcClient:
    """One call from the client's side.

    Use as `async with RtcClient() as client: await client.connect_http(url)`.

    Args:
        candidate_free: post the offer without candidates, as the OpenAI SDK for browsers does.
        channel: label of the data channel; None: no channel.
        video: offer a video section too.
        loss: which RTP packets are lost on the way out; takes the packet's number from 0.
        configuration: its STUN and TURN servers; default: none.
    """

    def __init__(
        self,
        *,
        candidate_free: bool = False,
        channel: str | None = "oai-events",
        video: bool = False,
        loss: Callable[[int], bool] | None = None,
        configuration: RTCConfiguration | None = None,
    ) -> None:
        clock = RealClock()
        self.mouth = Mouth()
        self.ear = Ear()
        self.connection = RTCPeerConnection(configuration or RTCConfiguration(iceServers=[]))
        self.outgoing = OutgoingAudio(self.mouth, clock)
        self.incoming = IncomingAudio(self.ear.hear, clock)
        self.channel: RTCDataChannel | None = None
        self.location: str | None = None
        self.answer_sdp = ""
        self.events: list[tuple[float, dict[str, Any]]] = []
        """Arrival time (monotonic) and content of every event."""
        self.connected = asyncio.Event()
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self.sent_packets = 0
        self.lost_packets = 0
        self.loss = loss
        self._candidate_free = candidate_free
        self._waiters: list[asyncio.Future[None]] = []
        self._http: aiohttp.ClientSession | None = None
        self._base_url = ""
        self._sender = self.connection.addTrack(self.outgoing)
        if video:
            self.connection.addTransceiver("video", direction="sendrecv")
        if channel is not None:
            self.channel = self.connection.createDataChannel(channel)
            self.channel.on("open", self.opened.set)
            self.channel.on("message", self._take)
        self.connection.on("connectionstatechange", self._state_changed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # --- connecting ---

    async def connect(self, post: Post, timeout_s: float = 10.0) -> None:
        """Offer, take the answer, and wait until sound flows and the channel (if any) is open."""
        await self.negotiate(post)
        async with asyncio.timeout(timeout_s):
            await self.connected.wait()
            if self.channel is not None:
                await self.opened.wait()

    async def negotiate(self, post: Post) -> None:
        """Offer and take the answer; does not wait for the connection."""
        await self.take_answer(await post(await self.offer()))

    async def offer(self) -> str:
        """The offer, after gathering."""
        await self.connection.setLocalDescription(await self.connection.createOffer())
        sdp = self.connection.localDescription.sdp
        if self._candidate_free:
            candidates = ("a=candidate:", "a=end-of-candidates")
            sdp = "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith(candidates))
        return sdp

    async def take_answer(self, sdp: str) -> None:
        """The server's answer."""
        self.answer_sdp = sdp
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="answer"))
        receiver = self.connection.getTransceivers()[0].receiver
        assert self.incoming.attach(receiver), "the client's own jitter buffer could not be set"
        self._lose_on(receiver.transport)

    async def connect_http(
        self,
        base_url: str,
        session: dict[str, Any] | None = None,
        *,
        multipart: bool = False,
        headers: dict[str, str] | None = None,
        query: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        """Call a server by its HTTP interface.

        Args:
            base_url: such as http://127.0.0.1:8080.
            session: the `session` object; goes as a form part (with `multipart`), else as `session.update` when open.
            multipart: send a form instead of plain SDP.
            headers: such as Authorization.
            query: behind the path, with its question mark.
            timeout_s: for all of it.
        """
        self._http = aiohttp.ClientSession()
        self._base_url = base_url.rstrip("/")

        async def post(offer: str) -> str:
            assert self._http is not None
            data: Any = offer.encode()
            own_headers = {"Content-Type": "application/sdp", **(headers or {})}
            if multipart:
                data = aiohttp.FormData()
                data.add_field("sdp", offer, content_type="application/sdp")
                if session is not None:
                    data.add_field("session", json.dumps(session), content_type="application/json")
                del own_headers["Content-Type"]
            url = self._base_url + CALLS_PATH + query
            async with self._http.post(url, data=data, headers=own_headers) as response:
                text = await response.text()
                if response.status != 201:
                    raise CallRefusedError(response.status, text)
                self.location = response.headers.get("Location")
                return text

        await self.connect(post, timeout_s)
        if session is not None and not multipart:
            self.send({"type": "session.update", "session": {"type": "realtime", **session}})

    async def delete(self) -> int:
        """Hang up by HTTP; returns the status."""
        assert self._http is not None
        assert self.location is not None
        async with self._http.delete(self._base_url + self.location) as response:
            return response.status

    # --- events ---

    def send(self, event: dict[str, Any]) -> None:
        """Send one event."""
        assert self.channel is not None
        self.channel.send(json.dumps(event))

    async def answered(self, timeout_s: float = 15.0) -> dict[str, Any]:
        """The first `response.done` of an answer that was said to its end; an opener may have come and gone before."""
        return await self.event(
            "response.done", timeout_s, where=lambda event: event["response"]["status"] == "completed"
        )

    async def event(
        self,
        kind: str,
        timeout_s: float = 5.0,
        *,
        after: int = 0,
        where: Callable[[dict[str, Any]], bool] | None = None,
    ) -> dict[str, Any]:
        """The first event of a type, from the `after`-th event on; waits for it.

        Raises:
            AssertionError: it does not come.
        """

        def found() -> dict[str, Any] | None:
            matching = (event for _, event in self.events[after:] if event.get("type") == kind)
            return next((event for event in matching if where is None or where(event)), None)

        try:
            async with asyncio.timeout(timeout_s):
                while (event := found()) is None:
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    await waiter
                return event
        except TimeoutError:
            seen = [event.get("type") for _, event in self.events[after:]]
            raise AssertionError(f"no {kind} within {timeout_s} s; came: {seen}") from None

    def kinds(self) -> list[str]:
        """Types of all events so far."""
        return [str(event.get("type")) for _, event in self.events]

    # --- sound ---

    def say(self, samples: Samples) -> None:
        """Speak in real time, float32 [n] mono 24 kHz; silence follows."""
        self.mouth.say(samples)

    def mute(self) -> None:
        """Send no sound at all, as `replaceTrack(null)` does."""
        self._sender.replaceTrack(None)

    def unmute(self) -> None:
        """Send sound again."""
        self._sender.replaceTrack(self.outgoing)

    # --- trouble ---

    def die(self) -> None:
        """Vanish: from now on nothing leaves and nothing is heard, and nobody is told."""
        for protocol in self._ice_protocols():
            protocol.transport.abort()

    def _lose_on(self, transport: RTCDtlsTransport) -> None:
        original = transport._send_rtp

        async def send_rtp(data: bytes) -> None:
            if not 192 <= data[1] <= 223:  # sound, not RTCP (RFC 5761, section 4)
                number = self.sent_packets
                self.sent_packets += 1
                if self.loss is not None and self.loss(number):
                    self.lost_packets += 1
                    return
            await original(data)

        transport._send_rtp = send_rtp  # type: ignore[method-assign]

    def _ice_protocols(self) -> Iterable[Any]:
        for transceiver in self.connection.getTransceivers():
            yield from list(transceiver.receiver.transport.transport._connection._protocols)

    # --- the end ---

    async def hang_up(self) -> None:
        """Close the connection as a browser does."""
        await self.connection.close()

    async def aclose(self) -> None:
        """Release everything."""
        await self.connection.close()
        if self._http is not None:
            await self._http.close()

    def _state_changed(self) -> None:
        if self.connection.connectionState == "connected":
            self.connected.set()
        elif self.connection.connectionState in ("closed", "failed"):
            self.closed.set()

    def _take(self, message: str | bytes) -> None:
        self.events.append((time.monotonic(), json.loads(message)))
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class CallRefusedError(Exception):
    """The server did not accept the call."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
