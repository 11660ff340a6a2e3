from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from kame_core.audio import (
    SAMPLE_RATE_HZ,
    GapFiller,
    Samples,
    StreamResampler,
    from_int16,
    level_dbfs,
    read_audio,
    resample,
    silence,
    to_int16,
    write_wav,
)


def tone(hz: float, seconds: float, rate_hz: int = SAMPLE_RATE_HZ) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def test_streaming_24_to_16_khz_keeps_speech_and_removes_what_would_alias() -> None:
    stream = StreamResampler(24_000, 16_000)
    speech = np.concatenate([stream.push(piece) for piece in np.split(tone(1000, 1.0), 50)])
    reference = soxr.resample(tone(1000, 1.0), 24_000, 16_000)
    assert abs(level_dbfs(speech[2000:14000]) - level_dbfs(reference[2000:14000])) < 0.2
    stream = StreamResampler(24_000, 16_000)
    hiss = np.concatenate([stream.push(piece) for piece in np.split(tone(10_500, 1.0), 50)])
    assert level_dbfs(hiss[2000:14000]) < -60  # linear interpolation, as in the reference, leaves -13


def test_streaming_lags_by_about_a_millisecond_and_is_steady() -> None:
    stream = StreamResampler(24_000, 16_000)
    sizes = [stream.push(silence(480)).size for _ in range(50)]
    assert sum(sizes) >= 50 * 320 - 32
    assert all(abs(size - 320) <= 2 for size in sizes[1:])


def test_a_clip_keeps_its_length() -> None:
    assert abs(resample(tone(440, 0.5, 22_050), 22_050, 24_000).size - 12_000) <= 40


@pytest.mark.parametrize("value", [0.0, 0.5, -0.5, 0.999])
def test_16_bit_round_trip(value: float) -> None:
    assert from_int16(to_int16(np.array([value], np.float32)))[0] == pytest.approx(value, abs=1e-4)


def test_too_loud_samples_are_clipped_not_wrapped() -> None:
    assert to_int16(np.array([1.5, -1.5], np.float32)).tolist() == [32767, -32768]


def test_wav_round_trip(tmp_path: Path) -> None:
    sound = tone(440, 0.25)
    write_wav(tmp_path / "tone.wav", sound)
    again = read_audio(tmp_path / "tone.wav")
    assert abs(again.size - sound.size) <= 1
    assert float(np.max(np.abs(again[: sound.size] - sound[: again.size]))) < 1e-3


def test_a_lost_packet_becomes_silence_of_its_length() -> None:
    filler = GapFiller()
    ones = np.ones(480, np.float32)
    line = np.concatenate([filler.push(0, ones), filler.push(960, ones), filler.push(1440, ones)])
    assert line.size == 1920
    assert np.all(line[480:960] == 0)
    assert filler.filled_samples == 480


def test_late_overlap_is_cut_and_a_jump_starts_anew() -> None:
    filler = GapFiller()
    ones = np.ones(480, np.float32)
    filler.push(0, ones)
    assert filler.push(240, ones).size == 240
    assert filler.push(10_000_000, ones).size == 480
    assert filler.push(10_000_480, ones).size == 480


@given(st.lists(st.booleans(), min_size=1, max_size=100))
def test_the_time_line_is_as_long_as_what_it_spans(arrived: list[bool]) -> None:
    filler = GapFiller()
    arrived = [True, *arrived, True]
    runs = "".join("x" if here else "." for here in arrived)
    total = sum(filler.push(index * 480, np.ones(480, np.float32)).size for index, here in enumerate(arrived) if here)
    longest = max(map(len, runs.replace("x", " ").split()), default=0)
    if longest * 480 <= 0.4 * SAMPLE_RATE_HZ:
        assert total == len(arrived) * 480
