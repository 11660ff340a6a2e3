"""One conversation: wires ear, turns, back end, oracle, front end and voice together; owns their tasks.

The two halves never wait for each other: the slot is ticked by its host and told facts as they come; the back end
asks whenever there is something new to ask. Everything here runs on the event loop and is quick.
"""

import asyncio
import logging
import traceback

from kame_core.asides import Asides
from kame_core.audio import Samples, silence
from kame_core.backend.budgets import DEFAULT_BUDGETS
from kame_core.backend.planner import Planner
from kame_core.backend.presets import spoken_languages
from kame_core.backend.tools import ToolDesk
from kame_core.dialogue import Dialogue
from kame_core.engines import Engines
from kame_core.errors import ConversationClosedError, FrontendError, KameError, SpeechToTextError
from kame_core.events import (
    ConversationEnded,
    Trouble,
)
from kame_core.frontend.base import FrontendHost
from kame_core.hearing import Hearing
from kame_core.options import AsideOptions, ConversationOptions
from kame_core.playout import Playout
from kame_core.seats import Seat, Seats
from kame_core.speech_control import InputHold
from kame_core.stt.base import Recognizer
from kame_core.stt.kyutai import SlotRecognizer
from kame_core.stt.languages import tune
from kame_core.subscription import Subscription

_log = logging.getLogger(__name__)


