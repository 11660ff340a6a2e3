"""Whole turns in virtual time: from a question to what is said: openers, candidates, modes."""

from kame_core.audio import FRAME_SAMPLES, silence
from kame_core.backend.base import ChatRequest
from kame_core.events import (
    CandidateStarted,
    Event,
    FinalTranscript,
    PartialTranscript,
    ResponseEnded,
    ResponseStarted,
    SpeechStarted,
    SpeechStopped,
    TurnTiming,
    UserTurnCommitted,
    VoiceStarted,
)
from kame_core.frontend.base import SlotOutput
from kame_core.options import ConversationOptions, Mode
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scenes import QUESTION, spoken_text
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio


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
