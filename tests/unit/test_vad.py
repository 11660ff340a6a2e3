import itertools
from pathlib import Path

import numpy as np
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples, resample, silence
from kame_core.errors import UnavailableError
from kame_core.vad import (
    WINDOW_MS,
    WINDOW_SAMPLES,
    GateChange,
    GateState,
    SileroModel,
    SpeechGate,
    VadWindow,
    VoiceActivityDetector,
)
from tests.support.speech import say

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def model() -> SileroModel:
    return SileroModel()


def question(lead_s: float = 0.5, tail_s: float = 0.8) -> tuple[Samples, int, int]:
    """A spoken question in silence, 16 kHz, and where its sound begins and ends."""
    speech = resample(say("what is the capital of france"), SAMPLE_RATE_HZ, RATE_HZ)
    loud = np.flatnonzero(np.abs(speech) > 0.02)
    lead = round(lead_s * RATE_HZ)
    sound = np.concatenate([silence(lead), speech, silence(round(tail_s * RATE_HZ))])
    return sound, lead + int(loud[0]), lead + int(loud[-1])


def windows(*probabilities: float) -> list[VadWindow]:
    return [VadWindow((i + 1) * WINDOW_SAMPLES, probability) for i, probability in enumerate(probabilities)]


def run(gate: SpeechGate, *probabilities: float) -> list[GateState]:
    return [gate.push(window) for window in windows(*probabilities)]


