"""Slot engines that inject time and failure, and note what was done to them."""

import asyncio
import threading
from collections.abc import Callable, Sequence

from kame_core.audio import FRAME_SAMPLES, Samples, silence
from kame_core.errors import FrontendError
from kame_core.frontend.base import FrontendTraits, OracleUpdate, SlotInput, SlotOptions, SlotOutput, UserState


class RecordingEngine:
    """Says silence; its text is what it was fed since its slot was opened. `before_step` injects slowness or errors."""

    traits = FrontendTraits("recording", False, True, True, True, "continuation")

    def __init__(self, capacity: int = 4, before_step: Callable[[int], None] = lambda _tick: None) -> None:
        self.capacity = capacity
        self.before_step = before_step
        self.calls: list[tuple[str, int]] = []
        self.threads: set[str] = set()
        self.mics: list[Samples] = []
        self.faulty: set[int] = set()
        self.refuse_open = False
        self.fail_feed = False
        self.ticks = 0
        self.stepping = False
        self.disturbed = 0
        self._memory: dict[int, list[str]] = {}

    def _note(self, name: str, slot: int) -> None:
        self.disturbed += self.stepping
        self.threads.add(threading.current_thread().name)
        self.calls.append((name, slot))

    def open(self, slot: int, options: SlotOptions) -> None:
        self._note("open", slot)
        if self.refuse_open:
            raise FrontendError("No.", code="no_open")
        assert slot not in self._memory
        self._memory[slot] = [options.conversation_id]

    def close(self, slot: int) -> None:
        self._note("close", slot)
        del self._memory[slot]

    def feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        self._note("feed", slot)
        if self.fail_feed:
            raise ValueError("injected")
        self._memory[slot].append(f"{user.heard if user else ''}{len(oracle)}")

    def step(self, inputs: Sequence[SlotInput]) -> Sequence[SlotOutput]:
        self.stepping = True
        self.ticks += 1
        self.threads.add(threading.current_thread().name)
        self.mics.extend(given.mic for given in inputs)
        assert [given.slot for given in inputs] == sorted(self._memory)
        try:
            self.before_step(self.ticks)
            return [
                SlotOutput(
                    given.slot,
                    silence(FRAME_SAMPLES),
                    text=" ".join(self._memory[given.slot]),
                    turn=self.ticks,
                    fault=FrontendError("Slot broke.", code="slot_broke") if given.slot in self.faulty else None,
                )
                for given in inputs
            ]
        finally:
            self.stepping = False

    def shutdown(self) -> None:
        self._note("shutdown", -1)


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for what another thread does."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)
