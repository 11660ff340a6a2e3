"""Whole turns in virtual time: opener, oracle, barge-in, backchannel, modes, trouble."""

import asyncio

import numpy as np
import pytest

from kame_core.audio import silence
from kame_core.backend.base import ChatRequest
from kame_core.errors import ChatModelError
from kame_core.events import (
    CandidateStarted,
    Ducked,
    FinalTranscript,
    PartialTranscript,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    Restored,
    SpeechStarted,
    SpeechStopped,
    Trouble,
    TurnTiming,
    UserTurnCommitted,
    UserTurnDropped,
    VoiceStarted,
)
from kame_core.options import ConversationOptions, Mode, TurnDetection
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

QUESTION = "what is the capital of france"


def spoken_text(studio: Studio, response_id: str, origin: str | None = None) -> str:
    return "".join(
        event.delta
        for event in studio.all(ResponseText)
        if event.response_id == response_id and origin in (None, event.origin)
    ).strip()


def test_a_question_is_answered_with_an_opener_at_once_and_then_with_knowledge() -> None:
    chat = ScriptedChatModel(Answer("Paris is the capital of France.", first_token_delay_s=1.2))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await studio.listen_until(ResponseEnded)
        timing = studio.one(TurnTiming)
        assert ended.status == "completed"
        assert spoken_text(studio, ended.response_id, "oracle") == "Paris is the capital of France."
        assert len(spoken_text(studio, ended.response_id, "opener").split()) in (1, 2, 3)
        assert ended.text == ended.generated
        assert timing.first_audio_ms is not None
        assert timing.first_audio_ms <= 450
        assert timing.first_oracle_audio_ms is not None
        assert timing.first_token_ms is not None
        assert 0 < timing.first_oracle_audio_ms - timing.first_token_ms <= 350
        assert studio.one(FinalTranscript).text == QUESTION
        order = [SpeechStarted, UserTurnCommitted, ResponseStarted, VoiceStarted, SpeechStopped, FinalTranscript]
        places = [studio.kinds.index(kind.__name__) for kind in order]
        assert places == sorted(places)
        history = [(item.role, item.text) for item in studio.conversation.transcript.items()]
        assert history == [("user", QUESTION), ("assistant", ended.text)]

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION))


def test_no_opener_when_the_oracle_is_there_already_and_nothing_is_asked_twice() -> None:
    chat = ScriptedChatModel(Answer("Paris is the capital of France.", first_token_delay_s=0.05))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION, rate=110))
        ended = await studio.listen_until(ResponseEnded)
        assert spoken_text(studio, ended.response_id) == "Paris is the capital of France."
        asked = [started.partial for started in studio.all(CandidateStarted)]
        assert asked.count(QUESTION) == 1
        timing = studio.one(TurnTiming)
        assert timing.first_oracle_audio_ms is not None
        assert timing.first_oracle_audio_ms <= 550

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION, word_s=0.18))


def test_openers_can_be_switched_off() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await studio.listen_until(ResponseEnded)
        assert spoken_text(studio, ended.response_id) == "Paris is the capital of France."

    in_studio(
        scene,
        chat=ScriptedChatModel(Answer(first_token_delay_s=1.0)),
        stt=ScriptedSpeechToText(QUESTION),
        options=ConversationOptions(opener=False),
    )


def test_going_on_after_the_opener_makes_it_a_backchannel() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("what is two plus three"))
        await studio.listen(0.3)
        await studio.say(say("and then times four"))
        ended = await studio.listen_until(ResponseEnded, count=2)
        first, last = studio.all(ResponseEnded)
        assert (first.status, first.reason) == ("cancelled", "turn_detected")
        assert len(first.generated.split()) <= 3
        assert last is ended
        assert ended.status == "completed"
        assert spoken_text(studio, ended.response_id, "oracle") == "Paris is the capital of France."
        assert len(studio.all(SpeechStarted)) == 1
        assert studio.one(FinalTranscript).text == "what is two plus three and then times four"
        assert studio.one(UserTurnCommitted).item_id == studio.one(FinalTranscript).item_id

    in_studio(
        scene,
        chat=ScriptedChatModel(Answer(first_token_delay_s=0.8)),
        stt=ScriptedSpeechToText("what is two plus three and then times four", word_s=0.25),
    )


LONG = (
    "There are seven continents and five oceans, and the largest of them all is the Pacific, which covers "
    "about one third of the surface of the Earth, more than all the land together."
)


