"""One slot of the reflex front end in virtual time, with the real espeak-ng voice inline."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np

from kame_core.audio import FRAME_S, Samples
from kame_core.clock import VirtualClock, run_virtual
from kame_core.frontend.base import (
    Floor,
    OracleAdopt,
    OracleFinish,
    OracleText,
    OracleUpdate,
    SlotLease,
    SlotOptions,
    SlotOutput,
    SpeechOrigin,
    SpeechPolicy,
    UserState,
)
from kame_core.frontend.host import LocalHost
from kame_core.frontend.reflex import reflex_host
from kame_core.tts.base import TextToSpeech
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.workers import InlineWorkers

NO_OPENER = SpeechPolicy(opener=False)
QUESTION = "what is the capital of france"
ANSWER = "The capital of France is Paris, a city of two million people. It lies on the Seine."


class Talk:
    """One slot, and what it has said."""

    def __init__(self, clock: VirtualClock, host: LocalHost, lease: SlotLease) -> None:
        self.clock = clock
        self.host = host
        self.lease = lease
        self.frames: list[SlotOutput] = []
        self.user = UserState()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for out in self.lease.outputs():
            self.frames.append(out)

    def tell(
        self,
        floor: Floor,
        heard: str = QUESTION,
        *,
        turn: int | None = None,
        policy: SpeechPolicy | None = None,
    ) -> None:
        self.user = replace(
            self.user,
            floor=floor,
            heard=heard,
            turn=self.user.turn if turn is None else turn,
            policy=policy or self.user.policy,
        )
        self.lease.push(user=self.user)

    def oracle(self, *updates: OracleUpdate) -> None:
        self.lease.push(oracle=updates)

    def answer(self, candidate_id: str, text: str, *, finished: bool = True) -> None:
        self.oracle(OracleAdopt(candidate_id), OracleText(candidate_id, text))
        if finished:
            self.oracle(OracleFinish(candidate_id))

    async def ticks(self, count: int) -> list[SlotOutput]:
        """The next frames."""
        begin = len(self.frames)
        await self.clock.sleep_until(self.clock.now() + count * FRAME_S)
        return self.frames[begin:]

    async def until_done(self) -> list[SlotOutput]:
        begin = len(self.frames)
        while not (len(self.frames) > begin + 1 and not self.frames[-1].pending and not self.frames[-1].speaking):
            await self.ticks(1)
        return self.frames[begin:]

    async def close(self) -> None:
        await self.lease.aclose()
        await self._reader


def text_of(frames: list[SlotOutput]) -> str:
    return "".join(frame.text for frame in frames)


def sound_of(frames: list[SlotOutput]) -> Samples:
    return np.concatenate([frame.voice for frame in frames])


def origins(frames: list[SlotOutput]) -> list[SpeechOrigin]:
    kept: list[SpeechOrigin] = []
    for frame in frames:
        if frame.origin is not SpeechOrigin.NONE and (not kept or kept[-1] is not frame.origin):
            kept.append(frame.origin)
    return kept


def talk(
    main: Callable[[Talk], Awaitable[None]],
    *,
    options: SlotOptions | None = None,
    wrap: Callable[[EspeakTextToSpeech], TextToSpeech] | None = None,
) -> None:
    async def run(clock: VirtualClock) -> None:
        tts = EspeakTextToSpeech(workers=InlineWorkers())
        host = await reflex_host(wrap(tts) if wrap else tts, 4, clock=clock)
        lease = await host.lease(options or SlotOptions())
        conversation = Talk(clock, host, lease)
        await clock.sleep_until(clock.now() + FRAME_S / 4)  # what follows happens between ticks
        await main(conversation)
        await conversation.close()
        await host.aclose()
        assert len(asyncio.all_tasks()) == 1

    run_virtual(run)


async def reference(text: str) -> Samples:
    tts = EspeakTextToSpeech(workers=InlineWorkers())
    pcm = np.concatenate([chunk.pcm async for chunk in tts.speak(text)])
    await tts.aclose()
    return pcm
