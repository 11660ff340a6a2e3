"""Barge-in, backchannels, echo: the rules alone where the user speaks over the agent."""

import pytest

from kame_core.options import TurnDetection
from kame_core.prosody import Prosody
from kame_core.turn_decisions import (
    BargeIn,
    Duck,
    Paused,
    Restore,
    SettleNow,
    SpeechBegan,
    TurnDropped,
    TurnEnded,
    Unduck,
)
from kame_core.turns import Phase
from tests.support.turn_scene import Scene, over_an_answer, scene

HUM = Prosody(articulation_db=2.0)


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


def test_who_goes_on_after_a_listeners_word_takes_the_turn_after_a_while() -> None:
    talk = over_an_answer()
    talk.speak(320)
    talk.read("okay")
    talk.speak(320)
    assert BargeIn not in talk.kinds()
    talk.speak(160)
    assert talk.kinds()[-1] is BargeIn


@pytest.mark.parametrize("text", ["", "mm-hm"])
def test_a_hum_gives_the_voice_back_while_it_lasts_and_takes_no_turn(text: str) -> None:
    talk = over_an_answer()
    talk.voice = HUM
    talk.speak(320)
    talk.read(text)
    talk.speak(640)
    assert talk.kinds() == [Duck, Unduck]
    assert talk.at(Unduck) - talk.at(Duck) <= 640
    talk.hush(256)
    assert talk.kinds() == [Duck, Unduck, Restore, SettleNow]


def test_words_after_a_hum_still_take_the_turn() -> None:
    talk = over_an_answer()
    talk.voice = HUM
    talk.speak(800)
    talk.read("well what about the price")
    assert talk.kinds() == [Duck, Unduck, BargeIn]


def test_a_sound_that_dies_away_is_waited_for() -> None:
    talk = over_an_answer()
    talk.speak(480)
    talk.voice = Prosody(articulation_db=8.0, decay_db=20.0)
    talk.speak(128)
    talk.hush(256)
    assert BargeIn not in talk.kinds()


def cut_by_its_sound(text: str, *, unsaid: bool) -> Scene:
    """Three quarters of a second of sound over an answer, understood afterwards."""
    talk = over_an_answer()
    talk.speak(736)
    assert talk.kinds()[-1] is BargeIn
    if unsaid:
        talk.turns.cut_short()
    talk.hush(192)
    talk.read(text, settled=True)
    talk.hush(64)
    return talk


@pytest.mark.parametrize("text", ["exactly", ""])
def test_an_answer_that_was_cut_for_nothing_is_given_back(text: str) -> None:
    talk = cut_by_its_sound(text, unsaid=True)
    assert talk.last(TurnDropped) == TurnDropped("backchannel" if text else "false_interruption", text)
    assert not paused(talk).opener


def paused(talk: Scene) -> Paused:
    last = talk.last(Paused)
    assert isinstance(last, Paused)
    return last


def test_an_interruption_is_none_the_less_one_where_the_agent_had_no_more_to_say() -> None:
    talk = cut_by_its_sound("yes", unsaid=False)
    talk.hush(1400)
    assert TurnDropped not in talk.kinds()
    assert TurnEnded in talk.kinds()


def test_an_interruption_with_words_is_one() -> None:
    talk = cut_by_its_sound("the other one please", unsaid=True)
    talk.hush(1400)
    assert TurnDropped not in talk.kinds()
    assert TurnEnded in talk.kinds()


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
    assert talk.kinds() == [Duck, Unduck]
    talk.speak(640)
    assert talk.kinds() == [Duck, Unduck, BargeIn]


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
