"""Where the files of a checkpoint lie: a directory, the Hugging Face cache, or the Hugging Face Hub."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kame_core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from kame_core.frontend.moshi.config import (
    CONFIG_NAME,
    CheckpointError,
    FileReference,
    MoshiConfig,
    default_config,
    parse_config,
)
from kame_core.hub_fetch import REACH_DEADLINE_S, HubFetch, HubRepository, Progress

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w./-]+)?")

_SOUND = {"sample_rate": SAMPLE_RATE_HZ, "frame_rate": SAMPLE_RATE_HZ / FRAME_SAMPLES, "channels": 1}
"""What a codec has to be for, by the names of its configuration."""

Place = Path | FileReference
"""Of a file: on this machine, or (always with a repository) on the Hugging Face Hub."""


@dataclass(frozen=True, slots=True)
class CheckpointPlaces:
    """Where every file of a checkpoint lies, here or on the hub."""

    location: str
    """As the operator named it."""
    config: MoshiConfig
    weights: Place
    mimi: Place
    tokenizer: Place
    mimi_config: Place | None
    lora: Place | None

    def __iter__(self) -> Iterator[Place]:
        """All of them, the config.json left out."""
        everything = (self.weights, self.mimi, self.tokenizer, self.mimi_config, self.lora)
        return (place for place in everything if place is not None)


@dataclass(frozen=True, slots=True)
class CheckpointFiles:
    """A complete checkpoint on this machine."""

    location: str
    """As the operator named it."""
    config: MoshiConfig
    weights: Path
    mimi: Path
    tokenizer: Path
    mimi_config: Mapping[str, Any] | None
    """The codec's own configuration; None: Mimi as published."""
    lora: Path | None


class CheckpointHub:
    """The repositories one checkpoint is fetched from. Its methods block: call them on a worker."""

    def __init__(self, fetch: HubFetch) -> None:
        self.fetch = fetch
        self._seen: dict[str, HubRepository] = {}

    def repository(self, name: str) -> HubRepository:
        """What lies in a repository; asked once."""
        if name not in self._seen:
            self._seen[name] = self.fetch.look(name)
        return self._seen[name]

    def download(self, references: list[FileReference]) -> dict[FileReference, Path]:
        """Fetch files that are not in the cache yet."""
        names: dict[str, list[str]] = {}
        for reference in references:
            names.setdefault(_home(reference), []).append(reference.name)
        folders = {home: self.fetch.download(self.repository(home), wanted) for home, wanted in names.items()}
        return {reference: folders[_home(reference)] / reference.name for reference in references}

    def size_bytes(self, reference: FileReference) -> int:
        """Size of a file; 0 where the repository has none of that name."""
        return self.repository(_home(reference)).sizes_bytes.get(reference.name, 0)

    def read(self, reference: FileReference, start_byte: int, end_byte: int) -> bytes:
        """Some bytes of a file, without fetching all of it."""
        return self.fetch.read(self.repository(_home(reference)), reference.name, start_byte, end_byte)


def checkpoint_hub(location: str, progress: Progress | None = None) -> CheckpointHub:
    """The hub, for a checkpoint's sake."""
    return CheckpointHub(
        HubFetch(f"the checkpoint {location}", "put the checkpoint on disk and set its directory", progress)
    )


def find_places(location: str, hub: CheckpointHub | None = None) -> CheckpointPlaces | None:
    """Read a checkpoint's config.json and say where its files lie.

    Args:
        location: a directory (with a config.json, or of Moshi 7B), a .safetensors file in such a directory, or a
            repository of the Hugging Face Hub, `organisation/name` or `organisation/name@revision`.
        hub: asked for the config.json of a repository that is not in the hub's cache. Without it that is None.

    Raises:
        CheckpointError: there is no such directory, or its config.json is bad.
        UnavailableError: the hub failed.
    """
    path = Path(location).expanduser()
    repository = None
    if not path.exists():
        if not _REPOSITORY.fullmatch(location):
            raise CheckpointError(
                f"There is no checkpoint {location!r}. Name a directory, or a repository such as SakanaAI/kame."
            )
        repository = location
    folder = path if path.is_dir() else path.parent

    def place(reference: FileReference) -> Place:
        if reference.repository is None and repository is not None and not Path(reference.name).is_absolute():
            reference = FileReference(reference.name, repository)
        return _cached(reference) or reference if reference.repository else folder / reference.name

    config = _read_config(place(FileReference(CONFIG_NAME)), location, hub)
    if config is None:
        return None
    return CheckpointPlaces(
        location=location,
        config=config,
        weights=path if path.is_file() and path.name != CONFIG_NAME else place(config.weights),
        mimi=place(config.mimi),
        tokenizer=place(config.tokenizer),
        mimi_config=None if config.mimi_config is None else place(config.mimi_config),
        lora=None if config.lora is None else place(config.lora),
    )


