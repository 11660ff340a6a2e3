"""A whole conversation in virtual time: real voice detection, real espeak-ng, real reflex front end, inline.

What the user says is real sound; what is understood of it and what the LLM answers come from the test's script, unless
real parts are given.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, level_dbfs, silence
from kame_core.backend.base import ChatModel
from kame_core.backend.tools import Toolbox
from kame_core.clock import VirtualClock, run_virtual
from kame_core.conversation import Conversation
from kame_core.engines import Engines
from kame_core.events import Event
from kame_core.frontend.reflex import reflex_host
from kame_core.options import ConversationOptions
from kame_core.phrasing import Ending, ending_of
from kame_core.registry import ConversationRegistry
from kame_core.stt.base import SpeechToText
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.vad import SileroModel
from kame_core.workers import InlineWorkers
from tests.support.chat import ScriptedChatModel
from tests.support.scripted_stt import ScriptedSpeechToText

E = TypeVar("E", bound=Event)
T = TypeVar("T")

_VAD = SileroModel()


@dataclass
class Studio:
    """A user with a microphone and a loudspeaker beside one conversation."""

    conversation: Conversation
    registry: ConversationRegistry
    clock: VirtualClock
    events: list[Event] = field(default_factory=list)
    heard: list[Samples] = field(default_factory=list)
    listening: bool = True
    watch: Callable[[list[Event]], None] = lambda _: None
    """Told the new events after every 20 ms."""
    _position: int = 0

    def __post_init__(self) -> None:
        self._start_s = self.clock.now()
        self._listener = self.conversation.subscribe()
        self.conversation.playout.attach()

    async def say(self, sound: Samples) -> None:
        """Speak, in real (virtual) time."""
        for begin in range(0, sound.size, PIECE_SAMPLES):
            piece = sound[begin : begin + PIECE_SAMPLES]
            await self._piece(np.concatenate([piece, silence(PIECE_SAMPLES - piece.size)]))

    async def send_nothing(self, seconds: float) -> None:
        """No packets at all for a while."""
        for _ in range(round(seconds * SAMPLE_RATE_HZ / PIECE_SAMPLES)):
            await self._piece(None)

    def detach(self) -> None:
        """Nobody reads the voice any more."""
        if self.listening:
            self.listening = False
            self.conversation.playout.detach()

    def attach(self) -> None:
        """Read it again."""
        if not self.listening:
            self.listening = True
            self.conversation.playout.attach()

    async def listen(self, seconds: float) -> None:
        """Say nothing for a while."""
        await self.say(silence(round(seconds * SAMPLE_RATE_HZ)))

    async def listen_until(self, kind: type[E], deadline_s: float = 15.0, count: int = 1) -> E:
        """Say nothing until the n-th event of a kind has come."""
        for _ in range(round(deadline_s * SAMPLE_RATE_HZ / PIECE_SAMPLES)):
            found = self.all(kind)
            if len(found) >= count:
                return found[count - 1]
            await self.listen(PIECE_SAMPLES / SAMPLE_RATE_HZ)
        raise AssertionError(f"no {kind.__name__} within {deadline_s} s: {[type(e).__name__ for e in self.events]}")

    async def _piece(self, piece: Samples | None) -> None:
        self._position += 1
        await self.clock.sleep_until(self._start_s + self._position * PIECE_SAMPLES / SAMPLE_RATE_HZ)
        if piece is not None:
            self.conversation.push_audio(piece)
        read = self.conversation.playout.read(PIECE_SAMPLES) if self.listening else silence(PIECE_SAMPLES)
        self.heard.append(read)
        news = self._listener.waiting()
        self.events += news
        self.watch(news)

    def all(self, kind: type[E]) -> list[E]:
        """Events of a kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[E]) -> E:
        """The only event of a kind."""
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} {kind.__name__}: {[type(e).__name__ for e in self.events]}"
        return found[0]

    @property
    def kinds(self) -> list[str]:
        """Names of all events, in order."""
        return [type(event).__name__ for event in self.events]

    def level_at(self, begin_ms: int, end_ms: int) -> float:
        """Level of the agent's voice between two moments of the conversation, dBFS."""
        first, last = begin_ms // 20, max(begin_ms // 20 + 1, end_ms // 20)
        return level_dbfs(np.concatenate(self.heard[first:last]))


def in_studio(
    scene: Callable[[Studio], Coroutine[Any, Any, T]],
    *,
    chat: ChatModel | None = None,
    stt: SpeechToText | None = None,
    options: ConversationOptions | None = None,
    capacity: int = 2,
    tools: Toolbox | None = None,
    early_chat: ChatModel | None = None,
    ending: Callable[[str], Ending] = ending_of,
) -> T:
    """Run a scene in virtual time and return its result; everything must be free again after it."""

    async def main(clock: VirtualClock) -> T:
        engines = Engines(
            frontend=await reflex_host(EspeakTextToSpeech(workers=InlineWorkers()), capacity, clock=clock),
            stt=stt or ScriptedSpeechToText(""),
            vad=_VAD,
            chat=chat or ScriptedChatModel(),
            clock=clock,
            hearing=InlineWorkers(),
            early_chat=early_chat,
            tools=tools or Toolbox(),
            ending=ending,
        )
        try:
            async with ConversationRegistry(engines) as registry:
                conversation = await registry.open(options or ConversationOptions())
                result = await scene(Studio(conversation, registry, clock))
            assert registry.count == 0
            assert engines.frontend.free == capacity
        finally:
            await engines.aclose()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks were left: {left}"
        return result

    return run_virtual(main)
