"""The frame for other sites over HTTP: who may hold it, and what secrets its page gets; enforced on real calls."""

import ast
import base64
import json
import re
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.rtc_client import RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import NoEngines, RunningServer, running_server
from tests.support.ws_client import WsClient

SECRETS = "/v1/realtime/client_secrets"
CALLS = "/v1/realtime/calls"
KEY = "a-server-key-of-some-length"
SHOP = "https://shop.example"
OTHER = "https://other.example"
ECHO = "?transport=echo"
WIDGET = Path(__file__).resolve().parents[2] / "static" / "js" / "widget"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "widget.md"
EVERYBODY = {"max_call_s": 3600.0, "max_tokens": 1_000_000}
"""What a call may take that has no tighter limit."""


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


async def test_other_origins_get_a_page_without_a_call(server: RunningServer, http: aiohttp.ClientSession) -> None:
    for origin in (OTHER, "null", "https://shop.example; script-src *", "shop.example", "https://[b"):
        async with http.get(server.url("/embed"), params={"origin": origin}) as response:
            text = await response.text()
            assert response.status == 403, origin
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
        script = await response.text()
    named = re.search(r"PARTS = \[(.+)\];", script)
    assert named is not None
    parts = {f"{name}.js" for name in json.loads(f"[{named[1]}]")}
    assert parts == {path.name for path in WIDGET.iterdir()}
    texts: list[str] = []
    for path in ("/static/widget.js", *(f"/static/js/widget/{name}" for name in parts)):
        async with http.get(server.url(path)) as response:
            assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            texts.append(await response.text())
    assert {name for text in texts for name in re.findall(r' from "\./(.+)";', text)} <= parts
    assert sum(len(text.encode()) for text in texts) <= 30_000


async def test_public_pages_get_secrets_with_limits(server: RunningServer, http: aiohttp.ClientSession) -> None:
    status, own = await mint(http, server, origin=server.base_url)
    assert (status, own["kame"]) == (200, EVERYBODY | {"origin": server.base_url})
    status, foreign = await mint(http, server, origin=SHOP, max_call_s=900)
    limits = {"origin": SHOP, "max_call_s": 90.0, "max_calls": 8, "max_tokens": 500_000}
    assert (status, foreign["kame"]) == (200, limits)
    status, framed = await mint(http, server, origin=server.base_url, embedder=SHOP)
    assert (status, framed["kame"]) == (200, limits | {"origin": server.base_url})
    status, framed = await mint(http, server, origin=server.base_url, embedder="null")  # its browser does not tell
    assert (status, framed["kame"]) == (200, limits | {"origin": server.base_url})
    status, body = await mint(http, server, origin=server.base_url, embedder=OTHER)
    assert (status, body["error"]["code"]) == (403, "origin_not_allowed")
    status, body = await mint(http, server, origin=OTHER)
    assert (status, body["error"]["code"]) == (403, "origin_not_allowed")


