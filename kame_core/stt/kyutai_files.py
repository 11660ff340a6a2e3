"""The files of one of Kyutai's speech-to-text checkpoints: what its config.json says, and where everything lies.

Of the repositories of the model for English and French (0.5 s delay) only kyutai/stt-1b-en_fr-candle has the heads that
foresee the end of a turn; `-candle` names a program it was published for, the layout is moshi's own.
kyutai/stt-2.6b-en (2.5 s delay) has none either.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kame_core.audio import FRAME_S
from kame_core.frontend.moshi.config import CONFIG_NAME, CheckpointError, FileReference
from kame_core.hub_fetch import REACH_DEADLINE_S, HubFetch, Progress

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w./-]+)?")
_LANGUAGES = re.compile(r"tokenizer_((?:[a-z]{2}_)+)audio")

_Count = Annotated[int, Field(strict=True, ge=1)]


class _Timing(BaseModel):
    model_config = ConfigDict(frozen=True)

    audio_delay_seconds: Annotated[float, Field(ge=0, le=10)]
    audio_silence_prefix_seconds: Annotated[float, Field(ge=0, le=10)] = 0.0


class _ConfigFile(BaseModel):
    """The keys that matter here; all others are arguments of moshi's `LMModel`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    moshi_name: str = "model.safetensors"
    mimi_name: str = "mimi-pytorch-e351c8d8@125.safetensors"
    tokenizer_name: str
    stt_config: _Timing
    model_type: str = "stt"
    model_id: dict[str, Any] = Field(default_factory=dict)
    lm_gen_config: dict[str, Any] = Field(default_factory=dict)
    conditioners: dict[str, Any] = Field(default_factory=dict)
    n_q: _Count
    dep_q: Annotated[int, Field(strict=True, ge=0)]
    card: _Count
    text_card: _Count
    dim: _Count
    num_layers: _Count
    context: _Count
    delays: list[int]
    existing_text_padding_id: int = 3
    existing_text_end_padding_id: int = 0

    @model_validator(mode="after")
    def _writes_down_speech(self) -> Self:
        if self.dep_q or any(self.delays):
            raise ValueError("it is a model that speaks, not one that writes down speech")
        if len(self.delays) != self.n_q + 1:
            raise ValueError(f"delays has {len(self.delays)} entries, n_q = {self.n_q} needs {self.n_q + 1}")
        if self.stt_config.audio_silence_prefix_seconds >= FRAME_S * (self.context - 1):
            raise ValueError("audio_silence_prefix_seconds is longer than the model remembers")
        if self.conditioners:
            raise ValueError("the model wants conditions that speech-to-text does not have")
        return self


_NOT_OF_LM = {
    "moshi_name",
    "mimi_name",
    "tokenizer_name",
    "stt_config",
    "model_type",
    "model_id",
    "lm_gen_config",
    "conditioners",
    "cross_attention",
    "mimi_config_name",
    "tts_config",
}


@dataclass(frozen=True, slots=True)
class KyutaiConfig:
    """What a config.json says."""

    lm: Mapping[str, Any]
    """Keyword arguments of the language model."""
    weights: FileReference
    mimi: FileReference
    tokenizer: FileReference
    delay_frames: int
    """Words are written so many frames after they began to sound."""
    prefix_frames: int
    """Silence that every conversation begins with."""
    paddings: frozenset[int]
    """Tokens that stand for no text."""
    languages: frozenset[str]
    """It understands, by the name of its vocabulary; empty: not known."""

    @property
    def text_card(self) -> int:
        """Size of the text vocabulary."""
        return int(self.lm["text_card"])

    def slot_bytes(self, bytes_per_number: int) -> int:
        """Memory of one conversation: keys and values of what the model remembers."""
        return 2 * int(self.lm["num_layers"]) * int(self.lm["context"]) * int(self.lm["dim"]) * bytes_per_number


@dataclass(frozen=True, slots=True)
class KyutaiFiles:
    """A complete checkpoint on this machine."""

    location: str
    """As the operator named it."""
    config: KyutaiConfig
    weights: Path
    mimi: Path
    tokenizer: Path


def parse_kyutai_config(text: str | bytes, where: str = CONFIG_NAME) -> KyutaiConfig:
    """Read the text of a config.json.

    Raises:
        CheckpointError: not JSON, a key is missing or wrong, or it describes a model that does something else.
    """
    try:
        file = _ConfigFile.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        what = f"its key {key!r}: {first['msg']}" if key else first["msg"].removeprefix("Value error, ")
        raise CheckpointError(
            f"{where} does not describe a speech-to-text model of Kyutai's: {what}. Check it."
        ) from error
    except ValueError as error:  # also bytes that are not UTF-8
        raise CheckpointError(f"{where} is not valid JSON ({error}). Fetch it again.") from error
    timing = file.stt_config
    languages = _LANGUAGES.search(file.tokenizer_name)
    return KyutaiConfig(
        lm={key: value for key, value in file.model_dump(exclude_unset=True).items() if key not in _NOT_OF_LM},
        weights=_safetensors("moshi_name", file.moshi_name),
        mimi=_safetensors("mimi_name", file.mimi_name),
        tokenizer=FileReference.parse("tokenizer_name", file.tokenizer_name),
        delay_frames=round(timing.audio_delay_seconds / FRAME_S),
        prefix_frames=round(timing.audio_silence_prefix_seconds / FRAME_S),
        paddings=frozenset({file.existing_text_padding_id, file.existing_text_end_padding_id}),
        languages=frozenset(languages[1].strip("_").split("_") if languages else ()),
    )


