"""The queue of a full server: first come, first served, and nobody who left holds up the others."""

import pytest

from app.protocol.errors import NotFoundError
from app.waiting import AGAIN_S, MOST_WAITING, PATIENCE_S, READY_S, WaitingLine
from kame_core.clock import VirtualClock
from kame_core.errors import CapacityError


class Desk:
    """A line before a server with so many places free."""

    def __init__(self) -> None:
        self.free = 0
        self.clock = VirtualClock()
        self.line = WaitingLine(self.clock, lambda: self.free)

    def join(self) -> str:
        return str(self.line.stand("new").place["ticket"])

    def pass_time(self, seconds: float, *present: str) -> None:
        """Time goes by while these ask for their places."""
        for _ in range(round(seconds)):
            self.clock.advance(1)
            for ticket in present:
                self.line.look(ticket)


def test_places_are_taken_in_order() -> None:
    desk = Desk()
    first, second = desk.join(), desk.join()
    assert (desk.line.look(second).position, desk.line.look(second).waiting) == (2, 2)
    assert not desk.line.may_pass(first)
    desk.free = 1
    assert desk.line.look(first).ready
    assert not desk.line.look(second).ready
    assert desk.line.may_pass(first)
    assert not desk.line.may_pass(second)
    assert not desk.line.may_pass()
    desk.line.use(first)
    assert desk.line.look(second).position == 1
    desk.free = 2
    assert desk.line.may_pass()


def test_who_calls_again_keeps_the_place_and_is_told_how_many_are_before() -> None:
    desk = Desk()
    desk.join()
    second = desk.join()
    third = desk.join()
    again = desk.line.stand(second)
    assert again.place["ticket"] == second
    assert again.user_message == "All lines are busy. 1 is before you."
    assert desk.line.stand(third).user_message.endswith("2 are before you.")
    assert desk.line.count == 3


def test_who_stops_asking_is_forgotten() -> None:
    desk = Desk()
    gone, here = desk.join(), desk.join()
    desk.pass_time(PATIENCE_S + 1, here)
    assert desk.line.look(here).position == 1
    with pytest.raises(NotFoundError) as unknown:
        desk.line.look(gone)
    assert unknown.value.code == "ticket_not_found"


def test_who_does_not_take_a_free_place_lets_the_next_one_in() -> None:
    desk = Desk()
    first, second = desk.join(), desk.join()
    desk.free = 1
    desk.pass_time(READY_S, first, second)
    assert not desk.line.may_pass(second)
    desk.clock.advance(2)
    assert desk.line.may_pass(second)


def test_the_time_to_take_a_place_begins_anew_when_it_was_taken_away() -> None:
    desk = Desk()
    first = desk.join()
    desk.free = 1
    desk.pass_time(READY_S - 2, first)
    desk.free = 0
    desk.pass_time(2, first)
    desk.free = 1
    desk.pass_time(READY_S - 1, first)
    assert desk.line.look(first).ready


def test_a_used_ticket_is_good_once_more_for_a_moment() -> None:
    desk = Desk()
    first, second = desk.join(), desk.join()
    desk.free = 1
    desk.line.use(first)
    assert desk.line.may_pass(first)  # another way is tried, and others still wait
    desk.line.use(first)
    assert not desk.line.may_pass(first)
    desk.line.use(second)
    desk.pass_time(AGAIN_S + 1)
    desk.join()
    assert not desk.line.may_pass(second)


def test_the_queue_itself_is_bounded() -> None:
    desk = Desk()
    for _ in range(MOST_WAITING):
        desk.join()
    with pytest.raises(CapacityError):
        desk.join()
