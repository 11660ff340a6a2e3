"""Bodies of requests for calls, in every form that clients send."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

from aiohttp import web

from app.protocol.errors import ParameterError
from app.protocol.validation import parse_object
from kame_core.errors import InvalidRequestError

MAX_BODY_BYTES = 64 * 1024
MAX_MULTIPART_BYTES = 2 * MAX_BODY_BYTES + 4096
"""An offer, a session, and what frames them."""
SDP = "application/sdp"


@dataclass(frozen=True, slots=True)
class Offer:
    """The body of a call request."""

    sdp: str
    session: Mapping[str, Any]
    as_json: bool = False
    """The client sent JSON and is answered in JSON."""


async def read_offer(request: web.Request) -> Offer:
    """The offer, from any of the body forms that clients send.

    Raises:
        InvalidRequestError: it is malformed, has no SDP, or is too large or of a type no client sends.
    """
    kind = request.content_type
    if kind == SDP:
        return Offer(await read_text(request), {})
    if kind == "multipart/form-data":
        body = await request.read()  # the application's own limit holds: MAX_MULTIPART_BYTES
        parts = _form_parts(request.headers.get("Content-Type", ""), body)
        if "sdp" not in parts:
            raise ParameterError(
                "The form has no part named sdp with the offer.", param="sdp", code="missing_required_parameter"
            )
        session = parse_object(parts["session"], what="The part session") if parts.get("session", b"").strip() else {}
        return Offer(_decode(parts["sdp"]), session)
    if kind == "application/json":
        body_json = await read_json(request)
        sdp = body_json.get("sdp")
        if not isinstance(sdp, str):
            raise ParameterError(
                "The body has no string sdp with the offer.", param="sdp", code="missing_required_parameter"
            )
        return Offer(sdp, _object(body_json, "session"), as_json=True)
    raise wrong_type(f"Send the offer as {SDP}, as multipart/form-data with a part sdp, or as application/json.")


async def read_text(request: web.Request) -> str:
    """A body of at most `MAX_BODY_BYTES`, UTF-8."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    body = await request.read()
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    return _decode(body)


async def read_json(request: web.Request) -> dict[str, Any]:
    """A JSON object; an empty body is an empty one."""
    text = await read_text(request)
    return parse_object(text, what="The body") if text.strip() else {}


def wrong_type(message: str) -> InvalidRequestError:
    """For a body of a type that is not taken here."""
    return InvalidRequestError(message, code="unsupported_media_type")


def _too_large() -> InvalidRequestError:
    return InvalidRequestError(f"The body is larger than {MAX_BODY_BYTES} bytes.", code="request_too_large")


def _decode(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("The body is no UTF-8 text.", code="invalid_encoding") from None


def _form_parts(content_type: str, body: bytes) -> dict[str, bytes]:
    """The parts of a multipart form by name, whatever other headers they have or lack.

    Raises:
        InvalidRequestError: it is no multipart form.
    """
    head = b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n"
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    if not message.is_multipart():
        raise InvalidRequestError("The form is malformed: its boundary is missing.", code="invalid_form")
    parts: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str):
            payload = part.get_payload(decode=True)
            parts.setdefault(name, payload if isinstance(payload, bytes) else b"")
    return parts


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ParameterError(f"{name} must be a JSON object.", param=name, code="invalid_type")
    return value
