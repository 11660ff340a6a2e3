"""The interpreter through the real server: sound in, a real LLM server behind it, voices of both languages out."""

from kame_core.languages import language_of
from tests.support.espeak_voices import synthesised
from tests.support.openai_server import Messages, OpenAIServer
from tests.support.scripted_ear import ScriptedEar
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.server import running_server
from tests.support.speech import say
from tests.support.ws_client import WsClient

GERMAN, ENGLISH = "wo ist bitte der bahnhof", "where is the station please"


def translate(messages: Messages) -> str:
    """Does as the system message says."""
    assert "interpreter between two people" in messages[0]["content"]
    into_english = language_of(messages[-1]["content"], ("de", "en")) == "de"
    assert ("in German: say it in English" if into_english else "in English: say it in German") in messages[0][
        "content"
    ]
    return "Where is the station, please?" if into_english else "Wo ist bitte der Bahnhof?"


async def test_either_language_is_answered_in_the_other_with_its_voice() -> None:
    ear = ScriptedEar(ScriptedSpeechToText(GERMAN, ENGLISH, spoken=("de", "en")))
    async with (
        OpenAIServer(translate) as llm,
        running_server(loaders=ear, llm="openai", openai_base_url=llm.base_url) as server,
        WsClient() as client,
    ):
        await client.connect(server.base_url)
        await client.event("session.created")
        kame = {"preset": "interpreter", "language": "en", "second_language": "de"}
        await client.send({"type": "session.update", "session": {"type": "realtime", "kame": kame}})
        await client.event("session.updated")
        for question, asked_in, answer, spoken_in in (
            (say(GERMAN, "de"), "de", "Where is the station, please?", "en"),
            (say(ENGLISH), "en", "Wo ist bitte der Bahnhof?", "de"),
        ):
            seen = len(client.events)
            with synthesised() as said:
                client.say(question)
                language = await client.event("kame.turn.language", 10, after=seen)
                done = await client.event("response.done", 10, after=seen)
            assert language["language"] == asked_in
            assert done["response"]["output"][0]["content"][0]["transcript"] == answer
            assert {one.language for one in said} == {spoken_in}
        assert not [event for event in client.events if event["type"] in ("kame.trouble", "error")]
        assert client.line.any()


async def test_what_the_ear_does_not_hear_is_said_before_the_servers_greeting_is() -> None:
    """The ear is the embedded one, which knows English."""
    greeting = "Good morning, Acme here."
    async with running_server(preset="interpreter", second_language="de", greeting=greeting) as server:
        async with WsClient() as client:
            await client.connect(server.base_url)
            assert (await client.event("session.created"))["session"]["kame"]["greeting"] == greeting
            trouble = await client.event("kame.trouble")
            assert (trouble["code"], trouble["fatal"]) == ("language_not_heard", False)
            assert "(pocketsphinx) does not understand German" in trouble["message"]
            assert "Whisper" in trouble["message"]
            done = await client.event("response.done", 10)
            assert done["response"]["output"][0]["content"][0]["transcript"] == greeting
            assert client.kinds.index("kame.trouble") < client.kinds.index("response.created")
        async with WsClient() as client:
            await client.connect(server.base_url)
            await client.send({"type": "session.update", "session": {"type": "realtime", "kame": {"greeting": ""}}})
            assert (await client.event("session.updated"))["session"]["kame"]["greeting"] == ""
