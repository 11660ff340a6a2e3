"""What one conversation's codec takes of a CPU core: Mimi's encoder and decoder for a frame of 80 ms, as the package
moshi computes them and with packed weights (`kame_core.frontend.moshi.packed_cpu`), taken in turns in one run.

    python -m tests.bench.mimi_on_cpu [--frames 120] [--out docs/bench]
"""

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from moshi.models import loaders

from kame_core.audio import FRAME_S, FRAME_SAMPLES
from kame_core.frontend.moshi.mimi import MimiBatch
from kame_core.frontend.moshi.packed_cpu import pack_for_cpu

VOICE_CODEBOOKS = 8
WARM_UP_FRAMES = 10
GOAL_MS = 66.0
GOAL_OF_MS = 127.0
"""The goal was set where the plain codec took so long; on another machine the ratio of the two is what holds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Milliseconds for a frame."""

    codebooks: int
    """That the encoder writes: 8 for the language model, 32 where speech-to-text listens to the same codes."""
    plain_best_ms: float
    plain_p50_ms: float
    packed_best_ms: float
    packed_p50_ms: float

    @property
    def ratio(self) -> float:
        """Packed to plain."""
        return self.packed_p50_ms / self.plain_p50_ms


def codec(codebooks: int, *, packed: bool) -> MimiBatch:
    """Mimi in full size with random weights, one slot open."""
    torch.manual_seed(0)
    mimi = loaders.get_mimi(None, device="cpu", num_codebooks=codebooks)
    mimi.eval()
    for parameter in mimi.parameters():
        parameter.requires_grad_(False)
    if packed:
        pack_for_cpu(mimi)
    batch = MimiBatch(mimi, 1, codebooks)
    batch.open(0)
    return batch


def frame_ms(batch: MimiBatch, sound: torch.Tensor) -> float:
    """A frame in and a frame out."""
    begun_s = time.perf_counter()
    batch.decode(batch.encode(sound)[:, :VOICE_CODEBOOKS])
    return 1000 * (time.perf_counter() - begun_s)


def measure(codebooks: int, frames: int) -> Outcome:
    """Both in turns, so that what happens on the machine happens to both."""
    dice = np.random.default_rng(0)
    sound = torch.from_numpy(0.1 * dice.standard_normal((frames, 1, 1, FRAME_SAMPLES), np.float32))
    plain, packed = codec(codebooks, packed=False), codec(codebooks, packed=True)
    times = np.array([(frame_ms(plain, one), frame_ms(packed, one)) for one in sound])[WARM_UP_FRAMES:]
    (plain_best, packed_best), (plain_p50, packed_p50) = times.min(axis=0), np.median(times, axis=0)
    return Outcome(codebooks, float(plain_best), float(plain_p50), float(packed_best), float(packed_p50))


REPORT = """# Mimi on one CPU core

Measured on {today} by `python -m tests.bench.mimi_on_cpu`, on a CPU ({machine}), one thread, PyTorch {torch}, float32.
Mimi in full size with random weights: encoder and decoder for one frame of {frame:.0f} ms of one conversation, {frames}
frames, plain and packed in turns.

| codebooks written | plain: best / p50 | packed: best / p50 | packed to plain |
|---|---|---|---|
{rows}

The goal is {goal:.0f} ms, set on a machine where the plain codec took {goal_of:.0f} ms: a ratio of {goal_ratio:.2f}.
Codes are the same; the sound differs by rounding, 124 dB below it.
"""


def report(outcomes: list[Outcome], frames: int, folder: Path) -> None:
    """Write the table and raw figures."""
    rows = [
        f"| {one.codebooks} | {one.plain_best_ms:.0f} / {one.plain_p50_ms:.0f} ms "
        f"| {one.packed_best_ms:.0f} / {one.packed_p50_ms:.0f} ms | {one.ratio:.2f} |"
        for one in outcomes
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mimi-on-cpu.md").write_text(
        REPORT.format(
            today=date.today().isoformat(),
            machine=platform.machine(),
            torch=torch.__version__.split("+")[0],
            frame=1000 * FRAME_S,
            frames=frames - WARM_UP_FRAMES,
            rows="\n".join(rows),
            goal=GOAL_MS,
            goal_of=GOAL_OF_MS,
            goal_ratio=GOAL_MS / GOAL_OF_MS,
        )
    )
    (folder / "mimi-on-cpu.json").write_text(json.dumps([asdict(one) for one in outcomes], indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--out", type=Path, default=Path("docs/bench"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    outcomes = [measure(codebooks, options.frames) for codebooks in (VOICE_CODEBOOKS, 32)]
    for one in outcomes:
        print(one, f"{one.ratio:.2f}")
    report(outcomes, options.frames, options.out)


if __name__ == "__main__":
    main()
