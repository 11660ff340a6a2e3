"""Health, readiness, logs and the watch over the event loop. Nothing here ever holds what was said."""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TextIO

from aiohttp import web

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
    for ours in ("app", "kame_core"):
        logging.getLogger(ours).setLevel(level.upper())


@dataclass(slots=True)
class LoopLag:
    """Watches how late the event loop runs what is due. `watch` is run by one owned task."""

    clock: Clock
    interval_s: float = 0.1
    limit_ms: float = 50.0
    """One 20 ms packet and what a listener's jitter buffer hides."""
    worst_ms: float = 0.0
    late: int = 0
    """How often the loop was late by more than the limit."""

    async def watch(self) -> None:
        """Measure until cancelled."""
        while True:
            due_s = self.clock.now() + self.interval_s
            await self.clock.sleep_until(due_s)
            lag_ms = (self.clock.now() - due_s) * 1000
            self.worst_ms = max(self.worst_ms, lag_ms)
            if lag_ms > self.limit_ms:
                self.late += 1


class Health:
    """`/healthz`: the process lives. `/readyz`: calls can be answered; what is still loading, and how far.

    `/status` is `/readyz` for the page: always 200, because a browser shows every 503 as an error in its console.
    """

    def __init__(
        self,
        readiness: Callable[[], dict[str, object]],
        calls: Callable[[], dict[str, int]],
        lag: LoopLag,
        version: str,
    ) -> None:
        self._readiness = readiness
        self._calls = calls
        self._lag = lag
        self._version = version

    def routes(self) -> list[web.RouteDef]:
        """All paths."""
        return [
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/status", self.status),
        ]

    async def healthz(self, _: web.Request) -> web.Response:
        """200 as long as the loop answers."""
        return web.json_response(
            {
                "status": "ok",
                "version": self._version,
                "calls": self._calls(),
                "tasks": len(asyncio.all_tasks()),
                "loop_lag_ms": {"worst": round(self._lag.worst_ms, 1), "late": self._lag.late},
            },
            headers={"Cache-Control": "no-store"},
        )

    async def readyz(self, _: web.Request) -> web.Response:
        """200 when every part is usable, else 503 with the same body."""
        body = self._readiness()
        headers = {"Cache-Control": "no-store"} | ({} if body["ready"] else {"Retry-After": "1"})
        return web.json_response(body, status=200 if body["ready"] else 503, headers=headers)

    async def status(self, _: web.Request) -> web.Response:
        """The same body with 200 in any case."""
        return web.json_response(self._readiness(), headers={"Cache-Control": "no-store"})
