"""Opus for calls: 20 ms packets of 24 kHz mono.

libopus itself is called (it comes with PyAV), because FFmpeg's wrappers reach neither in-band forward error
correction (FEC) nor packet loss concealment when decoding, and decode at 48 kHz only. Where the library is not
found, PyAV does the same work without these two.

On a clean network speech is coded with CELT, which takes a quarter of the processor time of SILK (measured: 40 against
170 µs a packet). When the receiver reports loss the encoder is told that the signal is voice; it then uses SILK with
FEC. All names and numbers below are those of `opus_defines.h` (RFC 6716 and its reference implementation).
"""

import ctypes
import functools
import logging
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler

from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from kame_core.errors import KameError

logger = logging.getLogger(__name__)

BIT_RATE_BPS = 40_000
COMPLEXITY = 5
"""0 to 10; above 5 the ear gains little at this rate."""
MAX_PACKET_BYTES = 1_275
MAX_FRAME_SAMPLES = 2_880
"""120 ms, the longest packet Opus knows, and the longest hole that is concealed."""
SILENT_PACKET = b"\xf8\xff\xfe"
"""20 ms of digital silence (CELT, full band): what is sent when nothing can be encoded."""
LOSS_WORTH_FEC_PERCENT = 1

_APPLICATION_AUDIO = 2049
_SIGNAL_VOICE, _SIGNAL_MUSIC = 3001, 3002
_SET_BITRATE, _SET_COMPLEXITY, _SET_INBAND_FEC, _SET_PACKET_LOSS, _SET_SIGNAL = 4002, 4010, 4012, 4014, 4024


class OpusError(KameError):
    """libopus refused a packet or could not be set up."""

    code = "opus_failed"


class Decoder(Protocol):
    """One stream of Opus packets to 24 kHz mono."""

    def decode(self, payload: bytes) -> Samples:
        """float32 [n] of one packet, n at most `MAX_FRAME_SAMPLES`. Raises `OpusError`."""

    def recover(self, next_payload: bytes, samples: int) -> Samples:
        """Stand-in for the lost `samples` right before `next_payload`, from its FEC data and by extrapolation."""


class Encoder(Protocol):
    """24 kHz mono to one stream of 20 ms Opus packets."""

    def encode(self, samples: Samples) -> bytes:
        """One packet of float32 [480]. Raises `OpusError`."""

    def expect_loss(self, percent: int) -> None:
        """How much the receiver loses, 0 to 100; decides on forward error correction."""


def open_decoder() -> Decoder:
    """The best decoder this machine has."""
    library = load_libopus()
    return LibopusDecoder(library) if library is not None else AvDecoder()


def open_encoder(bit_rate_bps: int = BIT_RATE_BPS) -> Encoder:
    """The best encoder this machine has."""
    library = load_libopus()
    return LibopusEncoder(library, bit_rate_bps) if library is not None else AvEncoder(bit_rate_bps)


def _library_candidates() -> Iterator[str]:
    package = Path(av.__file__).parent
    for folder in (package.parent / "av.libs", package / ".dylibs"):
        yield from (str(path) for path in sorted(folder.glob("*opus*")))
    yield from ("libopus.so.0", "libopus.0.dylib", "libopus-0.dll", "opus.dll")


@functools.cache
def load_libopus() -> ctypes.CDLL | None:
    """The shared library with its signatures declared, or None; looked up once a process."""
    for name in _library_candidates():
        try:
            library = ctypes.CDLL(name)
            _declare(library)
        except (OSError, AttributeError):
            continue
        return library
    logger.warning("libopus was not found beside PyAV or on the system; lost packets will be silence")
    return None


def _declare(library: ctypes.CDLL) -> None:
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    library.opus_encoder_create.restype = pointer
    library.opus_encoder_create.argtypes = [integer, integer, integer, ctypes.POINTER(integer)]
    library.opus_encoder_destroy.restype = None
    library.opus_encoder_destroy.argtypes = [pointer]
    library.opus_encode_float.restype = integer
    library.opus_encode_float.argtypes = [pointer, pointer, integer, pointer, ctypes.c_int32]
    library.opus_encoder_ctl.restype = integer  # variadic: the value is passed as a c_int explicitly
    library.opus_decoder_create.restype = pointer
    library.opus_decoder_create.argtypes = [integer, integer, ctypes.POINTER(integer)]
    library.opus_decoder_destroy.restype = None
    library.opus_decoder_destroy.argtypes = [pointer]
    library.opus_decode_float.restype = integer
    library.opus_decode_float.argtypes = [pointer, ctypes.c_char_p, ctypes.c_int32, pointer, integer, integer]


