"""The agent's side of a conversation: what the slot says becomes sound to play, responses, and a heard transcript."""

from collections.abc import Callable

from kame_core.audio import FRAME_SAMPLES, silence
from kame_core.backend.base import ToolCall
from kame_core.events import (
    Event,
    FunctionCalled,
    ResponseEnded,
    ResponseReason,
    ResponseStarted,
    ResponseStatus,
    ResponseText,
    VoiceStarted,
    VoiceStopped,
)
from kame_core.frontend.base import (
    Floor,
    FrontendTraits,
    OracleClear,
    OracleUpdate,
    SlotOutput,
    SpeechOrigin,
    SpeechPolicy,
    UserState,
)
from kame_core.ids import new_id
from kame_core.latency import TurnTimeline
from kame_core.options import ConversationOptions
from kame_core.playout import Playout, Spoken
from kame_core.response import Response
from kame_core.seats import Seats
from kame_core.speech_control import OutputGate, UnspokenWatch
from kame_core.transcript import Item, Transcript, function_call

_TICK_MS = 80
_SILENCE_ENDS_TURN_MS = 600
"""A front end that takes turns itself has ended its turn after this much silence."""
_NO_SPEECH_MS = 3000
"""After so long a silence such a front end is taken to have nothing to say, and a response on demand ends."""


