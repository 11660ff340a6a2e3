"""From a checkpoint's name to a front end that takes calls: fetching, loading, finding out how many it can bear."""

import gc
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from subprocess import CalledProcessError

import torch

from kame_core.audio import FRAME_S
from kame_core.errors import InvalidRequestError, UnavailableError
from kame_core.frontend.host import LocalHost
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint, load_checkpoint, require_device
from kame_core.frontend.moshi.config import MoshiConfig
from kame_core.frontend.moshi.engine import MoshiEngine, StepTimes
from kame_core.frontend.moshi.files import CheckpointFiles, fetch_checkpoint
from kame_core.frontend.moshi.generation import Guidance
from kame_core.frontend.moshi.memory import is_out_of_memory
from kame_core.frontend.moshi.packed_cpu import pack_for_cpu
from kame_core.frontend.moshi.sampling import SamplingOptions
from kame_core.stt.kyutai import KyutaiSpeechToText
from kame_core.workers import ThreadWorkers

log = logging.getLogger(__name__)

FRAME_MS = 1000 * FRAME_S
_FETCHED_SHARE = 0.9
"""Of the progress, where a checkpoint has to be fetched."""
_USABLE_STEP_MS = 0.85 * FRAME_MS
"""Slots are added as long as a step takes no longer; the rest is for the unforeseen."""
_MOST_SLOTS = {"cuda": 128, "cpu": 2}
_SPARE_GPU_BYTES = 2 << 30
"""What a step itself takes, and the recorded graph."""
_MIMI_SLOT_BYTES = 32 << 20
"""What the codec keeps of a conversation: mostly the keys and values of its two transformers."""


@dataclass(frozen=True, slots=True)
class MoshiOptions:
    """Which model, where, for how many."""

    location: str = "SakanaAI/kame"
    """As for `fetch_checkpoint`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`; auto is a GPU where there is one."""
    slots: int | None = None
    """Calls at once; None: as many as memory and speed allow."""
    guidance: Guidance = field(default_factory=Guidance)
    clone_oracle: bool = False
    """Give plain Moshi an oracle embedding: the one of its text. It was never trained to follow it."""


@dataclass(frozen=True, slots=True)
class LoadedMoshi:
    """A front end that takes calls, and what is to be known of it."""

    host: LocalHost
    device: str
    """In words."""
    dtype: str
    trained_for_oracle: bool
    times: StepTimes

    @property
    def in_real_time(self) -> bool:
        """A step ends before the next one begins."""
        return self.times.p95_ms <= FRAME_MS


async def load_moshi(
    options: MoshiOptions,
    progress: Callable[[float | None], None],
    fetch_deadline_s: float,
    stt: KyutaiSpeechToText | None = None,
) -> LoadedMoshi:
    """Load a model of the Moshi family; call it on the loop that its conversations live on.

    Args:
        options: which, where, for how many.
        progress: told 0 to 1, None where that is not known; on a worker thread.
        fetch_deadline_s: how long fetching what is not on this machine may take.
        stt: listens to the codes that the front end's codec makes of the user's sound.

    Raises:
        CheckpointError: the files are damaged, or do not fit together.
        UnavailableError: they cannot be had, there is no such device, or its memory is too small.
    """
    device = device_of(options.device)

    def fetched(done: int, total: int | None) -> None:
        progress(_FETCHED_SHARE * min(done / total, 1.0) if total else None)

    files = await fetch_checkpoint(options.location, fetched, fetch_deadline_s)
    progress(_FETCHED_SHARE)
    worker = ThreadWorkers("moshi-load")
    try:
        checkpoint, engine, times = await worker.run(_load, files, options, device, stt)
    finally:
        worker.close()
    return LoadedMoshi(
        LocalHost.threaded(engine),
        torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU",
        str(dtype_for(device)).removeprefix("torch."),
        checkpoint.trained_for_oracle,
        times,
    )


