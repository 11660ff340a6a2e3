"""How many calls the moshi front end bears in real time: whole ticks of its engine, from sound to sound, for 1 to 128
slots that all talk, with random weights (their values change nothing about the time); beside it the one call of the
published KAME server.

    python -m tests.bench.moshi_capacity [--size full] [--device cuda] [--listener] [--out docs/bench]

`full` is Moshi 7B with the oracle embedding, in 16 bit, and needs a GPU; `reduced` shows on any CPU that it works. With
`--listener` all is measured once more with Kyutai's speech-to-text on the same codes.
"""

import argparse
import gc
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from moshi.models import loaders

from kame_core.audio import FRAME_S, FRAME_SAMPLES
from kame_core.errors import KameError
from kame_core.frontend.base import OracleAdopt, OracleFinish, OracleText, SlotInput, SlotOptions
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint
from kame_core.frontend.moshi.config import MoshiConfig, default_config, parse_config
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.generation import Guidance, GuidanceMode
from kame_core.frontend.moshi.load import dtype_for
from kame_core.frontend.moshi.memory import is_out_of_memory
from kame_core.frontend.moshi.oracle_lm import OracleLM, build_oracle_lm
from kame_core.frontend.moshi.packed_cpu import pack_for_cpu
from kame_core.frontend.moshi.tokenizer import MoshiTokenizer
from kame_core.stt.kyutai_files import KyutaiConfig, parse_kyutai_config
from kame_core.stt.kyutai_listener import KyutaiListener
from kame_core.stt.kyutai_lm import SttBatch
from tests.bench.moshi_reference import reference_talk
from tests.support import tiny_kyutai
from tests.support.tiny_moshi import LM, SENTENCES, build_mimi, build_tokenizer

mpl.use("Agg")

SLOTS = {"full": (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128), "reduced": (1, 2, 4, 8, 16, 32, 64)}
TICK_MS = 1000 * FRAME_S
WARM_UP_TICKS = 8
TICKS = {"full": 250, "reduced": 40}
HOPELESS_MS = 4 * TICK_MS
"""No more slots are tried behind a number of them that takes longer."""
ORACLE = " ".join(SENTENCES)
Sound = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
REDUCED: Mapping[str, Any] = {**LM, "dim": 256, "num_heads": 4, "num_layers": 4, "context": 250, "depformer_dim": 128}
HEARING: Mapping[str, Mapping[str, Any]] = {
    "full": {**tiny_kyutai.PUBLISHED, **tiny_kyutai.STT_1B},
    "reduced": {
        **tiny_kyutai.LM,
        "dim": 128,
        "num_heads": 4,
        "num_layers": 2,
        "context": 75,
        "tokenizer_name": "tokenizer.model",
        "stt_config": {"audio_delay_seconds": 0.5},
    },
}
MakeListener = Callable[[int], KyutaiListener]
"""For so many slots."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ticks of so many slots; GB in all, weights included."""

    slots: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    memory_gb: float

    @property
    def in_real_time(self) -> bool:
        """Ninety-nine of a hundred ticks end before the next begins."""
        return self.p99_ms < TICK_MS


def configuration(size: str) -> MoshiConfig:
    """Of `full` or `reduced` size."""
    return default_config() if size == "full" else parse_config(json.dumps({**REDUCED, "model_type": "moshi"}))


def random_lm(config: MoshiConfig, device: torch.device) -> OracleLM:
    """A language model with random weights."""
    arguments = {key: value for key, value in config.lm.items() if key != "quantize"}
    return build_oracle_lm(arguments, device=device, dtype=dtype_for(device))


def checkpoint(size: str, device: torch.device) -> LoadedCheckpoint:
    """A model with random weights; its codec is not packed."""
    config = configuration(size)
    lm = random_lm(config, device)
    mimi = loaders.get_mimi(None, device=device, num_codebooks=8) if size == "full" else build_mimi(8)
    mimi.to(device).eval()
    for parameter in (*lm.parameters(), *mimi.parameters()):
        parameter.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(build_tokenizer())
        return LoadedCheckpoint(config, lm, mimi, MoshiTokenizer(path), trained_for_oracle=True)


def random_listener(model: LoadedCheckpoint, size: str) -> MakeListener:
    """Speech-to-text with random weights, on the model's codes."""
    config: KyutaiConfig = parse_kyutai_config(json.dumps(dict(HEARING[size])))
    device = model.lm.device
    lm = build_oracle_lm(config.lm, device=device, dtype=dtype_for(device), oracle=False)
    for parameter in lm.parameters():
        parameter.requires_grad_(False)
    silence = torch.zeros(lm.n_q, 1, dtype=torch.long)

    def make(slots: int) -> KyutaiListener:
        batch = SttBatch(lm, slots, silence, prefix_frames=config.prefix_frames)
        return KyutaiListener(batch, model.tokenizer, config.paddings, config.delay_frames)

    return make