def locate_checkpoint(location: str) -> CheckpointFiles | None:
    """A checkpoint that is complete on this machine, the hub's cache included; never asks the network.

    Raises:
        CheckpointError: as `find_places`, or a directory lacks a file that belongs to it.
    """
    places = find_places(location)
    if places is None or any(isinstance(place, FileReference) for place in places):
        return None
    return _files(places, {})


async def fetch_checkpoint(location: str, progress: Progress, deadline_s: float) -> CheckpointFiles:
    """A checkpoint on this machine; what of it is not here is fetched from the Hugging Face Hub.

    Args:
        location: as for `find_places`.
        progress: called with the bytes fetched and the bytes in all (None: not known yet), on a worker thread.
        deadline_s: for the whole of it. When it passes, or the caller is cancelled, the download stops at its next
            piece; what was fetched is kept and used by the next try.

    Raises:
        CheckpointError: as `locate_checkpoint`.
        UnavailableError: the hub cannot be reached, refuses, breaks off, lacks a file, or it took too long.
    """
    hub = checkpoint_hub(location, progress)
    now_s = asyncio.get_running_loop().time
    ends_s = now_s() + deadline_s
    files = await hub.fetch.run(lambda: locate_checkpoint(location), deadline_s)
    if files is not None:
        return files

    def look() -> tuple[CheckpointPlaces, list[FileReference]]:
        places = find_places(location, hub)
        assert places is not None  # with a hub it answers or raises
        missing = [place for place in places if isinstance(place, FileReference)]
        for reference in missing:  # before the first gigabyte is fetched
            hub.fetch.require(hub.repository(_home(reference)), [reference.name])
        hub.fetch.expect(sum(hub.size_bytes(reference) for reference in missing))
        return places, missing

    places, missing = await hub.fetch.run(look, min(ends_s - now_s(), REACH_DEADLINE_S))
    return await hub.fetch.run(lambda: _files(places, hub.download(missing)), ends_s - now_s())


def _read_config(place: Place, location: str, hub: CheckpointHub | None) -> MoshiConfig | None:
    where = f"{CONFIG_NAME} of {location}"
    if isinstance(place, FileReference):
        if hub is None:
            # Not in the cache: not fetched yet, or the repository has none, which its weights in the cache tell.
            default = default_config()
            fetched = _cached(FileReference(default.weights.name, place.repository)) is not None
            return default if fetched else None
        if place.name not in hub.repository(_home(place)).sizes_bytes:
            return default_config()
        place = hub.download([place])[place]
    if not place.is_file():
        return default_config()
    return parse_config(place.read_bytes(), where)


def _files(places: CheckpointPlaces, fetched: Mapping[FileReference, Path]) -> CheckpointFiles:
    def path(place: Place) -> Path:
        found = fetched[place] if isinstance(place, FileReference) else place
        if not found.is_file():
            raise CheckpointError(
                f"The checkpoint {places.location} lacks the file {found.name}. Put it there, or name another in its "
                f"{CONFIG_NAME} (hf://organisation/repository/file)."
            )
        return found

    return CheckpointFiles(
        location=places.location,
        config=places.config,
        weights=path(places.weights),
        mimi=path(places.mimi),
        tokenizer=path(places.tokenizer),
        mimi_config=None if places.mimi_config is None else read_mimi_config(path(places.mimi_config)),
        lora=None if places.lora is None else path(places.lora),
    )


def read_mimi_config(path: Path) -> Mapping[str, Any]:
    """The codec's own configuration.

    Raises:
        CheckpointError: it is not valid JSON, lacks a part, or is for sound of another kind than all here is.
    """
    try:
        config = json.loads(path.read_bytes())
        lacking = {"seanet", "quantizer", "transformer", "channels", "sample_rate", "frame_rate"} - set(config)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path.name} is not a configuration of Mimi ({error}). Fetch it again.") from error
    if lacking:
        raise CheckpointError(f"{path.name} is not a configuration of Mimi: it lacks {', '.join(sorted(lacking))}.")
    for key, needed in _SOUND.items():
        if config[key] != needed:
            raise CheckpointError(
                f"{path.name} says {key} = {config[key]!r}, but sound here has {key} = {needed}: mono at 24 kHz, in "
                "frames of 80 ms. Take a codec that was trained for that, such as the published Mimi."
            )
    return dict(config)


def _home(reference: FileReference) -> str:
    assert reference.repository is not None
    return reference.repository


def _cached(reference: FileReference) -> Path | None:
    """A file of a repository in the hub's cache; never asks the network."""
    import huggingface_hub

    name, _, revision = _home(reference).partition("@")
    found = huggingface_hub.try_to_load_from_cache(name, reference.name, revision=revision or None)
    return Path(found) if isinstance(found, str) else None


__all__ = [
    "CheckpointFiles",
    "CheckpointHub",
    "CheckpointPlaces",
    "Place",
    "checkpoint_hub",
    "fetch_checkpoint",
    "find_places",
    "locate_checkpoint",
    "read_mimi_config",
]
