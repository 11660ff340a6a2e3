"""A checkpoint's config.json: which files belong to it, and how its language model is built.

The layout is that of Kyutai's and Sakana's published checkpoints: a few keys name files, all others are keyword
arguments of moshi's `LMModel`. A repository without a config.json is an early one and holds Moshi 7B.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kame_core.errors import UnavailableError

CONFIG_NAME = "config.json"
_WEIGHTS_NAME = "model.safetensors"
_MIMI_NAME = "tokenizer-e351c8d8-checkpoint125.safetensors"
_TOKENIZER_NAME = "tokenizer_spm_32k_3.model"

_HUB = "hf://"
_FILE = "file://"


class CheckpointError(UnavailableError):
    """A checkpoint's files are missing, damaged, or do not fit together."""

    code = "checkpoint_unusable"


@dataclass(frozen=True, slots=True)
class FileReference:
    """Where a file named in a config.json lies."""

    name: str
    """In `repository`; without one a path, relative to the config.json."""
    repository: str | None = None
    """`organisation/name` on the Hugging Face Hub."""

    @classmethod
    def parse(cls, key: str, value: str) -> Self:
        """Read a value such as `model.safetensors`, `hf://organisation/name/file` or `file:///path`.

        Raises:
            CheckpointError: the value names no file; `key` is named in the message.
        """
        if value.startswith(_HUB):
            organisation, _, rest = value.removeprefix(_HUB).partition("/")
            repository, _, name = rest.partition("/")
            if not (organisation and repository and name):
                raise CheckpointError(
                    f"The config.json says {key} = {value!r}. Write hf://organisation/repository/file, or a file name."
                )
            return cls(name, f"{organisation}/{repository}")
        name = value.removeprefix(_FILE)
        if not name:
            raise CheckpointError(f"The config.json says {key} = {value!r}. Write a file name.")
        return cls(name)

    def __str__(self) -> str:
        return self.name if self.repository is None else f"{self.repository}/{self.name}"


@dataclass(frozen=True, slots=True)
class MoshiConfig:
    """What a config.json says."""

    lm: Mapping[str, Any]
    """Keyword arguments of the language model, for `build_oracle_lm`."""
    weights: FileReference
    mimi: FileReference
    tokenizer: FileReference
    mimi_config: FileReference | None
    """The codec's own configuration; None: Mimi as published."""
    lora: FileReference | None
    lora_scaling: float
    """How strongly the LoRA weights are added to the model's own."""
    generation: Mapping[str, Any]
    """Sampling defaults (`lm_gen_config`), as they stand there."""
    unknown_keys: tuple[str, ...]
    """Keys that no version known here uses; they were left out."""

    @property
    def quantized(self) -> bool:
        """Whether the weights are 8 bit integers."""
        return bool(self.lm.get("quantize", False))

    @property
    def voice_codebooks(self) -> int:
        """Mimi codebooks of the agent's voice."""
        return int(self.lm["dep_q"])

    @property
    def user_codebooks(self) -> int:
        """Mimi codebooks of the user's voice that the model hears."""
        return int(self.lm["n_q"]) - self.voice_codebooks

    @property
    def text_card(self) -> int:
        """Size of the text vocabulary; also the text start id."""
        return int(self.lm["text_card"])


def parse_config(text: str | bytes, where: str = CONFIG_NAME) -> MoshiConfig:
    """Read the text of a config.json.

    Args:
        text: of the file.
        where: how messages name it.

    Raises:
        CheckpointError: not JSON, a key is missing or wrong, or it describes a model that cannot hold a dialogue.
    """
    try:
        values = json.loads(text)
    except ValueError as error:  # also bytes that are not UTF-8
        raise CheckpointError(f"{where} is not valid JSON ({error}). Fetch it again.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{where} does not describe a Moshi model: it holds no JSON object. Check it.")
    values = {key: value for key, value in values.items() if value is not None or key not in _NOT_OF_LM}
    try:
        file = _ConfigFile.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        what = f"its key {key!r}: {first['msg']}" if key else first["msg"].removeprefix("Value error, ")
        raise CheckpointError(f"{where} does not describe a Moshi model: {what}. Check it.") from error
    return file.config()


def default_config() -> MoshiConfig:
    """Of a repository without config.json: Moshi 7B."""
    from moshi.models.loaders import _lm_kwargs  # its numbers are kept in one place, moshi's

    return parse_config(json.dumps(_lm_kwargs))


_Count = Annotated[int, Field(strict=True, ge=1)]
_Index = Annotated[int, Field(strict=True, ge=0)]
_Name = Annotated[str, Field(min_length=1)]
_FOREIGN = {"hibiki": "translates speech", "tts": "reads text aloud", "stt": "writes down speech"}


