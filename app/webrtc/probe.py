"""Tries STUN and TURN servers as a call would: those that do not answer cost every call seconds."""

import asyncio
import logging
import time
from dataclasses import dataclass

from aioice import Connection, stun, turn
from aiortc import RTCIceServer
from aiortc.rtcicetransport import connection_kwargs

from app.webrtc.ice import IceServer

log = logging.getLogger(__name__)

PROBE_DEADLINE_S = 4.0
_REFUSED = (400, 401, 403, 437, 438, 441)
"""Error codes with which TURN servers turn credentials down (RFC 8656, section 19)."""
_NO_ROOM = (486, 508)


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of trying one server."""

    server: IceServer
    """With one URL."""
    works: bool
    words: str
    """What it gave, or what is wrong; a clause without a full stop."""

    @property
    def url(self) -> str:
        """The server's."""
        return self.server.urls[0]


async def probe(server: IceServer) -> Probed:
    """Ask a STUN server for this machine's address, or a TURN server for an address of its own.

    Args:
        server: with one URL, and with credentials where it is a TURN server. Never raises for what a server does.
    """
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(PROBE_DEADLINE_S):
            address = await (_allocate(server) if server.relays else _reflect(server))
    except stun.TransactionFailed as error:
        code, _ = error.response.attributes.get("ERROR-CODE", (0, ""))
        words = "refuses the credentials" if code in _REFUSED else f"answers with error {code}"
        return Probed(server, False, "has no room left" if code in _NO_ROOM else words)
    except (TimeoutError, stun.TransactionTimeout):
        return Probed(server, False, "does not answer")
    except OSError as error:
        return Probed(server, False, f"cannot be reached ({error.strerror or type(error).__name__})")
    except Exception as error:  # of a library, about what a server sent
        log.exception("trying %s failed", server.urls[0])
        return Probed(server, False, f"could not be tried ({type(error).__name__})")
    took_ms = (time.monotonic() - began_s) * 1000
    return Probed(server, True, f"{'relays at' if server.relays else 'sees'} {address}, {took_ms:.0f} ms")


def _arguments(server: IceServer) -> dict[str, object]:
    return connection_kwargs([RTCIceServer(list(server.urls), server.username, server.credential)])


async def _reflect(server: IceServer) -> str:
    """The address of this machine as a STUN server sees it."""
    connection = Connection(ice_controlling=True, use_ipv6=False, stun_server=_arguments(server)["stun_server"])  # type: ignore[arg-type]
    try:
        await connection.gather_candidates()
        found = [candidate.host for candidate in connection.local_candidates if candidate.type == "srflx"]
    finally:
        await connection.close()
    if not found:
        raise TimeoutError
    return found[0]


class _Nobody(asyncio.DatagramProtocol):
    """Takes what comes through the relay: nothing."""


async def _allocate(server: IceServer) -> str:
    """An address at a TURN server, given back at once."""
    arguments = _arguments(server)
    transport, _ = await turn.create_turn_endpoint(
        _Nobody,
        server_addr=arguments["turn_server"],  # type: ignore[arg-type]
        username=server.username,
        password=server.credential,
        ssl=bool(arguments["turn_ssl"]),
        transport=str(arguments["turn_transport"]),
    )
    address = transport.get_extra_info("sockname")
    transport.close()
    return f"{address[0]}"
