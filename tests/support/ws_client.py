"""A client of the WebSocket form, from the outside: events, sound sent in real time, sound received."""

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import aiohttp
import numpy as np

from app.protocol.sound_formats import PCM, SoundReader, SoundWriter
from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, from_int16, silence, to_int16
from tests.support.server import RunningServer

PATH = "/v1/realtime"
PIECE_S = PIECE_SAMPLES / SAMPLE_RATE_HZ
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def append_of(samples: Samples) -> dict[str, Any]:
    """Sound as a message."""
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(to_int16(samples).tobytes()).decode()}


def bearer(key: str) -> dict[str, str]:
    """A header with a key."""
    return {"Authorization": f"Bearer {key}"}


async def secret(server: RunningServer, http: aiohttp.ClientSession, **session: Any) -> str:
    """A client secret whose session has these fields."""
    body = {"session": {"type": "realtime", **session}}
    async with http.post(server.url("/v1/realtime/client_secrets"), json=body) as response:
        value: str = (await response.json())["value"]
        return value


async def refused(
    server: RunningServer, http: aiohttp.ClientSession, *, query: str = "", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and error of an upgrade that is refused."""
    async with http.get(server.url(PATH + query), headers=UPGRADE | (headers or {})) as response:
        return response.status, (await response.json())["error"]


async def conversations_end(server: RunningServer, timeout_s: float = 5.0) -> None:
    """Wait until nobody talks any more."""
    async with asyncio.timeout(timeout_s):
        await server.calls.idle()
        while server.calls.counts()["conversations"]:
            await asyncio.sleep(0.02)


class WsClient:
    """One call from the client's side: `async with WsClient() as client: await client.connect(url)`.

    Args:
        kind: format of the sound, both ways, as the session has it.
    """

    def __init__(self, kind: str = PCM) -> None:
        self._reader, self._writer = SoundReader(kind), SoundWriter(kind)
        self.events: list[dict[str, Any]] = []
        """All but sound."""
        self.voice: list[tuple[float, str, Samples]] = []
        """Arrival (loop time), item and sound of each `response.output_audio.delta`."""
        self.kinds: list[str] = []
        """Types of all messages, sound included."""
        self.closed = asyncio.Event()
        self.close_frame: tuple[int, str] | None = None
        self.location: str | None = None
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Condition()
        self._waiting: asyncio.Queue[Samples] = asyncio.Queue()
        self._base_url = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def socket(self) -> aiohttp.ClientWebSocketResponse:
        assert self._socket is not None
        return self._socket

    async def connect(
        self,
        base_url: str,
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        protocols: tuple[str, ...] = (),
        microphone: bool = True,
        autoping: bool = True,
    ) -> None:
        """Open the call; with `microphone`, silence is sent from now on where nothing is said.

        Raises:
            aiohttp.WSServerHandshakeError: refused.
        """
        self._base_url = base_url
        self._http = aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(
            base_url + PATH + query, headers=headers, protocols=protocols, autoping=autoping, max_msg_size=0
        )
        self.location = self._socket._response.headers.get("Location")
        self._tasks.append(asyncio.create_task(self._read()))
        if microphone:
            self._tasks.append(asyncio.create_task(self._talk()))

    async def send(self, event: dict[str, Any] | str) -> None:
        await self.socket.send_str(event if isinstance(event, str) else json.dumps(event))

    def say(self, samples: Samples) -> None:
        """Speak in real time, float32 [n] mono 24 kHz."""
        for begin in range(0, samples.size, PIECE_SAMPLES):
            self._waiting.put_nowait(samples[begin : begin + PIECE_SAMPLES])

    async def event(
        self,
        kind: str,
        timeout_s: float = 5.0,
        *,
        after: int = 0,
        where: Callable[[dict[str, Any]], bool] | None = None,
    ) -> dict[str, Any]:
        """The first event of a type, from the `after`-th on; waits for it."""

        def found() -> dict[str, Any] | None:
            matching = (event for event in self.events[after:] if event["type"] == kind)
            return next((event for event in matching if where is None or where(event)), None)

        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(lambda: found() is not None)
        except TimeoutError:
            raise AssertionError(f"no {kind} within {timeout_s} s; came: {self.kinds[-40:]}") from None
        event = found()
        assert event is not None
        return event

    @property
    def line(self) -> Samples:
        """All sound received, float32 mono 24 kHz, pieces put together."""
        return np.concatenate([silence(0), *(samples for _, _, samples in self.voice)])

    async def delete(self) -> int:
        """Hang up by HTTP; returns the status."""
        assert self._http is not None
        async with self._http.delete(f"{self._base_url}{self.location}") as response:
            return response.status

    def die(self) -> None:
        """Vanish: nothing leaves and nothing is read any more, and the connection stays open."""
        for task in self._tasks:
            task.cancel()
        self._transport().pause_reading()

    def abort(self) -> None:
        """The connection breaks without a close frame."""
        for task in self._tasks:
            task.cancel()
        self._transport().abort()

    def _transport(self) -> Any:
        connection = self.socket._response.connection
        assert connection is not None
        return connection.transport

    async def hang_up(self, code: int = 1000) -> None:
        await self.socket.close(code=code)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket is not None and not self._socket.closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._socket.close()
        if self._http is not None:
            await self._http.close()

    async def _read(self) -> None:
        while True:
            message = await self.socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                await self._take(json.loads(message.data))
            elif message.type in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
                continue
            else:
                if message.type is aiohttp.WSMsgType.CLOSE:
                    self.close_frame = (message.data, message.extra or "")
                self.closed.set()
                return

    async def _take(self, event: dict[str, Any]) -> None:
        assert isinstance(event["event_id"], str)
        self.kinds.append(event["type"])
        if event["type"] == "response.output_audio.delta":
            sound = from_int16(self._reader.read(event["delta"]))
            self.voice.append((asyncio.get_running_loop().time(), event["item_id"], sound))
            return
        self.events.append(event)
        async with self._news:
            self._news.notify_all()

    async def _talk(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while not self.socket.closed:
            piece = silence(PIECE_SAMPLES) if self._waiting.empty() else self._waiting.get_nowait()
            try:
                await self.send({"type": "input_audio_buffer.append", "audio": self._writer.write(piece)})
            except ConnectionError:
                return
            due_s += PIECE_S
            await asyncio.sleep(max(0.0, due_s - loop.time()))
