"""How old the oracle is when the user stops speaking, at any speed of the LLM: our planner and the published KAME
server's policy in one harness, in virtual time.

Age: how long ago the words were spoken that the adopted candidate answers. 0 means that it answers the whole turn;
the length of the turn, that there is no oracle at all.

    python -m tests.bench.oracle_age [--out docs/bench]
"""

import argparse
import asyncio
import itertools
import statistics
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib as mpl

from kame_core.backend.planner import Planner
from kame_core.backend.prompt import PromptContext
from kame_core.clock import VirtualClock, run_virtual
from kame_core.events import CandidateAdopted, CandidateStarted, Event
from kame_core.oracle import OracleStream
from kame_core.phrasing import normalised
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.reference_policy import ReferencePolicy

mpl.use("Agg")

FIRST_TOKENS_S = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0)
WORDS_PER_S = (2, 3, 4, 5)
WORDS = 24
"""A turn of 5 to 12 s, so that an LLM of 5 s can be heard in it, too."""
PHASES = 8
"""Turns per condition, begun at different moments of the reference's poll."""
PARTIAL_LAG_S = 0.3
"""From a word's end to the partial transcript with it."""
SETTLED_LAG_S = 0.32
"""From the end of speech to the reading of a pause: 160 ms until it is noticed, 160 ms for the reading."""
FINAL_LAG_S = 0.48
"""From the end of speech to the final transcript: a pause of 320 ms, and 160 ms for the reading."""
TOKEN_DELAY_S = 0.03
PATIENCE_S = 12.0
ANSWER = "That depends on what you compare it with, but most people would say that it is worth it."
POLICIES = ("ours", "reference")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One spoken turn under one policy; ages and times in seconds."""

    policy: str
    first_token_s: float
    words_per_s: int
    age_s: float
    """Of the oracle at the end of speech."""
    starved: bool
    """There was no oracle at all by then."""
    answer_s: float
    """From the end of speech to the adoption of a candidate for the whole turn."""
    requests: int


class Desk:
    """One policy, its oracle stream, and a user who speaks evenly."""

    def __init__(self, policy: str, clock: VirtualClock, tasks: asyncio.TaskGroup, first_token_s: float) -> None:
        self.clock = clock
        self.model = ScriptedChatModel(Answer(ANSWER, first_token_s, TOKEN_DELAY_S))
        self.start_s = clock.now()
        self.oracle = OracleStream(self.now_ms)
        self.adopted: list[tuple[float, str]] = []
        self._partials: dict[str, str] = {}
        self.policy: Planner | ReferencePolicy
        self.loop: asyncio.Task[None] | None = None
        if policy == "ours":
            self.policy = Planner(self.model, PromptContext, self.take, clock, tasks, self.now_ms)
        else:
            self.policy = ReferencePolicy(self.model, self.take, clock, tasks, self.now_ms)
            self.loop = tasks.create_task(self.policy.run())

    def now_ms(self) -> int:
        """Time since the desk was opened."""
        return round((self.clock.now() - self.start_s) * 1000)

    def take(self, event: Event) -> None:
        """An event of the policy, through the same oracle stream for both."""
        if isinstance(event, CandidateStarted):
            self._partials[event.candidate_id] = event.partial
        for fact in self.oracle.handle(event).facts:
            if isinstance(fact, CandidateAdopted):
                self.adopted.append((self.clock.now(), self._partials[fact.candidate_id]))
                if isinstance(self.policy, Planner):
                    self.policy.adopted(fact.candidate_id)

    async def close(self) -> None:
        """End its tasks."""
        if isinstance(self.policy, Planner):
            await self.policy.aclose()
        if self.loop is not None:
            self.loop.cancel()


async def speak(clock: VirtualClock, policy: str, first_token_s: float, words_per_s: int, phase: float) -> Outcome:
    """One turn."""
    words = [f"word{number}" for number in range(WORDS)]
    async with asyncio.TaskGroup() as tasks:
        desk = Desk(policy, clock, tasks, first_token_s)
        begin_s = clock.now() + phase
        ends_s = [begin_s + (number + 1) / words_per_s for number in range(WORDS)]
        for number, end_s in enumerate(ends_s):
            await clock.sleep_until(end_s + PARTIAL_LAG_S)
            desk.policy.partial(" ".join(words[: number + 1]))
        speech_end_s = ends_s[-1]
        await clock.sleep_until(speech_end_s + SETTLED_LAG_S)
        if isinstance(desk.policy, Planner):  # the other one is not told of pauses
            desk.policy.pause(" ".join(words))
        await clock.sleep_until(speech_end_s + FINAL_LAG_S)
        desk.policy.turn_ended(" ".join(words))
        await clock.sleep_until(speech_end_s + PATIENCE_S)
        await desk.close()
    whole = normalised(" ".join(words))
    before = [partial for at_s, partial in desk.adopted if at_s <= speech_end_s]
    covered_s = ends_s[len(before[-1].split()) - 1] if before else begin_s
    answer_s = next(at_s for at_s, partial in desk.adopted if normalised(partial) == whole) - speech_end_s
    return Outcome(
        policy,
        first_token_s,
        words_per_s,
        round(speech_end_s - covered_s, 3),
        not before,
        round(answer_s, 3),
        len(desk.model.calls),
    )


def measure() -> list[Outcome]:
    """All conditions."""

    def scene(*condition: Any) -> Callable[[VirtualClock], Coroutine[Any, Any, Outcome]]:
        return lambda clock: speak(clock, *condition)

    phases = [phase * 0.5 / PHASES for phase in range(PHASES)]
    return [
        run_virtual(scene(*condition)) for condition in itertools.product(POLICIES, FIRST_TOKENS_S, WORDS_PER_S, phases)
    ]


def of(outcomes: list[Outcome], policy: str, first_token_s: float, words_per_s: int | None = None) -> list[Outcome]:
    """One condition's turns."""
    return [
        outcome
        for outcome in outcomes
        if outcome.policy == policy
        and outcome.first_token_s == first_token_s
        and words_per_s in (None, outcome.words_per_s)
    ]


