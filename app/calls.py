"""HTTP for calls: open, trickle, hang up, client secrets, ICE servers.

Shapes are those of OpenAI's Realtime API (GA); the call's own URL also takes WHIP's verbs (RFC 9725: PATCH with
`application/trickle-ice-sdpfrag`, DELETE).
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from app.admission import (
    Access,
    AccessPolicy,
    ClientSecret,
    ClientSecretRequest,
    ClientSecrets,
    client_secret_answer,
    client_secret_request,
    is_own_page,
    require_origin,
)
from app.allowance import NO_LIMITS, UNKNOWN_ORIGIN, Allowance
from app.call_bodies import SDP, body_type, read_json, read_offer, read_text, wrong_type
from app.call_request import CallRequest
from app.limits import Caller, caller_address
from app.origins import LOOPBACK, normal_origin
from app.protocol.errors import NotFoundError, ParameterError, QueuedError
from app.registry import CallRegistry

if TYPE_CHECKING:
    from app.call import Call

FRAGMENT = "application/trickle-ice-sdpfrag"
CALLS_PATH = "/v1/realtime/calls"
QUEUE_PATH = "/v1/realtime/queue"
TRUSTED_PROXIES = web.AppKey("trusted_proxies", int)
"""How many of the operator's own proxies stand before this server."""
PUBLIC_CALLS_PER_SECRET = 8
"""So many calls a client secret opens that was given without a key."""


