"""Who may call: the server's key, client secrets (`ek_...`) for browsers, and callers without a key.

A client secret is a signed statement, not an entry in a table: nothing is kept for it, so minting cannot exhaust
memory, any process with the same signing key accepts it, and a restart does not void it. It is signed, not encrypted:
who holds it can read the session in it, which `session.created` would show him anyway.
"""

import base64
import binascii
import hashlib
import hmac
import json
import math
import secrets
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from app.allowance import NO_LIMITS, Allowance, AllowanceRequest
from app.origins import both_here, normal_host, normal_origin
from app.protocol.errors import AuthenticationError, ParameterError, PermissionDeniedError
from app.protocol.validation import WireModel, validate
from kame_core.errors import InvalidRequestError

PREFIX = "ek_"
MIN_TTL_S = 10
MAX_TTL_S = 7_200
DEFAULT_TTL_S = 600
MAX_SECRET_CHARS = 6_000
"""Longest secret; with `Authorization: Bearer` it has to stay below the 8 KiB that servers and proxies allow a line."""

_VERSION = b"\x02"
_MAC_BYTES = 32
_NONCE_BYTES = 9
_EXPIRY_BYTES = 8
_HEAD_BYTES = _MAC_BYTES + len(_VERSION) + _EXPIRY_BYTES + _NONCE_BYTES
_KEY_ID = "key_"
_SUBPROTOCOL_KEY = "openai-insecure-api-key."


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A short-lived key for one browser."""

    value: str = field(repr=False)
    """`ek_...`; OpenAI's browser client refuses any other prefix."""
    expires_at: int
    """Unix time in seconds. Calls may be opened until then; it does not end those that run."""


@dataclass(frozen=True, slots=True)
class OpenedSecret:
    """What a valid client secret says."""

    key_id: str
    """The same for every use of one secret; to count its calls. Not secret."""
    session: dict[str, Any]
    """The `session` it was minted with."""
    expires_at: int
    allowance: Allowance = NO_LIMITS


def signing_key_of(server_key: SecretStr | None) -> bytes:
    """A signing key that all processes with the same server key have in common; random where there is none.

    It is stretched (scrypt, RFC 7914; about 50 ms), so that who holds a client secret cannot try out server keys fast.
    """
    if server_key is None:
        return secrets.token_bytes(32)
    return hashlib.scrypt(server_key.get_secret_value().encode(), salt=b"kame client secrets", n=2**14, r=8, p=1)


