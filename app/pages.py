"""The pages and their static files, served from memory.

aiohttp's own static routes read files on asyncio's default executor, which belongs to the voice; so everything under
`static/` (some hundred kilobytes) is read and compressed once, at start.
"""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

import jinja2
from aiohttp import web
from aiohttp.hdrs import ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, VARY

from kame_core.errors import UnavailableError

ROOT = Path(__file__).resolve().parent.parent
MAX_STATIC_BYTES = 8 * 2**20
COMPRESSIBLE = ("text/", "application/json", "application/javascript", "application/manifest", "image/svg")
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'self'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file in memory."""

    content_type: str
    plain: bytes
    zipped: bytes | None
    """gzip; None where it would not be smaller."""
    etag: str

    def respond(self, request: web.Request, cache_control: str) -> web.Response:
        """The whole file, or 304 where the client has it already."""
        headers = {ETAG: self.etag, CACHE_CONTROL: cache_control, VARY: ACCEPT_ENCODING}
        known = (tag.strip().removeprefix("W/") for tag in request.headers.get(IF_NONE_MATCH, "").split(","))
        if self.etag in known:
            return web.Response(status=304, headers=headers)
        body = self.plain
        if self.zipped is not None and _accepts_gzip(request.headers.get(ACCEPT_ENCODING, "")):
            headers[CONTENT_ENCODING] = "gzip"
            body = self.zipped
        return web.Response(body=body, headers=headers | {"Content-Type": self.content_type})


def _accepts_gzip(header: str) -> bool:
    for entry in header.split(","):
        name, _, parameter = entry.strip().partition(";")
        if name.strip().lower() in ("gzip", "*"):
            return parameter.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def static_file(path: Path) -> StaticFile:
    """Read and compress one file."""
    plain = path.read_bytes()
    content_type = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    zipped = gzip.compress(plain, 9, mtime=0) if content_type.startswith(COMPRESSIBLE) else None
    if content_type.startswith("text/"):
        content_type += "; charset=utf-8"
    return StaticFile(
        content_type,
        plain,
        zipped if zipped is not None and len(zipped) < len(plain) else None,
        f'"{hashlib.sha256(plain).hexdigest()[:20]}"',
    )


class StaticFiles:
    """Everything under one directory, in memory; a page asks for `url(path)`, which changes with the content."""

    def __init__(self, root: Path) -> None:
        self._files: dict[str, StaticFile] = {}
        total = 0
        for path in sorted(root.rglob("*")):
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
                file = static_file(path)
                total += len(file.plain)
                self._files[path.relative_to(root).as_posix()] = file
        if total > MAX_STATIC_BYTES:
            raise UnavailableError(
                f"static/ holds {total} bytes and is kept in memory; keep it under {MAX_STATIC_BYTES} bytes.",
                code="static_too_large",
            )

    def url(self, path: str) -> str:
        """Where a file is served; unknown ones get a plain address, which answers 404."""
        return f"/static/{path.lstrip('/')}"

    def routes(self) -> list[web.RouteDef]:
        """One route for all files."""
        return [web.get("/static/{path:.+}", self.get), web.get("/favicon.ico", self.favicon)]

    async def get(self, request: web.Request) -> web.Response:
        """A file from memory; modules import one another by plain names, so clients revalidate by ETag."""
        file = self._files.get(request.match_info["path"])
        if file is None:
            raise web.HTTPNotFound(text="There is no such file.")
        return file.respond(request, "no-cache")

    async def favicon(self, request: web.Request) -> web.Response:
        """The icon, for browsers that do not look at the page's own link."""
        for name in ("favicon.ico", "favicon.svg", "icons/favicon.svg", "icon.svg"):
            if name in self._files:
                return self._files[name].respond(request, "max-age=86400")
        return web.Response(status=204, headers={CACHE_CONTROL: "max-age=86400"})


class Pages:
    """The pages, rendered once: nothing on them depends on who asks."""

    def __init__(self, version: str, examples: tuple[str, ...], root: Path = ROOT) -> None:
        self.static = StaticFiles(root / "static")
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(root / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
        )
        html = environment.get_template("talk.html").render(
            app_name="KAME voice", version=version, examples=list(examples), static=self.static.url
        )
        self._talk = html.encode()
        self._etag = f'"{hashlib.sha256(self._talk).hexdigest()[:20]}"'

    def routes(self) -> list[web.RouteDef]:
        """The page, the static files, the icon."""
        return [web.get("/", self.talk), *self.static.routes()]

    async def talk(self, request: web.Request) -> web.Response:
        """The page to talk on."""
        file = StaticFile("text/html; charset=utf-8", self._talk, None, self._etag)
        response = file.respond(request, "no-cache")
        response.headers.update(PAGE_HEADERS)
        return response
