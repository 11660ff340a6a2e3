"""The studio (`studio.py`) with a front end that takes turns itself: the tiny KAME of tests/assets, inline."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from kame_core.audio import level_dbfs
from kame_core.backend.base import ChatModel
from kame_core.clock import VirtualClock, run_virtual
from kame_core.engines import Engines
from kame_core.events import Event, ResponseText
from kame_core.frontend.base import OracleUpdate, SlotInput, SlotOutput, UserState
from kame_core.frontend.host import LocalHost
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint, load_checkpoint
from kame_core.frontend.moshi.engine import MoshiEngine
from kame_core.frontend.moshi.files import locate_checkpoint
from kame_core.frontend.moshi.sampling import GREEDY
from kame_core.options import ConversationOptions
from kame_core.registry import ConversationRegistry
from kame_core.vad import SileroModel
from kame_core.workers import InlineWorkers
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.studio import Studio

T = TypeVar("T")
FOLDER = Path(__file__).parents[1] / "assets" / "tiny_kame"
VAD = SileroModel()
QUESTION = "what is two plus three"


def load_tiny_kame() -> Iterator[LoadedCheckpoint]:
    """The checkpoint of tests/assets, in fp32, on one thread until the generator goes on."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    files = locate_checkpoint(str(FOLDER))
    assert files is not None
    yield load_checkpoint(files, device="cpu", dtype=torch.float32)
    torch.set_num_threads(threads)


def talk(
    engine: MoshiEngine,
    scene: Callable[[Studio], Coroutine[Any, Any, T]],
    chat: ChatModel,
    options: ConversationOptions | None = None,
    heard: tuple[str, ...] = (QUESTION,),
) -> T:
    """Run a scene with this engine in virtual time and return its result; everything must be free again after it."""

    async def main(clock: VirtualClock) -> T:
        engines = Engines(
            frontend=LocalHost.inline(engine, clock),
            stt=ScriptedSpeechToText(*heard),
            vad=VAD,
            chat=chat,
            clock=clock,
            hearing=InlineWorkers(),
        )
        try:
            async with ConversationRegistry(engines) as registry:
                conversation = await registry.open(options or ConversationOptions())
                result = await scene(Studio(conversation, registry, clock))
            assert engines.frontend.free == engine.capacity
        finally:
            await engines.aclose()
        assert not asyncio.all_tasks() - {asyncio.current_task()}
        return result

    return run_virtual(main)


def text_of(events: list[Event]) -> str:
    """What was heard of the agent."""
    return "".join(event.delta for event in events if isinstance(event, ResponseText))


class Noted(MoshiEngine):
    """Notes what it is given."""

    def __init__(self, kame: LoadedCheckpoint) -> None:
        super().__init__(kame, 1, sampling=GREEDY)
        self.levels: list[float] = []
        self.updates: list[OracleUpdate] = []

    def feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        self.updates += oracle
        super().feed(slot, oracle, user)

    def step(self, inputs: Sequence[SlotInput]) -> Sequence[SlotOutput]:
        self.levels += [level_dbfs(given.mic) for given in inputs]
        return super().step(inputs)
