"""G.711, the telephone's sound: 8 kHz, one byte a sample, mu-law (`audio/pcmu`) or A-law (`audio/pcma`).

Source: ITU-T Recommendation G.711 (11/1988), tables 1a to 2b. Values are scaled to 16 bit as everywhere: those of the
tables for mu-law times 4, for A-law times 8. Both ways are a look-up.
"""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 8_000

Pcm = npt.NDArray[np.int16]
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Law:
    """One of the two codings.

    Args:
        values: int16 [256], the value of each code.
        codes: uint8 [65536], the code of each value, at the value read as unsigned.
    """

    values: Pcm
    codes: Codes

    def decode(self, data: bytes) -> Pcm:
        """Codes to int16 [n]."""
        return self.values[np.frombuffer(data, np.uint8)]

    def encode(self, pcm: Pcm) -> bytes:
        """int16 [n] to codes."""
        return self.codes[pcm.view(np.uint16)].tobytes()


@functools.cache
def mu_law() -> Law:
    """PCMU. Magnitudes are coded with an offset of 33 (of 8,159), which makes each segment twice the one before."""
    code = ~np.arange(256, dtype=np.uint8)  # all bits are sent inverted
    segment, step = (code >> 4) & 7, (code & 15).astype(np.int32)
    magnitude = ((2 * step + 33) << segment) - 33
    values = np.where(code & 0x80, -magnitude, magnitude) * 4

    negative, size = _sign_and_size(2)
    size = np.minimum(size + 33, 0x1FFF)
    segment = np.floor(np.log2(size)).astype(np.int32) - 5
    codes = (segment << 4) | ((size >> (segment + 1)) & 15)
    return Law(values.astype(np.int16), ~np.where(negative, codes | 0x80, codes).astype(np.uint8))


@functools.cache
def a_law() -> Law:
    """PCMA. The two lowest segments have steps of one size; every second bit is sent inverted."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment, step = ((code >> 4) & 7).astype(np.int32), (code & 15).astype(np.int32)
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    values = np.where(code & 0x80, magnitude, -magnitude) * 8

    negative, size = _sign_and_size(4)
    segment = np.maximum(np.floor(np.log2(np.maximum(size, 1))).astype(np.int32) - 3, 0)
    codes = (segment << 4) | ((size >> np.maximum(segment - 1, 0)) & 15)
    codes = np.where(negative, codes, codes | 0x80) ^ 0x55
    return Law(values.astype(np.int16), codes.astype(np.uint8))


def _sign_and_size(dropped_bits: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
    """Of all 16 bit values in the order of their unsigned reading; -1 is the negative zero."""
    value = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    negative = value < 0
    return negative, np.where(negative, ~value, value) >> dropped_bits
