"""The oracle stream: which candidate is adopted, and what the front end is told of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kame_core.errors import ChatModelError
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
from kame_core.oracle import OracleStream


def started(name: str, partial: str = "", complete: bool = False) -> CandidateStarted:
    return CandidateStarted(0, name, partial, complete)


def text(name: str, delta: str) -> CandidateText:
    return CandidateText(0, name, delta)


class Reader:
    """Runs events through a stream and keeps what came out."""

    def __init__(self) -> None:
        self.stream = OracleStream(lambda: 77)
        self.updates: list[OracleUpdate] = []
        self.facts: list[Event] = []

    def __call__(self, *events: Event) -> "Reader":
        for event in events:
            decision = self.stream.handle(event)
            self.updates += decision.updates
            self.facts += decision.facts
        return self


class TestAdoption:
    def test_waits_for_two_complete_words(self) -> None:
        reader = Reader()(started("a", "what is"), text("a", "Paris"), text("a", " is"))
        assert reader.updates == []
        assert reader.stream.adopted is None
        reader(text("a", " the"))
        assert reader.updates == [OracleAdopt("a"), OracleText("a", "Paris is the")]
        assert reader.facts == [CandidateAdopted(77, "a")]

    def test_a_short_answer_is_adopted_when_it_is_finished(self) -> None:
        reader = Reader()(started("a"), text("a", "Paris."), CandidateFinished(0, "a", "Paris."))
        assert reader.updates == [OracleAdopt("a"), OracleText("a", "Paris."), OracleFinish("a")]

    @pytest.mark.parametrize("empty", ["", "  \n", "..."])
    def test_an_empty_one_is_never_adopted(self, empty: str) -> None:
        reader = Reader()(started("a"), text("a", empty), CandidateFinished(0, "a", empty))
        assert reader.updates == []
        assert reader.facts == []

    def test_marks_are_not_words(self) -> None:
        assert Reader()(started("a"), text("a", "- - — … Well")).updates == []

    def test_deltas_are_forwarded_exactly(self) -> None:
        deltas = ["One ", "two", " thr", "ee,\n", "\n ", " four", "…"]
        reader = Reader()(started("a"), *(text("a", delta) for delta in deltas))
        reader(CandidateFinished(0, "a", "".join(deltas)))
        texts = [update.text for update in reader.updates if isinstance(update, OracleText)]
        assert texts == ["One two thr", "ee,\n", "\n ", " four", "…"]
        assert reader.updates[-1] == OracleFinish("a")

    def test_the_older_one_is_read_until_the_newer_one_is_ready(self) -> None:
        reader = Reader()(
            started("a"), text("a", "one two three"), started("b"), text("b", "four "), text("a", " more")
        )
        assert reader.updates[-1] == OracleText("a", " more")
        reader(text("b", "five "), text("a", " lost"))
        assert reader.updates[-2:] == [OracleAdopt("b"), OracleText("b", "four five ")]
        assert reader.facts[1:] == [CandidateSuperseded(77, "a", "b"), CandidateAdopted(77, "b")]

    def test_an_older_one_is_never_adopted_after_a_newer_one(self) -> None:
        reader = Reader()(started("a"), started("b"), text("b", "from b here"), text("a", "from a here"))
        reader(CandidateFinished(0, "a", "from a here"))
        assert reader.stream.adopted is not None
        assert reader.stream.adopted.candidate_id == "b"
        assert len(reader.facts) == 1

    def test_a_failure_while_it_is_read_ends_it(self) -> None:
        reader = Reader()(started("a"), text("a", "one two three"), CandidateFailed(0, "a", ChatModelError("gone")))
        assert reader.updates[-1] == OracleFinish("a")
        assert reader.stream.adopted is not None
        assert reader.stream.adopted.finished
        before = len(reader.updates)
        assert len(reader(text("a", " late"), CandidateFinished(0, "a", "x")).updates) == before

    def test_a_failure_before_it_is_read_is_forgotten(self) -> None:
        reader = Reader()(started("a"), text("a", "one"), CandidateFailed(0, "a", None), text("a", " two three"))
        assert reader.updates == []

    def test_nothing_of_a_turn_survives_it(self) -> None:
        reader = Reader()(started("a"), text("a", "one two three"), started("b"))
        decision = reader.stream.new_turn()
        assert decision.updates == (OracleClear(),)
        assert decision.facts == (CandidateSuperseded(77, "a", None),)
        assert reader.stream.adopted is None
        before = len(reader.updates)
        reader(text("a", " more"), text("b", "one two three"), CandidateFinished(0, "b", "one two three"))
        assert len(reader.updates) == before
        reader(started("c"), text("c", "fresh words here"))
        assert reader.updates[-2] == OracleAdopt("c")

    def test_a_new_turn_says_nothing_if_there_was_no_oracle_and_clear_always_tells(self) -> None:
        stream = OracleStream(lambda: 0)
        stream.handle(started("a"))
        assert stream.new_turn().updates == ()
        assert stream.clear().updates == (OracleClear(),)

    def test_writing_without_spaces_becomes_ready(self) -> None:
        reader = Reader()(started("a"), text("a", "東京は"))
        assert reader.updates == []
        assert reader(text("a", "日本の")).updates[0] == OracleAdopt("a")

    @given(
        st.lists(
            st.tuples(st.sampled_from("abcd"), st.sampled_from(["start", "text", "finish", "fail", "turn"])),
            max_size=60,
        )
    )
    def test_any_order_of_events_keeps_the_rules(self, steps: list[tuple[str, str]]) -> None:
        stream = OracleStream(lambda: 0)
        order: dict[str, int] = {}
        current: str | None = None
        for number, (name, what) in enumerate(steps):
            if what == "turn":
                stream.new_turn()
                order.clear()
                current = None
                continue
            if what == "start":
                if name in order:
                    continue
                order[name] = number
                event: Event = started(name)
            elif what == "text":
                event = text(name, "word ")
            else:
                event = CandidateFinished(0, name, "") if what == "finish" else CandidateFailed(0, name, None)
            for update in stream.handle(event).updates:
                if isinstance(update, OracleAdopt):
                    assert update.candidate_id in order
                    assert current is None or order[update.candidate_id] > order[current]
                    current = update.candidate_id
                assert not isinstance(update, OracleClear)
                assert update.candidate_id == current
