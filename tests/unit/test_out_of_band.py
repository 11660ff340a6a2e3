"""Responses outside the conversation: written beside the talk in virtual time, without a trace in it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from kame_core.asides import MOST_ASIDES
from kame_core.backend.base import ChatMessage, ChatRequest, ToolCall, ToolDeclaration, Usage
from kame_core.errors import ChatModelError, ConversationClosedError
from kame_core.events import (
    AsideCalled,
    AsideEnded,
    AsideText,
    ConversationEnded,
    ResponseEnded,
    ResponseStarted,
    Spent,
    Trouble,
)
from kame_core.options import AsideOptions, ConversationOptions, ItemReference
from kame_core.transcript import Item
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.codec_call import Call, message
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio
from tests.support.studio_wire import Wire

QUESTION = "what is the capital of france"
ABOUT = AsideOptions("Name the topic.")


def two_voices(aside: Answer) -> Callable[[ChatRequest], Answer]:
    """Answers what is spoken, and writes `aside`."""
    return lambda request: Answer("Paris is the capital of France.") if request.spoken else aside


def of_response(messages: list[dict[str, Any]], response_id: str) -> list[dict[str, Any]]:
    return [m for m in messages if response_id in (m.get("response_id"), m.get("response", {}).get("id"))]


def of_kind(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == kind]


def written(metadata: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"conversation": "none", "output_modalities": ["text"], **more}
    return asked if metadata is None else {**asked, "metadata": metadata}


# --- beside a talk, as a client sees it ---


def test_a_text_is_written_while_the_agent_speaks_and_the_talk_knows_nothing_of_it() -> None:
    chat = ScriptedChatModel(two_voices(Answer('{"topic": "*geography*"}', usage=Usage(30, 7), token_delay_s=0.5)))

    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        spoken = await studio.listen_until(ResponseStarted)
        items = studio.conversation.transcript.items()
        wire.send(
            type="response.create",
            response=written({"for": "page"}, instructions="Name the topic.", max_output_tokens=50),
        )
        assert studio.conversation.transcript.items() == items
        await studio.listen_until(ResponseEnded)
        await studio.listen(0.5)
        messages = wire.read()
        created = next(m for m in messages if m["type"] == "response.created" and m["response"]["metadata"])
        response = created["response"]
        assert (response["conversation_id"], response["output_modalities"]) == (None, ["text"])
        assert (response["metadata"], response["max_output_tokens"]) == ({"for": "page"}, 50)
        ours = of_response(messages, response["id"])
        assert [m["type"] for m in ours] == [
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        assert "".join(m["delta"] for m in ours if "delta" in m) == ours[5]["text"] == '{"topic": "*geography*"}'
        assert ours[2]["part"] == {"type": "text", "text": ""}
        done = ours[-1]["response"]
        assert (done["status"], done["conversation_id"], done["metadata"]) == ("completed", None, {"for": "page"})
        assert done["output"] == [ours[-2]["item"]]
        assert done["output"][0]["content"] == [{"type": "output_text", "text": ours[5]["text"]}]
        assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (30, 7)
        aside_items = {m["item_id"] for m in ours if "item_id" in m}
        assert not [m for m in messages if m.get("item", {}).get("id") in aside_items and m["type"].startswith("conv")]
        # ... and the talk went on as ever
        (ended,) = studio.all(ResponseEnded)
        assert (ended.response_id, ended.status) == (spoken.response_id, "completed")
        assert ended.text.endswith("Paris is the capital of France.")
        assert len(studio.all(ResponseStarted)) == 1
        assert [item.text for item in studio.conversation.transcript.items()] == [QUESTION, ended.text]
        (asked,) = [call.request for call in chat.calls if not call.request.spoken]
        assert asked.messages[0].content.endswith("\n\nName the topic.")
        assert "Do not answer" in asked.messages[0].content, "the talk is what it is about"
        assert [(m.role, m.content) for m in asked.messages[1:]][:1] == [("user", QUESTION)]
        assert (asked.max_tokens, asked.tools) == (50, ())
        spent = studio.all(Spent)[-1]
        assert spent.requests == len(chat.calls)

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION))


def test_what_was_heard_of_the_answer_so_far_is_known_to_it() -> None:
    chat = ScriptedChatModel(two_voices(Answer("geography")))

    async def scene(studio: Studio) -> None:
        studio.conversation.add_text(QUESTION, "user")
        studio.conversation.create_response()
        started = await studio.listen_until(ResponseStarted)
        await studio.listen(2.0)
        studio.conversation.create_aside(ABOUT)
        studio.conversation.create_aside(AsideOptions("Judge.", (ItemReference(started.item_id),)))
        await studio.listen(0.1)
        whole, quoted = (call.request for call in chat.calls if not call.request.spoken)
        heard = whole.messages[2].content
        assert "Paris" in heard
        assert not heard.endswith("France.")
        assert [(m.role, m.content) for m in quoted.messages if m.content == heard] == [("assistant", heard)]

    in_studio(scene, chat=chat)


def test_several_are_written_side_by_side_and_a_fifth_is_refused() -> None:
    chat = ScriptedChatModel(lambda request: Answer(f"about {request.messages[-1].content}", token_delay_s=0.2))

    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        for number in range(MOST_ASIDES + 1):
            response = written({"n": str(number)}, input=[message(f"part {number}")], instructions="Go.")
            wire.send(type="response.create", event_id=f"e{number}", response=response)
        await asyncio.sleep(0.4)
        messages = wire.read()
        (error,) = [m["error"] for m in messages if m["type"] == "error"]
        assert (error["code"], error["event_id"]) == ("too_many_responses", f"e{MOST_ASIDES}")
        await asyncio.sleep(3)
        messages += wire.read()
        done = [m["response"] for m in messages if m["type"] == "response.done"]
        texts = {one["metadata"]["n"]: one["output"][0]["content"][0]["text"] for one in done}
        assert texts == {str(number): f"about part {number}" for number in range(MOST_ASIDES)}
        wire.send(type="response.create", response=written(instructions="Go."))
        await asyncio.sleep(3)
        assert of_kind(wire.read(), "response.done")[0]["response"]["status"] == "completed"
        assert [(m.role, m.content) for m in chat.calls[0].request.messages] == [("system", "Go."), ("user", "part 0")]

    in_studio(scene, chat=chat)


def test_cancelling_one_leaves_the_others_and_the_agent_alone() -> None:
    chat = ScriptedChatModel(two_voices(Answer("one two three four five", token_delay_s=1.0)))

    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        studio.conversation.add_text(QUESTION, "user")
        spoken = studio.conversation.create_response()
        first, second = (studio.conversation.create_aside(ABOUT) for _ in range(2))
        await studio.listen(1.5)
        wire.send(type="response.cancel", response_id=first)
        await studio.listen(0.1)
        ours = of_response(wire.read(), first)
        assert [m["type"] for m in ours][-4:] == [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        done = ours[-1]["response"]
        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert done["output"][0]["status"] == "incomplete"
        assert done["output"][0]["content"][0]["text"] == "one two"
        wire.send(type="response.cancel", response_id=first)
        (error,) = [m["error"] for m in wire.read() if m["type"] == "error"]
        assert error["code"] == "response_cancel_not_active"
        assert sorted(call.ended for call in chat.calls if not call.request.spoken) == ["closed", "running"]
        wire.send(type="response.cancel")  # names none: the agent's
        await studio.listen(6.0)
        statuses = {m["response"]["id"]: m["response"]["status"] for m in wire.read() if m["type"] == "response.done"}
        assert statuses == {spoken: "cancelled", second: "completed"}

    in_studio(scene, chat=chat)


def test_the_end_of_the_conversation_ends_what_is_being_written() -> None:
    chat = ScriptedChatModel(Answer("never", first_token_delay_s=15.0))

    async def scene(studio: Studio) -> None:
        for _ in range(3):
            studio.conversation.create_aside(ABOUT)
        await studio.listen(1.0)
        studio.conversation.create_aside(ABOUT)
        await studio.conversation.aclose()
        studio.events += studio._listener.waiting()
        ended = studio.all(AsideEnded)
        assert [(one.status, one.reason) for one in ended] == [("cancelled", "ended")] * 4
        assert studio.kinds.index("ConversationEnded") > max(i for i, k in enumerate(studio.kinds) if k == "AsideEnded")
        assert [call.ended for call in chat.calls] == ["closed"] * 4
        with pytest.raises(ConversationClosedError):
            studio.conversation.create_aside(ABOUT)

    in_studio(scene, chat=chat)


def test_so_does_its_breakdown() -> None:
    async def scene(studio: Studio) -> None:
        first = studio.conversation.create_aside(ABOUT)
        await studio.listen(0.5)
        await stt.opened[0].aclose()  # the recogniser is gone: fatal
        second = studio.conversation.create_aside(ABOUT)
        await studio.listen(0.2)
        assert {one.response_id for one in studio.all(AsideEnded)} == {first, second}
        assert studio.one(ConversationEnded).reason == "failed"

    stt = ScriptedSpeechToText(QUESTION)
    in_studio(scene, chat=ScriptedChatModel(Answer("never", first_token_delay_s=15.0)), stt=stt)


def test_a_model_that_fails_for_it_is_no_trouble_of_the_talk() -> None:
    broken = Answer("", error=ChatModelError("The key is wrong.", code="llm_auth", retryable=False))

    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        failed = studio.conversation.create_aside(ABOUT)
        await studio.listen(1.0)
        (done,) = [m["response"] for m in of_response(wire.read(), failed) if m["type"] == "response.done"]
        details = {"type": "server_error", "code": "llm_auth", "message": "The key is wrong."}
        assert done["status_details"] == {"type": "failed", "error": details}
        assert done["output"] == []
        assert not studio.all(Trouble)
        studio.conversation.add_text(QUESTION, "user")
        studio.conversation.create_response()
        assert (await studio.listen_until(ResponseEnded)).text.endswith("Paris is the capital of France.")

    in_studio(scene, chat=ScriptedChatModel(two_voices(broken)))


def test_functions_named_for_it_may_be_called_and_stay_out_of_the_dialogue() -> None:
    call = ToolCall("call_1", "file_under", '{"topic": "geography"}')
    chat = ScriptedChatModel(two_voices(Answer("Filed.", calls=(call,))))
    tool = {"type": "function", "name": "file_under", "parameters": {"type": "object"}}

    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        choice = {"type": "function", "name": "file_under"}
        wire.send(type="response.create", response=written(instructions="File.", tools=[tool], tool_choice=choice))
        await studio.listen(1.0)
        messages = [m for m in wire.read() if m["type"].startswith("response.")]
        assert [m["type"] for m in messages] == [
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        text, called = messages[-1]["response"]["output"]
        assert text["content"] == [{"type": "output_text", "text": "Filed."}]
        assert (called["type"], called["call_id"], called["arguments"]) == ("function_call", "call_1", call.arguments)
        assert [m["output_index"] for m in messages if m["type"] == "response.output_item.done"] == [1, 0]
        (request,) = [call.request for call in chat.calls]
        assert ([tool.name for tool in request.tools], request.tool_choice) == (["file_under"], "file_under")
        output = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
        wire.send(type="conversation.item.create", item=output)
        assert wire.read()[-1]["error"]["code"] == "function_call_not_found"
        assert studio.conversation.transcript.items() == ()

    options = ConversationOptions(tools=(ToolDeclaration("weather", "", {"type": "object"}),))
    in_studio(scene, chat=chat, options=options)


def test_a_client_that_came_later_is_not_told_of_the_middle() -> None:
    call = Call()
    for event in (AsideText(1, "resp_x", "item_x", "words"), AsideCalled(2, "resp_x", "item_y", "c", "f", "{}")):
        call.codec.handle_event(event)
    call.codec.handle_event(AsideEnded(3, "resp_x", "item_x", "completed", "", "words", 0, 0))
    assert call.client.take() == []


# --- what cannot be had ---


@pytest.mark.parametrize(
    ("response", "param", "code"),
    [
        ({"output_modalities": ["audio"]}, "response.output_modalities", "invalid_value"),
        ({"output_modalities": ["audio", "text"]}, "response.output_modalities", "invalid_value"),
        ({"output_modalities": []}, "response.output_modalities", "invalid_value"),
        ({"audio": {"output": {"voice": "anna"}}}, "response.audio", "unsupported_parameter"),
        ({"prompt": {"id": "p"}}, "response.prompt", "unsupported_parameter"),
        ({"input": "hello"}, "response.input", "invalid_type"),
        ({"input": [5]}, "response.input[0]", "invalid_type"),
        ({"input": [message(), {"type": "function_call"}]}, "response.input[1].type", "unsupported_item_type"),
        ({"input": [{"type": "message"}]}, "response.input[0].role", "missing_required_parameter"),
        ({"input": [message("")]}, "response.input[0].content", "invalid_value"),
        ({"input": [message(kind="input_audio")]}, "response.input[0].content[0].type", "unsupported_content_type"),
        ({"input": [{"type": "item_reference"}]}, "response.input[0].id", "missing_required_parameter"),
        ({"input": [{"type": "item_reference", "id": "gone"}]}, "response.input[0].id", "item_not_found"),
        ({"tools": [{"type": "function"}]}, "response.tools[0].name", "missing_required_parameter"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "response.tool_choice.name", "invalid_value"),
        ({"metadata": {"k" * 65: "v"}}, "response.metadata", "invalid_value"),
        ({"max_output_tokens": 0}, "response.max_output_tokens", "invalid_value"),
    ],
)
def test_bad_wishes_name_the_parameter(response: dict[str, Any], param: str, code: str) -> None:
    call = Call()
    error = call.refused(type="response.create", response={"conversation": "none", **response})
    assert (error["param"], error["code"]) == (param, code)
    assert call.conversation.calls == []


@pytest.mark.parametrize("response", [{"input": [message()]}, {"output_modalities": ["text"]}])
def test_of_the_conversation_the_same_is_refused_with_a_way_out(response: dict[str, Any]) -> None:
    assert '"conversation": "none"' in Call().refused(type="response.create", response=response)["message"]


def test_wishes_reach_the_conversation() -> None:
    call = Call()
    call.conversation.transcript.add(Item("item_a", "user", "hi", "completed", "audio"))
    texts = [message("be strict", "system"), message("yes", "assistant", "output_text")]
    asked = {"conversation": "none", "input": [*texts, {"type": "item_reference", "id": "item_a"}]}
    assert call.send(type="response.create", response=asked) == []
    parts = (ChatMessage("system", "be strict"), ChatMessage("assistant", "yes"), ItemReference("item_a"))
    assert call.conversation.calls == [("create_aside", AsideOptions(None, parts))]
