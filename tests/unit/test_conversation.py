"""Whole turns in virtual time: opener, oracle, barge-in, backchannel, modes, trouble."""

import asyncio

import numpy as np
import pytest

from kame_core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, silence
from kame_core.backend.base import ChatRequest
from kame_core.errors import ChatModelError, FrontendError, InvalidRequestError
from kame_core.events import (
    CandidateStarted,
    ConversationEnded,
    Ducked,
    Event,
    FinalTranscript,
    ItemDeleted,
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
from kame_core.frontend.base import Floor, SlotOutput, SpeechOrigin
from kame_core.frontend.host import LocalHost
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


# --- what once went wrong, or nearly ---

BY_HAND = ConversationOptions(turn_detection=None)
POLITE = ConversationOptions(turn_detection=TurnDetection(interrupt_response=False))


def about(word: str, answer: str, otherwise: str, first_token_delay_s: float = 0.2) -> ScriptedChatModel:
    """Answers by what the last message is about."""

    def script(request: ChatRequest) -> Answer:
        fits = word in request.messages[-1].content
        return Answer(answer if fits else otherwise, first_token_delay_s=first_token_delay_s)

    return ScriptedChatModel(script)


def at_rest(studio: Studio) -> bool:
    conversation = studio.conversation
    return (
        conversation._agent.response is None
        and conversation._agent.state.floor is Floor.LISTEN
        and not conversation._answering.active
        and not conversation._answering.busy
        and conversation.playout._target_gain == 1.0
    )


def test_push_to_talk_asks_for_its_answer_in_the_same_breath() -> None:
    """Commit and create come together; the response belongs to the words that are still being recognised."""

    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        studio.conversation.commit_input()
        response_id = studio.conversation.create_response()
        ended = await studio.listen_until(ResponseEnded)
        assert (ended.response_id, ended.status) == (response_id, "completed")
        assert spoken_text(studio, response_id, "oracle") == "Paris is the capital of France."
        assert studio.one(FinalTranscript).text == QUESTION
        started = studio.one(ResponseStarted)
        assert started.previous_item_id == studio.one(UserTurnCommitted).item_id
        await studio.listen(1.0)
        assert at_rest(studio)
        assert not studio.conversation._user.in_turn  # the last of the voice was no new turn

    in_studio(scene, stt=ScriptedSpeechToText(QUESTION), options=BY_HAND)


def test_push_to_talk_without_words_is_answered_by_saying_so() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say("hello"))
        studio.conversation.commit_input()
        response_id = studio.conversation.create_response()
        ended = await studio.listen_until(ResponseEnded)
        assert (ended.response_id, ended.status) == (response_id, "completed")
        assert "catch" in spoken_text(studio, response_id, "own")
        assert studio.one(ItemDeleted).item_id == studio.one(UserTurnCommitted).item_id

    in_studio(scene, stt=ScriptedSpeechToText(""), options=BY_HAND)


def test_speaking_on_after_a_commit_does_not_undo_it() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        studio.conversation.commit_input()
        await studio.listen(0.1)
        await studio.say(say("tell me about the moon"))
        studio.conversation.commit_input()
        await studio.listen(1.0)
        assert [final.text for final in studio.all(FinalTranscript)] == [QUESTION, "tell me about the moon"]

    stt = ScriptedSpeechToText(QUESTION, "tell me about the moon", settle_s=0.8)
    in_studio(scene, stt=stt, options=BY_HAND)


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


def test_a_reading_that_goes_back_to_earlier_words_is_answered_by_what_they_were_asked_for() -> None:
    """The settled reading takes back the partial's last word: its candidate was asked already and counts again."""
    stt = ScriptedSpeechToText(QUESTION + " and", word_s=0.15)

    def answer(request: ChatRequest) -> Answer:
        slow = request.messages[-1].content.endswith("and")
        return Answer("Which one." if slow else "Paris it is.", first_token_delay_s=3.0 if slow else 0.05)

    async def scene(studio: Studio) -> None:
        stt.opened[0].takes_back_words = 1
        await studio.listen(0.5)
        await studio.say(say(QUESTION + " and"))
        ended = await studio.listen_until(ResponseEnded)
        assert studio.one(FinalTranscript).text == QUESTION
        assert spoken_text(studio, ended.response_id, "oracle") == "Paris it is."
        assert [started.partial for started in studio.all(CandidateStarted)].count(QUESTION) == 1

    in_studio(scene, chat=ScriptedChatModel(answer), stt=stt)


