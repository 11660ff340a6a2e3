"""Turn-taking as Full-Duplex-Bench v1.0 measures it, on dialogues synthesised with espeak-ng, in virtual time.

`duplex_tasks.py` measures, this makes the report:

    python -m tests.bench.full_duplex [--out docs/bench]
"""

import argparse
import statistics
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import TypeVar

import matplotlib as mpl
import numpy as np

from kame_core.compare.known_speech import PARTIAL_LAG_S, SETTLE_S
from tests.bench.duplex_tasks import (
    ECHO_DELAY_S,
    ECHO_GAINS_DB,
    FIRST_TOKEN_S,
    LONG_PAUSES_S,
    PAUSE_BOUNDS_S,
    PAUSE_MEDIAN_S,
    PAUSE_SPREAD,
    Backchannel,
    Interruption,
    Pause,
    Results,
    TurnTaking,
    measure,
)
from tests.support.duplex_dialogues import VOICES

mpl.use("Agg")

REPORT = """# Full duplex

Made on {day} by `python -m tests.bench.full_duplex`: {dialogues} dialogues in virtual time, each in a conversation of
its own. The user is espeak-ng in {voices} voices, talking to the whole engine in mode `tandem`: Silero voice detection,
turn rules, planner, oracle and the reflex front end with its openers. Only the recogniser and the LLM are stand-ins:
every word is understood {partial_lag:.0f} ms after it was said, a pause is read {settle:.0f} ms after it was noticed,
there are no punctuation marks; the LLM's first token takes {first_token:.0f} ms.

The measures are those of [Full-Duplex-Bench](https://arxiv.org/abs/2503.04721) v1.0. **TOR** (take-over rate): share
of dialogues in which the agent takes the turn; a reply of at most three words and less than a second does not.
**Latency**: from the user's last sound to the agent's first. The benchmark's own recordings are not here, so figures of
other systems can only be compared with care.

| task | measure | all | looked at | held out | goal |
|---|---|---|---|---|---|
{rows}
{missed}
*Held out* are the sentences because of which no rule was changed; which ones these are was fixed before. Pauses are
drawn from a log-normal distribution (median {median:.1f} s, sigma {spread}, {low} to {high} s), as pauses within turns
are distributed in recorded conversations (Heldner and Edlund 2010). The sentence is said in one breath and cut at the
pause. *Pause* has them where people hesitate, in a tenth of the sentences more than once; about a third of the
sentences could end there. *Pause anywhere* has them between any two words. Backchannels are partly drawn out to almost
a second; espeak-ng cannot hum, so its "um hum" stands for "mm-hm". An agent that stopped for one and went on with its
answer counts as *goes on at last*.

TOR by the length of the pause, with the melody of one sentence, and with that of a finished sentence before each
pause, which misleads on purpose:

{long_pauses}

**Echo**: the agent's voice comes back into the microphone after {echo_delay:.0f} ms for 12 s, with nobody speaking and
no echo cancellation at all, and its words are recognised perfectly.

| echo | cuts itself | asks the LLM about its own words | voice lowered |
|---|---|---|---|
{echoes}

![Take-over rate over the length of the pause, and cumulative latencies](full-duplex.svg)
"""


STOPPED_GOAL_MS = 700


def missed(results: Results) -> str:
    """The goal that is not reached, if it is not; empty if it is."""
    stopped_s = known(interruption.stopped_s for interruption in results.interruptions)
    p95_ms = float(np.percentile(stopped_s, 95)) * 1000 if stopped_s else 0.0
    if p95_ms <= STOPPED_GOAL_MS:
        return ""
    return f"\n*Voice stopped* misses its goal: its p95 is {p95_ms:.0f} ms, not {STOPPED_GOAL_MS} ms.\n"


def share(values: list[bool]) -> str:
    """As a rate."""
    return f"{sum(values) / len(values):.2f}" if values else "–"


def middle(values: list[float]) -> str:
    """Median and 95th percentile in ms."""
    if not values:
        return "–"
    return f"{statistics.median(values) * 1000:.0f} / {float(np.percentile(values, 95)) * 1000:.0f} ms"


H = TypeVar("H", Pause, TurnTaking, Interruption, Backchannel)


def row(task: str, measure: str, outcomes: list[H], value: Callable[[list[H]], str], goal: str) -> str:
    """One line of the table: all, then the two halves."""
    halves = [[outcome for outcome in outcomes if outcome.held_out is held_out] for held_out in (False, True)]
    return f"| {task} | {measure} | {value(outcomes)} | {value(halves[0])} | {value(halves[1])} | {goal} |"


def known(values: Iterable[float | None]) -> list[float]:
    """Without what did not happen."""
    return [value for value in values if value is not None]


