import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kame_core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from kame_core.frontend.ring import CAPACITY_SAMPLES, SampleRing

TARGET = 480
PIECE = 480
MOST_TARGET = 2400


def tone(samples: int, start: int = 0) -> Samples:
    phase = 2 * np.pi * 200 / SAMPLE_RATE_HZ * (start + np.arange(samples))
    return np.asarray(0.3 * np.sin(phase), np.float32)


def started_ring(level: float = 0.3) -> SampleRing:
    ring = SampleRing()
    ring.push(np.full(FRAME_SAMPLES + TARGET, level, np.float32))
    assert ring.take(FRAME_SAMPLES).max() > 0
    return ring


def test_waits_for_a_frame_and_its_reserve_without_debt() -> None:
    ring = SampleRing()
    ring.push(tone(FRAME_SAMPLES + TARGET - 1))
    assert not ring.take(FRAME_SAMPLES).any()
    stats = ring.stats
    assert (stats.concealed, stats.debt, stats.depth) == (0, 0, FRAME_SAMPLES + TARGET - 1)
    ring.push(tone(1))
    assert ring.take(FRAME_SAMPLES).any()
    assert ring.depth_samples == TARGET


def test_steady_stream_comes_out_sample_for_sample() -> None:
    ring = SampleRing()
    ring.push(tone(TARGET))
    out = []
    for frame in range(50):
        ring.push(tone(FRAME_SAMPLES, TARGET + frame * FRAME_SAMPLES))
        out.append(ring.take(FRAME_SAMPLES))
    heard = np.concatenate(out)
    assert np.array_equal(heard[120:], tone(heard.size)[120:])  # after the fade-in
    stats = ring.stats
    assert (stats.concealed, stats.discarded, stats.overflowed) == (0, 0, 0)


def test_starts_with_the_shortest_delay_whatever_gathered_before() -> None:
    ring = SampleRing()
    ring.push(tone(SAMPLE_RATE_HZ))
    ring.take(FRAME_SAMPLES)
    assert ring.depth_samples == TARGET


def test_first_underrun_raises_the_reserve_instead_of_losing_sound() -> None:
    ring = started_ring()
    ring.push(np.full(FRAME_SAMPLES - TARGET - 700, 0.3, np.float32))  # 700 too few
    ring.take(FRAME_SAMPLES)
    stats = ring.stats
    assert (stats.concealed, stats.target, stats.debt) == (700, TARGET + 700, 0)
    ring.push(np.full(700 + FRAME_SAMPLES + TARGET, 0.3, np.float32))
    ring.take(FRAME_SAMPLES)
    assert ring.stats.discarded == 0
    assert ring.depth_samples == TARGET + 700


def test_late_samples_beyond_the_reserve_are_left_out() -> None:
    ring = started_ring()
    for _ in range(3):  # 240 ms of nothing
        ring.take(FRAME_SAMPLES)
    missing = 3 * FRAME_SAMPLES - TARGET
    assert ring.stats.debt == missing - (MOST_TARGET - TARGET)
    ring.push(np.full(missing + FRAME_SAMPLES + TARGET, 0.3, np.float32))  # all of it, late, and the present
    ring.take(FRAME_SAMPLES)
    stats = ring.stats
    assert stats.discarded == missing - (MOST_TARGET - TARGET)
    assert (stats.debt, stats.depth) == (0, MOST_TARGET)


def test_debt_for_samples_that_are_lost_for_good_is_forgiven() -> None:
    ring = started_ring()
    for _ in range(3):
        ring.take(FRAME_SAMPLES)
    ring.push(np.full(FRAME_SAMPLES, 0.3, np.float32))
    for _ in range(20):
        ring.push(np.full(FRAME_SAMPLES, 0.3, np.float32))
        assert np.all(ring.take(FRAME_SAMPLES)[120:] == np.float32(0.3))
    stats = ring.stats
    assert (stats.debt, stats.discarded) == (0, 0)


