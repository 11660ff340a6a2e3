"""Sound in messages knows no time: here it gets some. In, no faster than it was spoken; out, a little ahead."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from app.call import Line, Link
from app.protocol.sound_formats import Pcm
from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, from_int16
from kame_core.clock import Clock
from kame_core.errors import InvalidRequestError

PIECE_S = PIECE_SAMPLES / SAMPLE_RATE_HZ
MAX_WAITING_S = 60
MAX_ACTIONS = 64
JITTER_S = 0.5
"""Sound that was held up in the network for so long is handed on at once; more than that was never spoken live."""
CATCH_UP = 1.1
"""Speed at which the rest is handed on."""
SETTLE_S = 0.06
"""Voice detection needs so long after the last sound."""
LEAD_PIECES = 5
"""The voice is sent up to 100 ms ahead of time: that much less has the client to wait before it plays."""
STALL_S = 0.1


class BufferFullError(InvalidRequestError):
    """A client sends more sound than can be heard."""

    code = "input_audio_buffer_full"


@dataclass(frozen=True, slots=True)
class _Action:
    run: Callable[[], None]
    settled: bool


class PacedInput:
    """A `SoundInput` that hands sound on as if it were spoken now, and actions between it in order.

    Live sound passes at once. A recording sent in one go is handed on at speaking speed, because turns are found by
    their pauses in time. Bounded at 60 s of sound and 64 actions; what exceeds that is refused with an error.

    Args:
        hear: takes float32 [n] mono 24 kHz; must be quick.
    """

    def __init__(self, hear: Callable[[Samples], None], clock: Clock) -> None:
        self._hear = hear
        self._clock = clock
        self._queue: deque[Pcm | _Action] = deque()
        self._waiting_samples = 0
        self._actions = 0
        self._spoken_until_s = 0.0
        """When all that was handed on would have been spoken."""
        self._handed_s = 0.0
        self._changed = asyncio.Event()

    @property
    def waiting_samples(self) -> int:
        """Sound that was not handed on yet."""
        return self._waiting_samples

    def push(self, pcm: Pcm) -> None:
        """Sound, int16 [n] mono 24 kHz.

        Raises:
            BufferFullError: 60 s wait already.
        """
        if self._waiting_samples + pcm.size > MAX_WAITING_S * SAMPLE_RATE_HZ:
            raise BufferFullError(
                f"More than {MAX_WAITING_S} s of sound wait to be heard. Send it no faster than it is spoken."
            )
        if pcm.size:
            self._queue.append(pcm)
            self._waiting_samples += pcm.size
            self._advance()

    def after(self, action: Callable[[], None], *, settled: bool) -> None:
        """Do this when all before was handed on; `settled`: and has had time to be understood.

        Raises:
            BufferFullError: too many actions wait.
        """
        if self._actions >= MAX_ACTIONS:
            raise BufferFullError("Too many events wait for the sound sent before them to be heard.")
        self._queue.append(_Action(action, settled))
        self._actions += 1
        self._advance()

    def clear(self) -> None:
        """Forget the sound behind the last action that was not handed on yet."""
        while self._queue and not isinstance(self._queue[-1], _Action):
            self._forget(self._queue.pop())

    async def run(self) -> None:
        """Hand on what had to wait, until cancelled."""
        while True:
            due_s = self._advance()
            if due_s is not None:
                await self._clock.sleep_until(due_s)
                continue
            self._changed.clear()
            await self._changed.wait()

    def _forget(self, pcm: "Pcm | _Action") -> None:
        if isinstance(pcm, _Action):
            self._actions -= 1
        else:
            self._waiting_samples -= pcm.size

    def _advance(self) -> float | None:
        """Hand on what may be; returns when there is more to do."""
        while self._queue:
            now_s = self._clock.now()
            head = self._queue[0]
            if isinstance(head, _Action):
                due_s = self._handed_s + SETTLE_S if head.settled else now_s
                if due_s > now_s:
                    return self._later(due_s)
                self._forget(self._queue.popleft())
                head.run()
                continue
            self._spoken_until_s = max(self._spoken_until_s, now_s)
            room = round((now_s + JITTER_S - self._spoken_until_s) * SAMPLE_RATE_HZ)
            if room < min(head.size, PIECE_SAMPLES):
                return self._later(now_s + PIECE_S)
            self._hand_on(head[:room])
            self._queue.popleft()
            if head.size > room:
                self._queue.appendleft(head[room:])
        return None

    def _hand_on(self, pcm: Pcm) -> None:
        self._waiting_samples -= pcm.size
        self._spoken_until_s += pcm.size / (SAMPLE_RATE_HZ * CATCH_UP)
        self._handed_s = self._clock.now()
        self._hear(from_int16(pcm))

    def _later(self, due_s: float) -> float:
        self._changed.set()
        return due_s


class VoicePump:
    """Reads the agent's voice in time and passes it to the link.

    Between responses it is read 20 ms at a time and goes nowhere. While one is spoken, all that is there is sent, up to
    `LEAD_PIECES` ahead of real time, so that a client with a small buffer plays without holes; and no more than that,
    because what was sent can only be stopped by the client. While the network is behind, nothing is read: the voice
    then shortens itself, and what was left out does not count as heard.

    Args:
        behind: whether the network is behind.
    """

    def __init__(self, line: Line, link: Link, clock: Clock, behind: Callable[[], bool]) -> None:
        self._line = line
        self._link = link
        self._clock = clock
        self._behind = behind
        self._ahead = 0
        """Pieces sent before their time; -1: one is due."""

    async def run(self) -> None:
        """Read until cancelled."""
        due_s = self._clock.now()
        while True:
            await self._clock.sleep_until(due_s)
            now_s = self._clock.now()
            if now_s - due_s > STALL_S:  # no burst for what could not be heard in time
                due_s = now_s
            due_s += PIECE_S
            if self._behind():
                continue
            self._ahead = max(-1, self._ahead - 1)
            was_open = self._link.voice_open
            self._speak(max(self._there() if was_open else 0, -self._ahead))
            await asyncio.sleep(0)  # what the reading caused is told first
            if not was_open and self._link.voice_open:
                self._speak(self._there())

    def _there(self) -> int:
        return min(self._line.depth_samples // PIECE_SAMPLES, LEAD_PIECES - self._ahead)

    def _speak(self, pieces: int) -> None:
        if pieces > 0:
            self._ahead += pieces
            self._link.speak(self._line.read(pieces * PIECE_SAMPLES))
