"""Named worker threads for work that must not run on the event loop, and their inline stand-in for virtual time.

asyncio's default executor is never used: aiortc's encoder lives there, and any other user of it can starve the
outgoing sound (measured: 20 half-second jobs gave a 1.5 s gap).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Workers(Protocol):
    """Runs plain functions off the event loop."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function(*args)` and return its result or raise its error."""

    def close(self) -> None:
        """End the workers; what is queued is dropped."""


class ThreadWorkers:
    """A named thread pool of fixed size."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function on one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class InlineWorkers:
    """Runs everything at once on the caller's thread: for scripts and for tests in virtual time."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function."""
        return function(*args, **kwargs)

    def close(self) -> None:
        """Nothing to end."""
