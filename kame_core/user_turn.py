"""The user's side of a conversation: from what the ear and the recogniser report to turns with a transcript."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from kame_core.events import (
    Event,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
    TranscriptionFailed,
    Trouble,
    UserTurnDropped,
)
from kame_core.hearing import EarState
from kame_core.ids import new_id
from kame_core.phrasing import words_of
from kame_core.stt.base import Recognizer, RecognizerUpdate
from kame_core.stt.semantic import SemanticUpdate
from kame_core.turn_decisions import (
    BargeIn,
    Decision,
    Duck,
    OpenerDue,
    Paused,
    Restore,
    Resumed,
    SettleNow,
    SpeechBegan,
    TurnDropped,
    TurnEnded,
    Unduck,
)
from kame_core.turns import Phase, Turns

_SETTLE_DEADLINE_MS = 1200
"""How long a turn that is over waits for its settled transcript; then the last partial is taken."""
_OVERTAKEN_DEADLINE_MS = 2400
"""... and so long where an earlier pause was answered only now: of what was said since nothing may be known yet."""


class TurnListener(Protocol):
    """Who acts on the user's turns."""

    def turn_began(self) -> None:
        """The user speaks a new turn."""

    def turn_paused(self, speech_end_ms: int, *, opener: bool, known: bool) -> None:
        """A pause, perhaps the end of the turn."""

    def opener_due(self, *, known: bool) -> None:
        """The pause goes on: an opener may come now; `known`: also where the answer is known."""

    def turn_resumed(self) -> None:
        """The turn goes on after a pause."""

    def turn_ended(self, speech_end_ms: int) -> None:
        """The turn is over; its final transcript follows at once or soon."""

    def turn_final(self, item_id: str, text: str, speech_end_ms: int, language: str) -> None:
        """The turn that ended has its final transcript; `language` where the recogniser recognised it."""

    def turn_dropped(self, item_id: str) -> None:
        """What had begun was no turn."""

    def transcript_changed(self, text: str, *, settled: bool) -> None:
        """What was understood of the turn in progress."""

    def overlap_began(self) -> None:
        """The user speaks over the agent."""

    def overlap_ended(self) -> None:
        """It was no interruption."""

    def barged_in(self) -> None:
        """The user took the turn from the agent; a new turn is in progress."""


@dataclass(slots=True)
class _Ending:
    speech_end_ms: int
    ended_ms: int
    by_client: bool


