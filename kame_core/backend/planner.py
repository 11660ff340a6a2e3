"""When the back end is asked.

The user's words so far change a few times a second. Each change worth it becomes a request to the chat model, whose
answer is a candidate for the oracle. Two things must not happen: that the answer to the final words waits behind older
ones, and that ever new requests cancel each other before any has spoken (the published KAME server falls silent that
way as soon as the LLM's first token takes longer than a second).

Everything is event-driven and runs on the loop; nothing polls. Faults of the model are events, never exceptions.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from enum import Enum, auto

from kame_core.backend.base import ChatModel, ChatRequest, ToolCall
from kame_core.backend.budgets import DEFAULT_BUDGETS, Ledger, PlannerBudgets
from kame_core.backend.generation import Generation, as_kame_error
from kame_core.backend.prompt import PromptContext, build_messages
from kame_core.backend.tools import CandidateCalls, ToolDesk, ToolOffer
from kame_core.clock import Clock
from kame_core.errors import KameError
from kame_core.events import CandidateFailed, CandidateFinished, CandidateStarted, CandidateText, Event
from kame_core.phrasing import normalised

logger = logging.getLogger(__name__)

_SETTLE_S = 0.100
"""A partial that has not changed for so long is asked."""
_LATEST_S = 0.150
"""So long after its first change it is asked in any case."""
_MOST_UNADOPTED = 2
_CLOSE_DEADLINE_S = 2.0


class _State(Enum):
    RUNNING = auto()
    ANSWERED = auto()
    FRUITLESS = auto()
    """Empty, failed, or dropped."""


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    complete: bool
    urgent: bool
    """Takes the younger request's place at once."""


@dataclass(slots=True, eq=False)
class _Request:
    candidate_id: str
    question: _Question
    number: int
    prompt_chars: int
    generation: Generation
    state: _State = _State.RUNNING
    task: asyncio.Task[None] | None = None
    stands_in_for: str | None = None
    """The turn that was committed with the same words while this ran; asked anew if this bears nothing."""


