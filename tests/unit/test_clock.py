import asyncio
import time

from kame_core.clock import RealClock, VirtualClock, run_virtual


def test_minutes_pass_in_no_time_and_in_order() -> None:
    async def main(clock: VirtualClock) -> list[tuple[str, float]]:
        start_s = clock.now()
        log: list[tuple[str, float]] = []

        async def sleeper(name: str, delay_s: float) -> None:
            await asyncio.sleep(delay_s)
            log.append((name, round(clock.now() - start_s, 6)))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(sleeper("late", 600))
            tasks.create_task(sleeper("early", 0.08))
            tasks.create_task(sleeper("middle", 60))
        return log

    began_s = time.monotonic()
    assert run_virtual(main) == [("early", 0.08), ("middle", 60), ("late", 600)]
    assert time.monotonic() - began_s < 60


def test_deadlines_fire_in_virtual_time() -> None:
    async def main(clock: VirtualClock) -> bool:
        try:
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        except TimeoutError:
            return True
        return False

    assert run_virtual(main)


async def test_the_real_clock_is_the_loops_clock() -> None:
    clock = RealClock()
    assert abs(clock.now() - asyncio.get_running_loop().time()) < 0.5
    before_s = clock.now()
    await clock.sleep_until(before_s + 0.02)
    assert clock.now() >= before_s + 0.019
