import asyncio
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from app.webrtc.jitter import MediaPacket
from app.webrtc.opus import SILENT_PACKET, open_decoder, open_encoder
from app.webrtc.tracks import IncomingAudio, LoopbackAudio, OutgoingAudio
from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, level_dbfs, silence, to_int16
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import KameError


def tone(seconds: float, hz: float = 440.0) -> Samples:
    times = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.4 * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def pieces(samples: Samples) -> Iterator[Samples]:
    for start in range(0, samples.size - PIECE_SAMPLES + 1, PIECE_SAMPLES):
        yield samples[start : start + PIECE_SAMPLES]


class Script:
    """A source that plays given sound, and does what it is told at given packets."""

    def __init__(self, sound: Samples, at: dict[int, Callable[[], Samples | None]] | None = None) -> None:
        self._sound = sound
        self._at = at or {}
        self.reads = 0

    def read(self, samples: int, /) -> Samples:
        number = self.reads
        self.reads += 1
        if number in self._at and (result := self._at[number]()) is not None:
            return result
        piece = self._sound[number * samples : (number + 1) * samples]
        return np.concatenate([piece, silence(samples - piece.size)])


async def take(track: OutgoingAudio, clock: VirtualClock, count: int) -> list[tuple[float, int, bytes]]:
    """(when, pts, payload) of the next packets."""
    taken = []
    for _ in range(count):
        packet = await track.recv()
        assert packet.time_base == Fraction(1, 48_000)
        assert packet.pts is not None
        taken.append((clock.now(), packet.pts, bytes(packet)))
    return taken


# --- out ---


def test_packets_leave_every_20_ms_without_drift_and_sound_right() -> None:
    async def main(clock: VirtualClock) -> None:
        sound = tone(60.0)
        track = OutgoingAudio(Script(sound), clock)
        begin = clock.now()
        taken = await take(track, clock, 3_000)
        for number, (at, pts, _) in enumerate(taken):
            assert at - begin == pytest.approx(number * 0.02, abs=1e-6)
            assert pts == number * 960
        assert track.max_gap_ms == pytest.approx(20.0)
        assert track.stalls == 0
        decoder = open_decoder()
        heard = np.concatenate([decoder.decode(payload) for _, _, payload in taken[:100]])
        assert level_dbfs(heard[4_800:]) == pytest.approx(level_dbfs(sound), abs=1.0)
        spectrum = np.abs(np.fft.rfft(heard[-SAMPLE_RATE_HZ:]))
        assert int(np.argmax(spectrum)) == 440

    run_virtual(main)


def test_a_short_delay_is_caught_up_at_once() -> None:
    async def main(clock: VirtualClock) -> None:
        script = Script(tone(1.0), {10: lambda: clock.advance(0.055)})  # blocks the loop for 55 ms
        track = OutgoingAudio(script, clock)
        begin = clock.now()
        taken = await take(track, clock, 20)
        assert [pts for _, pts, _ in taken] == [960 * n for n in range(20)]
        late = [at - begin - 0.02 * n for n, (at, _, _) in enumerate(taken)]
        assert late[10] == pytest.approx(0.055)
        assert late[11] == pytest.approx(0.035)
        assert late[12] == pytest.approx(0.015)
        assert late[13:] == pytest.approx([0.0] * 7, abs=1e-6)

    run_virtual(main)


@pytest.mark.parametrize("stall_s", [0.085, 0.25, 3.0])
def test_after_a_stall_the_schedule_goes_on_with_a_pause_instead_of_a_burst(stall_s: float) -> None:
    async def main(clock: VirtualClock) -> None:
        script = Script(tone(1.0), {10: lambda: clock.advance(stall_s)})
        track = OutgoingAudio(script, clock)
        begin = clock.now()
        taken = await take(track, clock, 30)
        assert track.stalls == 1
        assert track.max_gap_ms == pytest.approx(1000 * stall_s, abs=20.1)
        times = [at - begin for at, _, _ in taken]
        same_moment = sum(1 for at in times if at == times[11])
        assert same_moment <= 4  # the late one and three more
        for at, (_, pts, _) in list(zip(times, taken, strict=True))[15:]:
            assert pts / 48_000 == pytest.approx(at, abs=1e-6)  # time stamps still tell the true time
        assert script.reads == 30  # nothing of the voice was skipped

    run_virtual(main)


def failing() -> Samples:
    raise ValueError("broken")


