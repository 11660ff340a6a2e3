"""Spoken numbers: to words and back, and sums over them against Python's own."""

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kame_core.backend.offline.arithmetic import answer_arithmetic
from kame_core.backend.offline.numbers import (
    parse_cardinal,
    parse_ordinal,
    parse_year,
    speak_integer,
    speak_large,
    speak_number,
    speak_ordinal,
    speak_year,
    whole_number,
)

OPERATORS = {"plus": lambda a, b: a + b, "minus": lambda a, b: a - b, "times": lambda a, b: a * b}


def said_number(text: str) -> Fraction | None:
    words = text.split()
    sign = -1 if words[:1] == ["minus"] else 1
    value = whole_number(words[1:] if sign < 0 else words)
    return None if value is None else sign * value


@given(st.integers(0, 10**9))
@example(0)
@example(10**9)
@example(1_000_001)
@example(100_100)
def test_words_and_back(value: int) -> None:
    words = speak_integer(value).split()
    assert parse_cardinal(words) == (value, len(words))
    assert whole_number(words) == value


@given(st.integers(0, 10**9))
def test_the_word_and_is_allowed_after_a_hundred(value: int) -> None:
    words = speak_integer(value).replace("hundred ", "hundred and ").replace("hundred and thousand", "hundred thousand")
    words = words.replace("hundred and million", "hundred million")
    assert whole_number(words.split()) == value


@given(st.integers(0, 99))
def test_ordinals_and_back(value: int) -> None:
    words = speak_ordinal(value).split()
    assert parse_ordinal(words) == (value, len(words))


@given(st.integers(1010, 2999).filter(lambda year: year % 100 != 0))
def test_years_and_back(year: int) -> None:
    assert parse_year(speak_year(year).split()) == year


@given(st.integers(0, 999_999), st.sampled_from(sorted(OPERATORS)), st.integers(0, 999_999))
def test_sums_equal_pythons(first: int, operator: str, second: int) -> None:
    reply = answer_arithmetic(f"what is {speak_integer(first)} {operator} {speak_integer(second)}")
    expected = OPERATORS[operator](first, second)
    assert reply is not None
    assert reply.value == expected
    said = reply.text.rstrip(".").lower().removeprefix("that makes ").split(" is ")[-1]
    if not said.startswith("about "):
        assert said_number(said) == expected


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_quotients_are_exact_inside_and_close_when_said(first: int, second: int) -> None:
    reply = answer_arithmetic(f"{first} / {second}".replace("/", "divided by"))
    assert reply is not None
    assert reply.value == Fraction(first, second)
    spoken, exact = speak_number(Fraction(first, second))
    said = said_number(spoken) if "times ten" not in spoken else None
    if said is not None:
        assert said == Fraction(first, second) if exact else abs(said / Fraction(first, second) - 1) < Fraction(1, 1000)


@given(st.decimals(min_value=0, max_value=9999, places=3, allow_nan=False, allow_infinity=False))
def test_decimals_round_trip(value: object) -> None:
    fraction = Fraction(str(value))
    spoken, exact = speak_number(fraction)
    assert exact
    assert said_number(spoken) == fraction


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("a hundred", 100),
        ("twelve hundred", 1200),
        ("two thousand and five", 2005),
        ("three point one four", Fraction(314, 100)),
        ("three point fourteen", Fraction(314, 100)),
        ("three point oh five", Fraction(305, 100)),
        ("point five", Fraction(1, 2)),
        ("two and a half", Fraction(5, 2)),
        ("one and three quarters", Fraction(7, 4)),
        ("two thirds", Fraction(2, 3)),
        ("a quarter", Fraction(1, 4)),
        ("a dozen", 12),
        ("3.5 million", 3_500_000),
        ("one point two billion", 1_200_000_000),
        ("five hundred thousand", 500_000),
        ("ten million twenty thousand thirty", 10_020_030),
    ],
)
def test_spoken_forms(words: str, value: Fraction | int) -> None:
    assert whole_number(words.split()) == value


@pytest.mark.parametrize(
    "words",
    ["", "and", "twenty twenty", "one two", "five hundred hundred", "two thousand million five hundred thousand",
              "twenty fifth", "one thirds", "point", "1.2.3", "²", "thousand thousand"]
)  # fmt: skip
def test_what_is_no_single_number(words: str) -> None:
    assert whole_number(words.split()) is None


@pytest.mark.parametrize(
    ("value", "spoken"),
    [
        (67_000_000, "sixty seven million"),
        (9_730_000, "nine point seven three million"),
        (327_167_434, "three hundred twenty seven million"),
        (999_999_999, "one billion"),
        (505_370, "five hundred five thousand"),
        (921, "nine hundred twenty one"),
    ],
)
def test_large_numbers_are_rounded(value: int, spoken: str) -> None:
    assert speak_large(value)[0] == spoken


@pytest.mark.parametrize(
    ("year", "spoken"),
    [(1776, "seventeen seventy six"), (1900, "nineteen hundred"), (1905, "nineteen oh five"), (2000, "two thousand"),
     (2005, "two thousand five"), (2026, "twenty twenty six")],
)  # fmt: skip
def test_years(year: int, spoken: str) -> None:
    assert speak_year(year) == spoken


def test_no_name_for_a_number_beyond_decillions() -> None:
    with pytest.raises(ValueError, match="too large"):
        speak_integer(10**36)
    assert speak_number(Fraction(10**40)) == ("one times ten to the power of forty", False)
