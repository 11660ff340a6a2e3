"""Downloading one big file so that no break, and no new start of the program, costs what has already arrived.

huggingface_hub 2.4 resumes only within one call and throws a partial file away when that fails, which for thirty
gigabytes over a home line means never. The partial file kept here becomes the finished one only if size and, where
the hub tells one, SHA-256 are right.
"""

import errno
import hashlib
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

_PIECE_BYTES = 1 << 20
_TIMEOUT_S = 10.0
"""Between two pieces."""
_FUTILE_TRIES = 4
"""Tries in a row that bring nothing."""
_RETRY_WAIT_S = 1.0
_SHA256_DIGITS = 64


class Cancelled(Exception):  # noqa: N818 # not an error: raised to stop a download
    """The download was cancelled; what has arrived is kept."""


class DamagedError(Exception):
    """All bytes arrived, but not those that were sent."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the hub."""

    url: str
    size_bytes: int
    etag: str
    """The hub's name for the content; of big files their SHA-256."""


def download(
    file: RemoteFile, path: Path, lock_path: Path, count: Callable[[int], None], cancelled: threading.Event
) -> None:
    """Fetch a file, beginning where an earlier download of it ended. Blocks.

    Args:
        file: what to fetch.
        path: where it shall lie; appears only when it is complete. `NAME.partial` grows beside it.
        lock_path: of the lock that whoever fetches the same file takes.
        count: told how many bytes of the file have arrived, earlier ones included.
        cancelled: when set, the download ends at its next piece.

    Raises:
        Cancelled: it was.
        DamagedError: what arrived is not what the hub announced; it was thrown away.
        OSError: the disk failed, or has no room.
        Exception: of the HTTP client, after some tries that brought nothing.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_path)
    while True:  # somebody else may be at it, perhaps a cancelled download of ours that has not noticed yet
        try:
            with lock.acquire(timeout=0.2):
                if not path.exists():
                    _fill(file, partial, count, cancelled)
                    _verify(file, partial, cancelled)
                    partial.replace(path)
                break
        except Timeout:
            _check(cancelled)
    count(file.size_bytes)


def _fill(file: RemoteFile, partial: Path, count: Callable[[int], None], cancelled: threading.Event) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    have = partial.stat().st_size if partial.exists() else 0
    if have > file.size_bytes:
        partial.unlink()
        have = 0
    if file.size_bytes - have > shutil.disk_usage(partial.parent).free:
        raise OSError(errno.ENOSPC, f"{(file.size_bytes - have) / 1e9:.1f} GB more are needed")
    futile = 0
    with partial.open("ab", buffering=0) as out:  # what has arrived is on disk whenever it breaks
        while have < file.size_bytes:
            _check(cancelled)
            before = have
            failure: Exception | None = None
            try:
                _receive(file, out, have, count, cancelled)
            except (Cancelled, HfHubHTTPError, OSError):
                raise
            except Exception as error:  # the HTTP client's own, which change their names with it
                failure = error
            have = partial.stat().st_size
            futile = 0 if have > before else futile + 1
            if futile >= _FUTILE_TRIES:
                raise failure or DamagedError("the hub sends nothing")
            if failure is not None:
                cancelled.wait(_RETRY_WAIT_S)


def _receive(
    file: RemoteFile, out: FileIO, have: int, count: Callable[[int], None], cancelled: threading.Event
) -> None:
    """One request for the rest of the file."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # in its documentation, not in its __all__
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    headers = {**build_hf_headers(), "accept-encoding": "identity", "range": f"bytes={have}-"}
    with get_session().stream("GET", file.url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True) as response:
        hf_raise_for_status(response)
        if response.status_code == 200 and have:  # a server that knows no ranges
            out.truncate(0)
            have = 0
        for piece in response.iter_bytes():
            _check(cancelled)
            out.write(piece)
            have += len(piece)
            count(min(have, file.size_bytes))


def _verify(file: RemoteFile, partial: Path, cancelled: threading.Event) -> None:
    """Throw away what is not the file that was announced."""
    right = partial.stat().st_size == file.size_bytes
    if right and len(file.etag) == _SHA256_DIGITS:
        digest = hashlib.sha256()
        with partial.open("rb") as content:
            while piece := content.read(_PIECE_BYTES):
                _check(cancelled)
                digest.update(piece)
        right = digest.hexdigest() == file.etag
    if not right:
        partial.unlink()
        raise DamagedError("it is not the file that was announced")


def _check(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise Cancelled
