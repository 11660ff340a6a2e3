"""Named worker threads for work that must not run on the event loop, and their inline stand-in for virtual time.

asyncio's default executor is never used: aiortc's encoder lives there, and any other user of it can starve the
outgoing sound (measured: 20 half-second jobs gave a 1.5 s gap).
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_JOBS_AT_ONCE = 8


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


@dataclass(frozen=True, slots=True)
class _Job:
    call: Callable[[], Any]
    done: "asyncio.Future[Any]"


@dataclass(frozen=True, slots=True)
class _Outcome:
    done: "asyncio.Future[Any]"
    result: Any
    error: BaseException | None


class CrewWorkers:
    """Named threads for very many jobs of a fraction of a millisecond, as every conversation's ear has 31 a second.

    A thread takes its share of the jobs that wait, eight at most, and wakes the event loop once for all of them; a
    pool's way (a future of its own kind, and a wake-up, for each job) costs the loop more than such a job itself. Where
    nothing waits, a job is begun at once all the same. Used on one event loop; each caller awaits its job, so that
    there are never more jobs than callers.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        """None: the end, for one of the threads."""
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}_{index}", daemon=True) for index in range(threads)
        ]

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function on one of the threads.

        Raises:
            RuntimeError: they were ended.
        """
        if self._closed:
            raise RuntimeError("these workers were ended")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            for thread in self._threads:
                thread.start()
        done: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(lambda: function(*args, **kwargs), done))
        return await done

    def close(self) -> None:
        """End the threads; idempotent."""
        self._closed = True
        with contextlib.suppress(queue.Empty):
            while True:
                if (job := self._jobs.get_nowait()) is not None:
                    job.done.cancel()
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        assert self._loop is not None
        while (first := self._jobs.get()) is not None:
            outcomes = [_outcome(job) for job in (first, *self._share()) if not job.done.cancelled()]
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                self._loop.call_soon_threadsafe(_tell, outcomes)

    def _share(self) -> Iterator[_Job]:
        """What a thread takes beside its first job; the end is left to whoever looks next."""
        for _ in range(min(_JOBS_AT_ONCE - 1, self._jobs.qsize() // len(self._threads))):
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is None:
                self._jobs.put(None)
                return
            yield job


def _outcome(job: _Job) -> _Outcome:
    try:
        return _Outcome(job.done, job.call(), None)
    except BaseException as error:  # told to whoever waits for it
        return _Outcome(job.done, None, error)


def _tell(outcomes: list[_Outcome]) -> None:
    for outcome in outcomes:
        if outcome.done.done():  # cancelled
            continue
        if outcome.error is None:
            outcome.done.set_result(outcome.result)
        else:
            outcome.done.set_exception(outcome.error)


class InlineWorkers:
    """Runs everything at once on the caller's thread: for scripts and for tests in virtual time."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function."""
        return function(*args, **kwargs)

    def close(self) -> None:
        """Nothing to end."""
