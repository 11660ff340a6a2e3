"""Token vectors of the published KAME code (tests/assets/kame_reference), and the small random model of theirs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from kame_core.frontend.moshi.oracle_lm import OracleLM, build_oracle_lm

CASES = ("B_moshi_like", "D_moshi_like_cfg")
"""The second one with classifier-free guidance of weight 1.7."""
CFG_WEIGHT = 1.7

_FOLDER = Path(__file__).parents[1] / "assets" / "kame_reference"
_NOTHING_YET = -3

torch.set_num_threads(1)  # two threads round differently, and tests share few cores


def config(case: str = CASES[0]) -> dict[str, Any]:
    """The LM's keyword arguments as in a published config.json: 6 codebooks, 3 of them its own, context of 24 steps."""
    found: dict[str, Any] = json.loads((_FOLDER / "oracle_vectors.json").read_text())[case]["config"]
    return found


def weights() -> dict[str, Tensor]:
    """The state dict, with published names."""
    return load_file(_FOLDER / "weights_moshi_like.safetensors")


def vectors(case: str) -> Mapping[str, Tensor]:
    """What was fed and what came out, by the names in the reference; -2 where nothing came out yet, as ours has it."""
    prefix = f"{case}."
    everything = load_file(_FOLDER / "oracle_vectors.safetensors")
    found = {name.removeprefix(prefix): value for name, value in everything.items() if name.startswith(prefix)}
    found["tokens"] = found["tokens"].masked_fill(found["tokens"] == _NOTHING_YET, -2)
    return found


def reference_lm(dtype: torch.dtype = torch.float32) -> OracleLM:
    """The model with the reference's weights."""
    lm = build_oracle_lm(config(), device="meta", dtype=dtype)
    lm.load_state_dict({name: value.to(dtype) for name, value in weights().items()}, assign=True)
    return lm


def plain_lm() -> OracleLM:
    """The same weights without the oracle embedding, as a plain Moshi checkpoint is."""
    lm = build_oracle_lm(config(), device="meta", dtype=torch.float32, oracle=False)
    state = {name: value for name, value in weights().items() if not name.startswith("oracle_emb.")}
    lm.load_state_dict(state, assign=True)
    return lm
