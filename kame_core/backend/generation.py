"""One candidate being written: the chat model's answer, with the server tools it has run on the way."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from kame_core.backend.base import ChatModel, ChatRequest, Finish, TextDelta, ToolCall, Usage
from kame_core.backend.tools import ToolDesk, ToolOffer
from kame_core.clock import Clock
from kame_core.errors import ChatModelError, KameError

logger = logging.getLogger(__name__)

_DEADLINE_MARGIN_S = 1.0
"""Chat models keep their own deadlines; this one is for those that do not."""
_MOST_TOOL_ROUNDS = 4
"""So often a candidate may have server tools run; then it has to answer with what it knows."""


class Generation:
    """What one request brings.

    Args:
        candidate_id: whose words these are.
        desk: runs the server's tools; None: there are none.
        offer: what the request may call.
        tell: takes the text as it comes; may call `stop`.
        ask_again: told before each request but the first.
        clock: equals the running loop's time.
        most_chars: a longer answer is cut there.
    """

    def __init__(
        self,
        candidate_id: str,
        desk: ToolDesk | None,
        offer: ToolOffer,
        tell: Callable[[str], None],
        ask_again: Callable[[], None],
        clock: Clock,
        most_chars: int,
    ) -> None:
        self.text = ""
        self.usage: list[Usage] = []
        self.finish = ""
        """Why the last answer ended, as in `Finish`; empty: it has not, or did not say."""
        self._candidate_id = candidate_id
        self._desk = desk
        self._offer = offer
        self._tell = tell
        self._ask_again = ask_again
        self._clock = clock
        self._most_chars = most_chars
        self._stopped = False

    def stop(self) -> None:
        """Nothing more is wanted of it."""
        self._stopped = True

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens read and written, as far as the model tells."""
        return sum(usage.input_tokens for usage in self.usage), sum(usage.output_tokens for usage in self.usage)

    async def run(self, model: ChatModel, chat: ChatRequest) -> tuple[ToolCall, ...]:
        """Ask and pass the text on; server tools are run and their results asked with.

        Returns:
            Calls of the client's tools; with them the answer ends.

        Raises:
            ChatModelError: as the model's `stream`.
            TimeoutError: it kept no deadline.
        """
        for rounds_left in reversed(range(_MOST_TOOL_ROUNDS + 1)):
            said_chars = len(self.text)
            calls = await self._hear(model, chat)
            client = tuple(call for call in calls if call.name in self._offer.client)
            others = tuple(call for call in calls if call not in client)
            if not others or self._desk is None or not rounds_left or self._stopped:
                return client
            used = await self._desk.use(
                self._candidate_id, others, self._offer, said=self.text[said_chars:].strip(), remember=chat.complete
            )
            if client or self._stopped:
                return client
            self._ask_again()
            choice = "auto" if rounds_left > 1 else "none"  # what had to be called has been
            chat = replace(chat, messages=chat.messages + used, tool_choice=choice)
        return ()

    async def _hear(self, model: ChatModel, chat: ChatRequest) -> list[ToolCall]:
        calls: list[ToolCall] = []
        gap = " " if self.text and not self.text[-1].isspace() else ""  # between the words before a tool and after it
        due_s = self._clock.now() + chat.deadline_s + _DEADLINE_MARGIN_S
        async with (
            asyncio.timeout(chat.first_token_deadline_s + _DEADLINE_MARGIN_S) as patience,
            contextlib.aclosing(model.stream(chat)) as answer,
        ):
            async for event in answer:
                match event:
                    case TextDelta():
                        patience.reschedule(due_s)
                        if not self._take(gap + event.text):
                            self.finish = "length"
                            break  # flooding
                        gap = ""
                    case ToolCall():
                        calls.append(event)
                    case Usage():
                        self.usage.append(event)
                    case Finish():
                        self.finish = event.reason
                        break
                if self._stopped:
                    break
        return calls

    def _take(self, delta: str) -> bool:
        """Pass on what there is room for; False if that was not all."""
        room = self._most_chars - len(self.text)
        taken = delta if len(delta) <= room else delta[:room].rpartition(" ")[0]
        self.text += taken
        if taken:
            self._tell(taken)
        return len(taken) == len(delta)


def as_kame_error(error: Exception) -> KameError:
    """What a failed generation is told as."""
    if isinstance(error, KameError):
        return error
    if isinstance(error, TimeoutError):
        return ChatModelError(
            "The language model did not answer in time. Try again, or choose a faster model.", code="llm_timeout"
        )
    logger.error("the back end failed unexpectedly: %s", type(error).__name__)
    return ChatModelError("The language model failed unexpectedly. Try again; the server's log names the fault.")
