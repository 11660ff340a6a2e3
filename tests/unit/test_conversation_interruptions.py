"""Whole turns in virtual time: the user goes on, speaks over the agent, makes a noise."""

from dataclasses import replace

import numpy as np
import pytest

from kame_core.audio import FRAME_SAMPLES
from kame_core.backend.base import ChatRequest
from kame_core.errors import InvalidRequestError
from kame_core.events import (
    Ducked,
    FinalTranscript,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    Restored,
    SpeechStarted,
    UserTurnCommitted,
    UserTurnDropped,
    VoiceStarted,
)
from kame_core.frontend.base import Floor, SlotOutput, SpeechOrigin
from kame_core.options import ConversationOptions, TurnDetection
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scenes import LONG, QUESTION, about, at_rest, spoken_text
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

POLITE = ConversationOptions(turn_detection=TurnDetection(interrupt_response=False))


def test_going_on_after_the_opener_makes_it_a_backchannel() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("my garden is rather small"))
        await studio.listen(0.1)
        await studio.say(say("and full of roses"))
        ended = await studio.listen_until(ResponseEnded, count=2)
        first, last = studio.all(ResponseEnded)
        assert (first.status, first.reason) == ("cancelled", "turn_detected")
        assert len(first.generated.split()) <= 3
        assert last is ended
        assert ended.status == "completed"
        assert spoken_text(studio, ended.response_id, "oracle") == "Paris is the capital of France."
        assert len(studio.all(SpeechStarted)) == 1
        assert studio.one(FinalTranscript).text == "my garden is rather small and full of roses"
        assert studio.one(UserTurnCommitted).item_id == studio.one(FinalTranscript).item_id

    in_studio(
        scene,
        chat=ScriptedChatModel(Answer(first_token_delay_s=0.8)),
        stt=ScriptedSpeechToText("my garden is rather small and full of roses", word_s=0.3),
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
        assert 0 < len(first.text) <= len(first.generated) < len(LONG)
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


def test_a_cough_is_no_turn() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("ah")[:4000])
        await studio.listen(2.5)
        assert not studio.all(ResponseStarted)
        assert not studio.all(FinalTranscript)
        assert all(event.kind == "false_interruption" for event in studio.all(UserTurnDropped))

    in_studio(scene, stt=ScriptedSpeechToText(""))


def test_where_the_agent_is_not_interrupted_a_question_over_it_is_answered_after_it() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("tell me about the earth"))
        await studio.listen_until(ResponseText, count=8)
        await studio.say(say(QUESTION))
        first = await studio.listen_until(ResponseEnded, 30.0)
        second = await studio.listen_until(ResponseEnded, count=2)
        assert first.status == second.status == "completed"
        assert first.text.endswith("all the land together.")
        assert spoken_text(studio, second.response_id, "oracle") == "Paris it is."
        assert not studio.all(Ducked)
        roles = [item.role for item in studio.conversation.transcript.items()]
        assert roles == ["user", "assistant", "user", "assistant"]
        await studio.listen(1.0)
        assert at_rest(studio)

    chat = about("france", "Paris it is.", LONG)
    stt = ScriptedSpeechToText("tell me about the earth", QUESTION)
    in_studio(scene, chat=chat, stt=stt, options=POLITE)


def test_where_the_agent_is_not_interrupted_its_answer_may_begin_while_the_user_asks_on() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        await studio.listen_until(FinalTranscript)
        await studio.say(say("and what is the capital of spain then"))
        assert len(studio.all(UserTurnCommitted)) == 1
        await studio.listen_until(ResponseEnded, count=2)
        said = [(item.role, item.text) for item in studio.conversation.transcript.items()]
        assert [role for role, _ in said] == ["user", "assistant"] * 2
        assert said[1][1] == "Paris."
        assert [message.content for message in chat.calls[-1].request.messages[1:]] == [text for _, text in said[:3]]

    chat = about("spain", "Madrid.", "Paris.", first_token_delay_s=1.2)
    stt = ScriptedSpeechToText(QUESTION, "and what is the capital of spain then")
    in_studio(scene, chat=chat, stt=stt, options=replace(POLITE, opener=False))


def test_a_turn_that_waits_is_answered_once_where_the_client_asks_for_its_answer() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        await studio.listen_until(FinalTranscript)
        await studio.say(say("and of spain"))
        await studio.listen_until(FinalTranscript, count=2)
        studio.conversation.create_response()
        ended = await studio.listen_until(ResponseEnded)
        assert ended.text == "Madrid."
        await studio.listen(1.5)
        assert len(studio.all(ResponseStarted)) == 1

    def answer(request: ChatRequest) -> Answer:
        spain = "spain" in request.messages[-1].content
        return Answer("Madrid.", first_token_delay_s=0.2) if spain else Answer("Paris.", first_token_delay_s=9.0)

    stt = ScriptedSpeechToText(QUESTION, "and of spain")
    in_studio(scene, chat=ScriptedChatModel(answer), stt=stt, options=replace(POLITE, opener=False))


