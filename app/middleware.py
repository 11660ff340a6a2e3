"""What holds for every request: error shapes, cross-origin rules, security headers."""

import logging
import re
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from app.protocol.errors import http_status, openai_error, retry_after_s
from kame_core.errors import InvalidRequestError, KameError

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HTTPS = web.AppKey("https", bool)
"""People open this server by https only."""
HSTS_MAX_AGE_S = 180 * 24 * 3600
API = "/v1/"
ALLOWED_METHODS = "GET, POST, PATCH, DELETE, OPTIONS"
ALLOWED_HEADERS = "authorization, content-type, x-openai-agents-sdk"
"""What OpenAI's browser SDK asks for; without the last it fails with nothing but "Failed to fetch"."""
EXPOSED_HEADERS = "Location, Link, Retry-After"
PREFLIGHT_MAX_AGE_S = 7200
_HEADER_LIST = re.compile(r"[A-Za-z0-9\-_, ]{1,500}")
_HTTP_CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
}


@web.middleware
async def security_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Headers that fit every answer."""
    try:
        response = await handler(request)
    except web.HTTPException as answer:
        _secure(request, answer)
        raise
    _secure(request, response)
    return response


def _secure(request: web.Request, response: web.StreamResponse) -> None:
    if response.prepared:  # a WebSocket that has ended
        return
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.app.get(HTTPS, False):
        response.headers["Strict-Transport-Security"] = f"max-age={HSTS_MAX_AGE_S}"


@web.middleware
async def api_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error under `/v1/` in OpenAI's shape; what a client cannot know is logged and stays here."""
    if not request.path.startswith(API):
        return await handler(request)
    try:
        return await handler(request)
    except KameError as error:
        return error_response(error)
    except web.HTTPException as answer:
        if answer.status < 400:
            raise
        code = _HTTP_CODES.get(answer.status, "invalid_request")
        text = {404: "There is nothing at this address.", 405: "This address does not take that method."}.get(
            answer.status, answer.text or answer.reason
        )
        response = error_response(InvalidRequestError(text, code=code), answer.status)
        if hdrs.ALLOW in answer.headers:
            response.headers[hdrs.ALLOW] = answer.headers[hdrs.ALLOW]
        return response
    except Exception:
        log.exception("a request to %s failed", request.match_info.route.resource)
        return error_response(KameError("The server failed; its log says why. Trying again may help."))


def error_response(error: KameError, status: int | None = None) -> web.Response:
    """The error as an HTTP answer."""
    status = http_status(error) if status is None else status
    headers: dict[str, str] = {hdrs.CACHE_CONTROL: "no-store"}
    wait_s = retry_after_s(error)
    if wait_s is not None:
        headers[hdrs.RETRY_AFTER] = str(wait_s)
    if status == 401:
        headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return web.json_response(openai_error(error, status), status=status, headers=headers)


@web.middleware
async def cross_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """CORS for `/v1/`, for pages of every origin: no answer depends on who the visitor is (no cookies), and whether a
    page may call is decided with its key and origin by `AccessPolicy`, which can then say why not.
    """
    if not request.path.startswith(API):
        return await handler(request)
    preflight = request.method == hdrs.METH_OPTIONS
    response = _options(request) if preflight else await handler(request)
    origin = request.headers.get(hdrs.ORIGIN)
    response.headers.add(hdrs.VARY, hdrs.ORIGIN)
    if origin is not None:
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED_HEADERS
        if preflight:
            asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = ALLOWED_METHODS
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = (
                asked if _HEADER_LIST.fullmatch(asked) else ALLOWED_HEADERS
            )
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(PREFLIGHT_MAX_AGE_S)
    return response


def _options(request: web.Request) -> web.Response:
    headers: dict[str, str] = {hdrs.ALLOW: ALLOWED_METHODS}
    if request.path.startswith("/v1/realtime/calls"):
        headers["Accept-Post"] = "application/sdp"  # WHIP, RFC 9725 section 4.2
        headers["Accept-Patch"] = "application/trickle-ice-sdpfrag"
    return web.Response(status=204, headers=headers)
