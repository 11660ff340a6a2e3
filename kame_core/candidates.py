"""The back end's candidates of one turn: what each of them answers, how far it has come, and when."""

from dataclasses import dataclass

from kame_core.events import (
    CandidateAdopted,
    CandidateFailed,
    CandidateFinished,
    CandidateStarted,
    CandidateText,
    Event,
)
from kame_core.latency import TurnTimeline
from kame_core.phrasing import normalised


@dataclass(slots=True)
class Candidate:
    """A candidate of this turn, and when things happened to it in conversation ms."""

    started: CandidateStarted
    asked_ms: int
    question: str
    """What it answers, normalised once: a long turn has hundreds of long ones."""
    first_token_ms: int | None = None
    adopted_ms: int | None = None
    text: str = ""
    finished: CandidateFinished | None = None
    outdated: bool = False
    """The oracle stream was made to forget it."""
    failed: bool = False

    @property
    def written(self) -> str:
        """All of its words so far."""
        return self.text if self.finished is None else self.finished.text

    def stamp(self, timeline: TurnTimeline) -> None:
        """Note its moments in a turn's time line."""
        timeline.stamp("asked", self.asked_ms)
        if self.first_token_ms is not None:
            timeline.stamp("first_token", self.first_token_ms)
        if self.adopted_ms is not None:
            timeline.stamp("adopted", self.adopted_ms)


class Candidates:
    """All of them by id, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._by_id: dict[str, Candidate] = {}

    def clear(self) -> None:
        """A new turn begins."""
        self._by_id.clear()

    def get(self, candidate_id: str) -> Candidate | None:
        """None: it is none of this turn's."""
        return self._by_id.get(candidate_id)

    def latest_for(self, question: str) -> Candidate | None:
        """The newest that answers just this normalised text and has not failed."""
        fitting = [other for other in self._by_id.values() if other.question == question and not other.failed]
        return fitting[-1] if fitting else None

    def outdate(self, question: str, *, anew: bool) -> None:
        """Mark what answers another normalised text; `anew`: and what answers this one as a partial transcript."""
        for candidate in self._by_id.values():
            fits = candidate.question == question and (candidate.started.complete or not anew)
            candidate.outdated |= not fits

    def note(self, event: Event, now_ms: int) -> None:
        """Keep a fact about one of them; any other event is none."""
        match event:
            case CandidateStarted():
                self._by_id[event.candidate_id] = Candidate(event, now_ms, normalised(event.partial))
            case CandidateText() if candidate := self.get(event.candidate_id):
                candidate.text += event.delta
                if candidate.first_token_ms is None:
                    candidate.first_token_ms = now_ms
            case CandidateFinished() if candidate := self.get(event.candidate_id):
                candidate.finished = event
            case CandidateFailed() if candidate := self.get(event.candidate_id):
                candidate.failed = True
            case CandidateAdopted() if candidate := self.get(event.candidate_id):
                candidate.adopted_ms = now_ms
