"""A planner with its oracle stream, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

from kame_core.backend.base import ChatModel
from kame_core.backend.planner import DEFAULT_BUDGETS, Planner, PlannerBudgets
from kame_core.backend.prompt import PromptContext
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import KameError
from kame_core.events import (
    CandidateAdopted,
    CandidateFailed,
    CandidateFinished,
    CandidateStarted,
    CandidateText,
    Event,
)
from kame_core.oracle import OracleStream


class Desk:
    """A planner with its oracle stream, as a conversation has them."""

    def __init__(
        self, clock: VirtualClock, tasks: asyncio.TaskGroup, model: ChatModel, budgets: PlannerBudgets
    ) -> None:
        self.clock = clock
        self.start_s = clock.now()
        self.events: list[Event] = []
        self.oracle = OracleStream(self.now_ms)
        self.context = PromptContext()
        self.planner = Planner(model, lambda: self.context, self.take, clock, tasks, self.now_ms, budgets)

    def now_ms(self) -> int:
        return round((self.clock.now() - self.start_s) * 1000)

    def take(self, event: Event) -> None:
        self.events.append(event)
        for fact in self.oracle.handle(event).facts:
            self.events.append(fact)
            if isinstance(fact, CandidateAdopted):
                self.planner.adopted(fact.candidate_id)

    async def at(self, ms: int) -> None:
        await self.clock.sleep_until(self.start_s + ms / 1000)

    def started(self) -> list[tuple[int, str, bool]]:
        return [(e.at_ms, e.partial, e.complete) for e in self.events if isinstance(e, CandidateStarted)]

    def text_of(self, partial: str) -> str:
        ids = {e.candidate_id for e in self.events if isinstance(e, CandidateStarted) and e.partial == partial}
        return "".join(e.delta for e in self.events if isinstance(e, CandidateText) and e.candidate_id in ids)

    def failures(self) -> list[KameError | None]:
        return [e.error for e in self.events if isinstance(e, CandidateFailed)]

    def finished(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, CandidateFinished)]


Script = Callable[[Desk], Awaitable[None]]


def play(script: Script, model: ChatModel, budgets: PlannerBudgets = DEFAULT_BUDGETS) -> Desk:
    """Run a script to its end; what still runs then is closed."""

    async def main(clock: VirtualClock) -> Desk:
        async with asyncio.TaskGroup() as tasks:
            desk = Desk(clock, tasks, model, budgets)
            await script(desk)
            await desk.planner.aclose()
            assert not desk.planner.busy
        assert len(asyncio.all_tasks()) == 1
        return desk

    return run_virtual(main)
