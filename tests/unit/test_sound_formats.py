"""Sound of messages, as it was before it was coded, whatever the format and the cut."""

import base64
from itertools import pairwise

import numpy as np
import pytest

from app.protocol.errors import ParameterError
from app.protocol.sound_formats import (
    MAX_G711_S,
    Formats,
    SoundReader,
    SoundWriter,
    base64_of,
    formats_of,
    pcm_of,
)
from kame_core.audio import SAMPLE_RATE_HZ, Samples, from_int16, silence

TELEPHONE = ("audio/pcmu", "audio/pcma")


def tone(hz: float, seconds: float = 0.5) -> Samples:
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.5 * np.sin(2 * np.pi * hz * at)).astype(np.float32)


def through(kind: str, samples: Samples, *cuts: int) -> Samples:
    """Written and read again, in pieces."""
    writer, reader = SoundWriter(kind), SoundReader(kind)
    ends = (0, *cuts, samples.size)
    return np.concatenate([from_int16(reader.read(writer.write(samples[a:b]))) for a, b in pairwise(ends)])


def test_pcm_is_what_it_was() -> None:
    sound = tone(440)
    assert np.allclose(pcm_of(base64_of(sound)) / 32767, sound, atol=1e-4)
    assert np.allclose(through("audio/pcm", sound, 7, 480), sound, atol=1e-4)
    assert pcm_of("").size == 0


@pytest.mark.parametrize("kind", TELEPHONE)
@pytest.mark.parametrize("cuts", [(), (480, 960, 1440), (7, 5000)])
def test_a_voice_passes_the_telephone_and_what_is_above_its_band_does_not(kind: str, cuts: tuple[int, ...]) -> None:
    sent = np.concatenate([tone(1000), silence(480)])
    got = through(kind, sent, *cuts)
    within = slice(1000, 11_000)
    assert abs(got.size - sent.size) < 240
    error = float(np.linalg.norm(got[within] - sent[within]) / np.linalg.norm(sent[within]))
    assert 20 * np.log10(error) < -32  # G.711's own noise
    assert np.abs(through(kind, tone(7000))[within]).max() < 0.05


@pytest.mark.parametrize("kind", TELEPHONE)
def test_silence_stays_silent(kind: str) -> None:
    assert np.abs(through(kind, silence(4800), 480)).max() < 1e-3
    assert SoundWriter(kind).write(silence(0)) == ""


@pytest.mark.parametrize("kind", TELEPHONE)
def test_telephone_messages_are_refused_where_they_are_none_or_too_long(kind: str) -> None:
    reader = SoundReader(kind)
    for audio, code in (("no base64!", "invalid_value"), ("A" * (4 * 8000 * MAX_G711_S), "request_too_large")):
        with pytest.raises(ParameterError) as refused:
            reader.read(audio)
        assert refused.value.code == code
    assert reader.read("").size == 0
    assert reader.read(base64.b64encode(b"\xff").decode()).size <= 3


def test_formats_are_those_of_the_session() -> None:
    def session(incoming: object, outgoing: object) -> dict[str, object]:
        return {"audio": {"input": {"format": incoming}, "output": {"format": outgoing}}}

    assert formats_of(session(None, {"type": "audio/pcm", "rate": 24000})) == Formats("audio/pcm", "audio/pcm")
    mixed = session({"type": "audio/pcma"}, {"type": "audio/pcmu", "rate": 8000})
    assert formats_of(mixed) == Formats("audio/pcma", "audio/pcmu")
    for wrong in ({"type": "audio/pcm", "rate": 8000}, {"rate": 8000}, {"type": "audio/pcmu", "rate": 24000}):
        with pytest.raises(ParameterError) as refused:
            formats_of(session(None, wrong))
        assert refused.value.code == "unsupported_audio_format"
        assert refused.value.param == "session.audio.output.format.rate"
