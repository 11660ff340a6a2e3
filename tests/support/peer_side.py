"""A peer with everything it was told, and what it leaves behind."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import psutil

from app.webrtc.ice import IceServer
from app.webrtc.peer import Peer
from app.webrtc.tracks import LoopbackAudio, VoiceSource
from kame_core.audio import SAMPLE_RATE_HZ, Samples, silence
from kame_core.errors import KameError


class Side:
    """The server's side with everything it was told."""

    def __init__(self, voice: VoiceSource | None = None, ice: tuple[IceServer, ...] = (), **options: Any) -> None:
        self.loop = LoopbackAudio()
        self.heard: list[Samples] = []
        self.messages: list[str] = []
        self.errors: list[KameError] = []
        self.opened = 0
        self.reasons: list[str] = []
        self.ended = asyncio.Event()
        self.ended_s = 0.0
        self.peer = Peer(
            ice,
            voice or self.loop,
            on_audio=self._hear,
            on_message=self.messages.append,
            on_open_channel=self._open,
            on_closed=self._end,
            on_error=self.errors.append,
            **options,
        )

    def _hear(self, samples: Samples) -> None:
        self.heard.append(samples)
        self.loop.push(samples)

    def _open(self) -> None:
        self.opened += 1

    def _end(self, reason: str) -> None:
        self.reasons.append(reason)
        self.ended_s = time.monotonic()
        self.ended.set()

    async def wait_ended(self, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            await self.ended.wait()


def click(at_s: float = 0.5, seconds: float = 1.0) -> Samples:
    sound = silence(round(seconds * SAMPLE_RATE_HZ))
    start = round(at_s * SAMPLE_RATE_HZ)
    sound[start : start + 240] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(240) / SAMPLE_RATE_HZ)
    return sound


def udp_sockets() -> int:
    return len(psutil.Process().net_connections("udp"))


async def settled(check: Callable[[], bool], timeout_s: float = 2.0) -> bool:
    until = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.02)
    return True


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Afterwards there are no tasks, threads and sockets that were not there before."""

    def left() -> tuple[set[str], set[str], int]:
        tasks = {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}
        threads = {thread.name for thread in threading.enumerate()}
        names = {name for name in threads if not name.startswith("asyncio_")}  # host names are looked up there
        return tasks, names, udp_sockets()

    before = left()
    yield

    def no_more() -> bool:
        tasks, threads, sockets = left()
        return tasks <= before[0] and threads <= before[1] and sockets <= before[2]

    assert await settled(no_more), (before, left())
