"""The ear: what reaches the recogniser of a real stretch of sound, and the time line when nothing arrives."""

import asyncio

import numpy as np

from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from kame_core.clock import VirtualClock, run_virtual
from kame_core.hearing import EarState, Hearing
from kame_core.vad import SileroModel
from kame_core.workers import InlineWorkers
from tests.support.scripted_stt import ScriptedRecognizer
from tests.support.speech import say


def listen_to(sound: Samples, after_s: float = 0.0) -> tuple[int, list[EarState]]:
    """Samples the recogniser got at 16 kHz, and all states; `after_s` of no packets at all follow the sound."""

    async def main(clock: VirtualClock) -> tuple[int, list[EarState]]:
        recognizer = ScriptedRecognizer([""])
        states: list[EarState] = []
        hearing = Hearing(SileroModel(), recognizer, InlineWorkers(), clock, states.append)
        task = asyncio.create_task(hearing.run())
        start_s = clock.now()
        for index, begin in enumerate(range(0, sound.size, PIECE_SAMPLES)):
            await clock.sleep_until(start_s + index * PIECE_SAMPLES / SAMPLE_RATE_HZ)
            hearing.push(sound[begin : begin + PIECE_SAMPLES])
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


def test_a_pause_inside_an_utterance_is_shortened_not_repeated() -> None:
    speech = say("what is the capital of france")
    pushed, _ = listen_to(np.concatenate([speech, silence(24_000), speech, silence(24_000)]))
    assert pushed / 16_000 <= 2 * speech.size / SAMPLE_RATE_HZ + 1.1
