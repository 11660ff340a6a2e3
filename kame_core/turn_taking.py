"""What both sides of a conversation do to each other: turns, interruptions, answers.

Logic only: no task, no thread, no I/O. `Dialogue` adds what a client may ask for, `Conversation` the life around it.
"""

from dataclasses import replace

from kame_core.agent_turn import AgentTurn
from kame_core.answering import Answering, policy_of
from kame_core.engines import Engines
from kame_core.events import (
    Ducked,
    Event,
    FinalTranscript,
    ItemDeleted,
    ResponseReason,
    ResponseText,
    Restored,
    UserTurnCommitted,
)
from kame_core.frontend.base import Floor, FrontendTraits, SpeechOrigin
from kame_core.function_calls import FunctionCalls
from kame_core.ids import new_id
from kame_core.latency import TurnTimeline
from kame_core.options import ConversationOptions, ResponseOptions
from kame_core.owed import Deferred, Owed
from kame_core.phrasing import is_backchannel
from kame_core.response import Response
from kame_core.seats import Seats
from kame_core.stt.base import Recognizer
from kame_core.subscription import Subscription
from kame_core.transcript import Item, Transcript
from kame_core.turns import Turns
from kame_core.unasked import Unasked
from kame_core.user_turn import UserTurn


class TurnTaking:
    """A user, an agent and a transcript, kept in step. Every method is called on the event loop."""

    def __init__(self, engines: Engines, options: ConversationOptions, seats: Seats, recognizer: Recognizer) -> None:
        self.id = new_id("conv")
        self.clock = engines.clock
        self.transcript = Transcript()
        self.closed = False
        """It has ended or is about to."""
        self._seats = seats
        self._options = options
        self._turn_options = options  # as they were when the turn began
        self._began_s = engines.clock.now()
        self._subscriptions: list[Subscription] = []
        self._timeline: TurnTimeline | None = None
        self._announced_item_id: str | None = None
        self._demanded: ResponseOptions | None = None
        self._beside = False
        self._doubtful = False
        """Speech over a front end that takes turns itself, of which no words are understood yet."""
        self._owed = Owed()
        self._functions = FunctionCalls(self.transcript)
        self._unasked = Unasked()
        turns = Turns(options.turn_detection, observes=self._traits.takes_turns, ending=engines.ending)
        self._user = UserTurn(turns, recognizer, self, self._emit, self.now_ms)
        self._agent = AgentTurn(
            seats,
            self.transcript,
            self._emit,
            self.now_ms,
            on_opening=self._announce_user_item,
            waiting=self._more_may_come,
            on_idle=self._agent_idle,
            on_ended=self._response_ended,
            on_unspoken=lambda: self._answering.replay(),
            options=lambda: self._options,
        )
        self._agent.manual = not self._automatic
        self._answering = Answering(
            self._agent, seats, self.transcript, turns, lambda: self._turn_options, self._emit, self.now_ms
        )

    @property
    def _traits(self) -> FrontendTraits:
        return self._seats.traits

    # --- events ---

    def now_ms(self) -> int:
        """Conversation time."""
        return round((self.clock.now() - self._began_s) * 1000)

    def _emit(self, event: Event) -> None:
        if isinstance(event, ResponseText):
            self._user.turns.agent_says(event.at_ms, event.delta, opener=event.origin == SpeechOrigin.OPENER)
        for subscription in self._subscriptions:
            subscription.put(event)

    # --- the user's turn (TurnListener) ---

    def turn_began(self) -> None:
        """The user speaks a new turn."""
        if self._answers_on:
            self._beside = True
            self._timeline = None
        elif self._answering.active:  # a front end that takes turns itself goes on until words are understood
            self._doubtful = True
            self._timeline = None
        else:
            self._begin_turn()
            self._hush()

    def turn_paused(self, speech_end_ms: int, *, opener: bool, known: bool) -> None:
        """Perhaps the end: an opener may come."""
        self._timeline = TurnTimeline(speech_end_ms)
        self._timeline.stamp("pause", self.now_ms())
        if self._answering.active:
            return
        if self._agent.response is None:
            self._agent.timeline = self._timeline
        self._answering.forget_outdated(self._user.text)
        # Most partials at a pause are what the settled reading says: nothing is lost by asking now.
        if self._user.text and not self._user.turns.echoing and not self._user.turns.listens_only:
            self._answering.heard(self._user.text, settled=True, language=self._user.language)
        if opener:
            self.opener_due(known=known)

    def opener_due(self, *, known: bool) -> None:
        """The pause goes on: now an opener may come; `known`: also where the answer is known."""
        policy = self._agent.state.policy
        if not self._answering.active and self._automatic and policy.opener:
            self._agent.tell(Floor.PAUSE, heard=self._user.text, policy=replace(policy, covers_pause=known))

    def turn_resumed(self) -> None:
        """The turn goes on: an opener given meanwhile was a backchannel."""
        if self._agent.response is not None and not self._traits.takes_turns and not self._answering.active:
            self._demanded = None
            self._agent.cut("turn_detected", heard=self._user.text)
            self._answering.replay()
        elif not self._answering.active:
            self._agent.tell(Floor.LISTEN, heard=self._user.text)

    def turn_ended(self, speech_end_ms: int) -> None:
        """The turn is over; the final transcript is awaited."""
        if self._timeline is None:
            self._timeline = TurnTimeline(speech_end_ms)
        self._timeline.speech_end_ms = speech_end_ms
        self._timeline.stamp("turn_end", self.now_ms())
        hold_ms = self._options.speech_control.input_hold_ms
        if hold_ms and self._traits.takes_turns:
            self._timeline.stamp("hold", speech_end_ms + hold_ms)
        if self._agent.timeline is None and not self._answering.active:
            self._agent.timeline = self._timeline

    def turn_final(self, item_id: str, text: str, speech_end_ms: int, language: str) -> None:
        """The user's turn joins the dialogue and is answered."""
        if self._timeline is not None:
            self._timeline.stamp("settled", self.now_ms())
        self._announce(item_id)
        self.transcript.update(item_id, text=text, status="completed", language=language)
        self._announced_item_id = None
        self._emit(FinalTranscript(self.now_ms(), item_id, text, self._user.seconds, language))
        self._beside = False
        self._unasked.user_said()
        demanded, self._demanded = self._demanded, None
        if self._answers_on:
            self._owed.deferred = Deferred(item_id, text, self._timeline) if self._automatic else None
            return
        if self._doubtful and demanded is None and (not self._interruptible or is_backchannel(text)):
            self._doubtful = False
            return
        if self._doubtful:
            timeline = self._timeline
            self._begin_turn()
            self._timeline = self._agent.timeline = timeline
        self._owed.clear()  # the dialogue that is asked about holds what was said before
        self._before_answer()
        if demanded is not None:
            self._turn_options = demanded.over(self._turn_options)
        if demanded is not None or self._automatic:
            self._answering.answer(item_id, text)
        else:
            self._answering.stop()
            self._drop_opener()

    def turn_dropped(self, item_id: str) -> None:
        """It was no turn."""
        self._beside = False
        if self._announced_item_id == item_id:
            self._announced_item_id = None
            if self.transcript.get(item_id) is not None:
                self._delete(item_id)
        demanded, self._demanded = self._demanded, None
        if self._answers_on:
            return
        if self._doubtful and demanded is None:
            self._doubtful = False
            return
        self._answering.stop()
        unanswered_item_id, unsaid = self._owed.take_cut_short()
        unanswered = self.transcript.get(unanswered_item_id or "")
        if demanded is not None and (demanded.instructions or self._functions.unanswered):
            self._fulfil(demanded)
        elif demanded is not None:
            self._answering.answer(None, "")  # there is nothing to ask: the front end says that it did not understand
        elif unanswered is not None and self._agent.response is None and self._automatic:
            self._hush()
            self._answering.answer(unanswered.id, unanswered.text)  # a cough does not take a question back
        elif unsaid and self._agent.response is None and self._automatic:
            self._hush()
            self._answering.say(unsaid)  # ... nor cuts an answer short
        elif self._agent.response is not None and not self._traits.takes_turns:
            self._agent.cut("turn_detected")
        else:
            self._hush()
            self._agent_done()

    def transcript_changed(self, text: str, *, settled: bool) -> None:
        """The user's turn in progress was read anew."""
        if self._doubtful and self._interruptible and text.strip() and not is_backchannel(text):
            if not self._automatic:
                self._cut("turn_detected")  # whatever it says next, nobody has asked for
            self._begin_turn()
            self._hush()
        if settled and self._timeline is not None:
            self._timeline.stamp("settled", self.now_ms())
        if self._doubtful:
            return
        if not self._answers_on:
            self._answering.heard(text, settled=settled, language=self._user.language)
        if not self._answering.active:
            self._agent.tell(self._agent.state.floor, heard=text)

    def overlap_began(self) -> None:
        """Lower the voice until it is clear why the user speaks."""
        self._agent.playout.duck()
        self._emit(Ducked(self.now_ms()))

    def overlap_ended(self) -> None:
        """The agent goes on."""
        self._agent.playout.restore()
        self._emit(Restored(self.now_ms()))

    def barged_in(self) -> None:
        """The user took the turn."""
        response = self._agent.response
        if response is None or not response.answered:
            self._owed = Owed(unanswered_item_id=self._answering.asked_item_id)
        else:
            self._owed = Owed(unsaid=self._answering.unsaid())
        if self._owed.unsaid:
            self._user.turns.cut_short()
        self._cut("turn_detected")
        self._begin_turn()
        self._hush(heard=self._user.text)

    def _delete(self, item_id: str) -> None:
        self.transcript.delete(item_id)
        self._emit(ItemDeleted(self.now_ms(), item_id))

    def _announce_user_item(self) -> None:
        """The user's item comes before the response that answers it, also when that is only an opener."""
        if self._user.item_id is not None and not self._beside:
            self._announce(self._user.item_id)

    def _announce(self, item_id: str) -> None:
        if self._announced_item_id == item_id:
            return
        self._announced_item_id = item_id
        previous = self.transcript.add(Item(item_id, "user", "", "in_progress", "audio"))
        self._emit(UserTurnCommitted(self.now_ms(), item_id, previous))

    def _begin_turn(self) -> None:
        self._timeline = self._agent.timeline = None
        self._doubtful = False
        self._turn_options = self._options
        self._beside = False
        self._answering.begin_turn()

    def _before_answer(self) -> None:
        """The user's turn has its words and is about to be answered."""

    @property
    def _automatic(self) -> bool:
        """A turn that ends is answered unasked."""
        detection = self._options.turn_detection
        return detection is not None and detection.create_response

    @property
    def _interruptible(self) -> bool:
        """Words over a front end that takes turns itself take the place of its answer."""
        detection = self._options.turn_detection
        return self._automatic or (detection is not None and detection.interrupt_response)

    @property
    def _answers_on(self) -> bool:
        """The agent answers an earlier turn and may not be interrupted: what is said meanwhile is answered after it."""
        return self._answering.active and not self._traits.takes_turns

    def _hush(self, heard: str = "") -> None:
        """The floor is the user's; what was to be said is void."""
        self._answering.stop()
        self._agent.tell(Floor.LISTEN, heard=heard, policy=policy_of(self._turn_options), new_turn=True)

    def _cut(self, reason: ResponseReason) -> None:
        """Cut the voice. A response that was promised to follow is opened and cancelled: its client waits for it."""
        promised = self._functions.take_promise()
        self._agent.cut(reason)
        if promised is not None:
            self._agent.open(on_demand=True, response_id=promised.response_id)
            self._agent.end("cancelled", reason)

    def _drop_opener(self) -> None:
        """No answer is going to follow the opener that was given."""
        if self._answering.active or self._demanded is not None or self._traits.takes_turns:
            return
        if self._agent.response is not None:
            self._agent.cut("turn_detected")
        elif self._agent.state.floor is not Floor.LISTEN:
            self._hush()

    # --- the agent's turn ---

    def _carry_out(self, wishes: ResponseOptions, *, opener: bool = True) -> None:
        """Do as instructed where no words of the user wait for an answer; without instructions, go on."""
        self._turn_options = wishes.over(self._turn_options)
        if wishes.instructions:  # they take the place of the user's words, and are told once
            self._turn_options = replace(self._turn_options, instructions="")
        self._answering.answer(None, wishes.instructions, on_demand=True, opener=opener)

    def _respond(self, wishes: ResponseOptions, response_id: str = "") -> str:
        self._begin_turn()
        self._hush()
        self._owed.clear()
        self._beside = self._user.in_turn and not self._traits.takes_turns
        self._doubtful = self._user.in_turn and self._traits.takes_turns
        self._turn_options = wishes.over(self._turn_options)
        response = self._agent.open(on_demand=True, response_id=response_id)
        self._timeline = self._agent.timeline = TurnTimeline(self.now_ms())
        self._fulfil(wishes)
        return response.id

    def _fulfil(self, wishes: ResponseOptions) -> None:
        """Answer the user's last words, or what functions gave, or do as instructed: the client asked for it."""
        (asked, told), unanswered = self._functions.asked(), self._functions.unanswered
        if asked is None or (wishes.instructions and not unanswered):
            self._carry_out(wishes, opener=not told)
        elif told:
            self._answering.answer(None, "", on_demand=True, opener=False)
        else:
            self._answering.answer(asked.id, asked.text, on_demand=True)

    def _speak_unasked(self) -> None:
        """Greet, or break a long silence, if it is time to; called with every frame of the slot."""
        if not self._traits.follows_oracle:
            return  # nothing can be put into its mouth
        words = self._unasked.due(
            self.now_ms(),
            self._options,
            listened=self._agent.playout.depth_samples > 0,  # with nobody reading, nothing waits to be read
            user=self._user.in_turn or self._owed.deferred is not None,
            agent=self._agent.response is not None or self._answering.active,
        )
        if words:
            self._begin_turn()
            self._hush()
            if self._agent.withheld:
                self._agent.open(on_demand=True)
            self._answering.say(words)

    def _more_may_come(self) -> bool:
        return self._user.awaits_final or self._answering.busy

    def _response_ended(self, response: Response) -> None:
        timeline, self._agent.timeline = self._agent.timeline, None
        self._answering.response_ended(response, timeline)
        self._agent_done()

    def _agent_idle(self) -> None:
        self._answering.nothing_said()
        self._agent_done()

    def _agent_done(self) -> None:
        """What was said beside the agent's turn comes to its right after that."""
        if self._answering.active or self.closed:
            return
        promised = self._functions.take_promise()
        if promised is not None:
            self._respond(promised.wishes, promised.response_id)
            return
        if self._beside:
            self._begin_turn()
            self._hush(heard=self._user.text)
            self._answering.heard(self._user.text, settled=False, language=self._user.language)
        deferred = self._owed.deferred
        if deferred is not None and not self._user.in_turn and self._agent.response is None:
            self._owed.clear()
            self._begin_turn()
            self._hush()
            self._timeline = self._agent.timeline = deferred.timeline
            self._answering.answer(deferred.item_id, deferred.text)
