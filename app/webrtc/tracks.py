"""The sound of a call: what comes in, what goes out, and the loop between the two for the sound check."""

import logging
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from aiortc import MediaStreamTrack, RTCRtpReceiver
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, Packet
from av.audio.resampler import AudioResampler

from app.webrtc import jitter
from app.webrtc.opus import MAX_FRAME_SAMPLES, SILENT_PACKET, OpusError, open_decoder, open_encoder
from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, GapFiller, Samples, fade, silence
from kame_core.clock import Clock
from kame_core.errors import KameError

logger = logging.getLogger(__name__)

PIECE_S = PIECE_SAMPLES / SAMPLE_RATE_HZ
RTP_RATE_HZ = 48_000
"""The clock of Opus in RTP, whatever it carries (RFC 7587)."""
CATCH_UP_S = 3 * PIECE_S
"""As many packets may follow each other at once after a short delay of the loop."""
STALL_S = 0.100
"""After a longer delay the schedule starts anew instead of sending a burst."""

_RTP_TICKS = RTP_RATE_HZ // SAMPLE_RATE_HZ
_TIME_BASE = Fraction(1, RTP_RATE_HZ)
_RTP_WRAP = 1 << 32

OnAudio = Callable[[Samples], None]
OnError = Callable[[KameError], None]


class VoiceSource(Protocol):
    """Where outgoing sound comes from."""

    def read(self, samples: int, /) -> Samples:
        """Exactly `samples` of float32 mono 24 kHz, silence where there is nothing to say; never blocks."""


class AudioError(KameError):
    """The sound of a call cannot be read or handed on; the call goes on with silence."""

    code = "audio_failed"


class _Troubles:
    """Counts failures of one kind and reports the first of each streak."""

    def __init__(self, on_error: OnError | None, message: str) -> None:
        self._on_error = on_error
        self._message = message
        self._failing = False
        self.count = 0

    def add(self, what: str) -> None:
        """Another failure; call it while the exception is being handled."""
        self.count += 1
        if self._failing:
            return
        self._failing = True
        logger.warning(what, exc_info=True)
        if self._on_error is not None:
            self._on_error(AudioError(self._message))

    def over(self) -> None:
        """It works again."""
        self._failing = False


