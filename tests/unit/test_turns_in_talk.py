"""What the turn rules mean in whole conversations, in virtual time: second thoughts, coughs, cost, manual turns."""

import pytest

from kame_core.audio import level_dbfs
from kame_core.clock import VirtualClock, run_virtual
from kame_core.engines import Engines
from kame_core.events import (
    CandidateStarted,
    FinalTranscript,
    ResponseEnded,
    ResponseText,
    SpeechStarted,
    SpeechStopped,
    Spent,
    UserTurnDropped,
)
from kame_core.frontend.echo import EchoEngine
from kame_core.frontend.host import LocalHost
from kame_core.options import ConversationOptions, TurnDetection
from kame_core.registry import ConversationRegistry
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.semantic import SemanticUpdate
from kame_core.vad import SileroModel
from kame_core.workers import InlineWorkers
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scripted_stt import ScriptedRecognizer, ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

QUESTION = "what is the capital of france"
ANSWER = "Paris is the capital of France."


def test_a_cough_before_the_answer_does_not_take_the_question_back() -> None:
    chat = ScriptedChatModel(Answer(ANSWER, first_token_delay_s=2.0))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        await studio.listen_until(FinalTranscript)
        await studio.listen(0.5)
        await studio.say(say("aha", rate=120))
        await studio.listen_until(UserTurnDropped)
        assert len(studio.all(SpeechStarted)) == 2  # it did take the turn for a moment
        answered = await studio.listen_until(ResponseEnded)
        assert answered.status == "completed"
        assert answered.text.endswith(ANSWER)
        assert studio.one(FinalTranscript).text == QUESTION

    stt = ScriptedSpeechToText(QUESTION, "", word_s=0.2)
    in_studio(scene, chat=chat, stt=stt, options=ConversationOptions(opener=False))


def test_who_goes_on_before_the_answer_is_heard_has_both_halves_asked() -> None:
    chat = ScriptedChatModel(Answer(ANSWER, first_token_delay_s=2.0))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say("what is the capital"))
        await studio.listen_until(FinalTranscript)
        await studio.listen(0.4)
        await studio.say(say("of france i mean"))
        await studio.listen_until(FinalTranscript, count=2)
        await studio.listen(1.0)
        said = "\n".join(message.content for message in chat.calls[-1].request.messages)
        assert "what is the capital" in said
        assert "of france i mean" in said

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText("what is the capital", "of france i mean", word_s=0.2))


@pytest.mark.parametrize("understood", ["mm-hm", "yeah", ""])
def test_noises_and_backchannels_ask_nothing(understood: str) -> None:
    chat = ScriptedChatModel(Answer(ANSWER * 3, first_token_delay_s=0.2))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        await studio.listen_until(ResponseText, count=10)
        asked = len(chat.calls)
        await studio.say(say("mhm", rate=200))
        await studio.listen_until(ResponseEnded)
        assert len(chat.calls) == asked
        assert studio.one(ResponseEnded).status == "completed"

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(QUESTION, understood))


def test_what_the_back_end_costs_is_told_with_every_answer() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        for turn in (1, 2):
            await studio.say(say(QUESTION))
            await studio.listen_until(ResponseEnded, count=turn)
            await studio.listen(0.5)
        first, second = studio.all(Spent)
        asked = studio.all(CandidateStarted)
        assert second.requests == len(asked)
        assert 0 < first.requests < second.requests
        assert 0 < first.input_tokens < second.input_tokens
        assert second.output_tokens > 0
        minutes = second.at_ms / 60_000
        assert second.requests_per_minute == pytest.approx(second.requests / minutes, abs=0.01)
        spent = second.input_tokens + second.output_tokens
        assert second.tokens_per_minute == pytest.approx(spent / minutes, abs=0.1)

    in_studio(scene, chat=ScriptedChatModel(Answer(ANSWER)), stt=ScriptedSpeechToText(QUESTION))


class SureRecognizer(ScriptedRecognizer):
    """Has an opinion about the end of the turn."""

    turn_end = 0.95

    def _tell(self, text: str, *, settled: bool = False, utterance: int | None = None) -> None:
        number = self.utterance if utterance is None else utterance
        if number == self.utterance and not self.closed:
            self._updates.put_nowait(SemanticUpdate(number, text, settled, turn_end=self.turn_end))


class SureSpeechToText(ScriptedSpeechToText):
    """Opens recognisers of that kind."""

    async def open(self, language: str) -> ScriptedRecognizer:
        recognizer = SureRecognizer(self._lines, self._settle_s, self._word_s)
        self.opened.append(recognizer)
        return recognizer


def test_a_recogniser_that_is_sure_ends_the_turn_sooner() -> None:
    def pause_ms(stt: ScriptedSpeechToText) -> int:
        async def scene(studio: Studio) -> int:
            await studio.listen(0.5)
            await studio.say(say("the weather was nice"))
            stopped = await studio.listen_until(SpeechStopped)
            return stopped.at_ms - stopped.speech_end_ms

        return in_studio(scene, stt=stt)

    assert pause_ms(SureSpeechToText("the weather was nice")) <= 400
    assert pause_ms(ScriptedSpeechToText("the weather was nice")) >= 500


def test_readings_without_an_opinion_are_readings() -> None:
    assert isinstance(SemanticUpdate(0, "a"), RecognizerUpdate)
    assert SemanticUpdate(0, "a").turn_end is None


@pytest.mark.parametrize("detection", [None, TurnDetection(create_response=False)])
def test_a_front_end_that_takes_turns_is_not_heard_in_manual_turns_until_it_is_asked(
    detection: TurnDetection | None,
) -> None:
    async def main(clock: VirtualClock) -> None:
        engines = Engines(
            frontend=LocalHost.inline(EchoEngine(1), clock),
            stt=ScriptedSpeechToText(QUESTION),
            vad=SileroModel(),
            chat=ScriptedChatModel(),
            clock=clock,
            hearing=InlineWorkers(),
        )
        try:
            async with ConversationRegistry(engines) as registry:
                conversation = await registry.open(ConversationOptions(turn_detection=detection))
                studio = Studio(conversation, registry, clock)
                await studio.listen(0.5)
                await studio.say(say(QUESTION))
                assert max(level_dbfs(piece) for piece in studio.heard) < -60
                conversation.add_text("go on", "user")
                conversation.create_response()
                before = len(studio.heard)
                await studio.say(say(QUESTION))
                assert max(level_dbfs(piece) for piece in studio.heard[before:]) > -40
                await studio.listen_until(ResponseEnded)
                before = len(studio.heard) + 5
                await studio.say(say(QUESTION))
                assert max(level_dbfs(piece) for piece in studio.heard[before:]) < -60
        finally:
            await engines.aclose()

    run_virtual(main)