class AgentTurn:
    """Drives one slot and keeps its responses.

    Args:
        on_opening: told before a response opens by itself.
        waiting: more words may still come for this turn (the back end is at work, the transcript is not final).
        on_idle: told when the turn is the agent's, nothing is said or waits, and no response is open.
        on_ended: told after a response has ended.
        on_unspoken: told when the slot read its oracle to the end and says nothing (`SpeechControl.repeat_unspoken`).
        options: gives the options in force.
    """

    def __init__(
        self,
        seats: Seats,
        transcript: Transcript,
        emit: Callable[[Event], None],
        now_ms: Callable[[], int],
        on_opening: Callable[[], None],
        waiting: Callable[[], bool],
        on_idle: Callable[[], None],
        on_ended: Callable[[Response], None],
        on_unspoken: Callable[[], None],
        options: Callable[[], ConversationOptions],
    ) -> None:
        self.playout = Playout(self._begun, self._played, self._lost)
        self.timeline: TurnTimeline | None = None
        self.response: Response | None = None
        self.manual = False
        """Only what the client asked for is heard, also where the front end would speak by itself."""
        self.input_tokens = 0
        self.output_tokens = 0
        self._seats = seats
        self._transcript = transcript
        self._emit = emit
        self._now_ms = now_ms
        self._on_opening = on_opening
        self._waiting = waiting
        self._on_idle = on_idle
        self._on_ended = on_ended
        self._on_unspoken = on_unspoken
        self._options = options
        self._state = UserState()
        self._outputs_since_push = 0
        self._pushed_ms = 0
        self._unplayed = 0
        self._pending = False
        self._gate = OutputGate()
        self._unspoken = UnspokenWatch()

    # --- telling the slot ---

    @property
    def _traits(self) -> FrontendTraits:
        return self._seats.traits

    def moved(self) -> None:
        """The slot is another one from now on, with no response open; it is told how things stand."""
        self._pending = False
        self._unspoken = UnspokenWatch()
        self._gate = OutputGate()
        self._gate.close()  # what a model that takes turns itself began before it was listened to
        self._note_push()
        self._seats.lease.push(user=self._state)

    @property
    def state(self) -> UserState:
        """What the slot was told last."""
        return self._state

    @property
    def mine(self) -> bool:
        """The turn is the agent's."""
        return self._state.floor is Floor.SPEAK

    def tell(
        self,
        floor: Floor,
        *,
        heard: str | None = None,
        policy: SpeechPolicy | None = None,
        speaking: bool = False,
        new_turn: bool = False,
    ) -> None:
        """Tell the slot who has the floor; `new_turn` makes it drop what is unspoken of the turn before."""
        state = UserState(
            turn=self._state.turn + (1 if new_turn else 0),
            floor=floor,
            speaking=speaking,
            heard=self._state.heard if heard is None else heard,
            policy=policy or self._state.policy,
        )
        if state != self._state:
            self._state = state
            self._note_push()
            self._seats.lease.push(user=state)

    @property
    def knows_more(self) -> bool:
        """The slot has words that it will still say, or was just told something."""
        return self._pending or not self._informed

    @property
    def withheld(self) -> bool:
        """In manual turns, a front end that takes turns itself is neither heard nor guided but in a response."""
        return self.manual and self._traits.takes_turns and self.response is None

    @property
    def _informed(self) -> bool:
        # After a stall of the loop several frames come at once, made before the slot was told what it was told last.
        return self._outputs_since_push >= 2 and self._now_ms() - self._pushed_ms >= _TICK_MS

    @property
    def unplayed(self) -> bool:
        """Something of the open response waits to be played."""
        return self.response is not None and self._unplayed > 0

    def feed(self, updates: tuple[OracleUpdate, ...]) -> None:
        """Pass oracle updates on. What is withheld now would be spoken unheard; it comes with `Answering.replay`."""
        if self.withheld:
            updates = tuple(update for update in updates if isinstance(update, OracleClear))
        if updates:
            self._note_push()
            self._seats.lease.push(oracle=updates)

    def _note_push(self) -> None:
        self._outputs_since_push = 0
        self._pushed_ms = self._now_ms()

    # --- hearing the slot ---

    def output(self, out: SlotOutput) -> None:
        """One frame of the slot."""
        self._outputs_since_push += 1
        self._pending = out.pending
        gated = self._traits.takes_turns and not self._lets_out(out)
        # A frame may have been on its way when the slot was told to stop.
        listens = self._state.floor is Floor.LISTEN
        stale = not self._traits.takes_turns and (listens or out.turn != self._state.turn)
        if stale or gated or self.withheld:
            self.playout.push(silence(FRAME_SAMPLES), None)
            if gated:
                self._close_when_done(out)
            return
        says = out.speaking or bool(out.text)
        if says and self.response is None:
            self.open()
        if self.response is not None and says:
            self.response.generated += out.text
            if out.origin in (SpeechOrigin.ORACLE, SpeechOrigin.OWN):
                self.response.answered = True
            if out.origin is SpeechOrigin.ORACLE and out.oracle.candidate_id is not None:
                self.response.candidates.setdefault(out.oracle.candidate_id)
            self._unplayed += 1
            self.playout.push(out.voice, Spoken(self.response.id, out.text, out.origin.value, out.speaking))
        else:
            self.playout.push(out.voice, None)
        self._close_when_done(out)

    def _lets_out(self, out: SlotOutput) -> bool:
        """Of a front end that takes turns itself: whether its frame may be heard."""
        control, now_ms = self._options().speech_control, self._now_ms()
        more_to_come, was_closed = self.knows_more or self._waiting(), self._gate.closed
        lets_out = self._gate.lets_out(now_ms, out, self._state, control=control, more_to_come=more_to_come)
        if was_closed and lets_out and self.timeline is not None:
            self.timeline.stamp("gate", now_ms)
        if self._unspoken.is_due(now_ms, out, answers=self.mine) and control.repeat_unspoken:
            self._on_unspoken()
        return lets_out

    def _close_when_done(self, out: SlotOutput) -> None:
        if self._traits.takes_turns:
            self._close_after_silence()
            return
        idle = not out.speaking and not out.pending and self._informed
        if self._state.floor is not Floor.SPEAK or not idle or self._waiting():
            return
        if self.response is None or not self.response.answered:
            self._on_idle()
        else:
            self.response.done_speaking = True
            self._end_when_played()

    def _close_after_silence(self) -> None:
        response, quiet_since_ms = self.response, self._gate.quiet_since_ms
        if quiet_since_ms is None:
            return
        now_ms = self._now_ms()
        speechless = now_ms - max(quiet_since_ms, self._pushed_ms) >= _NO_SPEECH_MS
        speechless = speechless and not self.knows_more and not self._waiting()
        if response is None:
            if self.mine and speechless:
                self._on_idle()
            return
        quiet_ms = now_ms - max(quiet_since_ms, response.opened_ms)
        if response.on_demand and not response.voice_started and not response.generated:
            if speechless:
                self.end(*(("completed",) if response.called else ("incomplete", "no_speech")))
        elif quiet_ms >= _SILENCE_ENDS_TURN_MS and not (self.manual and (self.knows_more or self._waiting())):
            response.done_speaking = True
            self._end_when_played()

    # --- responses ---

    def open(self, *, on_demand: bool = False, response_id: str = "", speaks: bool = True) -> Response:
        """Open a response now.

        Args:
            on_demand: the client asked for it.
            response_id: under which it was promised; empty: a new one.
            speaks: it has a message; False: function calls only.
        """
        if not on_demand:
            self._on_opening()
        response = Response(
            response_id or new_id("resp"), new_id("item"), self._now_ms(), on_demand=on_demand, speaks=speaks
        )
        previous = self._transcript.last_id
        if speaks:
            self._transcript.add(Item(response.item_id, "assistant", "", "in_progress", "audio"))
        self.response = response
        self._emit(ResponseStarted(self._now_ms(), response.id, response.item_id, previous, speaks))
        return response

    def call_functions(self, calls: tuple[ToolCall, ...], *, words: bool) -> None:
        """The client is to call these; the response closes when what is said in it has been played.

        Args:
            words: something is said before, which the slot has been fed.
        """
        response = self.response or self.open(speaks=words)
        response.answered = response.called = True
        for call in calls:
            item = function_call(new_id("item"), call.call_id, call.name, call.arguments, call.extra)
            previous = self._transcript.add(item)
            self._emit(
                FunctionCalled(self._now_ms(), response.id, item.id, previous, call.call_id, call.name, call.arguments)
            )
        if not words and not response.generated:
            self.end("completed")

    def cut(self, reason: ResponseReason, *, heard: str = "") -> None:
        """Stop speaking at once: the voice fades, the slot drops the turn, the response is `cancelled`."""
        if self.response is not None:
            self.response.done_speaking = False  # what is lost now was not played
        self.playout.flush()
        self._gate.close()
        self.tell(Floor.LISTEN, heard=heard, new_turn=True)
        if self.response is not None:
            self.end("cancelled", reason)

    def end(self, status: ResponseStatus, reason: ResponseReason = "") -> None:
        """Close the open response with what was heard of it."""
        response, self.response = self.response, None
        if response is None:
            return
        response.status, response.reason = status, reason
        self._unplayed = 0
        heard = response.heard.strip()
        self._transcript.update(
            response.item_id,
            text=heard,
            generated=response.generated.strip(),
            status="completed" if status == "completed" else "incomplete",
        )
        now_ms = self._now_ms()
        if response.voice_started:
            self._emit(VoiceStopped(now_ms, response.id, cleared=status == "cancelled"))
        self._emit(
            ResponseEnded(
                now_ms,
                response.id,
                response.item_id,
                status,
                reason,
                text=heard,
                generated=response.generated.strip(),
                input_tokens=self.input_tokens,
                output_tokens=self.output_tokens,
            )
        )
        self.input_tokens = self.output_tokens = 0
        self._on_ended(response)

    def _end_when_played(self) -> None:
        if self.response is not None and self.response.done_speaking and self._unplayed == 0:
            self.end("completed")

    # --- what was played ---

    def _begun(self, spoken: Spoken) -> None:
        response = self._of(spoken)
        if response is None:
            return
        now_ms = self._now_ms()
        if spoken.voiced:
            if not response.voice_started:
                response.voice_started = True
                self._emit(VoiceStarted(now_ms, response.id))
            if self.timeline is not None:
                self.timeline.stamp("first_audio", now_ms)
                if spoken.origin == SpeechOrigin.ORACLE.value:
                    self.timeline.stamp("first_oracle_audio", now_ms)
        if spoken.text:
            self._emit(ResponseText(now_ms, response.id, response.item_id, spoken.text, spoken.origin))

    def _played(self, spoken: Spoken) -> None:
        response = self._of(spoken)
        if response is None:
            return
        response.heard += spoken.text
        self._unplayed -= 1
        self._end_when_played()

    def _lost(self, spoken: Spoken) -> None:
        if self._of(spoken) is not None:
            self._unplayed -= 1
            self._end_when_played()

    def _of(self, spoken: Spoken) -> Response | None:
        response = self.response
        return response if response is not None and response.id == spoken.response_id else None