class IncomingAudio:
    """Packets of the remote track to one gapless line of 24 kHz mono.

    Every piece is handed to `on_audio` on the event loop as it arrives, in the order of the sender's clock: what was
    lost is recovered from in-band FEC, extrapolated, or silent. Nothing is queued here.

    Args:
        on_audio: takes float32 [n] mono 24 kHz; must be quick. If it raises, that is counted and reported.
        on_error: is told of the first failure of each streak.
    """

    def __init__(self, on_audio: OnAudio, clock: Clock, on_error: OnError | None = None) -> None:
        self._on_audio = on_audio
        self._clock = clock
        self._decoder = open_decoder()
        self._filler = GapFiller()
        self._troubles = _Troubles(on_error, "What you say cannot be processed; hang up and call again.")
        self._installed: jitter.Installed | None = None
        self._last: jitter.MediaPacket | None = None
        self._position = 0
        """Where the last packet began."""
        self._end = 0
        """Where the last decoded packet ended."""
        self.packets = 0
        self.recovered_samples = 0
        self.undecodable_packets = 0
        self.last_arrival_s: float | None = None

    @property
    def lost_packets(self) -> int:
        """How many never came, or came too late."""
        return self._installed.buffer.lost_packets if self._installed is not None else 0

    @property
    def filled_samples(self) -> int:
        """How much of the line is silence because nothing better was known."""
        return self._filler.filled_samples

    @property
    def errors(self) -> int:
        """How often `on_audio` failed."""
        return self._troubles.count

    def attach(self, receiver: RTCRtpReceiver) -> bool:
        """Take the packets straight from the receiver; if this is False, `drain` its track instead."""
        self._installed = jitter.install(receiver, self)
        return self._installed is not None

    def on_packet(self, packet: jitter.MediaPacket) -> None:
        """The next packet in order. Never raises."""
        self.packets += 1
        self.last_arrival_s = self._clock.now()
        if not packet.payload:  # only padding, as senders probe a network with
            return
        position, hole = self._place(packet)
        try:
            recovered = self._decoder.recover(packet.payload, hole) if hole else silence(0)
            samples = self._decoder.decode(packet.payload)
        except OpusError:
            self.undecodable_packets += 1
            return
        self.recovered_samples += recovered.size
        self._end = position + samples.size
        self._hand_on(position - recovered.size, np.concatenate([recovered, samples]) if recovered.size else samples)

    def on_end(self) -> None:
        """No more packets will come."""

    async def drain(self, track: MediaStreamTrack) -> None:
        """Read a track to its end, always at once: whoever reads one frame per 20 ms keeps every delay for ever."""
        resampler = AudioResampler(format="flt", rate=SAMPLE_RATE_HZ)  # FFmpeg's own mix to mono adds 3 dB
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if not isinstance(frame, AudioFrame):
                continue
            self.packets += 1
            self.last_arrival_s = self._clock.now()
            seconds = float((frame.pts or 0) * (frame.time_base or Fraction(1, frame.sample_rate)))
            channels = frame.layout.nb_channels
            pieces = [p.to_ndarray().reshape(-1, channels).mean(axis=1) for p in resampler.resample(frame)]
            if pieces:
                self._hand_on(round(seconds * SAMPLE_RATE_HZ), np.concatenate(pieces))

    def _place(self, packet: jitter.MediaPacket) -> tuple[int, int]:
        """Position of a packet on the line, and how many lost samples before it can be recovered."""
        if self._last is None or self._last.ssrc != packet.ssrc:  # a new sender goes on where the old one ended
            self._position = self._end
            self._last = packet
            return self._end, 0
        step = (packet.timestamp - self._last.timestamp) % _RTP_WRAP
        step = step - _RTP_WRAP if step >= _RTP_WRAP // 2 else step
        was_lost = packet.sequence != (self._last.sequence + 1) & 0xFFFF  # otherwise the sender paused (DTX)
        self._position += step // _RTP_TICKS
        self._last = packet
        hole = self._position - self._end
        return self._position, hole if was_lost and 0 < hole <= MAX_FRAME_SAMPLES else 0

    def _hand_on(self, position: int, samples: Samples) -> None:
        line = self._filler.push(position, samples)
        if not line.size:
            return
        try:
            self._on_audio(line)
        except Exception:  # what is wrong behind must not end the transport
            self._troubles.add("incoming sound could not be handed on")
        else:
            self._troubles.over()


