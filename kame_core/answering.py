"""From a user's turn to the oracle's words in the slot: planner, oracle stream and the policy of the mode."""

from collections.abc import Callable
from dataclasses import replace

from kame_core.agent_turn import AgentTurn
from kame_core.backend.budgets import Account
from kame_core.backend.planner import Planner
from kame_core.backend.presets import direction, preset_of, spoken_languages
from kame_core.backend.prompt import PromptContext
from kame_core.backend.tools import CandidateCalls, ToolsUsed
from kame_core.candidates import Candidate, Candidates
from kame_core.events import (
    CandidateAdopted,
    CandidateFailed,
    CandidateFinished,
    CandidateStarted,
    CandidateText,
    Event,
    Spent,
    Trouble,
)
from kame_core.frontend.base import Floor, FrontendTraits, OracleAdopt, OracleUpdate, SpeechPolicy
from kame_core.ids import new_id
from kame_core.latency import TurnTimeline
from kame_core.options import ConversationOptions, Mode
from kame_core.oracle import OracleDecision, OracleStream
from kame_core.phrasing import normalised
from kame_core.response import Response
from kame_core.seats import Seats
from kame_core.transcript import Transcript
from kame_core.turns import Turns
from kame_core.unsaid import unsaid

_REMEMBERED_TURNS = 16
"""So many candidates back a tool's late result still finds its place."""


def policy_of(options: ConversationOptions) -> SpeechPolicy:
    """What the mode allows the front end (DESIGN: a mode is a policy, not an engine)."""
    opener = options.opener and preset_of(options.preset).opener
    match options.mode:
        case Mode.TANDEM:
            return SpeechPolicy(opener=opener)
        case Mode.DIRECT:
            return SpeechPolicy(opener=opener, alone=True)
        case Mode.CASCADED:
            return SpeechPolicy(opener=False, whole_sentences=True)


