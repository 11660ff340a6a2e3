"""Tiny checkpoints in the layout of the published ones: language model, Mimi, SentencePiece model, config.json.

Weights are random (the same for the same seed), everything around them is real. A trained one lies in
tests/assets/tiny_kame.
"""

import io
import json
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from moshi.quantization.core_vq import EuclideanCodebook
from safetensors.torch import save_file
from torch import Tensor, nn

from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint, load_checkpoint
from kame_core.frontend.moshi.files import locate_checkpoint
from kame_core.frontend.moshi.oracle_lm import OracleLM, build_oracle_lm

WEIGHTS = "model.safetensors"
QUANTIZED_WEIGHTS = "model.q8.safetensors"
LORA = "lora.safetensors"
MIMI = "tokenizer-e351c8d8-checkpoint125.safetensors"
MIMI_CONFIG = "mimi.json"
TOKENIZER = "tokenizer_spm_32k_3.model"
CODEBOOK_SIZE = 256
TEXT_CARD = 256
PAD_ID = 3

LM: Mapping[str, Any] = {
    "dim": 32,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_scale": 4.125,
    "context": 16,
    "text_card": TEXT_CARD,
    "existing_text_padding_id": PAD_ID,
    "n_q": 4,
    "dep_q": 2,
    "card": CODEBOOK_SIZE,
    "delays": [0, 0, 1, 0, 1],
    "causal": True,
    "layer_scale": None,
    "max_period": 10_000,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 16,
    "depformer_dim_feedforward": 66,
    "depformer_num_heads": 2,
    "depformer_num_layers": 1,
    "depformer_layer_scale": None,
    "depformer_multi_linear": True,
    "depformer_context": 2,
    "depformer_max_period": 10_000,
    "depformer_gating": "silu",
    "depformer_pos_emb": "none",
    "depformer_weights_per_step": True,
}
"""Arguments of a language model of 0.1 M parameters; of two codebooks of either side the second is one step late."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How the checkpoint is written."""

    oracle: bool = True
    """With an oracle embedding (KAME), or without (plain Moshi)."""
    fused: bool = False
    """Attention weights in one piece each, as in the first Moshi files."""
    lora: bool = False
    """With a LoRA file beside it."""
    quantized: bool = False
    """8 bit weights."""
    dtype: torch.dtype = torch.float32


def build_moshi(
    folder: Path, variant: Variant | None = None, *, seed: int = 0, mimi_codebooks: int = 8, **lm: Any
) -> Path:
    """Write a checkpoint and return its directory; `lm` changes arguments of the language model."""
    variant = variant or Variant()
    folder.mkdir(parents=True, exist_ok=True)
    arguments = {**LM, **lm}
    model = build_lm(arguments, oracle=variant.oracle, seed=seed)
    config: dict[str, Any] = {**arguments, "moshi_name": WEIGHTS, "model_type": "moshi"}
    if variant.lora:
        config |= {"lora": True, "lora_name": LORA, "lora_rank": 4, "lora_scaling": 1.5}
        save_file(_lora(model, 4, seed), folder / LORA)
    weights = {name: tensor.to(variant.dtype) for name, tensor in model.state_dict().items()}
    if variant.quantized:
        config |= {"quantize": True, "moshi_name": QUANTIZED_WEIGHTS}
        weights |= _quantized(model)
    if variant.fused:
        weights = _fused(weights)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / config["moshi_name"])
    write_companions(folder, config, build_mimi(mimi_codebooks, seed=seed))
    return folder


def load_tiny_moshi(folder: Path) -> LoadedCheckpoint:
    """A checkpoint directory's contents in float32 on the CPU."""
    files = locate_checkpoint(str(folder))
    assert files is not None
    return load_checkpoint(files, device="cpu", dtype=torch.float32)


def write_companions(
    folder: Path, config: Mapping[str, Any], mimi: MimiModel, dtype: torch.dtype = torch.float32
) -> None:
    """Write what belongs beside a language model's weights: codec, its configuration, tokenizer, config.json."""
    state = {name: tensor.to(dtype).contiguous() for name, tensor in mimi.state_dict().items()}
    save_file(state, folder / MIMI)
    (folder / MIMI_CONFIG).write_text(json.dumps(mimi_config(mimi.total_codebooks), indent=1) + "\n")
    (folder / TOKENIZER).write_bytes(build_tokenizer())
    names = {"mimi_name": MIMI, "mimi_config_name": MIMI_CONFIG, "tokenizer_name": TOKENIZER}
    (folder / "config.json").write_text(json.dumps({**config, **names}, indent=1) + "\n")


