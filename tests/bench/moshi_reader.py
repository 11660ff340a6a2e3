"""A checkpoint of any size that says what it reads: random weights, but for those that tie oracle, text and voice.

A model with nothing but random weights never falls silent, so nobody could hear when its answer begins. This one is
silent where its oracle is padding, and writes and voices every other oracle token in the tick in which it reads it.
A tick takes as long as with trained weights, the model's own patience is left out.
"""

import gc
import json
from pathlib import Path
from typing import Any

import torch
from moshi.models import loaders
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from kame_core.frontend.moshi.oracle_lm import OracleLM
from tests.bench.moshi_capacity import configuration, random_lm
from tests.support.tiny_moshi import MIMI_CONFIG, WEIGHTS, build_mimi, write_companions

_LOUD = 50.0
"""Of what a tie carries; the random layers between its ends add about 1 each."""
_CERTAIN = 60.0
"""Logit of what is to be chosen; that of all else is below 15."""
_SILENT_CODE = 0
"""Of `build_mimi`."""


def write_reader(folder: Path, size: str, device: torch.device, *, tied: bool = True) -> None:
    """Write a checkpoint in the published layout: `full` has the size of Moshi 7B and Mimi, `reduced` is small.

    Not `tied`, all its weights are random, and it speaks all the time.
    """
    config = configuration(size)
    lm = random_lm(config, device)
    if tied:
        tie(lm)
    save_file({name: tensor.contiguous() for name, tensor in lm.state_dict().items()}, folder / WEIGHTS)
    full_mimi = loaders._mimi_config if size == "full" else None
    arguments = {key: value for key, value in config.lm.items() if key != "quantize"}
    write_companions(folder, {**arguments, "moshi_name": WEIGHTS}, build_mimi(config=full_mimi))
    if full_mimi is not None:
        (folder / MIMI_CONFIG).write_text(json.dumps(full_mimi))
    del lm
    gc.collect()
    torch.cuda.empty_cache()  # who loads it needs the room


@torch.no_grad()
def tie(lm: OracleLM) -> None:
    """Tie oracle, text and voice of a model with random weights together, in place.

    Each oracle token has a direction of its own in the residual stream, far longer than what the layers add; the text's
    head looks for these directions. That of padding, and of the start id, also chooses silence in every codebook.
    """
    quiet_ids = [lm.text_padding_token_id, lm.text_initial_token_id]
    dice = torch.Generator(lm.device).manual_seed(0)
    directions = torch.randn(lm.oracle_emb.weight.shape, device=lm.device, generator=dice)
    quiet = normalize(directions[quiet_ids[0]], dim=0)
    directions = normalize(_without(directions, quiet), dim=1)
    directions[quiet_ids] = quiet
    norm = lm.dim**0.5  # of what comes out of the last RMS norm
    lm.oracle_emb.weight.copy_(_LOUD * norm * directions)
    lm.text_linear.weight.copy_(_CERTAIN / norm * directions[: lm.text_card])
    inward: Any
    head: Any
    for inward, head in zip(lm.depformer_in, lm.linears, strict=True):
        mark = normalize(torch.randn(head.weight.shape[1], device=lm.device, generator=dice), dim=0)
        length = _LOUD * mark.numel() ** 0.5
        inward.weight.copy_(inward.weight + length / norm * torch.outer(mark, quiet))
        rows = _without(head.weight.float(), mark)
        rows[_SILENT_CODE] = _CERTAIN / length * mark
        head.weight.copy_(rows)


def _without(rows: Tensor, direction: Tensor) -> Tensor:
    """Rows [n, dim] less their part along a unit vector [dim]."""
    return rows - torch.outer(rows @ direction, direction)
