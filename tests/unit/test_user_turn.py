"""The user's side: readings, settled and late, become turns with one transcript each."""

from dataclasses import dataclass, field

import pytest

from kame_core.errors import SpeechToTextError
from kame_core.events import Event, PartialTranscript, SpeechStarted, SpeechStopped, TranscriptionFailed, Trouble
from kame_core.hearing import EarState
from kame_core.options import TurnDetection
from kame_core.stt.base import RecognizerUpdate
from kame_core.turns import Turns
from kame_core.user_turn import UserTurn
from tests.support.scripted_stt import ScriptedRecognizer


@dataclass
class Notes:
    """Notes what it is told."""

    log: list[str] = field(default_factory=list)
    finals: list[str] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)

    def turn_began(self) -> None:
        self.log.append("began")

    def turn_paused(self, speech_end_ms: int, *, opener: bool, known: bool) -> None:
        self.log.append("paused")

    def opener_due(self, *, known: bool) -> None:
        self.log.append("opener due")

    def turn_resumed(self) -> None:
        self.log.append("resumed")

    def turn_ended(self, speech_end_ms: int) -> None:
        self.log.append("ended")

    def turn_final(self, item_id: str, text: str, speech_end_ms: int, language: str) -> None:
        self.log.append("final")
        self.finals.append(text)
        self.languages.append(language)

    def turn_dropped(self, item_id: str) -> None:
        self.log.append("dropped")

    def transcript_changed(self, text: str, *, settled: bool) -> None:
        pass

    def overlap_began(self) -> None:
        self.log.append("overlap")

    def overlap_ended(self) -> None:
        self.log.append("restored")

    def barged_in(self) -> None:
        self.log.append("barge-in")


