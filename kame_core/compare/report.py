"""What came of a comparison: a table, a plot, and every turn's row."""

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from html import escape
from pathlib import Path

from kame_core.compare.trial import Row
from kame_core.events import Spent
from kame_core.latency import STAMPS, percentile, stamps_of
from kame_core.options import Mode

_NAMES = {
    Mode.DIRECT: "direct: front end alone",
    Mode.TANDEM: "tandem: front end with oracle",
    Mode.CASCADED: "cascaded: STT, LLM, TTS in turn",
}
_COLOURS = {Mode.DIRECT: "#0f766e", Mode.TANDEM: "#c2410c", Mode.CASCADED: "#4a5a70"}


@dataclass(frozen=True, slots=True)
class Prices:
    """What the LLM costs, per million tokens; 0: not known."""

    input: float = 0.0
    output: float = 0.0

    def of(self, spent: Spent) -> float:
        """Cost of all that was spent."""
        return (spent.input_tokens * self.input + spent.output_tokens * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Setting:
    """With what it was made."""

    llm: str
    ear: str
    voice: str
    frontend: str = "reflex"
    judge: str = ""
    prices: Prices = Prices()


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of a run."""

    setting: Setting
    rows: tuple[Row, ...]
    spent: dict[str, tuple[Spent, ...]]
    """By mode, for each conversation."""

    @property
    def modes(self) -> list[str]:
        """In the order of the paper's table."""
        return [mode.value for mode in _NAMES if any(row.mode == mode for row in self.rows)]

    @property
    def categories(self) -> list[str]:
        """In the order they were asked in."""
        return list(dict.fromkeys(row.category for row in self.rows))

    def of(self, mode: str, category: str | None = None) -> list[Row]:
        """The rows of a mode."""
        return [row for row in self.rows if row.mode == mode and category in (None, row.category)]


def quality(rows: Sequence[Row], *, of_oracle: bool = False) -> float:
    """Mean score; not a number where nothing was judged."""
    scores = [score for row in rows if (score := row.oracle_score if of_oracle else row.score) is not None]
    return sum(scores) / len(scores) if scores else math.nan


def latencies_ms(rows: Sequence[Row]) -> list[float]:
    """From the end of speech to the first sound."""
    return [row.first_sound_ms for row in rows if row.first_sound_ms is not None]


def first_knowing_ms(row: Row) -> float | None:
    """First sound of what the back end said, on the listener's time line."""
    timing = row.timing
    if row.first_sound_ms is None or timing is None or timing.first_oracle_audio_ms is None:
        return None
    return row.first_sound_ms + timing.first_oracle_audio_ms - (timing.first_audio_ms or 0)


def quality_table(comparison: Comparison) -> str:
    """In the form of the KAME paper's table: quality by category, average, latency."""
    graded = comparison.setting.judge
    lines = [
        f"| system | {' | '.join(comparison.categories)} | average "
        "| first sound, median | p95 | first of the LLM, median |",
        "|---" * (len(comparison.categories) + 5) + "|",
    ]
    for mode in comparison.modes:
        rows = comparison.of(mode)
        cells = [_score(quality(comparison.of(mode, category)), graded) for category in comparison.categories]
        knowing = [value for row in rows if (value := first_knowing_ms(row)) is not None]
        cells += [_score(quality(rows), graded), *(_ms(percentile(latencies_ms(rows), p)) for p in (50, 95))]
        cells.append(_ms(percentile(knowing, 50)))
        lines.append(f"| {_NAMES[Mode(mode)]} | {' | '.join(cells)} |")
    if Mode.TANDEM in comparison.modes:
        rows = comparison.of(Mode.TANDEM)
        cells = [
            _score(quality(comparison.of(Mode.TANDEM, category), of_oracle=True), graded)
            for category in comparison.categories
        ]
        lines.append(
            f"| last oracle of tandem, not spoken | {' | '.join(cells)} | "
            f"{_score(quality(rows, of_oracle=True), graded)} | – | – | – |"
        )
    return "\n".join(lines)


def timing_table(comparison: Comparison) -> str:
    """Median of every stamp of the engine's time line."""
    lines = [
        "| mode | " + " | ".join(name.replace("_", " ") for name in STAMPS) + " |",
        "|---" * (len(STAMPS) + 1) + "|",
    ]
    for mode in comparison.modes:
        stamps = stamps_of(row.timing for row in comparison.of(mode) if row.timing is not None)
        lines.append(f"| {mode} | " + " | ".join(_ms(percentile(stamps[name], 50)) for name in STAMPS) + " |")
    return "\n".join(lines)


def cost_table(comparison: Comparison) -> str:
    """What the LLM cost per minute of conversation."""
    prices = comparison.setting.prices
    lines = ["| mode | requests per minute | tokens per minute | cost per minute |", "|---|---|---|---|"]
    for mode in comparison.modes:
        spent = comparison.spent.get(mode, ())
        minutes = sum(part.at_ms for part in spent) / 60_000
        if not minutes:
            lines.append(f"| {mode} | 0 | 0 | 0 |")
            continue
        requests = sum(part.requests for part in spent) / minutes
        tokens = sum(part.input_tokens + part.output_tokens for part in spent) / minutes
        cost = sum(prices.of(part) for part in spent) / minutes
        lines.append(f"| {mode} | {requests:.1f} | {tokens:.0f} | {f'{cost:.4f}' if cost else '–'} |")
    return "\n".join(lines)


def markdown(comparison: Comparison) -> str:
    """The whole report."""
    setting = comparison.setting
    graded = f"graded 1 to 10 by {setting.judge}" if setting.judge else "share of right answers"
    ungraded = sum(row.score is None for row in comparison.rows)
    misheard = sum(row.question.lower() != row.understood.lower() for row in comparison.rows)
    return f"""# Three modes, the same spoken questions

Made on {date.today().isoformat()} by `python -m kame_core.compare` ({platform.machine()}, \
{os.cpu_count()} cores, Python {platform.python_version()}). Front end: {setting.frontend}; \
LLM: {setting.llm}; ear: {setting.ear}; voices: {setting.voice}. {len(comparison.rows)} turns, \
{misheard} of them not understood word for word, {ungraded} without a score.

Quality: {graded}, of what was *heard*. Latency: from the end of the question's last sound to the agent's first.

{quality_table(comparison)}

![Quality over latency](compare.svg)

## The time line of a turn

Medians in ms after the end of the user's speech, as the engine tells them with every turn (`TurnTiming`).

{timing_table(comparison)}

## What the LLM cost

{cost_table(comparison)}

Every turn is a row of `compare.json`.
"""


def write(comparison: Comparison, folder: Path) -> None:
    """Write `compare.md`, `compare.svg` and `compare.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(asdict(row), ensure_ascii=False) for row in comparison.rows]
    (folder / "compare.json").write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
    (folder / "compare.svg").write_text(plot(comparison), encoding="utf-8")
    (folder / "compare.md").write_text(markdown(comparison), encoding="utf-8")


def plot(comparison: Comparison) -> str:
    """Quality over latency as an SVG picture: a point at the median, a bar from the 5th to the 95th percentile."""
    best = 10.0 if comparison.setting.judge else 1.0
    widest = max([percentile(latencies_ms(comparison.of(mode)), 95) for mode in comparison.modes] or [1000.0])
    span_ms = max(500.0, math.ceil((0 if math.isnan(widest) else widest) / 500) * 500.0)
    left, top, width, height = 70, 20, 520, 260

    def x(value_ms: float) -> float:
        return left + width * min(max(value_ms, 0.0), span_ms) / span_ms

    def y(score: float) -> float:
        return top + height * (1 - score / best)

    parts = [f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>']
    for step in range(6):
        value_ms, score = span_ms * step / 5, best * step / 5
        parts.append(f'<text x="{x(value_ms):.0f}" y="{top + height + 18}" text-anchor="middle">{value_ms:.0f}</text>')
        parts.append(f'<text x="{left - 8}" y="{y(score) + 4:.0f}" text-anchor="end">{score:g}</text>')
        parts.append(f'<path d="M{left} {y(score):.1f}h{width}" stroke="#ddd"/>')
    for mode in comparison.modes:
        values, score = latencies_ms(comparison.of(mode)), quality(comparison.of(mode))
        if not values or math.isnan(score):
            continue
        low, middle, high = (x(percentile(values, percent)) for percent in (5, 50, 95))
        colour = _COLOURS[Mode(mode)]
        parts.append(
            f'<path d="M{low:.1f} {y(score):.1f}H{high:.1f}" stroke="{colour}" stroke-width="3" opacity="0.4"/>'
        )
        parts.append(f'<circle cx="{middle:.1f}" cy="{y(score):.1f}" r="6" fill="{colour}"/>')
        parts.append(f'<text x="{middle + 9:.1f}" y="{y(score) - 9:.1f}" fill="{colour}">{escape(mode)}</text>')
    parts.append(
        f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">ms to the first sound</text>'
    )
    middle_y = top + height / 2
    parts.append(
        f'<text x="18" y="{middle_y}" transform="rotate(-90 18 {middle_y})" text-anchor="middle">quality</text>'
    )
    body = "\n".join(parts)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 340" font-family="sans-serif" font-size="12">\n'
        f'<rect width="620" height="340" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _score(value: float, judge: str) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.2f}" if judge else f"{value:.0%}"


def _ms(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0f} ms"