def test_barge_in_cuts_the_voice_and_keeps_only_what_was_heard() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("tell me about the earth"))
        await studio.listen_until(ResponseText, count=8)
        await studio.listen(0.5)
        loud = studio.level_at(studio.conversation.now_ms() - 400, studio.conversation.now_ms())
        began_ms = studio.conversation.now_ms()
        await studio.say(say("what about the moon then"))
        await studio.listen(0.2)
        first = next(event for event in studio.all(ResponseEnded) if event.generated.startswith(("There", "Sure")))
        assert (first.status, first.reason) == ("cancelled", "turn_detected")
        ducked = studio.one(Ducked)
        assert ducked.at_ms - began_ms <= 300
        assert studio.level_at(ducked.at_ms + 60, ducked.at_ms + 200) <= loud - 12
        assert first.at_ms - began_ms <= 900
        assert 0 < len(first.text) < len(first.generated) < len(LONG) + 40
        assert first.generated.startswith(first.text)
        assert studio.level_at(first.at_ms + 40, first.at_ms + 200) == -120.0
        await studio.listen_until(ResponseEnded, count=len(studio.all(ResponseEnded)) + 1)
        roles = [item.role for item in studio.conversation.transcript.items()]
        assert roles[:2] == ["user", "assistant"]
        assert studio.conversation.transcript.items()[1].text == first.text

    def answer(request: ChatRequest) -> Answer:
        moon = "moon" in request.messages[-1].content
        return Answer("The moon is small." if moon else LONG, first_token_delay_s=0.3)

    in_studio(
        scene,
        chat=ScriptedChatModel(answer),
        stt=ScriptedSpeechToText("tell me about the earth", "what about the moon then", word_s=0.22),
    )


@pytest.mark.parametrize("understood", ["mm-hm", ""])
def test_a_backchannel_lowers_the_voice_and_gives_it_back(understood: str) -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("tell me about the earth"))
        await studio.listen_until(ResponseText, count=8)
        await studio.listen(0.5)
        began_ms = studio.conversation.now_ms()
        await studio.say(say("aha"))
        ended = await studio.listen_until(ResponseEnded, deadline_s=25)
        assert ended.status == "completed"
        assert ended.text.endswith("all the land together.")
        restored = studio.one(Restored)
        assert restored.at_ms - began_ms <= 900
        assert studio.one(UserTurnDropped).kind == "backchannel"
        assert studio.level_at(restored.at_ms + 250, restored.at_ms + 650) > -35
        assert len(studio.all(SpeechStarted)) == 1

    in_studio(
        scene,
        chat=ScriptedChatModel(Answer(LONG, first_token_delay_s=0.3)),
        stt=ScriptedSpeechToText("tell me about the earth", understood),
    )


def test_a_dead_back_end_is_told_and_the_front_end_still_answers() -> None:
    broken = ChatModelError("The language model did not answer.", code="llm_timeout")
    chat = ScriptedChatModel(Answer("", first_token_delay_s=2.0, error=broken, finish=None))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await studio.listen_until(ResponseEnded)
        assert ended.status == "completed"
        assert spoken_text(studio, ended.response_id, "own")
        assert {trouble.error.code for trouble in studio.all(Trouble)} == {"llm_timeout"}
        assert studio.one(TurnTiming).first_audio_ms is not None

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION))


def test_direct_answers_alone_and_asks_nobody() -> None:
    chat = ScriptedChatModel()

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await studio.listen_until(ResponseEnded)
        assert ended.status == "completed"
        assert spoken_text(studio, ended.response_id, "own")
        assert studio.all(PartialTranscript)
        assert chat.calls == []

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION), options=ConversationOptions(mode=Mode.DIRECT))


def test_cascaded_waits_for_everything() -> None:
    chat = ScriptedChatModel(Answer("Paris is the capital. It lies on the Seine.", token_delay_s=0.2))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await studio.listen_until(ResponseEnded)
        assert ended.text == "Paris is the capital. It lies on the Seine."
        assert [call.text for call in chat.calls] == [QUESTION]
        timing = studio.one(TurnTiming)
        assert timing.first_audio_ms == timing.first_oracle_audio_ms
        assert timing.first_audio_ms is not None
        assert timing.first_token_ms is not None
        assert timing.first_audio_ms >= timing.first_token_ms + 600  # the first sentence came whole

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION), options=ConversationOptions(mode=Mode.CASCADED))


def test_a_newer_reading_of_the_whole_turn_is_what_gets_answered() -> None:
    """A slow candidate for half a question is not spoken once the whole question was asked."""

    def answer(request: ChatRequest) -> Answer:
        whole = "capital of france" in request.messages[-1].content
        return Answer("Paris it is." if whole else "Which one do you mean.", first_token_delay_s=0.9)

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await studio.listen_until(ResponseEnded)
        assert spoken_text(studio, ended.response_id, "oracle") == "Paris it is."

    in_studio(scene, chat=ScriptedChatModel(answer), stt=ScriptedSpeechToText(QUESTION))


