"""The turn-taking benchmark's tasks, a few of each: they measure what they say, and the goals hold."""

import pytest

from tests.bench.duplex_tasks import (
    ECHO_GAINS_DB,
    Results,
    backchannel_task,
    echo_task,
    interruption_task,
    pause_task,
    pauses_of,
    turn_task,
)
from tests.bench.full_duplex import table
from tests.support.duplex_dialogues import VOICES


def test_a_short_pause_is_not_taken_and_a_very_long_one_after_a_whole_sentence_is() -> None:
    assert not pause_task(0, "i would like to book a table | for four people tonight", 0.5).took_over
    assert not pause_task(0, "my sister moved to | the south of spain last year", 1.3).took_over
    assert pause_task(0, "the meeting was long | and nobody listened to me", 3.0).took_over


@pytest.mark.parametrize("text", ["why do cats purr", "i am going to paris next week"])
def test_the_end_of_a_turn_is_taken_in_time(text: str) -> None:
    turn = turn_task(1, text)
    assert turn.took_over
    assert turn.first_sound_s is not None
    assert turn.first_answer_s is not None
    assert 0.1 < turn.first_sound_s <= 0.65
    assert turn.first_sound_s < turn.first_answer_s <= 1.3


def test_an_interruption_stops_the_voice_and_is_answered() -> None:
    talk = interruption_task(0, "wait what about the winter")
    assert talk.took_over
    assert talk.ducked_s is not None
    assert talk.stopped_s is not None
    assert talk.ducked_s <= 0.3
    assert talk.ducked_s < talk.stopped_s <= 0.9


def test_a_backchannel_lowers_the_voice_only_for_a_moment() -> None:
    noise = backchannel_task(0, "yeah", VOICES[0])
    assert noise.kept_on
    assert 0 < noise.ducked_s <= 0.9


def test_an_echo_does_nothing() -> None:
    echo = echo_task(ECHO_GAINS_DB[0], VOICES[1])
    assert not echo.cut_itself
    assert echo.asked_for_itself == 0


def test_pauses_are_spread_as_the_distribution_says() -> None:
    pauses = pauses_of(32)
    assert len(pauses) == 32
    assert sum(pause <= 0.5 for pause in pauses) == 16
    assert (min(pauses), 1.5 < max(pauses) <= 2.0) == (0.25, True)


def test_a_task_without_outcomes_leaves_its_cells_empty() -> None:
    assert table(Results([], [], [], [], [], [])).count("| – | – | – |") == 12
