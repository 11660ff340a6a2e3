"""How long the machine itself holds processes up, so that a test on a busy one blames nobody for it."""

import asyncio
from types import TracebackType
from typing import Self

_EVERY_S = 0.01


class HeldUp:
    """Sleeps and looks at how much too late it wakes: `async with HeldUp() as held_up: ...`."""

    def __init__(self) -> None:
        self.worst_ms = 0.0
        """The longest lateness until now."""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            self.worst_ms = max(self.worst_ms, 1000 * (loop.time() - due_s))
