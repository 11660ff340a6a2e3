"""G.711 against the tables of the recommendation and against FFmpeg."""

import av
import numpy as np
import pytest

from app.protocol.g711 import SAMPLE_RATE_HZ, Law, a_law, mu_law

MU_LAW = {0x80: 8031, 0x8F: 4191, 0x9F: 2079, 0xAF: 1023, 0xBF: 495, 0xCF: 231, 0xDF: 99, 0xEF: 33, 0xFE: 2, 0xFF: 0}
"""Table 2a: character signal, value at the decoder output."""
A_LAW = {0xFF: 4032, 0xF0: 2112, 0xE0: 1056, 0xD0: 528, 0xC0: 264, 0xB0: 132, 0xA0: 66, 0x80: 1}
"""Table 1a: character signal before the inversion of the even bits, value at the decoder output."""
MU_LAW_EDGES = {4063: 0x8F, 4062: 0x90, 2015: 0x9F, 2014: 0xA0, 31: 0xEF, 30: 0xF0, 1: 0xFE, 0: 0xFF}
"""Table 2a: decision values and the signals above and below them."""
A_LAW_EDGES = {2048: 0xF0, 2047: 0xEF, 1024: 0xE0, 1023: 0xDF, 64: 0xA0, 63: 0x9F, 2: 0x81, 0: 0x80}
"""Table 1a, likewise."""


def test_every_segment_has_the_values_of_the_tables() -> None:
    for code, value in MU_LAW.items():
        assert list(mu_law().decode(bytes([code, code & 0x7F]))) == [4 * value, -4 * value]
    for code, value in A_LAW.items():
        assert list(a_law().decode(bytes([code ^ 0x55, (code & 0x7F) ^ 0x55]))) == [8 * value, -8 * value]


def test_values_are_coded_by_the_decision_values_of_the_tables() -> None:
    for value, code in MU_LAW_EDGES.items():
        assert mu_law().encode(np.array([4 * value, 4 * value + 3], np.int16)) == bytes([code, code])
    for value, code in A_LAW_EDGES.items():
        assert a_law().encode(np.array([8 * value, 8 * value + 7], np.int16)) == bytes([code ^ 0x55] * 2)
    for law, loudest in ((mu_law(), 0x80), (a_law(), 0xAA)):
        assert law.encode(np.array([32767, -32768], np.int16)) == bytes([loudest, loudest & 0x7F])


@pytest.mark.parametrize(("law", "name"), [(mu_law(), "pcm_mulaw"), (a_law(), "pcm_alaw")])
def test_all_codes_mean_what_they_mean_to_ffmpeg_and_stay_the_same(law: Law, name: str) -> None:
    decoder = av.CodecContext.create(name, "r")
    decoder.sample_rate, decoder.layout = SAMPLE_RATE_HZ, "mono"  # type: ignore[attr-defined]
    codes = bytes(range(256))
    (frame,) = decoder.decode(av.Packet(codes))  # type: ignore[attr-defined]
    assert np.array_equal(law.decode(codes), frame.to_ndarray().reshape(-1))
    one_zero = codes.replace(b"\x7f", b"\xff") if name == "pcm_mulaw" else codes
    assert law.encode(law.decode(codes)) == one_zero


@pytest.mark.parametrize(
    ("law", "period", "below_db"),
    [(mu_law(), "1e0b0b1e9e8b8b9e", 3.17), (a_law(), "34212134b4a1a1b4", 3.14)],
)
def test_the_reference_tone_has_its_level(law: Law, period: str, below_db: float) -> None:
    """Tables 5 and 6: a sine of 1 kHz at 0 dBm0, so far below the loudest that can be coded."""
    tone = law.decode(bytes.fromhex(period)).astype(float)
    loudest = float(law.values.max()) / 8031 * 8159 if below_db == 3.17 else 32_768.0
    level_db = 20 * np.log10(np.sqrt(np.mean(tone**2)) / (loudest / np.sqrt(2)))
    assert level_db == pytest.approx(-below_db, abs=0.05)
    assert law.encode(tone.astype(np.int16)).hex() == period
