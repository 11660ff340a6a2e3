"""A realtime transcription service on the loopback interface: the wire protocol, a reader of tones, and faults.

Events are validated against the `openai` package's own types before they are sent.
"""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Protocol

from aiohttp import WSMsgType, web
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from kame_core.speech_api import SpeechApi
from tests.support.loopback import serving

_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
_LEAST_COMMIT_SAMPLES = 2400
_WORD_SAMPLES = 7200


class Reader(Protocol):
    """Understands one utterance."""

    words: list[str]
    samples: int

    def push(self, pcm: bytes) -> None:
        """Sound, int16 mono 24 kHz."""

    def end(self) -> None:
        """No more comes."""


class Language(Protocol):
    """What the service understands."""

    def reader(self) -> Reader:
        """For one utterance."""


class ScriptedLanguage:
    """Understands what the test says was said: a word for every 0.3 s of sound, the rest at its end."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reader(self) -> Reader:
        """For one utterance."""
        return _ScriptReader(self._text.split())


class _ScriptReader:
    def __init__(self, script: list[str]) -> None:
        self._script = script
        self.words: list[str] = []
        self.samples = 0

    def push(self, pcm: bytes) -> None:
        self.samples += len(pcm) // 2
        self.words = self._script[: self.samples // _WORD_SAMPLES]

    def end(self) -> None:
        self.words = self._script


class Fault(StrEnum):
    """What goes wrong; those of a moment are armed for `fault_count` times."""

    NONE = "none"
    UNAUTHORIZED = "401"
    BUSY = "429"
    SERVER_ERROR = "500"
    REFUSED_SESSION = "refused_session"
    HANG = "hang"
    """The socket opens, and nothing is ever said on it."""
    DROP_ON_APPEND = "drop_on_append"
    """The connection breaks in the middle of speech."""
    DROP_ON_COMMIT = "drop_on_commit"
    MUTE_ON_COMMIT = "mute_on_commit"
    """Sound is taken, and no reading ever comes."""
    FAILED = "failed"
    """`...transcription.failed` in place of a reading."""
    EXPIRED = "expired"
    """The session is too old, in the middle of speech."""


_AT_OPENING = (Fault.UNAUTHORIZED, Fault.BUSY, Fault.SERVER_ERROR, Fault.REFUSED_SESSION, Fault.HANG)


class TranscriptionServer:
    """Speaks `GET /v1/realtime?intent=transcription`.

    Args:
        language: what it understands.
        streams: it reads while one speaks, else only what was committed.
        settle_s: from a commit to the final reading.
    """

    def __init__(self, language: Language, *, streams: bool = True, settle_s: float = 0.02) -> None:
        self.language = language
        self.streams = streams
        self.settle_s = settle_s
        self.fault = Fault.NONE
        self.fault_count: int | None = None
        self.sessions: list[dict[str, Any]] = []
        """Configurations, as clients sent them."""
        self.authorizations: list[str] = []
        self.open_sockets = 0
        self.most_sockets = 0
        self.samples = 0
        self.errors: list[str] = []
        """Codes of errors that clients caused."""
        self.api = SpeechApi()
        self.sockets: set[web.WebSocketResponse] = set()
        self._items = itertools.count(1)

    def next_fault(self, *kinds: Fault) -> Fault:
        """The fault of this moment, if it is one of these kinds."""
        if self.fault not in kinds or self.fault_count == 0:
            return Fault.NONE
        if self.fault_count is not None:
            self.fault_count -= 1
        return self.fault

    async def realtime(self, request: web.Request) -> web.StreamResponse:
        """The endpoint."""
        fault = self.next_fault(*_AT_OPENING)
        if fault.isdigit():
            return web.json_response({"error": {"message": "no"}}, status=int(fault))
        assert request.query["intent"] == "transcription"
        assert "model" not in request.query
        self.authorizations.append(request.headers.get("Authorization", ""))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.add(socket)
        self.open_sockets += 1
        self.most_sockets = max(self.most_sockets, self.open_sockets)
        try:
            if fault is Fault.HANG:
                await asyncio.sleep(30)
            else:
                await _Session(self, request, socket, refuses=fault is Fault.REFUSED_SESSION).run()
        finally:
            self.sockets.discard(socket)
            self.open_sockets -= 1
        return socket

    def new_item(self) -> str:
        """An item's id."""
        return f"item_{next(self._items)}"


