"""Functions of the client in whole turns, in virtual time."""

from dataclasses import replace

import pytest

from kame_core.backend.base import ToolCall, ToolDeclaration
from kame_core.backend.tools import Toolbox
from kame_core.errors import InvalidRequestError
from kame_core.events import FunctionCalled, FunctionOutputAdded, PartialTranscript, ResponseEnded, ResponseStarted
from kame_core.options import ConversationOptions, ResponseOptions
from tests.support.chat import ScriptedChatModel
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

CLIENT = ConversationOptions(tools=(ToolDeclaration("weather", "Looks out.", SCHEMA),))


def test_a_call_of_the_client_closes_its_response_and_the_result_opens_the_next() -> None:
    signed = replace(WEATHER, extra={"google": {"thought_signature": "c2lnbmVk"}})
    chat = calling(signed, text="Let me look outside.")

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        first = await answered(studio)
        called = studio.one(FunctionCalled)
        assert (called.response_id, called.name, called.arguments) == (first.response_id, "weather", WEATHER.arguments)
        assert first.text.endswith("Let me look outside.")
        assert first.status == "completed"
        assert [call for call in chat.calls if not call.complete] == [], "nothing could be said from a partial"
        assert studio.all(PartialTranscript)
        await studio.listen(2.0)
        assert len(studio.all(ResponseStarted)) == 1
        studio.conversation.add_function_output("call_w", "sunny")
        studio.conversation.create_response()
        second = await answered(studio, 2)
        assert second.text == "It is sunny.", "no opener, for the words before covered the wait"
        assert studio.one(FunctionOutputAdded).previous_item_id == called.item_id
        roles = [message.role for message in chat.calls[-1].request.messages]
        assert roles == ["system", "user", "assistant", "tool"]
        assert chat.calls[-1].request.messages[2].content.endswith("Let me look outside.")
        assert chat.calls[-1].request.messages[2].tool_calls == (signed,)

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION), options=CLIENT)


def test_a_call_without_words_is_a_response_without_message() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await answered(studio)
        assert studio.one(ResponseStarted).speaks is False
        assert [type(event) for event in studio.events[studio.kinds.index("ResponseStarted") :]][:3] == [
            ResponseStarted,
            FunctionCalled,
            ResponseEnded,
        ]
        assert (ended.status, ended.text) == ("completed", "")
        kinds = [item.kind for item in studio.conversation.transcript.items()]
        assert kinds == ["message", "function_call"]

    options = ConversationOptions(tools=CLIENT.tools, opener=False)
    in_studio(scene, chat=calling(), stt=ScriptedSpeechToText(QUESTION), options=options)


def test_a_mixed_answer_runs_the_servers_tool_and_hands_out_the_clients() -> None:
    box = Toolbox()

    @box.tool("Tells the time.")
    async def clock() -> str:
        return "noon"

    chat = calling(WEATHER, ToolCall("call_t", "clock", "{}"))

    async def scene(studio: Studio) -> None:
        await type_and_ask(studio)
        await answered(studio)
        assert studio.one(FunctionCalled).name == "weather"
        studio.conversation.add_function_output("call_w", "sunny")
        studio.conversation.create_response()
        await answered(studio, 2)
        messages = chat.calls[-1].request.messages
        assert sorted(results_of(messages)) == ["noon", "sunny"]
        for place, message in enumerate(messages):
            if message.tool_calls:
                (call,) = message.tool_calls
                assert messages[place + 1].call_id == call.call_id, "every call is followed by its result"

    in_studio(scene, chat=chat, options=CLIENT, tools=box)


def test_a_promised_response_is_cancelled_with_the_one_before_it() -> None:
    words = "Let me look outside, which takes a moment because the window in Paris is very far away from here."
    chat = calling(text=words)

    async def scene(studio: Studio) -> None:
        await type_and_ask(studio)
        await studio.listen_until(FunctionCalled)
        studio.conversation.add_function_output("call_w", "sunny")
        promised = studio.conversation.create_response()
        with pytest.raises(InvalidRequestError):
            studio.conversation.create_response()
        studio.conversation.cancel_response()
        await studio.listen(0.1)
        first, second = studio.all(ResponseEnded)
        assert (first.status, second.status) == ("cancelled", "cancelled")
        assert second.response_id == promised
        await studio.listen(3.0)
        assert len(studio.all(ResponseStarted)) == 2

    in_studio(scene, chat=chat, options=CLIENT)


def test_tools_can_be_switched_off_and_demanded() -> None:
    chat = ScriptedChatModel(SUNNY)

    async def scene(studio: Studio) -> None:
        for count, choice in enumerate(("none", "weather", "required"), 1):
            studio.conversation.set_options(ConversationOptions(tools=CLIENT.tools, tool_choice=choice))
            await type_and_ask(studio)
            await answered(studio, count)
        asked = [(offered(call.request), call.request.tool_choice) for call in chat.calls]
        assert asked == [
            ([], "auto"),
            (["look", "weather"], "weather"),
            (["look", "weather"], "required"),
        ]

        studio.conversation.create_response(ResponseOptions(tool_choice="none"))
        await answered(studio, 4)
        assert offered(chat.calls[-1].request) == []
        studio.conversation.add_text(QUESTION, "user")
        own = ToolDeclaration("book", "Books a seat.", SCHEMA)
        studio.conversation.create_response(ResponseOptions(tools=(own,), tool_choice="book"))
        await answered(studio, 5)
        assert offered(chat.calls[-1].request) == ["look", "book"]
        assert chat.calls[-1].request.tool_choice == "book"
        await type_and_ask(studio)
        await answered(studio, 6)
        assert offered(chat.calls[-1].request) == ["look", "weather"]
        assert chat.calls[-1].request.tool_choice == "required", "that was for one response"

    box = Toolbox()
    box.tool("Looks.", name="look")(look)
    in_studio(scene, chat=chat, tools=box)
