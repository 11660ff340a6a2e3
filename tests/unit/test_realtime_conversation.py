"""The codec over the real conversation in virtual time: what a client sees of whole turns, every message checked."""

from typing import Any

from kame_core.events import FinalTranscript, ResponseEnded, ResponseText
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio
from tests.support.studio_wire import Wire

QUESTION = "what is the capital of france"


def kinds(messages: list[dict[str, Any]], prefix: str) -> list[str]:
    return [message["type"] for message in messages if message["type"].startswith(prefix)]


def of(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == kind]


def check_pairs(messages: list[dict[str, Any]]) -> None:
    """Whatever is opened is closed once, in order, and every item is added before it is spoken of."""
    added: set[str] = set()
    open_responses: set[str] = set()
    speaking: set[str] = set()
    for message in messages:
        match message["type"]:
            case "conversation.item.added":
                assert message["item"]["id"] not in added
                assert message.get("previous_item_id", "none") in added | {"none", None}
                added.add(message["item"]["id"])
            case "conversation.item.done" | "response.output_item.done":
                assert message["item"]["id"] in added
            case "conversation.item.input_audio_transcription.completed" | "conversation.item.truncated":
                assert message["item_id"] in added
            case "response.created":
                open_responses.add(message["response"]["id"])
            case "response.done":
                open_responses.remove(message["response"]["id"])
            case "input_audio_buffer.speech_started":
                speaking.add(message["item_id"])
            case "input_audio_buffer.speech_stopped":
                speaking.remove(message["item_id"])
    assert not open_responses
    assert not speaking


def test_spoken_question() -> None:
    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await studio.listen_until(ResponseEnded)
        await studio.listen(0.5)
        messages = wire.read()
        check_pairs(messages)
        (completed,) = of(messages, "conversation.item.input_audio_transcription.completed")
        assert completed["transcript"] == QUESTION
        deltas = of(messages, "conversation.item.input_audio_transcription.delta")
        assert "".join(delta["delta"] for delta in deltas) == QUESTION
        assert kinds(messages, "output_audio_buffer") == ["output_audio_buffer.started", "output_audio_buffer.stopped"]
        (done,) = of(messages, "response.done")
        assert done["response"]["status"] == "completed"
        assert done["response"]["output"][0]["content"][0]["transcript"] == ended.text
        spoken = of(messages, "response.output_audio_transcript.delta")
        assert "".join(delta["delta"] for delta in spoken).strip() == ended.text
        assert {word["origin"] for word in of(messages, "kame.spoken")} == {"opener", "oracle"}
        assert of(messages, "kame.candidate.adopted")
        (timing,) = of(messages, "kame.turn.timing")
        assert timing["response_id"] == done["response"]["id"]
        (user_item, agent_item) = of(messages, "conversation.item.added")
        assert user_item["previous_item_id"] is None
        assert agent_item["previous_item_id"] == user_item["item"]["id"]
        wire.send(type="conversation.item.retrieve", item_id=user_item["item"]["id"])
        (retrieved,) = wire.read()
        assert retrieved["item"]["content"] == [{"type": "input_audio", "transcript": QUESTION}]

    in_studio(
        scene,
        chat=ScriptedChatModel(Answer("Paris is the capital of France.", first_token_delay_s=1.2)),
        stt=ScriptedSpeechToText(QUESTION),
    )


def test_typed_question_and_cancel() -> None:
    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}
        wire.send(type="conversation.item.create", item={**message, "id": "mine"})
        wire.send(type="response.create", response={"metadata": {"try": "1"}})
        wire.send(type="response.create", event_id="second")
        await studio.listen_until(ResponseText, count=3)
        wire.send(type="response.cancel")
        wire.send(type="output_audio_buffer.clear")
        await studio.listen(0.5)
        messages = wire.read()
        check_pairs(messages)
        (error,) = of(messages, "error")
        assert error["error"]["event_id"] == "second"
        assert error["error"]["code"] == "conversation_already_has_active_response"
        (done,) = of(messages, "response.done")
        assert done["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert done["response"]["metadata"] == {"try": "1"}
        assert len(done["response"]["output"][0]["content"][0]["transcript"]) < len(
            done["response"]["kame"]["generated"]
        )
        assert kinds(messages, "output_audio_buffer") == ["output_audio_buffer.started", "output_audio_buffer.cleared"]
        (truncated,) = of(messages, "conversation.item.truncated")
        assert 0 < truncated["audio_end_ms"] < 5000
        wire.send(type="conversation.item.delete", item_id="mine")
        (deleted,) = wire.read()
        assert (deleted["type"], deleted["item_id"]) == ("conversation.item.deleted", "mine")

    long_answer = "Paris is the capital of France, and it lies on the Seine, where it has been for a very long time."
    in_studio(scene, chat=ScriptedChatModel(Answer(long_answer, first_token_delay_s=0.3)))


def test_clearing_the_voice_alone_ends_the_response() -> None:
    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        wire.send(type="response.create", response={"instructions": "Count to a hundred."})
        await studio.listen_until(ResponseText, count=3)
        wire.send(type="output_audio_buffer.clear")
        await studio.listen(0.2)
        messages = wire.read()
        check_pairs(messages)
        (done,) = of(messages, "response.done")
        assert done["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert kinds(messages, "output_audio_buffer") == ["output_audio_buffer.started", "output_audio_buffer.cleared"]
        before = len(studio.heard)
        await studio.listen(3.0)
        assert max(float(abs(piece).max()) for piece in studio.heard[before:]) == 0.0
        assert of(wire.read(), "response.created") == []

    in_studio(scene, chat=ScriptedChatModel(Answer("One, two, three, four, five, six, seven, eight, nine, ten.")))


def test_user_who_goes_on_after_the_opener() -> None:
    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        await studio.listen(0.5)
        await studio.say(say("what is two plus three"))
        await studio.listen(0.3)
        await studio.say(say("and then times four"))
        await studio.listen_until(FinalTranscript)
        await studio.listen_until(ResponseEnded, count=2)
        await studio.listen(0.5)
        messages = wire.read()
        check_pairs(messages)
        first, last = (message["response"] for message in of(messages, "response.done"))
        assert first["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        assert last["status"] == "completed"

    in_studio(
        scene,
        chat=ScriptedChatModel(Answer("Twenty.", first_token_delay_s=0.4)),
        stt=ScriptedSpeechToText("what is two plus three and then times four"),
    )


def test_push_to_talk() -> None:
    async def scene(studio: Studio) -> None:
        wire = Wire(studio)
        wire.send(type="session.update", session={"audio": {"input": {"turn_detection": None}}})
        wire.send(type="input_audio_buffer.commit", event_id="too soon")
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        await studio.listen(2.0)
        assert of(wire.read(), "response.created") == []
        wire.send(type="input_audio_buffer.commit")
        await studio.listen_until(FinalTranscript)
        wire.send(type="response.create")
        ended = await studio.listen_until(ResponseEnded)
        await studio.listen(0.5)
        wire.read()
        check_pairs(wire.seen)
        assert [error["error"]["code"] for error in of(wire.seen, "error")] == ["input_audio_buffer_commit_empty"]
        assert of(wire.seen, "response.done")[0]["response"]["id"] == ended.response_id
        assert len(of(wire.seen, "input_audio_buffer.committed")) == 1

    in_studio(scene, chat=ScriptedChatModel(Answer("Paris.")), stt=ScriptedSpeechToText(QUESTION))