class _Session:
    """One socket."""

    def __init__(
        self, server: TranscriptionServer, request: web.Request, socket: web.WebSocketResponse, *, refuses: bool
    ) -> None:
        self._server = server
        self._request = request
        self._socket = socket
        self._refuses = refuses
        self._events = itertools.count(1)
        self._settling: set[asyncio.Task[None]] = set()
        self._configured = False
        self._fresh()

    def _fresh(self) -> None:
        self._item_id = self._server.new_item()
        self._reader = self._server.language.reader()
        self._told = 0

    async def run(self) -> None:
        await self._send("session.created", session={"type": "transcription", "id": "sess", "object": "x", "audio": {}})
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT and not await self._take(json.loads(message.data)):
                    break
        except ConnectionResetError:
            pass
        finally:
            for task in self._settling:
                task.cancel()

    async def _take(self, event: dict[str, Any]) -> bool:
        """False: the connection is over."""
        server = self._server
        match event["type"]:
            case "session.update":
                if self._refuses:
                    await self._error("invalid_value", event)
                    return True
                server.sessions.append(event["session"])
                self._configured = True
                await self._send("session.updated", session=event["session"] | {"id": "sess", "object": "x"})
            case "input_audio_buffer.append":
                assert self._configured
                fault = server.next_fault(Fault.DROP_ON_APPEND, Fault.EXPIRED)
                if fault is Fault.DROP_ON_APPEND:
                    return self._drop()
                if fault is Fault.EXPIRED:
                    await self._error("session_expired", event)
                    await self._socket.close()
                    return False
                pcm = base64.b64decode(event["audio"])
                server.samples += len(pcm) // 2
                self._reader.push(pcm)
                if server.streams:
                    await self._tell(self._item_id, self._reader)
            case "input_audio_buffer.clear":
                self._fresh()
                await self._send("input_audio_buffer.cleared")
            case "input_audio_buffer.commit":
                return await self._commit(event)
            case kind:
                raise AssertionError(f"unexpected event {kind}")
        return True

    async def _commit(self, event: dict[str, Any]) -> bool:
        server = self._server
        fault = server.next_fault(Fault.DROP_ON_COMMIT, Fault.MUTE_ON_COMMIT, Fault.FAILED)
        if fault is Fault.DROP_ON_COMMIT:
            return self._drop()
        if self._reader.samples < _LEAST_COMMIT_SAMPLES:
            await self._error("input_audio_buffer_commit_empty", event)
            return True
        item_id, reader, told = self._item_id, self._reader, self._told
        self._fresh()
        await self._send("input_audio_buffer.committed", item_id=item_id)
        if fault is not Fault.MUTE_ON_COMMIT:
            task = asyncio.create_task(self._settle(item_id, reader, told, failed=fault is Fault.FAILED))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        return True

    async def _settle(self, item_id: str, reader: Reader, told: int, *, failed: bool) -> None:
        await asyncio.sleep(self._server.settle_s)
        kind = "conversation.item.input_audio_transcription."
        if failed:
            await self._send(kind + "failed", item_id=item_id, content_index=0, error={"message": "no"})
            return
        reader.end()
        for number in range(told, len(reader.words)):
            await self._send(kind + "delta", item_id=item_id, content_index=0, delta=_spaced(reader.words, number))
        usage = {"type": "duration", "seconds": reader.samples / 24_000}
        await self._send(
            kind + "completed", item_id=item_id, content_index=0, transcript=" ".join(reader.words), usage=usage
        )

    async def _tell(self, item_id: str, reader: Reader) -> None:
        for number in range(self._told, len(reader.words)):
            delta = _spaced(reader.words, number)
            kind = "conversation.item.input_audio_transcription.delta"
            await self._send(kind, item_id=item_id, content_index=0, delta=delta)
        self._told = len(reader.words)

    async def _error(self, code: str, event: dict[str, Any]) -> None:
        self._server.errors.append(code)
        error = {"type": "invalid_request_error", "code": code, "message": code, "event_id": event.get("event_id")}
        await self._send("error", error=error)

    async def _send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{next(self._events)}", **fields}
        _EVENT.validate_python(event)
        if not self._socket.closed:
            await self._socket.send_json(event)

    def _drop(self) -> bool:
        assert isinstance(self._request.transport, asyncio.Transport)
        self._request.transport.abort()
        return False


def _spaced(words: list[str], number: int) -> str:
    return words[number] if number == 0 else f" {words[number]}"


@asynccontextmanager
async def transcription_server(server: TranscriptionServer) -> AsyncIterator[TranscriptionServer]:
    """Run it; `api` says where."""
    app = web.Application()
    app.router.add_get("/v1/realtime", server.realtime)
    async with serving(app, shutdown_timeout=0.1) as base_url:
        server.api = SpeechApi(f"{base_url}/v1", "secret-key")
        try:
            yield server
        finally:
            for socket in list(server.sockets):
                await socket.close()