class _ConfigFile(BaseModel):
    """The keys of the file. What is not set is left to moshi's defaults."""

    model_config = ConfigDict(extra="allow", frozen=True)

    # files and other matter beside the language model's arguments
    moshi_name: _Name = _WEIGHTS_NAME
    mimi_name: _Name = _MIMI_NAME
    tokenizer_name: _Name = _TOKENIZER_NAME
    mimi_config_name: _Name | None = None
    lora_name: _Name | None = None
    lora: bool = False
    lora_rank: _Count = 128
    lora_scaling: float = 2.0
    model_type: str = "moshi"
    lm_gen_config: dict[str, Any] = Field(default_factory=dict)
    tts_config: dict[str, Any] = Field(default_factory=dict)
    stt_config: dict[str, Any] = Field(default_factory=dict)
    model_id: dict[str, Any] = Field(default_factory=dict)

    # the language model
    n_q: _Count
    dep_q: _Index
    card: _Count
    text_card: _Count
    dim: _Count
    num_heads: _Count
    num_layers: _Count
    context: _Count
    delays: list[_Index]
    text_card_out: _Count | None = None
    existing_text_padding_id: _Index = 3
    existing_text_end_padding_id: _Index = 0
    hidden_scale: float = 4.0
    causal: bool = True
    layer_scale: float | None = None
    max_period: float = 10_000
    positional_scale: float = 1.0
    gating: str = "none"
    norm: str = "layer_norm"
    norm_emb: bool = False
    bias_proj: bool = False
    positional_embedding: str = "sin"
    kv_repeat: _Count = 1
    quantize: bool = False
    cross_attention: bool = False
    demux_second_text_stream: bool = False
    demux_second_stream: bool = False
    conditioners: dict[str, Any] | None = None
    fuser: dict[str, Any] | None = None
    extra_heads_num_heads: _Index = 0
    extra_heads_dim: _Count = 6
    depformer_dim: _Count = 256
    depformer_dim_feedforward: _Count | list[_Count] | None = None
    depformer_num_heads: _Count
    depformer_num_layers: _Count | None = None
    depformer_layer_scale: float | None = None
    depformer_multi_linear: bool = False
    depformer_weights_per_step: bool = False
    depformer_weights_per_step_schedule: list[_Index] | None = None
    depformer_low_rank_embeddings: _Count | None = None
    depformer_context: _Count | None = None
    depformer_max_period: float | None = None
    depformer_gating: str | None = None
    depformer_pos_emb: str = "sin"
    depformer_norm: str | None = None
    depformer_causal: bool | None = None
    depformer_kv_repeat: _Count | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model_type in _FOREIGN or self.tts_config or self.stt_config:
            purpose = _FOREIGN.get(self.model_type) or _FOREIGN["tts" if self.tts_config else "stt"]
            raise ValueError(f"it is a model that {purpose}, not one that holds a dialogue")
        if self.conditioners or self.fuser or self.cross_attention:
            raise ValueError("the model wants conditions (conditioners, fuser) that a dialogue does not have")
        if self.demux_second_text_stream or self.demux_second_stream:
            raise ValueError("the model writes two texts at once")
        if not 0 < self.dep_q < self.n_q:
            raise ValueError(
                f"of n_q = {self.n_q} audio streams dep_q = {self.dep_q} are the agent's; both sides need one"
            )
        if len(self.delays) != self.n_q + 1:
            raise ValueError(f"delays has {len(self.delays)} entries, n_q = {self.n_q} needs {self.n_q + 1}")
        for wide, heads in (("dim", "num_heads"), ("depformer_dim", "depformer_num_heads")):
            width, count = getattr(self, wide), getattr(self, heads)
            if width % count:
                raise ValueError(f"{wide} = {width} is no multiple of {heads} = {count}")
        if max(self.existing_text_padding_id, self.existing_text_end_padding_id) >= self.text_card:
            raise ValueError(f"a text padding id lies outside text_card = {self.text_card}")
        return self

    def config(self) -> MoshiConfig:
        lm = self.model_dump(exclude_unset=True, exclude={*_NOT_OF_LM, *(self.model_extra or {})})
        return MoshiConfig(
            lm=MappingProxyType(lm),
            weights=_safetensors("moshi_name", self.moshi_name),
            mimi=_safetensors("mimi_name", self.mimi_name),
            tokenizer=FileReference.parse("tokenizer_name", self.tokenizer_name),
            mimi_config=(
                FileReference.parse("mimi_config_name", self.mimi_config_name) if self.mimi_config_name else None
            ),
            lora=_safetensors("lora_name", self.lora_name) if self.lora_name else None,
            lora_scaling=self.lora_scaling,
            generation=MappingProxyType(dict(self.lm_gen_config)),
            unknown_keys=tuple(sorted(self.model_extra or ())),
        )


_NOT_OF_LM = {
    "moshi_name",
    "mimi_name",
    "tokenizer_name",
    "mimi_config_name",
    "lora_name",
    "lora",
    "lora_rank",
    "lora_scaling",
    "model_type",
    "lm_gen_config",
    "tts_config",
    "stt_config",
    "model_id",
    "conditioners",
    "fuser",
    "cross_attention",
    "demux_second_text_stream",
    "demux_second_stream",
    "depformer_causal",
}


def _safetensors(key: str, value: str) -> FileReference:
    reference = FileReference.parse(key, value)
    if not reference.name.endswith(".safetensors"):
        raise CheckpointError(
            f"The config.json says {key} = {value!r}. Only .safetensors files are read: others may run code when they "
            "are opened. Convert it, or take the published safetensors file."
        )
    return reference