@pytest.mark.parametrize(
    "trouble",
    [failing, lambda: silence(7), lambda: np.full(PIECE_SAMPLES, np.nan, np.float32)],
    ids=["raises", "wrong size", "not a number"],
)
def test_a_failing_source_gives_silence_and_one_report(trouble: Callable[[], Samples]) -> None:
    async def main(clock: VirtualClock) -> None:
        reports: list[KameError] = []
        script = Script(tone(1.0), dict.fromkeys((3, 4, 5, 9), trouble))
        track = OutgoingAudio(script, clock, reports.append)
        taken = await take(track, clock, 12)
        assert [payload == SILENT_PACKET for _, _, payload in taken] == [n in (3, 4, 5, 9) for n in range(12)]
        assert track.source_errors == 4
        assert [report.code for report in reports] == ["audio_failed", "audio_failed"]  # once for each streak
        assert taken[-1][0] - taken[0][0] == pytest.approx(0.22)

    run_virtual(main)


def test_the_silent_packet_is_20_ms_of_silence() -> None:
    heard = open_decoder().decode(SILENT_PACKET)
    assert heard.size == PIECE_SAMPLES
    assert level_dbfs(heard) < -90


def test_a_stopped_track_raises_media_stream_error_only() -> None:
    async def main(clock: VirtualClock) -> None:
        track = OutgoingAudio(Script(tone(1.0)), clock)
        await take(track, clock, 2)
        waiting = asyncio.ensure_future(track.recv())
        await asyncio.sleep(0.001)
        track.stop()
        with pytest.raises(MediaStreamError):
            await waiting
        with pytest.raises(MediaStreamError):
            await track.recv()

    run_virtual(main)


# --- in ---


def packets_of(
    samples: Samples, *, first: int = 65_500, timestamp: int = 2**32 - 9_600, ssrc: int = 1
) -> list[MediaPacket]:
    encoder = open_encoder()
    encoder.expect_loss(10)  # with forward error correction
    return [
        MediaPacket((first + n) & 0xFFFF, (timestamp + 960 * n) % 2**32, ssrc, encoder.encode(piece))
        for n, piece in enumerate(pieces(samples))
    ]


class Listener:
    def __init__(self) -> None:
        self.heard: list[Samples] = []
        self.reports: list[KameError] = []
        self.incoming = IncomingAudio(self.heard.append, VirtualClock(), self.reports.append)

    @property
    def line(self) -> Samples:
        return np.concatenate([silence(0), *self.heard])

    def take(self, packets: list[MediaPacket]) -> None:
        for packet in packets:
            self.incoming.on_packet(packet)


def test_packets_become_one_line_across_the_wrap_of_both_counters() -> None:
    listener = Listener()
    listener.take(packets_of(tone(2.0)))
    assert listener.line.size == 2 * SAMPLE_RATE_HZ
    assert listener.incoming.packets == 100
    assert listener.incoming.filled_samples == 0
    assert level_dbfs(listener.line[4_800:]) == pytest.approx(level_dbfs(tone(1.0)), abs=1.0)


@pytest.mark.parametrize("lost", [1, 2, 6])
def test_lost_packets_are_recovered_and_the_line_keeps_its_length(lost: int) -> None:
    packets = packets_of(tone(2.0))
    whole = Listener()
    whole.take(packets)
    listener = Listener()
    listener.take(packets[:50] + packets[50 + lost :])
    assert listener.line.size == whole.line.size
    assert listener.incoming.recovered_samples == lost * PIECE_SAMPLES
    assert listener.incoming.filled_samples == 0
    first_lost = listener.line[50 * PIECE_SAMPLES : 51 * PIECE_SAMPLES]
    assert level_dbfs(first_lost) == pytest.approx(level_dbfs(tone(1.0)), abs=6.0)  # the tone goes on


def test_a_longer_loss_becomes_silence_and_a_very_long_one_a_new_line() -> None:
    packets = packets_of(tone(3.0))
    listener = Listener()
    listener.take(packets[:50] + packets[60:])
    assert listener.line.size == 3 * SAMPLE_RATE_HZ
    assert listener.incoming.filled_samples == 10 * PIECE_SAMPLES
    listener = Listener()
    listener.take(packets[:50] + packets[80:])
    assert listener.line.size == 120 * PIECE_SAMPLES