async def test_a_call_of_a_foreign_page_without_a_secret_has_the_publics_limits(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    for origin, most_s in ((SHOP, 90), (server.base_url, 3600)):
        async with WsClient() as client, RtcClient() as other:
            await client.connect(server.base_url, query=ECHO, headers={"Origin": origin}, microphone=False)
            session = (await client.event("session.created"))["session"]
            assert most_s - 10 <= session["expires_at"] - time.time() <= most_s
            headers = {"Origin": origin, "Content-Type": "application/sdp"}
            async with http.post(server.url(CALLS + ECHO), data=await other.offer(), headers=headers) as answer:
                call = server.calls.get(answer.headers["Location"].rpartition("/")[2])
            assert call is not None
            assert call._time._limits.max_call_s == most_s


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
    assert bound["kame"] == {"origin": SHOP, "max_call_s": 30.0, "max_calls": 2, "max_tokens": 1_000_000}

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
        warning = await client.event("kame.ending", 10)
        assert (warning["reason"], warning["in_s"] <= 0.25) == ("time_limit", True)
        trouble = await client.event("kame.trouble", 10)
        assert trouble["code"] == "call_time_limit"
        await client.closed.wait()


async def test_a_secret_of_our_own_page_is_of_no_use_to_another(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    _, own = await mint(http, server, origin=server.base_url)
    assert await call(server, own["value"], SHOP) == "403"
    assert await call(server, own["value"], None) == "403"
    assert await call(server, own["value"], server.base_url) == ""


async def test_every_secret_says_what_it_is_good_for_and_no_less_than_the_server_allows(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    for key, origin, wished in (
        (KEY, "", {}),
        (KEY, "", {"max_call_s": 86_400, "max_tokens": 1_000_000_000}),
        ("", server.base_url, {"max_call_s": 86_400}),
    ):
        status, minted = await mint(http, server, key, origin, **wished)
        assert (status, minted["kame"]) == (200, EVERYBODY | ({"origin": origin} if origin else {}))
        assert minted["expires_at"] > 0


async def test_the_documented_request_for_a_secret_is_granted(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    [body] = re.findall(r"^        json=(\{.*?^        \}),$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    asked = ast.literal_eval(body)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with http.post(server.url(SECRETS), headers=headers, json=asked) as answer:
        granted = await answer.json()
    assert granted["kame"] == asked["kame"]
    assert granted["session"]["instructions"] == asked["session"]["instructions"]
    assert abs(granted["expires_at"] - time.time() - asked["expires_after"]["seconds"]) < 10


async def test_a_call_spends_no_more_tokens_than_its_secret_allows(http: aiohttp.ClientSession) -> None:
    async with running_server(loaders=ScriptedEar()) as server, WsClient() as client:
        async with http.post(server.url(SECRETS), json={"kame": {"max_tokens": 1}}) as answer:
            secret = (await answer.json())["value"]
        await client.connect(server.base_url, headers={"Authorization": f"Bearer {secret}"}, microphone=False)

        async def ask(question: str) -> None:
            content = [{"type": "input_text", "text": question}]
            item = {"type": "message", "role": "user", "content": content}
            await client.send({"type": "conversation.item.create", "item": item})
            await client.send({"type": "response.create"})

        await ask("what is two plus two")
        await client.event("kame.candidate.finished", 20)
        await client.send({"type": "response.cancel"})
        await client.event("response.done", 20)
        await ask("what is three plus three")
        failed = await client.event("kame.candidate.failed", 20)
        assert failed["code"] == "llm_rate_limited"


async def test_no_key_of_the_operator_is_in_anything_a_browser_gets(http: aiohttp.ClientSession) -> None:
    names = ("api_key", "metrics_key", "openai_api_key", "llm_fallback_api_key", "speech_api_key", "turn_secret")
    keys: dict[str, Any] = {name: f"operators-own-{name}-1f6b" for name in names}
    ice = json.dumps([{"urls": ["turn:127.0.0.1:9?transport=tcp"]}])
    got: list[str] = []

    async def look(method: str, url: str, **more: Any) -> None:
        async with http.request(method, url, **more) as answer:
            got.append(f"{method} {url} {answer.status} {dict(answer.headers)} {await answer.text()}")

    async with running_server(
        loaders=NoEngines(),
        allowed_origins=SHOP,
        public_pages=True,
        ice_servers=ice,
        otlp_headers="x=operators-own-otlp",
        otlp_endpoint="http://127.0.0.1:9",
        llm_fallbacks="offline",
        **keys,
    ) as server:
        paths = {route.resource.canonical for route in server.app.router.routes() if route.resource is not None}
        files = [path.relative_to(WIDGET.parents[1]) for path in WIDGET.parents[1].rglob("*") if path.is_file()]
        paths = {path for path in paths if "{" not in path} | {f"/static/{path.as_posix()}" for path in files}
        assert {"/", "/embed", "/widget", "/status", "/readyz", "/metrics"} <= paths
        page = {"Origin": server.base_url}
        for path in sorted(paths):
            for headers in ({}, page, {"Origin": OTHER}, {"Authorization": "Bearer wrong"}):
                await look("GET", server.url(path), headers=headers)
        await look("POST", server.url(SECRETS), headers={"Authorization": f"Bearer {keys['api_key']}"}, json={})
        await look("POST", server.url("/v1/realtime/calls"), headers={"Authorization": f"Bearer {keys['api_key']}x"})
        _, minted = await mint(http, server, keys["api_key"])
        padded = minted["value"].removeprefix("ek_") + "=="
        body = base64.urlsafe_b64decode(padded)
        got.append(repr(body))
        for start in range(len(body)):
            with suppress(zlib.error):  # the part of it that anybody can read
                got.append(zlib.decompress(body[start:]).decode())
        async with WsClient() as client:
            await client.connect(
                server.base_url, query=ECHO, headers={"Authorization": f"Bearer {minted['value']}"}, microphone=False
            )
            await client.event("session.created")
            got.append(json.dumps(client.events))
    assert any('"session"' in one and '"allowance"' in one for one in got)  # the secret was read
    assert [one[:60] for one in got if "operators-own" in one] == []