REPORT = """# Age of the oracle

Made on {day} by `python -m tests.bench.oracle_age`: {turns} turns of {words} words in virtual time, {phases} per
condition, begun at different moments. Both policies get the same partial transcripts ({partial_lag:.0f} ms behind the
words), the same final ({final_lag:.0f} ms behind the last), the same LLM ({token_delay:.0f} ms a token after the
first), and change candidates by the same rule (two words are there). *Reference* is the policy of the published KAME
server as read in its code: every 0.5 s, if two words are new, and a new request cancels the one in flight.

**Age**: how long before the end of speech the words ended that the oracle answers at the end of speech.
**Starved**: there was no oracle at all by then. **Answer**: from the end of speech to an oracle for the whole turn.

Ours / reference:

| LLM's first token | age | starved | answer | requests per turn |
|---|---|---|---|---|
{rows}

Medians over speech of {slowest} to {fastest} words a second, means of requests. Ours starves no turn that is longer
than the LLM needs for its first words; with the reference's policy no oracle comes before the user falls silent once
the LLM takes longer than two words do, and those requests are paid for, too.
What ours costs is bounded: two requests at once at most, and budgets per minute and per conversation
(`kame_core/backend/budgets.py`). A running conversation tells what it spends (`kame.spent`).

![Age of the oracle at the end of speech over the LLM's first-token time](oracle-age.svg)
"""


def table_row(outcomes: list[Outcome], first_token_s: float) -> str:
    """One LLM speed."""
    ours, theirs = (of(outcomes, policy, first_token_s) for policy in POLICIES)
    cells = [f"{first_token_s:.1f} s"]
    cells.append(" / ".join(f"{statistics.median(turn.age_s for turn in turns):.2f} s" for turns in (ours, theirs)))
    cells.append(" / ".join(f"{sum(turn.starved for turn in turns) / len(turns):.0%}" for turns in (ours, theirs)))
    cells.append(" / ".join(f"{statistics.median(turn.answer_s for turn in turns):.2f} s" for turns in (ours, theirs)))
    cells.append(" / ".join(f"{statistics.mean(turn.requests for turn in turns):.0f}" for turns in (ours, theirs)))
    return "| " + " | ".join(cells) + " |"


def report(outcomes: list[Outcome], folder: Path) -> None:
    """Write table and plot; the raw figures are made anew in seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    text = REPORT.format(
        day=date.today().isoformat(),
        turns=len(outcomes),
        words=WORDS,
        phases=PHASES,
        partial_lag=PARTIAL_LAG_S * 1000,
        final_lag=FINAL_LAG_S * 1000,
        token_delay=TOKEN_DELAY_S * 1000,
        rows="\n".join(table_row(outcomes, first_token_s) for first_token_s in FIRST_TOKENS_S),
        slowest=WORDS_PER_S[0],
        fastest=WORDS_PER_S[-1],
    )
    (folder / "oracle-age.md").write_text(text)
    plot(outcomes, folder / "oracle-age.svg")


def plot(outcomes: list[Outcome], path: Path) -> None:
    """Age over the LLM's speed, a panel for each speed of speech."""
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "oracle-age"
    colours = {"ours": "#c2410c", "reference": "#4a5a70"}
    figure, panels = plt.subplots(1, len(WORDS_PER_S), figsize=(12, 3.4), sharey=True)
    for panel, words_per_s in zip(panels, WORDS_PER_S, strict=True):
        turn_s = WORDS / words_per_s
        panel.axhline(turn_s, color="#999", linewidth=1, linestyle=":")
        panel.text(5, turn_s + 0.15, "no oracle", fontsize=8, color="#666", ha="right")
        panel.plot(FIRST_TOKENS_S, FIRST_TOKENS_S, color="#bbb", linewidth=1, label="LLM's first token alone")
        for policy in POLICIES:
            ages = [[turn.age_s for turn in of(outcomes, policy, s, words_per_s)] for s in FIRST_TOKENS_S]
            panel.fill_between(
                FIRST_TOKENS_S, [min(a) for a in ages], [max(a) for a in ages], color=colours[policy], alpha=0.15
            )
            panel.plot(
                FIRST_TOKENS_S, [statistics.median(a) for a in ages], "o-", ms=3, color=colours[policy], label=policy
            )
        panel.set_title(f"{words_per_s} words a second", fontsize=10)
        panel.set_xlabel("LLM's first token (s)")
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("age of the oracle at the end of speech (s)")
    panels[0].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("docs/bench"))
    arguments = parser.parse_args()
    report(measure(), arguments.out)


if __name__ == "__main__":
    main()
