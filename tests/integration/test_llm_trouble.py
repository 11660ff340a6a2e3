"""A bad LLM, heard from the caller's side: a precise error to that caller, sound without a gap, others untouched.

The server runs as a process of its own, so that what is measured is its doing and not the callers'.
"""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from kame_core.audio import SAMPLE_RATE_HZ, level_dbfs
from tests.support.held_up import HeldUp
from tests.support.openai_server import Behaviour, Fault, OpenAIServer
from tests.support.rtc_client import RtcClient
from tests.support.server import server_process

GOOD = "Paris is the capital of France."
LONGEST_GAP_MS = 60.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started() -> AsyncIterator[tuple[OpenAIServer, str]]:
    async with OpenAIServer(lambda messages: GOOD, longest_s=15.0) as llm:
        flags = ("--port", "0", "--stt", "pocketsphinx", "--llm", "openai", "--openai-base-url", llm.base_url)
        environment = {"OPENAI_API_KEY": "k" * 20, "KAME_LLM_MODEL": "test-model", "KAME_CAPACITY": "8"}
        async with server_process(*flags, environment=environment) as process:
            assert "Ready:" in await process.line("Ready:", "Not everything", timeout_s=60), process.lines
            yield llm, process.base_url


@pytest.fixture
def llm(started: tuple[OpenAIServer, str]) -> OpenAIServer:
    """The language model's server, behaving well until told otherwise."""
    started[0].behaviour = Behaviour()
    started[0].requests.clear()
    started[0].arrived.clear()
    return started[0]


@pytest.fixture
def server(started: tuple[OpenAIServer, str]) -> str:
    """The base URL."""
    return started[1]


def type_and_ask(client: RtcClient, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    client.send({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
    client.send({"type": "response.create"})


CODES = {Fault.UNAUTHORIZED: "llm_auth", Fault.DROP: "llm_unreachable", Fault.GARBAGE_EVENT: "llm_bad_answer"}
"""One of each kind; the others, and time-outs: test_llm.py."""


@pytest.mark.parametrize("fault", CODES)
async def test_a_failing_llm_is_named_and_the_voice_answers_alone(llm: OpenAIServer, server: str, fault: Fault) -> None:
    llm.behaviour = Behaviour(fault=fault)
    async with RtcClient() as client:
        await client.connect_http(server)
        type_and_ask(client, "what is the capital of france")
        done = await client.event("response.done", 20.0)
        trouble = await client.event("kame.trouble", 1.0)
        assert trouble["code"] == CODES[fault]
        assert trouble["message"].endswith(".")
        assert not trouble["fatal"]
        assert done["response"]["status"] == "completed"
        origins = {event["origin"] for _, event in client.events if event["type"] == "kame.spoken"}
        assert "own" in origins


@pytest.mark.alone
async def test_no_sound_is_missing_while_an_llm_fails(llm: OpenAIServer, server: str, held_up: HeldUp) -> None:
    async with RtcClient() as client:
        await client.connect_http(server)
        for fault in (Fault.UNAUTHORIZED, Fault.DROP, Fault.GARBAGE_EVENT):
            llm.behaviour = Behaviour(fault=fault)
            seen = len(client.events)
            type_and_ask(client, "what is the capital of france")
            await client.event("response.done", 20.0, after=seen)
        nothing_missing(client, held_up)


async def test_an_answer_that_breaks_off_does_not_end_the_talk(llm: OpenAIServer, server: str) -> None:
    llm.behaviour = Behaviour(fault=Fault.DROP_MIDWAY)
    async with RtcClient() as client:
        await client.connect_http(server)
        type_and_ask(client, "what is the capital of france")
        done = await client.event("response.done", 20.0)
        assert done["response"]["output"][0]["content"][0]["transcript"]
        assert (await client.event("kame.trouble", 1.0))["code"].startswith("llm_")


@pytest.mark.alone
async def test_a_flood_of_words_is_bounded_and_can_be_stopped(llm: OpenAIServer, server: str, held_up: HeldUp) -> None:
    llm.behaviour = Behaviour(fault=Fault.FLOOD)
    async with RtcClient() as client:
        await client.connect_http(server)
        type_and_ask(client, "what is the capital of france")
        await client.event("output_audio_buffer.started", 10.0)
        await asyncio.sleep(2.0)
        client.send({"type": "response.cancel"})
        done = await client.event("response.done", 5.0)
        assert done["response"]["status"] == "cancelled"
        nothing_missing(client, held_up)
        async with asyncio.timeout(5):
            while any(request.ended == "running" for request in llm.requests):
                await asyncio.sleep(0.05)


@pytest.mark.alone
async def test_one_callers_trouble_is_not_the_others(llm: OpenAIServer, server: str, held_up: HeldUp) -> None:
    llm.behaviour = Behaviour(fault=Fault.HANG, fault_count=1)
    async with RtcClient() as unlucky, RtcClient() as other:
        await unlucky.connect_http(server)
        await other.connect_http(server)
        type_and_ask(unlucky, "what is the capital of spain")
        async with asyncio.timeout(5):
            await llm.arrived.wait()
        type_and_ask(other, "what is the capital of france")
        done = await other.event("response.done", 10.0)
        assert GOOD in done["response"]["output"][0]["content"][0]["transcript"]
        assert "kame.trouble" not in other.kinds()
        assert "response.done" not in unlucky.kinds()
        nothing_missing(other, held_up)
        nothing_missing(unlucky, held_up)


def nothing_missing(client: RtcClient, held_up: HeldUp) -> None:
    """The outgoing sound had no hole: as much arrived as time passed, evenly, and voice was in it.

    The server may be held up by the machine as the caller is, at worst both at the same moment.
    """
    limit_ms = LONGEST_GAP_MS + 2 * held_up.worst_ms
    ear = client.ear
    arrivals = ear.arrivals[50:]  # from the first second on, in which the callers themselves begin
    missing_s = arrivals[-1][0] - arrivals[0][0] - (arrivals[-1][1] - arrivals[0][1]) / SAMPLE_RATE_HZ
    assert abs(1000 * missing_s) < limit_ms
    assert max(ear.gaps_ms[50:]) < limit_ms, (sorted(ear.gaps_ms)[-5:], held_up.worst_ms)
    assert np.max(np.abs(ear.line)) <= 1.0
    assert level_dbfs(ear.line) > -60 or "kame.spoken" not in client.kinds()