def test_a_pause_of_the_sender_is_silence_not_extrapolation() -> None:
    packets = packets_of(tone(1.0))
    paused = [MediaPacket(p.sequence, (p.timestamp + 4 * 960) % 2**32, 1, p.payload) for p in packets[25:]]
    listener = Listener()
    listener.take(packets[:25] + paused)
    assert listener.incoming.recovered_samples == 0
    assert listener.incoming.filled_samples == 4 * PIECE_SAMPLES
    assert level_dbfs(listener.line[25 * PIECE_SAMPLES : 29 * PIECE_SAMPLES]) == -120.0


def test_another_sender_goes_on_where_the_first_ended() -> None:
    listener = Listener()
    listener.take(packets_of(tone(1.0)) + packets_of(tone(1.0), first=9, timestamp=77, ssrc=2))
    assert listener.line.size == 2 * SAMPLE_RATE_HZ
    assert listener.incoming.filled_samples == 0


def test_damaged_and_padding_packets_do_no_harm() -> None:
    packets = packets_of(tone(1.0))
    packets[10] = MediaPacket(packets[10].sequence, packets[10].timestamp, 1, b"\xff" * 3)
    packets[20] = MediaPacket(packets[20].sequence, packets[20].timestamp, 1, b"")
    listener = Listener()
    listener.take(packets)
    assert listener.incoming.undecodable_packets == 1
    assert listener.line.size == SAMPLE_RATE_HZ
    assert listener.reports == []


def test_a_failing_listener_is_reported_once_a_streak_and_never_felt_by_the_transport() -> None:
    reports: list[KameError] = []

    def broken(_: Samples) -> None:
        raise RuntimeError("broken")

    incoming = IncomingAudio(broken, VirtualClock(), reports.append)
    for packet in packets_of(tone(0.2)):
        incoming.on_packet(packet)
    assert incoming.errors == 10
    assert len(reports) == 1


class Frames(MediaStreamTrack):
    """48 kHz stereo frames as aiortc's own decoder gives them, all at once."""

    kind = "audio"

    def __init__(self, samples_48k: Samples, skip: set[int]) -> None:
        super().__init__()
        self._frames = []
        for number in range(samples_48k.size // 960):
            piece = to_int16(samples_48k[number * 960 : (number + 1) * 960])
            frame = av.AudioFrame.from_ndarray(np.repeat(piece, 2).reshape(1, -1), format="s16", layout="stereo")
            frame.sample_rate = 48_000
            frame.pts = number * 960
            frame.time_base = Fraction(1, 48_000)
            if number not in skip:
                self._frames.append(frame)

    async def recv(self) -> av.AudioFrame:
        if not self._frames:
            raise MediaStreamError
        return self._frames.pop(0)


def test_the_stock_track_is_drained_to_the_same_line() -> None:
    async def main(clock: VirtualClock) -> None:
        heard: list[Samples] = []
        times = np.arange(48_000) / 48_000
        sound = (0.4 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
        incoming = IncomingAudio(heard.append, clock)
        await incoming.drain(Frames(sound, skip={20}))
        line = np.concatenate(heard)
        assert abs(line.size - SAMPLE_RATE_HZ) <= 48
        assert 400 <= incoming.filled_samples <= 560
        assert incoming.packets == 49
        assert level_dbfs(line[: 18 * PIECE_SAMPLES]) == pytest.approx(level_dbfs(sound), abs=0.5)

    run_virtual(main)


# --- loop ---


def test_the_loop_gives_back_what_came() -> None:
    loop = LoopbackAudio()
    sound = tone(0.2)
    heard = []
    for piece in pieces(sound):
        loop.push(piece)
        heard.append(loop.read(PIECE_SAMPLES))
    assert np.array_equal(np.concatenate(heard), sound)
    assert loop.read(PIECE_SAMPLES).tolist() == [0.0] * PIECE_SAMPLES


def test_a_burst_after_a_loss_leaves_no_delay_behind() -> None:
    loop = LoopbackAudio()
    for _ in range(3):
        loop.read(PIECE_SAMPLES)  # nothing came
    for _ in range(4):
        loop.push(np.ones(PIECE_SAMPLES, np.float32))  # then all at once
    waits = []
    for number in range(40):
        loop.read(PIECE_SAMPLES)
        mark = np.full(PIECE_SAMPLES, 2.0 + number, np.float32)
        loop.push(mark)
        waits.append(loop._line.size - PIECE_SAMPLES)
    assert waits[0] <= 2 * PIECE_SAMPLES
    assert waits[-1] <= 120
    assert loop.dropped_samples >= 2 * PIECE_SAMPLES
