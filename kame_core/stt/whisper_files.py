"""Where Whisper models lie: a directory, the Hugging Face cache, or the Hugging Face Hub."""

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from kame_core.errors import UnavailableError
from kame_core.hub_fetch import REACH_DEADLINE_S, HubFetch, Progress

_SIZES = ("tiny.en", "tiny", "base.en", "base", "small.en", "small", "medium.en", "medium", "large-v1", "large-v2")
_DISTILLED = ("small.en", "medium.en", "large-v2", "large-v3")
REPOSITORIES = {
    **{size: f"Systran/faster-whisper-{size}" for size in (*_SIZES, "large-v3")},
    "large": "Systran/faster-whisper-large-v3",
    **{f"distil-{size}": f"Systran/faster-distil-whisper-{size}" for size in _DISTILLED},
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
}
"""Size name to Hugging Face repository; the names are faster-whisper's."""
_FILES = ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"]
_NEEDED = ("model.bin", "config.json", "tokenizer.json", "vocabulary.*")


def missing_files(folder: Path) -> list[str]:
    """Names of files (or patterns) a model directory lacks."""
    return _lacking(entry.name for entry in folder.iterdir()) if folder.is_dir() else list(_NEEDED)


def _lacking(names: Iterable[str]) -> list[str]:
    there = list(names)
    return [needed for needed in _NEEDED if not any(fnmatch(name, needed) for name in there)]


def locate_whisper(name: str) -> Path | None:
    """A directory that holds `model.bin`, or a size that is complete in the Hugging Face cache; never asks the network.

    The cache's place is huggingface_hub's own (`HF_HUB_CACHE`, `HF_HOME`).
    """
    folder = Path(name).expanduser()
    if (folder / "model.bin").is_file():
        return folder
    repository = REPOSITORIES.get(name)
    if repository is None:
        return None
    import huggingface_hub
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    try:
        cached = Path(huggingface_hub.snapshot_download(repository, local_files_only=True, allow_patterns=_FILES))
    except (LocalEntryNotFoundError, IncompleteSnapshotError):
        return None
    return None if missing_files(cached) else cached


async def fetch_whisper(name: str, progress: Progress, deadline_s: float) -> Path:
    """Fetch a model size from the Hugging Face Hub into its cache, on threads of its own.

    Args:
        name: a size such as "base.en".
        progress: told the bytes.
        deadline_s: for the whole of it. When it passes, or the caller is cancelled, the download stops at its next
            piece; what was fetched is kept and used by the next try.

    Raises:
        UnavailableError: no such size, the hub cannot be reached or refuses, or it took too long.
    """
    if name not in REPOSITORIES:
        raise UnavailableError(
            f"There is no Whisper model size {name!r}. Name a model directory, or one of {', '.join(REPOSITORIES)}."
        )
    fetch = HubFetch(f"the Whisper model {name}", "put the model on disk and set its directory", progress)
    repository = await fetch.run(lambda: fetch.look(REPOSITORIES[name]), min(REACH_DEADLINE_S, deadline_s))
    sizes_bytes = repository.sizes_bytes
    wanted = [file for file in sizes_bytes if any(fnmatch(file, pattern) for pattern in _FILES)]
    lacking = _lacking(wanted)
    if lacking:
        raise UnavailableError(f"The hub's copy of the Whisper model {name} lacks {', '.join(lacking)}.")
    fetch.expect(sum(sizes_bytes[file] for file in wanted))
    return await fetch.run(lambda: fetch.download(repository, wanted), deadline_s)
