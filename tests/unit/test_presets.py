"""What each preset tells the model, and what it changes in a talk."""

import pytest

from kame_core.backend.base import ChatMessage
from kame_core.backend.presets import MAX_KNOWLEDGE_CHARS, PRESETS, listed, other_language, preset_of
from kame_core.backend.prompt import PromptContext, build_messages
from kame_core.events import ResponseEnded, ResponseText
from kame_core.options import ConversationOptions
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio


def system_of(context: PromptContext, *, complete: bool = True) -> str:
    return build_messages(context, "hello", complete)[0].content


def test_there_are_four_and_the_assistant_is_what_nobody_chose() -> None:
    assert list(PRESETS) == ["assistant", "interpreter", "tutor", "customer_service"]
    assert preset_of("").name == preset_of("pirate").name == "assistant"
    assert [preset["id"] for preset in listed()] == list(PRESETS)
    assert all(preset["name"] and preset["note"] for preset in listed())


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("complete", [True, False])
def test_every_preset_asks_for_speech_and_says_how_far_the_user_is(name: str, complete: bool) -> None:
    system = system_of(PromptContext(preset=name, instructions="Be kind."), complete=complete)
    for told in ("read out loud", "no lists", "Be kind.", "finished speaking" if complete else "still speaking"):
        assert told in system
    assert "{" not in system


def test_the_interpreter_translates_between_its_languages_and_answers_nothing() -> None:
    system = system_of(PromptContext(preset="interpreter", language="de-AT", second_language="fr"))
    assert "What is said in German you say in French" in system
    assert "what is said in French you say in German" in system
    assert "Translate the last message." in system
    for contrary in ("Answer the last message", "thirty words", "Speak German"):
        assert contrary not in system
    assert "Foresee" not in system_of(PromptContext(preset="interpreter"), complete=False)


@pytest.mark.parametrize(
    ("language", "second", "expected"), [("en", "", "es"), ("en-GB", "ja", "ja"), ("de", "", "en"), ("", "", "es")]
)
def test_the_second_of_two_languages(language: str, second: str, expected: str) -> None:
    assert other_language(language, second) == expected


def test_customer_service_answers_from_its_text() -> None:
    context = PromptContext(preset="customer_service", knowledge=" Open from nine to five. ", context="Looks at shoes.")
    system = system_of(context)
    assert "The text to answer from:\nOpen from nine to five.\n" in system
    assert "What is known of the user's situation:\nLooks at shoes.\n" in system
    assert "never from elsewhere" in system
    assert "situation" not in system_of(PromptContext(knowledge=" ", context=" "))


def test_a_long_text_leaves_room_for_the_talk() -> None:
    history = tuple(
        message
        for number in range(40)
        for message in (ChatMessage("user", f"Question {number}."), ChatMessage("assistant", "x" * 80))
    )
    context = PromptContext(preset="customer_service", knowledge="y" * MAX_KNOWLEDGE_CHARS, history=history)
    messages = build_messages(context, "And now?", True)
    assert len(messages[0].content) > MAX_KNOWLEDGE_CHARS
    talk = sum(len(message.content) for message in messages[1:])
    assert 1000 < talk <= 2000
    assert messages[-1].content == "And now?"


def test_an_interpreter_says_nothing_of_its_own() -> None:
    question = "where is the station please"
    chat = ScriptedChatModel(Answer("Donde esta la estacion.", first_token_delay_s=1.0))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(question))
        ended = await studio.listen_until(ResponseEnded)
        assert ended.text == "Donde esta la estacion."
        assert {event.origin for event in studio.all(ResponseText)} == {"oracle"}
        assert "you say in Spanish" in chat.calls[-1].request.messages[0].content

    options = ConversationOptions(preset="interpreter", second_language="es")
    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(question), options=options)


def test_the_longest_answer_is_what_the_session_says() -> None:
    chat = ScriptedChatModel(Answer("Fine."))

    async def scene(studio: Studio) -> None:
        studio.conversation.add_text("how are you", "user")
        studio.conversation.create_response()
        await studio.listen_until(ResponseEnded)
        assert chat.calls[-1].request.max_tokens == 77

    in_studio(scene, chat=chat, options=ConversationOptions(max_output_tokens=77))
