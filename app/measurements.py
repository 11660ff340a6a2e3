"""What is measured of calls, turns and engines. Nothing here ever holds what was said.

`Measurements.note` takes a conversation's events, of which it keeps times, kinds and error codes only.
"""

import asyncio
import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from app.metrics import MetricRegistry, Samples
from kame_core.errors import KameError
from kame_core.events import (
    AsideEnded,
    CandidateAdopted,
    CandidateFailed,
    CandidateFinished,
    CandidateStarted,
    CandidateSuperseded,
    Event,
    ModeRefused,
    ResponseEnded,
    ToolFinished,
    TranscriptionFailed,
    Trouble,
    TurnTiming,
    UserTurnCommitted,
    UserTurnDropped,
)

if TYPE_CHECKING:
    from app.engines import EngineRoom
    from app.webrtc.peer import PeerStats
    from kame_core.frontend.slot_batch import TickStats

LATENCY_BOUNDS_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
LAG_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
CALL_BOUNDS_S = (1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 3600.0)
GAP_BOUNDS_S = (0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0)
TURN_STAMPS = ("turn_end", "first_token", "first_audio", "first_oracle_audio")
"""Of a turn's time line: what a listener notices, and what most often explains it."""


class Measurements:
    """The server's metrics, as `/metrics` shows them.

    Args:
        version: of this program.
        room: the engines, for their readiness and their ticks.
        calls: the numbers `open`, `capacity`, `waiting` and `conversations`.
    """

    def __init__(self, version: str, room: "EngineRoom", calls: Callable[[], Mapping[str, int]]) -> None:
        self._room = room
        self.registry = registry = MetricRegistry()
        began_s = time.time()
        registry.read("kame_info", "The version that runs.", "gauge", lambda: [({"version": version}, 1.0)])
        registry.read(
            "kame_part_ready",
            "Whether a part of the engine can be used.",
            "gauge",
            lambda: [({"part": p.name, "choice": p.choice}, float(p.state.value == "ready")) for p in room.parts],
        )
        for name, text in (
            ("open", "Calls alive or being opened."),
            ("capacity", "Calls that may be open at once."),
            ("waiting", "Callers in the queue."),
            ("conversations", "Conversations, those that wait for a lost caller included."),
        ):
            metric = "kame_conversations" if name == "conversations" else f"kame_calls_{name}"
            registry.gauge(metric, text, lambda name=name: calls()[name])  # type: ignore[misc] # bound per pass
        self.calls_opened = registry.counter("kame_calls_opened_total", "Calls that were accepted.", "kind")
        self.calls_refused = registry.counter("kame_calls_refused_total", "Calls that were not, by code.", "code")
        self._calls_ended = registry.counter("kame_calls_ended_total", "Calls that ended, by reason.", "reason")
        self._call_seconds = registry.histogram("kame_call_seconds", "How long calls lasted.", CALL_BOUNDS_S)
        self._packets = registry.counter("kame_rtp_packets_total", "Packets of sound, of ended calls.", "direction")
        self._lost = registry.counter("kame_rtp_packets_lost_total", "Packets from callers that never came.")
        self._stalls = registry.counter(
            "kame_voice_stalls_total", "Times when voice was left out because sending was late."
        )
        self._gap = registry.histogram(
            "kame_voice_gap_seconds", "Longest time between two packets sent, of each ended call.", GAP_BOUNDS_S
        )
        self._user_turns = registry.counter("kame_user_turns_total", "Turns of users, by what became of them.", "kind")
        self._responses = registry.counter("kame_responses_total", "Turns of the agent.", "status", "reason")
        self._latency = registry.histogram(
            "kame_turn_latency_seconds",
            "From the end of the user's speech to a moment of the answer; 0 where that came before.",
            LATENCY_BOUNDS_S,
            "mode",
            "moment",
        )
        self._candidates = registry.counter("kame_candidates_total", "Answers the LLM was asked for.", "outcome")
        self._asides = registry.counter("kame_asides_total", "Texts written beside the talk.", "status")
        self._tokens = registry.counter(
            "kame_llm_tokens_total", "Tokens of finished candidates and asides.", "direction"
        )
        self._errors = registry.counter("kame_errors_total", "What failed in conversations.", "part", "code")
        self.loop_lag = registry.histogram(
            "kame_loop_lag_seconds", "How late the event loop ran what was due.", LAG_BOUNDS_S
        )
        self._ticks(room)
        registry.gauge("kame_tasks", "Tasks on the event loop.", lambda: len(asyncio.all_tasks()))
        registry.gauge("kame_threads", "Threads of the process.", threading.active_count)
        registry.read("process_cpu_seconds_total", "CPU time used.", "counter", lambda: [({}, time.process_time())])
        registry.gauge("process_start_time_seconds", "Start, in Unix time.", lambda: began_s)
        registry.gauge("kame_peak_memory_bytes", "Largest memory the process had in use.", _peak_memory_bytes)

    def _ticks(self, room: "EngineRoom") -> None:
        registry = self.registry

        def ticks(read: "Callable[[TickStats], float]") -> Callable[[], Samples]:
            def samples() -> Samples:
                return [({"frontend": name}, read(stats)) for name, stats in _tick_stats(room)]

            return samples

        def steps() -> Samples:
            for name, stats in _tick_stats(room):
                for quantile, value_ms in (
                    ("0.5", stats.step_p50_ms),
                    ("0.95", stats.step_p95_ms),
                    ("0.99", stats.step_p99_ms),
                ):
                    yield {"frontend": name, "quantile": quantile}, value_ms / 1000

        registry.read("kame_tick_step_seconds", "Time of a front end's 80 ms step, the last 1,024.", "gauge", steps)
        for name, text, read in (
            ("kame_ticks_total", "Steps.", lambda stats: stats.ticks),
            ("kame_tick_overruns_total", "Steps that took longer than 80 ms.", lambda stats: stats.overruns),
            ("kame_ticks_skipped_total", "Steps left out because one was late.", lambda stats: stats.skipped),
            ("kame_slot_faults_total", "Slots that failed.", lambda stats: stats.faults),
        ):
            registry.read(name, text, "counter", ticks(read))
        registry.read(
            "kame_tick_late_seconds",
            "Begin of a step after its time, 99th percentile of the last 1,024.",
            "gauge",
            ticks(lambda stats: stats.late_p99_ms / 1000),
        )

    def call_ended(self, reason: str, seconds: float, media: "PeerStats | None") -> None:
        """A call is over; `media` where its sound went over WebRTC."""
        self._calls_ended.add(reason)
        self._call_seconds.observe(seconds)
        if media is not None:
            self._packets.add("in", by=media.packets_received)
            self._packets.add("out", by=media.packets_sent)
            self._lost.add(by=media.packets_lost)
            self._stalls.add(by=media.stalls)
            self._gap.observe(media.max_gap_ms / 1000)

    def tick_counts(self) -> tuple[int, int]:
        """Steps done and steps left out, of all front ends since their start."""
        stats = [stats for _, stats in _tick_stats(self._room)]
        return sum(one.ticks for one in stats), sum(one.skipped for one in stats)

    def note(self, event: Event) -> None:
        """A fact of a conversation."""
        match event:
            case TurnTiming():
                for moment in TURN_STAMPS:
                    value_ms = getattr(event, f"{moment}_ms")
                    if value_ms is not None:
                        self._latency.observe(value_ms / 1000, event.mode, moment)
            case UserTurnCommitted():
                self._user_turns.add("turn")
            case UserTurnDropped():
                self._user_turns.add(event.kind)
            case ResponseEnded():
                self._responses.add(event.status, event.reason)
            case CandidateStarted():
                self._candidates.add("asked")
            case CandidateAdopted():
                self._candidates.add("adopted")
            case CandidateSuperseded():
                self._candidates.add("superseded")
            case CandidateFinished():
                self._candidates.add("finished")
                self._tokens.add("input", by=event.input_tokens)
                self._tokens.add("output", by=event.output_tokens)
            case CandidateFailed():
                self._candidates.add("failed" if event.error else "dropped")
                self._failed("llm", event.error)
            case AsideEnded():
                self._asides.add(event.status)
                self._tokens.add("input", by=event.input_tokens)
                self._tokens.add("output", by=event.output_tokens)
                self._failed("llm", event.error)
            case TranscriptionFailed():
                self._failed("stt", event.error)
            case ToolFinished():
                self._failed("tool", event.error)
            case Trouble() | ModeRefused():
                self._failed("conversation", event.error)

    def _failed(self, part: str, error: KameError | None) -> None:
        if error is not None:
            self._errors.add(part, error.code)


def _tick_stats(room: "EngineRoom") -> "list[tuple[str, TickStats]]":
    """How the ticks of each front end went, by its name; none before it is there, or where it runs elsewhere."""
    engines = room.engines
    hosts = [] if engines is None else [host for host in (engines.frontend, engines.cascade) if host is not None]
    return [(host.traits.name, stats) for host in hosts if (stats := getattr(host, "stats", None)) is not None]


def _peak_memory_bytes() -> float:
    most = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return most if sys.platform == "darwin" else most * 1024  # Linux counts KiB
