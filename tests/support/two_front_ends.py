"""The studio (`studio.py`) with two front ends, as a server with the moshi front end has them, in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from kame_core.backend.base import ChatModel, ChatRequest
from kame_core.clock import VirtualClock, run_virtual
from kame_core.engines import Engines
from kame_core.events import ResponseEnded
from kame_core.frontend.base import SlotEngine, SlotLease, SlotOptions
from kame_core.frontend.host import LocalHost
from kame_core.frontend.reflex import reflex_host
from kame_core.options import ConversationOptions, Mode
from kame_core.registry import ConversationRegistry
from kame_core.stt.base import SpeechToText
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.vad import SileroModel
from kame_core.workers import InlineWorkers
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.speech import say
from tests.support.studio import Studio

T = TypeVar("T")
VAD = SileroModel()
FRANCE = "what is the capital of france"
SUM = "what is two plus three"
ANSWERS = {"france": "Paris.", "three": "Five, of course.", "story": "It was the best of times, it was the worst."}


class LateHost:
    """A front end that takes its time to give a place: `late_s` seconds each."""

    def __init__(self, host: LocalHost) -> None:
        self.host = host
        self.late_s = 0.0
        self.leased: list[SlotLease] = []
        self.traits = host.traits
        self.capacity = host.capacity

    @property
    def free(self) -> int:
        return self.host.free

    @property
    def broken(self) -> bool:
        return self.host.broken

    async def lease(self, options: SlotOptions) -> SlotLease:
        await asyncio.sleep(self.late_s / 2)
        lease = await self.host.lease(options)
        self.leased.append(lease)
        try:
            await asyncio.sleep(self.late_s / 2)
        except BaseException:
            await lease.aclose()
            raise
        return lease

    async def aclose(self) -> None:
        await self.host.aclose()


@dataclass
class House:
    """What a scene is played in."""

    studio: Studio
    engines: Engines
    model: LateHost
    """The front end that takes turns itself."""
    reflex: LateHost

    @property
    def taken(self) -> tuple[int, int]:
        """Places of the model and of the reflex that are not free."""
        return self.model.capacity - self.model.free, self.reflex.capacity - self.reflex.free

    async def another(self, options: ConversationOptions) -> Studio:
        """One more conversation."""
        return Studio(await self.studio.registry.open(options), self.studio.registry, self.studio.clock)


def in_house(
    engine: SlotEngine,
    scene: Callable[[House], Coroutine[Any, Any, T]],
    chat: ChatModel,
    stt: SpeechToText,
    *,
    options: ConversationOptions | None = None,
    reflexes: int = 1,
) -> T:
    """Run a scene with an engine that takes turns itself beside a reflex; everything must be free again after it."""

    async def main(clock: VirtualClock) -> T:
        model = LateHost(LocalHost.inline(engine, clock))
        tts = EspeakTextToSpeech(workers=InlineWorkers())
        reflex = LateHost(await reflex_host(tts, reflexes, clock=clock))
        engines = Engines(
            frontend=model,
            stt=stt,
            vad=VAD,
            chat=chat,
            clock=clock,
            hearing=InlineWorkers(),
            cascade=reflex,
        )
        try:
            async with ConversationRegistry(engines) as registry:
                conversation = await registry.open(options or ConversationOptions())
                house = House(Studio(conversation, registry, clock), engines, model, reflex)
                result = await scene(house)
            assert house.taken == (0, 0)
        finally:
            await engines.aclose()
        assert not asyncio.all_tasks() - {asyncio.current_task()}
        return result

    return run_virtual(main)


def answers(otherwise: str = "") -> ScriptedChatModel:
    """Nothing, as a rule, for words that are not the whole question yet: the model would begin with that."""

    def answer(request: ChatRequest) -> Answer:
        asked = request.messages[-1].content
        return Answer(next((text for word, text in ANSWERS.items() if word in asked), otherwise))

    return ScriptedChatModel(answer)


def ask_for(studio: Studio, mode: Mode) -> None:
    studio.conversation.set_options(replace(studio.conversation.options, mode=mode))


async def ask(studio: Studio, question: str) -> ResponseEnded:
    """Say it and hear the answer."""
    await studio.say(say(question))
    return await studio.listen_until(ResponseEnded, count=len(studio.all(ResponseEnded)) + 1)
