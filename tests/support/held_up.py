"""How long the machine itself holds processes up, so that a test on a busy one blames nobody for it.

A virtual machine's cores are taken from it one by one, so each is watched: what sleeps on the one core knows nothing of
what happens to a server on the other. A process that is merely busy holds nobody up who sleeps beside it.
"""

import os
import threading
import time
from types import TracebackType
from typing import Self

_EVERY_S = 0.01


class HeldUp:
    """Sleeps on every core and looks at how much too late it wakes: `with HeldUp() as held_up: ...`."""

    def __init__(self) -> None:
        self._worst_s: dict[int, float] = {}
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(core,), name=f"held-up-{core}")
            for core in os.sched_getaffinity(0)
        ]

    @property
    def worst_ms(self) -> float:
        """The longest lateness until now, on any core."""
        return 1000 * max(self._worst_s.values(), default=0.0)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, core: int) -> None:
        os.sched_setaffinity(0, {core})  # of this thread
        while not self._ended.is_set():
            due_s = time.monotonic() + _EVERY_S
            time.sleep(_EVERY_S)
            self._worst_s[core] = max(self._worst_s.get(core, 0.0), time.monotonic() - due_s)
