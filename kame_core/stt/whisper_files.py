"""Where Whisper models lie: a directory, the Hugging Face cache, or the Hugging Face Hub."""

import asyncio
import logging
import threading
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from kame_core.errors import UnavailableError
from kame_core.workers import ThreadWorkers

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

REACH_DEADLINE_S = 10.0
"""How long the hub may take to say what there is to fetch."""
_REQUEST_TIMEOUT_S = 5.0
_DOWNLOADS = 4


def missing_files(folder: Path) -> list[str]:
    """Names of files (or patterns) a model directory lacks."""
    there = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
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


async def fetch_whisper(name: str, progress: Callable[[int, int | None], None], deadline_s: float) -> Path:
    """Fetch a model size from the Hugging Face Hub into its cache, on threads of its own.

    Args:
        name: a size such as "base.en".
        progress: called with the bytes fetched and the bytes in all (None: not known yet), on a worker thread.
        deadline_s: for the whole of it. When it passes, or the caller is cancelled, the download stops at its next
            piece; what was fetched is kept and used by the next try.

    Raises:
        UnavailableError: no such size, the hub cannot be reached or refuses, or it took too long.
    """
    if name not in REPOSITORIES:
        raise UnavailableError(
            f"There is no Whisper model size {name!r}. Name a model directory, or one of {', '.join(REPOSITORIES)}."
        )
    fetching = _Fetching(REPOSITORIES[name], progress)
    workers = ThreadWorkers("whisper-fetch")
    try:
        async with asyncio.timeout(deadline_s):
            async with asyncio.timeout(REACH_DEADLINE_S):
                await workers.run(fetching.reach)
            return await workers.run(fetching.download)
    except TimeoutError:
        late = f"was not complete after {deadline_s:.0f} s"
        what = late if fetching.reached else "cannot be fetched: the Hugging Face Hub does not answer"
        raise UnavailableError(
            f"The Whisper model {name} {what}. Check the network, or put the model on disk and set its directory.",
            retryable=True,
        ) from None
    finally:
        fetching.cancelled.set()
        workers.close()


class _Cancelled(Exception):  # noqa: N818 # not an error: raised through the hub's code to stop it
    pass


class _Fetching:
    """One download. `reach`, then `download`; both on a worker."""

    def __init__(self, repository: str, progress: Callable[[int, int | None], None]) -> None:
        self.repository = repository
        self.reached = False
        self.cancelled = threading.Event()
        self._progress = progress
        self._total_bytes: int | None = None
        self._done_bytes = 0

    def reach(self) -> None:
        """Ask the hub what there is to fetch."""
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
        from huggingface_hub.utils import logging as hub_logging

        hub_logging.set_verbosity(logging.ERROR)  # it warns on stderr of what is raised here
        try:
            info = huggingface_hub.HfApi().model_info(self.repository, timeout=_REQUEST_TIMEOUT_S, files_metadata=True)
        except OfflineModeIsEnabled as error:
            raise UnavailableError(
                "HF_HUB_OFFLINE forbids to fetch it. Unset that, or set a model directory."
            ) from error
        except HfHubHTTPError as error:
            raise self._refused(error) from error
        except Exception as error:  # the HTTP client's own errors, which change their names with it
            raise self._unreachable(error) from error
        files = [file for file in info.siblings or () if any(fnmatch(file.rfilename, pattern) for pattern in _FILES)]
        self._total_bytes = sum(file.size or 0 for file in files) or None
        self.reached = True

    def download(self) -> Path:
        """Fetch the files that the cache lacks."""
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            folder = huggingface_hub.snapshot_download(
                self.repository,
                allow_patterns=_FILES,
                etag_timeout=_REQUEST_TIMEOUT_S,
                max_workers=_DOWNLOADS,
                tqdm_class=self._meter(),
            )
        except _Cancelled:
            raise
        except HfHubHTTPError as error:
            raise self._refused(error) from error
        except LocalEntryNotFoundError as error:  # an OSError too
            raise self._unreachable(error) from error
        except OSError as error:
            raise UnavailableError(
                f"The Whisper model cannot be stored ({error.strerror or type(error).__name__}). Check the disk's "
                "free space, or set HF_HOME to another place.",
                retryable=True,
            ) from error
        except Exception as error:
            raise self._unreachable(error) from error
        missing = missing_files(Path(folder))
        if missing:
            raise UnavailableError(f"The hub's copy of the Whisper model lacks {', '.join(missing)}.")
        if self._total_bytes is not None:
            self._progress(self._total_bytes, self._total_bytes)
        return Path(folder)

    def _count(self, done_bytes: int) -> None:
        """The hub counts bytes received and bytes written apart; the further of both is told."""
        if self.cancelled.is_set():
            raise _Cancelled
        if done_bytes > self._done_bytes:
            self._done_bytes = done_bytes
            total = self._total_bytes
            self._progress(done_bytes if total is None else min(done_bytes, total), total)

    def _meter(self) -> type[Any]:
        """A progress bar as huggingface_hub wants one, which draws nothing and tells the bytes."""
        from huggingface_hub.utils.tqdm import tqdm

        count = self._count

        class Meter(tqdm):
            monitor_interval = 0  # no thread of tqdm's

            def __init__(self, *args: Any, **options: Any) -> None:
                self._in_bytes = options.get("unit") == "B"
                super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

            def update(self, n: float | None = 1) -> None:
                self.n += n or 0
                if self._in_bytes:
                    count(int(self.n))

        return Meter

    def _refused(self, error: Exception) -> UnavailableError:
        status = getattr(getattr(error, "response", None), "status_code", None)
        return UnavailableError(
            f"The Hugging Face Hub refused the Whisper model (status {status or 'unknown'}). Try again later, or put "
            "the model on disk and set its directory.",
            retryable=status is None or status == 429 or status >= 500,
        )

    def _unreachable(self, error: Exception) -> UnavailableError:
        return UnavailableError(
            f"The Hugging Face Hub cannot be reached ({type(error).__name__}). Check the network or HF_ENDPOINT, or "
            "put the model on disk and set its directory.",
            retryable=True,
        )
