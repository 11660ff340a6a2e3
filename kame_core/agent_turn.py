"""The agent's side of a conversation: what the slot says becomes sound to play, responses, and a heard transcript."""

from collections.abc import Callable

from kame_core.audio import FRAME_SAMPLES, silence
from kame_core.events import (
    Event,
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
    OracleUpdate,
    SlotLease,
    SlotOutput,
    SpeechOrigin,
    SpeechPolicy,
    UserState,
)
from kame_core.ids import new_id
from kame_core.latency import TurnTimeline
from kame_core.playout import Playout, Spoken
from kame_core.response import Response
from kame_core.transcript import Item, Transcript

_TICK_MS = 80
_SILENCE_ENDS_TURN_MS = 600
"""A front end that takes turns itself has ended its turn after this much silence."""
_GATE_OPENS_AFTER_MS = 240
"""An output gate closed by the client opens when such a front end has been silent for this long."""
_NO_SPEECH_MS = 3000
"""A response on demand that such a front end does not follow ends after this time."""


class AgentTurn:
    """Drives one slot and keeps its responses.

    Args:
        on_opening: told before a response opens by itself.
        waiting: more words may still come for this turn (the back end is at work, the transcript is not final).
        on_idle: told when the turn is the agent's, nothing is said or waits, and no response is open.
        on_ended: told after a response has ended.
    """

    def __init__(
        self,
        lease: SlotLease,
        traits: FrontendTraits,
        transcript: Transcript,
        emit: Callable[[Event], None],
        now_ms: Callable[[], int],
        on_opening: Callable[[], None],
        waiting: Callable[[], bool],
        on_idle: Callable[[], None],
        on_ended: Callable[[Response], None],
    ) -> None:
        self.playout = Playout(self._begun, self._played, self._lost)
        self.timeline: TurnTimeline | None = None
        self.response: Response | None = None
        self.input_tokens = 0
        self.output_tokens = 0
        self._lease = lease
        self._traits = traits
        self._transcript = transcript
        self._emit = emit
        self._now_ms = now_ms
        self._on_opening = on_opening
        self._waiting = waiting
        self._on_idle = on_idle
        self._on_ended = on_ended
        self._state = UserState()
        self._outputs_since_push = 0
        self._pushed_ms = 0
        self._unplayed = 0
        self._gate_closed = False
        self._quiet_since_ms: int | None = None

    # --- telling the slot ---

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
            self._lease.push(user=state)

    @property
    def unplayed(self) -> bool:
        """Something of the open response waits to be played."""
        return self.response is not None and self._unplayed > 0

    def feed(self, updates: tuple[OracleUpdate, ...]) -> None:
        """Pass oracle updates on."""
        if updates:
            self._note_push()
            self._lease.push(oracle=updates)

    def _note_push(self) -> None:
        self._outputs_since_push = 0
        self._pushed_ms = self._now_ms()

    # --- hearing the slot ---

    def output(self, out: SlotOutput) -> None:
        """One frame of the slot."""
        self._outputs_since_push += 1
        if self._traits.takes_turns:
            self._gate(out)
        # A frame may have been on its way when the slot was told to stop.
        listens = self._state.floor is Floor.LISTEN
        stale = not self._traits.takes_turns and (listens or out.turn != self._state.turn)
        if stale or self._gate_closed:
            self.playout.push(silence(FRAME_SAMPLES), None)
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

    def _gate(self, out: SlotOutput) -> None:
        if out.speaking:
            self._quiet_since_ms = None
        elif self._quiet_since_ms is None:
            self._quiet_since_ms = self._now_ms()
        elif self._gate_closed and self._now_ms() - self._quiet_since_ms >= _GATE_OPENS_AFTER_MS:
            self._gate_closed = False

    def _close_when_done(self, out: SlotOutput) -> None:
        if self._traits.takes_turns:
            self._close_after_silence()
            return
        # After a stall of the loop several frames come at once, made before the slot was told what it was told last.
        informed = self._outputs_since_push >= 2 and self._now_ms() - self._pushed_ms >= _TICK_MS
        idle = not out.speaking and not out.pending and informed
        if self._state.floor is not Floor.SPEAK or not idle or self._waiting():
            return
        if self.response is None or not self.response.answered:
            self._on_idle()
        else:
            self.response.done_speaking = True
            self._end_when_played()

    def _close_after_silence(self) -> None:
        response = self.response
        if response is None or self._quiet_since_ms is None:
            return
        quiet_ms = self._now_ms() - max(self._quiet_since_ms, response.opened_ms)
        if response.on_demand and not response.voice_started and not response.generated:
            if quiet_ms >= _NO_SPEECH_MS:
                self.end("incomplete", "no_speech")
        elif quiet_ms >= _SILENCE_ENDS_TURN_MS:
            response.done_speaking = True
            self._end_when_played()

    # --- responses ---

    def open(self, *, on_demand: bool = False) -> Response:
        """Open a response now."""
        if not on_demand:
            self._on_opening()
        response = Response(new_id("resp"), new_id("item"), self._now_ms(), on_demand=on_demand)
        previous = self._transcript.add(Item(response.item_id, "assistant", "", "in_progress", "audio"))
        self.response = response
        self._emit(ResponseStarted(self._now_ms(), response.id, response.item_id, previous))
        return response

    def cut(self, reason: ResponseReason, *, heard: str = "") -> None:
        """Stop speaking at once: the voice fades, the slot drops the turn, the response is `cancelled`."""
        if self.response is not None:
            self.response.done_speaking = False  # what is lost now was not played
        self.playout.flush()
        if self._traits.takes_turns:
            self._gate_closed = True
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
