"""The rest of an answer that a listener's noise cut off."""

import pytest

from kame_core.unsaid import unsaid

ANSWER = "Bees dance. They show each other where the flowers are, and how far. Some dance in the dark."


@pytest.mark.parametrize(
    ("heard", "rest"),
    [
        (
            "Bees dance. They show each other where the flowers",
            "where the flowers are, and how far. Some dance in the dark.",
        ),
        (
            "Sure. Bees dance. They show",
            "They show each other where the flowers are, and how far. Some dance in the dark.",
        ),
        ("Bees dance.", "They show each other where the flowers are, and how far. Some dance in the dark."),
        (ANSWER, ""),
        ("Sure.", ""),
        ("", ""),
    ],
)
def test_it_begins_a_few_words_back_in_the_same_sentence(heard: str, rest: str) -> None:
    assert unsaid(ANSWER, heard) == rest


def test_the_same_words_twice_are_told_apart_by_what_came_before() -> None:
    answer = "a rose is a rose is a rose is red"
    assert unsaid(answer, "a rose is a rose") == "is a rose is a rose is red"


def test_of_an_answer_that_was_still_being_written_only_whole_sentences() -> None:
    begun = "Bees dance. They show each other where the flowers are. Some da"
    assert unsaid(begun, "Bees dance. They show", whole=False) == "They show each other where the flowers are."
    assert unsaid("Bees dance and", "Bees", whole=False) == ""