class CallRoutes:
    """The resource `/v1/realtime/calls` and what belongs to it."""

    def __init__(
        self,
        calls: CallRegistry,
        policy: AccessPolicy,
        client_secrets: ClientSecrets,
        public: Allowance = NO_LIMITS,
        most: Allowance = NO_LIMITS,
    ) -> None:
        self._calls = calls
        self._policy = policy
        self._secrets = client_secrets
        self._public = public
        self._most = most

    def routes(self) -> list[web.RouteDef]:
        """All paths."""
        return [
            web.post(CALLS_PATH, self.open_call),
            web.post(CALLS_PATH + "/{call_id}/hangup", self.hang_up),
            web.delete(CALLS_PATH + "/{call_id}", self.hang_up),
            web.patch(CALLS_PATH + "/{call_id}", self.trickle),
            web.post("/v1/realtime/client_secrets", self.mint),
            web.get("/v1/realtime/ice-servers", self.ice_servers),
            web.get(QUEUE_PATH + "/{ticket}", self.look),
            web.delete(QUEUE_PATH + "/{ticket}", self.leave),
        ]

    async def open_call(self, request: web.Request) -> web.Response:
        """201 with the answer; the call's own URL in `Location`, ICE servers as `Link`s. 202 with a place in the queue
        where all places are taken and the client prefers to wait.
        """
        access = self._access(request)
        offer = await read_offer(request)
        try:
            opened = await self._calls.open(call_request(request, access, self._public, offer.session, offer.sdp))
        except QueuedError as full:
            if not prefers_to_wait(request):
                raise
            return queue_answer(full)
        location = f"{CALLS_PATH}/{opened.call.id}"
        headers = {"Location": location, "Cache-Control": "no-store"}
        servers = self._calls.client_ice_servers()
        if offer.as_json:
            body = {"id": opened.call.id, "sdp": opened.answer, "ice_servers": servers}
            response = web.json_response(body, status=201, headers=headers)
        else:
            response = web.Response(status=201, text=opened.answer, content_type=SDP, headers=headers)
        for link in ice_links(servers):
            response.headers.add("Link", link)
        return response

    async def hang_up(self, request: web.Request) -> web.Response:
        """End the call and its conversation at once; what is left of them is released within 5 s."""
        call_id = request.match_info["call_id"]
        if not await self._calls.hang_up(call_id):
            raise _unknown_call()
        return web.Response(status=200)

    async def trickle(self, request: web.Request) -> web.Response:
        """More ICE candidates of the client: 204."""
        call = self._call(request)
        if body_type(request) != FRAGMENT:
            raise wrong_type(f"Candidates are sent as {FRAGMENT}.")
        await call.add_candidates(await read_text(request))
        return web.Response(status=204)

    async def mint(self, request: web.Request) -> web.Response:
        """A client secret `ek_...` that carries a session's configuration."""
        access = self._access(request)
        self._calls.places.limits.request(Caller(client_address(request)))
        wanted = client_secret_request(await read_json(request) if request.can_read_body else {})
        begins = session_asked(access, wanted.session)
        session = self._calls.session(begins)  # refused now rather than in every call made with it
        secret, allowance = self._minted(request, access, wanted, begins)
        body = client_secret_answer(secret, session.render(), allowance)
        return web.json_response(body, headers={"Cache-Control": "no-store"})

    def _minted(
        self, request: web.Request, access: Access, wanted: ClientSecretRequest, session: Mapping[str, Any]
    ) -> tuple[ClientSecret, Allowance]:
        """With the server's key, what is asked for, as far as the server allows it to anybody. A page without a key
        gets one for itself only; a page of another origin, or one around our own page, what the public may have. Our
        own page may also exchange a secret of the page around it for one that it can use.
        """
        page, host = page_origin(request), own_host(request)
        own = page is not None and is_own_page(page, host)
        embedder = wanted.kame.embedder if own else None
        if page is not None and embedder is not None and access.secret is not None:
            require_origin(access, embedder)
            allowance = replace(access.allowance, origin=normal_origin(page))
            return self._secrets.exchange(access.secret, session, allowance), allowance
        self._policy.require_minting(access)
        allowance = wanted.kame.allowance.within(self._most)
        if access.kind == "open" and page is not None:
            if embedder is not None and embedder != UNKNOWN_ORIGIN:
                self._policy.require_embedder(embedder, request.host)
            if not own or (embedder is not None and not is_own_page(embedder, request.host)):
                allowance = allowance.within(self._public)
            allowance = replace(allowance, origin=normal_origin(page))
        return self._secrets.mint(session, wanted.ttl_s, allowance), allowance

    async def ice_servers(self, request: web.Request) -> web.Response:
        """STUN and TURN servers for the client's own peer connection; `mode` says where there is no use in one."""
        self._access(request)
        body: dict[str, Any] = {"ice_servers": self._calls.client_ice_servers()}
        if self._calls.websocket_only:
            body["mode"] = "websocket"
        return web.json_response(body, headers={"Cache-Control": "no-store"})

    async def look(self, request: web.Request) -> web.Response:
        """Where a ticket stands in the queue; asking keeps its place. The ticket is its own key."""
        place = self._calls.places.line.look(request.match_info["ticket"])
        return web.json_response(place.as_json(), headers={"Cache-Control": "no-store"})

    async def leave(self, request: web.Request) -> web.Response:
        """Give a place in the queue up."""
        self._calls.places.line.leave(request.match_info["ticket"])
        return web.Response(status=200)

    def _access(self, request: web.Request) -> Access:
        authorization = request.headers.get("Authorization")
        return self._policy.check_bearer(authorization, origin=page_origin(request), host=own_host(request))

    def _call(self, request: web.Request) -> "Call":
        call = self._calls.get(request.match_info["call_id"])
        if call is None:
            raise _unknown_call()
        return call


def prefers_to_wait(request: web.Request) -> bool:
    """Whether the client takes 202 for an answer: `Prefer: respond-async` (RFC 7240 section 4.1)."""
    preferences = ",".join(request.headers.getall("Prefer", ())).split(",")
    return any(one.partition(";")[0].strip().lower() == "respond-async" for one in preferences)


def queue_answer(full: QueuedError) -> web.Response:
    """202: the caller stands in the queue; `Location` is its place. To a browser this is no failed request."""
    headers = {
        "Location": f"{QUEUE_PATH}/{full.place['ticket']}",
        "Preference-Applied": "respond-async",
        "Cache-Control": "no-store",
    }
    return web.json_response(full.place, status=202, headers=headers)


def _unknown_call() -> NotFoundError:
    return NotFoundError("There is no such call; it may have ended.", code="call_not_found")


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`change` laid over `base`, object by object."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def session_asked(access: Access, session: Mapping[str, Any]) -> dict[str, Any]:
    """A `session` over that of its key. One that takes a conversation up stays as it is: the key's was agreed before,
    and changed since.
    """
    return dict(session) if _resume(session) is not None else merged(access.session, session)


