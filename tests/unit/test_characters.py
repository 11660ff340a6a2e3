"""Halves of characters, as servers send them that count in UTF-16."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.call_codec import sender
from kame_core.characters import CharacterJoiner, whole_characters


@pytest.mark.parametrize(
    ("given_", "whole"),
    [
        ("Île 😀", "Île 😀"),
        ("\ud83d\ude00!", "😀!"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00\ud83db", "\ufffd\ufffdb"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("\ufeffx\x00", "\ufeffx\x00"),
    ],
)
def test_halves_are_joined_or_replaced(given_: str, whole: str) -> None:
    assert whole_characters(given_) == whole


@given(st.lists(st.sampled_from(["\ud83d", "\ude00", "\udbff", "a", "é", "€", "😀", ""])))
def test_cuts_do_not_matter(deltas: list[str]) -> None:
    joiner = CharacterJoiner()
    joined = "".join([*map(joiner.feed, deltas), joiner.finish()])
    assert joined == whole_characters("".join(deltas))
    joined.encode()


class Wire:
    """A transport that can send text only, as all can."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, text: str, *, droppable: bool = False) -> None:
        self.sent.append(text.encode())


def test_what_a_client_is_told_can_be_sent() -> None:
    wire: Any = Wire()
    sender(wire)({"heard": "\ud83d\ude00 \ud83d"}, False)
    assert wire.sent == ['{"heard":"😀 \ufffd"}'.encode()]
