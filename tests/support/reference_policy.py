"""When the published KAME server asks its LLM, simulated: for comparison with `kame_core.backend.planner`.

What is known of it: it looks every 0.5 s; it asks when nothing has run yet and there is any text, when the user's words
have grown by two or more, or when a final transcript came; each new request cancels the one in flight at once, and the
oracle changes when the new one's first text arrives. Only the policy is here, no code of it.
"""

import asyncio
import secrets
from collections.abc import Callable

from kame_core.backend.base import ChatMessage, ChatModel, ChatRequest, TextDelta, Usage
from kame_core.clock import Clock
from kame_core.events import CandidateFailed, CandidateFinished, CandidateStarted, CandidateText, Event
from kame_core.phrasing import words_of

_POLL_S = 0.5
_MIN_NEW_WORDS = 2


class ReferencePolicy:
    """Told what the planner is told. `run` is its loop, owned by the caller."""

    def __init__(
        self,
        model: ChatModel,
        emit: Callable[[Event], None],
        clock: Clock,
        tasks: asyncio.TaskGroup,
        conversation_ms: Callable[[], int],
    ) -> None:
        self._model = model
        self._emit = emit
        self._clock = clock
        self._tasks = tasks
        self._conversation_ms = conversation_ms
        self._text = ""
        self._final = False
        self._asked_words: int | None = None
        self._running: asyncio.Task[None] | None = None
        self._candidate_id: str | None = None

    def partial(self, text: str) -> None:
        """The user's words so far."""
        self._text = text

    def turn_ended(self, text: str) -> None:
        """A final transcript."""
        self._text = text
        self._final = True

    async def run(self) -> None:
        """Look twice a second, until cancelled."""
        due_s = self._clock.now()
        while True:
            due_s += _POLL_S
            await self._clock.sleep_until(due_s)
            words = len(words_of(self._text))
            grown = words > 0 if self._asked_words is None else words - self._asked_words >= _MIN_NEW_WORDS
            if grown or (self._final and words):
                self._asked_words = words
                self._ask(complete=self._final)
                self._final = False

    def _ask(self, *, complete: bool) -> None:
        if self._running is not None and not self._running.done():
            self._running.cancel()
            if self._candidate_id is not None:
                self._emit(CandidateFailed(self._conversation_ms(), self._candidate_id, None))
        self._candidate_id = secrets.token_urlsafe(9)
        self._emit(CandidateStarted(self._conversation_ms(), self._candidate_id, self._text, complete))
        self._running = self._tasks.create_task(self._read(self._candidate_id, self._text))

    async def _read(self, candidate_id: str, text: str) -> None:
        whole = ""
        usage = Usage(0, 0)
        async for event in self._model.stream(ChatRequest((ChatMessage("user", text),))):
            if isinstance(event, TextDelta):
                whole += event.text
                self._emit(CandidateText(self._conversation_ms(), candidate_id, event.text))
            elif isinstance(event, Usage):
                usage = event
        self._emit(
            CandidateFinished(self._conversation_ms(), candidate_id, whole, usage.input_tokens, usage.output_tokens)
        )