class OutgoingAudio(MediaStreamTrack):
    """The agent's voice as 20 ms Opus packets on an absolute schedule.

    Packets instead of frames are given to aiortc, which then neither computes the level of the sound in Python nor
    encodes on the shared thread pool; both together cost more than all the rest of a call.

    The schedule never drifts. A packet that is late because the loop was busy is followed by up to three at once; after
    a delay of more than 100 ms the schedule begins anew and the time stamps jump by what was left out, so that the
    receiver plays a pause instead of adding the delay to all that follows. `recv` raises nothing but
    `MediaStreamError` after `stop`: whatever fails, silence is sent.
    """

    kind = "audio"

    def __init__(self, source: VoiceSource, clock: Clock, on_error: OnError | None = None) -> None:
        super().__init__()
        self._source = source
        self._clock = clock
        self._encoder = open_encoder()
        self._troubles = _Troubles(on_error, "The voice cannot be heard at the moment; hang up and call again.")
        self._due_s: float | None = None
        self._timestamp = 0
        self._last_sent_s: float | None = None
        self.packets = 0
        self.stalls = 0
        self.max_gap_ms = 0.0
        """Longest time between two packets since `reset_gap`."""

    @property
    def source_errors(self) -> int:
        """How often silence stood in for a source or encoder that failed."""
        return self._troubles.count

    def reset_gap(self) -> None:
        """Measure the longest gap from now on."""
        self.max_gap_ms = 0.0

    def expect_loss(self, percent: int) -> None:
        """What the receiver reports to lose, 0 to 100."""
        self._encoder.expect_loss(percent)

    async def recv(self) -> "Packet[Any]":
        """The next packet, when it is due. Raises `MediaStreamError` once stopped, and nothing else."""
        if self.readyState != "live":
            raise MediaStreamError
        await self._wait_until_due()
        if self.readyState != "live":
            raise MediaStreamError
        packet = Packet(self._next_payload())
        packet.pts = self._timestamp
        packet.time_base = _TIME_BASE
        self._timestamp += PIECE_SAMPLES * _RTP_TICKS
        self.packets += 1
        return packet

    async def _wait_until_due(self) -> None:
        now_s = self._clock.now()
        due_s = now_s if self._due_s is None else self._due_s
        if now_s < due_s:
            await self._clock.sleep_until(due_s)
            now_s = self._clock.now()
        late_s = now_s - due_s
        if late_s > CATCH_UP_S:
            skipped = int(late_s / PIECE_S) if late_s > STALL_S else int((late_s - CATCH_UP_S) / PIECE_S) + 1
            due_s += skipped * PIECE_S
            self._timestamp += skipped * PIECE_SAMPLES * _RTP_TICKS
            self.stalls += 1
        self._due_s = due_s + PIECE_S
        if self._last_sent_s is not None:
            self.max_gap_ms = max(self.max_gap_ms, (now_s - self._last_sent_s) * 1000.0)
        self._last_sent_s = now_s

    def _next_payload(self) -> bytes:
        try:
            samples = self._source.read(PIECE_SAMPLES)
            if samples.shape != (PIECE_SAMPLES,) or not np.isfinite(np.dot(samples, samples)):
                raise AudioError("The voice gave no usable sound.")
            payload = self._encoder.encode(samples)
        except Exception:  # a track that raises ends silently while the connection stays up
            self._troubles.add("outgoing sound could not be made")
            return SILENT_PACKET
        self._troubles.over()
        return payload


class LoopbackAudio:
    """Incoming sound straight back out: the sound check, and what benchmarks measure the transport with.

    What waits beyond `limit_s` is dropped at once; what was not needed for 200 ms is dropped then, so that a
    burst after a loss leaves no delay behind.
    """

    _FADE_SAMPLES = 120
    _SPARE_SAMPLES = 120
    _WATCHED_READS = 10

    def __init__(self, limit_s: float = 3 * PIECE_S) -> None:
        self._limit_samples = round(limit_s * SAMPLE_RATE_HZ)
        self._line = silence(0)
        self._least = self._limit_samples
        self._reads = 0
        self.dropped_samples = 0

    def push(self, samples: Samples) -> None:
        """Incoming float32 [n] mono 24 kHz."""
        self._line = np.concatenate([self._line, samples]) if self._line.size else samples
        self._drop(self._line.size - max(self._limit_samples, samples.size))

    @property
    def depth_samples(self) -> int:
        """What could be read at once."""
        return self._line.size

    def read(self, samples: int, /) -> Samples:
        """Outgoing float32 [samples]."""
        piece, self._line = self._line[:samples], self._line[samples:]
        self._least = min(self._least, self._line.size)
        self._reads += 1
        if self._reads == self._WATCHED_READS:
            self._drop(self._least - self._SPARE_SAMPLES)
            self._least, self._reads = self._line.size, 0
        return piece if piece.size == samples else np.concatenate([piece, silence(samples - piece.size)])

    def _drop(self, samples: int) -> None:
        if samples <= 0:
            return
        self._line = self._line[samples:].copy()
        self._line[: self._FADE_SAMPLES] = fade(self._line[: self._FADE_SAMPLES], 0.0, 1.0)
        self.dropped_samples += samples


__all__ = ["AudioError", "IncomingAudio", "LoopbackAudio", "OnAudio", "OnError", "OutgoingAudio", "VoiceSource"]
