"""ICE from the outside: which STUN and TURN servers are used, their credentials, and trickled candidates.

Knows no WebRTC library, so that reading settings stays light.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kame_core.errors import InvalidRequestError

MAX_FRAGMENT_BYTES = 16 * 1024
MAX_CANDIDATES = 64
"""For one call, those of the offer included: each is paired with every local one and checked."""
TURN_TTL_S = 3_600

_URL = re.compile(
    r"(?P<scheme>stuns?|turns?):(?P<host>[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?"
    r"(?:\?transport=(?P<transport>udp|tcp))?"
)


@dataclass(frozen=True, slots=True)
class IceServer:
    """One STUN or TURN server, as in `RTCConfiguration.iceServers`."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    @property
    def relays(self) -> bool:
        """Whether it is a TURN server."""
        return any(url.startswith("turn") for url in self.urls)

    def to_json(self) -> dict[str, Any]:
        """As the browser takes it."""
        server: dict[str, Any] = {"urls": list(self.urls)}
        if self.username is not None:
            server |= {"username": self.username, "credential": self.credential}
        return server


@dataclass(frozen=True, slots=True)
class IceSettings:
    """The servers of this installation.

    Args:
        servers: for clients, in order of preference; for this server too, unless it has its own.
        own_servers: for this server, where its way to the relay is another one; None: the same.
        turn_secret: the secret shared with TURN servers that have no fixed credentials (coturn's `use-auth-secret`).
        turn_ttl_s: how long credentials made from it are good for.
        relay_only: never give away or use an address of this machine itself.
        public_address: where clients reach this machine, which itself knows only private ones; empty: as it is.
    """

    servers: tuple[IceServer, ...] = ()
    own_servers: tuple[IceServer, ...] | None = None
    turn_secret: str = field(default="", repr=False)
    turn_ttl_s: int = TURN_TTL_S
    relay_only: bool = False
    public_address: str = ""

    def for_client(self, now_unix_s: float, user: str = "") -> tuple[IceServer, ...]:
        """All servers, with fresh credentials where they are made here."""
        return self._with_credentials(self.servers, now_unix_s, user)

    def for_server(self, now_unix_s: float) -> tuple[IceServer, ...]:
        """The servers aiortc takes: the first STUN and the first TURN URL it understands, one each."""
        chosen = self.servers if self.own_servers is None else self.own_servers
        return first_usable(self._with_credentials(chosen, now_unix_s, "server"))

    def advertise(self, answer: str) -> str:
        """The answer (SDP) with a candidate at the public address beside each private one.

        For machines whose public address is translated one to one, ports included: cloud VMs, containers behind them.
        """
        if not self.public_address or self.relay_only:
            return answer
        lines: list[str] = []
        for line in answer.splitlines(keepends=True):
            lines.append(line)
            public = _public_candidate(line, self.public_address)
            if public and public not in lines:
                lines.append(public)
        return "".join(lines)

    def _with_credentials(self, servers: Sequence[IceServer], now_unix_s: float, user: str) -> tuple[IceServer, ...]:
        if not self.turn_secret:
            return tuple(servers)
        username, credential = turn_credentials(self.turn_secret, now_unix_s, self.turn_ttl_s, user)
        return tuple(
            replace(server, username=username, credential=credential)
            if server.relays and server.username is None
            else server
            for server in servers
        )


def _public_candidate(line: str, address: str) -> str | None:
    """The candidate line of a private address of the same family, moved to the public one; None: it is another line."""
    fields = line.rstrip("\r\n").split(" ")
    if not fields[0].startswith("a=candidate:") or len(fields) < 8 or fields[7] != "host":
        return None
    own, public = ipaddress.ip_address(fields[4]), ipaddress.ip_address(address)
    if own.version != public.version or own == public or own.is_loopback or not own.is_private:
        return None
    fields[0] += "p"  # another base, so another foundation (RFC 8445, section 5.1.1.3)
    fields[3] = str(int(fields[3]) - 1)
    fields[4] = address
    return " ".join(fields) + line[len(line.rstrip("\r\n")) :]


def parse_ice_servers(value: str) -> tuple[IceServer, ...]:
    """Servers from a setting: a JSON list as for `RTCConfiguration.iceServers`, or URLs separated by commas.

    Raises:
        InvalidRequestError: it is neither; the message says what is wrong.
    """
    value = value.strip()
    if not value:
        return ()
    if not value.startswith(("[", "{")):
        return tuple(IceServer((_checked_url(url.strip()),)) for url in value.split(",") if url.strip())
    try:
        entries = json.loads(value)
    except ValueError:
        raise _bad_servers("The list of ICE servers begins like JSON but is none.") from None
    if isinstance(entries, dict):
        entries = entries.get("iceServers", [entries])
    if not isinstance(entries, list):
        raise _bad_servers("The ICE servers must be a list.")
    return tuple(_server(entry) for entry in entries)


