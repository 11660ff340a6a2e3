"""The parts a conversation is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field

from kame_core.backend.base import ChatModel
from kame_core.backend.tools import Toolbox
from kame_core.clock import Clock
from kame_core.errors import UnavailableError
from kame_core.frontend.base import FrontendHost
from kame_core.options import Mode
from kame_core.phrasing import Ending, ending_of
from kame_core.stt.base import SpeechToText
from kame_core.vad import SileroModel
from kame_core.workers import Workers


@dataclass(slots=True)
class Engines:
    """Shared by all conversations of a process. `stt`, `chat` and `ending` may be exchanged while it runs;
    conversations that are open keep what they began with.
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
    ending: Callable[[str], Ending] = ending_of
    """Reads how a partial transcript ends; see `EnglishWording` for one that knows more."""
    cascade: FrontendHost | None = None
    """Beside a `frontend` that takes turns itself: where the mode `cascaded` runs, which needs one that is told to."""

    def host_of(self, mode: Mode) -> FrontendHost:
        """The front end a mode runs on.

        Raises:
            UnavailableError: there is none for it here (`mode_unavailable`).
        """
        if mode is not Mode.CASCADED or not self.frontend.traits.takes_turns:
            return self.frontend
        if self.cascade is None:
            raise UnavailableError(
                f"The mode {mode.value} needs a front end that speaks when it is told to, and there is none beside "
                f"{self.frontend.traits.name} here. Choose tandem or direct.",
                code="mode_unavailable",
            )
        return self.cascade

    async def aclose(self) -> None:
        """End all parts."""
        await self.frontend.aclose()
        if self.cascade is not None:
            await self.cascade.aclose()
        await self.stt.aclose()
        await self.chat.aclose()
        if self.early_chat is not None:
            await self.early_chat.aclose()
        self.hearing.close()
