"""The pages and their static files, served from memory.

aiohttp's own static routes read files on asyncio's default executor, which belongs to the voice; so everything under
`static/` (some hundred kilobytes) is read and compressed once, at start.
"""

import gzip
import hashlib
import json
import mimetypes
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web
from aiohttp.hdrs import (
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    ETAG,
    IF_NONE_MATCH,
    VARY,
)

from kame_core.errors import UnavailableError

ROOT = Path(__file__).resolve().parent.parent
MAX_STATIC_BYTES = 8 * 2**20
COMPRESSIBLE = ("text/", "application/json", "application/javascript", "application/manifest", "image/svg")
DEFAULT_LANGUAGE = "en"
"""Language of the page where a browser asks for none that is there; every other file of `i18n/` follows its keys."""
_IMPORT = re.compile(r"""^(?:import|export)\b[^;"']*["'](\.{1,2}/[^"']+)["'];""", re.MULTILINE)
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

    def text(self, path: str) -> str:
        """A file's text; empty where there is no such file."""
        file = self._files.get(path)
        return file.plain.decode() if file else ""

    def under(self, folder: str) -> list[str]:
        """The paths of all files in a folder, sorted."""
        return [path for path in self._files if posixpath.dirname(path) == folder]

    def imports(self, module: str) -> list[str]:
        """The modules that a module imports, directly or not, without itself: what a page should ask for at once."""
        found: list[str] = []
        waiting = [module]
        while waiting:
            here = waiting.pop()
            for relative in _IMPORT.findall(self.text(here)):
                path = posixpath.normpath(posixpath.join(posixpath.dirname(here), relative))
                if path in self._files and path not in found and path != module:
                    found.append(path)
                    waiting.append(path)
        return sorted(found)

    def routes(self) -> list[web.RouteDef]:
        """One route for all files."""
        return [web.get("/static/{path:.+}", self.get), web.get("/favicon.ico", self.favicon)]

    async def get(self, request: web.Request) -> web.Response:
        """A file from memory; modules import one another by plain names, so clients revalidate by ETag."""
        file = self._files.get(request.match_info["path"])
        if file is None:
            raise web.HTTPNotFound(text="There is no such file.")
        response = file.respond(request, "no-cache")
        # Pages of other origins load the widget, also those that isolate themselves (COEP) or check hashes (SRI).
        response.headers.update({"Cross-Origin-Resource-Policy": "cross-origin", "Access-Control-Allow-Origin": "*"})
        return response

    async def favicon(self, request: web.Request) -> web.Response:
        """The icon, for browsers that do not look at the page's own link."""
        for name in ("favicon.ico", "favicon.svg", "icons/favicon.svg", "icon.svg"):
            if name in self._files:
                return self._files[name].respond(request, "max-age=86400")
        return web.Response(status=204, headers={CACHE_CONTROL: "max-age=86400"})


@dataclass(frozen=True, slots=True)
class Offer:
    """What a person may choose on the page."""

    voices: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    """Languages (first part of the tag) that are understood; empty: many, or not known."""
    language: str = DEFAULT_LANGUAGE
    """The one that is spoken unless another is chosen."""
    presets: tuple[Mapping[str, str], ...] = ()
    """Roles, each with `id`, `name` and `note`."""

    def as_json(self) -> dict[str, object]:
        """The body of `/offer`."""
        return {
            "voices": list(self.voices),
            "languages": list(self.languages),
            "language": self.language,
            "presets": [dict(preset) for preset in self.presets],
        }


class Pages:
    """The pages, rendered once in each language: nothing else on them depends on who asks.

    Args:
        version: shown in the settings.
        examples: questions to begin with.
        offer: what may be chosen at this moment; more once the engines are loaded.
        root: the folder of `static/` and `templates/`.
    """

    def __init__(
        self,
        version: str,
        examples: tuple[str, ...],
        offer: Callable[[], Offer] = Offer,
        root: Path = ROOT,
    ) -> None:
        self.static = StaticFiles(root / "static")
        self._offer = offer
        self._texts: dict[str, Any] = {
            posixpath.splitext(posixpath.basename(path))[0]: json.loads(self.static.text(path))
            for path in self.static.under("i18n")
        }
        if DEFAULT_LANGUAGE not in self._texts:
            raise FileNotFoundError(f"static/i18n/{DEFAULT_LANGUAGE}.json is missing")
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(root / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._shared = {
            "app_name": "KAME voice",
            "version": version,
            "examples": list(examples),
            "spoken_language": DEFAULT_LANGUAGE,
            "languages": [(code, texts["language"]) for code, texts in self._texts.items()],
            "static": self.static.url,
        }
        styles = self.static.under("css")
        self._talk = {code: self.page("talk.html", "js/main.js", code, styles) for code in self._texts}

    @property
    def languages(self) -> tuple[str, ...]:
        """Those the pages are there in."""
        return tuple(self._texts)

    def page(self, template: str, module: str, code: str, styles: Sequence[str]) -> StaticFile:
        """A page in one language, rendered.

        Args:
            template: of `templates/`.
            module: the script it begins with; what that imports is asked for at once.
            code: the language.
            styles: paths under `static/`, in order.
        """
        html = self._environment.get_template(template).render(
            self._shared,
            lang=code,
            t=self._texts[code],
            styles=styles,
            modules=self.static.imports(module),
        )
        plain = html.encode()
        etag = f'"{hashlib.sha256(plain).hexdigest()[:20]}"'
        return StaticFile("text/html; charset=utf-8", plain, gzip.compress(plain, 9, mtime=0), etag)

    def routes(self) -> list[web.RouteDef]:
        """The page, what may be chosen on it, the static files, the icon."""
        return [web.get("/", self.talk), web.get("/offer", self.offer), *self.static.routes()]

    async def talk(self, request: web.Request) -> web.Response:
        """The page to talk on, in the language of `?lang=` or else the browser's."""
        code = chosen_language(
            request.query.get("lang", ""), request.headers.get(ACCEPT_LANGUAGE, ""), tuple(self._talk)
        )
        response = self._talk[code].respond(request, "no-cache")
        response.headers[VARY] = f"{ACCEPT_ENCODING}, {ACCEPT_LANGUAGE}"
        response.headers.update(PAGE_HEADERS)
        return response

    async def offer(self, _: web.Request) -> web.Response:
        """What may be chosen."""
        return web.json_response(self._offer().as_json(), headers={CACHE_CONTROL: "no-store"})


def chosen_language(wished: str, accepted: str, offered: tuple[str, ...]) -> str:
    """The page's language.

    Args:
        wished: a tag the person chose; empty or unknown: none.
        accepted: the browser's `Accept-Language` (RFC 9110 section 12.5.4).
        offered: languages the page is there in.
    """
    ranked: list[tuple[float, str]] = []
    for entry in accepted.split(","):
        tag, _, parameter = entry.partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        ranked.append((quality, tag))
    ranked.sort(key=lambda one: -one[0])
    for tag in (wished, *(tag for quality, tag in ranked if quality > 0)):
        base = tag.strip().partition("-")[0].lower()
        if base in offered:
            return base
    return DEFAULT_LANGUAGE
