"""Tool calls, thinking and empty answers, against a real server that streams them the way real ones do."""

from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from kame_core.backend.base import (
    ChatEvent,
    ChatMessage,
    ChatRequest,
    Finish,
    TextDelta,
    ToolCall,
    ToolDeclaration,
)
from kame_core.backend.llm import LlmSettings, OpenAIChatModel
from kame_core.errors import ChatModelError
from tests.support.openai_server import Behaviour, Fault, OpenAIServer, Reply

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
TOOLS = (ToolDeclaration("weather", "Looks out.", SCHEMA), ToolDeclaration("hang_up", "Ends the call.", {}))
REQUEST = ChatRequest((ChatMessage("user", "What is the weather?"),), deadline_s=5.0, tools=TOOLS)
ARGUMENTS = '{"place": "Île-de-France, \\"Paris\\""}'
CALLS = (("call_a", "weather", ARGUMENTS), ("call_b", "hang_up", ""))


async def ask(server: OpenAIServer, request: ChatRequest = REQUEST, times: int = 1) -> list[ChatEvent]:
    model = OpenAIChatModel(LlmSettings(server.base_url, "key", "test-model"))
    try:
        for _ in range(times):
            async with aclosing(model.stream(request)) as events:
                answer = [event async for event in events]
        return answer
    finally:
        await model.aclose()


