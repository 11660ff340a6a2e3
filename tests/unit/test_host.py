import asyncio
import time
from contextlib import suppress

import numpy as np
import pytest

from kame_core.audio import FRAME_SAMPLES
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import CapacityError, FrontendError
from kame_core.frontend.base import OracleAdopt, SlotOptions, UserState
from kame_core.frontend.host import MOST_OUTPUTS, LocalHost, LocalLease
from tests.support.slot_engines import RecordingEngine, until


async def outputs(lease: LocalLease, count: int) -> list[str]:
    texts: list[str] = []
    async for out in lease.outputs():
        texts.append(out.text)
        if len(texts) == count:
            break
    return texts


def test_leases_the_lowest_free_slot_and_says_when_full() -> None:
    async def main(clock: VirtualClock) -> None:
        host = LocalHost.inline(RecordingEngine(capacity=3), clock)
        leases = [await host.lease(SlotOptions()) for _ in range(3)]
        assert [lease.slot for lease in leases] == [0, 1, 2]
        assert host.free == 0
        with pytest.raises(CapacityError) as caught:
            await host.lease(SlotOptions())
        assert "3" in caught.value.user_message
        assert caught.value.retryable
        await leases[2].aclose()
        await leases[0].aclose()
        await leases[0].aclose()
        assert host.free == 2
        assert (await host.lease(SlotOptions())).slot == 0
        await host.aclose()
        assert host.free == 3

    run_virtual(main)


def test_nothing_of_one_conversation_reaches_the_next_in_the_same_slot() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = RecordingEngine(capacity=1)
        host = LocalHost.inline(engine, clock)
        first = await host.lease(SlotOptions(conversation_id="first"))
        first.push(oracle=[OracleAdopt("x")], user=UserState(heard="secret"))
        first.push_audio(np.full(2 * FRAME_SAMPLES, 0.7, np.float32))
        await clock.sleep_until(clock.now() + 1)
        await first.aclose()
        engine.mics.clear()
        second = await host.lease(SlotOptions(conversation_id="second"))
        first.push(user=UserState(heard="late"))
        first.push_audio(np.full(2 * FRAME_SAMPLES, 0.7, np.float32))
        assert await outputs(second, 10) == ["second"] * 10
        assert not any(mic.any() for mic in engine.mics)
        assert [out async for out in first.outputs()] == []
        await host.aclose()

    run_virtual(main)


async def test_isolation_holds_on_the_thread_too() -> None:
    engine = RecordingEngine(capacity=1, before_step=lambda _tick: time.sleep(0.02))
    host = LocalHost.threaded(engine)
    for index in range(12):
        lease = await host.lease(SlotOptions(conversation_id=f"c{index}"))
        lease.push(user=UserState(heard=f"h{index}:"))
        async with asyncio.timeout(5):
            assert set(await outputs(lease, 1)) <= {f"c{index}", f"c{index} h{index}:0"}
        await lease.aclose()
    await host.aclose()
    assert engine.disturbed == 0


@pytest.mark.parametrize("opens", [True, False])
def test_an_engine_that_fails_at_everything_is_broken_until_a_step_succeeds(opens: bool) -> None:
    async def main(clock: VirtualClock) -> None:
        well = False

        def fail(_tick: int = 0) -> None:
            if not well:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")

        engine = RecordingEngine(before_step=fail)
        plain_open = engine.open
        host = LocalHost.inline(engine, clock)

        async def talk() -> None:
            with suppress(FrontendError):
                lease = await host.lease(SlotOptions())
                await clock.sleep_until(clock.now() + 0.2)
                await lease.aclose()

        broken = []
        for number in range(4):
            await talk()
            broken.append(host.broken)
            if number == 0 and not opens:
                engine.open = lambda slot, options: fail()  # type: ignore[method-assign]
            if number == 2:
                well, engine.open = True, plain_open  # type: ignore[method-assign]
        assert broken == [False, False, True, False]
        await host.aclose()

    run_virtual(main)


def test_refusing_conversations_is_not_being_broken() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = RecordingEngine()
        engine.refuse_open = True
        host = LocalHost.inline(engine, clock)
        for _ in range(5):
            with pytest.raises(FrontendError, match="No"):
                await host.lease(SlotOptions())
            await clock.sleep_until(clock.now() + 0.1)
        assert not host.broken
        await host.aclose()

    run_virtual(main)


def test_unread_outputs_are_bounded_and_the_oldest_dropped() -> None:
    async def main(clock: VirtualClock) -> None:
        host = LocalHost.inline(RecordingEngine(), clock)
        lease = await host.lease(SlotOptions())
        await clock.sleep_until(clock.now() + 10.001)
        assert lease.dropped_outputs == 125 - MOST_OUTPUTS
        stream = lease.outputs()
        turns = [(await anext(stream)).turn for _ in range(MOST_OUTPUTS)]
        assert turns == list(range(101, 126))
        await host.aclose()

    run_virtual(main)


def test_outputs_end_at_aclose_even_while_waited_for() -> None:
    async def main(clock: VirtualClock) -> int:
        host = LocalHost.inline(RecordingEngine(), clock)
        lease = await host.lease(SlotOptions())

        async def read() -> int:
            return len([out async for out in lease.outputs()])

        task = asyncio.create_task(read())
        await clock.sleep_until(clock.now() + 0.5)
        await lease.aclose()
        count = await task
        await host.aclose()
        return count

    assert run_virtual(main) == 6


async def test_failed_open_gives_the_slot_back() -> None:
    engine = RecordingEngine(capacity=1)
    engine.refuse_open = True
    host = LocalHost.threaded(engine)
    with pytest.raises(FrontendError):
        await host.lease(SlotOptions())
    await until(lambda: host.free == 1)
    engine.refuse_open = False
    assert (await host.lease(SlotOptions())).slot == 0
    await host.aclose()


async def test_cancelled_lease_and_aclose_during_a_step_give_the_slot_back() -> None:
    engine = RecordingEngine(capacity=2, before_step=lambda _tick: time.sleep(0.06))
    host = LocalHost.threaded(engine)
    first = await host.lease(SlotOptions())
    await until(lambda: engine.stepping)
    task = asyncio.create_task(host.lease(SlotOptions()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.gather(first.aclose(), first.aclose())
    await until(lambda: host.free == 2)
    await host.aclose()
    assert engine.disturbed == 0


async def test_host_closes_leases_then_its_further_resources() -> None:
    engine = RecordingEngine()
    order: list[str] = []

    async def close() -> None:
        order.append("resource")
        assert engine.calls[-1] == ("shutdown", -1)

    host = LocalHost.threaded(engine, then_close=[close])
    lease = await host.lease(SlotOptions())
    await host.aclose()
    await host.aclose()
    await lease.aclose()
    assert order == ["resource"]
    assert host.free == host.capacity
    with pytest.raises(FrontendError):
        await host.lease(SlotOptions())


def test_mic_reaches_the_engine() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = RecordingEngine()
        host = LocalHost.inline(engine, clock)
        lease = await host.lease(SlotOptions())
        for _ in range(100):
            lease.push_audio(np.full(480, 0.25, np.float32))
            await clock.sleep_until(clock.now() + 0.02)
        assert lease.ring_stats.concealed == 0
        assert np.all(engine.mics[-1] == np.float32(0.25))
        await host.aclose()

    run_virtual(main)
