"""The oracle's age under both policies, some conditions: ours is never starved, the reference's is by a slow LLM."""

import pytest

from kame_core.clock import run_virtual
from tests.bench.oracle_age import Outcome, speak, table_row


def outcome(policy: str, first_token_s: float, words_per_s: int = 3) -> Outcome:
    return run_virtual(lambda clock: speak(clock, policy, first_token_s, words_per_s, phase=0.125))


def test_with_a_quick_llm_both_have_an_oracle_and_ours_answers_sooner() -> None:
    ours, theirs = outcome("ours", 0.3), outcome("reference", 0.3)
    assert not ours.starved
    assert not theirs.starved
    assert ours.age_s <= theirs.age_s <= 2
    assert ours.answer_s < theirs.answer_s


@pytest.mark.parametrize("first_token_s", [1.5, 3.0])
def test_a_slow_llm_starves_the_reference_but_not_ours(first_token_s: float) -> None:
    ours, theirs = outcome("ours", first_token_s), outcome("reference", first_token_s)
    assert theirs.starved
    assert theirs.age_s == pytest.approx(8.0)  # the whole turn
    assert not ours.starved
    assert ours.age_s < theirs.age_s
    assert ours.requests <= theirs.requests + 1  # those that were cancelled are paid for, too


def test_a_turn_shorter_than_the_llm_needs_has_no_oracle_yet_but_is_answered() -> None:
    ours = outcome("ours", 5.0, words_per_s=5)
    assert ours.answer_s <= 5.5


def test_a_row_names_both_policies() -> None:
    row = table_row([outcome("ours", 1.0), outcome("reference", 1.0)], 1.0)
    assert row.startswith("| 1.0 s | ")
    assert row.count(" / ") == 4
