"""What a client secret allows: from which pages, for how long, how often, and how many tokens of the language model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from app.origins import web_origin
from app.protocol.errors import PermissionDeniedError
from app.protocol.validation import WireModel

UNKNOWN_ORIGIN = "null"
"""How browsers write an origin that they do not tell."""
MOST_SECRETS = 20_000
"""Secrets whose calls are counted at once; beyond, the one used least lately is forgotten."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What calls with a client secret may take. None: what the server allows everybody."""

    origin: str | None = None
    """The only web origin whose pages may use it."""
    max_call_s: float | None = None
    """Longest time of one call."""
    max_calls: int | None = None
    """Calls that may be opened with it, in all."""
    max_tokens: int | None = None
    """Tokens of the language model that each call may spend, prompts and answers together."""

    def within(self, other: "Allowance") -> "Allowance":
        """The tighter of each limit; an origin of its own stays."""
        return Allowance(
            self.origin or other.origin,
            _least_s(self.max_call_s, other.max_call_s),
            _least(self.max_calls, other.max_calls),
            _least(self.max_tokens, other.max_tokens),
        )

    def as_json(self) -> dict[str, Any]:
        """The limits there are."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Allowance":
        """Inverse of `as_json`."""
        return Allowance(**{field.name: value.get(field.name) for field in fields(Allowance)})


NO_LIMITS = Allowance()


def _least_s(one: float | None, other: float | None) -> float | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _least(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _origin(value: object) -> object:
    if not isinstance(value, str):
        return value
    origin = web_origin(value)
    if origin is None:
        raise ValueError("it is no origin such as https://www.example.org")
    return origin


def _embedder(value: object) -> object:
    return value if value == UNKNOWN_ORIGIN else _origin(value)


Origin = Annotated[str, Field(max_length=300), BeforeValidator(_origin)]
Embedder = Annotated[str, Field(max_length=300), BeforeValidator(_embedder)]


class AllowanceRequest(WireModel):
    """`kame` in the body of a request for a client secret. An unknown limit is refused: it would limit nothing."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    origin: Origin | None = None
    max_call_s: Annotated[float, Field(ge=1, le=86_400)] | None = None
    max_calls: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    embedder: Embedder | None = None
    """Our own page asks, in a frame of a page of this origin; `null`: its browser does not tell of which."""

    @property
    def allowance(self) -> Allowance:
        """The limits."""
        return Allowance(self.origin, self.max_call_s, self.max_calls, self.max_tokens)


class SecretUse:
    """Counts the calls opened with each client secret that limits them; of this process.

    Args:
        now: Unix time in seconds, as in the secrets' expiry.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._used: dict[str, tuple[int, int]] = {}  # used least lately first

    @contextmanager
    def counted(self, key_id: str, max_calls: int | None, expires_at: int) -> Iterator[None]:
        """Count a call that is opened within; one that fails is not counted.

        Raises:
            PermissionDeniedError: 403, `client_secret_used_up`.
        """
        if max_calls is None:
            yield
            return
        if self._count(key_id, 1, expires_at) > max_calls:
            self._count(key_id, -1, expires_at)
            raise PermissionDeniedError(
                "This client secret has opened all the calls it is good for. Ask for a new one.",
                code="client_secret_used_up",
            )
        try:
            yield
        except BaseException:
            self._count(key_id, -1, expires_at)
            raise

    def _count(self, key_id: str, calls: int, expires_at: int) -> int:
        count = self._used.pop(key_id, (0, 0))[0] + calls
        self._used[key_id] = (count, expires_at)
        self._forget_old()
        return count

    def _forget_old(self) -> None:
        """Those used least lately, once there are too many; and the expired among them, which open nothing more."""
        while self._used:
            key_id, (_, expires_at) = next(iter(self._used.items()))
            if expires_at > self._now() and len(self._used) <= MOST_SECRETS:
                return
            del self._used[key_id]
