"""What is in a checkpoint's files, read from their headers alone: names, types and shapes of all weights.

Thirty gigabytes are compared with what the model expects in a moment, on this machine or on the Hugging Face Hub,
before anything big is fetched or loaded.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from torch import nn

from kame_core.frontend.moshi.config import CheckpointError, FileReference, MoshiConfig
from kame_core.frontend.moshi.files import (
    CheckpointHub,
    Place,
    checkpoint_hub,
    find_places,
    read_mimi_config,
)
from kame_core.frontend.moshi.oracle_lm import OracleLM, build_oracle_lm
from kame_core.frontend.moshi.safetensors_header import FileHeader, Shape, TensorHeader, parse_header, read_header

T = TypeVar("T")

ORACLE_PREFIX = "oracle_emb."
_FLOATS = frozenset({"F32", "F16", "BF16"})
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class CheckpointReport:
    """What the headers tell of a checkpoint."""

    location: str
    config: MoshiConfig
    weights: FileHeader
    trained_for_oracle: bool
    """It has an oracle embedding (KAME); plain Moshi has none."""
    quantized: bool
    """Its weights are 8 bit integers."""
    fused: bool
    """Its attention weights are stored in one piece each, as the first Moshi files do."""
    lora: bool
    problems: tuple[str, ...]
    """Why it cannot be loaded, a sentence for each file; empty: it can."""
    notes: tuple[str, ...]
    """What the operator should know of it."""

    def memory_bytes(self, bytes_per_parameter: int = 2) -> int:
        """What the language model's weights take once loaded; caches come on top."""
        bytes_each = {"I8": 1}
        tensors = self.weights.tensors.values()
        return sum(math.prod(tensor.shape) * bytes_each.get(tensor.dtype, bytes_per_parameter) for tensor in tensors)

    def require(self) -> None:
        """Pass where the checkpoint can be loaded.

        Raises:
            CheckpointError: it cannot; the message names file, weight and shapes.
        """
        if self.problems:
            raise CheckpointError(" ".join(self.problems))


def check_checkpoint(location: str) -> CheckpointReport:
    """Read the headers of a checkpoint's files and compare them with what the model expects.

    Blocks for some seconds; of a repository that is not in the cache some hundred kilobytes are fetched.

    Args:
        location: as for `find_places`.

    Raises:
        CheckpointError: there is no such checkpoint, its config.json is bad, or a header cannot be read.
        UnavailableError: the hub failed.
    """
    hub = checkpoint_hub(location)
    places = find_places(location, hub)
    assert places is not None  # with a hub it answers or raises
    lacking = [name for place in places if (name := _lacking(place, hub)) is not None]
    if lacking:
        raise CheckpointError(
            f"The checkpoint {location} lacks {', '.join(lacking)}. Put it there, or name another in its config.json "
            "(hf://organisation/repository/file)."
        )
    mimi_config = None
    if places.mimi_config is not None:
        here = places.mimi_config
        mimi_config = read_mimi_config(here if isinstance(here, Path) else hub.download([here])[here])
    return compare(
        location,
        places.config,
        _header(places.weights, hub),
        _header(places.mimi, hub),
        mimi_config,
        None if places.lora is None else _header(places.lora, hub),
    )


