"""What a recogniser has to tell and nobody has read yet."""

import asyncio
from collections import deque

from kame_core.stt.base import RecognizerUpdate

_MAX_UNREAD = 64


class Outbox:
    """Unread updates, read by one reader on the loop.

    A newer update replaces an unread partial of its utterance; beyond 64 the oldest gives way.
    """

    def __init__(self) -> None:
        self._unread: deque[RecognizerUpdate] = deque()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, update: RecognizerUpdate) -> None:
        """Add an update."""
        self._unread = deque(
            (other for other in self._unread if not (_is_partial(other) and other.utterance == update.utterance)),
            _MAX_UNREAD,
        )
        self._unread.append(update)
        self._changed.set()

    def drop_readings(self) -> None:
        """An utterance is over; only faults still matter."""
        self._unread = deque((update for update in self._unread if update.fault is not None), _MAX_UNREAD)

    def close(self) -> None:
        """End the stream; what is unread is dropped."""
        self._closed = True
        self._changed.set()

    def __aiter__(self) -> "Outbox":
        return self

    async def __anext__(self) -> RecognizerUpdate:
        """Not a generator: a wait that is cancelled must not end the stream."""
        while not self._closed:
            if self._unread:
                return self._unread.popleft()
            self._changed.clear()
            await self._changed.wait()
        raise StopAsyncIteration


def _is_partial(update: RecognizerUpdate) -> bool:
    return not update.settled and update.fault is None
