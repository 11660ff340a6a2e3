import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.webrtc.sdp import MAX_SDP_BYTES, complete_answer, read_offer
from kame_core.errors import InvalidRequestError

HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=msid-semantic:WMS *\r\n"
KEYS = (
    "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
)
AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:0 PCMU/8000\r\n"
)
DATA = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sctp-port:5000\r\n"
HOST = "a=candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host\r\n"
OFFER = HEAD + AUDIO + KEYS + DATA + KEYS


def code_of(text: str) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        read_offer(text)
    return caught.value.code


def test_a_good_offer() -> None:
    offer = read_offer(OFFER)
    assert offer.ufrag == "abcd"
    assert offer.primary_mid == "0"
    assert offer.transport_mids == {"0"}
    assert offer.candidates == 0
    assert offer.has_channel
    assert not read_offer(HEAD.replace("BUNDLE 0 1", "BUNDLE 0") + AUDIO + KEYS).has_channel


def test_bare_line_feeds_and_surrounding_space_are_fine() -> None:
    assert read_offer("\n" + OFFER.replace("\r\n", "\n") + "\n\n").ufrag == "abcd"


def test_without_a_bundle_each_section_has_its_transport() -> None:
    offer = read_offer(OFFER.replace("a=group:BUNDLE 0 1\r\n", ""))
    assert offer.transport_mids == {"0", "1"}
    assert offer.primary_mid == "0"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_sdp"),
        ("hello", "invalid_sdp"),
        ("v=0", "no_audio"),
        ("v=0\r\nm=audio", "invalid_sdp"),
        (OFFER.replace("opus/48000/2", "opus"), "invalid_sdp"),
        (OFFER.replace("a=setup:actpass", "a=setup:sideways"), "invalid_sdp"),
        (OFFER.replace("a=setup:actpass\r\n", ""), "invalid_sdp"),
        (OFFER.replace("a=fingerprint:sha-256", "a=x:sha-256"), "invalid_sdp"),
        (OFFER.replace("a=ice-pwd", "a=ice-pw"), "invalid_sdp"),
        (OFFER.replace("a=rtcp-mux\r\n", ""), "invalid_sdp"),
        (OFFER + "a=ssrc:1 cname:x\r\n" * 257, "invalid_sdp"),
        (OFFER + "a=x\r\n" * 2_000, "invalid_sdp"),
        (OFFER + HOST.replace("host", "host rport x"), "invalid_sdp"),
        (OFFER.replace("a=mid:1", "a=mid:0"), "invalid_sdp"),
        (OFFER.replace("BUNDLE 0 1", "BUNDLE 0 7"), "invalid_sdp"),
        (OFFER.replace("m=application", "m=text"), "invalid_sdp"),
        (OFFER + HOST.replace("192.0.2.7 50000", "192.0.2.7"), "invalid_sdp"),
        (OFFER + "a=candidate:\r\n", "invalid_sdp"),
        (HEAD + AUDIO + KEYS + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" * 20, "invalid_sdp"),
        (HEAD + DATA + KEYS, "no_audio"),
        (OFFER.replace("m=audio 9", "m=audio 0"), "no_audio"),
        (OFFER.replace("a=sendrecv", "a=recvonly"), "no_audio"),
        (OFFER.replace("a=sendrecv", "a=sendonly"), "no_audio"),
        (OFFER.replace("opus/48000", "G722/8000"), "no_opus"),
        ("v=0" + " " * MAX_SDP_BYTES, "sdp_too_large"),
        ("v=0" + "é" * (MAX_SDP_BYTES // 2), "sdp_too_large"),
    ],
)
def test_what_is_wrong_is_said_precisely(text: str, code: str) -> None:
    assert code_of(text) == code


def test_nothing_of_the_offer_is_echoed_or_kept_in_the_error() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_offer(OFFER.replace("a=setup:actpass", "a=setup:mysecret"))
    error = caught.value
    assert "mysecret" not in error.user_message
    assert error.__suppress_context__
    assert error.__cause__ is None


def test_useless_candidates_are_left_out_and_the_end_only_stays_behind_a_useful_one() -> None:
    local = "a=candidate:2 1 udp 1 4f2a.local 5000 typ host\r\n"
    tcp = "a=candidate:3 1 tcp 1 192.0.2.7 9 typ host tcptype active\r\n"
    end = "a=end-of-candidates\r\n"
    only_names = read_offer(HEAD + AUDIO + KEYS + local + tcp + end + DATA + KEYS)
    assert only_names.candidates == 0
    assert "local" not in only_names.sdp
    assert "tcptype" not in only_names.sdp
    assert "end-of-candidates" not in only_names.sdp
    with_host = read_offer(HEAD + AUDIO + KEYS + local + HOST + end + DATA + KEYS)
    assert with_host.candidates == 1
    assert "192.0.2.7" in with_host.sdp
    assert "end-of-candidates" in with_host.sdp


def test_candidates_are_bounded() -> None:
    many = "".join(HOST.replace("50000", str(20_000 + number)) for number in range(200))
    assert read_offer(OFFER + many).candidates == 64


def test_the_answer_asks_for_error_correction_and_tells_the_message_size() -> None:
    answer = complete_answer(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\na=x\r\na=max-message-size:262144\r\n"
    )
    assert answer == (
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n"
        "a=fmtp:111 minptime=10;useinbandfec=1;stereo=0\r\na=x\r\na=max-message-size:65536\r\n"
    )


LINES = OFFER.splitlines()


@settings(max_examples=150)
@given(
    st.lists(st.integers(0, len(LINES) - 1), max_size=4),
    st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.integers(0, 60), st.text(max_size=5)), max_size=4),
)
def test_a_mangled_offer_is_read_or_refused_and_nothing_else(
    removed: list[int], cuts: list[tuple[int, int, str]]
) -> None:
    lines = list(LINES)
    for line, position, text in cuts:
        lines[line] = lines[line][:position] + text + lines[line][position + 1 :]
    text = "\r\n".join(line for number, line in enumerate(lines) if number not in removed)
    try:
        offer = read_offer(text)
    except InvalidRequestError as error:
        refused = error.code
    else:
        refused = ""
        assert offer.ufrag
    assert refused in {"", "invalid_sdp", "no_audio", "no_opus"}