class UserTurn:
    """Keeps one recogniser, the turn rules and the event stream in step."""

    def __init__(
        self,
        turns: Turns,
        recognizer: Recognizer,
        listener: TurnListener,
        emit: Callable[[Event], None],
        now_ms: Callable[[], int],
    ) -> None:
        self.turns = turns
        self._recognizer = recognizer
        self._listener = listener
        self._emit = emit
        self._now_ms = now_ms
        self._item_id: str | None = None
        self._utterance = 0
        self._text = ""
        self._language = ""
        self._settled = False
        self._flushes = 0
        """So many are not answered yet."""
        self._overtaken = False
        """The latest answer was to another flush than the newest."""
        self._began_ms = 0
        self._before_crash = ""
        self._ending: _Ending | None = None
        self._overlapping = False
        self._remark_open = False
        self._strays = False
        """There is voice that belongs to no turn: the rest of a word in which the client ended one."""

    @property
    def awaits_final(self) -> bool:
        """A turn is over whose final transcript has not come yet."""
        return self._ending is not None

    @property
    def text(self) -> str:
        """What was understood of the turn in progress."""
        return self._text if self._item_id is not None else ""

    @property
    def language(self) -> str:
        """Code of the language of the turn in progress; empty: the recogniser has not told it."""
        return self._language if self._item_id is not None else ""

    @property
    def item_id(self) -> str | None:
        """The item of the turn in progress."""
        return self._item_id

    @property
    def in_turn(self) -> bool:
        """The user has a turn in progress."""
        return self._item_id is not None

    # --- facts ---

    def ear(self, state: EarState) -> None:
        """The ear's newest state."""
        at_ms = self._now_ms() - state.lag_ms
        for decision in self.turns.ear(at_ms, speaking=state.speaking, silence_ms=state.silence_ms, voice=state.voice):
            self._decide(decision)
        if self._item_id is None and self.turns.phase is Phase.SILENT:
            if self._strays and not state.speaking:
                self._next_utterance()
            self._strays = state.speaking
        deadline_ms = _OVERTAKEN_DEADLINE_MS if self._overtaken else _SETTLE_DEADLINE_MS
        if self._ending is not None and self._now_ms() - self._ending.ended_ms >= deadline_ms:
            self._finish(self._ending.speech_end_ms)

    def reading(self, update: RecognizerUpdate) -> None:
        """The recogniser's newest reading."""
        if update.fault is not None:
            self._emit(Trouble(self._now_ms(), update.fault))
            if self._item_id is not None and not self._text:
                self._emit(TranscriptionFailed(self._now_ms(), self._item_id, update.fault))
        if update.utterance != self._utterance:
            return
        if update.fault is not None and not update.text:
            self._before_crash = self._text
        text, settled = f"{self._before_crash} {update.text}".strip(), self._settles(update)
        self._language = update.language or self._language
        changed = text != self._text
        self._text, self._settled = text, settled
        if self._ending is not None:
            if settled:
                self._finish(self._ending.speech_end_ms)
            return
        if self._item_id is not None and changed:
            self._emit(PartialTranscript(self._now_ms(), self._item_id, text))
        turn_end = update.turn_end if isinstance(update, SemanticUpdate) else None
        decisions = self.turns.transcript(self._now_ms(), text, settled=settled, turn_end=turn_end)
        # An echo or a listener's word is nobody's question; and what is asked is asked before anything is decided.
        asks = not self.turns.echoing and not self.turns.listens_only
        if self._item_id is not None and (changed or settled) and asks:
            self._listener.transcript_changed(text, settled=settled)
        for decision in decisions:
            self._decide(decision)
        over = settled if self._remark_open else bool(text) and not self._strays
        if over and self._item_id is None and self.turns.phase is Phase.SILENT:
            self._next_utterance()

    def _settles(self, update: RecognizerUpdate) -> bool:
        """It answers the newest flush. What answers one that was overtaken does not know what was said since."""
        if not update.settled:
            return False
        self._flushes = 0 if update.fault is not None else max(0, self._flushes - 1)
        self._overtaken = self._flushes > 0
        return not self._overtaken

    def _flush(self) -> None:
        self._settled = False
        self._flushes += 1
        self._recognizer.flush()

    def commit(self) -> None:
        """The client ends the turn."""
        for decision in self.turns.commit(self._now_ms()):
            if isinstance(decision, TurnEnded):
                self._end(decision.speech_end_ms, by_client=True)

    def clear(self) -> None:
        """The client takes back what was said; a turn that has ended stays said."""
        self.turns.clear()
        self._end_overlap()
        if self._ending is None:
            self._drop("false_interruption")

    # --- decisions ---

    def _decide(self, decision: Decision) -> None:
        match decision:
            case SpeechBegan(onset_ms):
                self._speak(onset_ms)
            case Paused(speech_end_ms, opener, known):
                self._flush()
                self._listener.turn_paused(speech_end_ms, opener=opener, known=known)
            case OpenerDue(known):
                self._listener.opener_due(known=known)
            case Resumed():
                self._settled = False
                self._listener.turn_resumed()
            case TurnEnded(speech_end_ms, _):
                self._end(speech_end_ms, by_client=False)
            case TurnDropped(kind, _):
                self._drop(kind)
            case Duck(lower):
                if self._ending is not None:  # said beside a response that the client asked for meanwhile
                    self._finish(self._ending.speech_end_ms)
                if self._remark_open:
                    self._next_utterance()
                if lower:
                    self._overlapping = True
                    self._listener.overlap_began()
            case Restore(kind, text):
                self._remark_open = True
                self._end_overlap()
                self._emit(UserTurnDropped(self._now_ms(), new_id("item"), _kind(kind), text))
                if self._settled:
                    self._next_utterance()
            case Unduck():
                self._end_overlap()
            case SettleNow():
                self._flush()
            case BargeIn(onset_ms):
                self._overlapping = False  # the voice is cut, not brought back
                self._begin(onset_ms)
                self._listener.barged_in()
                if self._text and not self.turns.listens_only:
                    self._listener.transcript_changed(self._text, settled=self._settled)

    def _speak(self, onset_ms: int) -> None:
        self._end_overlap()
        if self._ending is not None and self._ending.by_client:  # what the client ended stays ended
            self._finish(self._ending.speech_end_ms)
        if self._ending is not None:  # the user goes on before anybody answered
            self._ending = None
            self._settled = False
            self.turns.transcript(self._now_ms(), self._text, settled=False)  # it took the turn to be over
            if self._item_id is not None:
                self._emit(SpeechStarted(onset_ms, self._item_id))
            self._listener.turn_resumed()
            return
        if self._remark_open:
            self._next_utterance()
        self._begin(onset_ms)
        self._listener.turn_began()

    def _end_overlap(self) -> None:
        if self._overlapping:
            self._overlapping = False
            self._listener.overlap_ended()

    def _begin(self, onset_ms: int) -> None:
        self._item_id = new_id("item")
        self._remark_open = False
        self._began_ms = onset_ms
        self._emit(SpeechStarted(onset_ms, self._item_id))
        if self._text:
            self._emit(PartialTranscript(self._now_ms(), self._item_id, self._text))

    def _end(self, speech_end_ms: int, *, by_client: bool) -> None:
        if self._item_id is None:
            return
        self._emit(SpeechStopped(self._now_ms(), self._item_id, speech_end_ms))
        if by_client:  # no pause was noticed at which the transcript was settled
            self._flush()
        self._ending = _Ending(speech_end_ms, self._now_ms(), by_client)
        self._listener.turn_ended(speech_end_ms)
        if self._settled:
            self._finish(speech_end_ms)

    def _finish(self, speech_end_ms: int) -> None:
        item_id, text, language = self._item_id, self._text, self._language
        self._ending = None
        if item_id is None or not words_of(text) or self.turns.echoes(text, self._began_ms):
            self._drop("false_interruption")
            return
        self._item_id = None
        self._next_utterance()
        self._listener.turn_final(item_id, text, speech_end_ms, language)

    def _drop(self, kind: str) -> None:
        item_id, text = self._item_id, self._text
        self._item_id = None
        self._ending = None
        self._next_utterance()
        if item_id is not None:
            self._emit(UserTurnDropped(self._now_ms(), item_id, _kind(kind), text))
            self._listener.turn_dropped(item_id)

    def _next_utterance(self) -> None:
        self._recognizer.commit()
        self._utterance += 1
        self._flushes, self._overtaken = 0, False
        self._remark_open = self._strays = False
        self._text = self._before_crash = self._language = ""
        self._settled = False

    @property
    def seconds(self) -> float:
        """How long the turn in progress has lasted."""
        return (self._now_ms() - self._began_ms) / 1000


def _kind(kind: str) -> Literal["backchannel", "false_interruption"]:
    return "backchannel" if kind == "backchannel" else "false_interruption"