def measure(
    model: LoadedCheckpoint, slots: int, guidance: Guidance, ticks: int, listener: MakeListener | None = None
) -> Outcome:
    """All slots talk and read, back to back, and are listened to where there is a listener."""
    device = model.lm.device
    ears = None if listener is None else listener(slots)
    try:
        engine = MoshiEngine(model, slots, guidance=guidance, listener=ears)
    except BaseException:
        if ears is not None:
            ears.shutdown()
        raise
    try:
        for slot in range(slots):
            engine.open(slot, SlotOptions(seed=slot))
            engine.feed(slot, (OracleAdopt("a"), OracleText("a", ORACLE), OracleFinish("a")), None)

        def tick(sound: Sound) -> None:
            outputs = engine.step([SlotInput(slot, sound[slot]) for slot in range(slots)])
            assert not any(out.fault for out in outputs)

        return timed(tick, slots, ticks, device)
    finally:
        engine.shutdown()


def measure_reference(model: LoadedCheckpoint, ticks: int) -> Outcome:
    """The one call of the published server, with the same sound and the same oracle."""
    device = model.lm.device
    oracle = [model.config.text_card, *model.tokenizer.encode(ORACLE)]
    try:
        with reference_talk(model, oracle) as talk:
            return timed(lambda sound: talk.tick(sound[0]), 1, ticks, device)
    finally:
        if device.type == "cuda":
            gc.collect()  # streaming states refer to each other
            torch.cuda.empty_cache()


def timed(tick: Callable[[Sound], object], slots: int, ticks: int, device: torch.device) -> Outcome:
    """Ticks back to back, each with a frame of noise for every slot, float32 [slots, 1920].

    On one thread of a CPU its own time counts, not what other programs take meanwhile.
    """
    now_s = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    sound = np.random.default_rng(0).normal(0, 0.05, (4, slots, FRAME_SAMPLES)).astype(np.float32)
    took_ms = []
    for number in range(WARM_UP_TICKS + ticks):
        begun_s = now_s()
        tick(sound[number % 4])
        took_ms.append(1000 * (now_s() - begun_s))
    p50, p95, p99 = np.percentile(took_ms[WARM_UP_TICKS:], (50, 95, 99))
    if device.type == "cuda":
        memory = torch.cuda.memory_reserved(device)
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Outcome(slots, float(p50), float(p95), float(p99), memory / 1e9)