def test_a_gap_fades_instead_of_clicking() -> None:
    ring = SampleRing()
    ring.push(tone(FRAME_SAMPLES + TARGET))
    frames = [ring.take(FRAME_SAMPLES)]
    ring.push(tone(500, FRAME_SAMPLES + TARGET))
    frames.append(ring.take(FRAME_SAMPLES))  # 940 missing
    frames.append(ring.take(FRAME_SAMPLES))  # all missing
    ring.push(tone(3 * FRAME_SAMPLES, FRAME_SAMPLES + TARGET + 500))
    frames.append(ring.take(FRAME_SAMPLES))
    heard = np.concatenate(frames)
    steepest = 0.3 * 2 * np.pi * 200 / SAMPLE_RATE_HZ
    assert np.abs(np.diff(heard)).max() < steepest + 0.3 / 115
    assert not frames[2].any()


@pytest.mark.parametrize("silent_ticks", [5, 40])
def test_mute_neither_leaves_debt_nor_a_longer_delay(silent_ticks: int) -> None:
    ring = started_ring()
    for _ in range(silent_ticks + 1):
        ring.take(FRAME_SAMPLES)
    stats = ring.stats
    assert (stats.debt, stats.target) == (0, TARGET)
    assert stats.concealed <= 0.4 * SAMPLE_RATE_HZ + FRAME_SAMPLES
    ring.push(np.full(FRAME_SAMPLES + TARGET, 0.3, np.float32))
    assert ring.take(FRAME_SAMPLES).max() > 0.29
    assert ring.depth_samples == TARGET


def test_rest_of_something_long_past_is_not_played() -> None:
    ring = SampleRing()
    ring.push(np.full(1000, 0.5, np.float32))
    for _ in range(10):
        assert not ring.take(FRAME_SAMPLES).any()
    assert ring.depth_samples == 0
    assert ring.stats.discarded == 1000


def test_reserve_decays_when_the_network_is_calm() -> None:
    ring = started_ring()
    ring.take(FRAME_SAMPLES)
    raised = ring.stats.target
    ring.push(silence(FRAME_SAMPLES * 2))
    for _ in range(round(31 / 0.08)):
        ring.push(silence(FRAME_SAMPLES))
        ring.take(FRAME_SAMPLES)
    assert ring.stats.target == raised - 3 * 120


def test_slack_is_taken_out_in_silence_and_never_in_speech() -> None:
    ring = started_ring()
    ring.push(np.full(2400, 0.3, np.float32))  # 100 ms too much
    for _ in range(50):
        ring.push(tone(FRAME_SAMPLES))
        ring.take(FRAME_SAMPLES)
    assert ring.stats.discarded == 0
    before = ring.depth_samples
    for _ in range(50):
        ring.push(silence(FRAME_SAMPLES))
        ring.take(FRAME_SAMPLES)
        assert before - ring.depth_samples <= 240
        before = ring.depth_samples
    assert ring.depth_samples == TARGET


def test_burst_after_a_stall_is_dropped_at_once() -> None:
    ring = started_ring()
    ring.push(tone(SAMPLE_RATE_HZ))
    ring.take(FRAME_SAMPLES)
    assert ring.depth_samples == TARGET


def test_full_ring_drops_the_oldest_and_counts() -> None:
    ring = SampleRing()
    for _ in range(3):
        ring.push(tone(SAMPLE_RATE_HZ))
    ring.push(tone(3 * SAMPLE_RATE_HZ))
    stats = ring.stats
    assert stats.depth == CAPACITY_SAMPLES
    assert stats.overflowed == 6 * SAMPLE_RATE_HZ - CAPACITY_SAMPLES
    assert stats.pushed == 6 * SAMPLE_RATE_HZ


