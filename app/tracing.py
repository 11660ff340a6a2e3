"""Traces of calls and turns for OpenTelemetry: times, kinds and codes, never what was said.

Written in OTLP's JSON form over HTTP (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP", "JSON Protobuf Encoding"), which
every collector takes; so no package of OpenTelemetry's is needed.
"""

import asyncio
import json
import logging
import secrets
import time
import urllib.request
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote

from kame_core.clock import Clock
from kame_core.events import Event, ResponseEnded, ResponseStarted, Trouble, TurnTiming, VoiceStarted
from kame_core.latency import STAMPS
from kame_core.workers import ThreadWorkers

log = logging.getLogger(__name__)

MOST_WAITING = 2_048
"""Spans that wait to be sent; beyond, the oldest are dropped, counted."""
SEND_EVERY_S = 5.0
REQUEST_DEADLINE_S = 10.0
CLOSE_DEADLINE_S = 1.0
_MOST_OPEN_TURNS = 16
_SERVER, _INTERNAL = 2, 1
_ERROR = 2

Attributes = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of time."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty: it is the trace's first."""
    name: str
    begin_s: float
    """Unix time in seconds, as all others here."""
    end_s: float
    attributes: Attributes = field(default_factory=dict)
    moments: tuple[tuple[str, float], ...] = ()
    """Points in it, and when."""
    failed: bool = False

    def as_json(self) -> dict[str, Any]:
        """As OTLP wants it: ids in hex, times in nanoseconds, as strings."""
        span: dict[str, Any] = {
            "traceId": self.trace_id,
            "spanId": self.span_id,
            "name": self.name,
            "kind": _INTERNAL if self.parent_id else _SERVER,
            "startTimeUnixNano": _nanoseconds(self.begin_s),
            "endTimeUnixNano": _nanoseconds(max(self.begin_s, self.end_s)),
            "attributes": _attributes(self.attributes),
            "events": [{"name": name, "timeUnixNano": _nanoseconds(at_s)} for name, at_s in self.moments],
            "status": {"code": _ERROR} if self.failed else {},
        }
        if self.parent_id:
            span["parentSpanId"] = self.parent_id
        return span


@dataclass(slots=True)
class _Turn:
    began_s: float
    voice_s: float | None = None
    """Its first sound."""


class CallTrace:
    """The trace of one call: a span for the call, one for each turn of the agent inside it."""

    def __init__(self, emit: Callable[[Span], None], attributes: Attributes, now: Callable[[], float]) -> None:
        self._emit = emit
        self._now = now
        self._attributes = attributes
        self._trace_id = secrets.token_hex(16)
        self._span_id = secrets.token_hex(8)
        self._began_s = now()
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        self._ended: tuple[ResponseEnded, float] | None = None
        """A turn that is over, and when; its time line, if it has one, is told next."""
        self._moments: list[tuple[str, float]] = []

    def note(self, event: Event) -> None:
        """A fact of the conversation, just told."""
        match event:
            case ResponseStarted():
                self._turn(None)
                self._turns[event.response_id] = _Turn(self._now())
                if len(self._turns) > _MOST_OPEN_TURNS:
                    self._turns.popitem(last=False)
            case VoiceStarted() if event.response_id in self._turns:
                self._turns[event.response_id].voice_s = self._now()
            case ResponseEnded():
                self._turn(None)
                self._ended = event, self._now()
            case TurnTiming():
                self._turn(event)
            case Trouble() if len(self._moments) < MOST_WAITING:
                self._moments.append((f"trouble {event.error.code}", self._now()))

    def _turn(self, timing: TurnTiming | None) -> None:
        """Close the turn that is over, if there is one. It began where its time line does: with the end of speech."""
        if self._ended is None:
            return
        (event, end_s), self._ended = self._ended, None
        turn = self._turns.pop(event.response_id, _Turn(end_s))
        begin_s = turn.began_s
        if timing is not None and timing.response_id != event.response_id:
            timing = None
        if timing is not None and timing.first_audio_ms is not None and turn.voice_s is not None:
            begin_s = turn.voice_s - timing.first_audio_ms / 1000
        stamps = {} if timing is None else {name: getattr(timing, f"{name}_ms") for name in STAMPS}
        known = {name: value_ms for name, value_ms in stamps.items() if value_ms is not None}
        self._emit(
            Span(
                self._trace_id,
                secrets.token_hex(8),
                self._span_id,
                "turn",
                begin_s,
                end_s,
                {
                    "kame.mode": "" if timing is None else timing.mode,
                    "kame.status": event.status,
                    "kame.reason": event.reason,
                    "gen_ai.usage.input_tokens": event.input_tokens,
                    "gen_ai.usage.output_tokens": event.output_tokens,
                    **{f"kame.{name}_ms": value_ms for name, value_ms in known.items()},
                },
                tuple((name, begin_s + value_ms / 1000) for name, value_ms in known.items()),
                event.status == "failed",
            )
        )

    def end(self, reason: str) -> None:
        """The call is over."""
        self._turn(None)
        attributes = {**self._attributes, "kame.reason": reason}
        failed = reason == "call_failed"
        moments = tuple(self._moments)
        self._emit(
            Span(self._trace_id, self._span_id, "", "call", self._began_s, self._now(), attributes, moments, failed)
        )