def table(results: Results) -> str:
    """The main table."""
    median = "p50 / p95"
    return "\n".join(
        [
            row("pause", "TOR ↓", results.pauses, lambda a: share([p.took_over for p in a]), "≤ 0.10"),
            row("pause anywhere", "TOR ↓", results.anywhere, lambda a: share([p.took_over for p in a]), "≤ 0.10"),
            row("pause", "opener given", results.pauses, lambda a: share([p.spoke for p in a]), ""),
            row("turn end", "TOR ↑", results.turns, lambda a: share([t.took_over for t in a]), "≥ 0.95"),
            row(
                "turn end",
                f"latency, {median}",
                results.turns,
                lambda a: middle(known(t.first_sound_s for t in a)),
                "",
            ),
            row(
                "turn end",
                "latency, mean",
                results.turns,
                lambda a: f"{statistics.mean(known(t.first_sound_s for t in a) or [0]) * 1000:.0f} ms" if a else "–",
                "≤ 500 ms",
            ),
            row(
                "turn end",
                f"first word of the answer, {median}",
                results.turns,
                lambda a: middle(known(t.first_answer_s for t in a)),
                "",
            ),
            row("interruption", "TOR ↑", results.interruptions, lambda a: share([i.took_over for i in a]), ""),
            row(
                "interruption",
                f"voice lowered after, {median}",
                results.interruptions,
                lambda a: middle(known(i.ducked_s for i in a)),
                "p95 ≤ 300 ms",
            ),
            row(
                "interruption",
                f"voice stopped after, {median}",
                results.interruptions,
                lambda a: middle(known(i.stopped_s for i in a)),
                f"p95 ≤ {STOPPED_GOAL_MS} ms",
            ),
            row(
                "interruption",
                f"latency, {median}",
                results.interruptions,
                lambda a: middle(known(i.response_s for i in a)),
                "",
            ),
            row("backchannel", "agent goes on", results.backchannels, lambda a: share([b.kept_on for b in a]), ""),
            row(
                "backchannel",
                "agent goes on at last",
                results.backchannels,
                lambda a: share([b.went_on for b in a]),
                "",
            ),
            row(
                "backchannel",
                f"voice lowered for, {median}",
                results.backchannels,
                lambda a: middle([b.ducked_s for b in a if b.kept_on]),
                "p95 ≤ 700 ms",
            ),
        ]
    )


def by_length(pauses: list[Pause]) -> str:
    """Cells of a table: the take-over rate for each length."""
    return " | ".join(share([pause.took_over for pause in pauses if pause.pause_s == s]) for s in LONG_PAUSES_S)


def report(results: Results, folder: Path) -> None:
    """Write tables and plot."""
    folder.mkdir(parents=True, exist_ok=True)
    echoes = [[echo for echo in results.echoes if echo.gain_db == gain_db] for gain_db in ECHO_GAINS_DB]
    text = REPORT.format(
        day=date.today().isoformat(),
        dialogues=sum(
            len(part)
            for part in (
                results.pauses,
                results.anywhere,
                results.long_pauses,
                results.misleading,
                results.turns,
                results.interruptions,
                results.backchannels,
                results.echoes,
            )
        ),
        voices=len(VOICES),
        partial_lag=PARTIAL_LAG_S * 1000,
        settle=SETTLE_S * 1000,
        first_token=FIRST_TOKEN_S * 1000,
        rows=table(results),
        missed=missed(results),
        median=PAUSE_MEDIAN_S,
        spread=PAUSE_SPREAD,
        low=PAUSE_BOUNDS_S[0],
        high=PAUSE_BOUNDS_S[1],
        long_pauses="\n".join(
            [
                "| pause | " + " | ".join(f"{s:.1f} s" for s in LONG_PAUSES_S) + " |",
                "|---" * (len(LONG_PAUSES_S) + 1) + "|",
                f"| TOR | {by_length(results.long_pauses)} |",
                f"| TOR, misleading melody | {by_length(results.misleading)} |",
            ]
        ),
        echo_delay=ECHO_DELAY_S * 1000,
        echoes="\n".join(
            f"| {group[0].gain_db} dB | {sum(e.cut_itself for e in group)} of {len(group)} | "
            f"{sum(e.asked_for_itself for e in group)} requests | "
            f"{statistics.mean(e.ducked for e in group):.0%} of the time |"
            for group in echoes
        ),
    )
    (folder / "full-duplex.md").write_text(text)
    plot(results, folder / "full-duplex.svg")


def plot(results: Results, path: Path) -> None:
    """Two panels."""
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "full-duplex"
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    for label, pauses, colour in (
        ("said in one breath", results.long_pauses, "#c2410c"),
        ("misleading melody", results.misleading, "#4a5a70"),
    ):
        rates = [statistics.mean(p.took_over for p in pauses if p.pause_s == s) for s in LONG_PAUSES_S]
        left.plot(LONG_PAUSES_S, rates, "o-", color=colour, label=f"every pause of this length, {label}")
    drawn = statistics.mean(pause.took_over for pause in results.pauses)
    left.axhline(drawn, color="#0f766e", linestyle="--", label="pauses as they are distributed")
    left.axhline(0.1, color="#bbb", linewidth=1, label="goal")
    left.set_ylim(0, 1)
    left.set_xlabel("pause within a turn (s)")
    left.set_ylabel("take-over rate")
    left.legend(fontsize=8, loc="upper left")
    for label, values, colour in (
        ("turn end: first sound", known(t.first_sound_s for t in results.turns), "#c2410c"),
        ("turn end: first word of the answer", known(t.first_answer_s for t in results.turns), "#0f766e"),
        ("interruption: voice stopped", known(i.stopped_s for i in results.interruptions), "#4a5a70"),
    ):
        ordered = sorted(values)
        right.step(ordered, np.arange(1, len(ordered) + 1) / len(ordered), where="post", color=colour, label=label)
    right.axvline(0.5, color="#bbb", linewidth=1)
    right.set_xlim(0, None)
    right.set_xlabel("seconds")
    right.set_ylabel("share of dialogues")
    right.legend(fontsize=8, loc="lower right")
    for panel in (left, right):
        panel.grid(alpha=0.25)
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
