"""Tiny speech-to-text checkpoints in the layout of Kyutai's, whose transcript is known without training.

The weights are set by hand: the first codebook's code of a frame *is* the text token that is written `DELAY` steps
later, code 0 (which tiny Mimis write for silence) stands for padding, and silence makes the model foresee the end of
the turn. It is a transformer all the same: the delayed token is found by attention over its keys of earlier steps, so
that every mistake in caches, positions or slots changes the words.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from moshi.models.compression import MimiModel
from safetensors.torch import save_file
from torch import Tensor

from kame_core.frontend.moshi.oracle_lm import OracleLM, build_oracle_lm
from kame_core.stt.kyutai_files import locate_kyutai
from kame_core.stt.kyutai_model import KyutaiModel
from tests.support.tiny_moshi import CODEBOOK_SIZE, PAD_ID, TEXT_CARD, build_lm, build_mimi, build_tokenizer

torch.set_num_threads(1)  # two threads round differently, and tests share few cores

WEIGHTS = "model.safetensors"
MIMI = "mimi-pytorch-e351c8d8@125.safetensors"
TOKENIZER = "tokenizer_en_fr_audio_256.model"
DELAY = 6
"""Steps; half a second, as of the published model."""
CODEBOOKS = 8
CONTEXT = 24

LM: Mapping[str, Any] = {
    "dim": 2 * CODEBOOK_SIZE + 8,
    "num_layers": 1,
    "num_heads": 1,
    "hidden_scale": 0.1,
    "context": CONTEXT,
    "text_card": TEXT_CARD,
    "existing_text_padding_id": PAD_ID,
    "n_q": CODEBOOKS,
    "dep_q": 0,
    "card": CODEBOOK_SIZE,
    "delays": [0] * (CODEBOOKS + 1),
    "causal": True,
    "layer_scale": None,
    "max_period": 10_000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 16,
    "depformer_num_heads": 2,
    "depformer_num_layers": 1,
    "depformer_multi_linear": True,
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "extra_heads_num_heads": 4,
    "extra_heads_dim": 6,
}


PUBLISHED: Mapping[str, Any] = {
    "card": 2048,
    "n_q": 32,
    "dep_q": 0,
    "delays": [0] * 33,
    "dim": 2048,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "max_period": 100_000.0,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 1024,
    "depformer_num_heads": 16,
    "depformer_num_layers": 6,
    "depformer_dim_feedforward": None,
    "depformer_multi_linear": True,
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
    "conditioners": {},
    "cross_attention": False,
    "model_type": "stt",
}
"""What the configurations of Kyutai's two models have in common."""
STT_1B: Mapping[str, Any] = {
    "text_card": 8000,
    "num_heads": 16,
    "num_layers": 16,
    "context": 750,
    "extra_heads_num_heads": 4,
    "extra_heads_dim": 6,
    "tokenizer_name": "tokenizer_en_fr_audio_8000.model",
    "stt_config": {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 0.0},
}
"""What kyutai/stt-1b-en_fr-candle has beside it."""


def build_kyutai(
    folder: Path,
    mimi: MimiModel | None = None,
    lm: OracleLM | None = None,
    *,
    delay_s: float = 0.5,
    prefix_s: float = 0.0,
    dtype: torch.dtype = torch.float32,
    **config: Any,
) -> Path:
    """Write a checkpoint and return its directory.

    Args:
        mimi: the codec it claims to be trained with; None: the one `build_moshi` writes by default.
        lm: None: the model set by hand.
        config: changes the config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = (lm or build_listening_lm()).state_dict()
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    state = (mimi or build_mimi()).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / MIMI)
    (folder / TOKENIZER).write_bytes(build_tokenizer())
    described = {
        **LM,
        "model_type": "stt",
        "moshi_name": WEIGHTS,
        "mimi_name": MIMI,
        "tokenizer_name": TOKENIZER,
        "conditioners": {},
        "cross_attention": False,
        "model_id": {"sig": "0", "epoch": 1},
        "lm_gen_config": {"temp": 0.0, "temp_text": 0.0},
        "stt_config": {"audio_delay_seconds": delay_s, "audio_silence_prefix_seconds": prefix_s},
        **config,
    }
    (folder / "config.json").write_text(json.dumps(described, indent=1) + "\n")
    return folder


def loaded(folder: Path) -> KyutaiModel:
    """The model of a checkpoint directory."""
    files = locate_kyutai(str(folder))
    assert files is not None
    return KyutaiModel(files, torch.device("cpu"), torch.float32)


def build_random_lm(seed: int = 0, **arguments: Any) -> OracleLM:
    """A model of the same kind with random weights."""
    return build_lm({**LM, "dim": 64, "num_layers": 2, "num_heads": 2, **arguments}, oracle=False, seed=seed)


def build_listening_lm(delay: int = DELAY, **arguments: Any) -> OracleLM:
    """The model that is described above."""
    lm: Any = build_oracle_lm({**LM, **arguments}, device="cpu", dtype=torch.float32, oracle=False)
    width, codes = lm.dim, CODEBOOK_SIZE
    one, now, then = 0, 8, 8 + codes  # places: a constant, this frame's code, the code of `delay` steps ago
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            parameter.fill_(1.0 if name.endswith("alpha") else 0.0)
        lm.emb[0].weight[:, one] = 1.0
        lm.emb[0].weight[:codes, now : now + codes] = torch.eye(codes)
        lm.emb[0].weight[codes, one + 1] = 1.0  # the first step's vector is as long as all others
        attention: Any = lm.transformer.layers[0].self_attn
        query, key, value = attention.in_projs[0].weight.view(3, width, width)
        _look_back(query[:, one], key[:, one], delay)
        value[then : then + codes, now : now + codes] = torch.eye(codes)
        attention.out_projs[0].weight.copy_(torch.eye(width))
        lm.text_linear.weight[1:, then + 1 : then + codes] = torch.eye(codes)[1:, 1:]
        lm.text_linear.weight[PAD_ID, one] = 0.05
        for head in lm.extra_heads:
            head.weight[0, now] = 20.0  # this frame is silent
            head.weight[1, one] = 10.0
    lm.eval()
    for parameter in lm.parameters():
        parameter.requires_grad_(False)
    listening: OracleLM = lm
    return listening


def _look_back(query: Tensor, key: Tensor, steps: int) -> None:
    """Set a constant query and key so that each step attends to the one that lies `steps` before it.

    Rotary embeddings (https://arxiv.org/abs/2104.09864) turn pair i by w_i radians a step: their product is largest
    where the distance makes up for the angle that the key is ahead.
    """
    width = query.shape[0]
    pairs = width // 8  # the quick ones; the slow ones tell neighbours hardly apart
    angles = steps * 10_000 ** (-2 * torch.arange(pairs) / width)
    query[: 2 * pairs : 2] = 1.0
    key[: 2 * pairs : 2] = angles.cos()
    key[1 : 2 * pairs : 2] = angles.sin()
