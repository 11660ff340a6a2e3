"""A bad LLM, heard from the caller's side: a precise error to that caller, sound without a gap, others untouched."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from kame_core.audio import PIECE_SAMPLES, level_dbfs
from tests.support.openai_server import Behaviour, Fault, OpenAIServer
from tests.support.rtc_client import RtcClient
from tests.support.server import RunningServer, running_server

GOOD = "Paris is the capital of France."


@pytest.fixture
async def llm() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer(lambda messages: GOOD, longest_s=15.0) as server:
        yield server


@pytest.fixture
async def server(llm: OpenAIServer) -> AsyncIterator[RunningServer]:
    async with running_server(
        llm="openai", openai_base_url=llm.base_url, openai_api_key="k" * 20, llm_model="test-model"
    ) as running:
        yield running


def type_and_ask(client: RtcClient, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    client.send({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
    client.send({"type": "response.create"})


CODES = {
    Fault.UNAUTHORIZED: "llm_auth",
    Fault.RATE_LIMITED: "llm_rate_limited",
    Fault.SERVER_ERROR: "llm_failed",
    Fault.DROP: "llm_unreachable",
    Fault.GARBAGE_BODY: "llm_bad_answer",
    Fault.GARBAGE_EVENT: "llm_bad_answer",
    Fault.HANG: "llm_timeout",
}


@pytest.mark.parametrize("fault", CODES)
async def test_a_failing_llm_is_named_and_the_voice_answers_alone(
    llm: OpenAIServer, server: RunningServer, fault: Fault
) -> None:
    llm.behaviour = Behaviour(fault=fault)
    async with RtcClient() as client:
        await client.connect_http(server.base_url)
        type_and_ask(client, "what is the capital of france")
        done = await client.event("response.done", 20.0)
        trouble = await client.event("kame.trouble", 1.0)
        assert trouble["code"] == CODES[fault]
        assert trouble["message"].endswith(".")
        assert not trouble["fatal"]
        assert done["response"]["status"] == "completed"
        origins = {event["origin"] for _, event in client.events if event["type"] == "kame.spoken"}
        assert "own" in origins
        await nothing_missing(client)


async def test_an_answer_that_breaks_off_does_not_end_the_talk(llm: OpenAIServer, server: RunningServer) -> None:
    llm.behaviour = Behaviour(fault=Fault.DROP_MIDWAY)
    async with RtcClient() as client:
        await client.connect_http(server.base_url)
        type_and_ask(client, "what is the capital of france")
        done = await client.event("response.done", 20.0)
        assert done["response"]["output"][0]["content"][0]["transcript"]
        assert (await client.event("kame.trouble", 1.0))["code"].startswith("llm_")


async def test_a_flood_of_words_is_bounded_and_can_be_stopped(llm: OpenAIServer, server: RunningServer) -> None:
    llm.behaviour = Behaviour(fault=Fault.FLOOD)
    async with RtcClient() as client:
        await client.connect_http(server.base_url)
        type_and_ask(client, "what is the capital of france")
        await client.event("output_audio_buffer.started", 10.0)
        await asyncio.sleep(2.0)
        client.send({"type": "response.cancel"})
        done = await client.event("response.done", 5.0)
        assert done["response"]["status"] == "cancelled"
        await nothing_missing(client)
        async with asyncio.timeout(5):
            while any(request.ended == "running" for request in llm.requests):
                await asyncio.sleep(0.05)


async def test_one_callers_trouble_is_not_the_others(llm: OpenAIServer, server: RunningServer) -> None:
    llm.behaviour = Behaviour(fault=Fault.HANG, fault_count=1)
    async with RtcClient() as unlucky, RtcClient() as other:
        await unlucky.connect_http(server.base_url)
        await other.connect_http(server.base_url)
        type_and_ask(unlucky, "what is the capital of spain")
        async with asyncio.timeout(5):
            await llm.arrived.wait()
        type_and_ask(other, "what is the capital of france")
        done = await other.event("response.done", 10.0)
        assert GOOD in done["response"]["output"][0]["content"][0]["transcript"]
        assert "kame.trouble" not in other.kinds()
        assert "response.done" not in unlucky.kinds()
        await nothing_missing(other)
        await nothing_missing(unlucky)


async def nothing_missing(client: RtcClient) -> None:
    """The outgoing sound had no hole: as much arrived as time passed, and voice was in it."""
    line = client.ear.line
    passed_s = client.ear.arrivals[-1][0] - client.ear.arrivals[0][0]
    assert abs(line.size / 24_000 - passed_s) < 0.06 + PIECE_SAMPLES / 24_000
    gaps_ms = np.array(client.ear.gaps_ms[50:])  # after the first second, in which a dozen things start
    assert np.percentile(gaps_ms, 99) < 60
    assert gaps_ms.max() < 500, "server, LLM and two callers share one loop and two cores here"
    assert np.max(np.abs(line)) <= 1.0
    assert level_dbfs(line) > -60 or "kame.spoken" not in client.kinds()