def test_options_change_with_the_next_turn_not_in_the_middle_of_one() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        await studio.listen_until(FinalTranscript)
        studio.conversation.set_options(ConversationOptions(mode=Mode.DIRECT))
        first = await studio.listen_until(ResponseEnded)
        assert spoken_text(studio, first.response_id, "oracle") == "Paris is the capital of France."
        assert studio.one(TurnTiming).mode == "tandem"
        await studio.say(say(QUESTION))
        second = await studio.listen_until(ResponseEnded, count=2)
        assert spoken_text(studio, second.response_id, "own")
        assert studio.all(TurnTiming)[1].mode == "direct"

    chat = ScriptedChatModel(Answer(first_token_delay_s=2.0))
    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION))


def test_an_opener_is_not_left_open_when_the_client_takes_over_the_turns() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("the weather was rather nice"))
        await studio.listen_until(ResponseStarted)
        studio.conversation.set_options(BY_HAND)
        await studio.listen(0.5)
        assert studio.one(ResponseEnded).status == "cancelled"
        studio.conversation.commit_input()
        response_id = studio.conversation.create_response()
        ended = await studio.listen_until(ResponseEnded, count=2)
        assert (ended.response_id, ended.status) == (response_id, "completed")

    chat = ScriptedChatModel(Answer(first_token_delay_s=1.0))
    in_studio(scene, chat=chat, stt=ScriptedSpeechToText("the weather was rather nice"))


def test_an_item_that_the_client_deletes_may_still_turn_out_to_be_none() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say("well well well well"))
        committed = await studio.listen_until(UserTurnCommitted)
        studio.conversation.delete_item(committed.item_id)
        await studio.listen(3.0)
        assert studio.one(UserTurnDropped).item_id == committed.item_id
        assert not studio.conversation.closed
        assert at_rest(studio)

    in_studio(scene, stt=ScriptedSpeechToText(""))


def test_what_is_being_thought_of_can_be_cancelled() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        await studio.listen_until(FinalTranscript)
        studio.conversation.cancel_response()
        await studio.listen(4.0)
        assert not studio.all(ResponseStarted)
        assert at_rest(studio)
        with pytest.raises(InvalidRequestError):
            studio.conversation.cancel_response()

    options = ConversationOptions(opener=False)
    chat = ScriptedChatModel(Answer(first_token_delay_s=2.0))
    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION), options=options)


def test_cancelling_an_opener_does_not_cancel_the_turn() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say("the weather was rather nice"))
        await studio.listen_until(ResponseStarted)
        assert not studio.all(SpeechStopped)
        studio.conversation.cancel_response()
        ended = await studio.listen_until(ResponseEnded, count=2)
        assert studio.all(ResponseEnded)[0].reason == "client_cancelled"
        assert spoken_text(studio, ended.response_id, "oracle") == "Paris is the capital of France."

    in_studio(scene, stt=ScriptedSpeechToText("the weather was rather nice"))


def test_two_typed_questions_at_once_are_answered_one_after_the_other() -> None:
    async def scene(studio: Studio) -> None:
        studio.conversation.add_text("what is two plus three", "user")
        studio.conversation.create_response()
        studio.conversation.add_text(QUESTION, "user")
        with pytest.raises(InvalidRequestError, match="in progress"):
            studio.conversation.create_response()
        await studio.listen_until(ResponseEnded)
        studio.conversation.create_response()
        await studio.listen_until(ResponseEnded, count=2)
        assert [spoken_text(studio, ended.response_id, "oracle") for ended in studio.all(ResponseEnded)] == [
            "Five.",
            "Paris it is.",
        ]

    in_studio(scene, chat=about("france", "Paris it is.", "Five."))


def test_instructions_for_one_response_leave_the_question_in_the_dialogue() -> None:
    chat = ScriptedChatModel(Answer("Cinq."))

    async def scene(studio: Studio) -> None:
        studio.conversation.add_text("what is two plus three", "user")
        studio.conversation.create_response("answer in french")
        await studio.listen_until(ResponseEnded)
        contents = [message.content for message in chat.calls[0].request.messages]
        assert any("two plus three" in content for content in contents)
        assert contents[-1].endswith("answer in french")

    in_studio(scene, chat=chat)


