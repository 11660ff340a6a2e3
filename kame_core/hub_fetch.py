"""Fetching named files from the Hugging Face Hub into its cache: with progress, a deadline and clear errors.

The cache is huggingface_hub's own (`HF_HUB_CACHE`, `HF_HOME`), laid out as it does. What arrived before a break is
kept, and the next try goes on from there; sizes and, of big files, SHA-256 are verified.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kame_core.errors import UnavailableError
from kame_core.hub_download import Cancelled, DamagedError, RemoteFile, download
from kame_core.workers import ThreadWorkers

T = TypeVar("T")
Progress = Callable[[int, int | None], None]
"""Called with the bytes fetched and the bytes in all (None: not known yet), on a worker thread."""

REACH_DEADLINE_S = 10.0
"""How long the hub may take to say what there is to fetch."""
REQUEST_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository at one revision."""

    name: str
    revision: str
    """Branch, tag or commit."""
    sizes_bytes: Mapping[str, int]
    """Of all its files."""


@dataclass(slots=True)
class HubFetch:
    """One errand to the hub, for one or more files of one or more repositories.

    All methods but `run`, `cancel` and `expect` block: let `run` call them.

    Args:
        subject: how messages name what is fetched ("the checkpoint SakanaAI/kame").
        instead: what else the operator can do ("put it on disk and set its directory").
        progress: told the bytes.
    """

    subject: str
    instead: str
    progress: Progress | None = None
    _total_bytes: int | None = None
    _before_bytes: int = 0
    """Of what earlier `download` calls brought."""
    _done_bytes: int = 0
    _reached: bool = False
    _cancelled: threading.Event = field(default_factory=threading.Event)

    async def run(self, step: Callable[[], T], deadline_s: float) -> T:
        """Run a function that uses this errand's blocking methods, on a thread of its own.

        When the deadline passes, or the caller is cancelled, a running download stops at its next piece.

        Raises:
            UnavailableError: it took too long, or whatever the step raised.
        """
        workers = ThreadWorkers("hub-fetch")
        try:
            async with asyncio.timeout(deadline_s):
                return await workers.run(step)
        except BaseException as error:
            self.cancel()
            if not isinstance(error, TimeoutError):
                raise
            late = f"{_capital(self.subject)} was not complete after {deadline_s:g} s. What has arrived is kept."
            mute = f"The Hugging Face Hub does not answer; {self.subject} cannot be fetched."
            raise UnavailableError(
                f"{late if self._reached else mute} Check the network and try again, or {self.instead}.", retryable=True
            ) from None
        finally:
            workers.close()

    def cancel(self) -> None:
        """Stop at the next piece."""
        self._cancelled.set()

    def look(self, repository: str) -> HubRepository:
        """Ask the hub what there is to fetch.

        Args:
            repository: `organisation/name`, or `organisation/name@revision`.

        Raises:
            UnavailableError: the hub cannot be reached, forbids it, or has no such repository.
        """
        import huggingface_hub
        from huggingface_hub.utils import logging as hub_logging

        hub_logging.set_verbosity(logging.ERROR)  # it warns on stderr of what is raised here
        name, _, revision = repository.partition("@")
        info = self._guarded(
            lambda: huggingface_hub.HfApi().model_info(
                name, revision=revision or "main", timeout=REQUEST_TIMEOUT_S, files_metadata=True
            )
        )
        self._reached = True
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        return HubRepository(name, revision or "main", sizes)

    def expect(self, total_bytes: int) -> None:
        """Announce how much all further downloads bring, for the progress."""
        self._total_bytes = self._before_bytes + total_bytes

    def require(self, repository: HubRepository, names: Collection[str]) -> None:
        """Pass where a repository has all these files.

        Raises:
            UnavailableError: it lacks one.
        """
        for name in names:
            if name not in repository.sizes_bytes:
                raise UnavailableError(f"The repository {repository.name} has no file {name}. Check {self.subject}.")

    def download(self, repository: HubRepository, names: Collection[str]) -> Path:
        """Fetch what the cache lacks of these files; the folder that then holds them.

        Raises:
            UnavailableError: the repository lacks one of them, the hub broke off, or the disk is full.
        """
        import huggingface_hub

        self.require(repository, names)
        for name in sorted(names):
            self._guarded(lambda name=name: self._download(repository, name))  # type: ignore[misc]
            self._before_bytes += repository.sizes_bytes[name]
        return Path(
            self._guarded(
                lambda: huggingface_hub.snapshot_download(  # everything is there: it only links
                    repository.name,
                    revision=repository.revision,
                    allow_patterns=sorted(names),
                    etag_timeout=REQUEST_TIMEOUT_S,
                    tqdm_class=_silent_meter(),
                )
            )
        )

    def _download(self, repository: HubRepository, name: str) -> None:
        """Put the content of a file into the cache's `blobs`, where huggingface_hub finds it by its etag."""
        import huggingface_hub
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        url = huggingface_hub.hf_hub_url(repository.name, name, revision=repository.revision)
        about = huggingface_hub.get_hf_file_metadata(url, timeout=REQUEST_TIMEOUT_S)
        size_bytes = about.size if about.size is not None else repository.sizes_bytes[name]
        if about.etag is None:
            raise DamagedError("the hub does not name the content")
        cache = Path(constants.HF_HUB_CACHE)
        folder = repo_folder_name(repo_id=repository.name, repo_type="model")
        lock_path = cache / ".locks" / folder / f"{about.etag}.lock"  # huggingface_hub's own
        file = RemoteFile(url, size_bytes, about.etag)
        download(file, cache / folder / "blobs" / about.etag, lock_path, self._count, self._cancelled)

    def read(self, repository: HubRepository, name: str, start_byte: int, end_byte: int) -> bytes:
        """Some bytes of a file, `end_byte` not included, without fetching all of it; fewer where the file ends."""
        import huggingface_hub
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # in its documentation, not in its __all__
            build_hf_headers,
            get_session,
            hf_raise_for_status,
        )

        def get() -> bytes:
            url = huggingface_hub.hf_hub_url(repository.name, name, revision=repository.revision)
            headers = {**build_hf_headers(), "range": f"bytes={start_byte}-{end_byte - 1}"}
            with get_session().stream(
                "GET", url, headers=headers, timeout=REQUEST_TIMEOUT_S, follow_redirects=True
            ) as response:
                hf_raise_for_status(response)
                skipped = start_byte if response.status_code == 200 else 0  # a server that knows no ranges
                got = bytearray()
                for piece in response.iter_bytes():
                    got += piece
                    if len(got) >= skipped + end_byte - start_byte:
                        break
                return bytes(got[skipped : skipped + end_byte - start_byte])

        return self._guarded(get)

    def _guarded(self, action: Callable[[], T]) -> T:
        """Run an action of the hub's library and say its errors in plain words."""
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

        try:
            return action()
        except Cancelled:
            raise
        except OfflineModeIsEnabled as error:
            raise UnavailableError(
                f"HF_HUB_OFFLINE forbids to fetch {self.subject}. Unset that, or {self.instead}."
            ) from error
        except HfHubHTTPError as error:
            raise self._refused(error) from error
        except LocalEntryNotFoundError as error:  # an OSError too
            raise self._broken(error) from error
        except DamagedError as error:
            raise UnavailableError(
                f"{_capital(self.subject)} arrived damaged from the Hugging Face Hub: {error}. Try again, or "
                f"{self.instead}.",
                retryable=True,
            ) from error
        except OSError as error:
            raise UnavailableError(
                f"{_capital(self.subject)} cannot be stored ({error.strerror or type(error).__name__}). Check the "
                "disk's free space, or set HF_HOME to another place.",
                retryable=True,
            ) from error
        except Exception as error:  # the HTTP client's own errors, which change their names with it
            raise self._broken(error) from error

    def _count(self, done_bytes: int) -> None:
        """So much of the file at hand has arrived."""
        self._done_bytes = self._before_bytes + done_bytes
        if self.progress is not None:
            self.progress(self._done_bytes, self._total_bytes)

    def _refused(self, error: Exception) -> UnavailableError:
        status = getattr(getattr(error, "response", None), "status_code", None)
        return UnavailableError(
            f"The Hugging Face Hub refused {self.subject} (status {status or 'unknown'}). Check its name, whether it "
            f"wants a token (HF_TOKEN), or try again later. Or {self.instead}.",
            retryable=status is None or status == 429 or status >= 500,
        )

    def _broken(self, error: Exception) -> UnavailableError:
        broke = f"broke off at {self._done_bytes / 1e6:.1f} MB of" if self._done_bytes else "cannot be reached for"
        return UnavailableError(
            f"The Hugging Face Hub {broke} {self.subject} ({type(error).__name__}). Check the network or HF_ENDPOINT "
            f"and try again: what has arrived is kept. Or {self.instead}.",
            retryable=True,
        )


def _silent_meter() -> type[Any]:
    """A progress bar as huggingface_hub wants one, which draws nothing."""
    from huggingface_hub.utils.tqdm import tqdm

    class Meter(tqdm):
        monitor_interval = 0  # no thread of tqdm's

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

    return Meter


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
