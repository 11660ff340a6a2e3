"""One WebSocket as a call's transport: messages and sound both ways, and the watch over its end."""

import asyncio
import json
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Literal

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from app.call import Line, Link
from app.protocol.errors import error_event
from app.webrtc.liveness import SilenceWatch
from app.websocket.outbox import Outbox
from app.websocket.pacing import PacedInput, VoicePump
from kame_core.clock import Clock
from kame_core.errors import InvalidRequestError

log = logging.getLogger(__name__)

PING_INTERVAL_S = 1.0
SILENCE_DEADLINE_S = 5.0
FLUSH_DEADLINE_S = 0.5
CLOSE_DEADLINE_S = 1.0
WRITE_BUFFER_BYTES = 16 * 1024
"""What may wait in the process and again in the kernel; more would be out of reach when the voice is cut."""
YIELD_EVERY = 8
"""Messages that wait already are read without giving way to other calls, but for so many only."""
CONNECTION_LOST = 4000
"""Close code of a client that gives up its connection, but not the conversation."""

Reason = Literal["hangup", "peer_gone", "failed", "too_slow", "local_close"]
"""The client closed; nothing arrived any more; trouble in here; the client did not read; `aclose` was called."""


class SocketTransport:
    """A `Transport` over an upgraded request; the handler of that request runs it.

    Silence for 5 s, pings each second unanswered, means that the client is gone. A close frame is a hang-up, unless its
    code is 4000; a connection that ends without one broke.

    Args:
        line: the call's sound.
        link: told of what arrives, and of the end.
    """

    def __init__(self, line: Line, link: Link, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._outbox = Outbox()
        self._input = PacedInput(line.push_audio, clock)
        self._pump = VoicePump(line, link, clock, lambda: self._outbox.behind)
        self._arrivals = SilenceWatch(clock)
        self._reason: Reason | None = None
        self._over = asyncio.Event()
        self._running = False
        self._released = asyncio.Event()
        link.sound = self._input

    async def answer(self, offer: str) -> str:
        """Nothing is negotiated."""
        return ""

    async def add_candidate(self, fragment: str) -> None:
        """There is no ICE here.

        Raises:
            InvalidRequestError: always.
        """
        raise InvalidRequestError("This call runs over a WebSocket: it takes no ICE candidates.", code="no_ice")

    def send(self, text: str, *, droppable: bool = False) -> None:
        """Queue a message; after the end: nothing happens."""
        if self._over.is_set():
            return
        self._outbox.put(text, droppable=droppable)
        if self._outbox.full:
            self._end("too_slow")

    async def aclose(self) -> None:
        """End the connection; what waits is still sent, as far as the client takes it soon. Idempotent."""
        self._end("local_close")
        if self._running:
            await self._released.wait()

    async def run(self, request: web.Request, response: web.WebSocketResponse) -> None:
        """Upgrade the request and serve it until its end, which is told to the link; then all is released.

        Raises:
            ConnectionError: it could not be upgraded.
        """
        self._running = True
        try:
            await response.prepare(request)
            if request.transport is not None:
                _keep_buffers_small(request.transport)
                _note_arrivals(request.transport, self._arrivals.note)
            self._arrivals.note()
            self._link.connected()
            self._link.channel_opened()
            async with asyncio.TaskGroup() as tasks:
                lives = (self._receive(response), self._watch(response), self._input.run(), self._pump.run())
                helpers = [tasks.create_task(self._guard(life)) for life in lives]
                writer = tasks.create_task(self._guard(self._write(response)))
                await self._over.wait()
                for helper in helpers:
                    helper.cancel()
                await self._flush(writer)
        finally:
            self._end("failed")
            self._link.closed(self._reason or "failed")
            try:
                await self._close(request, response)
            finally:
                self._released.set()

    # --- inside ---

    def _end(self, reason: Reason) -> None:
        if self._reason is None:
            self._reason = reason
            self._over.set()

    async def _guard(self, life: Coroutine[Any, Any, None]) -> None:
        try:
            await life
        except ConnectionError:
            self._end("peer_gone")
        except Exception as error:  # the type only: its text might quote a message
            log.error("a connection is given up: %s", type(error).__name__)
            self._end("failed")

    async def _receive(self, response: web.WebSocketResponse) -> None:
        count = 0
        while True:
            message = await response.receive()
            if not await self._take(response, message):
                return
            count += 1
            if count % YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _take(self, response: web.WebSocketResponse, message: WSMessage) -> bool:
        match message.type:
            case WSMsgType.TEXT:
                self._link.message_arrived(message.data)
            case WSMsgType.BINARY:
                error = InvalidRequestError("Messages must be text: send JSON as a string.", code="binary_message")
                self.send(json.dumps({"event_id": f"event_{secrets.token_urlsafe(12)}", **error_event(error)}))
            case WSMsgType.PING:
                await response.pong(message.data)
            case WSMsgType.PONG:
                pass
            case WSMsgType.CLOSE:
                self._end("peer_gone" if message.data == CONNECTION_LOST else "hangup")
                return False
            case _:  # no close frame came, or one that was none
                self._end("peer_gone")
                return False
        return True

    async def _write(self, response: web.WebSocketResponse) -> None:
        while True:
            await response.send_str(await self._outbox.next())

    async def _watch(self, response: web.WebSocketResponse) -> None:
        while True:
            with suppress(TimeoutError):  # the network is behind: its silence says enough
                async with asyncio.timeout(PING_INTERVAL_S / 2):
                    await response.ping()
            wake_s = min(self._clock.now() + PING_INTERVAL_S, self._arrivals.last_s + SILENCE_DEADLINE_S)
            await self._clock.sleep_until(wake_s)
            self._arrivals.forgive(self._clock.now() - wake_s)
            if self._clock.now() - self._arrivals.last_s >= SILENCE_DEADLINE_S:
                self._end("peer_gone")
                return

    async def _flush(self, writer: asyncio.Task[None]) -> None:
        """What was said last is still sent, where somebody listens."""
        if self._reason == "local_close":
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_DEADLINE_S):
                    await self._outbox.emptied()
        writer.cancel()

    async def _close(self, request: web.Request, response: web.WebSocketResponse) -> None:
        transport = request.transport
        if not response.prepared:
            return
        if self._reason == "peer_gone" and transport is not None:
            transport.abort()  # nobody is there to answer a close frame
        code = WSCloseCode.INTERNAL_ERROR if self._reason == "failed" else WSCloseCode.OK
        code = WSCloseCode.POLICY_VIOLATION if self._reason == "too_slow" else code
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await response.close(code=code, drain=self._reason == "local_close")
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()  # a client that does not read would hold it open for ever


class _Noted(asyncio.Protocol):
    """A connection's own protocol. Every arrival is noted: a long message takes its time."""

    def __init__(self, protocol: asyncio.Protocol, note: Callable[[], None]) -> None:
        self._protocol = protocol
        self._note = note

    def data_received(self, data: bytes) -> None:
        self._note()
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)


def _note_arrivals(transport: asyncio.Transport, note: Callable[[], None]) -> None:
    protocol = transport.get_protocol()
    if isinstance(protocol, asyncio.Protocol):
        transport.set_protocol(_Noted(protocol, note))


def _keep_buffers_small(transport: asyncio.Transport) -> None:
    transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
    tcp = transport.get_extra_info("socket")
    with suppress(AttributeError, OSError):  # another system, or no TCP
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, WRITE_BUFFER_BYTES)
