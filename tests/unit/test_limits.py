"""What one caller may take, and who counts as one."""

import pytest

from app.limits import MOST_ADDRESSES, Caller, CallerLimits, RateLimitedError, caller_address
from kame_core.clock import VirtualClock


def test_calls_at_once_are_counted_for_each_address_and_each_secret() -> None:
    limits = CallerLimits(VirtualClock(), calls_per_address=2, calls_per_key=1)
    first = limits.take(Caller("192.0.2.1", "key_a"))
    with pytest.raises(RateLimitedError) as refused:
        limits.take(Caller("192.0.2.1", "key_a"))
    assert "client secret" in refused.value.user_message
    second = limits.take(Caller("192.0.2.1", "key_b"))
    with pytest.raises(RateLimitedError) as refused:
        limits.take(Caller("192.0.2.1", "key_c"))
    assert "address" in refused.value.user_message
    limits.take(Caller("192.0.2.2", "key_c"))
    first()
    first()  # once only
    limits.take(Caller("192.0.2.1", "key_a"))
    with pytest.raises(RateLimitedError):
        limits.take(Caller("192.0.2.1"))
    second()
    limits.take(Caller("192.0.2.1"))


def test_who_comes_back_after_a_broken_connection_may_have_one_more() -> None:
    limits = CallerLimits(VirtualClock(), calls_per_address=1)
    limits.take(Caller("192.0.2.1"))
    limits.take(Caller("192.0.2.1", returns=True))
    with pytest.raises(RateLimitedError):
        limits.take(Caller("192.0.2.1", returns=True))


def test_requests_of_a_minute_are_counted_and_memory_is_bounded() -> None:
    clock = VirtualClock()
    limits = CallerLimits(clock, requests_per_minute=3)
    caller = Caller("192.0.2.1")
    for _ in range(3):
        limits.request(caller)
        clock.advance(10)
    with pytest.raises(RateLimitedError):
        limits.request(caller)
    clock.advance(30)  # the first is a minute old
    limits.request(caller)
    with pytest.raises(RateLimitedError):
        limits.request(caller)
    for number in range(MOST_ADDRESSES + 5):
        limits.request(Caller(f"address {number}"))
    assert len(limits._requests) == MOST_ADDRESSES


def test_without_limits_nothing_is_counted() -> None:
    limits = CallerLimits(VirtualClock())
    for _ in range(1000):
        limits.request(Caller("192.0.2.1", "key"))
        limits.take(Caller("192.0.2.1", "key"))
    assert not limits._calls


@pytest.mark.parametrize(
    ("remote", "forwarded", "proxies", "address"),
    [
        ("192.0.2.1", "", 0, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", 0, "192.0.2.1"),  # nobody was told to believe it
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", 1, "198.51.100.7"),  # what stands before, the client itself wrote
        ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", 2, "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7", 3, "198.51.100.7"),
        ("10.0.0.1", "", 1, "10.0.0.1"),
        ("10.0.0.1", "nonsense", 1, ""),
        ("2001:db8:1:2:3:4:5:6", "", 0, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "", 0, "192.0.2.1"),
        ("fe80::1%eth0", "", 0, "fe80::/64"),
        (None, "", 0, ""),
    ],
)
def test_who_counts_as_one_caller(remote: str | None, forwarded: str, proxies: int, address: str) -> None:
    assert caller_address(remote, forwarded, proxies) == address