def build_lm(arguments: Mapping[str, Any] = LM, *, oracle: bool = True, seed: int = 0) -> OracleLM:
    """A language model with random weights; norms are random too, so that a forgotten one shows."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = build_oracle_lm(arguments, device="cpu", dtype=torch.float32, oracle=oracle)
        for name, parameter in model.named_parameters():
            if name.endswith("alpha"):
                parameter.uniform_(0.8, 1.2)
            parameter.requires_grad_(False)
    return model


def mimi_config(codebooks: int) -> dict[str, Any]:
    """Configuration of a Mimi of 0.1 M parameters with the interface of the real one: 24 kHz, 12.5 frames a second."""
    width = 32
    return {
        "sample_rate": 24_000,
        "channels": 1,
        "frame_rate": 12.5,
        "seanet": {
            "channels": 1,
            "dimension": width,
            "causal": True,
            "n_filters": 4,
            "n_residual_layers": 1,
            "activation": "ELU",
            "compress": 2,
            "dilation_base": 2,
            "disable_norm_outer_blocks": 0,
            "kernel_size": 7,
            "residual_kernel_size": 3,
            "last_kernel_size": 3,
            "norm": "none",
            "pad_mode": "constant",
            "ratios": [8, 6, 5, 4],
            "true_skip": True,
        },
        "quantizer": {
            "dimension": 8,
            "n_q": codebooks,
            "bins": CODEBOOK_SIZE,
            "input_dimension": width,
            "output_dimension": width,
        },
        "transformer": {
            "d_model": width,
            "num_heads": 2,
            "num_layers": 1,
            "causal": True,
            "layer_scale": 0.01,
            "context": 10,
            "conv_layout": True,
            "max_period": 10_000,
            "gating": "none",
            "norm": "layer_norm",
            "positional_embedding": "rope",
            "dim_feedforward": 64,
            "input_dimension": width,
            "output_dimensions": [width],
        },
    }


def build_mimi(codebooks: int = 8, *, seed: int = 0, config: Mapping[str, Any] | None = None) -> MimiModel:
    """A Mimi with random weights whose codes follow its input.

    Code 0 means silence in every codebook: it is what digital silence is encoded to, and decodes to digital silence.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        mimi = loaders.get_mimi(None, dict(config or mimi_config(codebooks)), num_codebooks=codebooks)
        for module in mimi.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                module.weight.mul_(1.7)  # else the signal dies away in the many layers
                if module.bias is not None:
                    module.bias.zero_()
        latent = mimi.encode_to_latent(0.1 * torch.randn(1, 1, 24_000), quantize=False)
        split: Any = mimi.quantizer
        for quantizer in (split.rvq_first, split.rvq_rest):
            spread = quantizer.input_proj(latent).std(dim=(0, 2))
            for level, codebook in enumerate(
                part for part in quantizer.modules() if isinstance(part, EuclideanCodebook)
            ):
                vectors = torch.randn_like(codebook.embedding_sum) * spread * 0.8**level
                vectors[0] = 0.0
                codebook.embedding_sum.copy_(vectors)
                codebook.cluster_usage.fill_(1)
                codebook._initialized.fill_(1)
        voice = mimi.decode(torch.randint(1, CODEBOOK_SIZE, (1, codebooks, 12)))
        last = [module for module in mimi.decoder.modules() if isinstance(module, nn.Conv1d)][-1]
        last.weight.mul_(0.1 / voice.std())
        mimi.eval()
        for parameter in mimi.parameters():
            parameter.requires_grad_(False)
    return mimi


def build_tokenizer(pieces: int = TEXT_CARD, *, byte_fallback: bool = False) -> bytes:
    """A SentencePiece model with the marks of Kyutai's: 0 unknown, 1 begin, 2 end, 3 padding.

    Args:
        pieces: of the vocabulary at most; with `byte_fallback` 256 more.
        byte_fallback: write unknown characters as bytes, instead of as unknown.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        model_type="unigram",
        vocab_size=pieces + 256 * byte_fallback,
        hard_vocab_limit=False,
        byte_fallback=byte_fallback,
        character_coverage=1.0,
        required_chars=string.ascii_letters + string.digits + ".,;:!?'-\"()",
        normalization_rule_name="identity",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=PAD_ID,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


SENTENCES = """
Paris is the capital of France, and about two million people live there.
Berlin is the capital of Germany, Madrid of Spain, Rome of Italy and Oslo of Norway.
The answer is five, and seven times eight is fifty six.
A mile is about one thousand six hundred and nine metres.
Water boils at one hundred degrees, and it freezes at zero.
Plants make sugar from light, water and air, and that is called photosynthesis.
I don't know that yet, but I can look it up for you.
Well, that depends on what you would like to do tomorrow.
There are sixty minutes in an hour and twenty four hours in a day.
The moon goes around the earth once in about twenty eight days.
You could try it again with a little more salt and less heat.
Yes, of course, I am happy to help you with that.
No, I am sorry, that isn't quite right, let me say it again.
He was born in 1879 and she was born in 1867, so she was older.
What time is it now? Who wrote that book? Where do they live?
My favourite colour is blue, and yours might be green or red!
Every evening the quick brown fox jumps over the lazy dog.
She sells very good bread, cheese, apples and honey on the market.
Just go straight on, then turn left at the second light.
It was the best of times, it was the worst of times.
""".strip().splitlines()


def _fused(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Attention weights of all steps in one piece, by the older names."""
    fused: dict[str, list[Tensor]] = {}
    for name, tensor in weights.items():
        stem, split, rest = name.partition("_projs.")
        kind = rest.partition(".")[2]
        if not split:
            fused[name] = [tensor]
        elif stem.endswith("in"):
            fused.setdefault(f"{stem}_proj_{kind}", []).append(tensor)
        else:
            fused.setdefault(f"{stem}_proj.{kind}", []).append(tensor)
    return {name: torch.cat(pieces) if len(pieces) > 1 else pieces[0] for name, pieces in fused.items()}


def _linears(model: nn.Module) -> dict[str, Tensor]:
    return {name: module.weight for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def _lora(model: nn.Module, rank: int, seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed + 1)
    pairs = {}
    for name, weight in _linears(model).items():
        pairs[f"{name}.lora_A.weight"] = 0.1 * torch.randn(rank, weight.shape[1], generator=random)
        pairs[f"{name}.lora_B.weight"] = 0.1 * torch.randn(weight.shape[0], rank, generator=random)
    return pairs


def _quantized(model: nn.Module) -> dict[str, Tensor]:
    """Rows scaled to 127 steps by their largest value (Dettmers et al. 2022, https://arxiv.org/abs/2208.07339)."""
    quantized = {}
    for name, weight in _linears(model).items():
        largest = weight.abs().amax(dim=1)
        quantized[f"{name}.weight"] = (weight * (127 / largest)[:, None]).round().to(torch.int8)
        quantized[f"{name}.weight_scb"] = largest
    return quantized
