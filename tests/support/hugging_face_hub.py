"""A Hugging Face Hub of one repository on loopback: what huggingface_hub asks for when it fetches a snapshot."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from aiohttp import web
from huggingface_hub import constants

_COMMIT = "c0ffee" + "0" * 34


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let huggingface_hub ask there instead of the real one."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


class Hub:
    """Serves the files of a folder as one model repository.

    Args:
        status: answered to everything instead, as a hub in trouble does.
        held: content of `model.bin` stops half-way until this is set.
    """

    def __init__(self, folder: Path, repository: str, *, status: int = 200, held: asyncio.Event | None = None) -> None:
        self._files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self._repository = repository
        self._status = status
        self._held = held
        self.url = ""
        self.requests = 0

    async def __aenter__(self) -> "Hub":
        app = web.Application(middlewares=[self._troubled])
        app.router.add_get(f"/api/models/{self._repository}", self._info)
        app.router.add_get(f"/api/models/{self._repository}/revision/{{revision}}", self._info)
        app.router.add_get(f"/api/models/{self._repository}/tree/{{revision}}", self._tree)
        app.router.add_get(f"/{self._repository}/resolve/{{revision}}/{{name}}", self._file)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _troubled(self, request: web.Request, handler: object) -> web.StreamResponse:
        self.requests += 1
        if self._status != 200:
            return web.Response(status=self._status)
        return await handler(request)  # type: ignore[operator, no-any-return]

    async def _info(self, request: web.Request) -> web.Response:
        siblings = [{"rfilename": name, "size": len(content)} for name, content in self._files.items()]
        return web.json_response({"id": self._repository, "sha": _COMMIT, "siblings": siblings})

    async def _tree(self, request: web.Request) -> web.Response:
        return web.json_response(
            [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self._files.items()
            ]
        )

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        content = self._files[name]
        headers = {"X-Repo-Commit": _COMMIT, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        response = web.StreamResponse(headers=headers)
        response.content_length = len(content)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        half = len(content) // 2
        await response.write(content[:half])
        if self._held is not None and name == "model.bin":
            await self._held.wait()
        await response.write(content[half:])
        await response.write_eof()
        return response
