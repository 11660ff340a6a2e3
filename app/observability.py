"""Health, readiness, logs and the watch over the event loop. Nothing here ever holds what was said."""

import asyncio
import hmac
import json
import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TextIO

from aiohttp import web
from pydantic import SecretStr

from app.metrics import CONTENT_TYPE, MetricRegistry
from kame_core.clock import Clock

CALL_ID: ContextVar[str] = ContextVar("call_id", default="-")
"""The call a task works for; set by each call's own task, shown in every log line."""


class CallIdFilter(logging.Filter):
    """Gives every record the id of the call it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add `record.call`; never drops a record."""
        record.call = CALL_ID.get()
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, ISO 8601), level, logger, call, message and, for errors, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "call": getattr(record, "call", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def configure_logging(level: str, *, as_json: bool, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (standard error), one line each; libraries speak up from `warning` on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(CallIdFilter())
    handler.setFormatter(
        JsonFormatter() if as_json else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s [%(call)s] %(message)s")
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)  # its warnings quote subprotocols, keys among them
    for ours in ("app", "kame_core"):
        logging.getLogger(ours).setLevel(level.upper())


@dataclass(slots=True)
class LoopLag:
    """Watches how late the event loop runs what is due. `watch` is run by one owned task."""

    clock: Clock
    note: Callable[[float], None] = lambda lag_s: None
    """Takes each measured lag in seconds."""
    interval_s: float = 0.1
    limit_ms: float = 50.0
    """One 20 ms packet and what a listener's jitter buffer hides."""
    worst_ms: float = 0.0
    late: int = 0
    """How often the loop was late by more than the limit."""
    recent_ms: float = 0.0
    """Mean of about the last 5 s."""

    async def watch(self) -> None:
        """Measure until cancelled."""
        while True:
            due_s = self.clock.now() + self.interval_s
            await self.clock.sleep_until(due_s)
            lag_ms = (self.clock.now() - due_s) * 1000
            self.note(lag_ms / 1000)
            self.recent_ms += (lag_ms - self.recent_ms) * self.interval_s / 5.0
            self.worst_ms = max(self.worst_ms, lag_ms)
            if lag_ms > self.limit_ms:
                self.late += 1


class Load:
    """Whether this machine keeps up with the calls it has: the loop is on time, and the front end steps every 80 ms.

    Args:
        lag: of the event loop.
        ticks: steps done and left out since the start.
    """

    MOST_LAG_MS = 50.0
    MOST_SKIPPED = 0.05
    """Share of steps left out; at this, speech is broken to everybody's ears."""
    INTERVAL_S = 5.0

    def __init__(self, lag: LoopLag, ticks: Callable[[], tuple[int, int]]) -> None:
        self._lag = lag
        self._ticks = ticks
        self._skipped = 0.0

    def too_high(self) -> bool:
        """No further call should be taken."""
        return self._lag.recent_ms > self.MOST_LAG_MS or self._skipped > self.MOST_SKIPPED

    async def watch(self, clock: Clock) -> None:
        """Measure until cancelled."""
        before = self._ticks()
        while True:
            await clock.sleep_until(clock.now() + self.INTERVAL_S)
            now = self._ticks()
            done, skipped = now[0] - before[0], now[1] - before[1]
            self._skipped = skipped / (done + skipped) if done + skipped > 0 else 0.0
            before = now


class MetricsPage:
    """`/metrics`, for Prometheus.

    Args:
        registry: what is shown.
        key: wanted as `Authorization: Bearer`; None: anybody may read.
    """

    def __init__(self, registry: MetricRegistry, key: SecretStr | None) -> None:
        self._registry = registry
        self._wanted = None if key is None else f"Bearer {key.get_secret_value()}".encode()

    def routes(self) -> list[web.RouteDef]:
        """The path."""
        return [web.get("/metrics", self.show)]

    async def show(self, request: web.Request) -> web.Response:
        """Everything, in the text format 0.0.4."""
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if self._wanted is not None and not hmac.compare_digest(given, self._wanted):
            raise web.HTTPUnauthorized(text="Send the key of /metrics.", headers={"WWW-Authenticate": "Bearer"})
        headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
        return web.Response(body=self._registry.render().encode(), headers=headers)


class Health:
    """`/healthz`: the process is of use. `/readyz`: calls can be answered; what is still loading, and how far.

    `/status` is `/readyz` for the page: always 200, because a browser shows every 503 as an error in its console. And
    to the page a server is ready without a way for WebRTC, too: it has a WebSocket.
    """

    def __init__(
        self,
        readiness: Callable[[], dict[str, object]],
        calls: Callable[[], dict[str, int]],
        lag: LoopLag,
        version: str,
        draining: Callable[[], bool] = lambda: False,
        converses: Callable[[], bool] = lambda: False,
        broken: Callable[[], bool] = lambda: False,
    ) -> None:
        self._readiness = readiness
        self._calls = calls
        self._lag = lag
        self._version = version
        self._draining = draining
        self._converses = converses
        self._broken = broken

    def routes(self) -> list[web.RouteDef]:
        """All paths."""
        return [
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/status", self.status),
        ]

    async def healthz(self, _: web.Request) -> web.Response:
        """200 as long as the loop answers, and a new process would not do better than this one."""
        broken = self._broken()
        return web.json_response(
            {
                "status": "broken" if broken else "ok",
                "version": self._version,
                "calls": self._calls(),
                "tasks": len(asyncio.all_tasks()),
                "loop_lag_ms": {"worst": round(self._lag.worst_ms, 1), "late": self._lag.late},
            },
            status=503 if broken else 200,
            headers={"Cache-Control": "no-store"},
        )

    async def readyz(self, _: web.Request) -> web.Response:
        """200 when every part is usable, else 503 with the same body."""
        body = self._body()
        headers = {"Cache-Control": "no-store"} | ({} if body["ready"] else {"Retry-After": "1"})
        return web.json_response(body, status=200 if body["ready"] else 503, headers=headers)

    async def status(self, _: web.Request) -> web.Response:
        """The same body with 200 in any case."""
        body = self._body()
        body["ready"] = body["ready"] or (self._converses() and not self._draining())
        return web.json_response(body, headers={"Cache-Control": "no-store"})

    def _body(self) -> dict[str, object]:
        """A server that goes down is not ready, whatever its parts are."""
        body = self._readiness()
        return {**body, "ready": False, "draining": True} if self._draining() else body
