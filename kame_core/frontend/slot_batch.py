"""The open slots of an engine and every call into it; used by the tickers."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kame_core.audio import FRAME_S, FRAME_SAMPLES, silence
from kame_core.errors import FrontendError, KameError
from kame_core.frontend.base import OracleUpdate, SlotEngine, SlotInput, SlotOptions, SlotOutput, UserState
from kame_core.frontend.ring import SampleRing

log = logging.getLogger(__name__)

Sink = Callable[[SlotOutput], None]
"""Called on the event loop."""

_HISTORY_TICKS = 1024
_MOST_FAILURES = 3
"""Steps and openings in a row that fail for no reason of their conversations': a GPU is lost to a whole process."""


@dataclass(frozen=True, slots=True)
class TickStats:
    """How the ticks went; durations over the last 1,024 of them."""

    ticks: int = 0
    overruns: int = 0
    """Steps that took longer than a tick."""
    skipped: int = 0
    """Whole ticks left out because a step or a wake-up was late."""
    faults: int = 0
    """Slots that failed."""
    step_p50_ms: float = 0.0
    step_p95_ms: float = 0.0
    step_p99_ms: float = 0.0
    late_p99_ms: float = 0.0
    """Begin of a step after its time on the schedule."""


@dataclass(frozen=True, slots=True)
class _Member:
    ring: SampleRing
    sink: Sink


class SlotBatch:
    """The open slots of an engine and all calls into it; lives on one thread, whichever that is."""

    def __init__(self, engine: SlotEngine) -> None:
        self._engine = engine
        self._members: dict[int, _Member] = {}
        self._step_s = np.zeros(_HISTORY_TICKS, np.float32)
        self._late_s = np.zeros(_HISTORY_TICKS, np.float32)
        self._shut = False
        self._failures = 0
        self.ticks = self.overruns = self.skipped = self.faults = 0

    @property
    def empty(self) -> bool:
        """No slot is open."""
        return not self._members

    @property
    def broken(self) -> bool:
        """Nothing succeeds any more; as soon as a step does, that is over. Safe to ask from another thread."""
        return self._failures >= _MOST_FAILURES

    @property
    def stats(self) -> TickStats:
        """How the ticks went. Safe to ask from another thread."""
        recorded = min(self.ticks, _HISTORY_TICKS)
        if recorded == 0:
            return TickStats(faults=self.faults)
        p50, p95, p99 = np.percentile(self._step_s[:recorded], (50, 95, 99)) * 1000
        late = float(np.percentile(self._late_s[:recorded], 99)) * 1000
        return TickStats(self.ticks, self.overruns, self.skipped, self.faults, float(p50), float(p95), float(p99), late)

    def holds(self, slot: int) -> bool:
        """Whether the slot is open."""
        return slot in self._members

    def open(self, slot: int, options: SlotOptions, ring: SampleRing, sink: Sink) -> None:
        """Begin; raises a `KameError` if the engine cannot."""
        if self._shut:
            raise FrontendError("The front end is shutting down.", retryable=True)
        try:
            self._engine.open(slot, options)
        except KameError:
            raise
        except Exception as error:
            log.exception("the front end could not open slot %d", slot)
            self._failures += 1
            raise FrontendError("The front end could not begin a conversation. Try again.", retryable=True) from error
        self._members[slot] = _Member(ring, sink)

    def close(self, slot: int) -> None:
        """End; idempotent."""
        if self._members.pop(slot, None) is not None:
            self._close_engine(slot)

    def give_up(self) -> list[tuple[Sink, SlotOutput]]:
        """Take all slots out: their ticker has failed, and nothing will be stepped again."""
        self._failures = _MOST_FAILURES
        return self.fault_all()

    def shutdown(self) -> None:
        """Close everything; nothing can be opened after that."""
        self._shut = True
        for slot in list(self._members):
            self.close(slot)
        try:
            self._engine.shutdown()
        except Exception:
            log.exception("the front end did not shut down cleanly")

    def feed(
        self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None
    ) -> list[tuple[Sink, SlotOutput]]:
        """Returns a fault to be delivered if the engine failed on this."""
        if slot not in self._members:
            return []
        try:
            self._engine.feed(slot, oracle, user)
        except Exception as error:
            return [self.fault(slot, error)]
        return []

    def fault(self, slot: int, error: Exception) -> tuple[Sink, SlotOutput]:
        """Take a slot out: it is stepped no more and its conversation is told why."""
        member = self._members[slot]
        if not isinstance(error, KameError):
            log.error("the front end failed in slot %d", slot, exc_info=error)
            error = FrontendError("The front end broke down in this conversation. Start a new one.", retryable=True)
        self.faults += 1
        self.close(slot)
        return member.sink, SlotOutput(slot, silence(FRAME_SAMPLES), fault=error)

    def fault_all(self) -> list[tuple[Sink, SlotOutput]]:
        """Take all slots out."""
        error = FrontendError("The front end broke down. Start a new conversation.", retryable=True)
        return [self.fault(slot, error) for slot in sorted(self._members)]

    def step(self, late_s: float, now_s: Callable[[], float]) -> list[tuple[Sink, SlotOutput]]:
        """One tick of all open slots."""
        begun_s = now_s()
        slots = sorted(self._members)
        try:
            inputs = [SlotInput(slot, self._members[slot].ring.take(FRAME_SAMPLES)) for slot in slots]
            outputs = self._engine.step(inputs)
            if [out.slot for out in outputs] != slots:
                raise RuntimeError("the engine did not answer for exactly the open slots")
        except Exception as error:
            log.error("the front end's step failed", exc_info=error)
            self._failures += not isinstance(error, KameError)
            return self.fault_all()
        self._failures = 0
        delivered = []
        for out in outputs:
            delivered.append((self._members[out.slot].sink, out))
            if out.fault is not None:
                self.faults += 1
                self.close(out.slot)
        took_s = now_s() - begun_s
        self._step_s[self.ticks % _HISTORY_TICKS] = took_s
        self._late_s[self.ticks % _HISTORY_TICKS] = late_s
        self.ticks += 1
        self.overruns += took_s > FRAME_S
        return delivered

    def skip(self, ticks: int) -> None:
        """Leave out ticks and their input."""
        self.skipped += ticks
        for member in self._members.values():
            for _ in range(min(ticks, 25)):  # a ring holds 25 ticks
                member.ring.take(FRAME_SAMPLES)

    def _close_engine(self, slot: int) -> None:
        try:
            self._engine.close(slot)
        except Exception:
            log.exception("the front end did not close slot %d cleanly", slot)
