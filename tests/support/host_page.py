"""A site of somebody else's, on an origin of its own, with the widget on its page and a back end that mints secrets."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from playwright.async_api import Frame, Page

EVENTS = (
    *("ready", "call", "state", "call-start", "call-end", "user-transcript", "agent-transcript"),
    *("volume", "muted", "error", "resize"),
)
LISTENER = """
window.told = [];
for (const type of EVENTS) {
  document.addEventListener(`kame-voice:${type}`, (event) => {
    window.told.push({type, id: event.target.id, detail: structuredClone(event.detail)});
  });
}
window.plain = [];
window.addEventListener('message', ({data, origin}) => {
  if (data && data.source === 'kame-voice') window.plain.push({origin, ...data});
});
document.addEventListener('securitypolicyviolation', (event) => {
  window.told.push({type: 'violation', detail: `${event.violatedDirective} ${event.blockedURI}`});
});
""".replace("EVENTS", json.dumps(EVENTS))


@dataclass(slots=True)
class HostPage:
    """The site. What is on its page, and with which headers, may be changed at any time."""

    server: str
    """Base address of the voice server."""
    base_url: str = ""
    body: str = "<kame-voice></kame-voice>"
    style: str = ""
    """Further CSS of its own."""
    direction: str = "ltr"
    headers: dict[str, str] = field(default_factory=dict)
    secret_request: Mapping[str, Any] = field(default_factory=dict)
    """What its back end asks secrets for."""
    server_key: str = ""
    minted: int = 0

    async def page(self, _: web.Request) -> web.Response:
        """Its one page."""
        html = (
            f'<!doctype html><html lang="en" dir="{self.direction}"><head><meta charset="utf-8"><title>Shop</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<link rel="icon" href="/icon.svg">'
            '<link rel="stylesheet" href="/shop.css">'
            '<script src="/listener.js"></script>'
            f'<script async src="{self.server}/static/widget.js"></script></head>'
            "<body><main><h1>A shop</h1><p>Shoes of all sizes, and somebody to ask.</p>"
            f"{self.body}</main></body></html>"
        )
        return web.Response(text=html, content_type="text/html", headers=self.headers)

    async def token(self, _: web.Request) -> web.Response:
        """Mint a client secret with the server's key, as a host's back end does."""
        self.minted += 1
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.server_key}"}) as http,
            http.post(f"{self.server}/v1/realtime/client_secrets", json=dict(self.secret_request)) as answer,
        ):
            return web.json_response(await answer.json(), status=answer.status)


@asynccontextmanager
async def host_page(server: str, *, name: str = "127.0.0.1", **changes: Any) -> AsyncIterator[HostPage]:
    """The site, served on loopback.

    Args:
        server: base address of the voice server.
        name: the host name people open it by.
        changes: fields of `HostPage`.
    """
    host = HostPage(server, **changes)

    async def file(request: web.Request) -> web.Response:
        style = STYLE + host.style
        kinds = {"js": ("text/javascript", LISTENER), "svg": ("image/svg+xml", ""), "css": ("text/css", style)}
        kind, text = kinds[request.match_info["kind"]]
        return web.Response(text=text, content_type=kind)

    app = web.Application()
    app.add_routes(
        [
            web.get("/", host.page),
            web.post("/voice-token", host.token),
            web.get("/{name}.{kind:js|svg|css}", file),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host.base_url = f"http://{name}:{runner.addresses[0][1]}"
        yield host
    finally:
        await runner.cleanup()


STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; padding: 2rem; font: 1rem/1.5 Georgia, serif; background: light-dark(#fff, #222); }
"""


STANDS_STILL = """async () => {
  const places = () => JSON.stringify([...document.querySelectorAll('kame-voice')].map((one) =>
      one.shadowRoot.querySelector('iframe')?.getBoundingClientRect()));
  for (let before = '', same = 0; same < 3; before = places()) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    same = places() === before ? same + 1 : 0;
  }
}"""


async def frames(page: Page, count: int = 1, *, talking: bool = True) -> list[Frame]:
    """The widget's frames on a page, once there are so many and each, with `talking`, is ready to be talked to."""
    await page.wait_for_function("(n) => [...document.querySelectorAll('kame-voice')].length >= n", arg=count)
    while True:
        found = [frame for frame in page.frames if "/embed" in frame.url]
        if len(found) >= count:
            break
        await page.wait_for_timeout(50)
    for frame in found if talking else ():
        await frame.locator("[data-testid=talk]:not([disabled])").wait_for(timeout=60_000)
    await page.evaluate(STANDS_STILL)  # clicks go to where a frame was
    return found


NEWS = "told.filter(({type}) => !['volume', 'resize'].includes(type))"


async def told(page: Page, kind: str, condition: str = "true", timeout_s: float = 20.0) -> dict[str, Any]:
    """The first event of a kind whose detail `d` fits a JavaScript condition."""
    found = f"window.told.find(({{type, detail: d}}) => type === '{kind}' && ({condition}))"
    try:
        await page.wait_for_function(f"() => {found}", timeout=timeout_s * 1000)
    except Exception as error:
        raise AssertionError(f"never: {kind} {condition}; {await page.evaluate(NEWS)}") from error
    event: dict[str, Any] = await page.evaluate(found)
    return event