def compare(
    location: str,
    config: MoshiConfig,
    weights: FileHeader,
    mimi: FileHeader,
    mimi_config: Mapping[str, Any] | None,
    lora: FileHeader | None,
) -> CheckpointReport:
    """Compare headers with what the configuration promises.

    Args:
        location: how messages name the checkpoint.
        config: of the language model.
        weights: header of the language model's file.
        mimi: header of the codec's file.
        mimi_config: the codec's configuration; None: as published.
        lora: header of the LoRA file, where there is one.

    Raises:
        CheckpointError: no model can be built from the configuration.
    """
    lm = meta_lm(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in lm.state_dict().items()}
    found = split_fused(weights.tensors, shapes, _split_header)
    oracle = any(name.startswith(ORACLE_PREFIX) for name in found)
    in_lora = lora is not None and any(name.startswith(ORACLE_PREFIX) for name in lora.tensors)
    expected = {name: shape for name, shape in shapes.items() if oracle or not name.startswith(ORACLE_PREFIX)}
    quantized = any(name.endswith("_scb") for name in found)
    if quantized:
        linears = {f"{name}.weight" for name, module in lm.named_modules() if isinstance(module, nn.Linear)}
        expected |= {f"{name}_scb": (shapes[name][0],) for name in linears if name in expected}
    codec = _codec(mimi_config)
    problems = [
        _differences(weights, found, expected),
        _wrong_types(weights, config, quantized),
        _differences(mimi, _renamed(mimi.tensors), {name: tuple(at.shape) for name, at in codec.state_dict().items()}),
        _codec_does_not_fit(mimi, codec, config),
        None if lora is None else _lora_differences(lora, shapes),
        "8 bit weights and LoRA do not go together. Take the 16 bit checkpoint." if lora and quantized else None,
    ]
    notes = []
    if config.unknown_keys:
        notes.append(
            f"Its config.json has keys that are not known here and were left out: {', '.join(config.unknown_keys)}."
        )
    if not (oracle or in_lora):
        notes.append("It has no oracle embedding: it talks, but cannot follow an LLM. KAME's weights can.")
    return CheckpointReport(
        location=location,
        config=config,
        weights=weights,
        trained_for_oracle=oracle or in_lora,
        quantized=quantized,
        fused=set(found) != set(weights.tensors),
        lora=lora is not None,
        problems=tuple(problem for problem in problems if problem),
        notes=tuple(notes),
    )


def meta_lm(config: MoshiConfig) -> OracleLM:
    """The language model without memory for its weights, oracle embedding included.

    Raises:
        CheckpointError: no model can be built from the configuration.
    """
    arguments = {key: value for key, value in config.lm.items() if key != "quantize"}
    try:
        return build_oracle_lm(arguments, device="meta", dtype=torch.bfloat16)
    except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError) as error:
        raise CheckpointError(
            f"No model can be built from the checkpoint's config.json ({str(error) or type(error).__name__}). Check it."
        ) from error


_FUSED = re.compile(
    r"(?P<at>.*\.)(?P<side>in|out)_proj(?P<kind>_weight|\.weight|\.lora_A\.weight|\.lora_B\.weight)(?P<scale>_scb)?"
)


def split_fused(
    tensors: Mapping[str, T], model: Mapping[str, Any], split: Callable[[T, int], list[T] | None]
) -> dict[str, T]:
    """Tensors by the names of the model: attention weights stored in one piece are split by steps.

    Args:
        tensors: by the names in the file.
        model: names of the model's own parameters.
        split: cuts a tensor into that many equal pieces along its first axis; None where that does not come out.
    """
    found: dict[str, T] = {}
    for name, tensor in tensors.items():
        match = _FUSED.fullmatch(name)
        pieces = None
        if match is not None:
            stem = f"{match['at']}{match['side']}_projs."
            kind = "." + match["kind"].lstrip("_.")
            steps = 0
            while f"{stem}{steps}.weight" in model:
                steps += 1
            pieces = split(tensor, steps) if steps else None
        if pieces is None or match is None:
            found[name] = tensor
        else:
            found |= {f"{stem}{step}{kind}{match['scale'] or ''}": piece for step, piece in enumerate(pieces)}
    return found


