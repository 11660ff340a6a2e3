"""Steady text from successive readings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kame_core.stt.local_agreement import LocalAgreement


def test_what_two_readings_agree_on_is_stable() -> None:
    agreement = LocalAgreement()
    assert agreement.push("What is") == "What is"
    assert agreement.stable == ""
    assert agreement.push("What is the capital") == "What is the capital"
    assert agreement.stable == "What is"
    assert agreement.push("What is the captain of France?") == "What is the captain of France?"
    assert agreement.stable == "What is the"


def test_stable_words_keep_their_first_agreed_spelling() -> None:
    agreement = LocalAgreement()
    agreement.push("Tell me")
    agreement.push("Tell me about")
    assert agreement.push("tell Me about Rome") == "Tell me about Rome"
    assert agreement.stable == "Tell me about"


def test_a_full_stop_at_the_end_of_the_sound_is_not_stable() -> None:
    agreement = LocalAgreement()
    agreement.push("I think.")
    assert agreement.push("I think.") == "I think."
    assert agreement.stable == "I think"
    assert agreement.push("I think that is it.") == "I think that is it."
    assert agreement.push("I think that is it. And") == "I think that is it. And"
    assert agreement.stable == "I think that is it."


@pytest.mark.parametrize(
    ("newest", "text"),
    [
        ("Well the weather today is fine", "Well, the weather today is fine"),  # a comma less
        ("weather today is fine", "Well, the weather today is fine"),  # the beginning is lost
        ("Well, the whether today is fine", "Well, the weather today is fine"),  # a stable word is read anew
        ("Well, the", "Well, the weather"),  # shorter than what is stable
        ("", "Well, the weather"),
    ],
)
def test_a_reading_that_contradicts_what_is_stable_only_adds(newest: str, text: str) -> None:
    agreement = LocalAgreement()
    agreement.push("Well, the weather today")
    agreement.push("Well, the weather to")
    assert agreement.stable == "Well, the weather"
    assert agreement.push(newest) == text


def test_scripts_without_spaces_agree_by_character() -> None:
    agreement = LocalAgreement()
    agreement.push("今日の天気")
    assert agreement.push("今日の天候は") == "今日の天候は"
    assert agreement.stable == "今日の天"


def test_settling_may_change_everything() -> None:
    agreement = LocalAgreement()
    agreement.push("two bee or")
    agreement.push("two bee or")
    assert agreement.settle("To be or not to be.") == "To be or not to be."
    assert agreement.stable == ""
    assert agreement.push("To be or not to be, that") == "To be or not to be, that"
    assert agreement.stable == "To be or not to be"


def test_what_was_said_before_the_window_is_kept() -> None:
    agreement = LocalAgreement()
    agreement.push("one two three four five six")
    agreement.push("one two three four five six seven")
    assert agreement.settle("hour five six seven eight.", clipped=True) == "one two three four five six seven eight."
    assert agreement.push("six seven eight nine") == "one two three four five six seven eight nine"


@given(st.lists(st.text("ab ,.天気'", max_size=20), max_size=8))
def test_every_text_begins_with_all_that_was_stable_before(readings: list[str]) -> None:
    agreement = LocalAgreement()
    for reading in readings:
        before = agreement.stable
        text = agreement.push(reading)
        assert text.startswith(before)
        assert agreement.stable.startswith(before)
        assert text.startswith(agreement.stable)
