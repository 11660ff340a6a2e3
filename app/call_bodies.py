"""Bodies of requests for calls, in every form that clients send."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from aiohttp import web

from app.protocol.errors import ParameterError
from app.protocol.validation import parse_object
from kame_core.errors import InvalidRequestError

MAX_BODY_BYTES = 64 * 1024
MAX_MULTIPART_BYTES = 2 * MAX_BODY_BYTES + 4096
"""An offer, a session, and what frames them."""
SDP = "application/sdp"
MAX_PARTS = 8
MAX_PART_HEADERS_BYTES = 1024

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_NAME = re.compile(
    rb'^content-disposition:[^\r\n]{0,200}?;[ \t]*name=(?:"([^"\r\n]*)"|([^\s";]+))', re.IGNORECASE | re.MULTILINE
)


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
    kind = body_type(request)
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


def body_type(request: web.Request) -> str:
    """What the body is said to be, such as `application/sdp`. aiohttp's own parser of this header looks at all of its
    parameters, recursively.
    """
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


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
    """The parts of a multipart form (RFC 7578) by name, whatever other headers they have or lack; the first of a name.

    One pass over the body: it is cut at its delimiters (RFC 2046, section 5.1.1), and no part is looked into.

    Raises:
        InvalidRequestError: it is no multipart form, or has more than `MAX_PARTS` parts.
    """
    named = _BOUNDARY.search(content_type)
    if named is None:
        raise _invalid_form("its boundary is missing")
    boundary = re.escape((named[1] or named[2]).encode("latin-1", "replace"))
    delimiters = re.finditer(rb"(?:\A|\r?\n)--" + boundary + rb"(--)?[ \t]*(?=\r?\n|\Z)", body)
    cuts = list(islice(delimiters, MAX_PARTS + 2))
    if not cuts or cuts[0][1]:
        raise _invalid_form("nothing stands between its boundaries")
    if len(cuts) > MAX_PARTS + 1:
        raise _invalid_form(f"it has more than {MAX_PARTS} parts")
    parts: dict[str, bytes] = {}
    for number, cut in enumerate(cuts):
        if cut[1]:  # the last one
            break
        end = cuts[number + 1].start() if number + 1 < len(cuts) else len(body)
        blank = _BLANK_LINE.search(body, cut.end(), min(end, cut.end() + MAX_PART_HEADERS_BYTES))
        if blank is None:
            raise _invalid_form(
                f"no empty line follows the headers of a part, or they have more than {MAX_PART_HEADERS_BYTES} bytes"
            )
        name = _NAME.search(body, cut.end(), blank.start())
        if name is not None:
            parts.setdefault((name[1] or name[2] or b"").decode("latin-1"), body[blank.end() : end])
    return parts


def _invalid_form(why: str) -> InvalidRequestError:
    return InvalidRequestError(f"The form is malformed: {why}.", code="invalid_form")


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ParameterError(f"{name} must be a JSON object.", param=name, code="invalid_type")
    return value