def _server(entry: object) -> IceServer:
    if isinstance(entry, str):
        return IceServer((_checked_url(entry),))
    if not isinstance(entry, dict):
        raise _bad_servers("Each ICE server must be an object with urls.")
    urls = entry.get("urls", entry.get("url"))
    urls = [urls] if isinstance(urls, str) else urls
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        raise _bad_servers("An ICE server has no urls.")
    username, credential = entry.get("username"), entry.get("credential")
    if not all(part is None or isinstance(part, str) for part in (username, credential)):
        raise _bad_servers("The username and credential of an ICE server must be strings.")
    if (username is None) != (credential is None):
        raise _bad_servers("An ICE server has only one of username and credential; give both or none.")
    return IceServer(tuple(_checked_url(url) for url in urls), username, credential)


def _checked_url(url: str) -> str:
    match = _URL.fullmatch(url)
    if match is None or not 0 < int(match["port"] or 3478) < 65_536:
        raise _bad_servers("An ICE server's URL must look like stun:host:port or turn:host:port?transport=udp.")
    if match["scheme"].startswith("stun") and match["transport"]:
        raise _bad_servers("A STUN server's URL takes no transport; leave it out.")
    return url


def _bad_servers(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, code="invalid_ice_servers")


def first_usable(servers: Sequence[IceServer]) -> tuple[IceServer, ...]:
    """What aiortc 1.16 can use of a list: one STUN URL (not `stuns`), one TURN URL (`turns` only over TCP)."""
    chosen: dict[str, IceServer] = {}
    for server in servers:
        for url in server.urls:
            match = _URL.fullmatch(url)
            if match is None or match["scheme"] == "stuns":
                continue
            if match["scheme"] == "turns" and match["transport"] == "udp":
                continue
            if match["scheme"] != "stun" and server.username is None:
                continue  # aiortc would ask without credentials and lose seconds
            chosen.setdefault(match["scheme"].rstrip("s"), replace(server, urls=(url,)))
    return tuple(chosen.values())


def turn_credentials(secret: str, now_unix_s: float, ttl_s: int = TURN_TTL_S, user: str = "") -> tuple[str, str]:
    """Username and password that a TURN server with the same secret accepts for `ttl_s`.

    Source: "A REST API for Access to TURN Services" (draft-uberti-behave-turn-rest-00), as in coturn.
    """
    expiry = str(int(now_unix_s) + ttl_s)
    username = f"{expiry}:{user}" if user else expiry
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode()


# --- candidates ---


@dataclass(frozen=True, slots=True)
class TrickledCandidate:
    """One candidate of a fragment."""

    mid: str | None
    line: str
    """What follows `candidate:`."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """What a client trickled."""

    candidates: tuple[TrickledCandidate, ...]
    is_end: bool
    """The client will send no more."""
    ufrag: str | None


def parse_fragment(text: str) -> Fragment:
    """A body of type `application/trickle-ice-sdpfrag` (RFC 8840, section 9).

    Candidates that can be of no use here (mDNS names, TCP, other components than RTP) are left out.

    Raises:
        InvalidRequestError: it is too large or malformed.
    """
    if len(text.encode(errors="replace")) > MAX_FRAGMENT_BYTES:
        raise InvalidRequestError(f"Send at most {MAX_FRAGMENT_BYTES} bytes at a time.", code="fragment_too_large")
    candidates: list[TrickledCandidate] = []
    mid: str | None = None
    ufrag: str | None = None
    is_end = False
    for line in text.splitlines():
        line = line.strip()
        attribute, _, value = line.removeprefix("a=").partition(":")
        if line.startswith("m="):
            mid = None
        elif attribute == "mid":
            mid = value
        elif attribute == "ice-ufrag":
            ufrag = value
        elif attribute == "end-of-candidates":
            is_end = True
        elif attribute == "candidate":
            if not value.strip():
                is_end = True
            elif is_usable_candidate(value):
                candidates.append(TrickledCandidate(mid, value.strip()))
        elif line and not re.match(r"[a-z]=", line):
            raise InvalidRequestError(
                "The fragment is no SDP: every line must look like a=...", code="invalid_fragment"
            )
    return Fragment(tuple(candidates), is_end, ufrag)


def is_usable_candidate(value: str) -> bool:
    """Whether a `candidate:` value (RFC 8839, section 5.1) names a UDP address for RTP that can be checked.

    Names under .local (mDNS) are left out because looking each up takes a second and fails outside the client's own
    network; such a client is found by the checks it sends itself. Raises `InvalidRequestError` where it is malformed.
    """
    parts = value.split()
    if len(parts) < 8 or parts[6] != "typ":
        raise InvalidRequestError("A candidate line is malformed.", code="invalid_candidate")
    related = [value for name, value in zip(parts[8::2], parts[9::2], strict=False) if name == "rport"]
    try:
        component, _, port, *_ = (int(number) for number in (parts[1], parts[3], parts[5], *related))
    except ValueError:
        raise InvalidRequestError("A candidate line is malformed.", code="invalid_candidate") from None
    try:
        address = ipaddress.ip_address(parts[4])
    except ValueError:
        return False
    routable = not (address.is_multicast or address.is_unspecified)
    return routable and component == 1 and parts[2].lower() == "udp" and 0 < port < 65_536