class Side:
    """A user's side without sound: the test says what the ear and the recogniser report."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.events: list[Event] = []
        self.notes = Notes()
        self.recognizer = ScriptedRecognizer([""])
        self.turns = Turns(TurnDetection())
        self.user = UserTurn(self.turns, self.recognizer, self.notes, self.events.append, lambda: self.now_ms)
        self._silence_ms = 0

    def hear_an_answer(self) -> None:
        """The agent is in the midst of a long one."""
        self.turns.agent(True)
        for _ in range(12):
            self.now_ms += 448
            self.turns.agent_says(self.now_ms, " blah")

    def speak(self, duration_ms: int) -> None:
        for _ in range(duration_ms // 32):
            self.now_ms += 32
            self._silence_ms = 0
            self.user.ear(EarState(True, 0, 0))

    def hush(self, duration_ms: int) -> None:
        for _ in range(duration_ms // 32):
            self.now_ms += 32
            self._silence_ms += 32
            self.user.ear(EarState(self._silence_ms <= 64, self._silence_ms, 0))

    def read(self, text: str, *, settled: bool = False, utterance: int = 0) -> None:
        self.user.reading(RecognizerUpdate(utterance, text, settled))


async def test_a_turn_waits_for_its_settled_transcript() -> None:
    side = Side()
    side.speak(960)
    side.read("what is two plus")
    side.hush(2000)
    assert side.notes.log == ["began", "paused", "opener due", "ended"]
    side.read("what is two plus three", settled=True)
    assert side.notes.finals == ["what is two plus three"]
    assert side.recognizer.utterance == 1


async def test_a_recogniser_that_never_settles_does_not_hold_the_turn() -> None:
    side = Side()
    side.speak(960)
    side.read("what is two plus three")
    side.hush(2600)
    assert side.notes.finals == ["what is two plus three"]


async def test_what_a_crash_leaves_of_the_words_before_it() -> None:
    side = Side()
    crash = SpeechToTextError("It crashed.")
    side.speak(960)
    side.read("what is")
    side.user.reading(RecognizerUpdate(0, "what is", fault=crash))  # its sound will be read again
    assert side.user.text == "what is"
    side.read("what is two")
    side.user.reading(RecognizerUpdate(0, "", fault=crash))  # its sound is gone
    assert side.user.text == "what is two"
    side.read("plus")
    assert side.user.text == "what is two plus"
    side.hush(2000)
    side.read("plus three", settled=True)
    assert side.notes.finals == ["what is two plus three"]
    side.speak(320)
    side.read("and four", utterance=1)
    assert side.user.text == "and four"


async def test_a_turn_has_the_language_that_was_recognised_last() -> None:
    side = Side()
    side.speak(960)
    side.user.reading(RecognizerUpdate(0, "wo", language="nl"))
    side.user.reading(RecognizerUpdate(0, "wo ist", language="de"))
    assert side.user.language == "de"
    side.hush(1200)
    side.read("wo ist der bahnhof", settled=True)
    assert side.notes.languages == ["de"]
    assert side.user.language == ""


async def test_readings_of_an_utterance_that_is_over_are_ignored() -> None:
    side = Side()
    side.speak(960)
    side.hush(192)
    side.read("what is two plus three", settled=True)
    side.hush(640)
    assert side.notes.log[-1] == "final"
    before = len(side.events)
    side.read("what is two plus three and a", utterance=0)
    assert len(side.events) == before
    side.speak(320)
    side.read("and four", utterance=1)
    assert side.user.text == "and four"


async def test_going_on_while_the_transcript_is_awaited_is_still_the_same_turn() -> None:
    side = Side()
    side.speak(960)
    side.read("what is the capital")
    side.hush(960)
    assert side.notes.log == ["began", "paused", "opener due", "ended"]
    side.speak(640)
    side.read("what is the capital", settled=True)
    side.hush(200)
    side.read("what is the capital of france", settled=True)
    side.hush(640)
    assert side.notes.log == ["began", "paused", "opener due", "ended", "resumed", "paused", "ended", "final"]
    told = [event for event in side.events if isinstance(event, SpeechStarted | SpeechStopped)]
    assert [type(event) for event in told] == [SpeechStarted, SpeechStopped] * 2
    assert len({event.item_id for event in told}) == 1
    assert side.recognizer.flushes == 2


async def test_a_settled_reading_that_was_overtaken_does_not_end_the_turn_without_the_words_after_it() -> None:
    side = Side()
    side.speak(960)
    side.read("what is the capital of france")
    side.hush(192)
    side.speak(960)
    side.hush(256)
    side.read("what is the capital of france", settled=True)  # of the first pause; the second one's is still to come
    side.hush(1600)  # as long as the reading of the first took
    assert side.notes.log[-1] == "ended"
    side.read("what is the capital of france and of spain", settled=True)
    assert side.notes.finals == ["what is the capital of france and of spain"]


@pytest.mark.parametrize("faulty", [False, True])
async def test_a_recogniser_that_answers_two_pauses_at_once_holds_the_turn_for_a_moment_at_most(faulty: bool) -> None:
    side = Side()
    fault = SpeechToTextError("It crashed.") if faulty else None
    side.speak(960)
    side.read("what is the capital of france")
    side.hush(192)
    side.speak(960)
    side.hush(256)
    side.user.reading(RecognizerUpdate(0, "what is the capital of france and of spain", settled=True, fault=fault))
    side.hush(192 if faulty else 2720)
    assert side.notes.finals == ["what is the capital of france and of spain"]
    side.speak(960)
    side.hush(192)
    side.read("and of italy", settled=True, utterance=1)  # nothing of the turn before is waited for
    side.hush(960)
    assert side.notes.finals[1:] == ["and of italy"]


async def test_words_of_a_remark_that_come_after_the_answer_has_ended_are_a_turn() -> None:
    side = Side()
    side.hear_an_answer()
    side.speak(448)
    side.hush(256)
    side.turns.agent(False)
    side.read("what about spain", settled=True)
    side.hush(200)
    side.read("what about spain", settled=True)
    side.hush(1000)
    assert side.notes.finals == ["what about spain"]


@pytest.mark.parametrize("read_in_time", [True, False])
async def test_the_rest_of_a_word_in_which_the_client_ended_the_turn_is_no_part_of_the_next(
    read_in_time: bool,
) -> None:
    side = Side()
    side.turns.detection = None
    side.speak(960)
    side.read("what is the capital of")
    side.user.commit()
    side.read("what is the capital of france", settled=True)
    side.speak(192)
    if read_in_time:
        side.read("ants", utterance=1)
    side.hush(1000)
    side.read("ants", utterance=side.recognizer.utterance)
    side.hush(1000)
    side.speak(960)
    assert side.recognizer.utterance == 3
    assert side.user.text == ""
    assert [event.text for event in side.events if isinstance(event, PartialTranscript)] == ["what is the capital of"]


async def test_who_speaks_on_after_the_client_ended_the_turn_loses_no_words() -> None:
    side = Side()
    side.turns.detection = None
    side.speak(960)
    side.user.commit()
    side.read("what is the capital of france", settled=True)
    side.speak(192)
    side.read("and", utterance=1)
    side.speak(640)
    assert side.notes.log == ["began", "ended", "final", "began"]
    assert side.user.text == "and"
    assert side.recognizer.utterance == 1


async def test_words_understood_while_the_agent_still_spoke_stay_the_users() -> None:
    side = Side()
    side.hear_an_answer()
    side.speak(160)
    side.read("spain")
    side.turns.agent(False)
    side.speak(64)
    assert side.user.text == "spain"
    assert side.recognizer.utterance == 0


async def test_partials_are_told_once_each_and_speech_end_is_the_sounds() -> None:
    side = Side()
    side.speak(960)
    for text in ("what", "what", "what is"):
        side.read(text)
    side.hush(192)
    side.read("what is up now", settled=True)
    side.hush(640)
    texts = [event.text for event in side.events if isinstance(event, PartialTranscript)]
    assert texts == ["what", "what is", "what is up now"]
    stopped = next(event for event in side.events if isinstance(event, SpeechStopped))
    assert stopped.speech_end_ms == 960


async def test_a_crash_is_told_with_the_turn_it_cost() -> None:
    side = Side()
    side.speak(640)
    fault = SpeechToTextError("The recogniser crashed. It was started again.", code="stt_crashed")
    side.user.reading(RecognizerUpdate(0, "", fault=fault))
    assert [type(event) for event in side.events] == [SpeechStarted, Trouble, TranscriptionFailed]


async def test_taking_back_what_was_said_ends_the_turn_without_a_trace() -> None:
    side = Side()
    side.speak(640)
    side.read("never")
    side.user.clear()
    side.hush(2000)
    assert side.notes.log == ["began", "dropped"]
    assert side.user.item_id is None


async def test_a_cough_after_a_turn_that_never_settles_does_not_lose_its_words() -> None:
    side = Side()
    side.speak(960)
    side.read("what is the capital of france")
    side.hush(400)
    assert side.notes.log == ["began", "paused", "ended"]
    side.speak(96)
    side.hush(3000)
    assert side.notes.finals == ["what is the capital of france"]


async def test_a_remark_that_was_never_settled_is_no_part_of_the_next_turn() -> None:
    side = Side()
    side.hear_an_answer()
    side.speak(288)
    side.read("mm-hm")
    side.hush(320)
    assert side.notes.log == ["overlap", "restored"]
    side.turns.agent(False)
    side.speak(320)
    assert side.recognizer.utterance == 1
    assert side.user.text == ""


async def test_taking_back_a_remark_gives_the_voice_back() -> None:
    side = Side()
    side.hear_an_answer()
    side.speak(160)
    side.user.clear()
    assert side.notes.log == ["overlap", "restored"]


async def test_what_has_ended_cannot_be_taken_back() -> None:
    side = Side()
    side.speak(960)
    side.read("what is two plus three")
    side.user.commit()
    side.user.clear()
    side.read("what is two plus three", settled=True)
    assert side.notes.finals == ["what is two plus three"]


async def test_speech_beside_a_response_that_was_asked_for_before_the_transcript_came() -> None:
    """The agent was made to speak while a turn waited for its transcript: what comes then is a turn of its own."""
    side = Side()
    side.speak(960)
    side.read("what is two plus three")
    side.hush(400)
    side.hear_an_answer()
    side.speak(800)
    assert side.notes.finals == ["what is two plus three"]
    assert side.notes.log[-1] == "barge-in"
    assert len({event.item_id for event in side.events if isinstance(event, SpeechStarted)}) == 2
