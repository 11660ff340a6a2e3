"""The parts a conversation is made of."""

from dataclasses import dataclass, field

from kame_core.backend.base import ChatModel
from kame_core.backend.tools import Toolbox
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
    early_chat: ChatModel | None = None
    """A cheaper model for partial transcripts; None: `chat` answers those, too."""
    tools: Toolbox = field(default_factory=Toolbox)
    """What every conversation's chat model may have run on this side."""

    async def aclose(self) -> None:
        """End all parts."""
        await self.frontend.aclose()
        await self.stt.aclose()
        await self.chat.aclose()
        if self.early_chat is not None:
            await self.early_chat.aclose()
        self.hearing.close()