class Planner:
    """Asks the chat model for one conversation.

    A partial is asked 100 ms after its last change, 150 ms after its first one at the latest; a pause, an end of turn
    and typed text at once. Words equal to ones asked in this turn are not asked again if that request answered or still
    runs. At most two requests run un-adopted: the older one always gets to its first words; the younger one gives way
    only to a pause, an end of turn or typed text; a further partial waits in a box for one, where the latest wins.

    What is offered to a request that answers less than a whole turn may be less: no tools that change anything, a
    cheaper model. Where it is, words that were asked as a partial are asked again when the turn ends with them
    (`asks_again`). Server tools run within the request, up to four times; calls of the client's end it.

    All methods but `aclose` are synchronous and are called on the loop. Events may be emitted from within them.

    Args:
        model: what is asked.
        context: the conversation as it stands at the moment of asking.
        emit: takes `CandidateStarted`, `CandidateText`, `CandidateFinished`, `CandidateFailed`, `CandidateCalls`;
            may call back.
        clock: equals the running loop's time.
        tasks: the conversation's task group; no exception leaves a task of the planner.
        conversation_ms: the conversation's time for events.
        budgets: what may be spent. Speculation over budget is left out silently; a whole turn over budget fails.
        tools: what requests are offered; None: nothing.
        early_model: asked for partial transcripts in the model's place.
    """

    def __init__(
        self,
        model: ChatModel,
        context: Callable[[], PromptContext],
        emit: Callable[[Event], None],
        clock: Clock,
        tasks: asyncio.TaskGroup,
        conversation_ms: Callable[[], int],
        budgets: PlannerBudgets = DEFAULT_BUDGETS,
        tools: ToolDesk | None = None,
        early_model: ChatModel | None = None,
    ) -> None:
        self._model = model
        self._context = context
        self._emit = emit
        self._clock = clock
        self._tasks = tasks
        self._conversation_ms = conversation_ms
        self._budgets = budgets
        self._desk = tools
        self._early_model = early_model

        self._unadopted: list[_Request] = []  # oldest first
        self._adopted: _Request | None = None
        self._asked: dict[str, _Request] = {}  # of this turn, by normalised text
        self._box: _Question | None = None
        self._heard = ""
        self._pending: str | None = None
        self._first_change_s = 0.0
        self._last_change_s = 0.0
        self._settling: asyncio.Task[None] | None = None

        self._number = 0
        self._ledger = Ledger(budgets)
        self._live: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def ledger(self) -> Ledger:
        """What this conversation may ask and has spent so far."""
        return self._ledger

    @property
    def busy(self) -> bool:
        """A request of this turn is unfinished or waits to be made."""
        adopted_runs = self._adopted is not None and self._adopted.state is _State.RUNNING
        return adopted_runs or self._box is not None or any(r.state is _State.RUNNING for r in self._unadopted)

    @property
    def asks_again(self) -> bool:
        """A whole turn is asked otherwise than a partial transcript: what answers the one does not answer the other."""
        return self._early_model is not None or self._offer(complete=False) != self._offer(complete=True)

    def new_turn(self) -> None:
        """The user's new turn is certain (no backchannel over the agent): everything of the one before is dropped."""
        self.stop()
        if self._desk is not None:
            self._desk.new_turn()

    def partial(self, text: str) -> None:
        """The user's words so far."""
        key = normalised(text)
        if not key or key == self._heard or self._closed:
            return
        self._heard = key
        if self._in_use(key) is not None:
            self._pending = self._box = None  # back to what is being answered
            return
        now = self._clock.now()
        if self._pending is None:
            self._first_change_s = now
        self._pending = text
        self._last_change_s = now
        if self._settling is None:
            self._settling = self._spawn(self._settle())

    def pause(self, text: str) -> None:
        """The user paused; `text` is the settled transcript. Asked at once, as still incomplete."""
        self._ask_now(text, complete=False)

    def turn_ended(self, text: str) -> None:
        """The turn is committed with these words. Costs nothing if they are being answered already."""
        self._ask_now(text, complete=True)

    def ask(self, text: str) -> None:
        """Typed text, or a response asked for by the client (`text` may then be empty): always asked."""
        self._pending = self._box = None
        self._submit(_Question(text, complete=True, urgent=True))

    def adopted(self, candidate_id: str) -> None:
        """The oracle stream adopted this candidate: whatever is older is of no use any more."""
        request = next((r for r in self._unadopted if r.candidate_id == candidate_id), None)
        if request is None:
            return
        older = [r for r in self._unadopted if r.number < request.number]
        if self._adopted is not None:
            older.append(self._adopted)
        self._unadopted.remove(request)
        self._adopted = request
        for outdated in older:
            self._drop(outdated)
        self._open_box()

    def stop(self) -> None:
        """Drop everything (barge-in, the client's cancel, a mode without oracle). No candidate event comes after it."""
        self._pending = self._box = None
        self._heard = ""
        self._asked.clear()
        requests = [*self._unadopted, *([] if self._adopted is None else [self._adopted])]
        self._adopted = None
        for request in requests:
            self._drop(request)

    async def aclose(self) -> None:
        """Stop and wait for the tasks' end; idempotent, within 2 s."""
        self._closed = True
        self.stop()
        if self._settling is not None:
            self._settling.cancel()
        tasks = self._live - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_DEADLINE_S)
        if self._desk is not None:
            await self._desk.aclose(_CLOSE_DEADLINE_S)

    # --- what to ask ---

    async def _settle(self) -> None:
        try:
            while self._pending is not None:
                due_s = min(self._last_change_s + _SETTLE_S, self._first_change_s + _LATEST_S)
                if self._clock.now() < due_s - 1e-6:
                    await self._clock.sleep_until(due_s)
                    continue
                text, self._pending = self._pending, None
                self._submit(_Question(text, complete=False, urgent=False))
        finally:
            self._settling = None

    def _ask_now(self, text: str, *, complete: bool) -> None:
        key = normalised(text)
        if not key or self._closed:
            return
        self._pending = self._box = None
        self._heard = key
        request = self._in_use(key)
        if request is None or (complete and not request.question.complete and self.asks_again):
            self._submit(_Question(text, complete, urgent=True))
            return
        for newer in [r for r in self._unadopted if r.number > request.number]:
            self._drop(newer)  # they answer words that were taken back
        if complete and request.state is _State.RUNNING and not request.question.complete:
            request.stands_in_for = text

    def _in_use(self, key: str) -> _Request | None:
        """The request whose answer to these words is, or will be, heard."""
        request = self._asked.get(key)
        if request is None or request.state is _State.FRUITLESS:
            return None
        if self._adopted is not None and request.number < self._adopted.number:
            return None  # superseded: the oracle does not go back
        return request

    def _submit(self, question: _Question) -> None:
        if self._closed:
            return
        if len(self._unadopted) >= _MOST_UNADOPTED:
            if not question.urgent:
                self._box = question
                return
            self._drop(self._unadopted[-1])
        self._start(question)

    def _open_box(self) -> None:
        if self._box is not None and len(self._unadopted) < _MOST_UNADOPTED:
            question, self._box = self._box, None
            self._start(question)

    # --- asking ---

    def _start(self, question: _Question) -> None:
        refusal = self._ledger.refusal(self._clock.now(), whole_turn=question.complete)
        if refusal is not None and not question.complete:
            return
        candidate_id = f"cand_{secrets.token_urlsafe(12)}"
        self._tell(CandidateStarted(self._conversation_ms(), candidate_id, question.text, question.complete))
        if refusal is not None:
            self._tell(CandidateFailed(self._conversation_ms(), candidate_id, refusal))
            return
        offer = self._offer(complete=question.complete)
        try:
            context = self._context()
            messages = build_messages(
                replace(context, tools=bool(offer.tools)),
                question.text,
                question.complete,
                max_chars=self._budgets.prompt_chars,
            )
        except Exception as error:
            self._tell(CandidateFailed(self._conversation_ms(), candidate_id, as_kame_error(error)))
            return
        chat = ChatRequest(
            messages=messages,
            deadline_s=self._budgets.deadline_s,
            first_token_deadline_s=self._budgets.first_token_deadline_s,
            max_tokens=context.max_tokens or self._budgets.answer_tokens,
            complete=question.complete,
            tools=offer.tools,
            tool_choice=offer.choice,
        )
        self._number += 1
        prompt_chars = sum(len(message.content) for message in messages)
        generation = Generation(
            candidate_id,
            self._desk,
            offer,
            lambda delta: self._tell(CandidateText(self._conversation_ms(), candidate_id, delta)),
            lambda: self._ledger.asked(self._clock.now()),
            self._clock,
            self._budgets.answer_chars,
        )
        request = _Request(candidate_id, question, self._number, prompt_chars, generation)
        self._ledger.asked(self._clock.now())
        self._asked[normalised(question.text)] = request
        self._unadopted.append(request)
        model = self._model if question.complete else self._early_model or self._model
        request.task = self._spawn(self._run(request, model, chat))
        if request.task is None:
            self._drop(request)

    def _offer(self, *, complete: bool) -> ToolOffer:
        return ToolOffer() if self._desk is None else self._desk.offer(complete=complete)

    async def _run(self, request: _Request, model: ChatModel, chat: ChatRequest) -> None:
        calls: tuple[ToolCall, ...] = ()
        error: KameError | None = None
        try:
            calls = await request.generation.run(model, chat)
        except asyncio.CancelledError:
            request.state = _State.FRUITLESS
            raise
        except Exception as fault:
            error = as_kame_error(fault)
        if request.state is _State.RUNNING:
            self._conclude(request, calls, error)

    def _conclude(self, request: _Request, calls: tuple[ToolCall, ...], error: KameError | None) -> None:
        text = request.generation.text
        answered = error is None and bool(text.strip() or calls)
        request.state = _State.ANSWERED if answered else _State.FRUITLESS
        now_ms = self._conversation_ms()
        self._charge(request)
        if error is not None:
            self._ledger.failed(self._clock.now(), retryable=error.retryable)
            self._tell(CandidateFailed(now_ms, request.candidate_id, error))
        else:
            self._ledger.succeeded()
            self._tell(CandidateFinished(now_ms, request.candidate_id, text, *request.generation.tokens))
        if request in self._unadopted:  # not adopted in answer to the event
            self._unadopted.remove(request)
        turn = request.stands_in_for
        still_wanted = self._asked.get(normalised(request.question.text)) is request
        if turn is not None and still_wanted and not answered and (error is None or error.retryable):
            self._submit(_Question(turn, complete=True, urgent=True))
        self._open_box()
        if calls:  # last, for the response may end by it
            self._tell(CandidateCalls(now_ms, request.candidate_id, text, calls))

    def _drop(self, request: _Request) -> None:
        if request in self._unadopted:
            self._unadopted.remove(request)
        if request.state is not _State.RUNNING:
            return
        request.state = _State.FRUITLESS
        request.generation.stop()
        self._charge(request)
        if request.task is not None:
            request.task.cancel()
        self._tell(CandidateFailed(self._conversation_ms(), request.candidate_id, None))

    def _charge(self, request: _Request) -> None:
        written = request.generation
        told = written.tokens if written.usage else None
        self._ledger.charge(request.prompt_chars, len(written.text), told)

    def _tell(self, event: Event) -> None:
        try:
            self._emit(event)
        except Exception as error:  # the listener's fault must not end the asking
            logger.error("a listener of candidate events failed: %s", type(error).__name__)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None] | None:
        try:
            task = self._tasks.create_task(coroutine)
        except RuntimeError:  # the conversation's task group is ending
            coroutine.close()
            self._closed = True
            return None
        self._live.add(task)
        task.add_done_callback(self._live.discard)
        return task


__all__ = ["DEFAULT_BUDGETS", "Planner", "PlannerBudgets"]
