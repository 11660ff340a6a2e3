"""Conversations with a front end that takes turns itself, in virtual time: the tiny KAME of tests/assets, inline."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from kame_core.audio import FRAME_SAMPLES, level_dbfs
from kame_core.backend.base import ChatRequest
from kame_core.errors import ChatModelError
from kame_core.events import (
    CandidateAdopted,
    CandidateFinished,
    Ducked,
    FinalTranscript,
    ResponseEnded,
    SpeechStarted,
    Trouble,
    TurnTiming,
    UserTurnDropped,
    VoiceStarted,
)
from kame_core.frontend.base import OracleAdopt, OracleClear, OracleUpdate, SlotInput, SlotOutput, UserState
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.sampling import GREEDY
from kame_core.options import ConversationOptions, Mode
from kame_core.speech_control import SpeechControl
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.moshi_studio import QUESTION, Noted, load_tiny_kame, talk, text_of
from tests.support.speech import say
from tests.support.studio import Studio

ANSWER = "Five, and that is so in all of the lands."
NOISE = np.random.default_rng(1).uniform(-1, 1, FRAME_SAMPLES).astype(np.float32)


@pytest.fixture(scope="module")
def kame() -> Iterator[LoadedCheckpoint]:
    yield from load_tiny_kame()


@pytest.fixture
def engine(kame: LoadedCheckpoint) -> MoshiEngine:
    return MoshiEngine(kame, 1, sampling=GREEDY)


class Restless(MoshiEngine):
    """Once it was spoken to, it babbles until it has read something."""

    spoken_to = False

    def step(self, inputs: Sequence[SlotInput]) -> Sequence[SlotOutput]:
        talks = level_dbfs(inputs[0].mic) > -40
        self.spoken_to |= talks
        outputs = super().step(inputs)
        if talks or not self.spoken_to or outputs[0].oracle.read_chars:
            return outputs
        return [replace(out, text=" um", speaking=True, voice=0.1 * NOISE) for out in outputs]


class Absent(MoshiEngine):
    """Reads the first oracle and says nothing of it."""

    adoptions = 0

    def feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        self.adoptions += sum(isinstance(update, OracleAdopt) for update in oracle)
        super().feed(slot, oracle, user)

    def step(self, inputs: Sequence[SlotInput]) -> Sequence[SlotOutput]:
        outputs = super().step(inputs)
        if self.adoptions != 1:
            return outputs
        return [
            replace(out, text="", speaking=False, voice=0 * out.voice, oracle=replace(out.oracle, spoken_chars=0))
            for out in outputs
        ]


# --- turns are observed, the voice is the model's ---


def test_a_question_is_answered_and_the_turn_closes_with_silence(engine: MoshiEngine) -> None:
    async def scene(studio: Studio) -> None:
        await studio.say(say(QUESTION))
        ended = await studio.listen_until(ResponseEnded)
        assert ended.status == "completed"
        assert ended.text == ANSWER
        assert text_of(studio.events) == f" {ANSWER}"  # by one candidate after the other
        assert len(studio.all(CandidateAdopted)) > 1
        timing = studio.one(TurnTiming)
        assert timing.first_oracle_audio_ms is not None
        assert timing.asked_ms is not None
        history = [(item.role, item.text) for item in studio.conversation.transcript.items()]
        assert history == [("user", QUESTION), ("assistant", ANSWER)]

    def answer(request: ChatRequest) -> Answer:
        whole = request.messages[-1].content == QUESTION
        return Answer(ANSWER, first_token_delay_s=1.0 if whole else 0.1)  # it comes when the same is already being said

    talk(engine, scene, ScriptedChatModel(answer))


def test_words_that_come_late_are_said_though_the_turn_had_closed(engine: MoshiEngine) -> None:
    async def scene(studio: Studio) -> None:
        studio.conversation.add_text(QUESTION, "user")
        studio.conversation.create_response()
        for _ in range(60):
            if text_of(studio.events).endswith("five."):
                break
            await studio.listen(0.2)
        assert text_of(studio.events) == " The answer is five."
        await studio.listen_until(ResponseEnded, count=2)
        assert {ended.status for ended in studio.all(ResponseEnded)} == {"completed"}

    talk(engine, scene, ScriptedChatModel(Answer("The answer is five.", token_delay_s=1.6)))


def test_speech_over_the_answer_cuts_and_lowers_nothing(engine: MoshiEngine) -> None:
    async def scene(studio: Studio) -> None:
        await studio.say(say(QUESTION))
        await studio.listen_until(VoiceStarted)
        await studio.say(say("mm-hm"))
        ended = await studio.listen_until(ResponseEnded)
        assert ended.status == "completed"
        assert ended.text == "Five, of course, as it was."
        assert not studio.all(Ducked)

    talk(engine, scene, ScriptedChatModel(Answer("Five, of course, as it was.")), heard=(QUESTION, "yeah"))


def test_a_noise_does_not_take_a_question_back(engine: MoshiEngine) -> None:
    async def scene(studio: Studio) -> None:
        await studio.say(say(QUESTION))
        await studio.listen_until(FinalTranscript)
        await studio.say(say("uh"))
        ended = await studio.listen_until(ResponseEnded)
        assert ended.text.endswith("Five.")
        assert studio.all(UserTurnDropped)
        assert (chat.calls[-1].text, chat.calls[-1].ended) == (QUESTION, "finished")

    chat = ScriptedChatModel(Answer("Five.", first_token_delay_s=2.5))
    talk(engine, scene, chat, heard=(QUESTION, ""))


def test_a_noise_in_progress_does_not_end_the_answer_to_typed_words(engine: MoshiEngine) -> None:
    async def scene(studio: Studio) -> None:
        await studio.say(say("ah")[:9000])
        assert studio.all(SpeechStarted)
        studio.conversation.add_text(QUESTION, "user")
        studio.conversation.create_response()
        ended = await studio.listen_until(ResponseEnded)
        assert (ended.status, ended.text) == ("completed", "Five.")
        assert studio.all(UserTurnDropped)

    talk(engine, scene, ScriptedChatModel(Answer("Five.", first_token_delay_s=1.5)), heard=("",))


def test_where_the_back_end_fails_the_conversation_goes_on(engine: MoshiEngine) -> None:
    answers = [Answer("", error=ChatModelError("It is out.")), Answer("Five.")]

    async def scene(studio: Studio) -> None:
        await studio.say(say(QUESTION))
        await studio.listen_until(Trouble)
        await studio.listen(8.0)
        assert not studio.all(ResponseEnded)
        answers.pop(0)
        ended = await studio.listen_until(ResponseEnded)  # the idle prompt, which a turn without end would block
        assert ended.text == "Yes?"
        await studio.say(say(QUESTION))
        ended = await studio.listen_until(ResponseEnded, count=2)
        assert ended.text == "Five."

    options = ConversationOptions(idle_prompt="Yes?", idle_after_s=4.0)
    talk(engine, scene, ScriptedChatModel(lambda _: answers[0]), options, heard=(QUESTION, QUESTION))


def test_a_response_that_nothing_follows_ends_incomplete(engine: MoshiEngine) -> None:
    async def scene(studio: Studio) -> None:
        studio.conversation.add_text(QUESTION, "user")
        studio.conversation.create_response()
        ended = await studio.listen_until(ResponseEnded)
        assert (ended.status, ended.reason) == ("incomplete", "no_speech")
        assert ended.at_ms == pytest.approx(3000, abs=700)

    talk(engine, scene, ScriptedChatModel(Answer("", error=ChatModelError("It is out.", retryable=False))))


def test_in_direct_mode_the_model_is_told_nothing(kame: LoadedCheckpoint) -> None:
    engine = Noted(kame)
    chat = ScriptedChatModel(Answer("Five."))

    async def scene(studio: Studio) -> None:
        await studio.say(say(QUESTION))
        await studio.listen(2.0)

    talk(engine, scene, chat, ConversationOptions(mode=Mode.DIRECT))
    assert not chat.calls
    assert {type(update) for update in engine.updates} <= {OracleClear}


def test_words_over_the_answer_take_its_place(engine: MoshiEngine) -> None:
    async def scene(studio: Studio) -> None:
        await studio.say(say(QUESTION))
        await studio.listen_until(VoiceStarted)
        await studio.say(say("What is the capital of France?"))
        while not text_of(studio.events).endswith("Paris."):
            await studio.listen(0.2)
        assert not text_of(studio.events).startswith(f" {LONG}")
        asked = chat.calls[-1].request.messages
        assert asked[-1].content.splitlines()[0] == "what is the capital of france"
        assert [message.role for message in asked[-3:]] == ["user", "assistant", "user"]
        assert LONG.startswith(asked[-2].content)  # as far as it had been said: the model went on with it meanwhile

    LONG = "Five, and that is so in all of the lands, and it was so in the best of times, as it is now."  # noqa: N806
    chat = ScriptedChatModel(lambda request: Answer("Paris." if "capital" in request.messages[-1].content else LONG))
    talk(engine, scene, chat, heard=(QUESTION, "what is the capital of france"))


# --- speech control ---


@pytest.mark.parametrize("control", [SpeechControl(), SpeechControl(wait_for_guidance=True)])
def test_babble_before_guidance_is_held_back_where_asked_for(kame: LoadedCheckpoint, control: SpeechControl) -> None:
    async def scene(studio: Studio) -> str:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        await studio.listen_until(CandidateFinished)
        await studio.listen(3.0)
        timing = studio.all(TurnTiming)[0]
        if control.wait_for_guidance:
            assert timing.gate_ms is not None
            assert timing.first_audio_ms is not None
            assert 0 < timing.gate_ms <= timing.first_audio_ms
        else:
            assert timing.gate_ms is None
        return text_of(studio.events)

    options = ConversationOptions(speech_control=control)
    chat = ScriptedChatModel(Answer("Five.", first_token_delay_s=0.8))
    said = talk(Restless(kame, 1, sampling=GREEDY), scene, chat, options)
    assert "Five." in said
    assert ("um" in said.partition("Five.")[0]) is not control.wait_for_guidance


@pytest.mark.parametrize("control", [SpeechControl(), SpeechControl(repeat_unspoken=True)])
def test_guidance_that_was_missed_is_given_again_where_asked_for(
    kame: LoadedCheckpoint, control: SpeechControl
) -> None:
    engine = Absent(kame, 1, sampling=GREEDY)

    async def scene(studio: Studio) -> str:
        studio.conversation.add_text(QUESTION, "user")
        studio.conversation.create_response()
        await studio.listen(5.5)
        return text_of(studio.events)

    said = talk(engine, scene, ScriptedChatModel(Answer("Five.")), ConversationOptions(speech_control=control))
    assert said == (" Five." if control.repeat_unspoken else "")
    assert engine.adoptions == 1 + control.repeat_unspoken


@pytest.mark.parametrize("hold_ms", [0, 400])
def test_the_models_ears_lag_and_no_others(kame: LoadedCheckpoint, hold_ms: int) -> None:
    engine = Noted(kame)

    async def scene(studio: Studio) -> int:
        await studio.listen(0.4)
        await studio.say(say(QUESTION))
        started = await studio.listen_until(SpeechStarted)
        await studio.listen_until(ResponseEnded)
        assert studio.all(TurnTiming)[0].hold_ms == (hold_ms or None)
        return started.at_ms

    control = SpeechControl(input_hold_ms=hold_ms)
    started_ms = talk(engine, scene, ScriptedChatModel(), ConversationOptions(speech_control=control))
    onset_ms = 80 * next(tick for tick, level in enumerate(engine.levels) if level > -40)
    assert abs(started_ms - 480) <= 160
    assert abs(onset_ms - 440 - hold_ms) <= 160