class ClientSecrets:
    """Mints and checks client secrets.

    Args:
        signing_key: at least 16 bytes; random for each process, or shared by all that serve one address.
        now: Unix time in seconds.

    Raises:
        ValueError: the key is too short.
    """

    def __init__(self, signing_key: bytes, now: Callable[[], float]) -> None:
        if len(signing_key) < 16:
            raise ValueError("a signing key has at least 16 bytes")
        self._key = hmac.digest(signing_key, b"kame client secret", hashlib.sha256)  # of no other use of that key
        self._now = now

    def mint(
        self, session: Mapping[str, Any], ttl_s: int = DEFAULT_TTL_S, allowance: Allowance = NO_LIMITS
    ) -> ClientSecret:
        """A new secret that carries a session configuration.

        Args:
            session: JSON object; every call opened with the secret begins with it.
            ttl_s: how long calls may be opened with it, 10 to 7,200 s.
            allowance: what those calls may take.

        Raises:
            ParameterError: `ttl_s` is out of range.
            InvalidRequestError: `session_too_large`.
        """
        if not MIN_TTL_S <= ttl_s <= MAX_TTL_S:
            raise ParameterError(
                f"Invalid value for 'expires_after.seconds': use {MIN_TTL_S} to {MAX_TTL_S}.",
                param="expires_after.seconds",
            )
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._sign(session, math.ceil(self._now()) + ttl_s, nonce, allowance)

    def exchange(self, secret: OpenedSecret, session: Mapping[str, Any], allowance: Allowance) -> ClientSecret:
        """The same secret with another session and allowance: it ends when the first does, and its calls count as the
        first one's.

        Raises:
            InvalidRequestError: `session_too_large`.
        """
        nonce = _decode(secret.key_id.removeprefix(_KEY_ID))
        return self._sign(session, secret.expires_at, nonce, allowance)

    def _sign(self, session: Mapping[str, Any], expires_at: int, nonce: bytes, allowance: Allowance) -> ClientSecret:
        says = {"session": session, "allowance": allowance.as_json()}
        body = zlib.compress(json.dumps(says, separators=(",", ":")).encode(), 9)
        signed = _VERSION + expires_at.to_bytes(_EXPIRY_BYTES, "big") + nonce + body
        value = PREFIX + _encode(self._mac(signed) + signed)
        if len(value) > MAX_SECRET_CHARS:
            raise InvalidRequestError(
                "The session is too large to be carried by a client secret. Leave long instructions out here and send "
                "them with 'session.update' when the call is open.",
                code="session_too_large",
            )
        return ClientSecret(value, expires_at)

    def open(self, value: str) -> OpenedSecret:
        """Check a secret and read it.

        Raises:
            AuthenticationError: `invalid_api_key` (never minted with this signing key, or altered) or
                `expired_api_key`.
        """
        blob = _decode(value.removeprefix(PREFIX)) if len(value) <= MAX_SECRET_CHARS else b""
        signed = blob[_MAC_BYTES:]
        genuine = hmac.compare_digest(blob[:_MAC_BYTES], self._mac(signed))
        if not (genuine and value.startswith(PREFIX) and len(blob) > _HEAD_BYTES and signed[:1] == _VERSION):
            raise AuthenticationError("This client secret is not valid. Ask for a new one.", code="invalid_api_key")
        expires_at = int.from_bytes(signed[1 : 1 + _EXPIRY_BYTES], "big")
        if self._now() >= expires_at:
            raise AuthenticationError("This client secret has expired. Ask for a new one.", code="expired_api_key")
        nonce = signed[1 + _EXPIRY_BYTES : 1 + _EXPIRY_BYTES + _NONCE_BYTES]
        says = json.loads(zlib.decompress(blob[_HEAD_BYTES:]))  # our own, by its signature: bounded and well formed
        allowance = Allowance.from_json(says["allowance"])
        return OpenedSecret(_KEY_ID + _encode(nonce), says["session"], expires_at, allowance)

    def _mac(self, signed: bytes) -> bytes:
        return hmac.digest(self._key, signed, hashlib.sha256)


class _ExpiresAfter(WireModel):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=MIN_TTL_S, le=MAX_TTL_S)] = DEFAULT_TTL_S


class ClientSecretRequest(WireModel):
    """Body of `POST /v1/realtime/client_secrets`; all of it may be left out."""

    expires_after: _ExpiresAfter = _ExpiresAfter()
    session: Annotated[dict[str, Any], Field(default_factory=dict)]
    kame: AllowanceRequest = AllowanceRequest()

    @property
    def ttl_s(self) -> int:
        """How long the secret is to be valid."""
        return self.expires_after.seconds


def client_secret_request(body: Mapping[str, Any]) -> ClientSecretRequest:
    """Check the body of a request for a client secret.

    Raises:
        ParameterError: a field is wrong.
    """
    return validate(ClientSecretRequest, {key: value for key, value in body.items() if value is not None})


def client_secret_answer(
    secret: ClientSecret, session: Mapping[str, Any], allowance: Allowance = NO_LIMITS
) -> dict[str, Any]:
    """Body of the answer; `session` as `SessionState.render` gives it."""
    answer: dict[str, Any] = {"value": secret.value, "expires_at": secret.expires_at, "session": dict(session)}
    limits = allowance.as_json()
    return answer | ({"kame": limits} if limits else {})


@dataclass(frozen=True, slots=True)
class Access:
    """Who is calling."""

    kind: Literal["server", "client", "open"]
    """With the server's key; with a client secret; without a key, where that is allowed."""
    session: dict[str, Any] = field(default_factory=dict)
    """What a client secret carries; each call begins with it."""
    key_id: str | None = None
    """Of a client secret."""
    secret: OpenedSecret | None = None

    @property
    def allowance(self) -> Allowance:
        """What the calls may take."""
        return self.secret.allowance if self.secret else NO_LIMITS


