"""The time line of a turn and what is made of many."""

import math

import pytest

from kame_core.events import TurnTiming
from kame_core.latency import STAMPS, TurnTimeline, percentile, stamps_of


def test_stamps_are_told_relative_to_the_end_of_speech() -> None:
    line = TurnTimeline(1000)
    line.stamp("asked", 700)
    line.stamp("first_audio", 1250)
    line.stamp("first_audio", 1900)
    line.stamp("adopted", 1100)
    line.forget("adopted")
    timing = line.timing(2000, "resp_1", "tandem")
    assert (timing.asked_ms, timing.first_audio_ms, timing.adopted_ms) == (-300, 250, None)
    assert (timing.at_ms, timing.response_id, timing.mode) == (2000, "resp_1", "tandem")


def test_every_stamp_is_a_field_of_the_event_and_the_other_way_round() -> None:
    fields = {name.removesuffix("_ms") for name in TurnTiming.__dataclass_fields__ if name.endswith("_ms")}
    assert fields - {"at"} == set(STAMPS)


def test_many_time_lines_make_one_set_of_values() -> None:
    timings = []
    for first_ms in (300, 200, None):
        line = TurnTimeline(0)
        if first_ms is not None:
            line.stamp("first_audio", first_ms)
        timings.append(line.timing(0, "r", "direct"))
    stamps = stamps_of(timings)
    assert stamps["first_audio"] == [300, 200]
    assert stamps["adopted"] == []
    assert list(stamps) == list(STAMPS)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 2.5), (95, 3.85), (100, 4)])
def test_percentiles(percent: float, value: float) -> None:
    assert percentile([3, 1, 4, 2], percent) == pytest.approx(value)
    assert math.isnan(percentile([], percent))