def test_a_cough_is_no_turn() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("ah")[:4000])
        await studio.listen(2.5)
        assert not studio.all(ResponseStarted)
        assert not studio.all(FinalTranscript)
        assert all(event.kind == "false_interruption" for event in studio.all(UserTurnDropped))

    in_studio(scene, stt=ScriptedSpeechToText(""))


def test_typed_text_is_answered_on_demand() -> None:
    chat = ScriptedChatModel(Answer("Five."))

    async def scene(studio: Studio) -> None:
        studio.conversation.add_text("what is two plus three", "user")
        response_id = studio.conversation.create_response()
        ended = await studio.listen_until(ResponseEnded)
        assert ended.response_id == response_id
        assert ended.status == "completed"
        assert spoken_text(studio, response_id, "oracle") == "Five."
        assert [call.text for call in chat.calls] == ["what is two plus three"]

    in_studio(scene, chat=chat)


def test_the_client_can_stop_the_voice() -> None:
    async def scene(studio: Studio) -> None:
        studio.conversation.add_text("tell me about the earth", "user")
        response_id = studio.conversation.create_response()
        await studio.listen_until(ResponseText, count=6)
        assert studio.conversation.clear_voice() == response_id
        await studio.listen(0.5)
        ended = studio.one(ResponseEnded)
        assert (ended.status, ended.reason) == ("cancelled", "client_cancelled")
        assert studio.level_at(ended.at_ms + 40, ended.at_ms + 400) == -120.0
        assert studio.conversation.clear_voice() is None

    in_studio(scene, chat=ScriptedChatModel(Answer(LONG)))


def test_push_to_talk_answers_on_commit_only() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        await studio.listen(3.0)
        assert not studio.all(ResponseStarted)
        studio.conversation.commit_input()
        ended = await studio.listen_until(FinalTranscript)
        assert ended.text == QUESTION

    in_studio(scene, stt=ScriptedSpeechToText(QUESTION), options=ConversationOptions(turn_detection=None))


def test_without_create_response_a_turn_is_only_noted() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        await studio.listen_until(FinalTranscript)
        await studio.listen(2.0)
        assert not studio.all(ResponseStarted)

    detection = TurnDetection(create_response=False)
    in_studio(scene, stt=ScriptedSpeechToText(QUESTION), options=ConversationOptions(turn_detection=detection))


def test_a_microphone_that_falls_silent_altogether_still_ends_the_turn() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        await studio.send_nothing(4.0)  # replaceTrack(null)
        await studio.listen(0.1)
        assert studio.one(FinalTranscript).text == QUESTION
        assert studio.one(ResponseEnded).status == "completed"

    in_studio(scene, stt=ScriptedSpeechToText(QUESTION))


def test_a_crash_of_the_recogniser_is_told_and_the_talk_goes_on() -> None:
    stt = ScriptedSpeechToText(QUESTION)

    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        stt.opened[0].crash()
        await studio.listen(0.1)
        assert studio.one(Trouble).error.code == "stt_crashed"
        assert not studio.one(Trouble).fatal
        await studio.say(say(QUESTION))
        assert (await studio.listen_until(ResponseEnded)).status == "completed"

    in_studio(scene, stt=stt)


def test_two_conversations_share_nothing() -> None:
    def answer(request: ChatRequest) -> Answer:
        text = " ".join(message.content for message in request.messages)
        return Answer("Alpha it is." if "alpha" in text else "Beta it is.")

    async def scene(studio: Studio) -> None:
        other = Studio(await studio.registry.open(ConversationOptions()), studio.registry, studio.clock)
        studio.conversation.add_text("say alpha", "user")
        other.conversation.add_text("say beta", "user")
        studio.conversation.create_response()
        other.conversation.create_response()
        await asyncio.gather(studio.listen(6.0), other.listen(6.0))
        assert "Alpha" in studio.one(ResponseEnded).text
        assert "Beta" in other.one(ResponseEnded).text
        assert not any("Beta" in item.text for item in studio.conversation.transcript.items())

    in_studio(scene, chat=ScriptedChatModel(answer))


def test_long_silence_costs_nothing_and_stays_silent() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(120.0)
        assert studio.events == []
        assert not np.any(np.concatenate(studio.heard))
        await studio.say(silence(100))

    in_studio(scene)
