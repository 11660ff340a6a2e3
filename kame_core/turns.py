"""Turns: endpointing, barge-in, backchannel and false interruption. The one owner of who has the floor.

Pure and synchronous: facts with times go in, decisions come out; no clock, no I/O. Times are milliseconds of the
conversation. What a decision means for a front end that takes turns itself is the conversation's business.
"""

from dataclasses import dataclass
from enum import StrEnum

from kame_core.options import TurnDetection
from kame_core.phrasing import Ending, ending_of, is_backchannel, takes_the_turn, words_of


@dataclass(frozen=True, slots=True)
class Endpointing:
    """Pauses and durations in ms; see DESIGN of the latency budget in docs/architecture.md."""

    pause_ms: int = 160
    """A pause this long may be the end: the transcript is settled, an opener may come."""
    finished_ms: int = 320
    """Ends a turn whose words sound finished."""
    unknown_ms: int = 640
    open_ms: int = 1400
    """Ends a turn whose words sound as if more came ("and ...")."""
    wordless_ms: int = 900
    """Ends a turn of which no word was understood (yet)."""
    opener_voiced_ms: int = 350
    """Speech shorter than this, with no word understood, gets no opener: it may be a cough."""
    wordless_voiced_ms: int = 250
    """Speech shorter than this, with no word understood, is no turn."""
    barge_in_voiced_ms: int = 520
    """Speech over the agent this long takes the turn."""
    backchannel_voiced_ms: int = 900
    """... unless it is only a backchannel, which may last this long."""
    overlap_pause_ms: int = 190
    """A pause this long ends a short remark over the agent."""
    commit_tail_ms: int = 300
    """Voice that goes on after the client ended the turn belongs to that turn for so long: the last window's echo."""


# --- decisions ---


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """The user begins a turn (again: after `Paused`, see `Resumed`); beside the agent where that is not interrupted."""

    onset_ms: int


@dataclass(frozen=True, slots=True)
class Paused:
    """The user paused, perhaps at the end of the turn."""

    speech_end_ms: int
    opener: bool
    """There was enough speech to answer with an opener."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The user goes on with the same turn: an opener given meanwhile was a backchannel."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The user's turn is over."""

    speech_end_ms: int
    text: str
    """As understood so far; a better reading may still come."""


@dataclass(frozen=True, slots=True)
class TurnDropped:
    """What had begun was no turn."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Duck:
    """The user speaks over the agent: lower the voice while it is unclear why."""


@dataclass(frozen=True, slots=True)
class Restore:
    """It was a backchannel or a noise: the agent goes on."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class BargeIn:
    """The user takes the turn: cut the agent."""

    onset_ms: int


@dataclass(frozen=True, slots=True)
class SettleNow:
    """Ask speech-to-text for its best reading of the remark over the agent."""


Decision = SpeechBegan | Paused | Resumed | TurnEnded | TurnDropped | Duck | Restore | BargeIn | SettleNow


class Phase(StrEnum):
    """Where the user's side of the dialogue is."""

    SILENT = "silent"
    SPEECH = "speech"
    PAUSE = "pause"
    OVERLAP = "overlap"
    REMARK = "remark"
    """A remark over the agent has ended and was judged by its sound; its words may still overrule that."""


