"""Moshi's language model with the oracle stream of KAME, on the unmodified PyPI package `moshi`.

KAME (arXiv 2510.02327) adds one thing to Moshi (arXiv 2410.00037): a second table of text embeddings, whose row for
the oracle token of the step is added to the row of the inner monologue's token. Both rows are summed before the audio
embeddings join; any other order of additions rounds differently and, in bfloat16, says other words.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from moshi.conditioners.base import ConditionTensors
from moshi.models.lm import LMModel, LMOutput
from moshi.models.lm_utils import ScaledEmbedding, _init_layer
from moshi.models.loaders import get_condition_fuser, get_conditioner_provider
from moshi.utils.compile import no_compile
from torch import Tensor, nn

NO_ORACLE_ID = -1
"""Oracle token that adds nothing: with it at every step the model is plain Moshi, bit by bit."""

_LORA_KEYS = ("lora", "lora_rank", "lora_scaling")


class _AddOracle:
    """Forward hook on `text_emb`: adds the oracle's embedding while a step's oracle tokens are set.

    A hook, so that none of moshi's forward methods has to be repeated here.
    """

    def __init__(self, oracle_emb: nn.Module) -> None:
        self._oracle_emb = oracle_emb
        self._tokens: Tensor | None = None

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], text_emb: Tensor) -> Tensor:
        if self._tokens is None:
            return text_emb
        added: Tensor = text_emb + self._oracle_emb(self._tokens)
        return added

    @contextmanager
    def of(self, tokens: Tensor) -> Iterator[None]:
        """Add these oracle tokens, int64 [B, S], to whatever text is embedded within."""
        self._tokens = tokens
        try:
            yield
        finally:
            self._tokens = None


class OracleLM(LMModel):
    """Moshi's `LMModel` with an oracle embedding; its parameters have the names of KAME's published checkpoints.

    Args:
        args, kwargs: of `LMModel`.
        oracle: whether there is an oracle embedding; without one this is plain Moshi.
    """

    def __init__(self, *args: Any, oracle: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._add_oracle: _AddOracle | None = None
        if not oracle:
            return
        text = self.text_emb
        device, dtype = text.weight.device, text.weight.dtype
        self.oracle_emb = ScaledEmbedding(
            text.num_embeddings,
            self.dim,
            norm=text.norm is not None,
            zero_idx=text.zero_idx,
            demux_second_stream=text.demux_second_stream,
            device=device,
            dtype=dtype,
        ).to(device=device, dtype=dtype)
        _init_layer(self.oracle_emb)
        self._add_oracle = _AddOracle(self.oracle_emb)
        text.register_forward_hook(self._add_oracle)

    @property
    def has_oracle(self) -> bool:
        """Whether there is an oracle embedding; plain Moshi has none."""
        return self._add_oracle is not None

    def forward_text(
        self,
        sequence: Tensor,
        sum_condition: Tensor | None = None,
        cross_attention_src: Tensor | None = None,
        oracle_tokens: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The main transformer, as in `LMModel`.

        Args:
            sequence: int64 [B, n_q + 1, S], the delayed streams.
            sum_condition: as in `LMModel`.
            cross_attention_src: as in `LMModel`.
            oracle_tokens: int64 [B, 1, S], the oracle token of each step; `NO_ORACLE_ID` or None adds nothing.

        Returns:
            The transformer's output [B, S, dim] and the text logits [B, 1, S, text_card].
        """
        with self._eager(), self._with_oracle(oracle_tokens):
            return super().forward_text(sequence, sum_condition, cross_attention_src)

    def forward_depformer(self, depformer_cb_index: int, sequence: Tensor, transformer_out: Tensor) -> Tensor:
        """One codebook of the depth transformer, as in `LMModel`; logits [B, 1, 1, card]."""
        with self._eager():
            return super().forward_depformer(depformer_cb_index, sequence, transformer_out)

    def forward(
        self,
        codes: Tensor,
        condition_tensors: ConditionTensors | None = None,
        oracle_tokens: Tensor | None = None,
    ) -> LMOutput:
        """Teacher forcing, as in `LMModel`.

        Args:
            codes: int64 [B, n_q + 1, T].
            condition_tensors: as in `LMModel`.
            oracle_tokens: int64 [B, 1, T], aligned with `codes`: like the text stream they are shifted by one step,
                and the first step sees the text start id.
        """
        with self._eager():
            if oracle_tokens is None:
                return super().forward(codes, condition_tensors)
            start = torch.full_like(oracle_tokens[:, :, :1], self.text_initial_token_id)
            with self._with_oracle(torch.cat([start, oracle_tokens[:, :, :-1]], dim=2)):
                return super().forward(codes, condition_tensors)

    def _with_oracle(self, tokens: Tensor | None) -> AbstractContextManager[None]:
        if tokens is None:
            return nullcontext()  # also `forward_text` called by `forward`, which has set its own
        if self._add_oracle is None:
            raise ValueError("this model has no oracle embedding")
        return self._add_oracle.of(tokens[:, 0])

    def _eager(self) -> AbstractContextManager[None]:
        """Moshi compiles its last norm even on a CPU: many seconds, a C++ compiler, and other rounding."""
        return no_compile() if self.device.type == "cpu" else nullcontext()


def build_oracle_lm(
    config: Mapping[str, Any], *, device: torch.device | str, dtype: torch.dtype, oracle: bool = True
) -> OracleLM:
    """An `OracleLM` in evaluation mode with random weights, for the weights to be loaded into.

    Args:
        config: the LM's keyword arguments in a published config.json, including the older names in use there. What it
            says of LoRA is left to the loader.
        device: `meta` allocates nothing; then load with `load_state_dict(..., assign=True)`.
        dtype: of the parameters.
        oracle: with an oracle embedding.

    Raises:
        TypeError: an argument is unknown or of a wrong type.
    """
    arguments = {name: value for name, value in config.items() if name not in (*_LORA_KEYS, "depformer_causal")}
    if "demux_second_stream" in arguments:
        arguments["demux_second_text_stream"] = arguments.pop("demux_second_stream")
    if "conditioners" in arguments:
        arguments["condition_provider"] = get_conditioner_provider(arguments["dim"], device, arguments)
        del arguments["conditioners"]
    if arguments.get("fuser") is not None:
        arguments["fuser"] = get_condition_fuser(arguments)
    lm = OracleLM(oracle=oracle, device=device, dtype=dtype, **arguments)
    lm.eval()
    return lm
