import base64
import hashlib
import hmac
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webrtc.ice import (
    IceServer,
    IceSettings,
    first_usable,
    is_usable_candidate,
    parse_fragment,
    parse_ice_servers,
    turn_credentials,
)
from kame_core.errors import InvalidRequestError

HOST = "1 1 udp 2130706431 192.0.2.7 50000 typ host"


def test_a_comma_list_of_urls() -> None:
    assert parse_ice_servers(" stun:a.example:3478 , turn:b.example?transport=tcp,") == (
        IceServer(("stun:a.example:3478",)),
        IceServer(("turn:b.example?transport=tcp",)),
    )
    assert parse_ice_servers("  ") == ()


def test_a_json_list_as_browsers_take_it() -> None:
    entries = [
        {"urls": "stun:[2001:db8::1]:3478"},
        {"urls": ["turn:t.example", "turns:t.example:443?transport=tcp"], "username": "u", "credential": "c"},
        "stun:plain.example",
    ]
    servers = parse_ice_servers(json.dumps(entries))
    assert [server.to_json() for server in servers] == [
        {"urls": ["stun:[2001:db8::1]:3478"]},
        {"urls": ["turn:t.example", "turns:t.example:443?transport=tcp"], "username": "u", "credential": "c"},
        {"urls": ["stun:plain.example"]},
    ]
    assert parse_ice_servers(json.dumps({"iceServers": entries})) == servers
    assert parse_ice_servers(json.dumps(entries[0])) == servers[:1]


