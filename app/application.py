"""`create_app`: routes, keys, middlewares and the lives of what the server owns; nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator

from aiohttp import web

from app.admission import AccessPolicy, ClientSecrets, signing_key_of
from app.allowance import Allowance
from app.call_bodies import MAX_MULTIPART_BYTES
from app.calls import PUBLIC_CALLS_PER_SECRET, TRUSTED_PROXIES, CallRoutes
from app.embedding import EmbedPages
from app.engines import EngineRoom
from app.measurements import Measurements
from app.middleware import HTTPS, api_errors, cross_origin, security_headers
from app.observability import Health, Load, LoopLag, MetricsPage
from app.pages import Offer, Pages
from app.registry import CallRegistry
from app.relay import IceKeeper, cloudflare_turn
from app.settings import Settings
from app.tracing import TraceExporter, parse_headers
from app.websocket.realtime import RealtimeSocket
from kame_core.backend.budgets import DEFAULT_BUDGETS
from kame_core.backend.offline import example_questions
from kame_core.backend.presets import listed
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
    measurements = Measurements(VERSION, room, lambda: {**calls.counts(), "waiting": calls.places.line.count})
    lag = LoopLag(clock, measurements.loop_lag.observe)
    keeper = IceKeeper(room, cloudflare_turn(settings))
    load = Load(lag, measurements.tick_counts)
    traces = _traces(settings, clock)
    calls = CallRegistry(settings, room, clock, measurements, load.too_high, traces)
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
    pages = Pages(VERSION, example_questions(), lambda: _offer(room, settings))
    app.add_routes(pages.routes())
    app.add_routes(EmbedPages(pages, policy.may_embed, settings.allowed_origins).routes())
    app[TRUSTED_PROXIES] = settings.trusted_proxies
    app[HTTPS] = settings.public_url.startswith("https://")
    health = Health(
        room.readiness,
        calls.counts,
        lag,
        VERSION,
        lambda: calls.draining,
        lambda: room.converses,
        lambda: room.broken,
    )
    app.add_routes(health.routes())
    app.add_routes(MetricsPage(measurements.registry, settings.metrics_key or settings.api_key).routes())
    public = Allowance(
        max_call_s=settings.public_max_call_s,
        max_calls=PUBLIC_CALLS_PER_SECRET,
        max_tokens=settings.public_max_tokens,
    )
    most = Allowance(max_call_s=settings.max_call_s, max_tokens=DEFAULT_BUDGETS.tokens_per_conversation)
    app.add_routes(CallRoutes(calls, policy, client_secrets, public, most).routes())
    app.add_routes(RealtimeSocket(calls, policy, clock, public).routes())

    async def owned(_: web.Application) -> AsyncIterator[None]:
        """Calls end before the engines they use; what was loading stops first."""
        tasks = [
            asyncio.create_task(room.load(), name="load engines"),
            asyncio.create_task(calls.hold_conversations(), name="hold conversations"),
            asyncio.create_task(lag.watch(), name="watch the loop"),
            asyncio.create_task(load.watch(clock), name="watch the load"),
            asyncio.create_task(keeper.run(), name="keep the way through STUN and TURN"),
        ]
        if traces is not None:
            tasks.append(asyncio.create_task(traces.run(), name="send traces"))
        try:
            yield
        finally:
            try:
                await calls.aclose()
                await asyncio.wait(tasks[1:2], timeout=CONVERSATIONS_DEADLINE_S)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=1.0)
                if traces is not None:
                    await traces.aclose()
            finally:
                await room.aclose()

    async def shutdown(_: web.Application) -> None:
        """Before open HTTP connections are waited for: no new calls, and the live ones end."""
        await calls.aclose()

    app.cleanup_ctx.append(owned)
    app.on_shutdown.append(shutdown)
    return app


def _traces(settings: Settings, clock: Clock) -> TraceExporter | None:
    if not settings.otlp_endpoint:
        return None
    headers = settings.otlp_headers.get_secret_value() if settings.otlp_headers else ""
    return TraceExporter(settings.otlp_endpoint, parse_headers(headers), VERSION, clock)


def _offer(room: EngineRoom, settings: Settings) -> Offer:
    """What may be chosen with the engines that are loaded at this moment."""
    return Offer(tuple(sorted(room.voices)), tuple(sorted(room.languages)), settings.language, listed())