class AccessPolicy:
    """Decides from key and origin who may call and mint.

    Without a server key everybody may who is no foreign web page: what is typed into `curl`, and pages of this server
    or of `allowed_origins`. With one, callers need it or a client secret; `public_pages` lets the pages named before
    in without.

    Args:
        secrets: checks `ek_...` keys.
        server_key: the operator's key; None: none was set.
        allowed_origins: origins as in `https://shop.example`, or `*` for any.
        public_pages: pages of this server and of `allowed_origins` need no key.
    """

    def __init__(
        self,
        secrets: ClientSecrets,
        server_key: SecretStr | None = None,
        *,
        allowed_origins: Collection[str] = (),
        public_pages: bool = False,
    ) -> None:
        self._secrets = secrets
        self._server_key = server_key
        self._any_origin = "*" in allowed_origins
        self._origins = frozenset(normal_origin(origin) for origin in allowed_origins)
        self._public_pages = public_pages

    def check_bearer(self, authorization: str | None, *, origin: str | None = None, host: str | None = None) -> Access:
        """Who sends a request with these headers.

        Args:
            authorization: the `Authorization` header.
            origin: the `Origin` header; browsers send it, other programs do not.
            host: the `Host` header, with which a page of this server has its origin in common.

        Raises:
            AuthenticationError: 401: `missing_api_key`, `invalid_api_key` or `expired_api_key`.
            PermissionDeniedError: 403: `origin_not_allowed`.
        """
        scheme, _, key = (authorization or "").strip().partition(" ")
        return self.check_key(key.strip() if scheme.lower() == "bearer" else None, origin=origin, host=host)

    def check_key(self, key: str | None, *, origin: str | None = None, host: str | None = None) -> Access:
        """Like `check_bearer`, of a bare key, as browsers send it among WebSocket subprotocols."""
        if key and key.startswith(PREFIX):
            opened = self._secrets.open(key)
            return Access("client", opened.session, opened.key_id, opened)
        if self._server_key is not None:
            if key and _same(key, self._server_key.get_secret_value()):
                return Access("server")
            if key:
                raise AuthenticationError("This API key is not the one of this server.", code="invalid_api_key")
            if not (self._public_pages and origin is not None):
                raise AuthenticationError(
                    "This server wants an API key: send it, or a client secret, as 'Authorization: Bearer ...'.",
                    code="missing_api_key",
                )
        if origin is not None and not self.allows_origin(origin, host):
            raise PermissionDeniedError(
                "Pages of this origin may not call without a client secret. The operator can allow the origin.",
                code="origin_not_allowed",
            )
        return Access("open")

    def allows_origin(self, origin: str, host: str | None) -> bool:
        """Whether pages of `origin` are ours or trusted."""
        if self._any_origin:
            return True
        return normal_origin(origin) in self._origins or is_own_page(origin, host)

    def may_embed(self, origin: str, host: str) -> bool:
        """Whether pages of `origin` may hold our own in a frame: those that may call, and others of this machine."""
        return self.allows_origin(origin, host) or both_here(origin, host)

    def require_embedder(self, origin: str, host: str) -> None:
        """As `may_embed`.

        Raises:
            PermissionDeniedError: 403, `origin_not_allowed`.
        """
        if not self.may_embed(origin, host):
            raise PermissionDeniedError(
                f"Pages of {origin} may not hold this server's page in a frame. The operator can allow the origin.",
                code="origin_not_allowed",
            )

    def require_minting(self, access: Access) -> None:
        """Only the server's own people mint: a client secret must not renew itself.

        Raises:
            PermissionDeniedError: 403, `client_secret_cannot_mint`.
        """
        if access.kind == "client":
            raise PermissionDeniedError(
                "A client secret cannot be used to mint another. Use the server's API key.",
                code="client_secret_cannot_mint",
            )


def is_own_page(origin: str, host: str | None) -> bool:
    """Whether a page of `origin` comes from `host` itself."""
    normal = normal_origin(origin)
    return bool(host) and normal.partition("://")[2] == normal_host(host or "", normal)


def require_origin(access: Access, origin: str | None) -> None:
    """A client secret that is bound to an origin opens calls from its pages only.

    Raises:
        PermissionDeniedError: 403, `origin_not_allowed`.
    """
    bound = access.allowance.origin
    if bound is not None and (origin is None or normal_origin(origin) != bound):
        raise PermissionDeniedError(
            f"This client secret is for pages of {bound} only. Ask for one that is for your page.",
            code="origin_not_allowed",
        )


def key_of_subprotocols(subprotocols: Iterable[str]) -> str | None:
    """The key a browser put among its WebSocket subprotocols, where no header can be set.

    The server must answer with the subprotocol `realtime` only, never with this one.
    """
    found = (name for name in subprotocols if name.startswith(_SUBPROTOCOL_KEY))
    return next((name.removeprefix(_SUBPROTOCOL_KEY) for name in found), None)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="surrogatepass"), other.encode(errors="surrogatepass"))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Strict inverse of `_encode`; empty for anything that `_encode` does not give."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if _encode(data) == text else b""
