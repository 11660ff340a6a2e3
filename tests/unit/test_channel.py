import logging
from typing import Any

import pytest
from pyee.asyncio import AsyncIOEventEmitter

from app.webrtc.channel import HIGH_WATER_BYTES, MAX_QUEUED, MessageChannel
from app.webrtc.sdp import MAX_MESSAGE_BYTES
from kame_core.errors import KameError


class Wire(AsyncIOEventEmitter):
    """A data channel whose network can be held up."""

    def __init__(self, label: str = "oai-events", state: str = "open") -> None:
        super().__init__()
        self.label = label
        self.readyState = state
        self.bufferedAmount = 0
        self.bufferedAmountLowThreshold = 0
        self.sent: list[str] = []
        self.limit = 1_000_000

    def send(self, text: str) -> None:
        if len(text) > self.limit:
            raise ValueError("too large for the remote party")
        self.sent.append(text)

    def close(self) -> None:
        self.readyState = "closed"


class Side:
    def __init__(self, label: str | None = "oai-events") -> None:
        self.messages: list[str] = []
        self.opened = 0
        self.errors: list[KameError] = []
        self.channel = MessageChannel(self.messages.append, self._open, self.errors.append, label)

    def _open(self) -> None:
        self.opened += 1

    def accept(self, wire: Wire) -> Wire:
        as_channel: Any = wire
        self.channel.accept(as_channel)
        return wire


def test_messages_wait_for_the_channel_and_leave_in_order_before_it_is_told_open() -> None:
    side = Side()
    side.channel.send("a")
    side.channel.send("b", droppable=True)
    assert side.channel.queued_messages == 2
    wire = side.accept(Wire(state="connecting"))
    assert wire.sent == []
    wire.readyState = "open"
    wire.emit("open")
    wire.emit("open")
    side.channel.send("c")
    assert wire.sent == ["a", "b", "c"]
    assert side.opened == 1
    assert side.channel.is_open


def test_only_the_labelled_channel_is_used_and_only_one() -> None:
    side = Side()
    other = side.accept(Wire(label="chat"))
    first = side.accept(Wire())
    second = side.accept(Wire())
    side.channel.send("x")
    assert (other.readyState, first.readyState, second.readyState) == ("closed", "open", "closed")
    assert first.sent == ["x"]
    assert Side(label=None).accept(Wire(label="chat")).readyState == "open"


def test_a_full_queue_drops_deltas_first_and_counts() -> None:
    side = Side()
    side.channel.send("delta 1", droppable=True)
    for number in range(MAX_QUEUED - 2):
        side.channel.send(f"state {number}")
    side.channel.send("delta 2", droppable=True)
    side.channel.send("new state")  # delta 1 goes
    side.channel.send("delta 3", droppable=True)  # delta 2 goes
    assert side.channel.dropped_messages == 2
    side.channel.send("newer state")  # delta 3 goes
    side.channel.send("delta 4", droppable=True)  # nothing droppable waits: it goes itself
    side.channel.send("newest state")  # the oldest state goes
    assert side.channel.dropped_messages == 5
    wire = side.accept(Wire())
    assert len(wire.sent) == MAX_QUEUED
    assert wire.sent[0] == "state 1"
    assert wire.sent[-3:] == ["new state", "newer state", "newest state"]
    assert not any(text.startswith("delta") for text in wire.sent)


def test_a_slow_network_holds_messages_back_until_it_has_caught_up() -> None:
    side = Side()
    wire = side.accept(Wire())
    wire.bufferedAmount = HIGH_WATER_BYTES
    side.channel.send("later")
    assert wire.sent == []
    wire.bufferedAmount = 0
    wire.emit("bufferedamountlow")
    assert wire.sent == ["later"]


def test_what_the_client_cannot_take_is_dropped_alone(caplog: pytest.LogCaptureFixture) -> None:
    side = Side()
    wire = side.accept(Wire())
    wire.limit = 10
    with caplog.at_level(logging.WARNING):
        side.channel.send("secret words that are too long")
    side.channel.send("short")
    assert wire.sent == ["short"]
    assert side.channel.dropped_messages == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\x00\x01", "binary_message"),
        ("x" * (MAX_MESSAGE_BYTES + 1), "message_too_large"),
        ("é" * (MAX_MESSAGE_BYTES // 2 + 1), "message_too_large"),
    ],
    ids=["binary", "too long", "too many bytes"],
)
def test_bad_messages_are_refused_and_the_next_one_is_taken(message: str | bytes, code: str) -> None:
    side = Side()
    wire = side.accept(Wire())
    wire.emit("message", message)
    wire.emit("message", "y" * MAX_MESSAGE_BYTES)
    assert [error.code for error in side.errors] == [code]
    assert len(side.messages) == 1


def test_a_failing_handler_is_counted_and_the_message_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(text: str) -> None:
        raise ValueError(f"cannot handle {text}")

    channel = MessageChannel(broken, lambda: None, lambda error: None)
    wire = Wire()
    as_channel: Any = wire
    channel.accept(as_channel)
    wire.emit("message", "my secret")
    assert channel.failed_messages == 1
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_after_the_end_nothing_is_sent_or_taken() -> None:
    side = Side()
    wire = side.accept(Wire())
    side.channel.close()
    side.channel.send("x")
    wire.emit("message", "y")
    assert wire.sent == []
    assert side.messages == []
    assert side.accept(Wire()).readyState == "closed"
