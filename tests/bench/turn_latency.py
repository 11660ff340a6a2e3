"""Turn latency through the real WebRTC path: end of the user's speech to the agent's first sound, and to its first
sound of oracle content, for `tandem`, `direct` and `cascaded` in one run, with a slow and a quick LLM.

A server process (the embedded engines), a local OpenAI-compatible server as the LLM, an aiortc client on loopback.
What is measured is when sound arrives at the client, not what the server says of itself.

    python -m tests.bench.turn_latency [--questions 20] [--out docs/bench]
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import matplotlib as mpl
import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples
from tests.support.openai_server import Behaviour, OpenAIServer
from tests.support.rtc_client import RtcClient
from tests.support.server import server_process
from tests.support.speech import say
from tests.support.spoken_questions import FORESEEN

mpl.use("Agg")

MODES = ("tandem", "direct", "cascaded")
ASKING_MODES = ("tandem", "cascaded")
"""`direct` asks no LLM, so that one LLM speed is enough for it."""
FIRST_TOKENS_MS = (400, 1500)
TOKEN_DELAY_S = 0.03
ANSWER = "The answer is simple."
AUDIBLE = 0.01
TURN_DEADLINE_S = 20.0
GOAL_MS = {"first audio p50": 400, "first audio p95": 500}


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and when its answer was heard, in ms after the end of the question's sound."""

    mode: str
    first_token_ms: int
    question: str
    first_audio_ms: float
    first_oracle_audio_ms: float | None
    asked_ms: float | None
    """When the candidate that was spoken had been asked for; negative: while the user still spoke."""
    turn_end_ms: float | None
    understood: str


async def ask(client: RtcClient, mode: str, first_token_ms: int, question: str, sound: Samples) -> Turn | None:
    """Ask one question; None when no answer was heard."""
    seen = len(client.events)
    client.say(sound)
    await client.mouth.finished()
    last_s, last_samples = client.mouth.spoken[-1]
    speech_end_s = last_s + last_samples / SAMPLE_RATE_HZ
    try:
        await client.event(
            "response.done", TURN_DEADLINE_S, after=seen, where=lambda event: event["response"]["status"] == "completed"
        )
        timing = await client.event("kame.turn.timing", 2.0, after=seen)
        heard = await client.event("conversation.item.input_audio_transcription.completed", 2.0, after=seen)
    except AssertionError:
        return None
    first_s = first_sound_s(client, speech_end_s)
    if first_s is None:
        return None
    first_ms = (first_s - speech_end_s) * 1000
    oracle_ms = timing["first_oracle_audio_ms"]
    return Turn(
        mode,
        first_token_ms,
        question,
        first_ms,
        None if oracle_ms is None else first_ms + oracle_ms - timing["first_audio_ms"],
        timing["asked_ms"],
        timing["turn_end_ms"],
        heard["transcript"],
    )


def first_sound_s(client: RtcClient, since_s: float) -> float | None:
    """When the first audible sample after a moment arrived."""
    line = client.ear.line
    start = next((place for at, place in client.ear.arrivals if at >= since_s), line.size)
    loud = np.flatnonzero(np.abs(line[start:]) > AUDIBLE)
    return client.ear.heard_at(start + int(loud[0])) if loud.size else None


def trimmed(sound: Samples) -> Samples:
    """Without silence at the ends, so that the end of the sound is the end of the speech."""
    loud = np.flatnonzero(np.abs(sound) > AUDIBLE)
    return sound[loud[0] : loud[-1] + 1]


async def measure(questions: int) -> list[Turn]:
    """All turns of a run."""
    sounds = {question: trimmed(say(question)) for question in FORESEEN[:questions]}
    turns: list[Turn] = []
    for first_token_ms in FIRST_TOKENS_MS:
        behaviour = Behaviour(first_token_delay_s=first_token_ms / 1000, token_delay_s=TOKEN_DELAY_S)
        async with OpenAIServer(lambda _: ANSWER, behaviour=behaviour) as llm:
            environment = {"OPENAI_BASE_URL": llm.base_url, "OPENAI_API_KEY": "none", "KAME_STT": "pocketsphinx"}
            async with server_process("--port", "0", environment=environment) as server:
                await server.line("Ready:", timeout_s=60)
                for mode in MODES if first_token_ms == FIRST_TOKENS_MS[0] else ASKING_MODES:
                    turns += await converse(server.base_url, mode, first_token_ms, sounds)
    return turns


async def converse(base_url: str, mode: str, first_token_ms: int, sounds: dict[str, Samples]) -> list[Turn]:
    """One call, all questions."""
    turns: list[Turn] = []
    async with RtcClient() as client:
        await client.connect_http(base_url, {"kame": {"mode": mode}}, multipart=True)
        await asyncio.sleep(1.0)
        for question, sound in sounds.items():
            turn = await ask(client, mode, first_token_ms, question, sound)
            if turn is None:
                print(f"{mode} {first_token_ms}: no answer to: {question}")
            else:
                turns.append(turn)
                print(
                    f"{mode:9s} {first_token_ms:5d} ms  first {turn.first_audio_ms:5.0f}  "
                    f"oracle {turn.first_oracle_audio_ms or float('nan'):5.0f}  {turn.understood}"
                )
            await asyncio.sleep(0.7)
    return turns