class Turns:
    """The user's turns in one conversation.

    Args:
        detection: None means that only `commit` ends turns and nothing interrupts.
        observes: the front end takes turns itself; its voice never puts the user's speech in doubt.
    """

    def __init__(
        self, detection: TurnDetection | None, *, observes: bool = False, endpointing: Endpointing | None = None
    ) -> None:
        self.detection = detection
        self.observes = observes
        self._endpointing = endpointing or Endpointing()
        self._phase = Phase.SILENT
        self._onset_ms = 0
        self._voiced_end_ms = 0
        self._voiced_ms = 0
        self._text = ""
        self._settled = False
        self._agent_open = False
        self._beside_agent = False
        self._remark_at_ms = 0
        self._tail_until_ms = 0

    @property
    def phase(self) -> Phase:
        """The phase now."""
        return self._phase

    @property
    def text(self) -> str:
        """What was understood of the speech in progress."""
        return self._text

    # --- facts ---

    def agent(self, responding: bool) -> None:
        """A response of the agent is open (spoken, or about to be) for a turn that has ended."""
        self._agent_open = responding

    def ear(self, now_ms: int, *, speaking: bool, silence_ms: int) -> list[Decision]:
        """The voice detector's state, told every 20–40 ms.

        Args:
            now_ms: time of the newest sound.
            speaking: voice by the detector's hysteresis.
            silence_ms: since the last voiced window; 0 while voiced.
        """
        voiced_end_ms = max(now_ms - silence_ms, 0)
        if speaking and silence_ms == 0:
            if self._in_speech:  # a step is never longer than a window or two: pauses do not count
                self._voiced_ms += min(64, max(0, voiced_end_ms - max(self._voiced_end_ms, self._onset_ms)))
            self._voiced_end_ms = voiced_end_ms
        match self._phase:
            case Phase.SILENT | Phase.REMARK:
                return self._idle(now_ms, speaking=speaking, voiced=speaking and silence_ms == 0)
            case Phase.SPEECH | Phase.PAUSE:
                return self._in_turn(now_ms, silence_ms)
            case Phase.OVERLAP:
                return self._over_agent(now_ms, silence_ms)
        raise AssertionError(self._phase)

    def transcript(self, now_ms: int, text: str, *, settled: bool) -> list[Decision]:
        """A new reading of the speech in progress, or of the remark just made."""
        self._text = text
        self._settled = settled
        if self._phase is Phase.OVERLAP:
            return self._over_agent(now_ms, max(0, now_ms - self._voiced_end_ms))
        if self._phase is Phase.REMARK and settled:
            self._phase = Phase.SILENT
            if self._agent_open and self._may_interrupt and takes_the_turn(text):
                return self._barge_in()
        return []

    def commit(self, now_ms: int) -> list[Decision]:
        """The client says that the turn is over (push to talk)."""
        if not self._in_speech and not self._text:
            return []
        self._tail_until_ms = now_ms + self._endpointing.commit_tail_ms
        return self._end_turn(max(self._voiced_end_ms, self._onset_ms) or now_ms)

    def clear(self) -> None:
        """Forget the speech in progress."""
        self._reset()

    # --- rules ---

    @property
    def _in_speech(self) -> bool:
        return self._phase in (Phase.SPEECH, Phase.PAUSE, Phase.OVERLAP)

    @property
    def _may_interrupt(self) -> bool:
        return self.detection is not None and self.detection.interrupt_response

    def _idle(self, now_ms: int, *, speaking: bool, voiced: bool) -> list[Decision]:
        if self._phase is Phase.REMARK and now_ms - self._remark_at_ms > 1500:
            self._phase = Phase.SILENT  # its words never came
        if not speaking:
            self._tail_until_ms = 0
        if not voiced or now_ms < self._tail_until_ms:
            return []
        self._reset()
        self._onset_ms = self._voiced_end_ms = now_ms
        over_agent = self._agent_open and not self.observes
        if over_agent and self._may_interrupt:
            self._phase = Phase.OVERLAP
            return [Duck()]
        self._beside_agent = over_agent
        self._phase = Phase.SPEECH
        return [SpeechBegan(now_ms)]

    def _in_turn(self, now_ms: int, silence_ms: int) -> list[Decision]:
        decisions: list[Decision] = []
        times = self._endpointing
        if self.detection is None:
            return decisions
        if self._phase is Phase.PAUSE and silence_ms == 0:
            self._phase = Phase.SPEECH
            self._settled = False
            return [Resumed()]
        if self._phase is Phase.SPEECH and silence_ms >= times.pause_ms:
            self._phase = Phase.PAUSE
            self._settled = False
            enough = bool(words_of(self._text)) or self._voiced_ms >= times.opener_voiced_ms
            decisions.append(Paused(now_ms - silence_ms, enough and not is_backchannel(self._text)))
        if self._phase is Phase.PAUSE and silence_ms >= self._endpoint_ms():
            text = self._text
            if self._beside_agent and is_backchannel(text):
                self._reset()
                decisions.append(TurnDropped("backchannel", text))
            elif self._is_turn():
                decisions += self._end_turn(now_ms - silence_ms)
            else:
                self._reset()
                decisions.append(TurnDropped("false_interruption", text))
        return decisions

    def _endpoint_ms(self) -> int:
        """The pause that ends this turn, given what was understood of it."""
        times = self._endpointing
        if self.detection is not None and self.detection.silence_ms is not None:
            return self.detection.silence_ms
        if not words_of(self._text):
            return times.wordless_ms
        ending = ending_of(self._text)
        if ending is Ending.FINISHED:
            return times.finished_ms
        return times.open_ms if ending is Ending.OPEN else times.unknown_ms

    def _is_turn(self) -> bool:
        return bool(words_of(self._text)) or (
            not self._settled and self._voiced_ms >= self._endpointing.wordless_voiced_ms
        )

    def _over_agent(self, now_ms: int, silence_ms: int) -> list[Decision]:
        times = self._endpointing
        if not self._agent_open or not self._may_interrupt:  # the agent ended meanwhile: an ordinary turn
            self._beside_agent = self._agent_open
            self._phase = Phase.SPEECH
            return [SpeechBegan(self._onset_ms)]
        if takes_the_turn(self._text):
            return self._barge_in()
        limit_ms = times.backchannel_voiced_ms if is_backchannel(self._text) else times.barge_in_voiced_ms
        if self._voiced_end_ms - self._onset_ms >= limit_ms:
            return self._barge_in()
        if silence_ms >= times.overlap_pause_ms:
            kind = "backchannel" if self._text or self._voiced_ms >= 150 else "false_interruption"
            text = self._text
            settled = self._settled
            self._phase = Phase.SILENT if settled else Phase.REMARK
            self._remark_at_ms = now_ms
            return [Restore(kind, text)] if settled else [Restore(kind, text), SettleNow()]
        return []

    def _barge_in(self) -> list[Decision]:
        self._phase = Phase.SPEECH
        self._agent_open = False
        return [BargeIn(self._onset_ms)]

    def _end_turn(self, speech_end_ms: int) -> list[Decision]:
        text = self._text
        self._reset()
        return [TurnEnded(speech_end_ms, text)]

    def _reset(self) -> None:
        self._phase = Phase.SILENT
        self._beside_agent = False
        self._text = ""
        self._settled = False
        self._voiced_ms = 0
        self._onset_ms = 0
