"""Work off the event loop: a crew of threads for many small jobs."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from kame_core.workers import CrewWorkers, ThreadWorkers, Workers

MAKERS: list[Callable[[], Workers]] = [lambda: CrewWorkers("crew", 2), lambda: ThreadWorkers("pool", 2)]


@pytest.mark.parametrize("make", MAKERS)
async def test_results_and_errors_reach_whoever_waits(make: Callable[[], Workers]) -> None:
    workers = make()

    def half(number: int, *, of: str) -> tuple[float, str]:
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number / 2, of

    try:
        found = await asyncio.gather(
            *(workers.run(half, number, of="all") for number in range(100)), return_exceptions=True
        )
    finally:
        workers.close()
    for number, result in enumerate(found):
        if number % 2:
            assert isinstance(result, ValueError)
            assert str(result) == f"{number} is odd"
        else:
            assert result == (number / 2, "all")


async def test_a_crew_works_on_its_own_named_threads_and_begins_at_once() -> None:
    crew = CrewWorkers("ears", 2)
    held = threading.Event()
    try:
        first = asyncio.create_task(crew.run(held.wait, 5.0))
        async with asyncio.timeout(5.0):
            name = await crew.run(lambda: threading.current_thread().name)  # beside the one that is held up
        assert name.startswith("ears_")
        held.set()
        assert await first
    finally:
        held.set()
        crew.close()


async def test_jobs_that_wait_wake_the_loop_together(monkeypatch: pytest.MonkeyPatch) -> None:
    crew = CrewWorkers("crew")
    held = threading.Event()
    loop = asyncio.get_running_loop()
    wakes = 0
    original = loop.call_soon_threadsafe

    def counted(*args: object, **kwargs: object) -> asyncio.Handle:
        nonlocal wakes
        wakes += 1
        return original(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    try:
        first = asyncio.create_task(crew.run(held.wait, 5.0))
        await asyncio.sleep(0)
        others = [asyncio.create_task(crew.run(abs, -number)) for number in range(24)]
        await asyncio.sleep(0)
        held.set()
        assert await asyncio.gather(*others) == list(range(24))
        await first
    finally:
        held.set()
        crew.close()
    assert wakes <= 5


async def test_a_job_nobody_waits_for_any_more_is_left_out() -> None:
    crew = CrewWorkers("crew")
    held = threading.Event()
    done: list[str] = []
    try:
        first = asyncio.create_task(crew.run(held.wait, 5.0))
        await asyncio.sleep(0)
        given_up = asyncio.create_task(crew.run(done.append, "given up"))
        wanted = asyncio.create_task(crew.run(done.append, "wanted"))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        held.set()
        await asyncio.gather(first, wanted)
    finally:
        held.set()
        crew.close()
    assert done == ["wanted"]


async def test_a_closed_crew_drops_what_waits_and_takes_no_more() -> None:
    crew = CrewWorkers("crew")
    held = threading.Event()
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold() -> bool:
        loop.call_soon_threadsafe(begun.set)
        return held.wait(20.0)

    first = asyncio.create_task(crew.run(hold))
    async with asyncio.timeout(20.0):
        await begun.wait()
    waits = asyncio.create_task(crew.run(abs, -1))
    await asyncio.sleep(0)
    crew.close()
    crew.close()
    with pytest.raises(asyncio.CancelledError):
        await waits
    held.set()
    assert await first
    with pytest.raises(RuntimeError, match="ended"):
        await crew.run(abs, -1)
