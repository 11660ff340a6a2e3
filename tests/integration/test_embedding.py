"""The frame for other sites over HTTP: who may hold it, and what secrets its page gets; enforced on real calls."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.server import NoEngines, RunningServer, running_server
from tests.support.ws_client import WsClient

SECRETS = "/v1/realtime/client_secrets"
KEY = "a-server-key-of-some-length"
SHOP = "https://shop.example"
OTHER = "https://other.example"
ECHO = "?transport=echo"


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    """A public demo: it has a key, and the pages of one shop need none."""
    async with running_server(
        loaders=NoEngines(), api_key=KEY, allowed_origins=SHOP, public_pages=True, public_max_call_s=90
    ) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def mint(
    http: aiohttp.ClientSession, server: RunningServer, key: str = "", origin: str = "", **kame: Any
) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if origin:
        headers["Origin"] = origin
    async with http.post(server.url(SECRETS), headers=headers, json={"kame": kame} if kame else {}) as answer:
        return answer.status, await answer.json()


async def call(server: RunningServer, secret: str, origin: str | None) -> str:
    """Open a sound check with a secret; empty, or the code of the refusal."""
    headers = {"Authorization": f"Bearer {secret}"} | ({"Origin": origin} if origin else {})
    async with WsClient() as client:
        try:
            await client.connect(server.base_url, query=ECHO, headers=headers, microphone=False)
        except aiohttp.WSServerHandshakeError as refused:
            return str(refused.status)
        await client.hang_up()
    return ""


def ancestors(response: aiohttp.ClientResponse) -> set[str]:
    policy = response.headers["Content-Security-Policy"]
    [directive] = [entry for entry in policy.split("; ") if entry.startswith("frame-ancestors ")]
    return set(directive.split()[1:])


async def test_the_frame_is_for_pages_of_one_origin(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with http.get(server.url("/embed"), params={"origin": SHOP}) as response:
        assert response.status == 200
        assert ancestors(response) == {"'self'", SHOP}
        assert "microphone=(self)" in response.headers["Permissions-Policy"]
        assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert 'data-part="talk"' in await response.text()
    async with http.get(server.url("/embed")) as response:
        assert ancestors(response) == {"'self'", SHOP, "http://localhost:*", "http://127.0.0.1:*"}
    async with http.get(server.url("/embed"), headers={"Host": "voice.example"}) as response:
        assert ancestors(response) == {"'self'", SHOP}
    async with http.get(server.url("/embed?lang=de"), headers={"Accept-Language": "en"}) as response:
        assert '<html lang="de"' in await response.text()


@pytest.mark.parametrize("origin", [OTHER, "null", "https://shop.example; script-src *", "shop.example", "https://[b"])
async def test_other_origins_get_a_page_without_a_call(
    server: RunningServer, http: aiohttp.ClientSession, origin: str
) -> None:
    async with http.get(server.url("/embed"), params={"origin": origin}) as response:
        text = await response.text()
        assert response.status == 403
        assert ancestors(response) == {"*"}
        assert "script-src" not in response.headers["Content-Security-Policy"]
        assert "KAME_ALLOWED_ORIGINS" in text
        assert 'data-part="talk"' not in text


async def test_any_origin_may_where_the_operator_says_so(http: aiohttp.ClientSession) -> None:
    async with running_server(loaders=NoEngines(), allowed_origins="*") as server:
        async with http.get(server.url("/embed")) as response:
            assert "*" in ancestors(response)
        async with http.get(server.url("/embed"), params={"origin": OTHER}) as response:
            assert ancestors(response) == {"'self'", OTHER}  # still only the page that was named


async def test_the_widget_can_be_loaded_from_everywhere(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with http.get(server.url("/static/widget.js")) as response:
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert len(await response.read()) <= 30_000


async def test_public_pages_get_secrets_with_limits(server: RunningServer, http: aiohttp.ClientSession) -> None:
    status, own = await mint(http, server, origin=server.base_url)
    assert (status, "kame" in own) == (200, False)
    status, foreign = await mint(http, server, origin=SHOP, max_call_s=900)
    limits = {"origin": SHOP, "max_call_s": 90.0, "max_calls": 8, "max_tokens": 500_000}
    assert (status, foreign["kame"]) == (200, limits)
    status, framed = await mint(http, server, origin=server.base_url, embedder=SHOP)
    assert (status, framed["kame"]) == (200, limits | {"origin": server.base_url})
    status, body = await mint(http, server, origin=server.base_url, embedder=OTHER)
    assert (status, body["error"]["code"]) == (403, "origin_not_allowed")
    status, body = await mint(http, server, origin=OTHER)
    assert (status, body["error"]["code"]) == (403, "origin_not_allowed")


async def test_a_hosts_secret_is_exchanged_by_our_frame_on_its_own_pages_only(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    own = server.base_url
    _, minted = await mint(http, server, KEY, max_calls=2)
    assert "origin" not in minted["kame"]  # the key's owner decides
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"kame": {"origin": SHOP, "max_call_s": 30, "max_calls": 2}, "session": {"instructions": "Sell shoes."}}
    async with http.post(server.url(SECRETS), headers=headers, json=body) as answer:
        bound = await answer.json()
    assert bound["kame"] == {"origin": SHOP, "max_call_s": 30.0, "max_calls": 2}

    status, exchanged = await mint(http, server, bound["value"], origin=own, embedder=SHOP)
    assert (status, exchanged["expires_at"]) == (200, bound["expires_at"])
    assert exchanged["kame"] == bound["kame"] | {"origin": own}
    assert exchanged["session"]["instructions"] == "Sell shoes."
    for key, origin, embedder, code in (
        (bound["value"], own, OTHER, "origin_not_allowed"),  # our frame on another page
        (bound["value"], SHOP, SHOP, "client_secret_cannot_mint"),  # no page of ours
        (bound["value"], own, "", "client_secret_cannot_mint"),
        (minted["value"], OTHER, OTHER, "client_secret_cannot_mint"),
    ):
        status, refused = await mint(http, server, key, origin, **({"embedder": embedder} if embedder else {}))
        assert (status, refused["error"]["code"]) == (403, code)

    assert await call(server, exchanged["value"], OTHER) == "403"
    assert await call(server, exchanged["value"], None) == "403"
    assert await call(server, exchanged["value"], own) == ""
    assert await call(server, bound["value"], SHOP) == ""
    assert await call(server, exchanged["value"], own) == "403"  # both were calls of the host's secret, good for two


async def test_a_call_ends_when_its_secret_says_so(server: RunningServer, http: aiohttp.ClientSession) -> None:
    _, minted = await mint(http, server, KEY, max_call_s=1)
    async with WsClient() as client:
        headers = {"Authorization": f"Bearer {minted['value']}"}
        await client.connect(server.base_url, query=ECHO, headers=headers, microphone=False)
        trouble = await client.event("kame.trouble", 10)
        assert trouble["code"] == "call_time_limit"
        await client.closed.wait()