def locate_kyutai(location: str) -> KyutaiFiles | None:
    """A checkpoint that is complete on this machine, the hub's cache included; never asks the network.

    Args:
        location: a directory, or a repository of the Hugging Face Hub, `organisation/name[@revision]`.

    Raises:
        CheckpointError: there is no such directory, its config.json is bad, or it lacks a file.
    """
    if not Path(location).expanduser().is_dir() and not _REPOSITORY.fullmatch(location):
        raise CheckpointError(
            f"There is no checkpoint {location!r}. Name a directory, or a repository such as "
            "kyutai/stt-1b-en_fr-candle."
        )
    config_path = _place(FileReference(CONFIG_NAME), location)
    if isinstance(config_path, FileReference):
        return None
    config = _read_config(config_path, location)
    weights, mimi, tokenizer = (_place(file, location) for file in (config.weights, config.mimi, config.tokenizer))
    if isinstance(weights, FileReference) or isinstance(mimi, FileReference) or isinstance(tokenizer, FileReference):
        return None
    for path in (weights, mimi, tokenizer):
        if not path.is_file():
            raise CheckpointError(
                f"The checkpoint {location} lacks the file {path.name}. Put it there, or name another in its "
                f"{CONFIG_NAME} (hf://organisation/repository/file)."
            )
    return KyutaiFiles(location, config, weights, mimi, tokenizer)


async def fetch_kyutai(location: str, progress: Progress, deadline_s: float) -> KyutaiFiles:
    """A checkpoint on this machine; what of it is not here is fetched from the Hugging Face Hub.

    Args:
        location: as for `locate_kyutai`.
        progress: called with the bytes fetched and the bytes in all (None: not known yet), on a worker thread.
        deadline_s: for the whole of it; what was fetched until then is kept and used by the next try.

    Raises:
        CheckpointError: as `locate_kyutai`.
        UnavailableError: the hub cannot be reached, refuses, breaks off, lacks a file, or it took too long.
    """
    files = locate_kyutai(location)
    if files is not None:
        return files
    fetch = HubFetch(f"the checkpoint {location}", "put the checkpoint on disk and set its directory", progress)

    def look() -> list[FileReference]:
        config_place = _place(FileReference(CONFIG_NAME), location)
        if isinstance(config_place, FileReference):
            config_place = fetch.download(fetch.look(location), [CONFIG_NAME]) / CONFIG_NAME
        config = _read_config(config_place, location)
        places = (_place(file, location) for file in (config.weights, config.mimi, config.tokenizer))
        return [place for place in places if isinstance(place, FileReference)]

    def download(missing: list[FileReference]) -> None:
        names: dict[str, list[str]] = {}
        for reference in missing:
            names.setdefault(str(reference.repository), []).append(reference.name)
        homes = {home: fetch.look(home) for home in names}
        for home, wanted in names.items():  # before the first gigabyte is fetched
            fetch.require(homes[home], wanted)
        fetch.expect(sum(homes[home].sizes_bytes[name] for home, wanted in names.items() for name in wanted))
        for home, wanted in names.items():
            fetch.download(homes[home], wanted)

    missing = await fetch.run(look, min(deadline_s, REACH_DEADLINE_S))
    await fetch.run(lambda: download(missing), deadline_s)
    files = locate_kyutai(location)
    assert files is not None  # all of it was fetched
    return files


def _read_config(path: Path, location: str) -> KyutaiConfig:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"The checkpoint {location} has no {CONFIG_NAME} to read. Put it there.") from error
    return parse_kyutai_config(text, f"{CONFIG_NAME} of {location}")


def _place(reference: FileReference, location: str) -> Path | FileReference:
    """Where a file lies: on this machine, or (with a repository) on the hub."""
    folder = Path(location).expanduser()
    if reference.repository is None and folder.is_dir():
        return folder / reference.name
    home = reference.repository or location
    import huggingface_hub

    name, _, revision = home.partition("@")
    found = huggingface_hub.try_to_load_from_cache(name, reference.name, revision=revision or None)
    return Path(found) if isinstance(found, str) else FileReference(reference.name, home)


def _safetensors(key: str, value: str) -> FileReference:
    reference = FileReference.parse(key, value)
    if not reference.name.endswith(".safetensors"):
        raise CheckpointError(f"The config.json says {key} = {value!r}. Only .safetensors files are read: convert it.")
    return reference
