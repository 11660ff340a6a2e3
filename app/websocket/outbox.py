"""Messages on their way to a client, bounded in bytes."""

import asyncio
from collections import deque

BEHIND_BYTES = 16 * 1024
"""About 200 ms of sound."""
CROWDED_BYTES = 256 * 1024
MAX_BYTES = 1024 * 1024


class Outbox:
    """A queue with one reader.

    Overflow policy: above `CROWDED_BYTES` droppable messages (deltas, which a later full text repeats) are left out,
    the waiting ones first; above `MAX_BYTES` the client is given up (`full`). Sound never comes to that: it is not
    read while the queue is `behind`.
    """

    def __init__(self) -> None:
        self._queue: deque[tuple[str, bool]] = deque()
        self._arrived = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self.waiting_bytes = 0
        """Of text, one for each character."""
        self.dropped = 0

    @property
    def behind(self) -> bool:
        """The client does not follow at the moment."""
        return self.waiting_bytes > BEHIND_BYTES

    @property
    def full(self) -> bool:
        """The client did not follow for so long that messages it needs would be lost."""
        return self.waiting_bytes > MAX_BYTES

    def put(self, text: str, *, droppable: bool) -> None:
        """Add a message; never blocks."""
        if self.full:
            self.dropped += 1
            return
        if self.waiting_bytes > CROWDED_BYTES:
            self._thin_out()
            if droppable and self.waiting_bytes > CROWDED_BYTES:
                self.dropped += 1
                return
        self._queue.append((text, droppable))
        self.waiting_bytes += len(text)
        self._arrived.set()
        self._emptied.clear()

    async def emptied(self) -> None:
        """Return when nothing waits."""
        await self._emptied.wait()

    async def next(self) -> str:
        """The oldest message; waits for one."""
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        text, _ = self._queue.popleft()
        self.waiting_bytes -= len(text)
        if not self._queue:
            self._emptied.set()
        return text

    def _thin_out(self) -> None:
        kept = [entry for entry in self._queue if not entry[1]]
        self.dropped += len(self._queue) - len(kept)
        self._queue = deque(kept)
        self.waiting_bytes = sum(len(text) for text, _ in kept)
