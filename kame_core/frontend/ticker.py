"""The front end's monotonic 80 ms clock.

`Ticker` runs an engine on a thread of its own, beside the event loop; `InlineTicker` does the same on the loop and on
an injected clock, for virtual time and notebooks. Both keep an absolute schedule: a step that comes late does not move
the ones after it, and a whole tick that was missed is skipped together with its input.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from kame_core.audio import FRAME_S
from kame_core.clock import Clock
from kame_core.errors import FrontendError
from kame_core.frontend.base import OracleUpdate, SlotEngine, SlotOptions, SlotOutput, UserState
from kame_core.frontend.ring import SampleRing
from kame_core.frontend.slot_batch import Sink, SlotBatch, TickStats

log = logging.getLogger(__name__)

_CLOSE_DEADLINE_S = 1.0
_MOST_WAITING = 4096
"""Bound of the updates that wait while a step runs; a slot that goes beyond it is faulted, for none may be lost."""
_MOST_COMMANDS_A_TICK = 1024


class SlotTicker(Protocol):
    """What a host needs of a ticker. All methods are called on the event loop and never block."""

    @property
    def broken(self) -> bool:
        """The engine fails at everything."""

    @property
    def stats(self) -> TickStats:
        """How the ticks went."""

    def open(self, slot: int, options: SlotOptions, ring: SampleRing, sink: Sink) -> "asyncio.Future[None]":
        """Begin a conversation in a slot; the future fails with a `KameError` if the engine cannot."""

    def feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        """Tell the engine as soon as no step is running; in order."""

    def close(self, slot: int) -> "asyncio.Future[None]":
        """End the conversation in a slot; nothing of it is delivered once the future is done. Idempotent."""

    async def aclose(self) -> None:
        """Close all slots, shut the engine down, end the ticker. Idempotent."""


class _Schedule:
    """Absolute times of ticks; starts anew when there was nothing to tick."""

    def __init__(self) -> None:
        self._next_s: float | None = None

    def begin(self, now_s: float) -> float:
        """Time of the next tick."""
        if self._next_s is None:
            self._next_s = now_s + FRAME_S
        return self._next_s

    def stop(self) -> None:
        self._next_s = None

    def due(self, now_s: float) -> tuple[int, float] | None:
        """Whole ticks to skip and lateness of the one to run now, or None if it is not time yet."""
        if self._next_s is None or now_s < self._next_s:
            return None
        skip = int((now_s - self._next_s) / FRAME_S)
        late_s = now_s - self._next_s - skip * FRAME_S
        self._next_s += (skip + 1) * FRAME_S
        return skip, late_s


class _BatchTicker(ABC):
    """What both tickers are: commands to a batch, and a schedule."""

    def __init__(self, engine: SlotEngine) -> None:
        self._batch = SlotBatch(engine)
        self._schedule = _Schedule()

    @property
    def broken(self) -> bool:
        """See `SlotTicker`."""
        return self._batch.broken

    @property
    def stats(self) -> TickStats:
        """How the ticks went."""
        return self._batch.stats

    def open(self, slot: int, options: SlotOptions, ring: SampleRing, sink: Sink) -> "asyncio.Future[None]":
        """See `SlotTicker`."""
        return self._command(lambda: self._batch.open(slot, options, ring, sink))

    def close(self, slot: int) -> "asyncio.Future[None]":
        """See `SlotTicker`."""
        return self._command(lambda: self._batch.close(slot))

    @abstractmethod
    def _command(self, action: Callable[[], None]) -> "asyncio.Future[None]":
        """Carry out between steps; the future has what came of it."""


class Ticker(_BatchTicker):
    """Runs an engine on its own thread. Made on the event loop that its sinks are called on.

    Commands are carried out as soon as they come, between steps; a tick's outputs cross to the loop in one call.

    Args:
        engine: called on the ticker's thread only, `shutdown` included.
        name: of the thread.
    """

    def __init__(self, engine: SlotEngine, *, name: str = "ticker") -> None:
        super().__init__(engine)
        self._loop = asyncio.get_running_loop()
        # Not a condition: the loop would wait for its lock whenever the thread that holds it waits for the interpreter.
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._since_tick = 0
        self._closing = False
        self._gone = False
        self._ended = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        """See `SlotTicker`."""
        if not self._gone:
            overfull = self._commands.qsize() >= _MOST_WAITING
            self._commands.put(lambda: self._feed(slot, oracle, user, overfull))

    async def aclose(self) -> None:
        """See `SlotTicker`. A step that hangs is given up after 1 s; its thread cannot hold up the process's end."""
        self._closing = True
        self._commands.put(None)
        try:
            async with asyncio.timeout(_CLOSE_DEADLINE_S):
                await asyncio.shield(self._ended)
            self._thread.join(_CLOSE_DEADLINE_S)  # it has nothing left to do but return
        except TimeoutError:
            log.error("the ticker's thread did not end within %.0f s", _CLOSE_DEADLINE_S)

    def _command(self, action: Callable[[], None]) -> "asyncio.Future[None]":
        done: asyncio.Future[None] = self._loop.create_future()

        def carry_out() -> None:
            error: Exception | None = None
            try:
                action()
            except Exception as caught:
                error = caught
            self._to_loop(lambda: _resolve(done, error))

        self._commands.put(carry_out)
        if self._gone:
            self._answer_rest()
        return done

    def _feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None, overfull: bool) -> None:
        if overfull:
            error = FrontendError("The front end is too slow for what it is told. Start a new conversation.")
            self._deliver([self._batch.fault(slot, error)] if self._batch.holds(slot) else [])
        else:
            self._deliver(self._batch.feed(slot, oracle, user))

    def _run(self) -> None:
        try:
            while True:
                command = self._next_command()
                if command is not None:
                    command()
                elif self._closing:
                    return
                else:
                    self._since_tick = 0
                    self._tick()
        except Exception:
            log.exception("the ticker failed")
            self._deliver(self._batch.give_up())
        finally:
            self._batch.shutdown()
            self._gone = True
            self._answer_rest()
            self._to_loop(lambda: _resolve(self._ended, None))

    def _answer_rest(self) -> None:
        """Once the batch is shut nothing happens but the answers, on whichever thread is the last to look."""
        with contextlib.suppress(queue.Empty):
            while True:
                if (command := self._commands.get_nowait()) is not None:
                    command()

    def _next_command(self) -> Callable[[], None] | None:
        """Wait for a command; None: a tick is due, or the end.

        What came before a tick is carried out before it, but a flood of commands cannot hold the tick up.
        """
        while True:
            due_in_s = self._due_in_s()
            due = due_in_s is not None and due_in_s <= 0
            if due and self._since_tick >= _MOST_COMMANDS_A_TICK:
                return None
            try:
                command = self._commands.get(timeout=0.0 if due or self._closing else due_in_s)
            except queue.Empty:
                command = None
            if command is not None:
                self._since_tick += 1
                return command
            if self._closing or due:
                return None

    def _due_in_s(self) -> float | None:
        """Time until the next tick; None: nothing to tick."""
        if self._closing or self._batch.empty:
            self._schedule.stop()
            return None
        now_s = time.monotonic()
        return self._schedule.begin(now_s) - now_s

    def _tick(self) -> None:
        due = self._schedule.due(time.monotonic())
        if due is None:
            return
        skip, late_s = due
        if skip:
            self._batch.skip(skip)
        self._deliver(self._batch.step(late_s, time.monotonic))

    def _deliver(self, outputs: Sequence[tuple[Sink, SlotOutput]]) -> None:
        if outputs:
            self._to_loop(lambda: _call_sinks(outputs))

    def _to_loop(self, action: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(action)


class InlineTicker(_BatchTicker):
    """The same contract on the event loop itself, in the time of an injected clock; commands run at once.

    For tests in virtual time, scripts and notebooks. A slow step blocks the loop.
    """

    def __init__(self, engine: SlotEngine, clock: Clock) -> None:
        super().__init__(engine)
        self._clock = clock
        self._opened = asyncio.Event()
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name="inline-ticker")

    def feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        """See `SlotTicker`."""
        _call_sinks(self._batch.feed(slot, oracle, user))

    async def aclose(self) -> None:
        """See `SlotTicker`."""
        if not self._closed:
            self._closed = True
            self._task.cancel()
            self._batch.shutdown()
        await asyncio.wait([self._task])

    def _command(self, action: Callable[[], None]) -> "asyncio.Future[None]":
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        error: Exception | None = None
        try:
            action()
        except Exception as caught:
            error = caught
        _resolve(done, error)
        self._opened.set()
        return done

    async def _run(self) -> None:
        while True:
            if self._batch.empty:
                self._schedule.stop()
                self._opened.clear()
                await self._opened.wait()
                continue
            await self._clock.sleep_until(self._schedule.begin(self._clock.now()))
            due = self._schedule.due(self._clock.now())
            if due is None or self._batch.empty:
                continue
            skip, late_s = due
            if skip:
                self._batch.skip(skip)
            _call_sinks(self._batch.step(late_s, self._clock.now))


def _resolve(future: "asyncio.Future[None]", error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # may be looked at or not


def _call_sinks(outputs: Sequence[tuple[Sink, SlotOutput]]) -> None:
    for sink, out in outputs:
        sink(out)
