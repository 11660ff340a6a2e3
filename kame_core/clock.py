"""Time, injected: the real clock, and a virtual one in which minutes of talk pass in milliseconds."""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Monotonic time in seconds, and a way to wait for it."""

    def now(self) -> float:
        """Monotonic seconds since an arbitrary origin; equals the running loop's `time()`."""

    async def sleep_until(self, deadline_s: float) -> None:
        """Return at `deadline_s`, at once if it has passed."""


class RealClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    async def sleep_until(self, deadline_s: float) -> None:
        """Sleep on the running loop."""
        await asyncio.sleep(max(0.0, deadline_s - time.monotonic()))


class VirtualClock:
    """The time of a `VirtualTimeLoop`: it jumps to the next timer whenever nothing is left to do."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self._now_s = start_s

    def now(self) -> float:
        """Virtual seconds."""
        return self._now_s

    async def sleep_until(self, deadline_s: float) -> None:
        """Sleep in virtual time."""
        await asyncio.sleep(max(0.0, deadline_s - self._now_s))

    def advance(self, seconds: float) -> None:
        """Move time forward; only the loop calls this."""
        self._now_s += seconds


class _JumpingSelector(selectors.DefaultSelector):
    """Polls without waiting and lets virtual time pass instead."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:  # nothing scheduled: only a thread or socket can wake the loop
            return super().select(None)
        self._clock.advance(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers run in virtual time, in order and without waiting."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self.clock = clock
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """The virtual clock's seconds."""
        return self.clock.now()


def run_virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, T]]) -> T:
    """Run `main(clock)` to its end on a fresh virtual-time loop and return its result."""
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(clock)) as runner:
        return runner.run(main(clock))


__all__ = ["Clock", "RealClock", "VirtualClock", "VirtualTimeLoop", "run_virtual"]
