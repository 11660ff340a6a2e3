"""A listener's view of a conversation's events: bounded, in order, and what gives way when it is slow."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType

from kame_core.events import AsideText, CandidateText, ConversationEnded, Event, PartialTranscript

_REPEATABLE = (PartialTranscript, CandidateText, AsideText)


class Subscription:
    """An async iterator that ends after `ConversationEnded` or `close`.

    Holds at most `bound` events. When it is full, the oldest partial transcript, or text of a candidate or aside, gives
    way first (the whole texts come again later), then the oldest event; both are counted in `dropped`.
    """

    def __init__(self, bound: int = 512) -> None:
        self._events: deque[Event] = deque()
        self._bound = bound
        self._arrived = asyncio.Event()
        self._closed = False
        self.dropped = 0

    @property
    def closed(self) -> bool:
        """Nothing is added any more."""
        return self._closed

    def put(self, event: Event) -> None:
        """Add an event; never blocks."""
        if self._closed:
            return
        if len(self._events) >= self._bound:
            self.dropped += 1
            victim = next((other for other in self._events if isinstance(other, _REPEATABLE)), None)
            if victim is None:
                self._events.popleft()
            else:
                self._events.remove(victim)
        self._events.append(event)
        self._arrived.set()

    def close(self) -> None:
        """No more events; what waits is still delivered."""
        self._closed = True
        self._arrived.set()

    def waiting(self) -> list[Event]:
        """Takes all events that wait now."""
        events = list(self._events)
        self._events.clear()
        return events

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Event]:
        while True:
            while self._events:
                event = self._events.popleft()
                yield event
                if isinstance(event, ConversationEnded):
                    return
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def __aenter__(self) -> "Subscription":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
