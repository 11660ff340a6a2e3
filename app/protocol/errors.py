"""Errors on the wire: OpenAI's shapes for HTTP bodies and for `error` events, and the HTTP status of each error."""

from typing import Any

from kame_core.errors import (
    CapacityError,
    ConversationClosedError,
    InvalidRequestError,
    KameError,
    UnavailableError,
)

RETRY_AFTER_S = 15
"""What a client is told to wait when the server is full; about the length of two turns of talk."""


class ParameterError(InvalidRequestError):
    """One parameter of a request is wrong.

    Args:
        user_message: what is wrong and what would be right.
        param: its path in the request, as in `session.audio.output.voice` or `item.content[0].type`.
        code: `invalid_value`, `invalid_type`, `missing_required_parameter` or a more precise one.
    """

    code = "invalid_value"

    def __init__(self, user_message: str, *, param: str | None, code: str | None = None) -> None:
        super().__init__(user_message, code=code)
        self.param = param


class AuthenticationError(KameError):
    """The caller's key is missing, wrong or expired."""

    code = "invalid_api_key"


class PermissionDeniedError(KameError):
    """The caller is known, or needs not be, but may not do this."""

    code = "permission_denied"


class QueuedError(CapacityError):
    """All places are taken, and the caller stands in the queue now; `place` says where, as JSON."""

    def __init__(self, user_message: str, place: dict[str, Any]) -> None:
        super().__init__(user_message)
        self.place = place


class NotFoundError(KameError):
    """What the request is about does not exist (any more)."""

    code = "not_found"


_STATUS_BY_CODE = {
    "missing_api_key": 401,
    "invalid_api_key": 401,
    "expired_api_key": 401,
    "call_not_found": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_too_large": 413,
    "sdp_too_large": 413,
    "unsupported_media_type": 415,
    "upgrade_required": 426,
    "rate_limited": 429,
    "starting": 503,
    "shutting_down": 503,
}

_STATUS_BY_CLASS: tuple[tuple[type[KameError], int], ...] = (
    (AuthenticationError, 401),
    (PermissionDeniedError, 403),
    (NotFoundError, 404),
    (ConversationClosedError, 410),
    (InvalidRequestError, 400),
    (CapacityError, 503),
    (UnavailableError, 503),
)


def http_status(error: KameError) -> int:
    """The HTTP status that says what kind of error it is: its code decides, else its class, else 500."""
    if error.code in _STATUS_BY_CODE:
        return _STATUS_BY_CODE[error.code]
    return next((status for kind, status in _STATUS_BY_CLASS if isinstance(error, kind)), 500)


def retry_after_s(error: KameError) -> int | None:
    """Value of a `Retry-After` header; None where trying again does not help."""
    return RETRY_AFTER_S if error.retryable and http_status(error) in (429, 503) else None


def error_type(status: int) -> str:
    """OpenAI's `type` for a status."""
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def openai_error(error: KameError, status: int | None = None) -> dict[str, Any]:
    """Body of an HTTP error answer, in OpenAI's shape."""
    status = http_status(error) if status is None else status
    body: dict[str, Any] = {
        "message": error.user_message,
        "type": error_type(status),
        "code": error.code,
        "param": error.param if isinstance(error, ParameterError) else None,
    }
    if isinstance(error, QueuedError):
        body["kame"] = error.place
    return {"error": body}


def error_event(error: KameError, client_event_id: str | None = None) -> dict[str, Any]:
    """An `error` event, linked to the client's event that caused it; its own `event_id` is still to be added."""
    return {"type": "error", "error": {**openai_error(error)["error"], "event_id": client_event_id}}
