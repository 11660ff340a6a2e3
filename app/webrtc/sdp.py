"""Offers and answers: an offer is checked before anything is built for it; an answer is completed.

aiortc parses with assertions and dictionary look-ups, so a malformed offer would fail anywhere. Nothing of what the
client sent ever appears in an error.
"""

import re
from dataclasses import dataclass

from aiortc.sdp import MediaDescription, SessionDescription

from app.webrtc.ice import MAX_CANDIDATES, is_usable_candidate
from kame_core.errors import InvalidRequestError

MAX_SDP_BYTES = 64 * 1024
MAX_SECTIONS = 16
MAX_LINES = 2_000
"""Browsers' offers have some hundreds."""
MAX_SOURCE_LINES = 256
"""`a=ssrc:...`; aiortc looks through all those before for each."""
MAX_MESSAGE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Offer:
    """A checked offer."""

    sdp: str
    """Without candidates that can be of no use."""
    ufrag: str
    primary_mid: str
    """The section whose transport carries everything bundled with it."""
    transport_mids: frozenset[str]
    """The sections with a transport of their own, the primary one included."""
    candidates: int
    has_channel: bool


def read_offer(text: str) -> Offer:
    """Check an offer.

    Raises:
        InvalidRequestError: `sdp_too_large`, `invalid_sdp`, `no_audio` or `no_opus`.
    """
    if len(text) > MAX_SDP_BYTES or len(text.encode(errors="replace")) > MAX_SDP_BYTES:
        raise InvalidRequestError(f"The offer is larger than {MAX_SDP_BYTES} bytes.", code="sdp_too_large")
    if not text.lstrip().startswith("v=0"):
        raise _invalid("The offer is no SDP: it must begin with v=0.")
    lines = text.splitlines()
    for most, of, what in (
        (MAX_LINES, "", "lines"),
        (MAX_SECTIONS, "m=", "media sections"),
        (MAX_SOURCE_LINES, "a=ssrc:", "lines of sources"),
    ):
        if sum(line.startswith(of) for line in lines) > most:
            raise _invalid(f"The offer has more than {most} {what}.")
    sdp, candidates = _with_usable_candidates(text.strip())
    try:
        description = SessionDescription.parse(sdp)
    except Exception:  # whatever the parser trips over, the offer is at fault
        raise _invalid("The offer is malformed SDP.") from None
    _check_audio(description)
    ufrags = {str(media.rtp.muxId): _check_transport(media) for media in description.media}
    bundle = next((group.items for group in description.group if group.semantic == "BUNDLE"), [])
    if len(ufrags) != len(description.media) or not ufrags.keys() >= set(bundle):
        raise _invalid("The sections of the offer need different mids, and its BUNDLE group must name them.")
    audio_mid = next(str(media.rtp.muxId) for media in description.media if media.kind == "audio")
    primary = str(bundle[0]) if bundle else audio_mid
    return Offer(
        sdp=sdp,
        ufrag=ufrags[primary],
        primary_mid=primary,
        transport_mids=frozenset(mid for mid in ufrags if mid not in bundle[1:]),
        candidates=candidates,
        has_channel=any(media.kind == "application" for media in description.media),
    )


def complete_answer(sdp: str) -> str:
    """An answer of aiortc with what it does not say itself.

    The Opus format parameters (RFC 7587) ask the client for forward error correction, which browsers send only when
    asked, and for mono; the message size is the one that is accepted.
    """
    lines = []
    for line in sdp.split("\r\n"):
        if line.startswith("a=max-message-size:"):
            line = f"a=max-message-size:{MAX_MESSAGE_BYTES}"
        lines.append(line)
        if match := re.match(r"a=rtpmap:(\d+) opus/48000/2$", line, re.IGNORECASE):
            lines.append(f"a=fmtp:{match[1]} minptime=10;useinbandfec=1;stereo=0")
    return "\r\n".join(lines)


def _with_usable_candidates(text: str) -> tuple[str, int]:
    """The offer without candidates that can be of no use, and how many are left.

    The end of candidates is announced to the ICE agent only if any are left: with none, it would give up at once,
    although the client's own checks are about to reveal its address.
    """
    kept: list[str] = []
    count = 0
    for line in text.splitlines():
        if line.startswith("a=candidate:"):
            try:
                usable = is_usable_candidate(line.removeprefix("a=candidate:"))
            except InvalidRequestError:
                raise _invalid("The offer has a malformed candidate.") from None
            if not usable or count >= MAX_CANDIDATES:
                continue
            count += 1
        elif line.startswith("a=end-of-candidates") and count == 0:
            continue
        kept.append(line)
    return "\r\n".join(kept) + "\r\n", count


def _check_audio(description: SessionDescription) -> None:
    audio = next((media for media in description.media if media.kind == "audio"), None)
    if audio is None or audio.port == 0:
        raise InvalidRequestError("The offer has no audio. Add a microphone track before the offer.", code="no_audio")
    if (audio.direction or "sendrecv") != "sendrecv":
        raise InvalidRequestError(
            "The audio of the offer must be sendrecv: a call needs sound both ways.", code="no_audio"
        )
    if not any(codec.mimeType.lower() == "audio/opus" and codec.clockRate == 48_000 for codec in audio.rtp.codecs):
        raise InvalidRequestError(
            "The offer has no Opus, the only codec spoken here. Offer opus/48000.", code="no_opus"
        )


def _check_transport(media: MediaDescription) -> str:
    """Whether a section can be connected; returns its ufrag."""
    if media.ice is None or not media.ice.usernameFragment or not media.ice.password:
        raise _invalid("The offer has a section without ice-ufrag or ice-pwd.")
    if media.dtls is None or not media.dtls.fingerprints:
        raise _invalid("The offer has a section without setup or fingerprint.")
    if media.kind in ("audio", "video"):
        if not media.rtcp_mux:
            raise _invalid("The offer has a media section without rtcp-mux.")
    elif media.kind != "application":
        raise _invalid("The offer has a section that is neither audio, video nor application.")
    return media.ice.usernameFragment


def _invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, code="invalid_sdp")
