"""Checkpoints of the speech-to-speech model on disk: found, changed, loaded, and compared by what they compute."""

import json
from pathlib import Path
from typing import Any

import torch
from moshi.models.lm import LMModel
from moshi.utils.compile import no_compile

from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint, load_checkpoint
from kame_core.frontend.moshi.files import CheckpointFiles, locate_checkpoint

_CODES = torch.randint(0, 256, (2, 5, 10), generator=torch.Generator().manual_seed(1))


def located(folder: Path) -> CheckpointFiles:
    files = locate_checkpoint(str(folder))
    assert files is not None
    return files


def loaded(folder: Path, dtype: torch.dtype = torch.float32, **options: Any) -> LoadedCheckpoint:
    """On the CPU."""
    return load_checkpoint(located(folder), device="cpu", dtype=dtype, **options)


def set_config(folder: Path, **changes: Any) -> None:
    """Change fields of config.json; None takes one away."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def text_logits(lm: LMModel, *oracle: torch.Tensor) -> torch.Tensor:
    """The text logits of ten steps of the same codes, float [2, 1, 10, tokens]; `oracle`: int [2, 1, 10]."""
    with torch.no_grad(), no_compile():
        logits: torch.Tensor = lm(_CODES, None, *oracle).text_logits
    return logits
