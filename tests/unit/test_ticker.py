import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from kame_core.audio import FRAME_S, FRAME_SAMPLES
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import FrontendError
from kame_core.frontend.base import OracleClear, SlotOptions, SlotOutput, UserState
from kame_core.frontend.ring import SampleRing
from kame_core.frontend.ticker import InlineTicker, SlotTicker, Ticker
from tests.support.slot_engines import RecordingEngine, until

OPTIONS = SlotOptions(conversation_id="c")


def waiting_for(event: threading.Event) -> Callable[[int], None]:
    def wait(_tick: int) -> None:
        event.wait(10)

    return wait


def make(kind: str, engine: RecordingEngine) -> SlotTicker:
    return Ticker(engine) if kind == "thread" else InlineTicker(engine, VirtualClock())


# --- in virtual time ---


def test_ticks_every_80_ms_of_virtual_time() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int]:
        engine = RecordingEngine()
        ticker = InlineTicker(engine, clock)
        got: list[float] = []
        await ticker.open(0, OPTIONS, SampleRing(), lambda _out: got.append(clock.now()))
        await clock.sleep_until(clock.now() + 60.001)
        await ticker.aclose()
        assert np.allclose(np.diff(got), FRAME_S)
        assert ticker.stats.ticks == engine.ticks
        assert (ticker.stats.skipped, ticker.stats.overruns) == (0, 0)
        return engine.ticks, len(got)

    assert run_virtual(main) == (750, 750)


def test_does_not_tick_while_no_slot_is_open() -> None:
    async def main(clock: VirtualClock) -> int:
        engine = RecordingEngine()
        ticker = InlineTicker(engine, clock)
        await clock.sleep_until(clock.now() + 10)
        await ticker.open(1, OPTIONS, SampleRing(), lambda _out: None)
        await clock.sleep_until(clock.now() + 0.85)
        await ticker.close(1)
        await clock.sleep_until(clock.now() + 10)
        await ticker.aclose()
        return engine.ticks

    assert run_virtual(main) == 10


def test_slow_step_skips_whole_ticks_and_their_input() -> None:
    async def main(clock: VirtualClock) -> None:
        engine = RecordingEngine(before_step=lambda tick: clock.advance(0.2) if tick == 5 else None)
        ticker = InlineTicker(engine, clock)
        ring = SampleRing()
        await ticker.open(0, OPTIONS, ring, lambda _out: None)
        begun = clock.now()
        for frame in range(25):
            ring.push(np.full(FRAME_SAMPLES, (frame + 1) / 100, np.float32))
            await clock.sleep_until(begun + (frame + 1) * FRAME_S - 0.01)
        await ticker.aclose()
        stats = ticker.stats
        assert (stats.overruns, stats.skipped) == (1, 1)  # due at 0.48 and 0.56; 0.60 is late for 0.56 by half a tick
        assert engine.ticks == 23
        assert ring.depth_samples <= 2 * FRAME_SAMPLES

    run_virtual(main)


# --- on its own thread ---


async def test_every_engine_call_is_on_the_tickers_thread_and_never_during_a_step() -> None:
    engine = RecordingEngine(before_step=lambda _tick: time.sleep(0.03))
    ticker = Ticker(engine, name="ticker-test")
    got: list[SlotOutput] = []
    threads: set[str] = set()

    def sink(out: SlotOutput) -> None:
        threads.add(threading.current_thread().name)
        got.append(out)

    await ticker.open(2, OPTIONS, SampleRing(), sink)
    await ticker.open(0, OPTIONS, SampleRing(), sink)
    for index in range(60):
        ticker.feed(index % 3 and 2, (OracleClear(),), UserState(heard=f"h{index}"))
        await asyncio.sleep(0.004)
    await until(lambda: engine.ticks >= 3)
    await ticker.close(2)
    await ticker.aclose()
    assert engine.threads == {"ticker-test"}
    assert threads == {threading.main_thread().name}
    assert engine.disturbed == 0
    assert engine.calls[-2:] == [("close", 0), ("shutdown", -1)]
    assert [out.slot for out in got[:2]] == [0, 2]


async def test_feed_is_taken_in_between_ticks_without_waiting_for_one() -> None:
    engine = RecordingEngine()
    ticker = Ticker(engine)
    await ticker.open(0, OPTIONS, SampleRing(), lambda _out: None)
    await until(lambda: engine.ticks >= 1)

    async def fed_before_the_next_tick() -> bool:
        ticks, fed = engine.ticks, engine.calls.count(("feed", 0))
        ticker.feed(0, (), UserState(turn=1))
        await until(lambda: engine.calls.count(("feed", 0)) > fed)
        return engine.ticks == ticks

    assert any([await fed_before_the_next_tick() for _ in range(5)])  # a busy machine looks too late now and then
    await ticker.aclose()


async def test_updates_keep_their_order() -> None:
    engine = RecordingEngine(before_step=lambda _tick: time.sleep(0.02))
    ticker = Ticker(engine)
    got: list[SlotOutput] = []
    await ticker.open(0, OPTIONS, SampleRing(), got.append)
    for index in range(300):
        ticker.feed(0, (), UserState(heard=f"{index}:"))
    await until(lambda: bool(got) and got[-1].text.count(":") == 300)
    assert got[-1].text.split() == ["c", *(f"{index}:0" for index in range(300))]
    await ticker.aclose()


