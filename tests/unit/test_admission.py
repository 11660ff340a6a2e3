"""Keys: what is let in, what is refused with which code."""

import hmac

import pytest
from openai.types.realtime import ClientSecretCreateResponse
from pydantic import SecretStr

from app.admission import (
    MAX_SECRET_CHARS,
    Access,
    AccessPolicy,
    ClientSecrets,
    client_secret_answer,
    client_secret_request,
    key_of_subprotocols,
    signing_key_of,
)
from app.protocol.errors import (
    AuthenticationError,
    NotFoundError,
    ParameterError,
    PermissionDeniedError,
    error_event,
    http_status,
    openai_error,
    retry_after_s,
)
from app.protocol.session import SessionDefaults, SessionState
from kame_core.errors import (
    CapacityError,
    ChatModelError,
    ConversationClosedError,
    InvalidRequestError,
    KameError,
    UnavailableError,
)

SESSION = {"type": "realtime", "instructions": "Sell shoes. 👟", "kame": {"mode": "tandem"}}


class Wall:
    """Unix time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def secrets(wall: Wall) -> ClientSecrets:
    return ClientSecrets(b"k" * 32, wall)


def code_of(secrets: ClientSecrets, value: str) -> str:
    with pytest.raises(AuthenticationError) as caught:
        secrets.open(value)
    assert http_status(caught.value) == 401
    return caught.value.code


def test_secret_carries_its_session_for_several_calls(secrets: ClientSecrets) -> None:
    secret = secrets.mint(SESSION)
    assert secret.value.startswith("ek_")
    assert secret.expires_at == 1_800_000_601
    first, second = secrets.open(secret.value), secrets.open(secret.value)
    assert first == second
    assert first.session == SESSION
    assert first.key_id != secrets.open(secrets.mint(SESSION).value).key_id
    assert secret.value not in repr(secret)


def test_secret_of_another_process_with_the_same_key_is_good(secrets: ClientSecrets, wall: Wall) -> None:
    assert ClientSecrets(b"k" * 32, wall).open(secrets.mint(SESSION).value).session == SESSION


def test_secret_expires(secrets: ClientSecrets, wall: Wall) -> None:
    secret = secrets.mint(SESSION, ttl_s=10)
    wall.now_s = secret.expires_at - 0.001
    assert secrets.open(secret.value).session == SESSION
    wall.now_s = secret.expires_at
    assert code_of(secrets, secret.value) == "expired_api_key"


def test_every_altered_character_is_noticed(secrets: ClientSecrets) -> None:
    value = secrets.mint(SESSION).value
    for place in range(len(value)):
        other = "B" if value[place] == "A" else "A"
        assert code_of(secrets, value[:place] + other + value[place + 1 :]) == "invalid_api_key"
    for cut in (value[:-1], value[:20], value + "A", value + "=", "ek_", ""):
        assert code_of(secrets, cut) == "invalid_api_key"


@pytest.mark.parametrize("value", ["ek_öäü", "ek_" + "A" * 100_000, "ek_" + "=" * 8, "ek_\ud800", "ek_ \n"])
def test_garbage_is_an_invalid_key(secrets: ClientSecrets, value: str) -> None:
    assert code_of(secrets, value) == "invalid_api_key"


def test_secret_of_another_signing_key_is_refused(secrets: ClientSecrets, wall: Wall) -> None:
    assert code_of(secrets, ClientSecrets(b"x" * 32, wall).mint(SESSION).value) == "invalid_api_key"


@pytest.mark.parametrize("ttl_s", [9, 7201, 0, -600])
def test_life_time_is_bounded(secrets: ClientSecrets, ttl_s: int) -> None:
    with pytest.raises(ParameterError) as caught:
        secrets.mint(SESSION, ttl_s)
    assert caught.value.param == "expires_after.seconds"


def test_session_that_no_header_could_carry_is_refused(secrets: ClientSecrets) -> None:
    noise = "".join(chr(33 + (number * number * 7919) % 90) for number in range(20_000))
    with pytest.raises(InvalidRequestError) as caught:
        secrets.mint({"instructions": noise * 3 + "".join(map(str, range(9000)))})
    assert caught.value.code == "session_too_large"
    prose = "You are a patient guide in a museum of natural history and you answer in two sentences. " * 100
    assert len(secrets.mint({"instructions": prose}).value) < MAX_SECRET_CHARS


def test_processes_with_one_server_key_accept_each_others_secrets(wall: Wall) -> None:
    one, other = (ClientSecrets(signing_key_of(SecretStr("s3cret-of-16-characters")), wall) for _ in range(2))
    assert other.open(one.mint(SESSION).value).session == SESSION
    assert code_of(ClientSecrets(signing_key_of(None), wall), one.mint(SESSION).value) == "invalid_api_key"
    assert signing_key_of(None) != signing_key_of(None)


def test_short_signing_keys_are_refused(wall: Wall) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        ClientSecrets(b"short", wall)


def test_request_and_answer_have_openais_shape(secrets: ClientSecrets) -> None:
    asked = client_secret_request({"expires_after": {"anchor": "created_at", "seconds": 60}, "session": SESSION})
    assert (asked.ttl_s, asked.session) == (60, SESSION)
    assert client_secret_request({}).ttl_s == 600
    assert client_secret_request({"session": None, "expires_after": None}).session == {}
    session = SessionState.new(SessionDefaults()).updated(asked.session)
    answer = client_secret_answer(secrets.mint(asked.session, asked.ttl_s), session.render())
    parsed = ClientSecretCreateResponse.model_validate(answer, strict=True)
    assert parsed.value.startswith("ek_")
    assert parsed.session.type == "realtime"
    assert parsed.session.instructions == SESSION["instructions"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"expires_after": {"seconds": 5}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "now"}}, "expires_after.anchor"),
        ({"expires_after": 60}, "expires_after"),
        ({"session": []}, "session"),
    ],
)
def test_bad_requests_name_the_parameter(body: dict[str, object], param: str) -> None:
    with pytest.raises(ParameterError) as caught:
        client_secret_request(body)
    assert caught.value.param == param


# --- access ---


def refusal(policy: AccessPolicy, authorization: str | None, **headers: str) -> tuple[int, str]:
    with pytest.raises((AuthenticationError, PermissionDeniedError)) as caught:
        policy.check_bearer(authorization, **headers)
    return http_status(caught.value), caught.value.code


def test_without_a_server_key_local_use_is_open(secrets: ClientSecrets) -> None:
    policy = AccessPolicy(secrets)
    assert policy.check_bearer(None) == Access("open")
    assert policy.check_bearer("Bearer whatever-an-sdk-insists-on") == Access("open")
    assert policy.check_bearer(None, origin="http://localhost:8080", host="localhost:8080") == Access("open")
    assert policy.check_bearer(None, origin="https://us.example", host="us.example:443") == Access("open")
    assert policy.check_bearer(None, origin="https://us.example:443", host="us.example") == Access("open")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:9999", "null", "http://[", ""])
def test_foreign_pages_may_not_use_an_open_server(secrets: ClientSecrets, origin: str) -> None:
    policy = AccessPolicy(secrets, allowed_origins=["https://shop.example"])
    assert refusal(policy, None, origin=origin, host="localhost:8080") == (403, "origin_not_allowed")
    assert refusal(policy, None, origin=origin, host="") == (403, "origin_not_allowed")


def test_allowed_origins(secrets: ClientSecrets) -> None:
    policy = AccessPolicy(secrets, allowed_origins=["https://Shop.example/"])
    assert policy.check_bearer(None, origin="https://shop.example", host="us.example").kind == "open"
    assert refusal(policy, None, origin="http://shop.example", host="us.example")[1] == "origin_not_allowed"
    assert AccessPolicy(secrets, allowed_origins=["*"]).check_bearer(None, origin="https://x.example").kind == "open"


def test_server_key(secrets: ClientSecrets) -> None:
    policy = AccessPolicy(secrets, SecretStr("s3cret-ö"))
    assert policy.check_bearer("Bearer s3cret-ö") == Access("server")
    assert policy.check_bearer("bearer  s3cret-ö ", origin="https://any.example") == Access("server")
    assert refusal(policy, None) == (401, "missing_api_key")
    assert refusal(policy, "Bearer ") == (401, "missing_api_key")
    assert refusal(policy, "Basic s3cret-ö") == (401, "missing_api_key")
    assert refusal(policy, "Bearer s3cret") == (401, "invalid_api_key")
    assert refusal(policy, None, origin="https://us.example", host="us.example") == (401, "missing_api_key")


def test_keys_are_compared_in_constant_time(secrets: ClientSecrets, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def noted(given: bytes, wanted: bytes) -> bool:
        compared.append((given, wanted))
        return compare(given, wanted)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    policy = AccessPolicy(secrets, SecretStr("s3cret"))
    assert policy.check_key("s3cret").kind == "server"
    for wrong in ("s", "s3creT"):
        assert refusal(policy, f"Bearer {wrong}") == (401, "invalid_api_key")
    assert compared == [(given, b"s3cret") for given in (b"s3cret", b"s", b"s3creT")]
    assert policy.check_key(secrets.mint(SESSION).value).kind == "client"
    assert refusal(policy, "Bearer ek_x") == (401, "invalid_api_key")
    assert [len(wanted) for _, wanted in compared[3:]] == [32, 32]  # whole signatures


def test_public_pages_need_no_key_but_a_known_origin(secrets: ClientSecrets) -> None:
    policy = AccessPolicy(secrets, SecretStr("s3cret"), public_pages=True)
    assert policy.check_bearer(None, origin="https://us.example", host="us.example") == Access("open")
    assert refusal(policy, None) == (401, "missing_api_key")
    assert refusal(policy, None, origin="https://evil.example", host="us.example") == (403, "origin_not_allowed")


@pytest.mark.parametrize("server_key", [None, SecretStr("s3cret")])
def test_client_secret_opens_calls_from_any_origin_but_mints_none(
    secrets: ClientSecrets, server_key: SecretStr | None
) -> None:
    policy = AccessPolicy(secrets, server_key)
    value = secrets.mint(SESSION).value
    access = policy.check_bearer(f"Bearer {value}", origin="https://shop.example", host="us.example")
    assert (access.kind, access.session) == ("client", SESSION)
    with pytest.raises(PermissionDeniedError) as caught:
        policy.require_minting(access)
    assert (http_status(caught.value), caught.value.code) == (403, "client_secret_cannot_mint")
    policy.require_minting(Access("server"))
    policy.require_minting(Access("open"))
    assert refusal(policy, f"Bearer {value}x") == (401, "invalid_api_key")


def test_key_among_websocket_subprotocols(secrets: ClientSecrets) -> None:
    value = secrets.mint(SESSION).value
    names = ["realtime", f"openai-insecure-api-key.{value}", "openai-agents-sdk.0.20.0"]
    assert AccessPolicy(secrets).check_key(key_of_subprotocols(names)).session == SESSION
    assert key_of_subprotocols(["realtime"]) is None


# --- errors on the wire ---


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequestError("x"), 400, "invalid_request_error"),
        (ParameterError("x", param="a"), 400, "invalid_request_error"),
        (AuthenticationError("x"), 401, "invalid_request_error"),
        (PermissionDeniedError("x"), 403, "invalid_request_error"),
        (NotFoundError("x", code="call_not_found"), 404, "invalid_request_error"),
        (ConversationClosedError("x"), 410, "invalid_request_error"),
        (InvalidRequestError("x", code="sdp_too_large"), 413, "invalid_request_error"),
        (InvalidRequestError("x", code="unsupported_media_type"), 415, "invalid_request_error"),
        (InvalidRequestError("x", code="rate_limited", retryable=True), 429, "rate_limit_error"),
        (CapacityError("x"), 503, "server_error"),
        (UnavailableError("x"), 503, "server_error"),
        (ChatModelError("x"), 500, "server_error"),
        (KameError("x"), 500, "server_error"),
    ],
)
def test_http_errors(error: KameError, status: int, kind: str) -> None:
    assert http_status(error) == status
    body = openai_error(error)["error"]
    assert (body["message"], body["type"], body["code"]) == ("x", kind, error.code)
    assert body["param"] == ("a" if isinstance(error, ParameterError) else None)
    assert error_event(error, "mine")["error"] == {**body, "event_id": "mine"}


def test_retry_after_only_where_waiting_helps() -> None:
    assert retry_after_s(CapacityError("x")) is not None
    assert retry_after_s(UnavailableError("x")) is None
    assert retry_after_s(ChatModelError("x")) is None
