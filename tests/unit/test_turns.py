"""Endpointing and openers: the rules alone."""

import pytest

from kame_core.endpointing import PauseLimits
from kame_core.options import TurnDetection
from kame_core.turn_decisions import OpenerDue, Paused, Resumed, SpeechBegan, TurnDropped, TurnEnded
from tests.support.turn_scene import Scene, scene


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
    talk.hush(352)
    talk.speak(640)
    talk.hush(352)
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


def going_on() -> Scene:
    """The user has gone on over an opener."""
    talk = scene()
    talk.speak(960)
    talk.read("tell me")
    talk.hush(352)
    talk.speak(640)
    talk.log.clear()
    return talk


def test_no_second_opener_into_words_that_sound_open_until_the_pause_is_long() -> None:
    talk = going_on()
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


def test_words_that_sound_open_hold_no_first_opener_back_for_the_last_one_may_not_be_read_yet() -> None:
    talk = scene()
    talk.speak(960)
    talk.read("what is the capital of")
    talk.hush(192)
    assert paused(talk).opener


def test_the_opener_comes_with_the_reading_that_completes_the_words() -> None:
    talk = going_on()
    talk.read("what is the capital of")
    talk.hush(368)
    talk.read("what is the capital of france", settled=True)
    talk.hush(32)
    assert talk.kinds() == [Paused, OpenerDue]


def test_a_recogniser_that_is_slow_to_settle_holds_no_opener_back() -> None:
    talk = going_on()
    talk.read("what is the capital of")
    talk.hush(448)
    assert talk.kinds() == [Paused, OpenerDue]


def test_a_pause_that_outlasts_a_finished_turns_gets_an_opener_also_where_the_answer_is_known() -> None:
    talk = scene()
    talk.speak(960)
    talk.read("twelve divided by four")
    talk.hush(192)
    assert paused(talk).opener
    talk.read("twelve divided by four", settled=True)
    talk.hush(192)
    assert talk.last(OpenerDue) == OpenerDue(known=True)
    assert talk.silence_ms >= PauseLimits().finished_ms


def test_a_gap_before_a_plosive_is_no_hesitation() -> None:
    talk = scene()
    talk.speak(640)
    talk.read("what day")
    talk.hush(192)
    talk.speak(640)
    talk.read("what day is it today")
    talk.hush(192)
    assert paused(talk).opener


def test_who_went_on_over_an_opener_gets_the_next_one_later() -> None:
    talk = scene()
    talk.speak(960)
    talk.read("i want a table for two")
    talk.hush(352)
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
    talk.hush(352)
    talk.speak(320)
    talk.read("the weather was nice yesterday", settled=True)
    talk.hush(1500)
    assert talk.kinds()[-1] is TurnEnded
