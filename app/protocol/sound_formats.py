"""How sound is coded in messages: base64 of PCM16, mono, 24 kHz (OpenAI's `audio/pcm`), or of the telephone's G.711
(`audio/pcmu`, `audio/pcma`).
"""

import base64
import binascii
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from app.protocol import g711
from app.protocol.errors import ParameterError
from kame_core.audio import SAMPLE_RATE_HZ, Samples, StreamResampler, from_int16, to_int16

Pcm = npt.NDArray[np.int16]

PCM = "audio/pcm"
MAX_G711_S = 5
"""Longest message with G.711: it has to be resampled, and a longer one would hold up the loop."""


def bytes_of(audio: str) -> bytes:
    """What an `input_audio_buffer.append` holds.

    Raises:
        ParameterError: it is no base64.
    """
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise ParameterError("Invalid value for 'audio': it is no base64.", param="audio") from None


def pcm_of(audio: str) -> Pcm:
    """PCM16 in base64, int16 [n].

    Raises:
        ParameterError: it is no base64, or holds half a sample.
    """
    data = bytes_of(audio)
    if len(data) % 2:
        raise ParameterError(
            "Invalid value for 'audio': PCM16 has two bytes for each sample, and this is an odd number of bytes.",
            param="audio",
        )
    return np.frombuffer(data, "<i2").astype(np.int16, copy=False)


def base64_of(samples: Samples) -> str:
    """Float32 [n] as PCM16 in base64."""
    return base64.b64encode(to_int16(samples).astype("<i2", copy=False).tobytes()).decode()


class Formats(NamedTuple):
    """How sound is coded, by the session's `audio.input.format.type` and `audio.output.format.type`."""

    input: str = PCM
    output: str = PCM


def formats_of(session: dict[str, Any]) -> Formats:
    """The formats of a session whose sound comes in messages.

    Args:
        session: the whole session, checked otherwise.

    Raises:
        ParameterError: `unsupported_audio_format`; a rate that the format does not have here.
    """
    kinds = {}
    for side in ("input", "output"):
        wanted = session["audio"][side].get("format") or {}
        kinds[side] = kind = wanted.get("type") or PCM
        rate_hz = SAMPLE_RATE_HZ if kind == PCM else g711.SAMPLE_RATE_HZ
        if wanted.get("rate") not in (None, rate_hz):
            raise ParameterError(
                f"Invalid value for 'session.audio.{side}.format': {kind} has {rate_hz} Hz here. For 8000 Hz use "
                "audio/pcmu or audio/pcma.",
                param=f"session.audio.{side}.format.rate",
                code="unsupported_audio_format",
            )
    return Formats(**kinds)


class SoundReader:
    """The client's sound out of its messages, which follow one another.

    Args:
        kind: the format's type.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._law = _law(kind)
        self._resampler = StreamResampler(g711.SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)

    def read(self, audio: str) -> Pcm:
        """The sound of an `input_audio_buffer.append`, int16 [n] mono 24 kHz.

        Raises:
            ParameterError: it is no base64, holds half a sample, or is too long.
        """
        if self._law is None:
            return pcm_of(audio)
        data = bytes_of(audio)
        if not data:  # resamplers take no empty pieces
            return np.zeros(0, np.int16)
        if len(data) > MAX_G711_S * g711.SAMPLE_RATE_HZ:
            raise ParameterError(
                f"Invalid value for 'audio': send at most {MAX_G711_S} s of {self.kind} at a time.",
                param="audio",
                code="request_too_large",
            )
        return to_int16(self._resampler.push(from_int16(self._law.decode(data))))


class SoundWriter:
    """The agent's sound as messages carry it, piece after piece.

    Args:
        kind: the format's type.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._law = _law(kind)
        self._resampler = StreamResampler(SAMPLE_RATE_HZ, g711.SAMPLE_RATE_HZ)

    def write(self, samples: Samples) -> str:
        """Float32 [n] mono 24 kHz in base64; G.711 comes a millisecond later, so that the first piece is shorter."""
        if self._law is None or samples.size == 0:
            return base64_of(samples)
        return base64.b64encode(self._law.encode(to_int16(self._resampler.push(samples)))).decode()


def _law(kind: str) -> g711.Law | None:
    """None: it is PCM."""
    return {"audio/pcmu": g711.mu_law, "audio/pcma": g711.a_law}[kind]() if kind != PCM else None
