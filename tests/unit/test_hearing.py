"""The ear: what reaches the recogniser of a real stretch of sound, and the time line when nothing arrives."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
import pytest

from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, GapFiller, Samples, silence
from kame_core.clock import VirtualClock, run_virtual
from kame_core.hearing import EarState, Hearing
from kame_core.vad import SileroModel
from kame_core.workers import InlineWorkers, Workers
from tests.support.scripted_stt import ScriptedRecognizer
from tests.support.speech import say

P = ParamSpec("P")
T = TypeVar("T")


class CountingWorkers(InlineWorkers):
    """Counts what it is asked to do."""

    def __init__(self) -> None:
        self.jobs = 0

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.jobs += 1
        return await super().run(function, *args, **kwargs)


def listen_to(
    sound: Samples,
    after_s: float = 0.0,
    workers: Workers | None = None,
    piece_samples: int = PIECE_SAMPLES,
    lost_s: tuple[float, float] = (0.0, 0.0),
) -> tuple[int, list[EarState]]:
    """Samples the recogniser got at 16 kHz, and all states; `after_s` of no packets at all follow the sound. Those that
    were lost come as silence with the first that was not, as transports fill their time line.
    """

    async def main(clock: VirtualClock) -> tuple[int, list[EarState]]:
        recognizer = ScriptedRecognizer([""])
        states: list[EarState] = []
        hearing = Hearing(SileroModel(), recognizer, workers or InlineWorkers(), clock, states.append)
        task = asyncio.create_task(hearing.run())
        start_s = clock.now()
        line = GapFiller()
        for begin in range(0, sound.size, piece_samples):
            await clock.sleep_until(start_s + begin / SAMPLE_RATE_HZ)
            if not lost_s[0] <= begin / SAMPLE_RATE_HZ < lost_s[1]:
                hearing.push(line.push(begin, sound[begin : begin + piece_samples]))
        await asyncio.sleep(after_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert hearing.dropped_samples == 0
        return recognizer.pushed_samples, states

    return run_virtual(main)


def test_only_speech_with_a_little_around_it_reaches_the_recogniser() -> None:
    speech = say("what is the capital of france")
    pushed, states = listen_to(np.concatenate([silence(48_000), speech, silence(48_000)]))
    seconds = pushed / 16_000
    assert speech.size / SAMPLE_RATE_HZ - 0.2 <= seconds <= speech.size / SAMPLE_RATE_HZ + 0.7
    assert any(state.speaking for state in states)
    assert states[-1].silence_ms > 1500


def test_silence_reaches_nobody() -> None:
    pushed, states = listen_to(silence(5 * SAMPLE_RATE_HZ))
    assert pushed == 0
    assert len(states) >= 150


def test_time_goes_on_when_no_packet_arrives() -> None:
    _, states = listen_to(say("what is the capital of france"), after_s=2.0)
    assert states[-1].silence_ms >= 1700
    assert not states[-1].speaking


@pytest.mark.parametrize("lost_ms", [100, 200, 280, 380])
def test_what_was_lost_is_heard_as_a_pause_of_its_length_once(lost_ms: int) -> None:
    said = np.concatenate([say("please tell me what the weather will be like tomorrow in london"), silence(24_000)])
    quiet = said.copy()
    quiet[round(1.6 * SAMPLE_RATE_HZ) : round((1.6 + lost_ms / 1000) * SAMPLE_RATE_HZ)] = 0.0
    _, lossless = listen_to(quiet)
    _, lossy = listen_to(said, lost_s=(1.6, 1.6 + lost_ms / 1000))
    assert abs(len(lossy) - len(lossless)) <= 1  # windows of 32 ms

    def longest_ms(states: list[EarState]) -> int:
        spoken = [index for index, state in enumerate(states) if state.silence_ms == 0]
        return max(state.silence_ms for state in states[spoken[0] : spoken[-1]])

    assert longest_ms(lossy) <= longest_ms(lossless) + 64


def test_a_pause_inside_an_utterance_is_shortened_not_repeated() -> None:
    speech = say("what is the capital of france")
    pushed, _ = listen_to(np.concatenate([speech, silence(24_000), speech, silence(24_000)]))
    assert pushed / 16_000 <= 2 * speech.size / SAMPLE_RATE_HZ + 1.1


def test_work_is_asked_for_once_a_window_and_each_window_is_known_when_it_is_complete() -> None:
    seconds = 8
    workers = CountingWorkers()
    _, states = listen_to(silence(seconds * SAMPLE_RATE_HZ), workers=workers)
    assert len(states) in (249, 250)  # of 32 ms; the resampler keeps 1 ms back
    assert workers.jobs <= len(states) + 1
    assert max(state.lag_ms for state in states) <= 20  # no longer than a packet


def test_the_size_of_the_pieces_changes_nothing() -> None:
    sound = np.concatenate([silence(12_000), say("what is the capital of france"), silence(24_000)])
    by_packets = listen_to(sound)
    by_60_ms = listen_to(sound, piece_samples=3 * PIECE_SAMPLES)
    by_odd_pieces = listen_to(sound, piece_samples=331)
    assert by_packets[0] == by_60_ms[0] == by_odd_pieces[0]
    for other in (by_60_ms, by_odd_pieces):
        assert [state.speaking for state in other[1]] == [state.speaking for state in by_packets[1]][: len(other[1])]