def test_any_cut_of_the_sound_gives_the_same_windows(model: SileroModel) -> None:
    sound, _, _ = question()
    whole = VoiceActivityDetector(model).push(sound)
    assert [window.end_samples for window in whole] == [
        WINDOW_SAMPLES * (i + 1) for i in range(sound.size // WINDOW_SAMPLES)
    ]
    for piece in (1_000, 320, 77):
        detector = VoiceActivityDetector(model)
        pieces = (sound[begin : begin + piece] for begin in range(0, sound.size, piece))
        assert list(itertools.chain.from_iterable(map(detector.push, pieces))) == whole


def test_the_callers_sound_is_neither_kept_nor_changed(model: SileroModel) -> None:
    sound, _, _ = question()
    before = sound.copy()
    detector, other = VoiceActivityDetector(model), VoiceActivityDetector(model)
    reused = np.empty(100, np.float32)
    probabilities = []
    for begin in range(0, sound.size - 100, 100):
        reused[:] = sound[begin : begin + 100]
        probabilities += detector.push(reused)
        reused[:] = 9.0
    assert np.array_equal(sound, before)
    assert probabilities == other.push(sound)[: len(probabilities)]


def test_two_conversations_share_the_model_but_no_state(model: SileroModel) -> None:
    sound, _, _ = question()
    alone = VoiceActivityDetector(model).push(sound)
    one, other = VoiceActivityDetector(model), VoiceActivityDetector(model)
    noise = np.random.default_rng(1).standard_normal(WINDOW_SAMPLES).astype(np.float32)
    heard = []
    for begin in range(0, sound.size, WINDOW_SAMPLES):
        heard += one.push(sound[begin : begin + WINDOW_SAMPLES])
        other.push(noise)
    assert heard == alone


def test_reset_forgets_the_sound_and_keeps_the_time_line(model: SileroModel) -> None:
    sound, _, _ = question()
    detector = VoiceActivityDetector(model)
    first = detector.push(sound[: 60 * WINDOW_SAMPLES])
    detector.reset()
    again = detector.push(sound[: 60 * WINDOW_SAMPLES])
    assert [window.probability for window in again] == [window.probability for window in first]
    assert again[0].end_samples == 61 * WINDOW_SAMPLES


def test_a_question_is_one_stretch_of_speech_found_where_it_is(model: SileroModel) -> None:
    sound, begin, end = question()
    detector, gate = VoiceActivityDetector(model), SpeechGate()
    states = [gate.push(window) for window in detector.push(sound)]
    began = [i for i, state in enumerate(states) if state.change is GateChange.BEGAN]
    assert len(began) == 1
    assert (began[0] + 1) * WINDOW_SAMPLES - begin < 0.2 * RATE_HZ
    onset = states[began[0]].onset_samples
    assert onset is not None
    assert abs(onset - begin) < 0.1 * RATE_HZ
    last = states[-1]
    assert not last.speaking
    assert last.last_voiced_samples is not None
    assert abs(last.last_voiced_samples - end) < 0.15 * RATE_HZ
    assert last.silence_ms == (len(states) * WINDOW_SAMPLES - last.last_voiced_samples) * 1000 // RATE_HZ


@pytest.mark.parametrize("level", [0.0, 0.003, 0.1])
def test_noise_is_no_speech(model: SileroModel, level: float) -> None:
    noise = np.random.default_rng(7).standard_normal(4 * RATE_HZ).astype(np.float32) * np.float32(level)
    hum = (level * np.sin(2 * np.pi * 50 * np.arange(4 * RATE_HZ) / RATE_HZ)).astype(np.float32)
    for sound in (noise, hum):
        detector, gate = VoiceActivityDetector(model), SpeechGate()
        assert not any(gate.push(window).speaking for window in detector.push(sound))


def test_one_loud_window_is_no_beginning() -> None:
    states = run(SpeechGate(), 0.9, 0.1, 0.9, 0.1)
    assert not any(state.speaking for state in states)
    assert states[-1] == GateState(False, None, None, 0)


def test_two_windows_begin_speech_where_the_first_began() -> None:
    states = run(SpeechGate(), 0.0, 0.0, 0.0, 0.6, 0.7)
    assert [state.change for state in states[-2:]] == [GateChange.NONE, GateChange.BEGAN]
    assert states[-1].onset_samples == 2 * WINDOW_SAMPLES
    assert states[-1].last_voiced_samples == 5 * WINDOW_SAMPLES
    assert run(SpeechGate(start_windows=1), 0.6)[0].change is GateChange.BEGAN


def test_between_the_thresholds_nothing_changes() -> None:
    gate = SpeechGate()
    assert not any(state.speaking for state in run(gate, *[0.45] * 5))
    gate = SpeechGate()
    states = run(gate, 0.9, 0.9, *[0.45] * 20)
    assert all(state.speaking and state.silence_ms == 0 for state in states[1:])


def test_silence_is_counted_from_the_last_voiced_window_through_the_pause() -> None:
    states = run(SpeechGate(), 0.9, 0.9, *[0.0] * 10)
    assert [state.silence_ms for state in states[1:]] == [WINDOW_MS * i for i in range(11)]
    assert [state.speaking for state in states[1:4]] == [True, True, False]
    assert [state.change for state in states].count(GateChange.PAUSED) == 1


def test_a_closed_consonant_is_no_pause() -> None:
    states = run(SpeechGate(), 0.9, 0.9, 0.1, 0.9, 0.1, 0.9)
    assert all(state.speaking for state in states[1:])
    assert states[-1].silence_ms == 0


def test_speech_after_a_pause_begins_anew_and_never_before_the_last_voice() -> None:
    states = run(SpeechGate(), 0.9, 0.9, 0.0, 0.0, 0.9, 0.9)
    assert states[-1].change is GateChange.BEGAN
    assert states[-1].onset_samples == 3 * WINDOW_SAMPLES
    states = run(SpeechGate(pause_windows=1), 0.9, 0.9, 0.0, 0.9, 0.9)
    assert states[-1].onset_samples == 2 * WINDOW_SAMPLES


@pytest.mark.parametrize(
    "options", [{"on": 0.3, "off": 0.5}, {"on": 1.5}, {"off": 0.0}, {"start_windows": 0}, {"pause_windows": 0}]
)
def test_thresholds_that_make_no_hysteresis_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="gate"):
        SpeechGate(**options)  # type: ignore[arg-type]


def test_a_file_that_is_no_model_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "silero_vad_v6.onnx"
    file.write_bytes(b"not a network")
    with pytest.raises(UnavailableError, match=r"silero_vad_v6\.onnx"):
        SileroModel(file)
