"""Texts beside the dialogue: the chat model asked to classify, summarise, moderate or guide a page, unheard.

An aside (OpenAI Realtime: a response out of band, `conversation: "none"`) touches neither the floor nor the oracle nor
the transcript, and may be written while anything else goes on. It shares the conversation's budgets: it is refused
where a partial transcript would be, so that what is left is the dialogue's.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from kame_core.backend.base import ChatMessage, ChatModel, ChatRequest, ToolCall
from kame_core.backend.budgets import DEFAULT_BUDGETS, Ledger
from kame_core.backend.generation import Generation, as_kame_error
from kame_core.backend.prompt import ABOUT_THE_TALK, build_aside
from kame_core.backend.tools import ToolOffer
from kame_core.clock import Clock
from kame_core.errors import ChatModelError, InvalidRequestError, KameError
from kame_core.events import AsideCalled, AsideEnded, AsideReason, AsideStarted, AsideText, Event, ResponseStatus
from kame_core.ids import new_id
from kame_core.options import AsideOptions, ConversationOptions, ItemReference
from kame_core.transcript import Transcript

MOST_ASIDES = 4
"""So many may be written at once."""
MOST_PROMPT_CHARS = 64_000
_FIRST_TOKEN_DEADLINE_S = 20.0
_DEADLINE_S = 60.0
"""Nobody waits for it with an ear at the loudspeaker, and it may be longer than an answer."""
_CHARS_PER_TOKEN = 8
"""Generous: a text longer than this times its allowed tokens is cut."""
_CLOSE_DEADLINE_S = 2.0
_NOTHING = (
    "Nothing was written. Ask in other words; where offline answers stand in for a language model, connect one: only a "
    "language model does what instructions say."
)


@dataclass(slots=True, eq=False)
class _Aside:
    response_id: str
    item_id: str
    prompt_chars: int
    generation: Generation | None = None
    text: str = ""
    task: asyncio.Task[None] | None = None


class Asides:
    """One conversation's texts beside the dialogue. Synchronous but for `aclose`, on the event loop.

    Args:
        model: what is asked.
        transcript: of the dialogue.
        options: gives the options in force.
        begun: gives the item that is being said, and its words so far; empty: none.
        ledger: the conversation's account.
        emit: takes `AsideStarted`, `AsideText`, `AsideCalled`, `AsideEnded`.
        on_ended: told after each end.
        clock: equals the running loop's time.
        tasks: the conversation's task group; no exception leaves a task of an aside.
        now_ms: the conversation's time.
    """

    def __init__(
        self,
        model: ChatModel,
        transcript: Transcript,
        options: Callable[[], ConversationOptions],
        begun: Callable[[], tuple[str, str]],
        ledger: Ledger,
        emit: Callable[[Event], None],
        on_ended: Callable[[], None],
        clock: Clock,
        tasks: asyncio.TaskGroup,
        now_ms: Callable[[], int],
    ) -> None:
        self._model = model
        self._transcript = transcript
        self._options = options
        self._begun = begun
        self._ledger = ledger
        self._emit = emit
        self._on_ended = on_ended
        self._clock = clock
        self._tasks = tasks
        self._now_ms = now_ms
        self._open: dict[str, _Aside] = {}
        self._live: set[asyncio.Task[None]] = set()

    def begin(self, wishes: AsideOptions) -> str:
        """Have a text written and return its response's id. What becomes of it is told as events.

        Raises:
            InvalidRequestError: too many are being written (`too_many_responses`), an item is not here
                (`item_not_found`), there is nothing to write from (`nothing_to_write_from`) or too much
                (`input_too_long`).
        """
        if len(self._open) >= MOST_ASIDES:
            raise InvalidRequestError(
                f"{MOST_ASIDES} responses outside the conversation are being written already. Wait until one is done, "
                "or cancel one.",
                code="too_many_responses",
            )
        messages = self._messages(wishes)
        aside = _Aside(new_id("resp"), new_id("item"), sum(len(message.content) for message in messages))
        self._open[aside.response_id] = aside
        self._emit(AsideStarted(self._now_ms(), aside.response_id, aside.item_id))
        refusal = self._ledger.refusal(self._clock.now(), whole_turn=False)
        if refusal is not None:
            self._end(aside, "failed", error=refusal)
        else:
            self._ask(aside, messages, wishes)
        return aside.response_id

    def cancel(self, response_id: str | None) -> bool:
        """End this one; False if it is none that is being written."""
        aside = self._open.get(response_id or "")
        if aside is not None:
            self._drop(aside, "client_cancelled")
        return aside is not None

    async def aclose(self) -> None:
        """End all and wait for their tasks; idempotent, within 2 s."""
        for aside in list(self._open.values()):
            self._drop(aside, "ended")
        if self._live:
            await asyncio.wait(self._live, timeout=_CLOSE_DEADLINE_S)

    # --- asking ---

    def _messages(self, wishes: AsideOptions) -> tuple[ChatMessage, ...]:
        instructions = self._options().instructions if wishes.instructions is None else wishes.instructions
        talk = self._transcript.history(begun=self._begun()) if wishes.input is None else None
        if wishes.instructions and talk:
            instructions = f"{ABOUT_THE_TALK}\n\n{instructions}"
        messages = build_aside(instructions, talk, self._given(wishes), DEFAULT_BUDGETS.prompt_chars)
        if not messages:
            raise InvalidRequestError(
                "There is nothing to write from. Give instructions, or input with words in it.",
                code="nothing_to_write_from",
            )
        if sum(len(message.content) for message in messages) > MOST_PROMPT_CHARS:
            raise InvalidRequestError(
                f"Instructions and input are longer than {MOST_PROMPT_CHARS} characters together. Shorten them.",
                code="input_too_long",
            )
        return messages

    def _given(self, wishes: AsideOptions) -> tuple[ChatMessage, ...]:
        messages: list[ChatMessage] = []
        quoted_calls: set[str] = set()  # a call and its output are quoted together
        for part in wishes.input or ():
            if not isinstance(part, ItemReference):
                messages.append(part)
                continue
            item = self._transcript.get(part.item_id)
            if item is None or not item.call_id or item.call_id not in quoted_calls:
                messages += self._transcript.quote(part.item_id, begun=self._begun())
            if item is not None and item.call_id:
                quoted_calls.add(item.call_id)
        return tuple(messages)

    def _ask(self, aside: _Aside, messages: tuple[ChatMessage, ...], wishes: AsideOptions) -> None:
        max_tokens = wishes.max_output_tokens or self._options().max_output_tokens
        offered = () if wishes.tool_choice == "none" else wishes.tools
        request = ChatRequest(
            messages=messages,
            deadline_s=_DEADLINE_S,
            first_token_deadline_s=_FIRST_TOKEN_DEADLINE_S,
            max_tokens=max_tokens,
            spoken=False,
            tools=offered,
            tool_choice=(wishes.tool_choice or "auto") if offered else "auto",
        )
        aside.generation = Generation(
            aside.response_id,
            None,
            ToolOffer(offered, request.tool_choice, frozenset(tool.name for tool in offered)),
            lambda delta: self._write(aside, delta),
            lambda: None,
            self._clock,
            max_tokens * _CHARS_PER_TOKEN,
        )
        self._ledger.asked(self._clock.now())
        coroutine = self._run(aside, aside.generation, request)
        try:
            task = self._tasks.create_task(coroutine)
        except RuntimeError:  # the conversation's task group is ending
            coroutine.close()
            self._end(aside, "cancelled", "ended")
            return
        aside.task = task
        self._live.add(task)
        task.add_done_callback(self._live.discard)
        task.add_done_callback(lambda _: self._end(aside, "cancelled", "ended"))  # where the task group was aborted

    async def _run(self, aside: _Aside, generation: Generation, request: ChatRequest) -> None:
        try:
            calls = await generation.run(self._model, request)
        except Exception as fault:
            self._end(aside, "failed", error=as_kame_error(fault))
            return
        if aside.response_id in self._open:
            self._conclude(aside, generation, calls)

    def _write(self, aside: _Aside, delta: str) -> None:
        delta = delta if aside.text else delta.lstrip()  # what stood behind a reasoning block
        if delta and aside.response_id in self._open:
            aside.text += delta
            self._emit(AsideText(self._now_ms(), aside.response_id, aside.item_id, delta))

    def _conclude(self, aside: _Aside, generation: Generation, calls: tuple[ToolCall, ...]) -> None:
        for call in calls:
            called = new_id("item"), call.call_id, call.name, call.arguments
            self._emit(AsideCalled(self._now_ms(), aside.response_id, *called))
        if generation.finish == "length":
            self._end(aside, "incomplete", "max_output_tokens")
        elif generation.finish == "refusal":
            self._end(aside, "incomplete", "content_filter")
        elif aside.text or calls:
            self._end(aside, "completed")
        else:
            self._end(aside, "failed", error=ChatModelError(_NOTHING, code="llm_bad_answer"))

    def _drop(self, aside: _Aside, reason: AsideReason) -> None:
        if aside.generation is not None:
            aside.generation.stop()
        self._end(aside, "cancelled", reason)
        if aside.task is not None:
            aside.task.cancel()

    def _end(
        self, aside: _Aside, status: ResponseStatus, reason: AsideReason = "", error: KameError | None = None
    ) -> None:
        if self._open.pop(aside.response_id, None) is None:
            return
        tokens = (0, 0)
        if aside.generation is not None:
            tokens = aside.generation.tokens
            told = tokens if aside.generation.usage else None
            self._ledger.charge(aside.prompt_chars, len(aside.text), told)
        ids = aside.response_id, aside.item_id
        self._emit(AsideEnded(self._now_ms(), *ids, status, reason, aside.text, *tokens, error))
        self._on_ended()
