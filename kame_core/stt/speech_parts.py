"""One utterance as parts between pauses: what a recogniser elsewhere has been sent, has understood, and still owes.

Pure bookkeeping: the sound of a part is kept until its reading is final, so that it can be sent again.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Part:
    """A stretch of speech up to a pause."""

    number: int
    sound: list[bytes] = field(default_factory=list)
    """int16 pieces."""
    samples: int = 0
    complete: bool = False
    """The pause has come."""
    complete_at_s: float = 0.0
    heard: str = ""
    """Read so far, on the connection it was last sent on."""
    heard_before: str = ""
    """Read so far on an earlier one."""
    text: str | None = None
    """The final reading."""
    dropped: bool = False
    """Its utterance is over; nobody wants it."""
    sent_pieces: int = 0
    commit_sent: bool = False
    asked_at_s: float = 0.0
    """When it was last asked to be read."""
    tries: int = 0

    @property
    def reading(self) -> str:
        """The best known."""
        if self.text is not None:
            return self.text
        return self.heard if len(self.heard) >= len(self.heard_before) else self.heard_before

    @property
    def untold(self) -> bool:
        """Something of it is still to be sent."""
        sound_left = self.sent_pieces < len(self.sound)
        return self.text is None and not self.dropped and (sound_left or (self.complete and not self.commit_sent))

    @property
    def half_sent(self) -> bool:
        """Sound of it lies in the service's buffer."""
        return self.sent_pieces > 0 and not self.commit_sent

    def send_again(self) -> None:
        """The connection is gone: nothing of it counts as sent."""
        self.tries += self.commit_sent
        self.heard_before, self.heard = self.reading, ""
        self.sent_pieces = 0
        self.commit_sent = False


class Utterance:
    """The parts of one utterance.

    Args:
        number: counts utterances.
        max_samples: sound kept of parts that have no final reading; beyond, the oldest part's is dropped.
        max_part_samples: a part that grows longer is completed without a pause.
    """

    def __init__(self, number: int, max_samples: int, max_part_samples: int) -> None:
        self.number = number
        self.parts: deque[Part] = deque()
        self.dropped_samples = 0
        self._max_samples = max_samples
        self._max_part_samples = max_part_samples
        self._finished = ""
        self._numbers = 0
        self._kept_samples = 0
        self._flushes: deque[int] = deque()

    @property
    def text(self) -> str:
        """All that is understood."""
        return _joined([self._finished, *(part.reading for part in self.parts)])

    @property
    def open_part(self) -> Part | None:
        """The part that grows."""
        return self.parts[-1] if self.parts and not self.parts[-1].complete else None

    @property
    def half_sent(self) -> bool:
        """Sound of it lies in the service's buffer."""
        return any(part.half_sent for part in self.parts)

    def push(self, piece: bytes, now_s: float) -> bool:
        """Add int16 sound. Returns whether sound that lies in the service's buffer had to be dropped."""
        part = self.open_part
        if part is not None and part.samples >= self._max_part_samples:
            part.complete, part.complete_at_s = True, now_s
            part = None
        if part is None:
            part = Part(self._numbers)
            self._numbers += 1
            self.parts.append(part)
        part.sound.append(piece)
        part.samples += len(piece) // 2
        self._kept_samples += len(piece) // 2
        half_sent = False
        while self._kept_samples > self._max_samples and len(self.parts) > 1:
            oldest = self.parts[0]
            half_sent = half_sent or oldest.half_sent
            self.dropped_samples += oldest.samples
            self.finish(oldest, oldest.reading)
        return half_sent

    def flush(self, now_s: float, least_samples: int) -> None:
        """A pause: complete the part that grows, filled up with silence to `least_samples`."""
        part = self.open_part
        if part is not None:
            missing = least_samples - part.samples
            if missing > 0:
                part.sound.append(b"\0\0" * missing)
                part.samples += missing
                self._kept_samples += missing
            part.complete, part.complete_at_s = True, now_s
        self._flushes.append(self._numbers)

    def finish(self, part: Part, text: str) -> None:
        """A part's reading is final; its sound is forgotten."""
        if part.text is not None or part.dropped:
            return
        part.text = text.strip()
        part.sound = []
        self._kept_samples -= part.samples
        while self.parts and self.parts[0].text is not None:
            self._finished = _joined([self._finished, self.parts.popleft().reading])

    def answered(self) -> int:
        """How many flushes can be answered now; told once."""
        count = 0
        while self._flushes and (not self.parts or self.parts[0].number >= self._flushes[0]):
            self._flushes.popleft()
            count += 1
        return count

    def drop(self) -> None:
        """The utterance is over."""
        for part in self.parts:
            part.dropped = True
            part.sound = []
        self.parts.clear()
        self._flushes.clear()


def _joined(texts: list[str]) -> str:
    return " ".join(" ".join(texts).split())
