"""The parts a conversation is made of."""

from dataclasses import dataclass

from kame_core.backend.base import ChatModel
from kame_core.clock import Clock
from kame_core.frontend.base import FrontendHost
from kame_core.stt.base import SpeechToText
from kame_core.vad import SileroModel
from kame_core.workers import Workers


@dataclass(slots=True)
class Engines:
    """Shared by all conversations of a process. `stt` and `chat` may be exchanged while it runs; conversations that
    are open keep what they began with.
    """

    frontend: FrontendHost
    stt: SpeechToText
    vad: SileroModel
    chat: ChatModel
    clock: Clock
    hearing: Workers
    """Where voice detection runs."""

    async def aclose(self) -> None:
        """End all parts."""
        await self.frontend.aclose()
        await self.stt.aclose()
        await self.chat.aclose()
        self.hearing.close()
