"""The turn-taking benchmark's tasks, a few of each: they measure what they say, and the goals hold."""

import pytest

from kame_core.audio import SAMPLE_RATE_HZ
from tests.bench.duplex_tasks import (
    ECHO_GAINS_DB,
    Interruption,
    Results,
    backchannel_task,
    cut_anywhere,
    echo_task,
    interruption_task,
    pause_task,
    pauses_of,
    turn_task,
)
from tests.bench.full_duplex import missed, table
from tests.support.duplex_dialogues import VOICES
from tests.support.speech import say
from tests.support.spoken_pauses import say_parts


def test_a_short_pause_is_not_taken_and_a_very_long_one_after_a_whole_sentence_is() -> None:
    assert not pause_task(0, "i would like to book a table | for four people tonight", 0.5).took_over
    assert not pause_task(0, "my sister moved to | the south of spain last year", 1.3).took_over
    assert not pause_task(0, "the reason i am calling | is that my card was blocked", 1.2).took_over
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
    noise = backchannel_task(0, ("uh huh", "uh-huh", 1.4), VOICES[0])
    assert noise.kept_on
    assert noise.went_on
    assert 0 < noise.ducked_s <= 0.7


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
    nothing = Results([], [], [], [], [], [], [], [])
    assert table(nothing).count("| – | – | – |") == 14
    assert missed(nothing) == ""


def test_a_missed_goal_is_said_in_words() -> None:
    outcomes = [Interruption(False, 0.1, stopped_s, True, 0.3) for stopped_s in (0.6, 0.8)]
    assert missed(Results([], [], [], [], [], outcomes[:1], [], [])) == ""
    assert "its p95 is 790 ms, not 700 ms" in missed(Results([], [], [], [], [], outcomes, [], []))


def test_a_pause_anywhere_is_between_two_words_and_not_always_the_same() -> None:
    text = "we had pizza for dinner"
    cut = {cut_anywhere(number, text) for number in range(6)}
    assert all(sentence.replace("| ", "") == text and 2 <= sentence.split().index("|") <= 4 for sentence in cut)
    assert len(cut) == 3


async def test_a_sentence_said_in_one_breath_is_cut_between_its_words() -> None:
    parts = await say_parts(["my sister moved", "to the south", "of spain"], "en-us", 150)
    lengths = [part.size for part in parts]
    whole = say("my sister moved to the south of spain", "en-us", 150)
    assert len(parts) == 3
    assert min(lengths) > 0.2 * SAMPLE_RATE_HZ
    assert 0.8 * whole.size < sum(lengths) < 1.1 * whole.size
