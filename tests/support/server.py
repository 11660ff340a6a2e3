"""The real server for tests: inside the test's own loop, or as a process of its own; on loopback, on a free port."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from app.application import CALLS, ROOM, create_app
from app.engines import EngineRoom
from app.loaders import Loaders
from app.registry import CallRegistry
from app.settings import Settings
from app.settings_sources import load_settings
from kame_core.clock import RealClock
from kame_core.errors import UnavailableError

if TYPE_CHECKING:
    from kame_core.backend.base import ChatModel
    from kame_core.frontend.base import FrontendHost
    from kame_core.stt.base import SpeechToText
    from kame_core.tts.base import TextToSpeech
    from kame_core.vad import SileroModel

REPOSITORY = Path(__file__).resolve().parents[2]
START_DEADLINE_S = 30.0
LOAD_DEADLINE_S = 60.0


class NoEngines(Loaders):
    """Injects the failure of every engine; what is left is what sound checks need, and it starts at once."""

    async def load_tts(self, room: EngineRoom) -> "TextToSpeech":
        raise UnavailableError("No voice in this test.")

    async def load_frontend(self, room: EngineRoom, voice: "asyncio.Future[TextToSpeech | None]") -> "FrontendHost":
        raise UnavailableError("No front end in this test.")

    async def load_stt(self, room: EngineRoom) -> "tuple[SpeechToText, SileroModel]":
        raise UnavailableError("No ear in this test.")

    async def load_llm(self, room: EngineRoom) -> "ChatModel":
        raise UnavailableError("No language model in this test.")


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server inside the test's loop."""

    base_url: str
    app: web.Application

    @property
    def room(self) -> EngineRoom:
        return self.app[ROOM]

    @property
    def calls(self) -> CallRegistry:
        return self.app[CALLS]

    def url(self, path: str) -> str:
        return self.base_url + path


def make_settings(**changes: Any) -> Settings:
    """Settings that look at nothing outside the repository: embedded engines, no network."""
    embedded = {"port": 0, "stt": "pocketsphinx", "whisper_fetch": False, "llm": "offline", "capacity": 8}
    return load_settings(embedded | changes, env_file=None)


@asynccontextmanager
async def running_server(
    *, loaders: Loaders | None = None, load: bool = True, **changes: Any
) -> AsyncIterator[RunningServer]:
    """A server with these settings.

    Args:
        loaders: the engines; default: the real ones. `NoEngines()` is enough for sound checks and HTTP.
        load: wait until everything is loaded (or failed).
        changes: settings.
    """
    settings = make_settings(**changes)
    clock = RealClock()
    app = create_app(settings, clock=clock, room=EngineRoom(settings, clock, loaders))
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server = RunningServer(f"http://{host}:{port}", app)
        if load:
            async with asyncio.timeout(LOAD_DEADLINE_S):
                await server.room.settled()
        yield server
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class ServerProcess:
    """`python -m app` as a process."""

    process: asyncio.subprocess.Process
    base_url: str = ""
    lines: list[str] = field(default_factory=list)
    """What it printed."""
    reading: asyncio.Task[None] | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def line(self, *parts: str, timeout_s: float = START_DEADLINE_S) -> str:
        """The first printed line that holds one of `parts`."""
        async with asyncio.timeout(timeout_s):
            while True:
                for line in self.lines:
                    if any(part in line for part in parts):
                        return line
                if self.process.returncode is not None:
                    raise AssertionError(f"the server ended: {self.lines}")
                self._news.clear()
                await self._news.wait()

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            self.lines.append(raw.decode(errors="replace").rstrip())
            self._news.set()
        self._news.set()

    async def finished(self) -> None:
        """All that the ended process printed has been read."""
        if self.reading is not None:
            await asyncio.wait([self.reading], timeout=5.0)

    async def end(self, signal_number: int = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """One signal, never two (a second one ends it at once), and the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal_number)
        async with asyncio.timeout(timeout_s):
            code = await self.process.wait()
        await self.finished()
        return code


@asynccontextmanager
async def server_process(
    *flags: str, environment: dict[str, str] | None = None, serve: bool = True
) -> AsyncIterator[ServerProcess]:
    """`python -m app FLAGS`; with `serve`, yielded once it printed its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        *flags,
        cwd=REPOSITORY,
        env={**_clean_environment(), **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    server = ServerProcess(process)
    server.reading = asyncio.create_task(server.read())
    try:
        if serve:
            server.base_url = (await server.line("KAME voice: ")).split("KAME voice: ")[1].rstrip('"}')
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await server.reading


async def open_calls(base_url: str) -> int:
    """How many calls a server has."""
    async with aiohttp.ClientSession() as http, http.get(f"{base_url}/healthz") as response:
        return int((await response.json())["calls"]["open"])


async def no_calls(base_url: str, timeout_s: float = 6.0) -> None:
    """Wait until a server has no call any more."""
    async with asyncio.timeout(timeout_s):
        while await open_calls(base_url):
            await asyncio.sleep(0.1)


def _clean_environment() -> dict[str, str]:
    """Without settings of the person who runs the tests."""
    ours = ("KAME_", "OPENAI_", "HOST", "PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