def text_of(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def calls_of(events: list[ChatEvent]) -> list[ToolCall]:
    return [event for event in events if isinstance(event, ToolCall)]


@pytest.mark.parametrize("token_chars", [1, 2, 3, 7, 1000])
async def test_calls_cut_anywhere_come_whole_behind_the_text(token_chars: int) -> None:
    reply = Reply("Let me look.", CALLS)
    async with OpenAIServer(lambda messages: reply, Behaviour(token_chars=token_chars)) as server:
        events = await ask(server)
    assert text_of(events) == "Let me look."
    assert calls_of(events) == [ToolCall("call_a", "weather", ARGUMENTS), ToolCall("call_b", "hang_up", "{}")]
    assert events.index(calls_of(events)[0]) > max(n for n, event in enumerate(events) if isinstance(event, TextDelta))
    assert events[-1] == Finish("tool_calls")
    body = server.requests[0].body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather", "hang_up"]
    assert body["tools"][0]["function"]["parameters"] == SCHEMA
    assert "tool_choice" not in body


async def test_a_call_without_index_and_id_gets_an_id() -> None:
    reply = Reply("", CALLS[:1])
    async with OpenAIServer(lambda messages: reply, Behaviour(call_style="whole")) as server:
        (call,) = calls_of(await ask(server))
    assert (call.name, call.arguments) == ("weather", ARGUMENTS)
    assert call.call_id


@pytest.mark.parametrize("call_style", ["first", "new_ids"])
async def test_calls_are_told_apart_however_they_are_numbered(call_style: str) -> None:
    reply = Reply("", (*CALLS, ("call_c", "weather", ARGUMENTS)))
    async with OpenAIServer(lambda messages: reply, Behaviour(call_style=call_style)) as server:
        calls = calls_of(await ask(server))
    assert [(call.call_id, call.name, call.arguments) for call in calls] == [
        ("call_a", "weather", ARGUMENTS),
        ("call_b", "hang_up", "{}"),
        ("call_c", "weather", ARGUMENTS),
    ]


async def test_what_a_server_signs_goes_back_to_it_and_to_no_server_that_refuses_it() -> None:
    async with OpenAIServer(lambda messages: Reply("", CALLS), Behaviour(signs_calls=True)) as server:
        calls = calls_of(await ask(server))
        of_a_tool = (ChatMessage("assistant", "", tuple(calls)), *(done(call) for call in calls))
        of_the_client = [one for call in calls for one in (ChatMessage("assistant", "", (call,)), done(call))]
        for history in (of_a_tool, tuple(of_the_client)):
            assert calls_of(await ask(server, replace(REQUEST, messages=REQUEST.messages + history))) == calls
            assert len(server.requests[-1].messages) == 4
        unsigned = (ChatMessage("assistant", "", (replace(calls[0], extra={}),)), done(calls[0]))
        with pytest.raises(ChatModelError):
            await ask(server, replace(REQUEST, messages=REQUEST.messages + unsigned))
    async with OpenAIServer(behaviour=Behaviour(refuses_extras=True)) as other:
        asked = replace(REQUEST, messages=REQUEST.messages + of_a_tool)
        assert text_of(await ask(other, asked, times=2)) == "Paris is the capital of France."
        assert len(other.requests) == 3


def done(call: ToolCall) -> ChatMessage:
    return ChatMessage("tool", "sunny", call_id=call.call_id)


@pytest.mark.parametrize(
    ("choice", "sent"),
    [("required", "required"), ("none", "none"), ("weather", {"type": "function", "function": {"name": "weather"}})],
)
async def test_a_choice_is_sent(choice: str, sent: object) -> None:
    async with OpenAIServer() as server:
        await ask(server, replace(REQUEST, tool_choice=choice))
    assert server.requests[0].body["tool_choice"] == sent


async def test_calls_and_results_go_back_as_the_api_has_them() -> None:
    call = ToolCall("call_a", "weather", ARGUMENTS)
    messages = (
        *REQUEST.messages,
        ChatMessage("assistant", "", (call,)),
        ChatMessage("tool", "sunny", call_id="call_a"),
    )
    async with OpenAIServer() as server:
        await ask(server, replace(REQUEST, messages=messages))
    _, asked, told = server.requests[0].messages
    assert asked["content"] is None
    assert asked["tool_calls"][0] == {
        "id": "call_a",
        "type": "function",
        "function": {"name": "weather", "arguments": ARGUMENTS},
    }
    assert told == {"role": "tool", "tool_call_id": "call_a", "content": "sunny"}


@pytest.mark.parametrize("token_chars", [1, 1000])
async def test_half_an_emoji_harms_neither_this_answer_nor_the_next(token_chars: int) -> None:
    broken = "\ud83d\ude00 \ud83d"  # servers that count in UTF-16 cut there
    reply = Reply(f"Mood: {broken}", (("call_a", "weather", f'{{"place": "{broken}"}}'),))
    async with OpenAIServer(lambda messages: reply, Behaviour(token_chars=token_chars)) as server:
        events = await ask(server, replace(REQUEST, spoken=False))
        assert text_of(events) == "Mood: 😀 \ufffd"
        assert [call.arguments for call in calls_of(events)] == ['{"place": "😀 \ufffd"}']
        heard = (ChatMessage("user", "\ud83d?"), ChatMessage("assistant", "", tuple(calls_of(events))))
        poisoned = (
            *heard,
            ChatMessage("tool", "\ud83d", call_id="call_a"),
        )  # a speech service's words, a tool's result
        assert await ask(server, replace(REQUEST, messages=poisoned))
        contents = [message["content"] for message in server.requests[-1].messages]
        assert contents == ["\ufffd?", None, "\ufffd"]


async def test_calls_nobody_offered_are_nothing() -> None:
    async with OpenAIServer(lambda messages: Reply("", CALLS)) as server:
        events = await ask(server, replace(REQUEST, tools=()))
    assert events[-1] == Finish("no_answer")
    assert not calls_of(events)
    assert "tools" not in server.requests[0].body


@pytest.mark.parametrize("status", [400, 422])
async def test_a_server_that_knows_no_tools_is_asked_without_them_from_then_on(status: int) -> None:
    messages = (
        *REQUEST.messages,
        ChatMessage("assistant", "One moment.", (ToolCall("c", "weather", "{}"),)),
        ChatMessage("tool", "sunny", call_id="c"),
    )
    behaviour = Behaviour(unknown_parameters=("tools",), refusal_status=status)
    async with OpenAIServer(behaviour=behaviour) as server:
        events = await ask(server, replace(REQUEST, messages=messages), times=2)
    assert text_of(events) == "Paris is the capital of France."
    assert ["tools" in request.body for request in server.requests] == [True, False, False]
    assert [message["role"] for message in server.requests[-1].messages] == ["user", "assistant"]


async def test_tools_that_are_refused_once_are_tried_again_the_next_time() -> None:
    behaviour = Behaviour(bad_schema=True)
    async with OpenAIServer(behaviour=behaviour) as server:
        assert text_of(await ask(server, times=2)) == "Paris is the capital of France."
    assert ["tools" in request.body for request in server.requests] == [True, False, True, False]


async def test_a_connection_that_breaks_within_a_call_is_tried_again() -> None:
    behaviour = Behaviour(fault=Fault.DROP_IN_CALL, fault_count=1)
    async with OpenAIServer(lambda messages: Reply("", CALLS[:1]), behaviour) as server:
        (call,) = calls_of(await ask(server))
    assert call.arguments == ARGUMENTS
    assert len(server.requests) == 2


async def test_a_call_cut_by_the_limit_is_not_made() -> None:
    reply = Reply("Let me look.", (("call_a", "weather", '{"place": "Par'),))
    async with OpenAIServer(lambda messages: reply, Behaviour(finish_reason="length")) as server:
        events = await ask(server)
    assert not calls_of(events)
    assert events[-1] == Finish("length")


# --- thinking, refusing, saying nothing ---


async def test_a_model_that_thinks_its_limit_away_gets_more() -> None:
    def answer(messages: Any) -> str:
        return "" if len(server.requests) == 1 else "Paris."

    behaviour = Behaviour(thinking_field="Hm, let me think about that at length.", finish_reason="length")
    async with OpenAIServer(answer, behaviour) as server:
        assert text_of(await ask(server)) == "Paris."
    limits = [request.body["max_tokens"] for request in server.requests]
    assert limits[1] - limits[0] >= 1000


async def test_a_model_that_only_thinks_is_a_fault_with_advice() -> None:
    async with OpenAIServer(lambda messages: "", Behaviour(finish_reason="length")) as server:
        model = OpenAIChatModel(LlmSettings(server.base_url, "key", "test-model"))
        try:
            async with aclosing(model.stream(REQUEST)) as events:
                assert [event async for event in events][-1] == Finish("no_answer")
        except ChatModelError as error:
            pytest.fail(f"the second attempt had room and said nothing; that is no answer, not {error.code}")
        finally:
            await model.aclose()
    assert len(server.requests) == 2


async def test_a_refusal_without_words_is_told_as_such() -> None:
    async with OpenAIServer(lambda messages: "", Behaviour(finish_reason="content_filter")) as server:
        assert (await ask(server))[-1] == Finish("refusal")
