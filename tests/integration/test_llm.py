"""The LLM client against a real server with real faults."""

import asyncio
import logging
import socket
import threading
import time
from contextlib import aclosing
from dataclasses import replace

import pytest

from kame_core.backend.base import ChatEvent, ChatMessage, ChatRequest, Finish, TextDelta, Usage
from kame_core.backend.llm import LlmSettings, OpenAIChatModel, choose_chat_model, probe_local_server
from kame_core.backend.planner import Planner
from kame_core.backend.prompt import PromptContext
from kame_core.clock import RealClock
from kame_core.errors import ChatModelError
from kame_core.events import CandidateFailed, CandidateFinished, CandidateStarted, Event
from tests.support.openai_server import Behaviour, Fault, OpenAIServer

ANSWER = "Paris is the capital of France."
QUESTION = (ChatMessage("system", "You are KAME."), ChatMessage("user", "What is the capital of France?"))


def request_of(**changes: float) -> ChatRequest:
    return ChatRequest(
        QUESTION,
        deadline_s=changes.get("deadline_s", 5.0),
        first_token_deadline_s=changes.get("first_token_deadline_s", 3.0),
        max_tokens=int(changes.get("max_tokens", 200)),
    )


async def collect(model: OpenAIChatModel, request: ChatRequest | None = None) -> list[ChatEvent]:
    async with aclosing(model.stream(request_of() if request is None else request)) as events:
        return [event async for event in events]


