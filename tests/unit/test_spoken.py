"""Filters between what a model writes and what is said."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kame_core.backend.spoken import MarkupFilter, ReasoningFilter


def run(kind: type[ReasoningFilter] | type[MarkupFilter], *deltas: str) -> str:
    text_filter = kind()
    return "".join([*map(text_filter.feed, deltas), text_filter.finish()])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Paris.", "Paris."),
        ("<think>Hm, a < b</think>Paris.", "Paris."),
        ("<THINKING>x</THINKING>Paris <b>is</b> it", "Paris <b>is</b> it"),
        ("One <think>two</think> three <think>four</think>", "One  three "),
        ("<think>never ends", ""),
        ("</think>Paris", "Paris"),
        ("a < b and c <thin", "a < b and c <thin"),
    ],
)
def test_reasoning_is_left_out(written: str, said: str) -> None:
    assert run(ReasoningFilter, written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("\n\n Paris.", "Paris."),
        ("It is **Paris**, *really*.", "It is Paris, really."),
        ("__Bold__ and _soft_ and snake_case.", "Bold and soft and snake_case."),
        ("3 * 4 is 12 and 3*4 too", "3 * 4 is 12 and 3*4 too"),
        ("# Title\ntext", "Title\ntext"),
        ("- one\n- two\n* three\n• four", "one\n two\n three\n four"),
        ("-5 degrees, #1, well-known", "-5 degrees, #1, well-known"),
        ("Use `ls` now ```", "Use ls now "),
        ("Great! 😀🎉 20 °C, 5 €, ½", "Great!  20 °C, 5 €, ½"),
        ("**Paris**", "Paris"),
        ("A — b", "A — b"),
    ],
)
def test_markup_is_left_out(written: str, said: str) -> None:
    assert run(MarkupFilter, written) == said


@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "<", ">", "think", "*", "**", "_", "#", "- ", "\n", " ", "a", "7", "`"])
    ).map("".join),
    st.lists(st.integers(0, 60), max_size=20),
)
def test_cuts_do_not_matter(written: str, places: list[int]) -> None:
    borders = [0, *sorted({min(place, len(written)) for place in places}), len(written)]
    deltas = [written[start:end] for start, end in itertools.pairwise(borders)]
    assert run(ReasoningFilter, *deltas) == run(ReasoningFilter, written)
    assert run(MarkupFilter, *deltas) == run(MarkupFilter, written)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="*_#>•-–`"), max_size=80))
def test_plain_text_is_not_touched(text: str) -> None:
    assert run(MarkupFilter, text) == text.lstrip()
