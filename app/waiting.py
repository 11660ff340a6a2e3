"""The queue of a full server: a ticket for each caller, in order, with its position.

A client that polls its ticket keeps its place; one that stops is forgotten. A place that becomes free belongs to the
first in the queue, who has to call with its ticket soon; callers without one get in only when nobody waits.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from app.protocol.errors import NotFoundError, QueuedError
from kame_core.clock import Clock
from kame_core.errors import CapacityError

MOST_WAITING = 500
PATIENCE_S = 15.0
"""Who has not asked for so long is gone."""
READY_S = 20.0
"""Who was told that there is a place has so long to take it."""
AGAIN_S = 30.0
"""For so long a ticket that was used is good once more: WebRTC did not get through, and a WebSocket is tried."""
POLL_S = 2
"""How often clients are told to ask."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a caller stands in the queue."""

    ticket: str
    position: int
    """From 1."""
    waiting: int
    """How many wait, this one included."""
    ready: bool
    """There is a place: call now, with the ticket."""

    def as_json(self) -> dict[str, object]:
        """As clients see it."""
        return {
            "ticket": self.ticket,
            "position": self.position,
            "waiting": self.waiting,
            "ready": self.ready,
            "poll_s": POLL_S,
        }


@dataclass(slots=True)
class _Waiting:
    seen_s: float
    ready_since_s: float | None = None


class WaitingLine:
    """The queue.

    Args:
        clock: seconds.
        free: places free now.
    """

    def __init__(self, clock: Clock, free: Callable[[], int]) -> None:
        self._clock = clock
        self._free = free
        self._waiting: dict[str, _Waiting] = {}
        self._used: dict[str, float] = {}

    @property
    def count(self) -> int:
        """How many wait."""
        self._forget()
        return len(self._waiting)

    def stand(self, ticket: str) -> QueuedError:
        """Stand where the ticket says, or with any other word, such as `new`, at the end; returns what the caller is to
        be told.

        Raises:
            CapacityError: the queue is full, too.
        """
        self._forget()
        if ticket in self._waiting:
            return _queued(self.look(ticket))
        if self.count >= MOST_WAITING:
            raise CapacityError("All lines are busy, and so is the queue. Try again in a little while.")
        ticket = f"ticket_{secrets.token_urlsafe(12)}"
        self._waiting[ticket] = _Waiting(self._clock.now())
        return _queued(self._place(ticket))

    def look(self, ticket: str) -> Place:
        """Where a ticket stands now; keeps its place.

        Raises:
            NotFoundError: it was not asked for in time, or never given out.
        """
        self._forget()
        if ticket not in self._waiting:
            raise NotFoundError("This place in the queue is gone. Call again for a new one.", code="ticket_not_found")
        self._waiting[ticket].seen_s = self._clock.now()
        return self._place(ticket)

    def may_pass(self, ticket: str = "") -> bool:
        """Whether a place may be taken now, with this ticket or without one."""
        self._forget()
        if ticket in self._used:
            return self._free() > 0
        before = list(self._waiting).index(ticket) if ticket in self._waiting else len(self._waiting)
        return before < self._free()

    def use(self, ticket: str) -> None:
        """The place was taken; without effect where there is no such ticket."""
        if self._waiting.pop(ticket, None) is not None:
            self._used[ticket] = self._clock.now()
        else:
            self._used.pop(ticket, None)

    def leave(self, ticket: str) -> None:
        """Give the place up; without effect where there is no such ticket."""
        self._waiting.pop(ticket, None)

    def _place(self, ticket: str) -> Place:
        position = list(self._waiting).index(ticket) + 1
        ready = position <= self._free()
        waiting = self._waiting[ticket]
        if not ready:
            waiting.ready_since_s = None
        elif waiting.ready_since_s is None:
            waiting.ready_since_s = self._clock.now()
        return Place(ticket, position, len(self._waiting), ready)

    def _forget(self) -> None:
        now_s = self._clock.now()
        for ticket, one in list(self._waiting.items()):
            late = one.ready_since_s is not None and now_s - one.ready_since_s > READY_S
            if late or now_s - one.seen_s > PATIENCE_S:
                del self._waiting[ticket]
        for ticket, used_s in list(self._used.items()):
            if now_s - used_s > AGAIN_S:
                del self._used[ticket]


def _queued(place: Place) -> QueuedError:
    before = place.position - 1
    words = "You are next." if before == 0 else f"{before} {'is' if before == 1 else 'are'} before you."
    return QueuedError(f"All lines are busy. {words}", place.as_json())
