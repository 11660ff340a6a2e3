"""A Hugging Face Hub on loopback that knows byte ranges, as the real one, and breaks off where it is told to."""

import asyncio
import hashlib
import re
from pathlib import Path

from aiohttp import web

from tests.support.hugging_face_hub import _COMMIT, Hub

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class RangeHub(Hub):
    """Serves the files of a folder as one model repository.

    Args:
        breaks_after_bytes: file name to how much of it is ever sent; then the connection is cut. Change it to mend.
        stalls: send nothing of any file.
        damages: file whose content is not what is announced.
    """

    def __init__(
        self,
        folder: Path,
        repository: str,
        *,
        breaks_after_bytes: dict[str, int] | None = None,
        stalls: bool = False,
        damages: str = "",
    ) -> None:
        super().__init__(folder, repository)
        self._damages = damages
        self._stalls = stalls
        self.breaks_after_bytes = breaks_after_bytes or {}
        self.sent_bytes: dict[str, int] = {}
        """Of each file, over all requests."""

    async def __aenter__(self) -> "RangeHub":
        await super().__aenter__()
        return self

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        content = self._files[name]
        headers = {
            "X-Repo-Commit": _COMMIT,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Accept-Ranges": "bytes",
        }
        start, end = 0, len(content)
        match = _RANGE.fullmatch(request.headers.get("Range", ""))
        if match is not None:
            start = int(match[1])
            end = min(int(match[2] or end) + 1, end)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if match else 200, headers=headers)
        response.content_length = end - start
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        if self._stalls and name != "config.json":
            await asyncio.Event().wait()
        if self._damages == name:
            content = content[:-1] + bytes([content[-1] ^ 1])
        until = min(end, self.breaks_after_bytes.get(name, end))
        await response.write(content[start:until])
        self.sent_bytes[name] = self.sent_bytes.get(name, 0) + max(0, until - start)
        if until < end:
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write_eof()
        return response
