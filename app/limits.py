"""How much one caller may take: calls at once for each address and each client secret, and requests a minute."""

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from kame_core.clock import Clock
from kame_core.errors import KameError

WINDOW_S = 60.0
MOST_ADDRESSES = 10_000
"""Remembered at once; beyond, the one that asked least lately is forgotten."""


class RateLimitedError(KameError):
    """One caller takes more than its share."""

    code = "rate_limited"
    retryable = True


@dataclass(frozen=True, slots=True)
class Caller:
    """Who wants something, as far as it is to be counted."""

    address: str = ""
    """Of the client, `caller_address` of it; empty: not known, so not counted."""
    key_id: str = ""
    """Of its client secret; empty: it has none."""
    returns: bool = False
    """It takes up a conversation whose call may not be known to be dead yet, and may have one call more."""


class CallerLimits:
    """Counts what callers take. Every limit may be None: none.

    Args:
        clock: seconds.
        calls_per_address: calls at once.
        calls_per_key: calls at once with one client secret.
        requests_per_minute: of one address: calls, client secrets.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        calls_per_address: int | None = None,
        calls_per_key: int | None = None,
        requests_per_minute: int | None = None,
    ) -> None:
        self._clock = clock
        self._calls_per_address = calls_per_address
        self._calls_per_key = calls_per_key
        self._requests_per_minute = requests_per_minute
        self._calls: dict[tuple[str, str], int] = {}
        self._requests: OrderedDict[str, deque[float]] = OrderedDict()

    def request(self, caller: Caller) -> None:
        """Count a request.

        Raises:
            RateLimitedError: there were too many within a minute.
        """
        most = self._requests_per_minute
        if most is None or not caller.address:
            return
        now_s = self._clock.now()
        times = self._requests.setdefault(caller.address, deque())
        self._requests.move_to_end(caller.address)
        while times and times[0] <= now_s - WINDOW_S:
            times.popleft()
        if len(times) >= most:
            raise RateLimitedError(f"Too many calls from your address within a minute; {most} are allowed.")
        times.append(now_s)
        if len(self._requests) > MOST_ADDRESSES:
            self._requests.popitem(last=False)

    def take(self, caller: Caller) -> Callable[[], None]:
        """Count a call; returns what gives its share back, once.

        Raises:
            RateLimitedError: this caller has as many calls as one may.
        """
        more = 1 if caller.returns else 0
        shares = (
            (("address", caller.address), self._calls_per_address, "from your address"),
            (("key", caller.key_id), self._calls_per_key, "with this client secret"),
        )
        counted = [(key, most + more, words) for key, most, words in shares if most is not None and key[1]]
        for key, most, words in counted:
            if self._calls.get(key, 0) >= most:
                raise RateLimitedError(f"There are {self._calls[key]} calls {words} already. End one of them first.")
        for key, _, _ in counted:
            self._calls[key] = self._calls.get(key, 0) + 1
        taken = [key for key, _, _ in counted]

        def give_back() -> None:
            while taken:
                key = taken.pop()
                self._calls[key] -= 1
                if self._calls[key] <= 0:
                    del self._calls[key]

        return give_back


def caller_address(remote: str | None, forwarded_for: str, trusted_proxies: int) -> str:
    """The client's address: what counts as one caller.

    Args:
        remote: who opened the connection.
        forwarded_for: all `X-Forwarded-For` headers, joined by commas. Each proxy appends whom it heard from, so only
            the last `trusted_proxies` entries are true; what stands before anybody may write.
        trusted_proxies: how many of the operator's own proxies stand before this server.

    Returns:
        An IPv4 address; of an IPv6 one its /64 network, which is what one customer has; empty where there is none.
    """
    hops = [hop.strip() for hop in forwarded_for.split(",") if hop.strip()]
    text = hops[-min(trusted_proxies, len(hops))] if trusted_proxies and hops else (remote or "")
    try:
        address = ipaddress.ip_address(text.partition("%")[0].strip("[]"))
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)
