"""Filters between what a model writes and what is said."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kame_core.backend.spoken import EyesOnlyFilter, MarkupFilter, ReasoningFilter


def run(kind: type[ReasoningFilter] | type[EyesOnlyFilter] | type[MarkupFilter], *deltas: str) -> str:
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
        ("25℃ or 77℉, 100㎡, 5㎏, 3㍑", "25°C or 77°F, 100m², 5kg, 3リットル"),
        ("A — b", "A — b"),
    ],
)
def test_markup_is_left_out(written: str, said: str) -> None:
    assert run(MarkupFilter, written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("See https://www.example.com/a/b?c=d#e.", "See example.com."),
        ("Look at www.example.org, or http://example.net:8080/", "Look at example.org, or example.net"),
        ("Read [the guide](https://example.com/guide_(1)) first.", "Read the guide) first."),
        ("Read [the guide](https://example.com/guide) first.", "Read the guide first."),
        ("![A cat](cat.png) sits [there] (really).", "A cat sits [there] (really)."),
        ("I like it, don't you [see", "I like it, don't you [see"),
        (
            "请访问https://example.com/a。那里有更多信息，你也可以打电话。",
            "请访问example.com。那里有更多信息，你也可以打电话。",
        ),
        ("www.example.com/aで見られます。", "example.comで見られます。"),
        ("（https://example.com/a）と“https://example.com/b”です", "（example.com）と“example.com”です"),
        ("ดูที่https://example.com/aได้เลย", "ดูที่example.comได้เลย"),
        ("https://例え.jp/と書く https:// www.", "例え.jp/と書く https:// www."),
        ("Wow!", "Wow!"),
        ("The ww. and htt of it", "The ww. and htt of it"),
        (
            "This is how you do it:\n```python\nprint(1)\n``` That is all. ```x``` Really.",
            "This is how you do it:\n I leave the code out here.  That is all.   Really.",
        ),
        ("So machst du es: ```print(1)```", "So machst du es:  Den Code lasse ich hier weg. "),
        ("Tehdään se näin, kun se on niin: ```x``` Noin.", "Tehdään se näin, kun se on niin:   Noin."),
        ("```never ends", " I leave the code out here. "),
        ("Use `ls` or ``x``.", "Use `ls` or ``x``."),
    ],
)
def test_what_is_for_eyes_only_is_made_sayable(written: str, said: str) -> None:
    assert run(EyesOnlyFilter, written) == said


@given(
    st.lists(
        st.sampled_from(
            [
                "<think>",
                "</think>",
                "<",
                ">",
                "think",
                "*",
                "**",
                "_",
                "#",
                "- ",
                "\n",
                " ",
                "a",
                "7",
                "`",
                "```",
                "[",
                "](",
                ")",
                "!",
                "www.",
                "http",
                "s://x.y",
                "例",
                "。",
                "℃",
                "ht",
            ]
        )
    ).map("".join),
    st.lists(st.integers(0, 60), max_size=20),
)
def test_cuts_do_not_matter(written: str, places: list[int]) -> None:
    borders = [0, *sorted({min(place, len(written)) for place in places}), len(written)]
    deltas = [written[start:end] for start, end in itertools.pairwise(borders)]
    assert run(ReasoningFilter, *deltas) == run(ReasoningFilter, written)
    assert run(EyesOnlyFilter, *deltas) == run(EyesOnlyFilter, written)
    assert run(MarkupFilter, *deltas) == run(MarkupFilter, written)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="*_#>•-–`"), max_size=80))
def test_plain_text_is_not_touched(text: str) -> None:
    assert run(MarkupFilter, text) == text.lstrip()
