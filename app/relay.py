"""Keeps the way through STUN and TURN in order: tries the servers at start and again, and renews what runs out."""

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from app.engines import EngineRoom, PartState
from app.settings import Settings
from app.webrtc.cloudflare import CloudflareTurn
from app.webrtc.ice import IceServer, first_usable
from kame_core.errors import KameError

if TYPE_CHECKING:  # aiortc is imported on a worker, behind the first page
    from app.webrtc.probe import Probed

log = logging.getLogger(__name__)

CHECK_S = 600.0
CHECK_TROUBLED_S = 30.0
"""While something does not answer."""
MOST_TRIED = 8


class IceKeeper:
    """Tries what the settings name, and lets this server use what works.

    A STUN server that does not answer would hold up the answer to every offer, and a TURN server that refuses would be
    missed by nobody until a call fails; so what does not work is left out here until it does, and said on the part
    `ice`. Clients are given all servers: theirs is another way.

    Args:
        room: whose `ice` settings and part are kept.
        cloudflare: where credentials are fetched; None: there are only the fixed servers.
    """

    def __init__(self, room: EngineRoom, cloudflare: CloudflareTurn | None = None) -> None:
        self._room = room
        self._fixed = room.ice.servers
        self._fetched: tuple[IceServer, ...] = ()
        self._cloudflare = cloudflare
        self._renew_at_s = 0.0
        self._trouble = ""

    @property
    def needed(self) -> bool:
        """Whether there is anything to keep."""
        return bool(self._fixed or self._cloudflare)

    async def run(self) -> None:
        """Keep until cancelled; ends by itself where there is nothing to keep."""
        while self._room.part("ice").state is PartState.LOADING:
            await self._room.clock.sleep_until(self._room.clock.now() + 0.1)
        if self._room.part("ice").state is PartState.FAILED or not self.needed:
            return
        while True:
            fine = await self.check()
            await self._room.clock.sleep_until(self._room.clock.now() + (CHECK_S if fine else CHECK_TROUBLED_S))

    async def check(self) -> bool:
        """Renew and try everything once; whether all is well."""
        await self._renew()
        from app.webrtc.probe import probe

        tried = await asyncio.gather(*(probe(server) for server in self._usable()[:MOST_TRIED]))
        working = tuple(one.server for one in tried if one.works)
        self._room.ice = replace(self._room.ice, own_servers=working)
        self._tell(tried)
        return bool(tried) and len(working) == len(tried) and not self._trouble

    def _usable(self) -> list[IceServer]:
        """Each URL this server could use, by itself, with credentials."""
        servers = self._room.ice.for_client(time.time(), "server")
        single = [replace(server, urls=(url,)) for server in servers for url in server.urls]
        return [server for server in single if first_usable([server])]

    async def _renew(self) -> None:
        if self._cloudflare is None or self._room.clock.now() < self._renew_at_s:
            return
        try:
            self._fetched = await self._room.work(self._cloudflare.fetch)
        except KameError as error:
            log.warning("%s", error.user_message)
            self._trouble = error.user_message
        else:  # a client may begin a call with what it was given just before
            self._renew_at_s = self._room.clock.now() + self._cloudflare.ttl_s / 4
            self._trouble = ""
        self._room.ice = replace(self._room.ice, servers=self._fixed + self._fetched)

    def _tell(self, tried: "list[Probed]") -> None:
        ice = self._room.ice
        relayed = any(one.works and one.server.relays for one in tried)
        words = "; ".join(f"{one.url} {one.words}" for one in tried)
        bad = [one.url for one in tried if not one.works]
        better = " ".join(
            part
            for part in (
                self._trouble,
                f"Look at {' and '.join(bad)}: left out until it works." if bad else "",
            )
            if part
        )
        if ice.relay_only and not relayed:
            why = f"No TURN server can be used, and KAME_ICE_TRANSPORT_POLICY is relay. Tried: {words or 'none'}."
            self._room.set("ice", state=PartState.FAILED, choice="none", why=why, better=better)
            return
        stun = any(one.works for one in tried)
        kind = "relayed" if ice.relay_only else "direct, relay beside it" if relayed else "direct, with STUN"
        self._room.ready_part("ice", kind if stun else "direct", why=f"Tried: {words or 'none'}.", better=better)


def cloudflare_turn(settings: Settings) -> CloudflareTurn | None:
    """Where TURN credentials are fetched; good for longer than a call that begins late in their life."""
    if settings.cloudflare_turn_token is None:
        return None
    token = settings.cloudflare_turn_token.get_secret_value()
    return CloudflareTurn(settings.cloudflare_turn_key, token, round(max(4 * 3600, 2 * settings.max_call_s)))
