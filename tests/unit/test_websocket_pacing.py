"""Sound in messages, in time: what comes in is not faster than speech, what goes out is a little ahead."""

import asyncio

import numpy as np
import pytest

from app.call import Line, Link
from app.websocket.outbox import BEHIND_BYTES, CROWDED_BYTES, MAX_BYTES, Outbox
from app.websocket.pacing import JITTER_S, LEAD_PIECES, MAX_ACTIONS, BufferFullError, PacedInput, VoicePump
from kame_core.audio import FRAME_S, FRAME_SAMPLES, PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from kame_core.clock import VirtualClock, run_virtual
from kame_core.playout import Playout, Spoken


def pcm(seconds: float, value: int = 1) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    return np.full(round(seconds * SAMPLE_RATE_HZ), value, np.int16)


class Ear:
    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.began_s = clock.now()
        self.heard: list[tuple[float, int]] = []
        self.line: list[Samples] = []

    def hear(self, samples: Samples) -> None:
        self.heard.append((self._clock.now() - self.began_s, samples.size))
        self.line.append(samples)

    @property
    def seconds(self) -> float:
        return sum(size for _, size in self.heard) / SAMPLE_RATE_HZ


def test_live_sound_passes_at_once() -> None:
    async def scene(clock: VirtualClock) -> None:
        ear = Ear(clock)
        inbox = PacedInput(ear.hear, clock)
        for number in range(500):
            inbox.push(pcm(0.02, number))
            assert inbox.waiting_samples == 0
            await asyncio.sleep(0.02)
        assert np.array_equal(np.unique(np.concatenate(ear.line) * 32768), np.arange(500))

    run_virtual(scene)


def test_a_recording_sent_in_one_go_is_heard_at_speaking_speed_and_in_order() -> None:
    async def scene(clock: VirtualClock) -> None:
        ear = Ear(clock)
        inbox = PacedInput(ear.hear, clock)
        task = asyncio.create_task(inbox.run())
        done: list[tuple[str, float, float]] = []
        inbox.push(pcm(10, 1))
        inbox.after(lambda: done.append(("commit", clock.now() - ear.began_s, ear.seconds)), settled=True)
        inbox.after(lambda: done.append(("create", clock.now() - ear.began_s, ear.seconds)), settled=False)
        inbox.push(pcm(1, 2))
        while ear.seconds < 11:
            await asyncio.sleep(0.1)
            passed_s = clock.now() - ear.began_s
            assert ear.seconds <= JITTER_S * 1.1 + 1.1 * passed_s + 0.05
        assert [(name, round(seconds)) for name, _, seconds in done] == [("commit", 10), ("create", 10)]
        assert 8.0 < done[0][1] < 10.0
        assert inbox.waiting_samples == 0
        task.cancel()

    run_virtual(scene)


def test_what_cannot_wait_is_refused_and_clearing_makes_room() -> None:
    async def scene(clock: VirtualClock) -> None:
        ear = Ear(clock)
        inbox = PacedInput(ear.hear, clock)
        done: list[str] = []
        inbox.push(pcm(30))
        inbox.after(lambda: done.append("commit"), settled=True)
        inbox.push(pcm(30))
        with pytest.raises(BufferFullError):
            inbox.push(pcm(2))
        inbox.clear()
        inbox.push(pcm(2))
        for _ in range(MAX_ACTIONS - 1):
            inbox.after(lambda: done.append("more"), settled=False)
        with pytest.raises(BufferFullError):
            inbox.after(lambda: None, settled=False)
        task = asyncio.create_task(inbox.run())
        await asyncio.sleep(31)
        task.cancel()
        assert done == ["commit"] + ["more"] * (MAX_ACTIONS - 1)
        assert round(ear.seconds) == 32

    run_virtual(scene)


def test_a_delay_of_the_network_leaves_none_behind() -> None:
    async def scene(clock: VirtualClock) -> None:
        ear = Ear(clock)
        inbox = PacedInput(ear.hear, clock)
        task = asyncio.create_task(inbox.run())
        await asyncio.sleep(1.5)
        inbox.push(pcm(1.5))  # held up, all at once
        for _ in range(1000):
            inbox.push(pcm(0.02))
            await asyncio.sleep(0.02)
        assert inbox.waiting_samples <= 0.02 * SAMPLE_RATE_HZ
        task.cancel()

    run_virtual(scene)