def device_of(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UnavailableError: PyTorch knows none of that name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise UnavailableError(f"There is no device {name!r}. Use auto, cpu, cuda or cuda:1.") from error


def dtype_for(device: torch.device) -> torch.dtype:
    """What the language model computes in: a CPU is slower in 16 bit than in 32."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def sampling_of(config: MoshiConfig) -> SamplingOptions:
    """The checkpoint's own sampling, under the names moshi's generator has for it; Moshi's where it says nothing.

    Raises:
        UnavailableError: it says what makes no sense.
    """
    names = {
        "temp_text": "text_temperature",
        "top_k_text": "text_top_k",
        "temp": "audio_temperature",
        "top_k": "audio_top_k",
    }
    given = {ours: config.generation[theirs] for theirs, ours in names.items() if theirs in config.generation}
    try:
        return SamplingOptions(**given)
    except (InvalidRequestError, TypeError) as error:
        raise UnavailableError(f"The config.json's lm_gen_config makes no sense: {error}") from error


def slot_bytes(config: MoshiConfig, guidance: Guidance, bytes_per_number: int) -> int:
    """Memory of one slot: keys and values of the language model's context, twice with guidance; and the codec's."""
    lm = config.lm
    wide = int(lm["dim"]) // int(lm.get("kv_repeat", 1))
    cache = 2 * int(lm["num_layers"]) * int(lm["context"]) * wide * bytes_per_number
    return cache * (2 if guidance.on else 1) + _MIMI_SLOT_BYTES


def _load(
    files: CheckpointFiles, options: MoshiOptions, device: torch.device, stt: KyutaiSpeechToText | None
) -> tuple[LoadedCheckpoint, MoshiEngine, StepTimes]:
    """On a worker."""
    if device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))  # the event loop needs a core
    if device.type != "cuda":
        return _load_on(files, options, device, stt)
    require_device(device)
    with torch.cuda.device(device):  # graphs are captured on the current one
        return _load_on(files, options, device, stt)


def _load_on(
    files: CheckpointFiles, options: MoshiOptions, device: torch.device, stt: KyutaiSpeechToText | None
) -> tuple[LoadedCheckpoint, MoshiEngine, StepTimes]:
    dtype = dtype_for(device)
    checkpoint = load_checkpoint(files, device=device, dtype=dtype, clone_oracle=options.clone_oracle)
    if device.type == "cpu":
        pack_for_cpu(checkpoint.mimi)
    slots = options.slots or _MOST_SLOTS.get(device.type, 1)
    if options.slots is None and device.type == "cuda":
        torch.cuda.empty_cache()  # what reading the files took
        free = torch.cuda.mem_get_info(device)[0] - _SPARE_GPU_BYTES
        each = slot_bytes(files.config, options.guidance, dtype.itemsize) + (stt.slot_bytes if stt is not None else 0)
        slots = max(1, min(slots, free // each))
    engine, times = _fitting(checkpoint, slots, options, stt)
    return checkpoint, engine, times


def _fitting(
    checkpoint: LoadedCheckpoint, slots: int, options: MoshiOptions, stt: KyutaiSpeechToText | None
) -> tuple[MoshiEngine, StepTimes]:
    """An engine of so many slots; where nobody asked for a number, of as many as fit into memory and time."""
    while True:
        try:
            engine, times = _tried(checkpoint, slots, options, stt)
        except UnavailableError as error:
            if options.slots is not None or slots == 1 or error.code != "out_of_memory":
                raise
            slots -= max(1, slots // 8)
            continue
        log.info(
            "%d slots: a step takes %.1f ms (p95 %.1f; where a conversation ends and one begins %.1f)",
            slots,
            times.p50_ms,
            times.p95_ms,
            times.joined_ms,
        )
        share = max(times.p95_ms / _USABLE_STEP_MS, times.joined_ms / FRAME_MS)
        if options.slots is not None or slots == 1 or share <= 1:
            if times.reading_ms > 0 and slots > 1:
                log.info("with so many, words at a pause are understood %.0f ms later than with few", times.reading_ms)
            return engine, times
        engine.shutdown()
        slots = max(1, min(slots - 1, int(slots / share)))


def _tried(
    checkpoint: LoadedCheckpoint, slots: int, options: MoshiOptions, stt: KyutaiSpeechToText | None
) -> tuple[MoshiEngine, StepTimes]:
    """An engine of exactly so many slots that has made its first steps; where that fails, nothing is left of it."""
    gc.collect()  # of one that had no memory; streaming states refer to each other
    if checkpoint.lm.device.type == "cuda":
        torch.cuda.empty_cache()
    listener, engine = None, None
    try:
        listener = stt.listen(checkpoint.mimi, slots) if stt is not None else None
        engine = MoshiEngine(
            checkpoint, slots, guidance=options.guidance, sampling=sampling_of(checkpoint.config), listener=listener
        )
        return engine, engine.warm_up()
    except BaseException as error:
        for part in (engine, listener):
            if part is not None:
                part.shutdown()
        if isinstance(error, MemoryError | RuntimeError) and is_out_of_memory(error):
            raise UnavailableError(
                f"The GPU has no memory for a step of {slots} conversations. Set fewer places.", code="out_of_memory"
            ) from error
        if _cannot_build(error):
            raise UnavailableError(
                "PyTorch builds the GPU's kernels with a C compiler and Python's headers, and one of them is not here. "
                "Install both (apt-get install gcc python3-dev)."
            ) from error
        raise


def _cannot_build(error: BaseException) -> bool:
    """Triton says when it finds no compiler. Where a compiler finds no Python.h, its own words go elsewhere."""
    failed = getattr(error, "inner_exception", error)  # what PyTorch's compiler wraps has no cause
    return isinstance(failed, CalledProcessError) or (
        isinstance(error, RuntimeError) and "compiler" in str(error).lower()
    )
