"""The interpreter: two languages are heard, each is said again in the other, with a voice of that language."""

from itertools import groupby
from pathlib import Path

import pytest

from kame_core.backend.base import ChatRequest
from kame_core.backend.presets import direction, spoken_languages
from kame_core.events import FinalTranscript, ResponseEnded, Trouble
from kame_core.options import ConversationOptions
from kame_core.stt.languages import open_ear, tune
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.espeak_voices import Synthesised, synthesised
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.server import make_settings
from tests.support.speech import say
from tests.support.spelt_ear import SpeltSpeechToText
from tests.support.studio import Studio, in_studio

GERMAN, ENGLISH = "wo ist bitte der bahnhof", "where is the station please"
OPTIONS = ConversationOptions(preset="interpreter", language="en", second_language="de")


def translate(request: ChatRequest) -> Answer:
    """Says a station's whereabouts again in the other language."""
    german = request.messages[-1].content.startswith("wo")
    return Answer("Where is the station, please?" if german else "Wo ist bitte der Bahnhof?")


def said_in(said: list[Synthesised]) -> list[tuple[str, str]]:
    """What was said in one language after the other; the pieces in which a text is synthesised do not matter."""
    groups = groupby(said, lambda one: one.language)
    return [(language, " ".join(one.text for one in ones)) for language, ones in groups]


def test_what_two_people_speak() -> None:
    assert spoken_languages("interpreter", "en-GB", "de") == ("en-GB", "de")
    assert spoken_languages("interpreter", "en", "") == ("en", "es")
    assert spoken_languages("interpreter", "en", "en-GB") == ("en",), "there is nothing to translate"
    assert spoken_languages("assistant", "en", "de") == ("en",)


@pytest.mark.parametrize(
    ("text", "heard", "expected"),
    [
        (GERMAN, "", ("de-AT", "en")),
        (ENGLISH, "", ("en", "de-AT")),
        ("Berlin", "", None),
        ("Berlin", "de", ("de-AT", "en")),
        (ENGLISH, "de", ("de-AT", "en")),
        (ENGLISH, "fr", ("en", "de-AT")),
    ],
)
def test_the_recogniser_knows_best_which_way_to_translate(
    text: str, heard: str, expected: tuple[str, str] | None
) -> None:
    assert direction(("de-AT", "en"), text, heard) == expected
    assert direction(("de-AT",), text, heard) is None


@pytest.mark.parametrize("told", [("de", "en"), ("",)], ids=["language recognised", "told by the words"])
def test_each_language_is_answered_with_a_voice_of_the_other(told: tuple[str, ...]) -> None:
    stt = ScriptedSpeechToText(GERMAN, ENGLISH, spoken=told)
    chat = ScriptedChatModel(translate)

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        with synthesised() as said:
            await studio.say(say(GERMAN, "de"))
            ended = await studio.listen_until(ResponseEnded)
        assert ended.text == "Where is the station, please?"
        assert {one.language for one in said} == {"en"}
        assert "The last message is in German: say it in English." in chat.calls[-1].request.messages[0].content
        await studio.listen(0.5)
        with synthesised() as said:
            await studio.say(say(ENGLISH))
            ended = await studio.listen_until(ResponseEnded, count=2)
        assert ended.text == "Wo ist bitte der Bahnhof?"
        assert {one.language for one in said} == {"de"}
        assert "The last message is in English: say it in German." in chat.calls[-1].request.messages[0].content
        assert [final.language for final in studio.all(FinalTranscript)] == list((told * 2)[:2])
        assert [item.language for item in studio.conversation.transcript.items() if item.role == "user"] == list(
            (told * 2)[:2]
        )
        assert studio.all(Trouble) == []

    in_studio(scene, chat=chat, stt=stt, options=OPTIONS)
    assert stt.opened[0].expected == [("en", "de")]


def test_typed_words_are_told_apart_by_what_they_are() -> None:
    async def scene(studio: Studio) -> None:
        with synthesised() as said:
            for count, text in enumerate((GERMAN, ENGLISH), 1):
                studio.conversation.add_text(text, "user")
                studio.conversation.create_response()
                await studio.listen_until(ResponseEnded, count=count)
        assert said_in(said) == [("en", "Where is the station, please?"), ("de", "Wo ist bitte der Bahnhof?")]

    in_studio(scene, chat=ScriptedChatModel(translate), options=OPTIONS)


def test_an_answer_in_the_language_nobody_expected_is_not_read_with_the_wrong_voice() -> None:
    """The model answers a German sentence in German."""

    async def scene(studio: Studio) -> None:
        with synthesised() as said:
            studio.conversation.add_text(GERMAN, "user")
            studio.conversation.create_response()
            await studio.listen_until(ResponseEnded)
        assert said_in(said) == [("de", "Der Bahnhof ist gleich hier."), ("en", "It is over there.")]

    answer = Answer("Der Bahnhof ist gleich hier. It is over there.")
    in_studio(scene, chat=ScriptedChatModel(answer), options=OPTIONS)


class EnglishAndFrench(SpeltSpeechToText):
    """Hears what it knows, without being told what to expect."""

    languages = frozenset({"en", "fr"})


async def test_an_ear_that_cannot_choose_says_which_language_it_does_not_know(tmp_path: Path) -> None:
    stt = EnglishAndFrench(tmp_path)
    try:
        ear = await open_ear(stt, ("en-GB", "fr"))
        assert tune(stt, ear, ("en-GB", "fr")) is None
        told = tune(stt, ear, ("en-GB", "de"))
        assert told is not None
        assert (told.code, told.retryable) == ("language_not_heard", False)
        assert "does not understand German" in told.user_message
    finally:
        await stt.aclose()


@pytest.mark.parametrize(
    ("wanted", "english"),
    [({}, True), ({"preset": "interpreter"}, False), ({"second_language": "de"}, True), ({"language": "de"}, False)],
)
def test_an_interpreters_server_takes_a_whisper_model_of_many_languages(wanted: dict[str, str], english: bool) -> None:
    assert make_settings(**wanted).whisper_name.endswith(".en") is english


def test_a_conversation_that_becomes_an_interpreters_listens_for_both_languages() -> None:
    stt = ScriptedSpeechToText(ENGLISH)

    async def scene(studio: Studio) -> None:
        assert stt.opened[0].expected == []
        studio.conversation.set_options(OPTIONS)
        studio.conversation.set_options(OPTIONS)
        studio.conversation.set_options(ConversationOptions())
        assert stt.opened[0].expected == [("en", "de"), ("en",)]

    in_studio(scene, stt=stt)
