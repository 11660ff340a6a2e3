"""How many calls one server process bears: its processor time per call, and what callers hear of it.

A server process, callers in this one (`tests.support.light_call`), on cores of their own where there are two. Three
kinds of call: `check` (the sound check: packets in, Opus to samples and back, packets out: the transport alone),
`reflex` (a conversation with the embedded engines whose caller listens) and `moshi` (one on the moshi front end, whose
random weights speak all the time). `--size full` on a GPU shows whether the whole holds as many calls as the model
alone (`moshi_capacity`).

    python -m tests.bench.many_calls [--calls 8 16 32] [--kinds check reflex moshi] [--size full] [--out docs/bench]
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import aiohttp
import matplotlib as mpl
import numpy as np
import torch

from app.webrtc.tracks import PIECE_S
from kame_core.audio import SAMPLE_RATE_HZ, Samples
from tests.bench.moshi_capacity import TICK_MS
from tests.bench.moshi_reader import write_reader
from tests.support.light_call import LightCall, encoded
from tests.support.server import ServerProcess, server_process
from tests.support.tiny_moshi import build_moshi

mpl.use("Agg")

KINDS: Mapping[str, str] = {
    "check": "the sound check, which is the transport alone.",
    "reflex": "conversations with the embedded engines, whose callers listen; their recognisers are processes of their "
    "own on the same cores.",
    "moshi": "conversations on the moshi front end, which speaks all the time.",
}
LOAD_DEADLINE_S = 300.0
SETTLE_S = 4.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MOST_GAP_MS = 60.0
"""Between two packets: more than a listener's jitter buffer hides."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """So many calls for some seconds."""

    kind: str
    calls: int
    loop_percent: float
    """Of a core, by the thread of the event loop."""
    others_percent: float
    """By all other threads of the server's process."""
    gap_p99_ms: float
    """Between two packets at a caller; they are sent every 20 ms."""
    missing_percent: float
    """Of the packets that should have come."""
    tick_p99_ms: float | None
    """Of the front end's step, as the server says; None: there is none."""

    @property
    def per_call_percent(self) -> float:
        """Of a core, by the whole process."""
        return (self.loop_percent + self.others_percent) / self.calls

    @property
    def good(self) -> bool:
        """Whether callers hear nothing of it."""
        steps_in_time = self.tick_p99_ms is None or self.tick_p99_ms < TICK_MS
        return self.gap_p99_ms <= MOST_GAP_MS and self.missing_percent < 0.5 and steps_in_time


def processor_s(process_id: int) -> tuple[float, float]:
    """Seconds of processor time so far: of the main thread, which runs the event loop, and of all threads."""

    def of(stat: Path) -> float:
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    return of(Path(f"/proc/{process_id}/task/{process_id}/stat")), of(Path(f"/proc/{process_id}/stat"))


def breath() -> Samples:
    """Four seconds of a room in which nobody speaks, float32 [n] mono 24 kHz."""
    dice = np.random.default_rng(0)
    noise: Samples = 0.001 * dice.standard_normal(4 * SAMPLE_RATE_HZ, np.float32)
    return noise


async def tick_p99_ms(http: aiohttp.ClientSession, base_url: str) -> float | None:
    """What the server says of its front end."""
    async with http.get(base_url + "/metrics") as response:
        found = re.search(r'kame_tick_step_seconds\{[^}]*quantile="0\.99"\} (\S+)', await response.text())
    return 1000 * float(found[1]) if found else None


async def hold(server: ServerProcess, kind: str, calls: int, seconds: float) -> Outcome:
    """So many calls at once for so long."""
    packets = encoded(breath())
    query = "?transport=echo" if kind == "check" else ""
    async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:
        held = [await stack.enter_async_context(LightCall(packets, 31 * index)) for index in range(calls)]
        for call in held:
            await call.connect(http, server.base_url, query)
        await asyncio.sleep(SETTLE_S)
        for call in held:
            call.arrivals_s.clear()
        begun_s, (loop_begun_s, all_begun_s) = time.monotonic(), processor_s(server.process.pid)
        await asyncio.sleep(seconds)
        took_s, (loop_s, all_s) = time.monotonic() - begun_s, processor_s(server.process.pid)
        gaps_s = [later - earlier for call in held for earlier, later in itertools.pairwise(call.arrivals_s)]
        came = sum(len(call.arrivals_s) for call in held)
        loop_s, all_s = loop_s - loop_begun_s, all_s - all_begun_s
        return Outcome(
            kind,
            calls,
            100 * loop_s / took_s,
            100 * (all_s - loop_s) / took_s,
            1000 * float(np.percentile(gaps_s, 99)) if gaps_s else float("inf"),
            max(0.0, 100 * (1 - came * PIECE_S / took_s / calls)),
            None if kind == "check" else await tick_p99_ms(http, server.base_url),
        )


@asynccontextmanager
async def serving(kind: str, calls: int, weights: Path, cores: set[int]) -> AsyncIterator[ServerProcess]:
    """A server for that kind of call, on these cores."""
    environment = {"KAME_CAPACITY": str(calls), "KAME_STT": "pocketsphinx", "KAME_LLM": "offline"}
    if kind == "moshi":
        environment |= {
            "KAME_FRONTEND": "moshi",
            "KAME_MOSHI_WEIGHTS": str(weights),
            "KAME_MOSHI_SLOTS": str(calls),
        }
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # the process inherits it
    try:
        async with server_process("--port", "0", environment=environment) as server:
            os.sched_setaffinity(0, mine)
            await server.line("Ready:", timeout_s=LOAD_DEADLINE_S)
            yield server
    finally:
        os.sched_setaffinity(0, mine)