class Wire(Link):
    """A link that notes when sound is sent."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self.open = False
        self.sent: list[tuple[float, int]] = []

    @property
    def voice_open(self) -> bool:
        return self.open

    def speak(self, samples: Samples) -> None:
        if self.open:
            self.sent.append((self._clock.now(), samples.size))


class Speaker:
    """A playout fed in real time by a front end whose ticks come late now and then."""

    def __init__(self, clock: VirtualClock) -> None:
        self.wire = Wire(clock)
        self.line = Line()
        self.playout = Playout(self._begun, lambda _: None, lambda _: None)
        self.playout.attach()
        self.line.connect(self.playout, lambda _: None)
        self.behind = False
        self._clock = clock
        self.pump = VoicePump(self.line, self.wire, clock, lambda: self.behind)

    def _begun(self, _: Spoken) -> None:
        asyncio.get_running_loop().call_soon(setattr, self.wire, "open", True)  # told in the next step of the loop

    async def speak(self, frames: int, late_s: float = 0.0) -> None:
        due_s = self._clock.now()
        for number in range(frames):
            await self._clock.sleep_until(due_s + (late_s if number % 5 == 4 else 0.0))
            due_s += FRAME_S
            voiced = number > 3
            spoken = Spoken("resp", "", "own", voiced) if voiced else None
            self.playout.push(np.full(FRAME_SAMPLES, 0.1, np.float32) if voiced else silence(FRAME_SAMPLES), spoken)


@pytest.mark.parametrize("late_s", [0.0, 0.05])
def test_the_voice_is_sent_as_it_comes_but_never_far_ahead(late_s: float) -> None:
    async def scene(clock: VirtualClock) -> None:
        speaker = Speaker(clock)
        task = asyncio.create_task(speaker.pump.run())
        await speaker.speak(50, late_s)
        task.cancel()
        sent = speaker.wire.sent
        began_s = sent[0][0]
        assert sum(size for at_s, size in sent if at_s < began_s + 0.021) >= FRAME_SAMPLES - 2 * PIECE_SAMPLES
        total = 0
        for at_s, size in sent:
            ahead_s = total / SAMPLE_RATE_HZ - (at_s - began_s)
            assert ahead_s > -0.021, "a client without a buffer would have run dry"
            total += size
            assert total / SAMPLE_RATE_HZ - (at_s - began_s) <= (LEAD_PIECES + 1) * PIECE_SAMPLES / SAMPLE_RATE_HZ
        assert speaker.playout.underruns == 0
        assert total >= 44 * FRAME_SAMPLES

    run_virtual(scene)


def test_while_the_network_is_behind_nothing_is_read() -> None:
    async def scene(clock: VirtualClock) -> None:
        speaker = Speaker(clock)
        task = asyncio.create_task(speaker.pump.run())
        await speaker.speak(10)
        speaker.behind = True
        sent = len(speaker.wire.sent)
        await speaker.speak(30)
        assert len(speaker.wire.sent) == sent
        assert speaker.playout.depth_samples < 4 * FRAME_SAMPLES
        assert speaker.playout.dropped_samples > 20 * FRAME_SAMPLES
        speaker.behind = False
        await speaker.speak(10)
        assert len(speaker.wire.sent) > sent
        task.cancel()

    run_virtual(scene)


def test_an_outbox_leaves_out_what_is_repeated_and_gives_up_a_client_that_never_reads() -> None:
    async def scene() -> None:
        box = Outbox()
        box.put("x" * (BEHIND_BYTES + 1), droppable=False)
        assert box.behind
        assert await box.next() == "x" * (BEHIND_BYTES + 1)
        await box.emptied()
        piece = 1024
        for number in range(CROWDED_BYTES // piece + 1):
            box.put(str(number % 10) * piece, droppable=number % 2 == 1)
        box.put("e" * piece, droppable=False)
        assert box.waiting_bytes <= CROWDED_BYTES // 2 + 3 * piece  # the droppable half went
        kept = [await box.next() for _ in range(5)]
        assert [text[0] for text in kept] == ["0", "2", "4", "6", "8"]
        while not box.full:
            box.put("e" * piece, droppable=False)
        assert box.waiting_bytes <= MAX_BYTES + piece
        dropped = box.dropped
        box.put("late", droppable=False)
        assert box.dropped == dropped + 1

    asyncio.run(scene())
