"""The slots that one conversation holds: it speaks through one of them, and moves when its mode runs elsewhere.

`want` leases a slot on another front end while the conversation goes on where it is; `change`, called between turns,
speaks through it from then on and gives the old one back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from kame_core.errors import FrontendError, KameError
from kame_core.frontend.base import FrontendHost, FrontendTraits, SlotLease

_log = logging.getLogger(__name__)

_LEASE_DEADLINE_S = 5.0

Take = Callable[[FrontendHost], Awaitable[SlotLease]]
"""Leases a slot; raises a `KameError` where none is to be had."""


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """A slot and the front end it is in."""

    host: FrontendHost
    lease: SlotLease


class Seats:
    """One conversation's slots. Every method is called on the event loop.

    Args:
        seat: it speaks through this one first.
        take: leases further ones.
        ears: its recogniser listens inside this slot (which may be `seat`), so that it is kept to the end.
    """

    def __init__(self, seat: Seat, take: Take, ears: Seat | None = None) -> None:
        self._seat = seat
        self._take = take
        self._ears = ears
        self._held = [seat] if ears is None or ears is seat else [seat, ears]
        self._target: FrontendHost | None = None
        self._next: Seat | None = None
        self._moving: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._follow: Callable[[Seat], Coroutine[Any, Any, None]] | None = None
        self._refused: Callable[[KameError], None] = lambda _: None

    # --- what is held ---

    @property
    def lease(self) -> SlotLease:
        """The slot that is spoken through."""
        return self._seat.lease

    @property
    def traits(self) -> FrontendTraits:
        """What the front end is that is spoken through."""
        return self._seat.host.traits

    @property
    def ears(self) -> SlotLease | None:
        """The slot in which the recogniser listens, where that is another one."""
        return None if self._ears is None or self._ears is self._seat else self._ears.lease

    @property
    def next_traits(self) -> FrontendTraits | None:
        """Those of the slot that waits to be spoken through; None: none does."""
        return None if self._next is None else self._next.host.traits

    @property
    def settled(self) -> bool:
        """It stays where it is; no other front end is wanted."""
        return self._target is None

    def speaks(self, seat: Seat) -> bool:
        """Whether this is the slot that is spoken through."""
        return seat is self._seat

    def needs(self, seat: Seat) -> bool:
        """Whether the conversation cannot go on without this slot."""
        return seat is self._seat or seat is self._ears

    def holds(self, host: FrontendHost) -> bool:
        """Whether it would free a place of this front end by its end."""
        return any(seat.host is host for seat in self._held)

    # --- moving ---

    def want(self, host: FrontendHost) -> None:
        """Move to this front end. What was wanted before no longer is."""
        if host is (self._target or self._seat.host):
            return
        self._stay()
        if host is self._seat.host:
            return
        self._target = host
        if self._ears is not None and self._ears.host is host:
            self._next = self._ears
        else:
            self._moving = self._spawn(self._move_to(host))
            if self._moving is None:  # the conversation is ending
                self._target = None

    def change(self) -> bool:
        """Speak through the slot that waits; False: none does. For moments when nothing is being said."""
        if self._next is None:
            return False
        old, self._seat = self._seat, self._next
        self._next = self._target = None
        self._give_back(old)
        return True

    def lose(self, seat: Seat, fault: KameError) -> None:
        """A slot failed that only waited: the conversation stays where it is."""
        if seat is self._next:
            self._stay()
            self._refused(fault)

    def _stay(self) -> None:
        if self._moving is not None:
            self._moving.cancel()
        waiting, self._next = self._next, None
        self._target = self._moving = None
        if waiting is not None:
            self._give_back(waiting)

    async def _move_to(self, host: FrontendHost) -> None:
        try:
            async with asyncio.timeout(_LEASE_DEADLINE_S):
                seat = Seat(host, await self._take(host))
        except (KameError, TimeoutError) as error:
            self._target = self._moving = None
            late = FrontendError(f"The {host.traits.name} front end gave no place in time.", retryable=True)
            self._refused(error if isinstance(error, KameError) else late)
            return
        self._held.append(seat)
        self._next, self._moving = seat, None
        self._listen_to(seat)

    def _give_back(self, seat: Seat) -> None:
        if seat is not self._ears:
            self._spawn(self._close(seat))

    async def _close(self, seat: Seat) -> None:
        try:
            await seat.lease.aclose()
        except Exception:
            _log.exception("a slot of the %s front end was not given back", seat.host.traits.name)
        self._held.remove(seat)

    # --- life ---

    def begin(
        self,
        tasks: asyncio.TaskGroup,
        follow: Callable[[Seat], Coroutine[Any, Any, None]],
        refused: Callable[[KameError], None],
    ) -> None:
        """Work in these tasks from now on.

        Args:
            follow: reads the frames of a slot until it is given back; run for each.
            refused: told why there is no slot on the front end that was wanted.
        """
        self._group, self._follow, self._refused = tasks, follow, refused
        for seat in self._held:
            self._listen_to(seat)

    def stop(self) -> None:
        """Cancel all tasks; what is held is freed by `aclose`."""
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        """Give all slots back, once the tasks have ended; idempotent."""
        await asyncio.gather(*(self._close(seat) for seat in tuple(self._held)))

    def _listen_to(self, seat: Seat) -> None:
        if self._follow is not None:
            self._spawn(self._follow(seat))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        try:
            task = None if self._group is None else self._group.create_task(coroutine)
        except RuntimeError:  # the conversation's task group is ending
            task = None
        if task is None:
            coroutine.close()
            return None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
