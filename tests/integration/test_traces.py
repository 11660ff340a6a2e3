"""Traces as a collector gets them: of a real call, and what happens when the collector is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from app.tracing import MOST_WAITING, CallTrace, Span, TraceExporter, parse_headers
from kame_core.clock import RealClock
from kame_core.events import Event, ResponseEnded, ResponseStarted, TurnTiming, VoiceStarted
from kame_core.latency import STAMPS
from tests.support.loopback import serving
from tests.support.rtc_client import RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import running_server
from tests.support.speech import say


class Collector:
    """Takes OTLP over HTTP, on loopback."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.bodies.append(await request.json())
        return web.json_response({})

    @property
    def spans(self) -> list[dict[str, Any]]:
        return [span for body in self.bodies for span in body["resourceSpans"][0]["scopeSpans"][0]["spans"]]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    one = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", one.take)
    async with serving(app) as one.url:
        yield one


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


async def test_a_call_and_its_turn_are_one_trace_without_their_words(collector: Collector) -> None:
    async with (
        running_server(
            loaders=ScriptedEar(), load=True, otlp_endpoint=collector.url, otlp_headers="x-key=hush"
        ) as server,
        RtcClient() as client,
    ):
        await client.connect_http(server.base_url, {"kame": {"mode": "cascaded"}}, multipart=True)
        client.say(say("What is two plus three?"))
        await client.answered()
        await client.event("kame.turn.timing", 10)
        assert await client.delete() == 200
        call_id = str(client.location).rsplit("/", 1)[1]
    call = next(span for span in collector.spans if span["name"] == "call")
    turn = next(span for span in collector.spans if span["name"] == "turn")
    assert "parentSpanId" not in call
    assert (turn["traceId"], turn["parentSpanId"]) == (call["traceId"], call["spanId"])
    assert (len(call["traceId"]), len(call["spanId"])) == (32, 16)
    assert attributes(call) == {"kame.call_id": call_id, "kame.kind": "conversation", "kame.reason": "hangup"}
    assert attributes(turn)["kame.mode"] == "cascaded"
    assert attributes(turn)["kame.status"] == "completed"
    begin, first = int(turn["startTimeUnixNano"]), int(attributes(turn)["kame.first_audio_ms"])
    moments = {one["name"]: int(one["timeUnixNano"]) for one in turn["events"]}
    assert abs(moments["first_audio"] - begin - first * 1_000_000) < 1_000
    assert int(call["startTimeUnixNano"]) < begin < moments["first_audio"] < int(turn["endTimeUnixNano"])
    assert int(turn["endTimeUnixNano"]) <= int(call["endTimeUnixNano"])
    assert collector.headers[0]["x-key"] == "hush"
    assert "plus" not in json.dumps(collector.bodies)


async def test_a_collector_that_is_away_costs_traces_and_nothing_else() -> None:
    exporter = TraceExporter("http://127.0.0.1:9", {}, "1", RealClock())
    for _ in range(MOST_WAITING + 5):
        exporter.call("rtc_1", "echo").end("hangup")
    assert exporter.dropped == 5
    await exporter.send()
    assert (exporter.sent, exporter.dropped) == (0, MOST_WAITING + 5)
    await asyncio.wait_for(exporter.aclose(), 5)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic a\nb"}, {"x": "→"}])
async def test_a_collector_that_cannot_be_spoken_to_is_told_of_and_no_trouble(
    headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    async def greet_as_grpc(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}]}]}]}")
        writer.write(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00")  # HTTP/2: SETTINGS
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet_as_grpc, "127.0.0.1", 0) as collector:
        port = collector.sockets[0].getsockname()[1]
        exporter = TraceExporter(f"http://127.0.0.1:{port}", headers, "1", RealClock())
        exporter.call("rtc_1", "echo").end("hangup")
        await exporter.send()
        exporter.call("rtc_2", "echo").end("hangup")
        await asyncio.wait_for(exporter.aclose(), 5)
    assert (exporter.sent, exporter.dropped) == (0, 2)
    assert ("a header" if headers else "4318") in caplog.text
    assert "Basic" not in caplog.text


def test_a_turn_begins_with_the_end_of_the_speech_that_it_answers() -> None:
    spans: list[Span] = []
    now_s = [0.0]
    trace = CallTrace(spans.append, {}, lambda: now_s[0])

    def at(at_s: float, event: Event) -> None:
        now_s[0] = at_s
        trace.note(event)

    def turn(response_id: str, begin_s: float, voice_s: float, first_audio_ms: int | None) -> None:
        at(begin_s, ResponseStarted(0, response_id, f"item_{response_id}", None))
        at(voice_s, VoiceStarted(0, response_id))
        at(voice_s + 2, ResponseEnded(0, response_id, "item", "completed", "", "", "", 0, 0))
        if first_audio_ms is not None:
            stamps = dict.fromkeys((f"{name}_ms" for name in STAMPS), None) | {"first_audio_ms": first_audio_ms}
            at(voice_s + 2, TurnTiming(0, response_id, "tandem", **stamps))

    turn("spoken", 10.25, 10.5, 750)  # after what was said until 9.75
    turn("typed", 100.0, 100.5, 500)
    turn("unasked", 200.0, 200.5, None)
    trace.end("hangup")
    assert [(span.begin_s, span.end_s) for span in spans] == [(9.75, 12.5), (100.0, 102.5), (200.0, 202.5), (0, 202.5)]
    assert [dict(span.moments) for span in spans[:3]] == [{"first_audio": 10.5}, {"first_audio": 100.5}, {}]


def test_headers_are_read_as_opentelemetry_writes_them() -> None:
    written = "api-key=a=b, x = y,,broken,Authorization=Basic%20MTIz%2C"
    assert parse_headers(written) == {"api-key": "a=b", "x": "y", "Authorization": "Basic MTIz,"}
