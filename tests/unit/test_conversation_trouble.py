"""Whole turns in virtual time: parts that fail, stall or fall silent, and conversations side by side."""

import asyncio

import numpy as np

from kame_core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, silence
from kame_core.backend.base import ChatRequest
from kame_core.errors import ChatModelError, FrontendError
from kame_core.events import (
    ConversationEnded,
    FinalTranscript,
    ResponseEnded,
    ResponseText,
    Trouble,
    TurnTiming,
    VoiceStarted,
)
from kame_core.frontend.base import SlotOutput
from kame_core.frontend.host import LocalHost
from kame_core.options import ConversationOptions
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scenes import LONG, QUESTION, about, at_rest, spoken_text
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio


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


def test_where_the_whole_turns_request_fails_an_older_one_that_hangs_is_not_waited_for() -> None:
    broken = ChatModelError("It has enough to do.", retryable=True)
    chat = ScriptedChatModel(
        lambda request: (
            Answer("", first_token_delay_s=0.1, error=broken)
            if request.messages[-1].content == QUESTION
            else Answer(first_token_delay_s=100.0)
        )
    )

    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say(QUESTION))
        await studio.listen_until(FinalTranscript)
        failed = await studio.listen_until(Trouble)
        spoken = await studio.listen_until(VoiceStarted)
        assert spoken.at_ms - failed.at_ms < 1000
        await studio.listen(1.0)
        assert spoken_text(studio, spoken.response_id, "own")

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION), options=ConversationOptions(opener=False))


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
        await studio.listen(30.0)
        assert studio.events == []
        assert not np.any(np.concatenate(studio.heard))
        studio.detach()
        await studio.clock.sleep_until(studio.clock.now() + 570)  # ten minutes in all, nothing sent and nothing read
        assert studio._listener.waiting() == []
        assert studio.conversation.playout.depth_samples <= SAMPLE_RATE_HZ

    in_studio(scene)


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
        studio.conversation._seats.lease._deliver(  # type: ignore[attr-defined]
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