def call_request(
    request: web.Request,
    access: Access,
    public: Allowance,
    session: Mapping[str, Any] | None = None,
    sdp: str = "",
) -> CallRequest:
    """What a request to open a call asks for.

    Args:
        request: for its query and for who sends it.
        access: with what key.
        public: what pages of other origins may have that come without one.
        session: the request's own `session` object.
        sdp: the offer, where there is one.

    Raises:
        ParameterError: `transport` or the grace time is wrong.
        PermissionDeniedError: the key is for pages of another origin.
    """
    require_origin(access, page_origin(request))
    transport = request.query.get("transport", "")
    if transport not in ("", "echo", "webrtc", "websocket"):
        raise ParameterError("There is no such transport; leave it out or give echo.", param="transport")
    session = session_asked(access, session or {})
    echo = transport == "echo" or _extension(session).get("transport") == "echo"
    resume = None if echo else _resume(session)
    own = page_origin(request) is None or is_own_page(page_origin(request) or "", own_host(request))
    return CallRequest(
        sdp=sdp,
        session=session,
        secret=access.secret,
        allowance=access.allowance if access.kind != "open" or own else public,
        model=request.query.get("model", ""),
        resume=resume,
        echo=echo,
        grace_s=grace_s(request, session),
        caller=Caller(client_address(request), access.key_id or "", returns=resume is not None),
        ticket=request.query.get("ticket", ""),
    )


def client_address(request: web.Request) -> str:
    """The address by which callers are counted; see `caller_address`."""
    forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
    return caller_address(request.remote, forwarded, request.app.get(TRUSTED_PROXIES, 0))


def page_origin(request: web.Request) -> str | None:
    """The `Origin` header; `null`, which is nobody's, where it is malformed."""
    origin = request.headers.get("Origin")
    try:
        urlsplit(origin or "")
    except ValueError:
        return "null"
    return origin


def own_host(request: web.Request) -> str:
    """The host that pages of this server have in their origin: `Host`, unless the browser itself vouches for the page
    (`Sec-Fetch-Site`, which scripts cannot set; proxies may have changed `Host`), or both are on this machine, where
    the pages of a developer's other servers may call too.
    """
    page = urlsplit(page_origin(request) or "")
    vouched = request.headers.get("Sec-Fetch-Site") == "same-origin"
    with suppress(ValueError):
        own = urlsplit(f"//{request.host}")
        if vouched or (page.hostname in LOOPBACK and own.hostname in LOOPBACK):
            return page.netloc
    return request.host


def grace_s(request: web.Request, session: Mapping[str, Any]) -> float:
    """How long the conversation waits for its client after a broken connection: `kame.grace_s`, else as long as
    allowed for clients that are known to come back (a page of this server, one that just came back), else 0.
    """
    kame = _extension(session)
    wanted = kame.get("grace_s")
    if wanted is None:
        returns = _resume(session) is not None or request.headers.get("Sec-Fetch-Site") == "same-origin"
        return math.inf if returns else 0.0
    if isinstance(wanted, bool) or not isinstance(wanted, int | float) or not 0 <= wanted <= 3600:
        raise ParameterError("The grace time must be a number of seconds from 0 up.", param="session.kame.grace_s")
    return float(wanted)


def ice_links(servers: list[dict[str, Any]]) -> list[str]:
    """WHIP's `Link` headers (RFC 9725, section 4.6), one for each URL."""
    links = []
    for server in servers:
        urls = server["urls"]
        for url in [urls] if isinstance(urls, str) else urls:
            link = f'<{url}>; rel="ice-server"'
            if server.get("username"):
                link += f'; username="{server["username"]}"; credential="{server["credential"]}"'
                link += '; credential-type="password"'
            links.append(link)
    return links


def _extension(session: Mapping[str, Any]) -> Mapping[str, Any]:
    value = session.get("kame")
    return value if isinstance(value, Mapping) else {}


def _resume(session: Mapping[str, Any]) -> str | None:
    """Token of the conversation to go on with; whether it is good, who holds the conversations knows."""
    token = _extension(session).get("resume")
    return token if isinstance(token, str) else None