@settings(max_examples=60)
@given(
    jitter_ms=st.lists(st.integers(0, 180), min_size=10, max_size=60),
    lost=st.sets(st.integers(0, 800), max_size=80),
    muted=st.lists(st.tuples(st.integers(0, 800), st.integers(1, 100)), max_size=3),
    drift_ppm=st.integers(-500, 500),
    loud=st.booleans(),
)
def test_delay_stays_bounded_and_no_sample_is_unaccounted(
    jitter_ms: list[int], lost: set[int], muted: list[tuple[int, int]], drift_ppm: int, loud: bool
) -> None:
    """16 s of 20 ms packets through a bad network, then 6 s of a good one."""
    ring = SampleRing()
    level = 0.2 if loud else 0.0
    silent = {index for start, length in muted for index in range(start, start + length)}
    arrivals = []
    for index in range(1100):
        if index in lost or index in silent:
            continue
        late_ms = jitter_ms[index % len(jitter_ms)] if index < 800 else 0
        arrivals.append(index * 20 * (1 + drift_ppm / 1e6) + late_ms)
    arrivals.sort()
    taken = 0
    next_arrival = 0
    for tick in range(1, 1100 // 4):
        while next_arrival < len(arrivals) and arrivals[next_arrival] <= tick * 80:
            ring.push(np.full(PIECE, level, np.float32))
            next_arrival += 1
        concealed = ring.stats.concealed
        started = ring.stats
        out = ring.take(FRAME_SAMPLES)
        stats = ring.stats
        assert out.shape == (FRAME_SAMPLES,)
        assert np.isfinite(out).all()
        assert np.abs(out).max() <= level + 1e-6
        consumed = started.depth - stats.depth - (stats.discarded - started.discarded)
        taken += consumed
        assert consumed in (0, FRAME_SAMPLES - (stats.concealed - concealed))
        assert stats.pushed == taken + stats.discarded + stats.overflowed + stats.depth
        assert TARGET <= stats.target <= MOST_TARGET
        assert stats.debt <= 0.4 * SAMPLE_RATE_HZ
        assert stats.depth <= stats.target + FRAME_SAMPLES + 0.2 * SAMPLE_RATE_HZ
    final = ring.stats
    assert final.depth <= final.target + 0.2 * SAMPLE_RATE_HZ
    if not loud:
        assert final.depth <= final.target + PIECE + 240


def test_drift_of_a_fast_mic_adds_no_delay_over_ten_minutes() -> None:
    ring = SampleRing()
    pushed = 0.0
    for tick in range(1, 7500):
        pushed += FRAME_SAMPLES * 1.0002  # 200 ppm
        ring.push(silence(int(pushed) - ring.stats.pushed))
        ring.take(FRAME_SAMPLES)
        if tick > 50:
            assert ring.depth_samples <= TARGET + 480
    assert ring.stats.concealed == 0


def test_drift_of_a_slow_mic_costs_few_short_gaps() -> None:
    ring = SampleRing()
    pushed = 0.0
    for _ in range(7500):
        pushed += FRAME_SAMPLES * 0.9998
        ring.push(silence(int(pushed) - ring.stats.pushed))
        ring.take(FRAME_SAMPLES)
    missing = 7500 * FRAME_SAMPLES * 0.0002
    assert ring.stats.concealed <= missing + FRAME_SAMPLES
    assert ring.stats.debt <= FRAME_SAMPLES


def test_threads_may_push_and_take_at_once() -> None:
    ring = SampleRing()
    total = 0

    def feed() -> None:
        for _ in range(2000):
            ring.push(np.ones(PIECE, np.float32))

    thread = threading.Thread(target=feed)
    thread.start()
    while thread.is_alive():
        total += ring.take(FRAME_SAMPLES).size
    thread.join()
    stats = ring.stats
    assert stats.pushed == 2000 * PIECE
    assert 0 <= stats.depth <= CAPACITY_SAMPLES
    assert stats.depth + stats.discarded + stats.overflowed <= stats.pushed
    assert total % FRAME_SAMPLES == 0
