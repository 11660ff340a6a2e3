"""Word lists of the turn rules, and when two questions are the same."""

import pytest

from kame_core.phrasing import Ending, ending_of, is_backchannel, length_in_words, normalised, takes_the_turn, words_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What is it?", "what is  it", True),
        ("It costs 3.5 euros.", "it costs 3.5 euros", True),
        ("It costs 3.5 euros", "it costs 35 euros", False),
        ("what is 3 - 4", "what is 3 + 4", False),
        ("don't", "dont", False),
        ("«Ça va ?»", "ça va", True),
    ],
)
def test_what_counts_as_the_same_question(one: str, other: str, same: bool) -> None:
    assert (normalised(one) == normalised(other)) is same


@pytest.mark.parametrize(
    ("text", "words", "length"),
    [
        ("Don't re-read it, 3.5!", ["don't", "re-read", "it", "3", "5"], 5),
        ("cafe\u0301", ["cafe\u0301"], 1),
        ("अच्छा", ["अच्छा"], 1),
        ("मुझे एक सवाल है।", ["मुझे", "एक", "सवाल", "है"], 4),
        ("می\u200cخواهم", ["می\u200cخواهم"], 1),
        ("ขอบคุณ", ["ข", "อ", "บ", "คุ", "ณ"], 1.25),
        ("iPhone手机。", ["iphone", "手", "机"], 2),
        ("そうですね", ["そ", "う", "で", "す", "ね"], 1.25),
    ],
)
def test_words_outside_alphabets(text: str, words: list[str], length: float) -> None:
    assert words_of(text) == words
    assert length_in_words(words) == length


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("अच्छा", False),
        ("मुझे एक सवाल है", True),
        ("ขอบคุณ", False),
        ("好的", False),
        ("等一下我想问", True),
        ("なるほど", False),
        ("ちょっと待って", True),
    ],
)
def test_a_listeners_word_takes_no_turn_in_any_writing_and_a_question_does(text: str, takes: bool) -> None:
    assert takes_the_turn(text) is takes


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("what is the capital of france", Ending.FINISHED),
        ("how many feet are in a mile", Ending.FINISHED),
        ("thank you", Ending.FINISHED),
        ("I live in Paris.", Ending.FINISHED),
        ("मैं पेरिस में रहता हूँ।", Ending.FINISHED),
        ("我住在巴黎。", Ending.FINISHED),
        ("我住在巴黎，", Ending.OPEN),
        ("what is the capital of", Ending.OPEN),
        ("what is two plus", Ending.OPEN),
        ("i went home and", Ending.OPEN),
        ("well, you know,", Ending.OPEN),
        ("the weather was nice yesterday", Ending.UNKNOWN),
        ("", Ending.UNKNOWN),
    ],
)
def test_how_a_partial_ends(text: str, ending: Ending) -> None:
    assert ending_of(text) is ending


@pytest.mark.parametrize("text", ["mm-hm", "Yeah.", "uh huh", "okay right", "I see"])
def test_listeners_noises_take_no_turn(text: str) -> None:
    assert is_backchannel(text)
    assert not takes_the_turn(text)


@pytest.mark.parametrize("text", ["stop", "no wait", "what about spain", "yeah but why", "okay stop please"])
def test_content_takes_the_turn(text: str) -> None:
    assert takes_the_turn(text)


@pytest.mark.parametrize("text", ["", "spain"])
def test_one_content_word_alone_is_not_enough(text: str) -> None:
    assert not takes_the_turn(text)
    assert not is_backchannel(text)


@pytest.mark.parametrize(
    "text",
    [
        "can you explain why",
        "if it rains tomorrow",
        "when i was young",
        "i would like to know",
        "she told me that",
        "please tell me",
        "i am going to",
        "we went there because",
        "what happens when you",
    ],
)
def test_words_that_call_for_more_sound_open(text: str) -> None:
    assert ending_of(text) is Ending.OPEN


@pytest.mark.parametrize(
    "text",
    [
        "who told you that",
        "what is the name",
        "i like this",
        "in my opinion the best",
        "where are you from",
        "how old are you",
        "if it rains tomorrow what will you do",
    ],
)
def test_words_that_may_go_on_or_not_tell_nothing(text: str) -> None:
    assert ending_of(text) is Ending.UNKNOWN


@pytest.mark.parametrize("text", ["when was the war won", "why did it rain", "if it rains what should we wear", "stop"])
def test_a_whole_turn_is_not_open_whatever_it_begins_with(text: str) -> None:
    assert ending_of(text) is not Ending.OPEN
