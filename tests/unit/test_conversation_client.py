"""Whole turns in virtual time: what a client asks for: typed text, manual turns, options, cancelling."""

from dataclasses import replace

import pytest

from kame_core.errors import InvalidRequestError
from kame_core.events import (
    FinalTranscript,
    ItemDeleted,
    ResponseEnded,
    ResponseStarted,
    ResponseText,
    SpeechStopped,
    TurnTiming,
    UserTurnCommitted,
    UserTurnDropped,
)
from kame_core.options import ConversationOptions, Mode, ResponseOptions, TurnDetection
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scenes import LONG, QUESTION, about, at_rest, spoken_text
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

BY_HAND = ConversationOptions(turn_detection=None)


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


def test_typed_words_are_asked_though_nothing_was_understood_of_the_spoken_ones_before_them() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say("hello"))
        studio.conversation.commit_input()
        studio.conversation.add_text("what is two plus three", "user")
        studio.conversation.create_response()
        assert (await studio.listen_until(ResponseEnded)).text == "Five."
        assert [call.text for call in chat.calls] == ["what is two plus three"]

    chat = ScriptedChatModel(Answer("Five."))
    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(""), options=replace(BY_HAND, opener=False))


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
        studio.conversation.create_response(ResponseOptions("answer in french", max_output_tokens=9))
        await studio.listen_until(ResponseEnded)
        system, *_, question = chat.calls[0].request.messages
        assert question.content == "what is two plus three"
        assert "answer in french" in system.content
        assert "Talk like a pirate." not in system.content, "they stand in the place of the session's own"
        assert chat.calls[0].request.max_tokens == 9

        studio.conversation.create_response(ResponseOptions("say goodbye"))
        await studio.listen_until(ResponseEnded, count=2)
        assert chat.calls[1].request.messages[-1].content == "say goodbye", "nothing of the user's waits for an answer"

        studio.conversation.add_text("and plus one", "user")
        studio.conversation.create_response()
        await studio.listen_until(ResponseEnded, count=3)
        assert "Talk like a pirate." in chat.calls[2].request.messages[0].content, "that was for one response"
        assert chat.calls[2].request.max_tokens == ConversationOptions().max_output_tokens

    in_studio(scene, chat=chat, options=ConversationOptions(instructions="Talk like a pirate."))