def percentile(values: list[float], percent: float) -> float:
    """Linear between the nearest ranks."""
    return float(np.percentile(values, percent)) if values else float("nan")


def table_row(turns: list[Turn], mode: str, first_token_ms: int) -> str:
    """One condition's row of the report's table."""
    mine = [turn for turn in turns if turn.mode == mode and turn.first_token_ms == first_token_ms]
    first = [turn.first_audio_ms for turn in mine]
    oracle = [turn.first_oracle_audio_ms for turn in mine if turn.first_oracle_audio_ms is not None]
    told = "–" if mode == "direct" else f"{first_token_ms} ms"
    cells = [mode, told, str(len(mine)), f"{percentile(first, 50):.0f}", f"{percentile(first, 95):.0f}"]
    if oracle:
        beyond_ms = percentile(oracle, 50) - first_token_ms
        cells += [f"{percentile(oracle, 50):.0f}", f"{percentile(oracle, 95):.0f}", f"{beyond_ms:+.0f}"]
    else:
        cells += ["–"] * 3
    return "| " + " | ".join(cells) + " |"


REPORT = """# Turn latency

Measured on {day} by `python -m tests.bench.turn_latency` in {minutes:.0f} minutes on {cores} shared cores
({machine}, Python {python}); server, LLM stand-in and client on one machine, so that they take turns on the cores.
Embedded engines: reflex, pocketsphinx, espeak-ng; synthesised questions of the offline brain's domain.

Milliseconds from the end of the question's last sound, as sent by an aiortc client on loopback, to the arrival of sound
at that client. *First* includes the opener. *Oracle* is the first sound of what the LLM said; *beyond the LLM* is its
median less the LLM's first-token time.

| mode | LLM's first token | turns | first p50 | first p95 | oracle p50 | oracle p95 | beyond the LLM |
|---|---|---|---|---|---|---|---|
{rows}

With an LLM that takes 1.5 s, the tandem is heard {ratio:.1f} times sooner than the cascade of the same parts.

Goals: first audio in `tandem` p50 ≤ {p50} ms and p95 ≤ {p95} ms; oracle ≤ the LLM's first token + 500 ms.

![Cumulative share of turns over time to first sound and to first oracle sound](turn-latency.svg)
"""


def report(turns: list[Turn], folder: Path, took_s: float) -> None:
    """Write table, plot and raw figures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "turn-latency.json").write_text(json.dumps([asdict(turn) for turn in turns], indent=1) + "\n")
    measured = dict.fromkeys((turn.mode, turn.first_token_ms) for turn in turns)
    rows = [table_row(turns, mode, first_token_ms) for mode, first_token_ms in measured]
    text = REPORT.format(
        day=date.today().isoformat(),
        minutes=took_s / 60,
        cores=os.cpu_count(),
        machine=platform.machine(),
        python=platform.python_version(),
        rows="\n".join(rows),
        ratio=statistics.median(of(turns, "cascaded", 1500)) / statistics.median(of(turns, "tandem", 1500)),
        p50=GOAL_MS["first audio p50"],
        p95=GOAL_MS["first audio p95"],
    )
    (folder / "turn-latency.md").write_text(text)
    plot(turns, folder / "turn-latency.svg")


def of(turns: list[Turn], mode: str, first_token_ms: int) -> list[float]:
    """First-audio times of one condition."""
    return [turn.first_audio_ms for turn in turns if turn.mode == mode and turn.first_token_ms == first_token_ms] or [
        float("nan")
    ]


def plot(turns: list[Turn], path: Path) -> None:
    """Cumulative distributions, one panel for each LLM speed."""
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "turn-latency"
    colours = {"tandem": "#c2410c", "direct": "#0f766e", "cascaded": "#4a5a70"}
    figure, panels = plt.subplots(1, len(FIRST_TOKENS_MS), figsize=(10, 3.6), sharey=True)
    for panel, first_token_ms in zip(panels, FIRST_TOKENS_MS, strict=True):
        for mode in MODES:
            mine = [turn for turn in turns if turn.mode == mode and turn.first_token_ms == first_token_ms]
            for kind, style in (("first_audio_ms", "-"), ("first_oracle_audio_ms", ":")):
                values = sorted(value for turn in mine if (value := getattr(turn, kind)) is not None)
                if not values or (kind != "first_audio_ms" and mode == "cascaded"):
                    continue
                share = np.arange(1, len(values) + 1) / len(values)
                label = f"{mode}: {'first sound' if kind == 'first_audio_ms' else 'first oracle sound'}"
                panel.step(values, share, style, where="post", color=colours[mode], label=label)
        panel.axvline(first_token_ms, color="#bbb", linewidth=1)
        panel.set_title(f"LLM's first token after {first_token_ms} ms", fontsize=10)
        panel.set_xlabel("ms after the end of the user's speech")
        panel.set_xlim(0, None)
        panel.grid(alpha=0.25)
    panels[0].set_ylabel("share of turns")
    panels[0].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("docs/bench"))
    arguments = parser.parse_args()
    began_s = time.monotonic()
    turns = asyncio.run(measure(arguments.questions))
    report(turns, arguments.out, time.monotonic() - began_s)


if __name__ == "__main__":
    main()