def test_a_stall_of_the_loop_adds_no_delay_for_good() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("tell me about the earth"))
        await studio.listen_until(ResponseText, count=8)
        for _ in range(3):
            studio.clock.advance(0.3)
            await studio.listen(1.0)
        assert studio.conversation.playout.depth_samples <= FRAME_SAMPLES + 0.1 * SAMPLE_RATE_HZ
        ended = await studio.listen_until(ResponseEnded, 30.0)
        assert ended.status == "completed"
        assert at_rest(studio)

    in_studio(scene, chat=ScriptedChatModel(Answer(LONG)), stt=ScriptedSpeechToText("tell me about the earth"))


def test_frames_that_come_late_and_all_at_once_do_not_make_a_ready_answer_look_like_none() -> None:
    """After a stall the frames made before the slot was told of its turn say nothing about its answer."""

    async def scene(studio: Studio) -> None:
        def burst(news: list[Event]) -> None:
            if any(isinstance(event, FinalTranscript) for event in news):
                assert not studio.all(ResponseStarted)
                agent = studio.conversation._agent
                for _ in range(6):
                    agent.output(SlotOutput(0, silence(FRAME_SAMPLES), turn=agent.state.turn))

        studio.watch = burst
        await studio.listen(0.5)
        await studio.say(say(QUESTION, rate=110))
        ended = await studio.listen_until(ResponseEnded)
        assert ended.generated == "Paris is the capital of France."

    chat = ScriptedChatModel(Answer(first_token_delay_s=0.05))
    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION, word_s=0.18))


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


def test_an_answer_nobody_listens_to_ends_and_the_next_one_is_heard_again() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("tell me about the earth"))
        await studio.listen_until(ResponseText, count=8)
        studio.detach()
        await studio.send_nothing(20.0)
        first = studio.one(ResponseEnded)
        assert first.status == "completed"
        assert len(first.text) < len(first.generated)
        studio.attach()
        await studio.say(say(QUESTION))
        second = await studio.listen_until(ResponseEnded, count=2)
        assert second.text.endswith("Paris it is.")

    chat = about("france", "Paris it is.", LONG)
    in_studio(scene, chat=chat, stt=ScriptedSpeechToText("tell me about the earth", QUESTION))


def test_a_fault_of_its_slot_ends_that_conversation_only() -> None:
    async def scene(studio: Studio) -> None:
        other = Studio(await studio.registry.open(ConversationOptions()), studio.registry, studio.clock)
        frontend = studio.registry.engines.frontend
        assert isinstance(frontend, LocalHost)
        studio.conversation._lease._deliver(  # type: ignore[attr-defined]
            SlotOutput(0, silence(FRAME_SAMPLES), fault=FrontendError("It broke.", code="slot_broke"))
        )
        await asyncio.gather(studio.listen(0.5), other.listen(0.5))
        trouble = studio.one(Trouble)
        assert (trouble.error.code, trouble.fatal) == ("slot_broke", True)
        assert studio.one(ConversationEnded).reason == "failed"
        assert studio.registry.count == frontend.capacity - frontend.free == 1
        other.conversation.add_text(QUESTION, "user")
        other.conversation.create_response()
        assert (await other.listen_until(ResponseEnded)).status == "completed"

    in_studio(scene)


def test_a_recogniser_that_was_closed_ends_the_conversation_instead_of_leaving_it_deaf() -> None:
    stt = ScriptedSpeechToText(QUESTION)

    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await stt.aclose()
        await studio.listen(0.3)
        assert studio.one(Trouble).fatal
        assert studio.conversation.closed

    in_studio(scene, stt=stt)


def test_words_understood_before_a_crash_are_kept_if_nothing_more_is_understood() -> None:
    stt = ScriptedSpeechToText(QUESTION, word_s=0.2, settle_s=None)

    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        stt.opened[0].crash()
        final = await studio.listen_until(FinalTranscript)
        assert final.text == QUESTION
        assert (await studio.listen_until(ResponseEnded)).status == "completed"

    in_studio(scene, stt=stt)
