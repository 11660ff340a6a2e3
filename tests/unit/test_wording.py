"""The trigram model knows unfinished sentences that no word list names, and makes none finished."""

from pathlib import Path

import pytest

from kame_core.errors import UnavailableError
from kame_core.phrasing import Ending, ending_of
from kame_core.wording import EnglishWording


@pytest.fixture(scope="module")
def wording() -> EnglishWording:
    return EnglishWording()


@pytest.mark.parametrize(
    "text", ["our neighbours have", "i ordered a large", "our teacher was extremely", "they are going to build"]
)
def test_sentences_that_never_end_so_are_open(wording: EnglishWording, text: str) -> None:
    assert ending_of(text) is Ending.UNKNOWN
    assert wording(text) is Ending.OPEN


@pytest.mark.parametrize("text", ["how long does it take", "we had pizza for dinner", "i could not sleep last night"])
def test_what_may_be_an_end_is_not_open(wording: EnglishWording, text: str) -> None:
    assert wording(text) is not Ending.OPEN


@pytest.mark.parametrize("text", ["what is the capital of france", "is there a pharmacy nearby", "Good morning."])
def test_what_the_lists_call_finished_stays_so(wording: EnglishWording, text: str) -> None:
    assert wording(text) is Ending.FINISHED


@pytest.mark.parametrize("text", ["i would like to", "and", "what is two plus"])
def test_what_the_lists_call_open_stays_so(wording: EnglishWording, text: str) -> None:
    assert wording(text) is ending_of(text) is Ending.OPEN


@pytest.mark.parametrize(
    "text", ["", "yes", "ich gehe in die stadt", "wir fahren morgen nach hause", "zqxv vrrm", "今日はいい天気ですね"]
)
def test_of_other_languages_and_names_it_knows_nothing(wording: EnglishWording, text: str) -> None:
    assert wording(text) is ending_of(text)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"nowhere\.bin"):
        EnglishWording(tmp_path / "nowhere.bin")
