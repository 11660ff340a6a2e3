"""How long a call goes on, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable

from app.call_time import CallLimits, CallTime
from app.protocol.kame_events import EndingEvent
from kame_core.clock import VirtualClock, run_virtual
from kame_core.events import Ducked, PartialTranscript

Told = list[tuple[float, str, float | None]]
"""When, why, in how many seconds."""
SPOKEN = PartialTranscript(0, "item", "hello")


def life(limits: CallLimits, act: Callable[[CallTime], Awaitable[None]] | None = None) -> tuple[str, float, Told]:
    """Why and when a call was over, and what its client was told."""

    async def scene(clock: VirtualClock) -> tuple[str, float, Told]:
        began_s = clock.now()
        told: Told = []
        time = CallTime(limits, lambda event: told.append((round(clock.now() - began_s, 3), event.reason, event.in_s)))
        async with asyncio.TaskGroup() as tasks:
            over = tasks.create_task(time.over())
            if act is not None:
                await act(time)
        return over.result(), round(clock.now() - began_s, 3), told

    return run_virtual(scene)


def test_the_longest_time_is_told_half_a_minute_before() -> None:
    assert life(CallLimits(3600)) == ("time_limit", 3600.0, [(3570.0, "time_limit", 30.0)])


def test_of_a_short_limit_a_quarter_is_the_warning() -> None:
    assert life(CallLimits(8)) == ("time_limit", 8.0, [(6.0, "time_limit", 2.0)])


def test_a_silent_call_ends_and_words_put_that_off() -> None:
    async def speak_late(time: CallTime) -> None:
        await asyncio.sleep(100)
        time.note(SPOKEN)
        time.note(Ducked(0))
        await asyncio.sleep(280)  # warned meanwhile
        time.note(SPOKEN)
        await asyncio.sleep(200)
        time.note(Ducked(0))  # noise without words

    assert life(CallLimits(3600, 300), speak_late) == (
        "idle",
        680.0,
        [(370.0, "idle", 30.0), (380.0, "idle", None), (650.0, "idle", 30.0)],
    )


def test_the_longest_time_holds_however_much_is_said() -> None:
    async def talk(time: CallTime) -> None:
        for _ in range(59):
            await asyncio.sleep(10)
            time.note(SPOKEN)

    reason, at_s, told = life(CallLimits(600, 60), talk)
    assert (reason, at_s) == ("time_limit", 600.0)
    assert told[-1] == (570.0, "time_limit", 30.0)


def test_a_server_going_down_is_told_also_to_who_comes_late() -> None:
    async def go_down(time: CallTime) -> None:
        await asyncio.sleep(10)
        time.close_in(20)
        await asyncio.sleep(5)
        time.repeat()

    _, _, told = life(CallLimits(100), go_down)
    assert told[:2] == [(10.0, "server_shutdown", 20.0), (15.0, "server_shutdown", 15.0)]
    assert len(told) == 2  # nothing that comes later counts any more


def test_the_event_is_as_documented() -> None:
    assert EndingEvent(reason="idle", in_s=None).model_dump() == {"type": "kame.ending", "reason": "idle", "in_s": None}