class Conversation(Dialogue):
    """A dialogue in progress. Made by `ConversationRegistry.open`; every method is called on the event loop."""

    def __init__(self, engines: Engines, options: ConversationOptions, seats: Seats, recognizer: Recognizer) -> None:
        super().__init__(engines, options, seats, recognizer)
        self._recognizer = recognizer
        self._slot_ear = recognizer if isinstance(recognizer, SlotRecognizer) else None
        self._started = asyncio.Event()
        self._closing = asyncio.Event()
        self._closed = asyncio.Event()
        self._reason = "ended"
        self._hold = InputHold()
        self._hearing = Hearing(engines.vad, recognizer, engines.hearing, engines.clock, self._user.ear)
        self._stt = engines.stt
        self._heard_languages: tuple[str, ...] = (options.language,)
        self._not_heard: KameError | None = None
        self._asides: Asides | None = None
        self._tune()

    # --- options ---

    def set_options(self, options: ConversationOptions) -> None:
        """See `Dialogue.set_options`; what cannot be heard of the languages now spoken is told as `Trouble`."""
        super().set_options(options)
        if self._tune() and self._not_heard is not None:
            self._emit(Trouble(self.now_ms(), self._not_heard))

    def subscribe(self) -> Subscription:
        """See `Dialogue.subscribe`; what this conversation does not hear is the first thing told."""
        subscription = super().subscribe()
        if self._not_heard is not None:
            subscription.put(Trouble(self.now_ms(), self._not_heard))
        return subscription

    def _tune(self) -> bool:
        """Listen for the languages that are spoken from now on; whether they are others than before."""
        options = self._options
        languages = spoken_languages(options.preset, options.language, options.second_language)
        changed = languages != self._heard_languages
        if changed:
            self._heard_languages = languages
            self._not_heard = tune(self._stt, self._recognizer, languages)
        return changed

    # --- beside the dialogue ---

    def create_aside(self, wishes: AsideOptions) -> str:
        """Have a text written beside the dialogue; returns its response's id. Told as `AsideStarted` and what follows.

        Raises:
            ConversationClosedError: the conversation has ended.
            InvalidRequestError: see `Asides.begin`.
        """
        if self._asides is None or self.closed:
            raise ConversationClosedError("The conversation has ended. Start a new one.")
        return self._asides.begin(wishes)

    def cancel_response(self, response_id: str | None = None) -> None:
        """See `Dialogue.cancel_response`; a text beside the dialogue only if it is named."""
        if self._asides is None or not self._asides.cancel(response_id):
            super().cancel_response(response_id)

    def _being_said(self) -> tuple[str, str]:
        response = self._agent.response
        return ("", "") if response is None else (response.item_id, response.heard)

    # --- life ---

    async def run(self) -> None:
        """Live until `aclose`; never raises. The registry owns the task that runs this."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tell = self._answering.candidate_event
                planner = Planner(
                    self._engines.chat,
                    self._answering.prompt_context,
                    tell,
                    self._engines.clock,
                    tasks,
                    self.now_ms,
                    DEFAULT_BUDGETS.of_tokens(self._options.max_tokens),
                    tools=ToolDesk(self._engines.tools, lambda: self._turn_options, tasks, tell, self.now_ms),
                    early_model=self._engines.early_chat,
                )
                self._answering.use(planner)
                self._asides = asides = Asides(
                    self._engines.chat,
                    self.transcript,
                    lambda: self._options,
                    self._being_said,
                    planner.ledger,
                    self._emit,
                    self._answering.tell_cost,
                    self._engines.clock,
                    tasks,
                    self.now_ms,
                )
                self._seats.begin(tasks, self._follow, self._refuse_mode)
                loops = [tasks.create_task(loop) for loop in (self._hearing.run(), self._read())]
                self._started.set()
                await self._closing.wait()
                await planner.aclose()
                await asides.aclose()
                self._seats.stop()
                for loop in loops:
                    loop.cancel()
        except* KameError as group:
            self._fail(_first_of(group))
        except* Exception as group:
            error = _first_of(group)  # its message may quote what was said; type and place do not
            _log.error(
                "%s failed: %s\n%s", self.id, type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
            )
            self._fail(None)
        finally:
            await self._release()

    def _fail(self, error: BaseException | None) -> None:
        known = (
            error if isinstance(error, KameError) else FrontendError("The conversation broke down. Start a new one.")
        )
        self._reason = "failed"
        self._emit(Trouble(self.now_ms(), known, fatal=True))

    def _end(self) -> None:
        self.closed = True
        self._closing.set()

    async def _release(self) -> None:
        self._end()
        self._started.set()
        self._agent.playout.flush()
        self._agent.end("incomplete", "ended")
        for part in (self._recognizer, self._seats):
            try:
                await part.aclose()
            except Exception:
                _log.exception("a part of conversation %s did not close", self.id)
        self._emit(ConversationEnded(self.now_ms(), self._reason))
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions.clear()
        self._closed.set()

    async def aclose(self, reason: str = "ended") -> None:
        """End the conversation and wait until its slot, recogniser and tasks are free."""
        if not self._closing.is_set():
            self._reason = reason
            self._end()
        await self._closed.wait()

    def holds(self, host: FrontendHost) -> bool:
        """Whether its end would free a place of this front end."""
        return self._seats.holds(host)

    async def wait_started(self) -> None:
        """Return when `run` has begun."""
        await self._started.wait()

    async def wait_closed(self) -> None:
        """Return when the conversation has ended for whatever reason."""
        await self._closed.wait()

    # --- what goes in and out ---

    @property
    def playout(self) -> Playout:
        """The voice to be played; `attach` before reading."""
        return self._agent.playout

    def push_audio(self, samples: Samples) -> None:
        """The user's sound as it arrives, float32 [n] mono 24 kHz, on one continuous time line."""
        if not self.closed and samples.size:
            hold_ms = self._options.speech_control.input_hold_ms if self._traits.takes_turns else 0
            deaf = self._hears_by_guidance
            if self._slot_ear is not None:
                self._slot_ear.hear_alone(deaf or self._seats.ears is not None)
            told = silence(samples.size) if deaf and self._slot_ear is None else samples
            self._seats.lease.push_audio(self._hold.push(told, hold_ms))
            if self._seats.ears is not None:
                self._seats.ears.push_audio(samples)
            self._hearing.push(samples)

    @property
    def _hears_by_guidance(self) -> bool:
        """In manual turns a front end that takes turns itself would answer pauses, and what is not meant for it.

        It hears silence then, and is guided when a response is asked for; but not where nothing would guide it.
        """
        by_hand = self._traits.takes_turns and self._options.turn_detection is None
        return by_hand and self._answering.guides

    # --- loops ---

    async def _read(self) -> None:
        async for update in self._recognizer.updates():
            self._user.reading(update)
        raise SpeechToTextError("Speech recognition was closed during the conversation. Start a new one.")

    async def _follow(self, seat: Seat) -> None:
        """The frames of a slot; those of one that is not spoken through are not heard."""
        async for output in seat.lease.outputs():
            if output.fault is not None:
                if self._seats.needs(seat):
                    raise output.fault
                self._seats.lose(seat, output.fault)
                return
            for update in output.heard:
                self._user.reading(update)
            if self._seats.speaks(seat):
                self._agent.output(output)
                self._change_between_turns()
                self._speak_unasked()
        if self._seats.needs(seat):
            raise FrontendError("The front end was closed during the conversation. Start a new one.", retryable=True)


def _first_of(group: BaseExceptionGroup[Exception]) -> BaseException:
    """The first error, from whatever task within a task it comes."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