def climb(
    model: LoadedCheckpoint, guidance: Guidance, size: str, listener: MakeListener | None = None
) -> list[Outcome]:
    """More and more slots, until memory or patience ends."""
    outcomes: list[Outcome] = []
    for slots in SLOTS[size]:
        try:
            outcome = measure(model, slots, guidance, TICKS[size], listener)
        except (KameError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            print(f"{slots} slots: no memory ({error})")
            break
        print(f"{slots:4d} slots: p50 {outcome.p50_ms:6.1f}  p95 {outcome.p95_ms:6.1f}  p99 {outcome.p99_ms:6.1f} ms")
        outcomes.append(outcome)
        if outcome.p50_ms > HOPELESS_MS:
            break
    return outcomes


def machine_of(device: torch.device) -> str:
    """For the report."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    cores = f"{threads} of {os.cpu_count()} cores, whose own time is counted" if threads == 1 else f"{threads} cores"
    return f"a CPU ({platform.machine()}, {cores})"


REPORT = """# Calls on the moshi front end

Made on {today} by `python -m tests.bench.moshi_capacity --size {size}`,
on {machine}, PyTorch {torch}, {dtype}.
{model}
Weights are random; every slot hears noise, reads an oracle and speaks. A tick is Mimi's encoder, one step of the
language model and Mimi's decoder for all slots, timed back to back over {ticks} ticks; a frame lasts 80 ms.

**{answer}**

| slots | p50 | p95 | p99 | memory | in real time |
|---|---|---|---|---|---|
{rows}

The first row is one call as the published KAME server computes it, with the same weights and sound on the same machine:
Mimi with a batch of one, moshi's own generator with one oracle token a step, Mimi again and the sound fetched, all in
series. Its median tick takes {times} times as long as ours of one slot.
{hearing}
![Time of a tick over the number of slots](moshi-capacity.svg)
"""
HEARING_REPORT = """
## With speech-to-text on the same codes

Kyutai's ({ears}; random weights) listens to all slots. Its step is part of the tick; the last words of an utterance are
written with what is then left of it.

**{answer}**

| slots | p50 | p95 | p99 | memory | in real time |
|---|---|---|---|---|---|
{rows}
"""
EARS = {"full": "the one for English and French, 1 B parameters", "reduced": "of reduced size, dim 128, 2 layers"}
MODELS = {
    "full": "Moshi 7B with KAME's oracle embedding, and Mimi.",
    "reduced": "A model of reduced size (dim 256, 4 layers; a Mimi of 0.1 M parameters): this shows that the benchmark "
    "works and what the machinery itself costs, and nothing about the real one.",
}


def table_row(one: Outcome, name: str = "") -> str:
    """Of the report's table."""
    times = f"{one.p50_ms:.1f} ms | {one.p95_ms:.1f} ms | {one.p99_ms:.1f} ms"
    return f"| {name or one.slots} | {times} | {one.memory_gb:.1f} GB | {'yes' if one.in_real_time else 'no'} |"


def answer_of(outcomes: list[Outcome]) -> str:
    """In a sentence."""
    best = max((outcome.slots for outcome in outcomes if outcome.in_real_time), default=0)
    return f"Largest number of slots with p99 below 80 ms: {best or 'none'}."


def report(
    reference: Outcome,
    outcomes: list[Outcome],
    heard: list[Outcome],
    size: str,
    device: torch.device,
    folder: Path,
) -> None:
    """Write table, plot and raw figures; `heard` is with a listener, empty where that was not measured."""
    hearing = ""
    if heard:
        hearing = HEARING_REPORT.format(ears=EARS[size], answer=answer_of(heard), rows="\n".join(map(table_row, heard)))
    rows = [table_row(reference, "the reference's 1"), *map(table_row, outcomes)]
    ones = [one.p50_ms for one in outcomes if one.slots == 1]
    times = f"{reference.p50_ms / ones[0]:.2f}" if ones else "?"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "moshi-capacity.md").write_text(
        REPORT.format(
            today=date.today().isoformat(),
            size=f"{size} --listener" if heard else size,
            machine=machine_of(device),
            torch=torch.__version__.split("+")[0],
            dtype=str(dtype_for(device)).removeprefix("torch."),
            model=MODELS[size],
            ticks=TICKS[size],
            answer=answer_of(outcomes),
            rows="\n".join(rows),
            hearing=hearing,
            times=times,
        )
    )
    figures = {
        "reference": asdict(reference),
        "slots": [asdict(one) for one in outcomes],
        "with_listener": [asdict(one) for one in heard],
    }
    (folder / "moshi-capacity.json").write_text(json.dumps(figures, indent=1) + "\n")
    plot(outcomes, heard, folder / "moshi-capacity.svg")


def plot(outcomes: list[Outcome], heard: list[Outcome], path: Path) -> None:
    """Percentiles over slots."""
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "moshi-capacity"
    figure, axes = plt.subplots(figsize=(7, 3.6))
    slots = [one.slots for one in outcomes]
    for name, colour in (("p50_ms", "#2b6cb0"), ("p95_ms", "#dd6b20"), ("p99_ms", "#c53030")):
        axes.plot(slots, [getattr(one, name) for one in outcomes], marker="o", color=colour, label=name[:3])
    if heard:
        p99_ms = [one.p99_ms for one in heard]
        axes.plot([one.slots for one in heard], p99_ms, marker="x", color="#742a2a", label="p99 with speech-to-text")
    axes.axhline(TICK_MS, color="#888", linewidth=1, linestyle="--", label="one frame")
    axes.set_xlabel("slots")
    axes.set_ylabel("time of a tick, ms")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    parser.add_argument("--size", choices=("full", "reduced"), default=None, help="default: full on a GPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--guidance", choices=list(GuidanceMode), default=GuidanceMode.OFF, type=GuidanceMode)
    parser.add_argument("--listener", action="store_true", help="also with speech-to-text on the same codes")
    parser.add_argument("--out", type=Path, default=Path("docs/bench"))
    options = parser.parse_args()
    device = torch.device(options.device)
    size = options.size or ("full" if device.type == "cuda" else "reduced")
    if device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    model = checkpoint(size, device)
    reference = measure_reference(model, TICKS[size])
    print(f"the reference: p50 {reference.p50_ms:6.1f}  p95 {reference.p95_ms:6.1f}  p99 {reference.p99_ms:6.1f} ms")
    if device.type == "cpu":
        pack_for_cpu(model.mimi)
    guidance = Guidance(options.guidance)
    outcomes, heard = climb(model, guidance, size), []
    if options.listener:
        print("with speech-to-text on the same codes:")
        heard = climb(model, guidance, size, random_listener(model, size))
    report(reference, outcomes, heard, size, device, options.out)


if __name__ == "__main__":
    main()
