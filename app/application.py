"""`create_app`: routes, keys, middlewares and the lives of what the server owns; nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator

from aiohttp import web

from app.admission import AccessPolicy, ClientSecrets, signing_key_of
from app.calls import MAX_MULTIPART_BYTES, CallRoutes
from app.engines import EngineRoom
from app.middleware import api_errors, cross_origin, security_headers
from app.observability import Health, LoopLag
from app.pages import Pages
from app.registry import CallRegistry
from app.settings import Settings
from kame_core.backend.offline import example_questions
from kame_core.clock import Clock, RealClock

VERSION = "0.1.0"
CONVERSATIONS_DEADLINE_S = 2.0
SETTINGS = web.AppKey("settings", Settings)
ROOM = web.AppKey("room", EngineRoom)
CALLS = web.AppKey("calls", CallRegistry)


def create_app(settings: Settings, *, clock: Clock | None = None, room: EngineRoom | None = None) -> web.Application:
    """The whole server. Engines load once it runs; its pages are served at once.

    Args:
        settings: how to run.
        clock: the time of calls and conversations; default: the machine's.
        room: the engines; default: those that `settings` ask for.

    Raises:
        UnavailableError: the page's files are missing or too large.
    """
    clock = clock or RealClock()
    room = room or EngineRoom(settings, clock)
    calls = CallRegistry(settings, room, clock)
    lag = LoopLag(clock)
    client_secrets = ClientSecrets(signing_key_of(settings.api_key), time.time)
    policy = AccessPolicy(
        client_secrets,
        settings.api_key,
        allowed_origins=[*settings.allowed_origins, *([settings.public_url] if settings.public_url else [])],
        public_pages=settings.public_pages,
    )

    app = web.Application(client_max_size=MAX_MULTIPART_BYTES, middlewares=[security_headers, cross_origin, api_errors])
    app[SETTINGS] = settings
    app[ROOM] = room
    app[CALLS] = calls
    app.add_routes(Pages(VERSION, example_questions()).routes())
    app.add_routes(Health(room.readiness, calls.counts, lag, VERSION).routes())
    app.add_routes(CallRoutes(calls, policy, client_secrets).routes())

    async def owned(_: web.Application) -> AsyncIterator[None]:
        """Calls end before the engines they use; what was loading stops first."""
        tasks = [
            asyncio.create_task(room.load(), name="load engines"),
            asyncio.create_task(calls.hold_conversations(), name="hold conversations"),
            asyncio.create_task(lag.watch(), name="watch the loop"),
        ]
        try:
            yield
        finally:
            await calls.aclose()
            await asyncio.wait(tasks[1:2], timeout=CONVERSATIONS_DEADLINE_S)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1.0)
            await room.aclose()

    async def shutdown(_: web.Application) -> None:
        """Before open HTTP connections are waited for: no new calls, and the live ones end."""
        await calls.aclose()

    app.cleanup_ctx.append(owned)
    app.on_shutdown.append(shutdown)
    return app
