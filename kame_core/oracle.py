"""The oracle stream: which candidate the front end reads, and the updates that bring it there.

KAME (arXiv 2510.02327) feeds the text of an LLM into a speech-to-speech model as one more input stream. For each
partial transcript there is a new candidate; this module decides when the front end changes from one to the next:
when the newer one is ready, not when it was asked for, so that a slow LLM never silences the words already there.

`OracleStream` is pure and synchronous. The reading side, which turns updates into tokens or phrases, is in
`kame_core.oracle_cursors`; its names are exported here as well.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from kame_core.events import (
    CandidateAdopted,
    CandidateFailed,
    CandidateFinished,
    CandidateStarted,
    CandidateSuperseded,
    CandidateText,
    Event,
)
from kame_core.frontend.base import OracleAdopt, OracleClear, OracleFinish, OracleText, OracleUpdate
from kame_core.oracle_cursors import OracleCursor, Phrase, PhraseCursor, TextTokenizer
from kame_core.scripts import UNSPACED

_READY_WORDS = 2
_COMPLETE_WORD = re.compile(
    rf"[{UNSPACED}]{{2}}(?=.)|[^\s{UNSPACED}]*[^\W_][^\s{UNSPACED}]*(?=[\s{UNSPACED}])", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class CandidateView:
    """What is known of one candidate."""

    candidate_id: str
    partial: str
    """The transcript it answers."""
    complete: bool
    """That was a whole turn."""
    text: str = ""
    finished: bool = False
    """No more text will come."""


@dataclass(frozen=True, slots=True)
class OracleDecision:
    """What follows from an event: updates for the slot and facts for everybody, each in order."""

    updates: tuple[OracleUpdate, ...] = ()
    facts: tuple[CandidateAdopted | CandidateSuperseded, ...] = ()


_NOTHING = OracleDecision()


class OracleStream:
    """One conversation's choice among its candidates.

    A candidate is adopted when it is ready: it has two complete words, or is finished and not empty. Candidates are
    ordered by their `CandidateStarted`; one older than the adopted one is never adopted. Deltas are forwarded exactly
    as they came.

    Args:
        now_ms: the conversation's time in ms, for the facts.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._waiting: dict[str, CandidateView] = {}  # not adopted, in the order they were started
        self._adopted: CandidateView | None = None

    @property
    def adopted(self) -> CandidateView | None:
        """The candidate being read; it stays so after it has finished, until the next turn."""
        return self._adopted

    def handle(self, event: Event) -> OracleDecision:
        """Take in one event of the back end; events of forgotten candidates, and other events, change nothing."""
        match event:
            case CandidateStarted():
                self._waiting[event.candidate_id] = CandidateView(event.candidate_id, event.partial, event.complete)
            case CandidateText():
                return self._grow(event.candidate_id, event.delta)
            case CandidateFinished():
                return self._finish(event.candidate_id, event.text)
            case CandidateFailed():
                return self._fail(event.candidate_id)
        return _NOTHING

    def new_turn(self) -> OracleDecision:
        """The user's new turn began: nothing asked for before it is read. The slot is told if there was an oracle."""
        return self._forget(tell=self._adopted is not None)

    def clear(self) -> OracleDecision:
        """Drop the oracle (barge-in, cancel, a mode without oracle); the slot is told in any case."""
        return self._forget(tell=True)

    def keep_only(self, answers: Callable[[str], bool]) -> OracleDecision:
        """Forget the candidates whose partial transcript is not what is to be answered: the turn said more than that.

        For front ends that speak the oracle's words as they are; a model weighs them itself and goes on reading.
        """
        for candidate_id, waiting in tuple(self._waiting.items()):
            if not answers(waiting.partial):
                del self._waiting[candidate_id]
        adopted = self._adopted
        if adopted is None or answers(adopted.partial):
            return _NOTHING
        self._adopted = None
        return OracleDecision((OracleClear(),), (CandidateSuperseded(self._now_ms(), adopted.candidate_id, None),))

    def replay(self) -> tuple[OracleUpdate, ...]:
        """The updates that bring a slot which has dropped its turn back to the adopted candidate's first word."""
        adopted = self._adopted
        if adopted is None:
            return ()
        updates = (OracleClear(), OracleAdopt(adopted.candidate_id), OracleText(adopted.candidate_id, adopted.text))
        return (*updates, OracleFinish(adopted.candidate_id)) if adopted.finished else updates

    def _grow(self, candidate_id: str, delta: str) -> OracleDecision:
        if not delta:
            return _NOTHING
        adopted = self._adopted
        if adopted is not None and adopted.candidate_id == candidate_id:
            if adopted.finished:
                return _NOTHING
            self._adopted = replace(adopted, text=adopted.text + delta)
            return OracleDecision((OracleText(candidate_id, delta),))
        waiting = self._waiting.get(candidate_id)
        if waiting is None:
            return _NOTHING
        grown = replace(waiting, text=waiting.text + delta)
        self._waiting[candidate_id] = grown
        return self._adopt(grown) if _is_ready(grown.text) else _NOTHING

    def _finish(self, candidate_id: str, text: str) -> OracleDecision:
        adopted = self._adopted
        if adopted is not None and adopted.candidate_id == candidate_id:
            if adopted.finished:
                return _NOTHING
            self._adopted = replace(adopted, finished=True)
            return OracleDecision((OracleFinish(candidate_id),))
        waiting = self._waiting.get(candidate_id)
        if waiting is None:
            return _NOTHING
        whole = replace(waiting, text=waiting.text or text, finished=True)
        if not any(map(str.isalnum, whole.text)):
            del self._waiting[candidate_id]
            return _NOTHING
        return self._adopt(whole)

    def _fail(self, candidate_id: str) -> OracleDecision:
        # What came before the failure is still good: the front end says it and then has to know that no more comes.
        if self._adopted is not None and self._adopted.candidate_id == candidate_id:
            return self._finish(candidate_id, "")
        self._waiting.pop(candidate_id, None)
        return _NOTHING

    def _adopt(self, candidate: CandidateView) -> OracleDecision:
        for candidate_id in tuple(self._waiting):  # older ones, and itself
            del self._waiting[candidate_id]
            if candidate_id == candidate.candidate_id:
                break
        facts: list[CandidateAdopted | CandidateSuperseded] = []
        if self._adopted is not None:
            facts.append(CandidateSuperseded(self._now_ms(), self._adopted.candidate_id, candidate.candidate_id))
        facts.append(CandidateAdopted(self._now_ms(), candidate.candidate_id))
        updates: list[OracleUpdate] = [
            OracleAdopt(candidate.candidate_id),
            OracleText(candidate.candidate_id, candidate.text),
        ]
        if candidate.finished:
            updates.append(OracleFinish(candidate.candidate_id))
        self._adopted = candidate
        return OracleDecision(tuple(updates), tuple(facts))

    def _forget(self, *, tell: bool) -> OracleDecision:
        self._waiting.clear()
        adopted, self._adopted = self._adopted, None
        facts = () if adopted is None else (CandidateSuperseded(self._now_ms(), adopted.candidate_id, None),)
        return OracleDecision((OracleClear(),) if tell else (), facts)


def _is_ready(text: str) -> bool:
    return len(list(itertools.islice(_COMPLETE_WORD.finditer(text), _READY_WORDS))) == _READY_WORDS


__all__ = [
    "CandidateView",
    "OracleCursor",
    "OracleDecision",
    "OracleStream",
    "Phrase",
    "PhraseCursor",
    "TextTokenizer",
]