class Answering:
    """One conversation's way from transcripts to spoken knowledge.

    Args:
        options: gives the options in force.
        turns: told whether the agent answers, so that speech over it is judged.
        make_planner: builds the planner around the given context and event sink.
    """

    def __init__(
        self,
        agent: AgentTurn,
        seats: Seats,
        transcript: Transcript,
        turns: Turns,
        options: Callable[[], ConversationOptions],
        emit: Callable[[Event], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._agent = agent
        self._seats = seats
        self._transcript = transcript
        self._turns = turns
        self._options = options
        self._emit = emit
        self._now_ms = now_ms
        self._oracle = OracleStream(now_ms)
        self._planner: Planner | None = None
        self._candidates = Candidates()
        self._said_before = ("", "")
        """An item of the agent that was being said when the turn began, and its words until then."""
        self._asked_item_id: str | None = None
        self._heard_language = ""
        self._places: dict[str, str | None] = {}  # of candidates for whole turns: the item behind which they come
        self._active = False
        self._fell_back = False
        self._told_account = Account()

    def use(self, planner: Planner) -> None:
        """Ask through this planner from now on."""
        self._planner = planner

    @property
    def _traits(self) -> FrontendTraits:
        return self._seats.traits

    @property
    def active(self) -> bool:
        """A turn of the user is being answered."""
        return self._active

    @property
    def guides(self) -> bool:
        """What the back end writes reaches the front end."""
        return self._options().mode is not Mode.DIRECT and self._traits.follows_oracle

    @property
    def asked_item_id(self) -> str | None:
        """The item of the dialogue that is being answered."""
        return self._asked_item_id if self._active else None

    @property
    def busy(self) -> bool:
        """The back end is at work for this turn."""
        return self._planner is not None and self._planner.busy

    # --- the turn's way ---

    def begin_turn(self) -> None:
        """A new turn of the user: nothing of an earlier one is asked or read any more."""
        self.stop()
        self._heard_language = ""
        response = self._agent.response  # a front end that takes turns itself may go on with it
        self._said_before = ("", "") if response is None else (response.item_id, response.generated)
        self._candidates.clear()
        if self._planner is not None:
            self._planner.new_turn()

    def stop(self) -> None:
        """Answer no longer: requests end, the oracle is cleared."""
        self._active = False
        self._turns.agent(False)
        if self._planner is not None:
            self._planner.stop()
        self._decide(self._oracle.clear())

    def heard(self, text: str, *, settled: bool, language: str = "") -> None:
        """The user's turn in progress was read anew; `settled`: at a pause, as well as possible.

        `language` is what it is spoken in, where the recogniser has told.
        """
        self._heard_language = language
        if self._planner is None or self._options().mode is not Mode.TANDEM or not self._traits.follows_oracle:
            return
        if self._options().tools and self._planner.asks_again and self._traits.oracle_style == "continuation":
            return  # nothing that is asked before the turn ends could be said
        if settled:
            self._planner.pause(text)
            self._take_back(text)
        else:
            self._planner.partial(text)

    def answer(self, item_id: str | None, text: str, *, on_demand: bool = False, opener: bool = True) -> None:
        """The turn is the agent's; `text` is all of what it answers, `item_id` where that stands in the transcript."""
        self._active = True
        self._asked_item_id = item_id
        item = self._transcript.get(item_id or "")
        self._heard_language = item.language if item is not None else ""
        self._fell_back = False
        self._turns.agent(True)
        options = self._options()
        if self._planner is not None and self.guides:
            self.forget_outdated(text, whole_turn=True)
            if on_demand:
                self._planner.ask(text)
            else:
                self._planner.turn_ended(text)
                self._take_back(text)
        policy = policy_of(options)
        self._agent.tell(Floor.SPEAK, heard=text, policy=policy if opener else replace(policy, opener=False))

    def say(self, text: str) -> None:
        """Speak words that are given; they reach the front end like the back end's, as a candidate for no question."""
        if not self._traits.follows_oracle:
            return
        self._active = True
        self._asked_item_id = None
        self._fell_back = True  # there is nothing to fall back to
        self._turns.agent(True)
        now_ms, candidate_id = self._now_ms(), new_id("cand")
        self.candidate_event(CandidateStarted(now_ms, candidate_id, "", complete=True))
        self.candidate_event(CandidateFinished(now_ms, candidate_id, text))
        self._agent.tell(Floor.SPEAK, heard="", policy=SpeechPolicy(opener=False))

    def unsaid(self) -> str:
        """What the open response has not been heard to say of its answer."""
        response = self._agent.response
        spoken = [] if response is None else [self._candidates.get(other) for other in response.candidates]
        if response is None or response.called or not spoken or spoken[-1] is None:
            return ""
        return unsaid(spoken[-1].written, response.heard, whole=spoken[-1].finished is not None)

    def forget_outdated(self, text: str, *, whole_turn: bool = False) -> None:
        """Drop what answers less than `text`, for front ends that speak the oracle's words as they are.

        Args:
            whole_turn: the turn ended with `text`; where that is asked anew, what answered it before is dropped, too.
        """
        if self._traits.oracle_style == "continuation":
            anew = whole_turn and self._planner is not None and self._planner.asks_again
            whole = normalised(text)
            self._candidates.outdate(whole, anew=anew)
            self._decide(self._oracle.keep_only(lambda partial: normalised(partial) == whole and not anew))

    def _take_back(self, text: str) -> None:
        """The reading went back to words that were outdated meanwhile: what answers them counts again.

        The planner does not ask the same words twice in a turn, so nothing else would answer them.
        """
        candidate = self._candidates.latest_for(normalised(text))
        if candidate is None or not candidate.outdated:
            return
        candidate.outdated = False
        self._decide(self._oracle.handle(candidate.started))
        text_so_far = CandidateText(self._now_ms(), candidate.started.candidate_id, candidate.text)
        self._decide(self._oracle.handle(text_so_far))
        if candidate.finished is not None:
            self._decide(self._oracle.handle(candidate.finished))

    def replay(self) -> None:
        """The slot dropped its turn while the user's goes on: it gets the oracle again from the first word."""
        self._feed(self._oracle.replay())

    def nothing_said(self) -> None:
        """The back end is done and there is nothing (more) to say."""
        if self._active and not self._fell_back and self._options().mode is not Mode.DIRECT:
            self._fell_back = True  # with no back end the front end still answers: short and shallow
            self._decide(self._oracle.clear())
            self._agent.tell(Floor.SPEAK, policy=replace(policy_of(self._options()), alone=True))
        elif not self._agent.unplayed:
            self.stop()
            self._agent.tell(Floor.LISTEN, heard="", new_turn=True)
            self._agent.end("incomplete", "no_speech")

    def response_ended(self, response: Response, timeline: TurnTimeline | None) -> None:
        """Close the books of a response: its time line, and the turn if it was answered."""
        if timeline is not None and response.voice_started:
            spoken = (self._candidates.get(other) for other in response.candidates)
            first = next((candidate for candidate in spoken if candidate is not None), None)
            if first is not None:
                first.stamp(timeline)
            self._emit(timeline.timing(self._now_ms(), response.id, self._options().mode.value))
        self.tell_cost()
        # Such a front end may go on with what is to come, or with what it has not said yet.
        still_knows = self._traits.takes_turns and (self.busy or self._agent.knows_more)
        if self._active and response.status != "cancelled" and not still_knows:
            self.stop()
            self._agent.tell(Floor.LISTEN, heard="", new_turn=True)

    def tell_cost(self) -> None:
        """What the back end has cost so far, if it was asked since that was told last."""
        account = Account() if self._planner is None else self._planner.ledger.account
        if account == self._told_account:
            return
        self._told_account = account
        now_ms = self._now_ms()
        minutes = max(now_ms, 1) / 60_000
        tokens = account.input_tokens + account.output_tokens
        self._emit(
            Spent(
                now_ms,
                account.requests,
                account.input_tokens,
                account.output_tokens,
                round(account.requests / minutes, 2),
                round(tokens / minutes, 1),
            )
        )

    # --- the back end ---

    def prompt_context(self) -> PromptContext:
        """What the back end is told beside the user's words."""
        options = self._options()
        response = self._agent.response
        spoken, begun = "" if response is None else response.generated, ("", "")
        if response is not None and response.item_id == self._said_before[0]:
            begun = self._said_before
            spoken = spoken.removeprefix(begun[1])
        asked = self._transcript.get(self._asked_item_id or "") if self._active else None
        return PromptContext(
            instructions=options.instructions,
            preset=options.preset,
            language=options.language,
            second_language=options.second_language,
            heard_language=self._heard_language,
            context=options.context,
            knowledge=options.knowledge,
            style=self._traits.oracle_style,
            history=self._transcript.history(without=None if asked is None else asked.id, begun=begun),
            tools_used=() if asked is None else asked.tools,
            spoken_this_turn=spoken.strip(),
            max_tokens=options.max_output_tokens,
        )

    def candidate_event(self, event: Event) -> None:
        """A fact of the planner and of the tools."""
        now_ms = self._now_ms()
        if not isinstance(event, CandidateCalls | ToolsUsed):
            self._emit(event)
        self._candidates.note(event, now_ms)
        match event:
            case CandidateStarted() if event.complete:
                self._remember_place(event.candidate_id)
            case CandidateCalls():
                if self._active:
                    self._agent.call_functions(event.calls, words=bool(event.text.strip()))
            case ToolsUsed():
                item = self._transcript.get(self._places.get(event.candidate_id) or "")
                if item is not None:
                    self._transcript.update(item.id, tools=item.tools + event.messages)
            case CandidateFinished():
                self._agent.input_tokens += event.input_tokens
                self._agent.output_tokens += event.output_tokens
            case CandidateFailed() if event.error is not None:
                self._emit(Trouble(now_ms, event.error))
                self._fall_back(self._candidates.get(event.candidate_id))
        self._decide(self._oracle.handle(event))

    def _remember_place(self, candidate_id: str) -> None:
        self._places[candidate_id] = self._asked_item_id or self._transcript.last_id
        while len(self._places) > _REMEMBERED_TURNS:
            del self._places[next(iter(self._places))]

    def _fall_back(self, failed: Candidate | None) -> None:
        """The whole turn's request failed before it spoke: what answered the same words earlier is good enough."""
        if failed is None or not failed.started.complete or failed.text or not self._active:
            return
        self._take_back(failed.started.partial)
        may_speak = self._candidates.latest_for(failed.question) is not None
        if self._planner is not None and self._traits.oracle_style == "continuation" and not may_speak:
            self._planner.stop()  # what is still under way answers less, and would not be said

    def _decide(self, decision: OracleDecision) -> None:
        for fact in decision.facts:
            if isinstance(fact, CandidateAdopted) and self._planner is not None:
                self._planner.adopted(fact.candidate_id)
            self._candidates.note(fact, self._now_ms())
            self._emit(fact)
        self._feed(decision.updates)

    def _feed(self, updates: tuple[OracleUpdate, ...]) -> None:
        """Pass updates on to the slot, each candidate with the language it is to be spoken in."""
        self._agent.feed(
            tuple(
                replace(update, language=self._language_of(update.candidate_id))
                if isinstance(update, OracleAdopt)
                else update
                for update in updates
            )
        )

    def _language_of(self, candidate_id: str) -> str:
        """Of two languages the other one than was spoken to the agent; empty: the conversation's own."""
        options = self._options()
        languages = spoken_languages(options.preset, options.language, options.second_language)
        candidate = self._candidates.get(candidate_id)
        if len(languages) == 1 or candidate is None or not candidate.started.partial:
            return ""
        known = direction(languages, candidate.started.partial, self._heard_language)
        return known[1] if known else ""