async def test_overrun_skips_ticks_and_keeps_the_schedule() -> None:
    engine = RecordingEngine(before_step=lambda tick: time.sleep(0.3) if tick == 2 else None)
    ticker = Ticker(engine)
    await ticker.open(0, OPTIONS, SampleRing(), lambda _out: None)
    await until(lambda: engine.ticks >= 4)
    stats = ticker.stats
    assert stats.overruns >= 1
    assert stats.skipped >= 2
    assert stats.step_p99_ms > stats.step_p50_ms
    await ticker.aclose()


async def test_failing_step_faults_every_open_slot_and_the_ticker_goes_on() -> None:
    def break_once(tick: int) -> None:
        if tick == 2:
            raise ValueError("injected")

    engine = RecordingEngine(before_step=break_once)
    ticker = Ticker(engine)
    got: dict[int, list[SlotOutput]] = {0: [], 1: [], 2: []}
    await ticker.open(0, OPTIONS, SampleRing(), got[0].append)
    await ticker.open(1, OPTIONS, SampleRing(), got[1].append)
    await until(lambda: all(outs and outs[-1].fault for outs in (got[0], got[1])))
    fault = got[0][-1].fault
    assert isinstance(fault, FrontendError)
    assert "injected" not in fault.user_message
    await ticker.close(0)
    await ticker.open(2, OPTIONS, SampleRing(), got[2].append)
    await until(lambda: len(got[2]) > 1)
    assert got[2][-1].fault is None
    assert ticker.stats.faults == 2
    await ticker.aclose()


async def test_fault_of_one_slot_leaves_the_others_alone() -> None:
    engine = RecordingEngine()
    ticker = Ticker(engine)
    got: dict[int, list[SlotOutput]] = {0: [], 1: []}
    await ticker.open(0, OPTIONS, SampleRing(), got[0].append)
    await ticker.open(1, OPTIONS, SampleRing(), got[1].append)
    engine.faulty.add(1)
    await until(lambda: len(got[0]) > 3)
    assert [out.fault.code if out.fault else "" for out in got[1]][-1] == "slot_broke"
    assert sum(out.fault is not None for out in got[1]) == 1
    assert all(out.fault is None for out in got[0])
    assert ("close", 1) in engine.calls
    await ticker.close(1)  # the engine is not asked twice
    assert engine.calls.count(("close", 1)) == 1
    await ticker.aclose()


async def test_failing_feed_faults_its_slot() -> None:
    engine = RecordingEngine()
    engine.fail_feed = True
    ticker = Ticker(engine)
    got: list[SlotOutput] = []
    await ticker.open(0, OPTIONS, SampleRing(), got.append)
    ticker.feed(0, (), UserState())
    await until(lambda: bool(got) and got[-1].fault is not None)
    await ticker.aclose()


async def test_engine_that_refuses_to_open_tells_why() -> None:
    engine = RecordingEngine()
    engine.refuse_open = True
    ticker = Ticker(engine)
    with pytest.raises(FrontendError) as caught:
        await ticker.open(0, OPTIONS, SampleRing(), lambda _out: None)
    assert caught.value.code == "no_open"
    await asyncio.sleep(0.1)
    assert engine.ticks == 0
    await ticker.aclose()


async def test_too_many_waiting_updates_fault_the_slot_instead_of_losing_one() -> None:
    holding = threading.Event()
    engine = RecordingEngine(before_step=waiting_for(holding))
    ticker = Ticker(engine)
    got: list[SlotOutput] = []
    await ticker.open(0, OPTIONS, SampleRing(), got.append)
    await until(lambda: engine.stepping)
    for _ in range(4200):
        ticker.feed(0, (OracleClear(),), None)
    holding.set()
    await until(lambda: bool(got) and got[-1].fault is not None)
    await ticker.aclose()


@pytest.mark.parametrize("open_slots", [0, 3])
async def test_aclose_ends_the_thread_and_answers_what_waits(open_slots: int) -> None:
    before = threading.active_count()
    engine = RecordingEngine()
    ticker = Ticker(engine)
    for slot in range(open_slots):
        await ticker.open(slot, OPTIONS, SampleRing(), lambda _out: None)
    await ticker.aclose()
    await ticker.aclose()
    assert threading.active_count() <= before
    assert engine.calls.count(("shutdown", -1)) == 1
    assert sum(name == "close" for name, _ in engine.calls) == open_slots
    with pytest.raises(FrontendError):
        await ticker.open(0, OPTIONS, SampleRing(), lambda _out: None)
    await ticker.close(0)
    ticker.feed(0, (), UserState())


async def test_aclose_gives_a_hanging_step_up() -> None:
    release = threading.Event()
    engine = RecordingEngine(before_step=waiting_for(release))
    ticker = Ticker(engine, name="ticker-hanging")
    await ticker.open(0, OPTIONS, SampleRing(), lambda _out: None)
    await until(lambda: engine.stepping)
    async with asyncio.timeout(3):
        await ticker.aclose()
    release.set()
    await until(lambda: not any(thread.name == "ticker-hanging" for thread in threading.enumerate()))
    assert ("shutdown", -1) in engine.calls


@pytest.mark.parametrize("kind", ["thread", "inline"])
async def test_a_closed_ticker_refuses(kind: str) -> None:
    ticker = make(kind, RecordingEngine())
    await ticker.aclose()
    with pytest.raises(FrontendError):
        await ticker.open(0, OPTIONS, SampleRing(), lambda _out: None)