def shares_of_cores() -> tuple[set[int], set[int]]:
    """Cores for the server and for the callers: the last one, where there are several."""
    cores = sorted(os.sched_getaffinity(0))
    return (set(cores[:-1]), {cores[-1]}) if len(cores) > 1 else (set(cores), set(cores))


async def measure(kinds: list[str], numbers: list[int], seconds: float, weights: Path) -> list[Outcome]:
    """All kinds and numbers; after a number that is too many none higher is tried."""
    outcomes: list[Outcome] = []
    for_server, for_callers = shares_of_cores()
    for kind in kinds:
        for calls in numbers:
            async with serving(kind, calls, weights, for_server) as server:
                os.sched_setaffinity(0, for_callers)
                outcome = await hold(server, kind, calls, seconds)
            print(outcome)
            outcomes.append(outcome)
            if not outcome.good:
                break
    return outcomes


REPORT = """# Calls a server process bears

Measured on {today} by `python -m tests.bench.many_calls`, on {machine}, PyTorch {torch}.
The server runs on {server_cores}, the callers on another. Every caller sends and gets 50 packets a second for
{seconds:.0f} s.

| calls | kind | event loop | other threads | per call | packets' gap p99 | missing | tick p99 |
|---|---|---|---|---|---|---|---|
{rows}

{sums}

*Event loop* and *other threads* are shares of one core; the event loop is one thread, so that its share is what limits
a process, however many cores there are.{model} The calls of a row are held if no more than one gap in a hundred between
two packets is above {most_gap:.0f} ms, fewer than one packet in 200 is missing, and the front end steps in time.

![Share of a core over the number of calls](many-calls.svg)
"""
MODELS = {
    "full": " The model of `moshi` has the size of Moshi 7B and runs on the GPU.",
    "tiny": " The model of `moshi` is tiny.",
}


def table_row(one: Outcome) -> str:
    """Of the report's table."""
    tick = "" if one.tick_p99_ms is None else f"{one.tick_p99_ms:.0f} ms"
    cells = (
        f"{one.loop_percent:.0f} %",
        f"{max(0.0, one.others_percent):.0f} %",
        f"{one.per_call_percent:.2f} %",
        f"{one.gap_p99_ms:.0f} ms",
        f"{one.missing_percent:.1f} %",
        tick,
    )
    return f"| {one.calls} | {one.kind} | {' | '.join(cells)} |"


def summed_up(outcomes: list[Outcome]) -> Iterator[str]:
    """A sentence for each kind: what a call takes of the event loop when there are as many as it bears."""
    for kind, group in itertools.groupby(outcomes, key=lambda one: one.kind):
        most = max((one for one in group if one.good), key=lambda one: one.calls, default=None)
        if most is not None:
            held = (
                f"{most.calls} calls held, each of which took {most.loop_percent / most.calls:.2f} % of the event loop."
            )
            yield f"- `{kind}`: {KINDS[kind]} {held}"


def report(outcomes: list[Outcome], size: str, seconds: float, device: torch.device, cores: int, folder: Path) -> None:
    """Write table, plot and raw figures."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "many-calls.md").write_text(
        REPORT.format(
            today=date.today().isoformat(),
            machine=torch.cuda.get_device_name(device) if device.type == "cuda" else f"a CPU ({platform.machine()})",
            torch=torch.__version__.split("+")[0],
            server_cores="one core" if cores == 1 else f"{cores} cores",
            seconds=seconds,
            rows="\n".join(map(table_row, outcomes)),
            sums="\n".join(summed_up(outcomes)),
            model=MODELS[size] if any(one.kind == "moshi" for one in outcomes) else "",
            most_gap=MOST_GAP_MS,
        )
    )
    (folder / "many-calls.json").write_text(json.dumps([asdict(one) for one in outcomes], indent=1) + "\n")
    plot(outcomes, folder / "many-calls.svg")


def plot(outcomes: list[Outcome], path: Path) -> None:
    """The event loop's share over calls."""
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "many-calls"
    figure, axes = plt.subplots(figsize=(7, 3.6))
    colours: Mapping[str, str] = {"check": "#2b6cb0", "reflex": "#dd6b20", "moshi": "#c53030"}
    for kind, group in itertools.groupby(outcomes, key=lambda one: one.kind):
        mine = list(group)
        calls = [one.calls for one in mine]
        axes.plot(calls, [one.loop_percent for one in mine], marker="o", color=colours[kind], label=f"{kind}: loop")
        whole = [one.loop_percent + one.others_percent for one in mine]
        axes.plot(calls, whole, linestyle="--", color=colours[kind], label=f"{kind}: process")
    axes.set_xlabel("calls")
    axes.set_ylabel("share of a core, %")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--kinds",
        choices=tuple(KINDS),
        nargs="+",
        default=list(KINDS) if device.type == "cuda" else ["check", "reflex"],
    )
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 48, 64])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--size", choices=tuple(MODELS), default="full" if device.type == "cuda" else "tiny")
    parser.add_argument("--out", type=Path, default=Path("docs/bench"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder)
        if "moshi" in options.kinds:
            if options.size == "full":
                write_reader(weights, "full", device, tied=False)
            else:
                build_moshi(weights)
        outcomes = asyncio.run(measure(options.kinds, sorted(options.calls), options.seconds, weights))
    report(outcomes, options.size, options.seconds, device, len(shares_of_cores()[0]), options.out)


if __name__ == "__main__":
    main()
