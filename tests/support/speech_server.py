"""An OpenAI-compatible speech server on the loopback interface: espeak-ng's sound, streamed, with faults."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from aiohttp import web

from kame_core.audio import SAMPLE_RATE_HZ, silence, to_int16
from kame_core.speech_api import SpeechApi
from tests.support.loopback import serving
from tests.support.speech import say

VOICES = {"marin": "en-us+klatt4", "cedar": "en-us"}
_PIECE_SAMPLES = SAMPLE_RATE_HZ // 10


class Fault(StrEnum):
    """What goes wrong."""

    NONE = "none"
    UNAUTHORIZED = "401"
    NOT_FOUND = "404"
    BUSY = "429"
    NO_CREDIT = "no_credit"
    SERVER_ERROR = "500"
    HANG = "hang"
    """Not even headers come."""
    STALL_MIDWAY = "stall_midway"
    DROP_MIDWAY = "drop_midway"
    EMPTY = "empty"
    WAV = "wav"
    """Another format than was asked for."""


@dataclass(slots=True)
class Asked:
    """One request."""

    body: dict[str, Any]
    authorization: str
    ended: str = "running"
    done: asyncio.Event = field(default_factory=asyncio.Event)


class SpeechServer:
    """Speaks `POST /v1/audio/speech`.

    `gate`, when set, holds every response back after its first 0.4 s of sound until it is opened.
    """

    def __init__(self) -> None:
        self.fault = Fault.NONE
        self.midway = 0.5
        """Where in the sound faults in the middle happen, as a share of it."""
        self.requests: list[Asked] = []
        self.gate: asyncio.Event | None = None
        self.api = SpeechApi()

    async def speech(self, request: web.Request) -> web.StreamResponse:
        """The endpoint."""
        asked = Asked(await request.json(), request.headers.get("Authorization", ""))
        self.requests.append(asked)
        try:
            response = await self._respond(request, asked.body)
            asked.ended = "finished"
            return response
        except (asyncio.CancelledError, ConnectionResetError):
            asked.ended = "aborted"
            raise
        finally:
            asked.done.set()

    async def _respond(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        fault = self.fault
        if fault is Fault.NO_CREDIT:
            return web.json_response({"error": {"message": "no credit", "code": "insufficient_quota"}}, status=429)
        if fault.isdigit():
            return web.json_response({"error": {"message": "no"}}, status=int(fault))
        if body["voice"] not in VOICES or body["response_format"] != "pcm":
            return web.json_response({"error": {"message": "unknown voice", "param": "voice"}}, status=400)
        if fault is Fault.HANG:
            await asyncio.sleep(30)
        response = web.StreamResponse(headers={"Content-Type": "audio/pcm"})
        await response.prepare(request)
        if fault is not Fault.EMPTY:
            await self._send_sound(request, response, body, fault)
        with suppress(ConnectionResetError):  # it was dropped
            await response.write_eof()
        return response

    async def _send_sound(
        self, request: web.Request, response: web.StreamResponse, body: dict[str, Any], fault: Fault
    ) -> None:
        sound = np.concatenate([silence(2400), say(body["input"], VOICES[body["voice"]]), silence(4800)])
        data = to_int16(sound).astype("<i2").tobytes()
        if fault is Fault.WAV:
            data = b"RIFF" + data
        stop = math.ceil(self.midway * len(data))
        odd = 2 * _PIECE_SAMPLES - 1  # a piece may end in the middle of a sample
        for begin in range(0, len(data), odd):
            if begin > SAMPLE_RATE_HZ * 8 // 10 and self.gate is not None:
                await self.gate.wait()
            if fault is Fault.STALL_MIDWAY and begin >= stop:
                await asyncio.sleep(30)
            if fault is Fault.DROP_MIDWAY and begin >= stop:
                await asyncio.sleep(0.02)  # what was sent is to arrive
                assert isinstance(request.transport, asyncio.Transport)
                request.transport.abort()
                return
            await response.write(data[begin : begin + odd])


@asynccontextmanager
async def speech_server() -> AsyncIterator[SpeechServer]:
    """A running one; `api` says where."""
    server = SpeechServer()
    app = web.Application()
    app.router.add_post("/v1/audio/speech", server.speech)
    async with serving(app, handler_cancellation=True, shutdown_timeout=0.1) as base_url:
        server.api = SpeechApi(f"{base_url}/v1", "secret-key")
        yield server
