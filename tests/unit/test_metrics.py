"""The text format is what Prometheus's parser takes, and what is measured holds nothing that was said."""

import math

import pytest

from app.application import VERSION
from app.engines import EngineRoom
from app.measurements import Measurements
from app.metrics import MOST_SERIES, MetricRegistry
from kame_core.clock import RealClock
from kame_core.errors import ChatModelError, KameError, SpeechToTextError
from kame_core.events import (
    AsideEnded,
    CandidateFailed,
    CandidateFinished,
    FinalTranscript,
    ResponseEnded,
    TranscriptionFailed,
    Trouble,
    TurnTiming,
    UserTurnCommitted,
    UserTurnDropped,
)
from tests.support.server import make_settings


def test_every_kind_is_written_as_the_format_wants_it() -> None:
    registry = MetricRegistry()
    calls = registry.counter("calls_total", "Calls.\nAll of \\ them.", "reason")
    calls.add('say "hi"\\\n')
    calls.add("x", by=2.5)
    registry.counter("plain_total", "None yet.")
    registry.gauge("load", "Now.", lambda: math.inf)
    lag = registry.histogram("lag_seconds", "Lag.", (0.1, 1.0), "loop")
    for value in (0.1, 0.5, 3.0, -2.0):
        lag.observe(value, "main")
    assert registry.render() == (
        "# HELP calls_total Calls.\\nAll of \\\\ them.\n"
        "# TYPE calls_total counter\n"
        'calls_total{reason="say \\"hi\\"\\\\\\n"} 1\n'
        'calls_total{reason="x"} 2.5\n'
        "# HELP plain_total None yet.\n"
        "# TYPE plain_total counter\n"
        "plain_total 0\n"
        "# HELP load Now.\n"
        "# TYPE load gauge\n"
        "load +Inf\n"
        "# HELP lag_seconds Lag.\n"
        "# TYPE lag_seconds histogram\n"
        'lag_seconds_bucket{loop="main",le="0.1"} 2\n'
        'lag_seconds_bucket{loop="main",le="1"} 3\n'
        'lag_seconds_bucket{loop="main",le="+Inf"} 4\n'
        'lag_seconds_sum{loop="main"} 3.6\n'
        'lag_seconds_count{loop="main"} 4\n'
    )


def test_labels_are_bounded_and_nothing_is_lost() -> None:
    registry = MetricRegistry()
    errors = registry.counter("errors_total", "Errors.", "code")
    for number in range(MOST_SERIES + 50):
        errors.add(f"code_{number}")
        errors.add("code_0")
    lines = [line for line in registry.render().splitlines() if not line.startswith("#")]
    assert len(lines) == MOST_SERIES + 1
    assert errors.value("other") == 50
    assert errors.value("code_0") == MOST_SERIES + 51


def test_wrong_use_is_refused() -> None:
    registry = MetricRegistry()
    calls = registry.counter("calls_total", "Calls.", "reason")
    with pytest.raises(ValueError, match="already"):
        registry.gauge("calls_total", "Again.", lambda: 1)
    with pytest.raises(ValueError, match="labels"):
        calls.add("one", "too many")
    with pytest.raises(ValueError, match="down"):
        calls.add("one", by=-1)
    with pytest.raises(ValueError, match="ascend"):
        registry.histogram("h", "H.", (2.0, 1.0))


def measured() -> Measurements:
    numbers = {"open": 2, "capacity": 8, "waiting": 1, "conversations": 3}
    return Measurements(VERSION, EngineRoom(make_settings(), RealClock()), lambda: numbers)


def timing(**stamps: int) -> TurnTiming:
    names = ("pause", "settled", "turn_end", "asked", "first_token", "adopted", "first_audio", "first_oracle_audio")
    return TurnTiming(1, "resp", "tandem", **{f"{name}_ms": stamps.get(name) for name in names})


async def test_a_turns_time_line_fills_the_histogram_of_its_mode() -> None:
    measurements = measured()
    measurements.note(timing(turn_end=320, first_token=-40, first_audio=350))
    measurements.note(timing(first_audio=1800))
    text = measurements.registry.render()
    first = 'kame_turn_latency_seconds_{}{{mode="tandem",moment="first_audio"{}}} {}'
    for line in (
        first.format("bucket", ',le="0.3"', 0),
        first.format("bucket", ',le="0.4"', 1),
        first.format("bucket", ',le="2"', 2),
        first.format("count", "", 2),
        first.format("sum", "", 2.15),
        'kame_turn_latency_seconds_sum{mode="tandem",moment="first_token"} 0',
    ):
        assert line in text.splitlines()
    assert "first_oracle_audio" not in text


async def test_turns_tokens_and_errors_are_counted_without_their_words() -> None:
    measurements = measured()
    secret = "my number is 4711"
    for event in (
        UserTurnCommitted(1, "item", None),
        UserTurnDropped(1, "item", "backchannel", secret),
        FinalTranscript(1, "item", secret, 1.0),
        ResponseEnded(1, "resp", "item", "completed", "", secret, secret, 1, 1),
        CandidateFinished(1, "cand", secret, 40, 5),
        CandidateFailed(1, "cand", ChatModelError(secret, code="llm_timeout")),
        CandidateFailed(1, "cand", None),
        AsideEnded(1, "resp", "item", "failed", "", secret, 2, 0, ChatModelError(secret, code="llm_auth")),
        TranscriptionFailed(1, "item", SpeechToTextError(secret)),
        Trouble(1, KameError(secret, code="slot_failed")),
    ):
        measurements.note(event)
    text = measurements.registry.render()
    for line in (
        'kame_user_turns_total{kind="turn"} 1',
        'kame_user_turns_total{kind="backchannel"} 1',
        'kame_responses_total{status="completed",reason=""} 1',
        'kame_llm_tokens_total{direction="input"} 42',
        'kame_asides_total{status="failed"} 1',
        'kame_errors_total{part="llm",code="llm_auth"} 1',
        'kame_candidates_total{outcome="dropped"} 1',
        'kame_errors_total{part="llm",code="llm_timeout"} 1',
        'kame_errors_total{part="stt",code="stt_failed"} 1',
        'kame_errors_total{part="conversation",code="slot_failed"} 1',
        "kame_calls_open 2",
        "kame_calls_waiting 1",
        "kame_conversations 3",
        'kame_part_ready{part="frontend",choice=""} 0',
    ):
        assert line in text.splitlines()
    assert "4711" not in text
