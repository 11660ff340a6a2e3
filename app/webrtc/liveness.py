"""Is the other side still there? What arrives from it is noted, authenticated packets only.

aiortc tells of a vanished client after 30 seconds. Here every SRTP and SRTCP packet, every SCTP packet of the data
channel and every authenticated STUN message is noted, so that five silent seconds mean that the client is gone, while a
muted one stays: it sends no sound for minutes, but answers STUN consent checks (RFC 7675), which are sent each second.

The functions below are the only ones that touch private parts of aiortc's transports and of aioice. Each checks that
they are what is expected and otherwise leaves them alone and says so.
"""

import asyncio
import functools
import inspect
import logging
import random
from collections.abc import Callable
from typing import Any

import aiortc.rtcsctptransport
from aioice.ice import Connection
from aioice.stun import TransactionError
from aiortc import RTCDtlsTransport, RTCSctpTransport

from kame_core.clock import Clock

logger = logging.getLogger(__name__)

CONSENT_INTERVAL_S = 1.0
CONSENT_EXPIRY_S = 30.0
"""Without an answer for so long nothing may be sent any more (RFC 7675, section 5.1)."""
GATHERING_S = 3
SCTP_CHUNK_BYTES = 1_100
"""Fits paths of 1,280 bytes with DTLS, TURN and a tunnel around it; larger packets would vanish without a trace."""
STALL_S = 0.5


class SilenceWatch:
    """How long nothing arrived."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_s = clock.now()

    @property
    def last_s(self) -> float:
        """When something arrived last."""
        return self._last_s

    def note(self) -> None:
        """Something arrived now."""
        self._last_s = self._clock.now()

    def forgive(self, late_s: float) -> None:
        """The loop itself stood still for so long: what arrived meanwhile could not be noted."""
        if late_s > STALL_S:
            self._last_s = min(self._clock.now(), self._last_s + late_s)


def watch_transport(
    transport: RTCDtlsTransport, clock: Clock, note: Callable[[], None], lost: Callable[[], None]
) -> bool:
    """Call `note` for everything authentic that arrives on a transport, and check consent each second. Call `lost` when
    the socket in use is lost, such as that to a relay; aiortc then says no more than that the connection is closed, as
    it does of a client that hangs up.

    Also bounds the gathering of candidates. To be called before gathering begins. Returns False, with a warning in the
    log, where the libraries are not those known; the transport then tells of a vanished client late, in its own way.
    """
    connection = getattr(transport.transport, "_connection", None)
    known = isinstance(connection, Connection) and _has(
        connection,
        ("check_incoming", ("message", "addr", "protocol")),
        ("protocol_lost", ("protocol",)),
        ("query_consent", ()),
        ("build_request", ("pair", "nominate")),
        ("get_component_candidates", ("component", "addresses", "timeout")),
    )
    known = known and all(hasattr(connection, name) for name in ("_nominated", "_closing", "_query_consent_task"))
    known = known and _has(
        transport, ("_handle_rtp_data", ("data", "arrival_time_ms")), ("_handle_rtcp_data", ("data",))
    )
    if not known:
        logger.warning("aiortc's transports have changed: a vanished client is noticed after half a minute only")
        return False
    seam: Any = connection
    seam.query_consent = functools.partial(_check_consent, connection, clock, note)
    seam.get_component_candidates = functools.partial(seam.get_component_candidates, timeout=GATHERING_S)
    seam.protocol_lost = functools.partial(_lose_protocol, connection, seam.protocol_lost, lost)
    _note_calls(connection, "check_incoming", note)
    _note_calls(transport, "_handle_rtp_data", note)
    _note_calls(transport, "_handle_rtcp_data", note)
    return True


def watch_channel(sctp: RTCSctpTransport, note: Callable[[], None]) -> bool:
    """Call `note` for every packet of the data channel. Returns False where aiortc is not as known."""
    if not _has(sctp, ("_handle_data", ("data",))):
        return False
    _note_calls(sctp, "_handle_data", note)
    return True


def limit_chunks() -> bool:
    """Keep packets of the data channel below `SCTP_CHUNK_BYTES`, in this process. Idempotent."""
    size = getattr(aiortc.rtcsctptransport, "USERDATA_MAX_LENGTH", None)
    if not isinstance(size, int):
        logger.warning("aiortc's data channel has changed: its packets may be too large for some networks")
        return False
    aiortc.rtcsctptransport.USERDATA_MAX_LENGTH = min(size, SCTP_CHUNK_BYTES)
    return True


def _lose_protocol(connection: Any, go_on: Callable[[Any], None], lost: Callable[[], None], protocol: Any) -> None:
    if any(pair.protocol is protocol for pair in connection._nominated.values()):
        lost()
    go_on(protocol)


async def _check_consent(connection: Any, clock: Clock, note: Callable[[], None]) -> None:
    """Ask the other side each second whether it still wants to be sent to; takes the place of aioice's own loop."""
    answered_s = clock.now()
    while clock.now() - answered_s < CONSENT_EXPIRY_S:
        await asyncio.sleep(CONSENT_INTERVAL_S * random.uniform(0.8, 1.2))
        for pair in list(connection._nominated.values()):
            try:
                await pair.protocol.request(
                    connection.build_request(pair, nominate=False),
                    pair.remote_addr,
                    integrity_key=connection.remote_password.encode(),
                    retransmissions=1,
                )
            except TransactionError:
                continue
            answered_s = clock.now()
            note()
    connection._query_consent_task = None
    await connection.close()


def _has(target: object, *methods: tuple[str, tuple[str, ...]]) -> bool:
    """Whether all methods are there with these parameters."""
    for name, parameters in methods:
        method = getattr(target, name, None)
        if not callable(method) or tuple(inspect.signature(method).parameters) != parameters:
            return False
    return True


def _note_calls(target: Any, name: str, note: Callable[[], None]) -> None:
    original = getattr(target, name)

    @functools.wraps(original)
    def noted(*args: Any, **kwargs: Any) -> Any:
        note()
        return original(*args, **kwargs)

    setattr(target, name, noted)
