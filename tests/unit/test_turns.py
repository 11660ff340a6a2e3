"""Endpointing, barge-in, backchannels: the rules alone, fed as the ear feeds them (a window every 32 ms)."""

from dataclasses import dataclass, field

import pytest

from kame_core.options import TurnDetection
from kame_core.turn_decisions import (
    BargeIn,
    Decision,
    Duck,
    OpenerDue,
    Paused,
    Restore,
    Resumed,
    SettleNow,
    SpeechBegan,
    TurnDropped,
    TurnEnded,
    Unduck,
)
from kame_core.turns import Phase, Turns


@dataclass
class Scene:
    turns: Turns
    now_ms: int = 0
    silence_ms: int = 0
    log: list[tuple[int, Decision]] = field(default_factory=list)

    def speak(self, duration_ms: int) -> None:
        self._pass(duration_ms, voiced=True)

    def hush(self, duration_ms: int) -> None:
        self._pass(duration_ms, voiced=False)

    def _pass(self, duration_ms: int, *, voiced: bool) -> None:
        for _ in range(duration_ms // 32):
            self.now_ms += 32
            self.silence_ms = 0 if voiced else self.silence_ms + 32
            speaking = voiced or self.silence_ms <= 64
            self._note(self.turns.ear(self.now_ms, speaking=speaking, silence_ms=self.silence_ms))

    def read(self, text: str, *, settled: bool = False) -> None:
        self._note(self.turns.transcript(self.now_ms, text, settled=settled))

    def _note(self, decisions: list[Decision]) -> None:
        self.log += [(self.now_ms, decision) for decision in decisions]

    def kinds(self) -> list[type]:
        return [type(decision) for _, decision in self.log]

    def at(self, kind: type) -> int:
        return next(at_ms for at_ms, decision in self.log if isinstance(decision, kind))

    def last(self, kind: type) -> Decision:
        return next(decision for _, decision in reversed(self.log) if isinstance(decision, kind))


ADAPTIVE = TurnDetection()


def scene(detection: TurnDetection | None = ADAPTIVE, *, observes: bool = False) -> Scene:
    return Scene(Turns(detection, observes=observes))


def over_an_answer(detection: TurnDetection | None = ADAPTIVE) -> Scene:
    """In the midst of a long answer, when an echo canceller has long converged."""
    talk = scene(detection)
    talk.turns.agent(True)
    for _ in range(12):
        talk.hush(448)
        talk.turns.agent_says(talk.now_ms, " blah")
    return talk


def pause_that_ended(text: str, settled: bool = True) -> int:
    talk = scene()
    talk.speak(1600)
    talk.hush(200)
    talk.read(text, settled=settled)
    talk.hush(3000)
    ended = talk.last(TurnEnded)
    assert isinstance(ended, TurnEnded)
    return talk.at(TurnEnded) - ended.speech_end_ms


def test_a_finished_sounding_question_ends_sooner_than_an_open_one() -> None:
    finished = pause_that_ended("what is the capital of france")
    unknown = pause_that_ended("the weather was nice yesterday")
    going_on = pause_that_ended("what is the capital of france and")
    assert finished < unknown < going_on
    assert finished <= 360
    assert going_on >= 1400


@pytest.mark.parametrize("text", ["what is the capital of", "what is two plus", "could you um", "i think that the"])
def test_open_endings_wait(text: str) -> None:
    assert pause_that_ended(text) >= 1400


def test_a_pause_is_told_at_160_ms_and_an_opener_is_allowed_after_real_speech() -> None:
    talk = scene()
    talk.speak(960)
    talk.hush(320)
    paused = talk.last(Paused)
    assert isinstance(paused, Paused)
    assert paused.opener
    assert 160 <= talk.at(Paused) - paused.speech_end_ms <= 200


def test_a_cough_gets_no_opener_and_is_no_turn() -> None:
    talk = scene()
    talk.speak(192)
    talk.hush(200)
    talk.read("", settled=True)
    talk.hush(1500)
    assert talk.kinds() == [SpeechBegan, Paused, TurnDropped]
    paused = talk.last(Paused)
    assert isinstance(paused, Paused)
    assert not paused.opener


def test_long_sound_without_words_is_dropped_once_the_transcript_is_settled() -> None:
    talk = scene()
    talk.speak(2000)
    talk.hush(320)
    talk.read("", settled=True)
    talk.hush(1500)
    assert talk.kinds() == [SpeechBegan, Paused, TurnDropped]


def test_going_on_after_a_pause_is_the_same_turn() -> None:
    talk = scene()
    talk.speak(960)
    talk.hush(256)
    talk.speak(640)
    talk.hush(256)
    talk.read("what is two plus three", settled=True)
    talk.hush(640)
    assert talk.kinds() == [SpeechBegan, Paused, Resumed, Paused, OpenerDue, TurnEnded]


def test_a_fixed_pause_overrules_the_adaptive_one() -> None:
    talk = scene(TurnDetection(silence_ms=800))
    talk.speak(960)
    talk.read("what is the capital of france", settled=True)
    talk.hush(1200)
    ended = talk.last(TurnEnded)
    assert isinstance(ended, TurnEnded)
    assert 800 <= talk.at(TurnEnded) - ended.speech_end_ms < 840


def test_speech_over_the_agent_ducks_at_once_and_two_content_words_take_the_turn() -> None:
    talk = over_an_answer()
    talk.speak(320)
    assert talk.kinds() == [Duck]
    talk.read("what about")
    assert talk.kinds() == [Duck, BargeIn]
    assert talk.turns.phase is Phase.SPEECH


def test_long_speech_over_the_agent_takes_the_turn_without_words() -> None:
    talk = over_an_answer()
    talk.speak(800)
    assert talk.kinds() == [Duck, BargeIn]
    assert talk.at(BargeIn) - talk.at(Duck) <= 600


@pytest.mark.parametrize("text", ["mm-hm", "yeah", "uh huh", "okay right"])
def test_a_backchannel_restores_the_voice(text: str) -> None:
    talk = over_an_answer()
    talk.speak(384)
    talk.read(text)
    talk.hush(256)
    assert talk.kinds() == [Duck, Restore, SettleNow]
    restore = talk.last(Restore)
    assert isinstance(restore, Restore)
    assert restore.kind == "backchannel"
    assert talk.at(Restore) - talk.at(Duck) <= 700


def test_a_long_drawn_backchannel_is_none_after_900_ms() -> None:
    talk = over_an_answer()
    talk.speak(320)
    talk.read("mm-hm")
    talk.speak(480)
    assert talk.kinds() == [Duck]
    talk.speak(320)
    assert talk.kinds() == [Duck, BargeIn]


def test_stop_understood_after_the_voice_came_back_still_stops_it() -> None:
    talk = over_an_answer()
    talk.speak(288)
    talk.hush(256)
    assert talk.kinds() == [Duck, Restore, SettleNow]
    talk.read("stop", settled=True)
    assert talk.kinds()[-1] is BargeIn
    talk.hush(700)
    assert talk.kinds()[-1] is TurnEnded


def test_the_remark_is_forgotten_when_its_words_do_not_matter() -> None:
    talk = over_an_answer()
    talk.speak(288)
    talk.hush(256)
    talk.read("mm-hm", settled=True)
    assert talk.turns.phase is Phase.SILENT
    talk.hush(3000)
    assert talk.kinds() == [Duck, Restore, SettleNow]


def test_speech_goes_on_as_a_turn_when_the_agent_ends_meanwhile() -> None:
    talk = over_an_answer()
    talk.speak(192)
    talk.turns.agent(False)
    talk.speak(640)
    assert talk.kinds() == [Duck, SpeechBegan]


def test_without_interruption_the_agent_is_left_alone() -> None:
    talk = over_an_answer(TurnDetection(interrupt_response=False))
    talk.speak(1600)
    talk.read("what is the capital of france")
    talk.hush(640)
    assert talk.kinds() == [SpeechBegan, Paused, TurnEnded]  # neither ducked nor cut: a turn beside it


def test_a_backchannel_beside_an_agent_that_is_not_interrupted_is_no_turn() -> None:
    talk = over_an_answer(TurnDetection(interrupt_response=False))
    talk.speak(640)
    talk.read("mm-hm okay")
    talk.hush(1600)
    assert talk.kinds() == [SpeechBegan, Paused, TurnDropped]
    dropped = talk.last(TurnDropped)
    assert isinstance(dropped, TurnDropped)
    assert dropped.kind == "backchannel"


def test_speech_over_the_agent_takes_nothing_once_interrupting_was_switched_off() -> None:
    talk = over_an_answer()
    talk.speak(192)
    talk.turns.detection = TurnDetection(interrupt_response=False)
    talk.speak(1600)
    assert talk.kinds() == [Duck, SpeechBegan]


def test_the_last_of_the_voice_after_a_commit_is_no_new_turn() -> None:
    talk = scene(None)
    talk.speak(960)
    talk._note(talk.turns.commit(talk.now_ms))
    talk.speak(224)
    talk.hush(640)
    assert talk.kinds() == [SpeechBegan, TurnEnded]
    talk.speak(320)
    assert talk.kinds() == [SpeechBegan, TurnEnded, SpeechBegan]


def test_a_front_end_that_takes_turns_is_only_observed() -> None:
    talk = scene(observes=True)
    talk.turns.agent(True)
    talk.speak(960)
    assert talk.kinds() == [SpeechBegan]


def test_manual_turns_end_by_commit_only() -> None:
    talk = scene(None)
    talk.speak(960)
    talk.read("what is two plus three", settled=True)
    talk.hush(5000)
    assert talk.kinds() == [SpeechBegan]
    decisions = talk.turns.commit(talk.now_ms)
    assert [type(decision) for decision in decisions] == [TurnEnded]
    assert talk.turns.commit(talk.now_ms) == []


def with_a_prompt_recogniser() -> Scene:
    """Two turns have shown that its partials hold every word when a pause is noticed."""
    talk = scene()
    for _ in range(2):
        talk.speak(960)
        talk.read("where is the cat")
        talk.hush(192)
        talk.read("where is the cat", settled=True)
        talk.hush(640)
    talk.log.clear()
    return talk


def test_no_opener_into_words_that_sound_open_until_the_pause_is_long() -> None:
    talk = with_a_prompt_recogniser()
    talk.speak(960)
    talk.read("what is the capital of")
    talk.hush(192)
    assert not paused(talk).opener
    talk.hush(96)
    talk.read("what is the capital of", settled=True)
    talk.hush(512)
    assert OpenerDue not in talk.kinds()
    talk.hush(256)
    assert talk.kinds()[-1] is OpenerDue
    assert 900 <= talk.silence_ms <= 1100


def test_what_a_slow_recogniser_has_read_so_far_holds_no_opener_back() -> None:
    talk = scene()
    talk.speak(960)
    talk.read("what is the capital of")
    talk.hush(192)
    assert paused(talk).opener


def test_the_opener_comes_with_the_reading_that_completes_the_words() -> None:
    talk = with_a_prompt_recogniser()
    talk.speak(960)
    talk.read("what is the capital of")
    talk.hush(288)
    talk.read("what is the capital of france", settled=True)
    assert talk.kinds() == [SpeechBegan, Paused, OpenerDue]


def test_a_recogniser_that_is_slow_to_settle_holds_no_opener_back() -> None:
    talk = with_a_prompt_recogniser()
    talk.speak(960)
    talk.read("what is the capital of")
    talk.hush(448)
    assert talk.kinds() == [SpeechBegan, Paused, OpenerDue]


def test_who_went_on_over_an_opener_gets_the_next_one_later() -> None:
    talk = scene()
    talk.speak(960)
    talk.read("i want a table for two")
    talk.hush(192)
    assert paused(talk).opener
    talk.speak(320)
    talk.read("i want a table for two and a chair")
    talk.hush(192)
    assert not paused(talk).opener
    talk.read("i want a table for two and a chair", settled=True)
    talk.hush(128)
    assert OpenerDue not in talk.kinds()
    talk.hush(96)
    assert talk.kinds()[-1] is OpenerDue


def paused(talk: Scene) -> Paused:
    decision = talk.last(Paused)
    assert isinstance(decision, Paused)
    return decision


def test_a_speaker_who_pauses_often_is_given_more_time() -> None:
    waits = []
    for pauses in range(3):
        talk = scene()
        for _ in range(pauses):
            talk.speak(640)
            talk.hush(320)
        talk.speak(640)
        talk.hush(224)
        talk.read("we went to the lake yesterday", settled=True)
        talk.hush(2500)
        ended = talk.last(TurnEnded)
        assert isinstance(ended, TurnEnded)
        waits.append(talk.at(TurnEnded) - ended.speech_end_ms)
    assert waits == sorted(set(waits))
    assert waits[-1] <= 1_900


@pytest.mark.parametrize(
    ("turn_end", "least_ms", "most_ms"), [(0.9, 320, 360), (0.5, 880, 920), (0.1, 1800, 1850), (None, 880, 920)]
)
def test_a_recognisers_own_opinion_overrules_the_wording(turn_end: float | None, least_ms: int, most_ms: int) -> None:
    talk = scene()
    talk.speak(1600)
    talk.hush(224)
    talk._note(talk.turns.transcript(talk.now_ms, "the weather was nice", settled=True, turn_end=turn_end))
    talk.hush(3000)
    ended = talk.last(TurnEnded)
    assert isinstance(ended, TurnEnded)
    assert least_ms <= talk.at(TurnEnded) - ended.speech_end_ms <= most_ms


def test_an_opinion_counts_for_its_own_pause_only() -> None:
    talk = scene()
    talk.speak(960)
    talk._note(talk.turns.transcript(talk.now_ms, "the weather was nice", settled=False, turn_end=0.05))
    talk.hush(256)
    talk.speak(320)
    talk.read("the weather was nice yesterday", settled=True)
    talk.hush(1500)
    assert talk.kinds()[-1] is TurnEnded


def test_going_on_before_the_answer_is_heard_takes_the_turn_back_at_once() -> None:
    talk = scene()
    talk.turns.agent(True)
    talk.speak(288)
    assert talk.kinds() == [Duck, BargeIn]


def test_going_on_in_the_first_second_of_an_answer_takes_the_turn_sooner_than_later_on() -> None:
    early, late = over_an_answer(), over_an_answer()
    early.turns.agent(False)
    early.turns.agent(True)
    early.turns.agent_says(early.now_ms, " So")
    early.hush(320)
    for talk in (early, late):
        talk.speak(800)
        assert talk.kinds() == [Duck, BargeIn]
    assert early.at(BargeIn) - early.at(Duck) < late.at(BargeIn) - late.at(Duck)


def first_words() -> Scene:
    """The agent's first words in this conversation: no echo canceller has converged."""
    talk = scene()
    talk.turns.agent(True)
    for word in ("let", "me", "tell", "you"):
        talk.hush(352)
        talk.turns.agent_says(talk.now_ms, f" {word}")
    return talk


def test_in_the_first_seconds_sound_alone_does_not_take_the_turn() -> None:
    talk = first_words()
    talk.speak(1200)
    assert talk.kinds() == [Duck]
    talk.speak(640)
    assert talk.kinds() == [Duck, BargeIn]


def test_in_the_first_seconds_words_take_it_that_are_not_the_agents() -> None:
    talk = first_words()
    talk.speak(320)
    talk.read("tell you")
    assert BargeIn not in talk.kinds()
    talk.read("no wait please")
    assert talk.kinds()[-1] is BargeIn


def test_an_echo_gives_the_voice_back_while_it_lasts_and_later_ones_do_not_lower_it() -> None:
    talk = first_words()
    talk.speak(320)
    talk.read("tell you")
    assert [kind for kind in talk.kinds() if kind is not Duck] == [Unduck]
    talk.turns.agent_says(talk.now_ms, " something")
    talk.speak(320)
    talk.read("tell you something")
    talk.speak(1600)
    talk.hush(320)
    assert BargeIn not in talk.kinds()
    restore = talk.last(Restore)
    assert isinstance(restore, Restore)
    assert restore.kind == "false_interruption"
    talk.read("tell you something", settled=True)
    talk.turns.agent_says(talk.now_ms, " about")
    talk.speak(320)
    assert talk.last(Duck) == Duck(lower=False)


def test_an_echo_that_outlasts_the_agent_is_no_turn() -> None:
    talk = first_words()
    talk.speak(320)
    talk.read("tell you")
    talk.turns.agent(False)
    talk.speak(320)
    talk.hush(2500)
    assert TurnEnded not in talk.kinds()
    assert SpeechBegan not in talk.kinds()
