"""The server's HTTP, with no call in it: pages, health, keys, cross-origin rules, and every kind of bad body."""

import gzip
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from app.admission import ClientSecrets, signing_key_of
from tests.support.server import NoEngines, RunningServer, running_server

CALLS = "/v1/realtime/calls"
SECRETS = "/v1/realtime/client_secrets"
MAIN_JS = Path(__file__).resolve().parents[2] / "static" / "js" / "main.js"
KEY = "a-server-key-of-some-length"


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server(loaders=NoEngines()) as running:
        yield running


@pytest.fixture
async def keyed() -> AsyncIterator[RunningServer]:
    async with running_server(loaders=NoEngines(), api_key=KEY) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


async def error_of(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The error object, after checking that it has OpenAI's shape."""
    body = await response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["message"].endswith((".", "!"))
    return error


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# --- pages ---


async def test_the_page_is_complete_and_may_use_the_microphone(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    async with http.get(server.url("/"), headers={"Accept-Encoding": "identity"}) as response:
        html = await response.text()
        assert response.status == 200
        assert response.content_type == "text/html"
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert "microphone=(self)" in response.headers["Permissions-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        etag = response.headers["ETag"]
    linked = re.findall(r'(?:src|href)="(/static/[^"]+)"', html)
    assert linked
    for path in linked:
        async with http.get(server.url(path)) as response:
            assert response.status == 200, path
    async with http.get(server.url("/"), headers={"If-None-Match": etag}) as response:
        assert response.status == 304


async def test_static_files_are_compressed_typed_and_revalidated(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    async with http.get(server.url("/static/js/main.js"), headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.content_type == "text/javascript"  # modules are refused with any other
        assert gzip.decompress(await response.read()) == MAIN_JS.read_bytes()
        etag = response.headers["ETag"]
    async with http.get(server.url("/static/js/main.js"), headers={"Accept-Encoding": "identity"}) as response:
        assert "Content-Encoding" not in response.headers
        assert await response.read() == MAIN_JS.read_bytes()
    async with http.get(server.url("/static/js/main.js"), headers={"If-None-Match": f'"x", W/{etag}'}) as response:
        assert response.status == 304
        assert await response.read() == b""


@pytest.mark.parametrize(
    "path", ["/static/nothing.js", "/static/../app/settings.py", "/static/%2e%2e/LICENSE", "/nothing"]
)
async def test_other_paths_are_not_found(server: RunningServer, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(server.url(path)) as response:
        assert response.status == 404


async def test_readiness_says_what_failed(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with http.get(server.url("/readyz")) as response:
        body = await response.json()
        assert response.status == 503
    assert body["ready"] is False
    parts = {part["name"]: part for part in body["parts"]}
    assert set(parts) == {"frontend", "stt", "tts", "llm", "ice"}
    assert parts["ice"]["state"] == "ready"
    assert parts["tts"] == {
        "name": "tts",
        "title": "Text-to-speech",
        "choice": "",
        "state": "failed",
        "progress": None,
        "note": "No voice in this test.",
    }


async def test_the_page_learns_the_same_without_an_error(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with http.get(server.url("/readyz")) as ready, http.get(server.url("/status")) as status:
        assert (ready.status, status.status) == (503, 200)
        assert await ready.json() == await status.json()


async def test_health_counts(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with http.get(server.url("/healthz")) as response:
        body = await response.json()
        assert response.status == 200
    assert body["calls"] == {"open": 0, "capacity": 8, "refused": 0, "conversations": 0}
    assert body["loop_lag_ms"]["worst"] >= 0


# --- bad bodies ---


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/sdp", b"", 400, "invalid_sdp"),
        ("application/sdp", b"hello", 400, "invalid_sdp"),
        ("application/sdp", b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", 400, "no_audio"),
        ("application/sdp", b"v=0\r\nm=audio\r\n", 400, "invalid_sdp"),
        ("application/sdp", b"\xff\xfe", 400, "invalid_encoding"),
        ("application/sdp", b"v" * 70_000, 413, "request_too_large"),
        ("application/sdp", b"v" * 1_000_000, 413, "request_too_large"),
        ("text/plain", b"v=0", 415, "unsupported_media_type"),
        ("application/octet-stream", b"v=0", 415, "unsupported_media_type"),
        ("application/json", b"{", 400, "invalid_json"),
        ("application/json", b"[]", 400, "invalid_type"),
        ("application/json", b"{}", 400, "missing_required_parameter"),
        ("application/json", b'{"sdp": 5}', 400, "missing_required_parameter"),
        ("application/json", b"[" * 60_000, 400, "invalid_json"),
        ("multipart/form-data", b"--x--", 400, "invalid_form"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400, "invalid_form"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="session"\r\n\r\n{}\r\n--x--\r\n',
            400,
            "missing_required_parameter",
        ),
        ("multipart/form-data; boundary=x", b"garbage", 400, "invalid_form"),
    ],
)
async def test_bad_offers_get_a_precise_error_and_leave_nothing(
    server: RunningServer, http: aiohttp.ClientSession, content_type: str, body: bytes, status: int, code: str
) -> None:
    url = server.url(CALLS + "?transport=echo")
    async with http.post(url, data=body, headers={"Content-Type": content_type}) as response:
        error = await error_of(response)
        assert (response.status, error["code"]) == (status, code)
        assert error["type"] == "invalid_request_error"
    assert server.calls.count == 0


async def test_a_form_with_a_broken_session_names_it(server: RunningServer, http: aiohttp.ClientSession) -> None:
    form = aiohttp.FormData()
    form.add_field("sdp", "v=0", content_type="application/sdp")
    form.add_field("session", '{"type": ', content_type="application/json")
    async with http.post(server.url(CALLS), data=form) as response:
        error = await error_of(response)
        assert (response.status, error["code"]) == (400, "invalid_json")
        assert "session" in error["message"]


async def test_an_unknown_transport_is_refused(server: RunningServer, http: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/sdp"}
    async with http.post(server.url(CALLS + "?transport=pigeon"), data=b"v=0", headers=headers) as response:
        assert (response.status, (await error_of(response))["param"]) == (400, "transport")


async def test_unknown_calls_are_not_found(server: RunningServer, http: aiohttp.ClientSession) -> None:
    for method, path in (("DELETE", "/rtc_x"), ("PATCH", "/rtc_x"), ("POST", "/rtc_x/hangup")):
        headers = {"Content-Type": "application/trickle-ice-sdpfrag"}
        async with http.request(method, server.url(CALLS + path), data=b"a=mid:0", headers=headers) as response:
            assert (response.status, (await error_of(response))["code"]) == (404, "call_not_found")


async def test_wrong_methods_and_paths_have_the_api_shape(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with http.get(server.url(CALLS)) as response:
        assert (response.status, (await error_of(response))["code"]) == (405, "method_not_allowed")
        assert "POST" in response.headers["Allow"]
    async with http.get(server.url("/v1/models")) as response:
        assert (response.status, (await error_of(response))["code"]) == (404, "not_found")


async def test_calls_wait_for_engines(server: RunningServer, http: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/sdp"}
    async with http.post(server.url(CALLS), data=b"v=0", headers=headers) as response:
        error = await error_of(response)
        assert (response.status, error["code"], error["type"]) == (503, "engine_failed", "server_error")
        assert "No front end in this test." in error["message"]


# --- keys ---


async def test_a_client_secret_begins_with_ek_and_carries_its_session(
    server: RunningServer, http: aiohttp.ClientSession
) -> None:
    body = {
        "expires_after": {"anchor": "created_at", "seconds": 60},
        "session": {"type": "realtime", "instructions": "Be brief.", "kame": {"mode": "direct"}},
    }
    async with http.post(server.url(SECRETS), json=body) as response:
        answer = await response.json()
        assert response.status == 200
    assert answer["value"].startswith("ek_")
    assert 55 <= answer["expires_at"] - time.time() <= 62
    assert answer["session"]["type"] == "realtime"
    assert answer["session"]["instructions"] == "Be brief."
    assert answer["session"]["kame"]["mode"] == "direct"


async def test_the_body_of_a_client_secret_may_be_left_out(server: RunningServer, http: aiohttp.ClientSession) -> None:
    async with http.post(server.url(SECRETS)) as response:
        assert response.status == 200
        assert 590 <= (await response.json())["expires_at"] - time.time() <= 602


@pytest.mark.parametrize(
    "body",
    [
        {"expires_after": {"seconds": 5}},
        {"expires_after": {"seconds": 100_000}},
        {"expires_after": {"seconds": "600"}},
        {"expires_after": {"anchor": "last_used", "seconds": 60}},
        {"session": []},
        {"session": {"type": "transcription"}},
        {"session": {"kame": {"mode": "sideways"}}},
    ],
)
async def test_bad_wishes_for_a_client_secret_are_refused(
    server: RunningServer, http: aiohttp.ClientSession, body: dict[str, Any]
) -> None:
    async with http.post(server.url(SECRETS), json=body) as response:
        error = await error_of(response)
        assert response.status == 400
        assert error["param"]


async def test_a_server_with_a_key_wants_it(keyed: RunningServer, http: aiohttp.ClientSession) -> None:
    for method, path in (("POST", CALLS), ("POST", SECRETS), ("GET", "/v1/realtime/ice-servers")):
        async with http.request(method, keyed.url(path)) as response:
            assert (response.status, (await error_of(response))["code"]) == (401, "missing_api_key")
            assert response.headers["WWW-Authenticate"] == "Bearer"
        async with http.request(method, keyed.url(path), headers=bearer("wrong")) as response:
            assert (response.status, (await error_of(response))["code"]) == (401, "invalid_api_key")
    async with http.get(keyed.url("/v1/realtime/ice-servers"), headers=bearer(KEY)) as response:
        assert (response.status, await response.json()) == (200, {"ice_servers": []})


async def test_a_client_secret_opens_calls_but_mints_none(keyed: RunningServer, http: aiohttp.ClientSession) -> None:
    async with http.post(keyed.url(SECRETS), headers=bearer(KEY)) as response:
        secret = (await response.json())["value"]
    async with http.post(keyed.url(SECRETS), headers=bearer(secret)) as response:
        assert (response.status, (await error_of(response))["code"]) == (403, "client_secret_cannot_mint")
    headers = bearer(secret) | {"Content-Type": "application/sdp"}
    async with http.post(keyed.url(CALLS + "?transport=echo"), data=b"v=0", headers=headers) as response:
        assert response.status == 400  # let in: the offer was looked at
    headers = bearer(secret[:-4] + "AAAA") | {"Content-Type": "application/sdp"}
    async with http.post(keyed.url(CALLS + "?transport=echo"), data=b"v=0", headers=headers) as response:
        assert (response.status, (await error_of(response))["code"]) == (401, "invalid_api_key")


async def test_an_expired_client_secret_is_told_apart(keyed: RunningServer, http: aiohttp.ClientSession) -> None:
    signing_key = signing_key_of(SecretStr(KEY))  # the same in every process
    an_hour_ago = ClientSecrets(signing_key, lambda: time.time() - 3600)
    headers = bearer(an_hour_ago.mint({}, 60).value) | {"Content-Type": "application/sdp"}
    async with http.post(keyed.url(CALLS), data=b"v=0", headers=headers) as response:
        assert (response.status, (await error_of(response))["code"]) == (401, "expired_api_key")


# --- other origins ---


async def test_preflights_pass_for_openais_sdk(server: RunningServer, http: aiohttp.ClientSession) -> None:
    asked = "authorization,content-type,x-openai-agents-sdk"
    headers = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    for path in (CALLS, CALLS + "/rtc_x", SECRETS, "/v1/realtime/ice-servers"):
        async with http.options(server.url(path), headers=headers) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
            allowed = response.headers["Access-Control-Allow-Headers"].replace(" ", "").split(",")
            assert set(asked.split(",")) <= set(allowed)
            assert {"POST", "PATCH", "DELETE"} <= set(response.headers["Access-Control-Allow-Methods"].split(", "))


async def test_foreign_pages_need_a_key_and_can_read_why(server: RunningServer, http: aiohttp.ClientSession) -> None:
    headers = {"Origin": "https://shop.example", "Content-Type": "application/sdp"}
    async with http.post(server.url(CALLS + "?transport=echo"), data=b"v=0", headers=headers) as response:
        assert (response.status, (await error_of(response))["code"]) == (403, "origin_not_allowed")
        assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "Location" in response.headers["Access-Control-Expose-Headers"]
    async with http.post(server.url(SECRETS)) as response:
        secret = (await response.json())["value"]
    async with http.post(
        server.url(CALLS + "?transport=echo"), data=b"v=0", headers=headers | bearer(secret)
    ) as response:
        assert response.status == 400  # the key is the permission


async def test_own_and_neighbouring_pages_need_none(server: RunningServer, http: aiohttp.ClientSession) -> None:
    for origin in (server.base_url, "http://localhost:5173"):
        async with http.post(server.url(SECRETS), headers={"Origin": origin}) as response:
            assert response.status == 200, origin
    behind_a_proxy = {"Origin": "https://voice.example", "Sec-Fetch-Site": "same-origin"}
    async with http.post(server.url(SECRETS), headers=behind_a_proxy) as response:
        assert response.status == 200
    for origin in ("null", "http://localhost.evil.example", "http://[broken", "https://shop.example"):
        async with http.post(server.url(SECRETS), headers={"Origin": origin}) as response:
            assert (response.status, (await error_of(response))["code"]) == (403, "origin_not_allowed"), origin


async def test_listed_origins_need_none(http: aiohttp.ClientSession) -> None:
    async with running_server(loaders=NoEngines(), allowed_origins="https://shop.example") as server:
        async with http.post(server.url(SECRETS), headers={"Origin": "https://shop.example"}) as response:
            assert response.status == 200
        async with http.post(server.url(SECRETS), headers={"Origin": "https://other.example"}) as response:
            assert response.status == 403


# --- ICE servers ---


async def test_turn_credentials_are_made_for_clients(http: aiohttp.ClientSession) -> None:
    servers = json.dumps([{"urls": ["stun:s.example:3478"]}, {"urls": ["turn:t.example:3478?transport=tcp"]}])
    async with (
        running_server(loaders=NoEngines(), ice_servers=servers, turn_secret="shared") as server,
        http.get(server.url("/v1/realtime/ice-servers")) as response,
    ):
        stun, turn = (await response.json())["ice_servers"]
    assert stun == {"urls": ["stun:s.example:3478"]}
    assert turn["urls"] == ["turn:t.example:3478?transport=tcp"]
    assert int(turn["username"].split(":")[0]) > time.time()
    assert turn["credential"]
