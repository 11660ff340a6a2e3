import numpy as np

from kame_core.audio import FRAME_SAMPLES, silence
from kame_core.clock import VirtualClock, run_virtual
from kame_core.frontend.base import SlotInput, SlotOptions, SlotOutput, UserState
from kame_core.frontend.echo import EchoEngine
from kame_core.frontend.host import LocalHost


def test_says_in_the_same_tick_what_it_hears() -> None:
    engine = EchoEngine()
    engine.open(0, SlotOptions())
    engine.open(3, SlotOptions())
    engine.feed(3, (), UserState(turn=7))
    mic = np.full(FRAME_SAMPLES, 0.1, np.float32)
    quiet, loud = engine.step([SlotInput(0, silence(FRAME_SAMPLES)), SlotInput(3, mic)])
    assert np.array_equal(loud.voice, mic)
    assert (loud.speaking, loud.turn, loud.text) == (True, 7, "")
    assert (quiet.speaking, quiet.turn) == (False, 0)


def test_a_reopened_slot_has_forgotten_its_turn() -> None:
    engine = EchoEngine()
    engine.open(0, SlotOptions())
    engine.feed(0, (), UserState(turn=7))
    engine.close(0)
    engine.open(0, SlotOptions())
    assert engine.step([SlotInput(0, silence(FRAME_SAMPLES))])[0].turn == 0


def test_through_a_host_the_delay_is_one_frame_and_the_reserve() -> None:
    async def main(clock: VirtualClock) -> None:
        host = LocalHost.inline(EchoEngine(), clock)
        lease = await host.lease(SlotOptions())
        said = np.random.default_rng(1).uniform(-0.5, 0.5, 24_000).astype(np.float32)
        for start in range(0, said.size, 480):
            lease.push_audio(said[start : start + 480])
            await clock.sleep_until(clock.now() + 0.02)
        frames: list[SlotOutput] = []
        async for out in lease.outputs():
            frames.append(out)
            if len(frames) == 12:
                break
        heard = np.concatenate([frame.voice for frame in frames])
        start = int(np.flatnonzero(heard)[0])
        where = int(
            np.argmin([np.abs(heard[start + 200 : start + 400] - said[i + 200 : i + 400]).sum() for i in range(8000)])
        )
        delay_s = (start + FRAME_SAMPLES - where) / 24_000  # the frame leaves when its 80 ms are over
        assert 0.08 <= delay_s <= 0.121
        await host.aclose()

    run_virtual(main)
