"""`GET /v1/realtime`: OpenAI Realtime (GA) over a WebSocket, for clients and networks without WebRTC.

The same calls: the same keys, places, sessions and events; sound comes and goes in messages.
"""

import json
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from app.admission import Access, AccessPolicy, key_of_subprotocols
from app.allowance import NO_LIMITS, Allowance
from app.call import Line, Link, Transport
from app.calls import CALLS_PATH, call_request, own_host, page_origin
from app.protocol.errors import ParameterError, error_event, error_type, http_status
from app.protocol.sound import MAX_SOUND_MESSAGE_CHARS
from app.registry import CallRegistry
from kame_core.clock import Clock
from kame_core.errors import InvalidRequestError, KameError

if TYPE_CHECKING:
    from app.websocket.socket import SocketTransport

PATH = "/v1/realtime"
SUBPROTOCOL = "realtime"
REFUSED = 3000
"""Close code of a connection that was refused after the upgrade; the reason is `<type>.<code>`."""
CLOSE_DEADLINE_S = 1.0
MAX_MESSAGE_BYTES = MAX_SOUND_MESSAGE_CHARS + 1024
MAX_MODEL_CHARS = 200


class RealtimeSocket:
    """The endpoint.

    Whoever offers the subprotocol `realtime`, as browsers must, is refused with an `error` event, because a browser
    shows its page nothing of an HTTP answer; others with an HTTP status.
    """

    def __init__(self, calls: CallRegistry, policy: AccessPolicy, clock: Clock, public: Allowance = NO_LIMITS) -> None:
        self._calls = calls
        self._policy = policy
        self._clock = clock
        self._public = public

    def routes(self) -> list[web.RouteDef]:
        """The path."""
        return [web.get(PATH, self.open)]

    async def open(self, request: web.Request) -> web.StreamResponse:
        """Open a call and serve it until its end."""
        response = web.WebSocketResponse(
            protocols=(SUBPROTOCOL,),
            timeout=CLOSE_DEADLINE_S,
            autoping=False,
            compress=False,  # sound in base64 does not get smaller, only later
            max_msg_size=MAX_MESSAGE_BYTES,
            writer_limit=4096,
        )
        if not response.can_prepare(request).ok:
            raise InvalidRequestError(
                f"Open {PATH} as a WebSocket. Calls over WebRTC are opened at {CALLS_PATH}.", code="upgrade_required"
            )
        try:
            return await self._serve(request, response)
        except KameError as error:
            if response.prepared or SUBPROTOCOL not in _subprotocols(request):
                raise
            await _refuse(request, response, error)
        except ConnectionError:  # gone before its call began
            pass
        return response

    async def _serve(self, request: web.Request, response: web.WebSocketResponse) -> web.WebSocketResponse:
        access = self._access(request)
        if "call_id" in request.query:
            raise ParameterError(
                "Attaching to a running call is not supported; leave 'call_id' out to open one.", param="call_id"
            )
        connection: SocketTransport | None = None

        def dial(line: Line, link: Link) -> Transport:
            from app.websocket.socket import SocketTransport  # needs aiortc, which is there once calls are admitted

            nonlocal connection
            connection = SocketTransport(line, link, self._clock)
            return connection

        opened = await self._calls.open(call_request(request, access, self._public), dial)
        response.headers[hdrs.LOCATION] = f"{CALLS_PATH}/{opened.call.id}"
        if connection is not None:
            await connection.run(request, response)
        return response

    def _access(self, request: web.Request) -> Access:
        origin, host = page_origin(request), own_host(request)
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        if authorization is not None:
            return self._policy.check_bearer(authorization, origin=origin, host=host)
        return self._policy.check_key(key_of_subprotocols(_subprotocols(request)), origin=origin, host=host)


def _subprotocols(request: web.Request) -> list[str]:
    return [name.strip() for name in request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")]


async def _refuse(request: web.Request, response: web.WebSocketResponse, error: KameError) -> None:
    with suppress(ConnectionError):
        await response.prepare(request)
        event = {"event_id": f"event_{secrets.token_urlsafe(12)}", **error_event(error)}
        await response.send_str(json.dumps(event))
        reason = f"{error_type(http_status(error))}.{error.code}"
        await response.close(code=REFUSED, message=reason[:120].encode())