def _split_header(tensor: TensorHeader, pieces: int) -> list[TensorHeader] | None:
    if not tensor.shape or tensor.shape[0] % pieces:
        return None
    return [TensorHeader(tensor.dtype, (tensor.shape[0] // pieces, *tensor.shape[1:]))] * pieces


def _differences(file: FileHeader, found: Mapping[str, TensorHeader], expected: Mapping[str, Shape]) -> str | None:
    """How a file differs from what the model expects, in one sentence."""
    differ = [
        f"{name} is {list(found[name].shape)}, the model's is {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    differ += [f"{name} {list(shape)} is missing" for name, shape in expected.items() if name not in found]
    differ += [f"the model has no {name} {list(found[name].shape)}" for name in found if name not in expected]
    return _sentence(file, differ)


def _wrong_types(file: FileHeader, config: MoshiConfig, quantized: bool) -> str | None:
    if quantized and not config.quantized:
        return f"{file.name} holds 8 bit weights, but its config.json does not say quantize = true."
    if config.quantized and not quantized:
        return f"The config.json says quantize = true, but {file.name} does not hold 8 bit weights."
    known = _FLOATS | {"I8"} if quantized else _FLOATS
    wrong = [f"{name} is of type {tensor.dtype}" for name, tensor in file.tensors.items() if tensor.dtype not in known]
    return _sentence(file, wrong)


def _lora_differences(file: FileHeader, shapes: Mapping[str, Shape]) -> str | None:
    """A LoRA file holds pairs A [rank, in], B [out, rank] for linear layers, and may replace whole weights."""
    found = split_fused(file.tensors, shapes, _split_header)
    differ = []
    for name, tensor in found.items():
        stem, _, side = name.partition(".lora_")
        shape = shapes.get(f"{stem}.weight" if side else name)
        if shape is None:
            differ.append(f"the model has no {name} {list(tensor.shape)}")
        elif not side:
            if tensor.shape != shape:
                differ.append(f"{name} is {list(tensor.shape)}, the model's is {list(shape)}")
        elif side == "A.weight":
            other = found.get(f"{stem}.lora_B.weight")
            rank = tensor.shape[0]
            if other is None:
                differ.append(f"{stem}.lora_B.weight is missing")
            elif (*other.shape, *tensor.shape) != (shape[0], rank, rank, *shape[1:]):
                differ.append(f"{stem}: B {list(other.shape)} times A {list(tensor.shape)} is not {list(shape)}")
        elif f"{stem}.lora_A.weight" not in found:
            differ.append(f"{stem}.lora_A.weight is missing")
    return _sentence(file, differ)


def _sentence(file: FileHeader, differ: list[str]) -> str | None:
    if not differ:
        return None
    more = f" (and {len(differ) - _SHOWN} more)" if len(differ) > _SHOWN else ""
    return f"{file.name} does not fit the checkpoint's configuration: {'; '.join(differ[:_SHOWN])}{more}."


_OLD_CODEBOOK_NAMES = {
    "inited": "_initialized",
    "cluster_size": "cluster_usage",
    "embed_avg": "embedding_sum",
    "embed_sum": "embedding_sum",
}


def _renamed(tensors: Mapping[str, TensorHeader]) -> dict[str, TensorHeader]:
    """Mimi's weights by today's names: moshi still reads those of older files."""
    names = {}
    for name, tensor in tensors.items():
        stem, dot, last = name.rpartition(".")
        in_codebook = stem.endswith("_codebook")
        names[f"{stem}{dot}{_OLD_CODEBOOK_NAMES.get(last, last)}" if in_codebook else name] = tensor
    return split_fused(names, dict.fromkeys(_mimi_attention(names)), _split_header)


def _mimi_attention(names: Mapping[str, Any]) -> list[str]:
    """Names of the split attention weights behind fused ones: Mimi's have one step."""
    stems = (match for name in names if (match := _FUSED.fullmatch(name)) is not None)
    return [f"{match['at']}{match['side']}_projs.0.weight" for match in stems]


def _codec(config: Mapping[str, Any] | None) -> MimiModel:
    """Mimi without memory for its weights."""
    try:
        with torch.device("meta"):
            return loaders.get_mimi(None, None if config is None else dict(config), device="meta", num_codebooks=2)
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"No codec can be built from the checkpoint's Mimi configuration ({str(error) or type(error).__name__}). "
            "Check it."
        ) from error


def _codec_does_not_fit(file: FileHeader, codec: MimiModel, config: MoshiConfig) -> str | None:
    """The language model speaks and hears codes: their number and size must be the codec's."""
    wanted = max(config.voice_codebooks, config.user_codebooks)
    if codec.total_codebooks < wanted or codec.cardinality != config.lm["card"]:
        return (
            f"{file.name} has {codec.total_codebooks} codebooks of {codec.cardinality}; the language model needs "
            f"{wanted} of {config.lm['card']}."
        )
    return None


def _lacking(place: Place, hub: CheckpointHub) -> str | None:
    """The name of a file that is nowhere."""
    if isinstance(place, Path):
        return None if place.is_file() else place.name
    return None if hub.size_bytes(place) else str(place)


def _header(place: Place, hub: CheckpointHub) -> FileHeader:
    if isinstance(place, Path):
        return read_header(place)
    reference: FileReference = place
    return parse_header(reference.name, hub.size_bytes(reference), lambda start, end: hub.read(reference, start, end))
