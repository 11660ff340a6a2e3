import ctypes

import numpy as np
import pytest

from app.webrtc.opus import (
    MAX_FRAME_SAMPLES,
    AvDecoder,
    AvEncoder,
    Decoder,
    Encoder,
    LibopusDecoder,
    OpusError,
    load_libopus,
    open_decoder,
    open_encoder,
)
from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, level_dbfs


def voice(seconds: float) -> Samples:
    """Harmonics of a gliding pitch under a formant, in syllables: enough of a voice for a speech codec."""
    times = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    phase = 2 * np.pi * np.cumsum(120 + 15 * np.sin(2 * np.pi * 2.3 * times)) / SAMPLE_RATE_HZ
    sound = sum(np.sin(k * phase) / k * np.exp(-(((k * 120 - 600) / 500) ** 2)) for k in range(1, 25))
    sound = sound * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * times))
    return np.asarray(0.4 * sound / np.abs(sound).max(), np.float32)


def encoded(encoder: Encoder, sound: Samples) -> list[bytes]:
    starts = range(0, sound.size - PIECE_SAMPLES + 1, PIECE_SAMPLES)
    return [encoder.encode(sound[start : start + PIECE_SAMPLES]) for start in starts]


def snr_db(wanted: Samples, got: Samples) -> float:
    error = wanted - got
    return float(10 * np.log10(np.dot(wanted, wanted) / np.dot(error, error)))


def mode(packet: bytes) -> str:
    """RFC 6716, table 2."""
    config = packet[0] >> 3
    return "silk" if config < 12 else "hybrid" if config < 16 else "celt"


def test_libopus_itself_is_found_here() -> None:
    assert isinstance(load_libopus(), ctypes.CDLL), "without it there is neither FEC nor concealment"


@pytest.mark.parametrize(("encoder", "decoder"), [(open_encoder, open_decoder), (AvEncoder, AvDecoder)])
def test_there_and_back(encoder: type[AvEncoder], decoder: type[AvDecoder]) -> None:
    sound = voice(2.0)
    packets = encoded(encoder(), sound)
    opened: Decoder = decoder()
    heard = np.concatenate([opened.decode(packet) for packet in packets])
    assert abs(heard.size - sound.size) < 48
    assert sum(map(len, packets)) * 8 / 2.0 == pytest.approx(40_000, rel=0.25)
    best = max(snr_db(sound[4_800:40_000], heard[4_800 + lag : 40_000 + lag]) for lag in range(120, 200))
    assert best > 5.0


def test_the_encoder_turns_to_forward_error_correction_when_the_receiver_loses_packets() -> None:
    encoder = open_encoder()
    sound = voice(1.0)
    assert {mode(packet) for packet in encoded(encoder, sound)} == {"celt"}
    encoder.expect_loss(5)
    assert {mode(packet) for packet in encoded(encoder, sound)[2:]} == {"hybrid"}
    encoder.expect_loss(0)
    assert {mode(packet) for packet in encoded(encoder, sound)[2:]} == {"celt"}


def recovery_snr_db(loss_percent: int) -> float:
    """How near a single lost packet is restored, the upper quartile over a talk."""
    encoder = open_encoder()
    encoder.expect_loss(loss_percent)
    packets = encoded(encoder, voice(3.0))
    whole = open_decoder()
    line = np.concatenate([whole.decode(packet) for packet in packets])
    results = []
    for lost in range(20, 120, 5):
        decoder = open_decoder()
        for packet in packets[:lost]:
            decoder.decode(packet)
        restored = decoder.recover(packets[lost + 1], PIECE_SAMPLES)
        assert restored.size == PIECE_SAMPLES
        results.append(snr_db(line[lost * PIECE_SAMPLES : (lost + 1) * PIECE_SAMPLES], restored))
    return float(np.quantile(results, 0.75))


def test_forward_error_correction_restores_what_was_lost() -> None:
    assert recovery_snr_db(loss_percent=10) > 12.0
    assert recovery_snr_db(loss_percent=0) < 12.0  # nothing but extrapolation


def test_recovery_is_bounded_and_in_whole_steps() -> None:
    packets = encoded(open_encoder(), voice(0.5))
    decoder = open_decoder()
    for packet in packets[:10]:
        decoder.decode(packet)
    assert decoder.recover(packets[12], 10 * MAX_FRAME_SAMPLES).size == MAX_FRAME_SAMPLES
    assert decoder.recover(packets[12], 130).size == 120
    assert decoder.recover(packets[12], 59).size == 0
    assert AvDecoder().recover(packets[12], 480).size == 0


@pytest.mark.parametrize("decoder", [open_decoder, AvDecoder])
def test_a_damaged_packet_is_an_error_and_the_next_one_is_fine(decoder: type[AvDecoder]) -> None:
    packets = encoded(open_encoder(), voice(0.5))
    opened: Decoder = decoder()
    opened.decode(packets[0])
    with pytest.raises(OpusError):
        opened.decode(b"\xff\xff\xff")
    heard = np.concatenate([opened.decode(packet) for packet in packets[1:]])
    assert level_dbfs(heard) > -40


def test_memory_of_the_library_is_given_back() -> None:
    library = load_libopus()
    assert library is not None
    destroyed: list[int] = []

    class Spy:
        def __getattr__(self, name: str) -> object:
            return getattr(library, name)

        def opus_decoder_destroy(self, handle: int) -> None:
            destroyed.append(handle)
            getattr(library, "opus_decoder_destroy")(handle)  # noqa: B009

    decoder = LibopusDecoder(Spy())  # type: ignore[arg-type]
    handle = decoder._handle
    del decoder
    assert destroyed == [handle]