class TraceExporter:
    """Collects spans and sends them to a collector. What cannot be sent is dropped: calls never wait for it.

    Args:
        endpoint: of the collector, without `/v1/traces`.
        headers: of each request, such as a key.
        version: of this program.
        clock: when to send.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str], version: str, clock: Clock) -> None:
        self._url = endpoint.rstrip("/") + "/v1/traces"
        self._headers = dict(headers)
        self._clock = clock
        self._resource = {"service.name": "kame-voice", "service.version": version}
        self._waiting: deque[Span] = deque(maxlen=MOST_WAITING)
        self._worker = ThreadWorkers("traces", 1)
        self._failing = False
        self._closed = False
        self.sent = self.dropped = 0

    def call(self, call_id: str, kind: str) -> CallTrace:
        """The trace of a call that begins now."""
        return CallTrace(self._emit, {"kame.call_id": call_id, "kame.kind": kind}, time.time)

    def _emit(self, span: Span) -> None:
        self.dropped += len(self._waiting) == MOST_WAITING
        self._waiting.append(span)

    async def run(self) -> None:
        """Send every few seconds until cancelled."""
        while True:
            await self._clock.sleep_until(self._clock.now() + SEND_EVERY_S)
            await self.send()

    async def send(self) -> None:
        """Send what waits."""
        spans = tuple(self._waiting)
        self._waiting.clear()
        if not spans:
            return
        try:
            await self._worker.run(self._post, json.dumps(self._body(spans)).encode())
        except (OSError, HTTPException, ValueError) as error:
            self.dropped += len(spans)
            if not self._failing:
                log.warning("traces cannot be sent to the collector: %s", _why(error))
            self._failing = True
        else:
            self.sent += len(spans)
            self._failing = False

    async def aclose(self) -> None:
        """Send the rest, where the collector takes it within a second, and end; idempotent."""
        if self._closed:
            return
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self.send()
        self._worker.close()

    def _body(self, spans: tuple[Span, ...]) -> dict[str, Any]:
        scope = {"scope": {"name": "kame"}, "spans": [span.as_json() for span in spans]}
        return {"resourceSpans": [{"resource": {"attributes": _attributes(self._resource)}, "scopeSpans": [scope]}]}

    def _post(self, body: bytes) -> None:
        headers = {**self._headers, "Content-Type": "application/json"}
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=REQUEST_DEADLINE_S) as response:
            response.read()


def parse_headers(text: str) -> dict[str, str]:
    """Headers as in `OTEL_EXPORTER_OTLP_HEADERS`: `name=value`, URL-encoded, separated by commas."""
    pairs = (entry.partition("=") for entry in text.split(",") if "=" in entry)
    return {unquote(name.strip()): unquote(value.strip()) for name, _, value in pairs}


def _why(error: Exception) -> str:
    if isinstance(error, HTTPException):
        return "it does not speak HTTP/1.1; name its port for OTLP over HTTP, mostly 4318"
    if isinstance(error, ValueError):  # its text holds the header, and that a key
        return "a header cannot be sent; look at OTEL_EXPORTER_OTLP_HEADERS"
    return str(error)


def _attributes(values: Attributes) -> list[dict[str, Any]]:
    def value(one: str | int | float) -> dict[str, Any]:
        if isinstance(one, str):
            return {"stringValue": one}
        return {"intValue": str(one)} if isinstance(one, int) else {"doubleValue": one}

    return [{"key": key, "value": value(one)} for key, one in values.items()]


def _nanoseconds(unix_s: float) -> str:
    return str(round(unix_s * 1e9))
