"""Loading a checkpoint: KAME or plain Moshi, in 16 or 8 bit, with or without LoRA; its codec and its tokenizer.

Tensors are read and converted one by one, so loading needs no more memory than the loaded model and its largest
tensor, however wide the file's numbers are.
"""

import importlib.util
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from moshi.utils.quantize import QLinear
from safetensors import safe_open
from torch import Tensor, nn

from kame_core.errors import UnavailableError
from kame_core.frontend.moshi.config import CheckpointError, MoshiConfig
from kame_core.frontend.moshi.files import CheckpointFiles
from kame_core.frontend.moshi.headers import ORACLE_PREFIX, CheckpointReport, compare, split_fused
from kame_core.frontend.moshi.memory import is_out_of_memory
from kame_core.frontend.moshi.oracle_lm import OracleLM, build_oracle_lm
from kame_core.frontend.moshi.safetensors_header import read_header
from kame_core.frontend.moshi.tokenizer import MoshiTokenizer

log = logging.getLogger(__name__)

_TEXT_PREFIX = "text_emb."
_MEMORY_INFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint ready to talk."""

    config: MoshiConfig
    lm: OracleLM
    mimi: MimiModel
    tokenizer: MoshiTokenizer
    trained_for_oracle: bool
    """The oracle embedding was in the files. One cloned from the text embedding was never trained to be read."""


def load_checkpoint(
    files: CheckpointFiles,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    clone_oracle: bool = False,
    mimi_device: torch.device | str | None = None,
) -> LoadedCheckpoint:
    """Load all parts of a checkpoint. Blocks for as long as reading takes.

    Args:
        files: from `locate_checkpoint` or `fetch_checkpoint`.
        device: of the language model.
        dtype: of its weights; 8 bit weights stay what they are.
        clone_oracle: give plain Moshi an oracle embedding that equals its text embedding, as KAME's training begins.
            Without it plain Moshi has none.
        mimi_device: of the codec, which is always float32; None: as `device`.

    Raises:
        CheckpointError: files are damaged or do not fit together; the message names file, weight and shapes.
        UnavailableError: a package is missing, there is no such device, or its memory is too small.
    """
    device, mimi_device = torch.device(device), torch.device(mimi_device or device)
    for wanted in (device, mimi_device):
        require_device(wanted)
    report = compare(
        files.location,
        files.config,
        read_header(files.weights),
        read_header(files.mimi),
        files.mimi_config,
        None if files.lora is None else read_header(files.lora),
    )
    report.require()
    for note in report.notes:
        log.warning("Checkpoint %s: %s", files.location, note)
    tokenizer = MoshiTokenizer(files.tokenizer)
    if tokenizer.size > files.config.text_card:
        raise CheckpointError(
            f"{files.tokenizer.name} has {tokenizer.size} tokens, the language model knows {files.config.text_card}. "
            "Take the tokenizer of the same checkpoint."
        )
    with _memory_errors(report, device, dtype):
        lm = _load_lm(files, report, device, dtype, clone_oracle)
        mimi = _load_mimi(files, mimi_device)
    return LoadedCheckpoint(files.config, lm, mimi, tokenizer, report.trained_for_oracle)


def _load_lm(
    files: CheckpointFiles, report: CheckpointReport, device: torch.device, dtype: torch.dtype, clone_oracle: bool
) -> OracleLM:
    if report.quantized and importlib.util.find_spec("bitsandbytes") is None:
        raise UnavailableError(
            f"The checkpoint {files.location} holds 8 bit weights, which need the package bitsandbytes. Install it "
            "(pip install bitsandbytes), or take a 16 bit checkpoint."
        )
    with_oracle = report.trained_for_oracle or clone_oracle
    arguments = {key: value for key, value in files.config.lm.items() if key != "quantize"}
    lm = build_oracle_lm(arguments, device="meta", dtype=dtype, oracle=with_oracle)
    if report.quantized:
        _expect_8_bit(lm)
    names = lm.state_dict()
    weights: dict[str, Tensor] = {}
    for name, tensor in _tensors(files.weights, device):
        kept = not tensor.is_floating_point() or name.endswith("_scb")  # 8 bit weights, and their scales in float32
        weights |= split_fused({name: tensor if kept else tensor.to(dtype)}, names, _split_tensor)
    if files.lora is not None:
        _fuse_lora(weights, dict(_tensors(files.lora, device)), names, files.config.lora_scaling, dtype)
    if with_oracle and not any(name.startswith(ORACLE_PREFIX) for name in weights):
        clones = {name: tensor.clone() for name, tensor in weights.items() if name.startswith(_TEXT_PREFIX)}
        weights |= {ORACLE_PREFIX + name.removeprefix(_TEXT_PREFIX): tensor for name, tensor in clones.items()}
    try:
        lm.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{files.weights.name} cannot be loaded: {error}") from error
    lm.eval()
    for parameter in lm.parameters():
        parameter.requires_grad_(False)
    return lm


def _tensors(path: Path, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    with safe_open(path, framework="pt", device=str(device)) as file:
        for name in file.keys():  # noqa: SIM118 # no mapping
            yield name, file.get_tensor(name)


def _split_tensor(tensor: Tensor, pieces: int) -> list[Tensor] | None:
    return None if tensor.shape[0] % pieces else list(tensor.chunk(pieces))


def _fuse_lora(
    weights: dict[str, Tensor],
    lora: Mapping[str, Tensor],
    names: Mapping[str, Tensor],
    scaling: float,
    dtype: torch.dtype,
) -> None:
    """Add the product of each pair to its weight (Hu et al. 2021, https://arxiv.org/abs/2106.09685), in place.

    Summed in float32 and rounded once. Whole weights in the file replace those of the model.
    """
    found = split_fused(lora, names, _split_tensor)
    for name, tensor in found.items():
        stem, _, side = name.partition(".lora_")
        if not side:
            weights[name] = tensor.to(dtype)
        elif side == "A.weight":
            product = found[f"{stem}.lora_B.weight"].float() @ tensor.float()
            weight = weights[f"{stem}.weight"]
            weights[f"{stem}.weight"] = (weight.float() + scaling * product).to(dtype)


def _expect_8_bit(module: nn.Module) -> None:
    """Put moshi's 8 bit layers in place of all linear ones, without weights.

    Not through their constructor, which would quantise the weights that are not there yet.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            layer: Any = QLinear.__new__(QLinear)
            nn.Module.__init__(layer)
            rows = child.weight.shape[0]
            layer.weight = nn.Parameter(torch.empty_like(child.weight, dtype=torch.int8), requires_grad=False)
            scales = torch.empty(rows, dtype=torch.float32, device=child.weight.device)
            layer.weight_scb = nn.Parameter(scales, requires_grad=False)
            setattr(module, name, layer)
        else:
            _expect_8_bit(child)


def _load_mimi(files: CheckpointFiles, device: torch.device) -> MimiModel:
    config = files.config
    try:
        mimi = loaders.get_mimi(
            files.mimi,
            None if files.mimi_config is None else dict(files.mimi_config),
            device=device,
            num_codebooks=max(config.voice_codebooks, config.user_codebooks),
        )
    except (RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        raise CheckpointError(f"{files.mimi.name} cannot be loaded: {error}") from error
    for parameter in mimi.parameters():
        parameter.requires_grad_(False)
    return mimi


def require_device(device: torch.device) -> None:
    """Pass where PyTorch can use the device.

    Raises:
        UnavailableError: it cannot.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UnavailableError(
            "There is no NVIDIA GPU here that PyTorch can use. Check the driver (nvidia-smi) and that the PyTorch "
            "installed is one for CUDA."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UnavailableError(f"There is no {device}: this machine has {torch.cuda.device_count()} such devices.")


@contextmanager
def _memory_errors(report: CheckpointReport, device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Say in plain words that memory is too small: at once where that can be told, else when it ends."""
    needed = report.memory_bytes(dtype.itemsize)
    free = _free_bytes(device)
    if free is not None and free < needed:
        raise _too_small(report, device, needed, free)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise _too_small(report, device, needed, _free_bytes(device)) from error


def _too_small(report: CheckpointReport, device: torch.device, needed: int, free: int | None) -> UnavailableError:
    has = "" if free is None else f", and {free / 1e9:.1f} GB are free"
    return UnavailableError(
        f"The checkpoint {report.location} needs {math.ceil(needed / 1e8) / 10:.1f} GB on {device}{has}. End what else "
        "uses that memory, take a larger device, or a checkpoint of 8 bit.",
        code="out_of_memory",
        retryable=True,
    )


def _free_bytes(device: torch.device) -> int | None:
    """Memory that can be had; None where that is not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu" or not _MEMORY_INFO.is_file():
        return None
    lines = (line.split() for line in _MEMORY_INFO.read_text().splitlines())
    return next((1024 * int(line[1]) for line in lines if line[:1] == ["MemAvailable:"]), None)