@pytest.mark.parametrize("answered", [False, True], ids=["not begun", "half said"])
def test_an_answer_that_a_noise_cut_is_void_when_something_else_was_asked_meanwhile(answered: bool) -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        await studio.listen_until(FinalTranscript)
        if answered:
            await studio.listen_until(ResponseText, count=18)
        else:
            await studio.listen(0.5)
        await studio.say(say("absolutely fantastic")[:22_000])
        await studio.listen_until(SpeechStarted, count=2)
        studio.conversation.add_text("what is two plus three", "user")
        typed = studio.conversation.create_response()
        await studio.listen_until(ResponseEnded, count=1 + answered)
        await studio.listen(1.0)
        await studio.say(say("ah")[:7_000])
        await studio.listen(3.0)
        assert len(studio.all(UserTurnDropped)) >= 2
        assert studio.all(ResponseStarted)[-1].response_id == typed

    def answer(request: ChatRequest) -> Answer:
        typed = "plus" in request.messages[-1].content
        return Answer("Five." if typed else LONG, first_token_delay_s=0.2 if typed or answered else 3.0)

    stt = ScriptedSpeechToText(QUESTION, "")
    in_studio(scene, chat=ScriptedChatModel(answer), stt=stt, options=ConversationOptions(opener=False))


@pytest.mark.parametrize("understood", ["mm-hm", ""])
def test_where_the_agent_is_not_interrupted_a_remark_changes_nothing(understood: str) -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("tell me about the earth"))
        await studio.listen_until(ResponseText, count=8)
        await studio.say(say("aha"))
        ended = await studio.listen_until(ResponseEnded, 30.0)
        assert ended.status == "completed"
        assert ended.text.endswith("all the land together.")
        await studio.listen(2.0)
        assert len(studio.all(ResponseStarted)) == 1
        assert len(studio.all(UserTurnDropped)) == 1

    stt = ScriptedSpeechToText("tell me about the earth", understood, word_s=0.2)
    in_studio(scene, chat=ScriptedChatModel(Answer(LONG)), stt=stt, options=POLITE)


def test_a_turn_that_goes_on_while_a_typed_question_is_answered_has_its_turn_after_that() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION)[:20_000])
        with pytest.raises(InvalidRequestError, match="There is an item"):
            studio.conversation.add_text("what is two plus three", "user", studio.one(SpeechStarted).item_id)
        studio.conversation.add_text("what is two plus three", "user")
        typed = studio.conversation.create_response()
        await studio.say(say(QUESTION)[20_000:])
        await studio.listen_until(ResponseEnded, count=2)
        await studio.listen(1.0)
        first, second = studio.all(ResponseEnded)
        assert first.response_id == typed
        assert spoken_text(studio, first.response_id, "oracle") == "Five."
        assert spoken_text(studio, second.response_id, "oracle") == "Paris it is."
        assert at_rest(studio)

    in_studio(scene, chat=about("france", "Paris it is.", "Five."), stt=ScriptedSpeechToText(QUESTION))


def test_the_voice_comes_back_when_the_agent_ends_while_the_user_speaks_over_it() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        studio.conversation.add_text("how much is two plus three", "user")
        studio.conversation.create_response()
        await studio.listen_until(VoiceStarted)
        await studio.listen(0.4)
        await studio.say(say("aha"))
        await studio.listen(3.0)
        kinds = [kind for kind in studio.kinds if kind in ("Ducked", "ResponseEnded", "Restored")]
        assert kinds == ["Ducked", "ResponseEnded", "Restored"]
        assert at_rest(studio)

    options = ConversationOptions(opener=False)
    in_studio(scene, chat=ScriptedChatModel(Answer("Five.")), stt=ScriptedSpeechToText(""), options=options)


def test_taking_back_what_was_said_over_the_agent_gives_the_voice_back() -> None:
    async def scene(studio: Studio) -> None:
        studio.conversation.add_text("tell me about the earth", "user")
        studio.conversation.create_response()
        await studio.listen_until(ResponseText, count=6)
        await studio.say(say("aha")[:9000])
        assert len(studio.all(Ducked)) == 1
        studio.conversation.clear_input()
        assert (await studio.listen_until(ResponseEnded, 30.0)).status == "completed"
        assert len(studio.all(Ducked)) == len(studio.all(Restored))
        assert at_rest(studio)

    in_studio(scene, chat=ScriptedChatModel(Answer(LONG)), stt=ScriptedSpeechToText(""))


def test_a_frame_that_was_on_its_way_when_the_user_went_on_is_not_spoken() -> None:
    async def scene(studio: Studio) -> None:
        agent = studio.conversation._agent
        await studio.listen(0.5)
        await studio.say(say(QUESTION)[:24_000])
        assert agent.state.floor is Floor.LISTEN
        voice = np.full(FRAME_SAMPLES, 0.3, np.float32)
        opener = SlotOutput(0, voice, " Well.", SpeechOrigin.OPENER, speaking=True, turn=agent.state.turn)
        agent.output(opener)
        await studio.say(say(QUESTION)[24_000:28_800])
        assert not studio.all(ResponseStarted)

    in_studio(scene, stt=ScriptedSpeechToText(QUESTION))
