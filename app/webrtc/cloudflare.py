"""TURN credentials of Cloudflare's Realtime TURN service.

Source: developers.cloudflare.com/realtime/turn/generate-credentials.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.webrtc.ice import IceServer, parse_ice_servers
from kame_core.errors import InvalidRequestError, UnavailableError

ENDPOINT = "https://rtc.live.cloudflare.com/v1/turn/keys"
MAX_TTL_S = 48 * 3600
REQUEST_DEADLINE_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024
BLOCKED_PORT = ":53"
"""Browsers refuse it, and wait for it until they time out."""


@dataclass(frozen=True, slots=True)
class CloudflareTurn:
    """One TURN key of a Cloudflare account."""

    key_id: str
    token: str = field(repr=False)
    """The key's API token."""
    ttl_s: int
    """How long credentials are good for, 48 h at most."""
    endpoint: str = ENDPOINT

    def fetch(self) -> tuple[IceServer, ...]:
        """Fresh credentials. Blocks for 10 s at most: call it on a worker.

        Raises:
            UnavailableError: the service refuses the key, cannot be reached, or answers something else.
        """
        request = urllib.request.Request(
            f"{self.endpoint}/{self.key_id}/credentials/generate-ice-servers",
            data=json.dumps({"ttl": min(self.ttl_s, MAX_TTL_S)}).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_DEADLINE_S) as response:
                answer = json.loads(response.read(MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (401, 403, 404):
                raise UnavailableError(
                    "Cloudflare refuses the TURN key. Check KAME_CLOUDFLARE_TURN_KEY and KAME_CLOUDFLARE_TURN_TOKEN.",
                    code="turn_key_refused",
                ) from None
            raise _failed(f"answered with {error.code}") from None
        except (OSError, ValueError):
            raise _failed("could not be reached") from None
        try:
            servers = answer["iceServers"]
            return usable(servers if isinstance(servers, list) else [servers])
        except (KeyError, TypeError, InvalidRequestError):
            raise _failed("answered something unknown") from None


def usable(servers: list[Mapping[str, Any]]) -> tuple[IceServer, ...]:
    """The servers of an answer, without the URLs that browsers refuse."""
    kept = []
    for server in servers:
        urls = [server["urls"]] if isinstance(server["urls"], str) else server["urls"]
        allowed = [url for url in urls if not url.partition("?")[0].endswith(BLOCKED_PORT)]
        if allowed:
            kept.append({**server, "urls": allowed})
    return parse_ice_servers(json.dumps(kept))


def _failed(what: str) -> UnavailableError:
    return UnavailableError(f"Cloudflare's TURN service {what}.", code="turn_unavailable", retryable=True)
