"""Traces as a collector gets them: of a real call, and what happens when the collector is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from app.tracing import MOST_WAITING, TraceExporter, parse_headers
from kame_core.clock import RealClock
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


def test_headers_are_read_as_opentelemetry_writes_them() -> None:
    assert parse_headers("api-key=a=b, x = y,,broken") == {"api-key": "a=b", "x": "y"}
