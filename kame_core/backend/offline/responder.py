"""The embedded brain where there is no LLM: a `ChatModel` that knows sums, dates, units and places, and says so."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from datetime import datetime

from kame_core.backend.base import ChatEvent, ChatMessage, ChatRequest, Finish, TextDelta
from kame_core.backend.offline.calendar_answers import load_zones
from kame_core.backend.offline.dialogue import Memory, answer, answer_text
from kame_core.backend.offline.gazetteer import gazetteer
from kame_core.backend.offline.reply import Reply
from kame_core.backend.offline.units import unit_table
from kame_core.errors import ChatModelError
from kame_core.workers import ThreadWorkers, Workers

_EXAMPLES = (
    "What is twenty three times four?",
    "What is fifteen percent of eighty?",
    "What is the square root of two?",
    "What time is it in Tokyo?",
    "What day is it today?",
    "How many days until Christmas?",
    "What day was July fourth nineteen seventy six?",
    "How many feet are in a mile?",
    "Convert ten miles to kilometers.",
    "What is twenty degrees Celsius in Fahrenheit?",
    "What is the capital of France?",
    "How many people live in Japan?",
    "Which countries border Germany?",
    "Tell me a joke.",
)


def local_now() -> datetime:
    """The time here, with its zone."""
    return datetime.now().astimezone()


class OfflineResponder:
    """Answers at once and without a network; honest about what it can not do.

    Args:
        now: the time here, with its zone.
        workers: where the tables are read, once, if `load` was not called before; None: a thread of its own.
    """

    name = "offline"

    def __init__(self, now: Callable[[], datetime] = local_now, workers: Workers | None = None) -> None:
        self._now = now
        self._workers = workers
        self._own_workers: ThreadWorkers | None = None
        self._loaded = False

    def load(self) -> None:
        """Read units, places and time zones: about 1.4 s of CPU and 95 MB the first time in a process, on any thread.

        Call it before calls are served: parsing the city table holds the interpreter lock for up to 0.6 s.
        """
        unit_table()
        gazetteer()
        load_zones()
        self._loaded = True

    def reply(self, messages: tuple[ChatMessage, ...], *, complete: bool = True) -> str | None:
        """The answer to the last user message; None if there is none (yet). Takes under 5 ms once loaded."""
        found = answer(messages, self._now, complete=complete)
        return found.text if found else None

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Answer word by word; see `ChatModel.stream`. To what is not to be spoken there is no answer: it follows no
        instructions.

        Raises:
            ChatModelError: the tables could not be read (`llm_failed`), or not in time (`llm_timeout`).
        """
        if not request.spoken:
            yield Finish("no_answer")
            return
        if not self._loaded:
            await self._load_aside(min(request.deadline_s, request.first_token_deadline_s))
        text = self.reply(request.messages, complete=request.complete)
        if not text:
            yield Finish("no_answer")
            return
        pieces = re.findall(r"\s*\S+", text)
        for piece in pieces[: request.max_tokens]:
            yield TextDelta(piece)
        yield Finish("stop" if len(pieces) <= request.max_tokens else "length")

    async def aclose(self) -> None:
        """End the loading thread, if there is one."""
        if self._own_workers is not None:
            self._own_workers.close()
            self._own_workers = None

    async def _load_aside(self, deadline_s: float) -> None:
        workers = self._workers
        if workers is None:
            self._own_workers = self._own_workers or ThreadWorkers("offline-load")
            workers = self._own_workers
        try:
            async with asyncio.timeout(deadline_s):
                await workers.run(self.load)
        except TimeoutError:
            raise ChatModelError(
                "The offline answers are still loading. Try again in a moment.", code="llm_timeout"
            ) from None
        except (ImportError, OSError, ValueError, KeyError) as error:
            raise ChatModelError(
                "The offline answers could not be loaded. Install the packages of requirements.txt.", retryable=False
            ) from error


def example_questions() -> tuple[str, ...]:
    """Good questions to begin with, each of which is understood."""
    return _EXAMPLES


def understands(text: str) -> bool:
    """Whether the text alone is surely parsed and in domain. The first call in a process loads the tables."""
    reply: Reply | None = answer_text(text, local_now, Memory())
    return reply is not None and reply.sure