@pytest.mark.parametrize(
    "value",
    [
        "http://example.org",
        "stun::",
        "stun:host:99999",
        "stun:host:0",
        "stun:host?transport=udp",
        "turn:host?transport=sctp",
        "[1, 2]",
        '[{"url": 3}]',
        '[{"urls": []}]',
        '[{"urls": "turn:a.example", "username": "only"}]',
        '[{"urls": "turn:a.example", "username": 1, "credential": "c"}]',
        "[not json",
        "turn:host with space",
    ],
)
def test_malformed_servers_are_refused_without_echo(value: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_ice_servers(value)
    assert caught.value.code == "invalid_ice_servers"
    assert value not in caught.value.user_message


def test_aiortc_gets_the_first_stun_and_the_first_turn_it_understands() -> None:
    servers = parse_ice_servers(
        json.dumps(
            [
                {"urls": ["stuns:s.example", "stun:first.example", "stun:second.example"]},
                {"urls": "turn:nocredentials.example"},
                {"urls": "turns:t.example?transport=udp", "username": "u", "credential": "c"},
                {"urls": ["turns:t.example:443?transport=tcp", "turn:t.example"], "username": "u", "credential": "c"},
            ]
        )
    )
    assert first_usable(servers) == (
        IceServer(("stun:first.example",)),
        IceServer(("turns:t.example:443?transport=tcp",), "u", "c"),
    )


def test_credentials_are_those_coturn_computes() -> None:
    username, credential = turn_credentials("north", 1_700_000_000.7, 600, "ana")
    assert username == "1700000600:ana"
    assert base64.b64decode(credential) == hmac.new(b"north", b"1700000600:ana", hashlib.sha1).digest()
    assert turn_credentials("north", 1_700_000_000, 600)[0] == "1700000600"


def test_a_shared_secret_fills_only_servers_without_credentials() -> None:
    settings = IceSettings(
        servers=parse_ice_servers(
            '["stun:s.example", "turn:a.example", {"urls": "turn:b.example", "username": "u", "credential": "c"}]'
        ),
        own_servers=parse_ice_servers("turn:10.0.0.1?transport=tcp"),
        turn_secret="north",
        turn_ttl_s=60,
    )
    stun, made, fixed = settings.for_client(1000.0, "x")
    assert stun.username is None
    assert made.username == "1060:x"
    assert (fixed.username, fixed.credential) == ("u", "c")
    (own,) = settings.for_server(1000.0)
    assert own.urls == ("turn:10.0.0.1?transport=tcp",)
    assert own.username == "1060:server"
    assert "north" not in repr(settings)
    assert made.credential is not None
    assert made.credential not in repr(made)


def test_without_settings_there_is_no_server_at_all() -> None:
    assert IceSettings().for_server(0.0) == ()
    assert IceSettings().for_client(0.0) == ()


ANSWER = (
    "v=0\r\nm=audio 50000 UDP/TLS/RTP/SAVPF 96\r\n"
    "a=candidate:abc 1 udp 2130706431 10.0.0.5 50000 typ host\r\n"
    "a=candidate:abd 1 udp 2130706430 127.0.0.1 50003 typ host\r\n"
    "a=candidate:abe 1 udp 2130706429 fd00::5 50001 typ host\r\n"
    "a=candidate:abf 1 udp 1694498815 10.0.0.9 50000 typ srflx raddr 10.0.0.5 rport 50000\r\n"
    "a=end-of-candidates\r\n"
)


def test_a_public_address_is_told_beside_the_private_one() -> None:
    lines = IceSettings(public_address="203.0.113.7").advertise(ANSWER).splitlines(keepends=True)
    new = [line for line in lines if line not in ANSWER.splitlines(keepends=True)]
    assert new == ["a=candidate:abcp 1 udp 2130706430 203.0.113.7 50000 typ host\r\n"]
    assert lines.index(new[0]) == 3  # behind its own
    six = IceSettings(public_address="2001:db8::7").advertise(ANSWER)
    assert "a=candidate:abep 1 udp 2130706428 2001:db8::7 50001 typ host\r\n" in six
    assert six.count("a=candidate:") == 5


def test_an_answer_is_left_as_it_is_where_there_is_nothing_to_add() -> None:
    assert IceSettings().advertise(ANSWER) == ANSWER
    assert IceSettings(public_address="10.0.0.5").advertise(ANSWER) == ANSWER
    assert IceSettings(public_address="203.0.113.7", relay_only=True).advertise(ANSWER) == ANSWER
    public = ANSWER.replace("10.0.0.5", "8.8.8.8")
    assert IceSettings(public_address="8.8.8.8").advertise(public) == public


def test_a_fragment_gives_its_candidates_and_their_section() -> None:
    fragment = parse_fragment(
        "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        f"a=candidate:{HOST}\r\na=candidate:{HOST.replace('udp', 'tcp')} tcptype active\r\n"
        "a=candidate:2 1 udp 1 0ab4.local 5000 typ host\r\na=candidate:3 2 udp 1 192.0.2.7 5001 typ host\r\n"
        "m=application 9 UDP/DTLS/SCTP x\r\na=candidate:9 1 UDP 1 2001:db8::5 6000 typ srflx raddr :: rport 9\r\n"
        "a=end-of-candidates\r\n"
    )
    assert [(c.mid, c.line.split()[4]) for c in fragment.candidates] == [("0", "192.0.2.7"), (None, "2001:db8::5")]
    assert fragment.is_end
    assert fragment.ufrag == "EsAw"


def test_an_empty_candidate_is_the_end() -> None:
    assert parse_fragment("a=candidate:").is_end
    assert parse_fragment("candidate:").is_end
    assert not parse_fragment(f"a=candidate:{HOST}").is_end
    assert parse_fragment("").candidates == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a=candidate:1 1 udp 1 1.2.3.4", "invalid_candidate"),
        ("a=candidate:1 x udp 1 1.2.3.4 5 typ host", "invalid_candidate"),
        ("a=candidate:1 1 udp 1 1.2.3.4 5 typ host raddr 10.0.0.1 rport abc", "invalid_candidate"),
        ("hello there", "invalid_fragment"),
        ("a=mid:0\r\n" * 4000, "fragment_too_large"),
    ],
)
def test_a_malformed_fragment_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_fragment(text)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("address", "usable"),
    [("192.0.2.1", True), ("2001:db8::1", True), ("x.local", False), ("224.0.0.1", False), ("0.0.0.0", False)],
)
def test_which_addresses_are_checked(address: str, usable: bool) -> None:
    assert is_usable_candidate(f"1 1 udp 1 {address} 5000 typ host") is usable
    assert not is_usable_candidate(f"1 1 udp 1 {address} 0 typ host")


@given(st.text(max_size=300) | st.lists(st.sampled_from(["a=candidate:", HOST, "\n", "m=", "::", " "])).map("".join))
def test_nothing_but_a_refusal_is_raised_for_any_text(text: str) -> None:
    with suppress(InvalidRequestError):
        parse_fragment(text)
