"""Candidates as utterances of a length the model knows: what is read, how far, and where a newer one goes on."""

import pytest

from kame_core.frontend.base import OracleAdopt, OracleFinish, OracleProgress, OracleText, OracleUpdate
from kame_core.frontend.moshi.utterances import MOST_WORDS, UtteranceCursor
from tests.support.oracle_updates import spoken


class Letters:
    """One token for each word, so that tokens can be read."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def encode(self, text: str) -> list[int]:
        for word in text.split()[len(self.words) :]:
            self.words.append(word)
        return list(range(len(text.split())))


START, PAD = 9000, 9001


def read(cursor: UtteranceCursor, ticks: int, *, aloud: str = "") -> list[int]:
    tokens = []
    for _ in range(ticks):
        tokens.append(cursor.next_token())
    for word in aloud.split():
        cursor.said(f" {word}")
    return tokens


def cursor_with(*updates: OracleUpdate) -> UtteranceCursor:
    cursor = UtteranceCursor(Letters(), START, PAD)
    for update in updates:
        cursor.apply(update)
    return cursor


def test_a_short_candidate_is_start_and_its_tokens() -> None:
    cursor = cursor_with(*spoken("one two three."))
    assert read(cursor, 6) == [START, 0, 1, 2, PAD, PAD]
    assert cursor.progress.finished
    assert not cursor.pending


def test_words_wait_until_they_are_complete() -> None:
    cursor = cursor_with(OracleAdopt("a"), OracleText("a", "one tw"))
    assert read(cursor, 3) == [START, 0, PAD]
    cursor.apply(OracleText("a", "o three"))
    assert read(cursor, 2) == [1, PAD]
    cursor.apply(OracleText("b", " foreign"))
    cursor.apply(OracleFinish("b"))
    assert read(cursor, 1) == [PAD]
    cursor.apply(OracleFinish("a"))
    assert read(cursor, 2) == [2, PAD]


def sentence(words: int, name: str) -> str:
    return " ".join([f"{name}{n}" for n in range(words - 1)] + [f"{name}end."])


def utterances(text: str, *, aloud: bool = True) -> list[int]:
    """Words of each utterance of a candidate that is read, and said, to its end."""
    cursor = cursor_with(*spoken(text))
    lengths: list[int] = []
    waiting = text.split()
    for _ in range(2000):
        token = cursor.next_token()
        if token == START:
            lengths.append(0)
        elif token != PAD:
            lengths[-1] += 1
        elif aloud and waiting and not cursor.progress.finished:
            cursor.said(f" {waiting.pop(0)}")
        if cursor.progress.finished:
            break
    return lengths


def test_utterances_end_with_sentences_and_hold_thirty_words_at_most() -> None:
    assert utterances(" ".join([sentence(10, "a"), sentence(10, "b"), sentence(10, "c"), sentence(5, "d")])) == [30, 5]
    assert utterances(" ".join([sentence(14, "a"), sentence(20, "b")])) == [14, 20]
    assert utterances(sentence(70, "a")) == [30, 30, 10]
    clauses = " ".join(["one"] * 24) + " two, " + sentence(20, "b")
    assert utterances(clauses) == [25, 20]
    assert MOST_WORDS == 30


def test_the_next_utterance_waits_for_the_voice_but_not_for_ever() -> None:
    text = " ".join([sentence(14, "a"), sentence(20, "b")])
    cursor = cursor_with(*spoken(text))
    assert read(cursor, 15)[0] == START
    assert read(cursor, 40) == [PAD] * 40  # it has not said them
    read(cursor, 0, aloud=sentence(14, "a"))
    assert read(cursor, 2) == [START, 0]
    silent = utterances(text, aloud=False)
    assert silent == [14, 20]


def test_signs_no_oracle_had_are_left_out() -> None:
    letters = Letters()
    cursor = UtteranceCursor(letters, START, PAD)
    for update in spoken('He said: "well" — (perhaps) *that* is it! Now; then…'):
        cursor.apply(update)
    read(cursor, 20)
    assert letters.words == ["He", "said,", "well", "perhaps", "that", "is", "it.", "Now,", "then."]
    assert cursor.progress.finished


def test_the_voice_is_followed_where_it_leaves_words_out_and_not_where_it_says_others() -> None:
    text = "The capital of France is Paris, of course."
    cursor = cursor_with(*spoken(text))
    read(cursor, 12)
    assert not cursor.said(" Well")
    assert cursor.progress.spoken_chars == 0
    assert cursor.said(" the")
    assert cursor.said(" cap")
    assert cursor.said("ital")
    assert cursor.said(" is")  # it left out two words
    assert cursor.progress.spoken_chars == len("The capital of France is")
    assert not cursor.said(" Berlin")
    assert cursor.said(" course")
    assert cursor.said(".")
    assert cursor.progress.spoken_chars == len(text)


def going_on(first: str, ticks: int, *, aloud: str = "") -> UtteranceCursor:
    """A cursor that has read so much of a candidate that is still growing."""
    cursor = cursor_with(OracleAdopt("a"), OracleText("a", first))
    read(cursor, ticks, aloud=aloud)
    return cursor


def test_a_newer_candidate_that_repeats_what_was_read_goes_on_behind_it() -> None:
    cursor = going_on("Blue, or green or ", 4, aloud="Blue,")
    assert (cursor.progress.read_chars, cursor.progress.spoken_chars) == (14, 5)
    cursor.apply(OracleAdopt("b"))
    cursor.apply(OracleText("b", "blue or "))  # as far as it has come it says the same
    assert read(cursor, 2) == [PAD, PAD]  # and the rest of the older one counts no longer
    progress = cursor.progress
    assert (progress.candidate_id, progress.read_chars, progress.spoken_chars) == ("b", 7, 4)
    cursor.apply(OracleText("b", " green, as a rule."))
    assert read(cursor, 3) == [3, 4, PAD]  # "as", "a"; the last word may still grow
    cursor.apply(OracleFinish("b"))
    assert read(cursor, 2) == [5, PAD]
    assert cursor.said(" or")
    assert cursor.progress.spoken_chars == 7
    assert cursor.progress.finished


def test_the_same_answer_again_is_not_read_again() -> None:
    cursor = cursor_with(*spoken("one two three."))
    read(cursor, 6, aloud="one two three.")
    for update in spoken("One two three.", "b"):
        cursor.apply(update)
    assert read(cursor, 3) == [PAD] * 3
    assert cursor.progress == OracleProgress("b", 14, 14, True)


@pytest.mark.parametrize(
    ("newer", "words"), [("blue and green or red.", 5), ("Blue or.", 2), ("Red, or green or blue.", 5)]
)
def test_a_newer_candidate_that_says_something_else_is_read_from_its_beginning(newer: str, words: int) -> None:
    cursor = going_on("Blue, or green or ", 4, aloud="Blue, or")
    for update in spoken(newer, "b"):
        cursor.apply(update)
    assert cursor.progress.spoken_chars == 0
    assert read(cursor, words + 2) == [START, *range(words), PAD]


def test_what_was_read_long_ago_and_never_said_is_read_again() -> None:
    for ticks, first in ((10, PAD), (40, START)):
        cursor = cursor_with(*spoken("one two three."))
        read(cursor, ticks)
        for update in spoken("one two three.", "b"):
            cursor.apply(update)
        assert read(cursor, 1) == [first]


def test_of_many_candidates_for_the_same_answer_each_word_is_read_once() -> None:
    """As an LLM writes them while the user still speaks: each begins anew, and is given up for the next one."""
    text = " ".join([sentence(14, "a"), sentence(20, "b")])
    cursor = cursor_with()
    tokens = []
    aloud = text.split()
    for number, words in enumerate((3, 9, 14, 6, 20, 34)):
        name = f"candidate {number}"
        cursor.apply(OracleAdopt(name))
        for word in text.split()[:words]:
            cursor.apply(OracleText(name, f"{word} "))
            tokens.append(cursor.next_token())
            if tokens[-1] == PAD and aloud:
                cursor.said(f" {aloud.pop(0)}")
    cursor.apply(OracleFinish(name))
    tokens += read(cursor, 40)
    assert [token for token in tokens if token != PAD] == [START, *range(14), START, *range(20)]
    assert cursor.progress.read_chars == len(text)