def text_of(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def collect_until_fault(model: OpenAIChatModel, request: ChatRequest) -> tuple[str, ChatModelError]:
    said = ""
    try:
        async with aclosing(model.stream(request)) as events:
            async for event in events:
                said += event.text if isinstance(event, TextDelta) else ""
    except ChatModelError as error:
        return said, error
    pytest.fail("there was no fault")


class Client:
    """A server and a client of it."""

    def __init__(self, behaviour: Behaviour | None = None, **settings: str) -> None:
        self.server = OpenAIServer(behaviour=behaviour)
        self._settings = settings

    async def __aenter__(self) -> "Client":
        await self.server.__aenter__()
        settings = {"api_key": "sk-test", "model": "test-model", **self._settings}
        self.model = OpenAIChatModel(LlmSettings(self.server.base_url, **settings))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.model.aclose()
        await self.model.aclose()
        await self.server.__aexit__(None, None, None)


class TestAnswers:
    async def test_text_usage_and_finish_in_order(self) -> None:
        async with Client() as client:
            events = await collect(client.model)
        assert text_of(events) == ANSWER
        assert len(events) == 8
        assert isinstance(events[-2], Usage)
        assert events[-2].output_tokens == 6
        assert events[-1] == Finish("stop")
        (received,) = client.server.requests
        assert received.authorization == "Bearer sk-test"
        assert received.body["model"] == "test-model"
        assert received.body["max_tokens"] == 200
        assert received.messages == [{"role": m.role, "content": m.content} for m in QUESTION]

    async def test_deltas_come_as_they_are_written(self) -> None:
        async with Client(Behaviour(token_delay_s=0.05)) as client:
            stamps = []
            async with aclosing(client.model.stream(request_of())) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        stamps.append(time.monotonic())
        assert len(stamps) == 6
        assert stamps[-1] - stamps[0] > 0.1

    async def test_what_is_written_for_eyes_reaches_the_ear_as_words(self) -> None:
        """Markdown, emoji, addresses and code, cut anywhere; of two thousand words, as many as were asked for."""
        written = "**Sure!** 😀 See [the guide](https://example.com/g) at https://www.example.org/a?b=1."
        written += "\n```\nx = 1\n```\nDone."
        said = "Sure!  See the guide at example.org.\n I leave the code out here. \nDone."
        for token_chars in (1, 3, 50):
            async with Client(Behaviour(token_chars=token_chars)) as client:
                client.server.answer = lambda messages: written
                assert text_of(await collect(client.model)) == said
        async with Client() as client:
            client.server.answer = lambda messages: "word " * 2000
            events = await collect(client.model)
        assert 200 <= len(text_of(events).split()) < 400
        assert events[-1] == Finish("length")

    async def test_the_connection_is_used_again(self) -> None:
        async with Client() as client:
            for _ in range(4):
                await collect(client.model)
            assert client.server.connections == 1

    async def test_reasoning_is_left_out(self) -> None:
        behaviour = Behaviour(thinking="Is it Lyon? <b> No.", thinking_field="hm", token_chars=3)
        async with Client(behaviour) as client:
            assert text_of(await collect(client.model)) == ANSWER
            events = await collect(client.model, replace(request_of(), spoken=False))
            assert text_of(events).strip() == ANSWER

    async def test_an_answer_that_is_all_reasoning_is_no_answer(self) -> None:
        async with Client(Behaviour(thinking="Paris?")) as client:
            client.server.answer = lambda messages: ""
            events = await collect(client.model)
        assert text_of(events) == ""
        assert events[-1] == Finish("no_answer")

    @pytest.mark.parametrize(
        ("said", "finish"), [("length", "length"), ("content_filter", "refusal"), ("tool_calls", "stop"), ("x", "stop")]
    )
    async def test_finish_reasons(self, said: str, finish: str) -> None:
        async with Client(Behaviour(finish_reason=said)) as client:
            events = await collect(client.model)
        assert isinstance(events[-1], Finish)
        assert events[-1].reason == finish

    async def test_missing_finish_and_usage_are_tolerated(self) -> None:
        async with Client(Behaviour(Fault.NO_FINISH)) as client:
            events = await collect(client.model)
        assert text_of(events) == ANSWER
        assert events[-1] == Finish("stop")
        assert not any(isinstance(event, Usage) for event in events)

    async def test_an_empty_answer_is_no_answer(self) -> None:
        async with Client(Behaviour(Fault.EMPTY)) as client:
            events = await collect(client.model)
        assert events[-1] == Finish("no_answer")
        assert text_of(events) == ""

    async def test_strange_events_between_the_right_ones_are_passed_over(self) -> None:
        async with Client(Behaviour(Fault.STRANGE_EVENT)) as client:
            assert text_of(await collect(client.model)) == ANSWER

    async def test_flooding_is_stopped(self) -> None:
        async with Client(Behaviour(Fault.FLOOD)) as client:
            events = await collect(client.model, request_of(max_tokens=100))
            assert len(text_of(events)) == 800
            assert events[-1] == Finish("length")
            await asyncio.wait_for(client.server.requests[0].done.wait(), 3)
            assert client.server.requests[0].ended == "aborted"

    @pytest.mark.parametrize(
        ("unknown", "status"),
        [
            (("stream_options",), 400),
            (("max_tokens",), 400),
            (("max_tokens", "stream_options"), 400),
            (("stream_options",), 422),
        ],
    )
    async def test_parameters_the_server_does_not_know_are_unlearned_once(
        self, unknown: tuple[str, ...], status: int
    ) -> None:
        behaviour = Behaviour(unknown_parameters=unknown, refusal_status=status)
        async with Client(behaviour, reasoning_effort="low") as client:
            assert text_of(await collect(client.model)) == ANSWER
            assert len(client.server.requests) == 1 + len(unknown)
            assert text_of(await collect(client.model)) == ANSWER
            assert len(client.server.requests) == 2 + len(unknown)
            assert client.server.requests[-1].body["reasoning_effort"] == "low"

    async def test_the_model_is_chosen_from_the_servers_list(self) -> None:
        async with Client(model="") as client:
            client.server.models = ("nomic-embed-text", "deepseek-r1:7b", "llama3.2:3b", "qwen2.5:3b")
            assert client.model.model == ""
            assert text_of(await collect(client.model)) == ANSWER
            assert client.model.model == "llama3.2:3b"
            assert client.server.requests[0].body["model"] == "llama3.2:3b"
            assert len(await client.model.list_models()) == 4

    async def test_a_server_without_chat_models_says_so(self) -> None:
        async with Client(model="") as client:
            client.server.models = ("nomic-embed-text",)
            with pytest.raises(ChatModelError, match="no chat model") as caught:
                await collect(client.model)
        assert caught.value.code == "llm_failed"


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "code", "retryable", "hint", "asked"),
        [
            (Fault.UNAUTHORIZED, "llm_auth", False, "Check the key", 1),
            (Fault.FORBIDDEN, "llm_auth", False, "Check the key", 1),
            (Fault.NOT_FOUND, "llm_failed", False, "base URL ends in /v1", 1),
            (Fault.NO_QUOTA, "llm_rate_limited", False, "Add credit", 1),
            (Fault.TOO_LONG, "llm_bad_request", False, "Shorten", 1),
            (Fault.RATE_LIMITED, "llm_rate_limited", True, "try again", 3),
            (Fault.SERVER_ERROR, "llm_failed", True, "HTTP 500", 3),
            (Fault.DROP, "llm_unreachable", True, "cannot be reached", 3),
            (Fault.GARBAGE_BODY, "llm_bad_answer", False, "OpenAI-compatible", 1),
            (Fault.GARBAGE_EVENT, "llm_bad_answer", False, "OpenAI-compatible", 1),
            (Fault.ERROR_EVENT, "llm_failed", True, "Try again", 1),
            (Fault.DROP_MIDWAY, "llm_unreachable", True, "cannot be reached", 1),
        ],
    )
    async def test_each_has_its_code_and_advice(
        self, fault: Fault, code: str, retryable: bool, hint: str, asked: int
    ) -> None:
        async with Client(Behaviour(fault)) as client:
            with pytest.raises(ChatModelError, match=hint) as caught:
                await collect(client.model)
            assert (caught.value.code, caught.value.retryable) == (code, retryable)
            assert len(client.server.requests) == asked
            client.server.behaviour = Behaviour()
            assert text_of(await collect(client.model)) == ANSWER  # nothing is left behind

    @pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.RATE_LIMITED, Fault.DROP])
    async def test_a_passing_fault_is_not_noticed(self, fault: Fault) -> None:
        async with Client(Behaviour(fault, fault_count=2, retry_after_s=0.05)) as client:
            assert text_of(await collect(client.model)) == ANSWER
            assert len(client.server.requests) == 3

    async def test_a_wait_beyond_the_deadline_is_not_begun(self) -> None:
        async with Client(Behaviour(Fault.RATE_LIMITED, retry_after_s=60)) as client:
            with pytest.raises(ChatModelError) as caught:
                await asyncio.wait_for(collect(client.model), 2)
            assert caught.value.code == "llm_rate_limited"
            assert len(client.server.requests) == 1

    async def test_words_that_came_before_a_break_are_kept_and_not_asked_again(self) -> None:
        async with Client(Behaviour(Fault.DROP_MIDWAY)) as client:
            said, error = await collect_until_fault(client.model, request_of())
            assert (said, error.code) == ("Paris is", "llm_unreachable")
            assert len(client.server.requests) == 1

    @pytest.mark.parametrize(
        ("behaviour", "text"),
        [
            (Behaviour(Fault.HANG), ""),
            (Behaviour(first_token_delay_s=20), ""),
            (Behaviour(Fault.HANG_MIDWAY), "Paris is"),
        ],
    )
    async def test_hanging_ends_at_the_deadline_and_closes_the_connection(
        self, behaviour: Behaviour, text: str
    ) -> None:
        async with Client(behaviour) as client:
            request = request_of(first_token_deadline_s=0.3, deadline_s=0.5)
            said, error = await collect_until_fault(client.model, request)
            assert (said, error.code) == (text, "llm_timeout")
            await asyncio.wait_for(client.server.requests[0].done.wait(), 3)
            assert client.server.requests[0].ended == "aborted"

    async def test_a_closed_port_is_unreachable(self) -> None:
        model = OpenAIChatModel(LlmSettings(f"http://127.0.0.1:{closed_port()}/v1", model="m"))
        with pytest.raises(ChatModelError, match="cannot be reached") as caught:
            await collect(model)
        assert caught.value.code == "llm_unreachable"
        with pytest.raises(ChatModelError, match="cannot be reached"):
            await model.list_models()
        await model.aclose()

    async def test_a_server_of_another_kind_makes_no_sense(self) -> None:
        async with Client(Behaviour(Fault.GARBAGE_BODY), model="") as client:
            with pytest.raises(ChatModelError) as caught:
                await collect(client.model)
            assert caught.value.code == "llm_bad_answer"

    async def test_closing_the_stream_closes_the_response_at_once(self) -> None:
        async with Client(Behaviour(token_delay_s=10)) as client:
            stream = client.model.stream(request_of())
            assert await anext(stream) == TextDelta("Paris")
            await stream.aclose()
            await asyncio.wait_for(client.server.requests[0].done.wait(), 3)
            assert client.server.requests[0].ended == "aborted"

    async def test_cancelling_before_the_first_word_closes_the_request(self) -> None:
        async with Client(Behaviour(Fault.HANG)) as client:
            task = asyncio.create_task(collect(client.model))
            await asyncio.wait_for(client.server.arrived.wait(), 3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(client.server.requests[0].done.wait(), 3)


class TestManners:
    async def test_no_thread_of_the_default_executor_is_used(self) -> None:
        before = set(threading.enumerate())
        async with Client() as client:
            await collect(client.model)
        assert set(threading.enumerate()) <= before

    async def test_nothing_said_and_no_key_reaches_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        async with Client(Behaviour(Fault.SERVER_ERROR, fault_count=1)) as client:
            await collect(client.model)
        for secret in ("capital", "Paris", "sk-test"):
            assert secret not in caplog.text

    def test_settings_do_not_show_the_key(self) -> None:
        assert "sk-1" not in repr(LlmSettings(api_key="sk-1"))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestProbe:
    async def test_the_first_server_in_the_list_that_can_chat_is_taken(self) -> None:
        async with (
            OpenAIServer(models=("nomic-embed-text",)) as embeds,
            OpenAIServer(behaviour=Behaviour(Fault.GARBAGE_BODY)) as other,
            OpenAIServer(models=("text-embedding-3", "llama3.2:3b")) as chats,
            OpenAIServer(models=("late",)) as last,
        ):
            candidates = [f"http://127.0.0.1:{closed_port()}/v1"]
            candidates += [server.base_url for server in (embeds, other, chats, last)]
            assert await probe_local_server(candidates, 2.0) == LlmSettings(chats.base_url, "", "llama3.2:3b")

    async def test_one_that_hangs_costs_the_deadline_but_not_the_others(self) -> None:
        async with OpenAIServer(behaviour=Behaviour(Fault.HANG)) as hangs, OpenAIServer(models=("m",)) as chats:
            found = await asyncio.wait_for(probe_local_server([hangs.base_url, chats.base_url], 0.5), 3)
        assert found is not None
        assert found.base_url == chats.base_url

    async def test_nothing_is_none_and_only_loopback_is_asked(self) -> None:
        assert await probe_local_server([f"http://127.0.0.1:{closed_port()}/v1"]) is None
        assert await probe_local_server(["http://192.0.2.1/v1", "https://example.com/v1", "nonsense"], 5.0) is None

    @pytest.mark.parametrize(
        ("models", "chosen"),
        [
            ([], None),
            (["all-minilm", "bge-m3", "whisper-large"], None),
            (["deepseek-r1:1.5b"], "deepseek-r1:1.5b"),
            (["qwen2.5-coder:7b", "gemma3:4b"], "gemma3:4b"),
        ],
    )
    def test_which_model_talks(self, models: list[str], chosen: str | None) -> None:
        assert choose_chat_model(models) == chosen


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.NONE, None), (Fault.UNAUTHORIZED, "llm_auth"), (Fault.DROP_MIDWAY, "llm_unreachable")]
)
async def test_planner_and_client_together(fault: Fault, code: str | None) -> None:
    events: list[Event] = []
    done = asyncio.Event()

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, CandidateFinished | CandidateFailed):
            done.set()

    async with Client(Behaviour(fault)) as client, asyncio.TaskGroup() as tasks:
        planner = Planner(client.model, PromptContext, emit, RealClock(), tasks, lambda: 0)
        planner.turn_ended("What is the capital of France?")
        await asyncio.wait_for(done.wait(), 5)
        await planner.aclose()
    assert isinstance(events[0], CandidateStarted)
    last = events[-1]
    if code is None:
        assert isinstance(last, CandidateFinished)
        assert last.text == ANSWER
        assert last.output_tokens == 6
    else:
        assert isinstance(last, CandidateFailed)
        assert last.error is not None
        assert last.error.code == code
