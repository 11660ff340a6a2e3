"""A front end in this process: an engine, its ticker, and the leases that conversations hold."""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from kame_core.audio import FRAME_S, Samples
from kame_core.clock import Clock
from kame_core.errors import CapacityError, FrontendError
from kame_core.frontend.base import OracleUpdate, SlotEngine, SlotOptions, SlotOutput, UserState
from kame_core.frontend.ring import RingStats, SampleRing
from kame_core.frontend.slot_batch import TickStats
from kame_core.frontend.ticker import InlineTicker, SlotTicker, Ticker

MOST_OUTPUTS = round(2.0 / FRAME_S)
"""2 s of frames wait for a conversation that does not fetch them; then the oldest are dropped, counted."""

_CLOSE_DEADLINE_S = 2.0


class LocalLease:
    """`SlotLease` on an engine in this process."""

    def __init__(self, slot: int, ticker: SlotTicker, release: "Callable[[LocalLease], None]") -> None:
        self.slot = slot
        self.dropped_outputs = 0
        self._release = release
        self._ticker = ticker
        self._ring = SampleRing()
        self._outputs: deque[SlotOutput] = deque()
        self._news = asyncio.Event()
        self._closed = False
        self._closing: asyncio.Future[None] | None = None

    @property
    def ring_stats(self) -> RingStats:
        """What became of the user's sound."""
        return self._ring.stats

    def open(self, options: SlotOptions) -> "asyncio.Future[None]":
        """Begin; called once, by the host."""
        return self._ticker.open(self.slot, options, self._ring, self._deliver)

    def push_audio(self, samples: Samples) -> None:
        """Add user sound, float32 [n] mono 24 kHz, any n."""
        if not self._closed:
            self._ring.push(samples)

    def push(self, *, oracle: Sequence[OracleUpdate] = (), user: UserState | None = None) -> None:
        """Tell the slot; in order, nothing is dropped. Without effect once closed."""
        if not self._closed and (oracle or user is not None):
            self._ticker.feed(self.slot, tuple(oracle), user)

    async def outputs(self) -> AsyncIterator[SlotOutput]:
        """The slot's frames as they are made; ends at `aclose`. For one reader."""
        while True:
            while self._outputs and not self._closed:
                yield self._outputs.popleft()
            if self._closed:
                return
            self._news.clear()
            await self._news.wait()

    def end(self) -> "asyncio.Future[None]":
        """Stop at once; the future is done when the slot can be used by another. Idempotent."""
        if self._closing is None:
            self._closed = True
            self._outputs.clear()
            self._news.set()
            self._closing = self._ticker.close(self.slot)
            self._closing.add_done_callback(lambda _: self._release(self))
        return self._closing

    async def aclose(self) -> None:
        """Give the slot back; idempotent.

        Raises:
            FrontendError: a step hangs; the slot is not free before it ends.
        """
        done, _ = await asyncio.wait([self.end()], timeout=_CLOSE_DEADLINE_S)
        if not done:
            raise FrontendError("The front end hangs in a step; its slot stays taken until that ends.")

    def _deliver(self, output: SlotOutput) -> None:
        if self._closed:
            return
        if len(self._outputs) >= MOST_OUTPUTS:
            self._outputs.popleft()
            self.dropped_outputs += 1
        self._outputs.append(output)
        self._news.set()


class LocalHost:
    """`FrontendHost` over an engine in this process.

    Args:
        engine: its capacity is the host's.
        ticker: drives it; owned by the host from now on.
        then_close: further resources of the engine, closed in order after the ticker has ended.
    """

    def __init__(
        self, engine: SlotEngine, ticker: SlotTicker, *, then_close: Sequence[Callable[[], Awaitable[None]]] = ()
    ) -> None:
        self.traits = engine.traits
        self.capacity = engine.capacity
        self._ticker = ticker
        self._free = list(range(engine.capacity))
        self._leases: set[LocalLease] = set()
        self._then_close = then_close
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    def threaded(cls, engine: SlotEngine, *, then_close: Sequence[Callable[[], Awaitable[None]]] = ()) -> "LocalHost":
        """On a thread of its own; call it on the event loop that the conversations live on."""
        return cls(engine, Ticker(engine, name=f"ticker-{engine.traits.name}"), then_close=then_close)

    @classmethod
    def inline(
        cls, engine: SlotEngine, clock: Clock, *, then_close: Sequence[Callable[[], Awaitable[None]]] = ()
    ) -> "LocalHost":
        """On the event loop, in the clock's time."""
        return cls(engine, InlineTicker(engine, clock), then_close=then_close)

    @property
    def free(self) -> int:
        """Slots not leased now."""
        return len(self._free)

    @property
    def broken(self) -> bool:
        """The engine fails at everything."""
        return self._ticker.broken

    @property
    def stats(self) -> TickStats:
        """How the ticks went."""
        return self._ticker.stats

    async def lease(self, options: SlotOptions) -> LocalLease:
        """Take the lowest free slot.

        Raises:
            CapacityError: none is free.
            FrontendError: the engine could not open the slot, or the host is closed.
        """
        if self._closing is not None:
            raise FrontendError("The front end is shutting down.", retryable=True)
        if not self._free:
            raise CapacityError(
                f"All {self.capacity} places of the {self.traits.name} front end are taken. Try again in a moment."
            )
        lease = LocalLease(heapq.heappop(self._free), self._ticker, self._release)
        self._leases.add(lease)
        try:
            await lease.open(options)
        except BaseException:  # also when cancelled: the ticker closes what it was told to open, then the slot is free
            lease.end()
            raise
        return lease

    async def aclose(self) -> None:
        """End all leases, the ticker and the engine; idempotent."""
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="front-end-close")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for lease in tuple(self._leases):
            lease.end()
        await self._ticker.aclose()
        for close in self._then_close:
            await close()

    def _release(self, lease: LocalLease) -> None:
        self._leases.discard(lease)
        heapq.heappush(self._free, lease.slot)