class LibopusDecoder:
    """Decodes straight to 24 kHz mono, no resampler behind it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        error = ctypes.c_int()
        self._handle = library.opus_decoder_create(SAMPLE_RATE_HZ, 1, ctypes.byref(error))
        if error.value != 0 or not self._handle:
            raise OpusError("The Opus decoder could not be set up; restart the server.")
        weakref.finalize(self, library.opus_decoder_destroy, self._handle)
        self._decode = library.opus_decode_float
        self._out = np.zeros(MAX_FRAME_SAMPLES, np.float32)
        self._out_address = self._out.ctypes.data

    def decode(self, payload: bytes) -> Samples:
        """One packet."""
        return self._run(payload, MAX_FRAME_SAMPLES, 0)

    def recover(self, next_payload: bytes, samples: int) -> Samples:
        """What was lost before this packet; libopus works in steps of 2.5 ms (60 samples)."""
        samples -= samples % 60
        return self._run(next_payload, min(samples, MAX_FRAME_SAMPLES), 1) if samples > 0 else silence(0)

    def _run(self, payload: bytes, samples: int, fec: int) -> Samples:
        count = self._decode(self._handle, payload, len(payload), self._out_address, samples, fec)
        if count < 0:
            raise OpusError("An Opus packet could not be decoded.")
        return self._out[:count].copy()


class LibopusEncoder:
    """CELT while nothing is lost, SILK with forward error correction when something is."""

    def __init__(self, library: ctypes.CDLL, bit_rate_bps: int = BIT_RATE_BPS) -> None:
        error = ctypes.c_int()
        self._handle = library.opus_encoder_create(SAMPLE_RATE_HZ, 1, _APPLICATION_AUDIO, ctypes.byref(error))
        if error.value != 0 or not self._handle:
            raise OpusError("The Opus encoder could not be set up; restart the server.")
        weakref.finalize(self, library.opus_encoder_destroy, self._handle)
        self._library = library
        self._encode = library.opus_encode_float
        self._in = np.zeros(PIECE_SAMPLES, np.float32)
        self._in_address = self._in.ctypes.data
        self._out = ctypes.create_string_buffer(MAX_PACKET_BYTES)
        self._out_address = ctypes.addressof(self._out)
        self._loss_percent = -1
        self._set(_SET_BITRATE, bit_rate_bps)
        self._set(_SET_COMPLEXITY, COMPLEXITY)
        self.expect_loss(0)

    def expect_loss(self, percent: int) -> None:
        """Takes effect with the next packet; the change itself is inaudible."""
        percent = max(0, min(100, percent))
        if percent == self._loss_percent:
            return
        self._loss_percent = percent
        lossy = percent >= LOSS_WORTH_FEC_PERCENT
        self._set(_SET_PACKET_LOSS, percent)
        self._set(_SET_INBAND_FEC, 1 if lossy else 0)
        self._set(_SET_SIGNAL, _SIGNAL_VOICE if lossy else _SIGNAL_MUSIC)

    def encode(self, samples: Samples) -> bytes:
        """One packet."""
        self._in[:] = samples
        count = self._encode(self._handle, self._in_address, PIECE_SAMPLES, self._out_address, MAX_PACKET_BYTES)
        if count < 0:
            raise OpusError("20 ms of sound could not be encoded.")
        return self._out.raw[:count]

    def _set(self, request: int, value: int) -> None:
        handle = ctypes.c_void_p(self._handle)
        status = self._library.opus_encoder_ctl(handle, ctypes.c_int(request), ctypes.c_int(value))
        if status != 0:
            raise OpusError("The Opus encoder refused a setting; restart the server.")


class AvDecoder:
    """FFmpeg's decoder: 48 kHz, resampled; what was lost becomes silence."""

    def __init__(self) -> None:
        self._codec = _codec_context("r", 48_000, "s16")
        self._resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)

    def decode(self, payload: bytes) -> Samples:
        """One packet."""
        try:
            frames = [
                piece.to_ndarray().reshape(-1)
                for frame in self._codec.decode(av.Packet(payload))
                for piece in self._resampler.resample(frame)
            ]
        except av.FFmpegError as error:
            raise OpusError("An Opus packet could not be decoded.") from error
        return np.concatenate(frames) if frames else silence(0)

    def recover(self, next_payload: bytes, samples: int) -> Samples:
        """Nothing: the caller fills the hole with silence."""
        return silence(0)


class AvEncoder:
    """FFmpeg's encoder."""

    def __init__(self, bit_rate_bps: int = BIT_RATE_BPS) -> None:
        self._codec = _codec_context("w", SAMPLE_RATE_HZ, "flt")
        self._codec.bit_rate = bit_rate_bps
        self._codec.time_base = Fraction(1, SAMPLE_RATE_HZ)
        self._codec.options = {
            "application": "voip",
            "compression_level": str(COMPLEXITY),
            "fec": "1",
            "packet_loss": "3",
        }
        self._position = 0

    def encode(self, samples: Samples) -> bytes:
        """One packet."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples).reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = self._position
        self._position += samples.size
        try:
            return b"".join(bytes(packet) for packet in self._codec.encode(frame)) or SILENT_PACKET
        except av.FFmpegError as error:
            raise OpusError("20 ms of sound could not be encoded.") from error

    def expect_loss(self, percent: int) -> None:
        """Fixed at 3 % here: FFmpeg sets it only when the encoder opens."""


def _codec_context(mode: Literal["r", "w"], rate_hz: int, sample_format: str) -> AudioCodecContext:
    codec = av.CodecContext.create("libopus", mode)
    codec.format = av.AudioFormat(sample_format)
    codec.layout = av.AudioLayout("mono")
    codec.sample_rate = rate_hz
    return codec
