"""The toolbox, and the server's tools in whole turns, in virtual time: on partials, in trouble, under interruption."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from kame_core.backend.base import ToolCall
from kame_core.backend.tools import Toolbox, ToolError, checked_arguments
from kame_core.errors import InvalidRequestError
from kame_core.events import CandidateStarted, FunctionCalled, ResponseStarted, ResponseText, ToolFinished, ToolStarted
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio
from tests.support.weather_tool import (
    QUESTION,
    SCHEMA,
    SUNNY,
    WEATHER,
    answered,
    calling,
    look,
    offered,
    results_of,
    type_and_ask,
)

LOOKING = Answer("Let me look outside.", calls=(WEATHER,))


def toolbox(run: Callable[[str], Awaitable[object]], *, read_only: bool = False, deadline_s: float = 5.0) -> Toolbox:
    box = Toolbox()

    @box.tool("Looks out.", SCHEMA, read_only=read_only, deadline_s=deadline_s)
    async def weather(place: str) -> object:
        return await run(place)

    return box


# --- the toolbox ---


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"place": ', "no JSON"),
        ("[]", "JSON object"),
        ("{}", "place is missing"),
        ('{"place": 5}', "place must be of type string"),
        ('{"place": "x", "days": 1.5}', "days must be of type integer or null"),
        ('{"place": "x", "days": true}', "days must be of type integer or null"),
        ('{"place": "x", "unit": "kelvin"}', "one of celsius, fahrenheit"),
        ('{"place": "x", "colour": 1}', "no argument colour"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_arguments_are_held_against_the_schema(arguments: str, told: str) -> None:
    with pytest.raises(ToolError, match=told) as caught:
        checked_arguments(arguments, SCHEMA)
    assert caught.value.code == "tool_bad_arguments"


def test_right_arguments_pass() -> None:
    right = {"place": "x", "days": None, "unit": "celsius", "wind": True}
    assert checked_arguments(json.dumps(right), SCHEMA) == right
    assert checked_arguments("", {"type": "object"}) == {}


def test_what_cannot_be_a_tool_is_refused() -> None:
    box = Toolbox()

    def blocks() -> None: ...

    with pytest.raises(InvalidRequestError, match="async"):
        box.tool("Blocks.")(blocks)  # type: ignore[type-var]
    box.tool("Looks.", name="look")(look)
    with pytest.raises(InvalidRequestError, match="two tools called look"):
        box.tool("Looks again.", name="look")(look)


# --- tools of the server ---


def test_a_server_tool_runs_inside_its_response_and_is_remembered() -> None:
    chat = calling(text="Let me look outside.")

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await answered(studio)
        assert ended.text.endswith("Let me look outside. It is sunny.")
        assert len(studio.all(ResponseStarted)) == 1
        assert studio.one(ToolStarted).name == "weather"
        assert studio.one(ToolFinished).error is None
        assert not studio.all(FunctionCalled)
        (result,) = results_of(chat.calls[-1].request.messages)
        assert json.loads(result) == {"sky": "sunny", "place": "Paris"}
        await type_and_ask(studio, "thanks")
        await answered(studio, 2)
        roles = [message.role for message in chat.calls[-1].request.messages]
        assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION), tools=toolbox(look))


async def hang(place: str) -> object:
    await asyncio.sleep(600)
    return "late"


async def fail(place: str) -> object:
    raise RuntimeError("a secret")


async def refuse(place: str) -> object:
    raise ToolError("Nobody lives there.")


async def babble(place: str) -> object:
    return object()


async def flood(place: str) -> object:
    return "x" * 100_000


@pytest.mark.parametrize(
    ("run", "code", "told"),
    [
        (hang, "tool_timeout", "did not answer in time"),
        (fail, "tool_failed", "The tool weather failed."),
        (refuse, "tool_failed", "Nobody lives there."),
        (babble, "tool_bad_result", "cannot be read"),
        (flood, None, "(cut here)"),
    ],
)
def test_a_tool_in_trouble_is_told_to_the_model(
    run: Callable[[str], Awaitable[object]], code: str | None, told: str
) -> None:
    chat = calling()

    async def scene(studio: Studio) -> None:
        await type_and_ask(studio)
        ended = await answered(studio)
        assert ended.status == "completed"
        assert ended.text.endswith("It is sunny.")
        (result,) = results_of(chat.calls[-1].request.messages)
        assert told in result
        assert "secret" not in result
        assert len(result) < 9000
        error = studio.one(ToolFinished).error
        assert (error.code if error else None) == code

    in_studio(scene, chat=chat, tools=toolbox(run))


@pytest.mark.parametrize(
    ("call", "told"),
    [(ToolCall("c", "weather", "{}"), "place is missing"), (ToolCall("c", "destroy", "{}"), "no such tool")],
)
def test_a_nonsensical_call_runs_nothing(call: ToolCall, told: str) -> None:
    chat = calling(call)

    async def scene(studio: Studio) -> None:
        await type_and_ask(studio)
        assert (await answered(studio)).text.endswith("It is sunny.")
        assert told in results_of(chat.calls[-1].request.messages)[0]
        assert not studio.all(ToolStarted)

    in_studio(scene, chat=chat, tools=toolbox(look))


def test_a_model_that_calls_without_end_is_stopped_and_the_voice_answers_alone() -> None:
    chat = ScriptedChatModel(Answer("", calls=(WEATHER,)))

    async def scene(studio: Studio) -> None:
        await type_and_ask(studio)
        ended = await answered(studio)
        assert [call.request.tool_choice for call in chat.calls] == ["auto"] * 4 + ["none"]
        assert {event.origin for event in studio.all(ResponseText)} >= {"own"}
        assert ended.status == "completed"

    in_studio(scene, chat=chat, tools=toolbox(look))


def test_a_change_that_was_begun_is_finished_and_remembered_when_the_user_interrupts() -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def change(place: str) -> object:
        begun.set()
        await asyncio.sleep(2.0)
        done.set()
        return "changed"

    chat = ScriptedChatModel(lambda request: LOOKING if request.messages[-1].content == QUESTION else SUNNY)

    async def scene(studio: Studio) -> None:
        await type_and_ask(studio)
        await studio.listen(1.0)
        assert begun.is_set()
        studio.conversation.cancel_response()
        assert (await answered(studio)).status == "cancelled"
        assert not done.is_set()
        await studio.listen(2.5)
        assert done.is_set()
        await type_and_ask(studio, "and?")
        await answered(studio, 2)
        assert results_of(chat.calls[-1].request.messages) == ["changed"]

    in_studio(scene, chat=chat, tools=toolbox(change))


def test_a_question_asked_again_knows_what_was_done_for_it() -> None:
    """As after a cough that interrupted the answer before it said anything."""
    chat = ScriptedChatModel(
        lambda request: (
            Answer("", first_token_delay_s=9.0)
            if results_of(request.messages) and len(chat.calls) == 2
            else (SUNNY if results_of(request.messages) else Answer("", calls=(WEATHER,)))
        )
    )

    async def scene(studio: Studio) -> None:
        item_id = studio.conversation.add_text(QUESTION, "user")
        studio.conversation.create_response()
        await studio.listen_until(ToolFinished)
        studio.conversation._answering.stop()
        studio.conversation._answering.answer(item_id, QUESTION)
        await answered(studio)
        studio.one(ToolStarted)
        assert chat.calls[-1].request.messages[1].content == QUESTION
        assert len(results_of(chat.calls[-1].request.messages)) == 1

    in_studio(scene, chat=chat, tools=toolbox(look))


def test_the_end_of_a_conversation_does_not_wait_for_a_hanging_tool() -> None:
    async def scene(studio: Studio) -> None:
        await type_and_ask(studio)
        await studio.listen_until(ToolStarted)
        begin_s = studio.clock.now()
        await studio.conversation.aclose()
        assert studio.clock.now() - begin_s <= 4.0

    in_studio(scene, chat=calling(), tools=toolbox(hang, deadline_s=600))


def test_partials_get_read_only_tools_only_and_the_same_question_is_asked_once() -> None:
    ran: list[str] = []

    async def count(place: str) -> object:
        ran.append("look")
        return "sunny"

    box = toolbox(count, read_only=True)

    @box.tool("Changes the weather.")
    async def change() -> object:
        ran.append("change")
        return "done"

    chat = calling(WEATHER, ToolCall("call_c", "change", "{}"))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await answered(studio)
        assert ended.text.endswith("It is sunny.")
        partial = [call for call in chat.calls if not call.complete]
        assert partial
        assert all(offered(call.request) == ["weather"] for call in partial)
        assert any('{"error": "There is no such tool."}' in results_of(call.request.messages) for call in partial)
        (whole,) = (call for call in chat.calls if call.complete and not results_of(call.request.messages))
        assert offered(whole.request) == ["weather", "change"]
        assert sorted(ran) == ["change", "look"]

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION), tools=box)


def test_read_only_tools_alone_keep_the_answer_that_was_under_way() -> None:
    chat = ScriptedChatModel(Answer("It is sunny.", first_token_delay_s=0.6))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        await answered(studio)
        assert [started.partial for started in studio.all(CandidateStarted)].count(QUESTION) == 1

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION), tools=toolbox(look, read_only=True))
