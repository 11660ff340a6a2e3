"""The page that other sites hold in a frame (`/embed`), and the one that writes the lines for them to copy (`/widget`).

Who may hold the frame is said to the browser with `frame-ancestors` (CSP level 3), for the very origin that the frame
then talks to; pages of other origins get a page that says what is missing, and calls nobody.
"""

from collections.abc import Callable, Sequence

from aiohttp import web
from aiohttp.hdrs import ACCEPT_ENCODING, ACCEPT_LANGUAGE, VARY

from app.origins import both_here, web_origin
from app.pages import PAGE_HEADERS, Pages, StaticFile, chosen_language

FRAME_HEADERS = {
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    # Pages that isolate themselves (COEP) take only frames that do so, too.
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
POLICY = (
    "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors "
)
LOCAL = "http://localhost"
FRAME_STYLES = ("css/1-base.css", "css/2-page.css", "css/3-dock.css", "css/4-captions.css", "css/embed/embed.css")
BUILDER_STYLES = ("css/1-base.css", "css/2-page.css", "css/6-sheet.css", "css/embed/builder.css")


class EmbedPages:
    """Both pages.

    Args:
        pages: renders them.
        may_embed: whether pages of an origin may hold the frame of a server with this `Host`.
        origins: those that may, besides the server's own; `*`: any.
    """

    def __init__(self, pages: Pages, may_embed: Callable[[str, str], bool], origins: Sequence[str]) -> None:
        self._may_embed = may_embed
        self._ancestors = "*" if "*" in origins else " ".join(["'self'", *origins])
        languages = pages.languages
        self._frames = {code: pages.page("embed.html", "js/embed.js", code, FRAME_STYLES) for code in languages}
        self._refusals = {
            code: pages.page("embed_refused.html", "js/embed_refused.js", code, FRAME_STYLES) for code in languages
        }
        self._builders = {
            code: pages.page("widget.html", "js/embed_builder.js", code, BUILDER_STYLES) for code in languages
        }

    def routes(self) -> list[web.RouteDef]:
        """Both pages."""
        return [web.get("/embed", self.frame), web.get("/widget", self.builder)]

    async def frame(self, request: web.Request) -> web.Response:
        """The page in a frame; `?origin=` names the page around it."""
        named = request.query.get("origin", "")
        origin = web_origin(named)
        if not named:
            developer = " http://localhost:* http://127.0.0.1:*" if both_here(LOCAL, request.host) else ""
            return _answer(request, self._frames, self._ancestors + developer)
        if origin is None or not self._allows(origin, request):
            response = _answer(request, self._refusals, "*")  # there is nothing in it that a foreign page could use
            if response.status == 200:
                response.set_status(403)
            return response
        return _answer(request, self._frames, f"'self' {origin}")

    async def builder(self, request: web.Request) -> web.Response:
        """The page that writes the lines to copy."""
        response = _answer(request, self._builders, "'self'")
        response.headers.update(PAGE_HEADERS)
        return response

    def _allows(self, origin: str, request: web.Request) -> bool:
        # A proxy may have changed `Host`; then the browser still vouches for a page of our own.
        return self._may_embed(origin, request.host) or request.headers.get("Sec-Fetch-Site") == "same-origin"


def _answer(request: web.Request, rendered: dict[str, StaticFile], ancestors: str) -> web.Response:
    wished, accepted = request.query.get("lang", ""), request.headers.get(ACCEPT_LANGUAGE, "")
    response = rendered[chosen_language(wished, accepted, tuple(rendered))].respond(request, "no-cache")
    response.headers[VARY] = f"{ACCEPT_ENCODING}, {ACCEPT_LANGUAGE}"
    response.headers.update(FRAME_HEADERS)
    response.headers["Content-Security-Policy"] = POLICY + ancestors
    return response
