"""Turns: endpointing, barge-in, backchannel and false interruption. The one owner of who has the floor.

Pure and synchronous: facts with times go in, decisions come out; no clock, no I/O. Times are milliseconds of the
conversation. What a decision means for a front end that takes turns itself is the conversation's business.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from kame_core.barge_in import OverlapLimits, limit_ms
from kame_core.echo_guard import EchoGuard
from kame_core.endpointing import Endpointer
from kame_core.opener_timing import OpenerTiming
from kame_core.options import TurnDetection
from kame_core.phrasing import Ending, ending_of, is_backchannel, words_of
from kame_core.prosody import NOTHING_KNOWN, Prosody
from kame_core.turn_decisions import (
    BargeIn,
    Decision,
    Duck,
    Paused,
    Restore,
    Resumed,
    SettleNow,
    SpeechBegan,
    TurnDropped,
    TurnEnded,
    Unduck,
)


@dataclass(frozen=True, slots=True)
class Endpointing:
    """Pauses and durations in ms. Others have their own: when a pause ends the turn `PauseLimits`, when an opener comes
    into it `OpenerLimits`, speech over the agent `OverlapLimits`.
    """

    pause_ms: int = 160
    """A pause this long may be the end: the transcript is settled, an opener may come."""
    hesitation_ms: int = 320
    """Who goes on after so long a pause hesitates; shorter ones lie within words, before plosives ("what time")."""
    wordless_voiced_ms: int = 250
    """Speech shorter than this, with no word understood, is no turn."""
    overlap_pause_ms: int = 190
    """A pause this long ends a short remark over the agent."""
    commit_tail_ms: int = 300
    """Voice that goes on after the client ended the turn belongs to that turn for so long: the last window's echo."""


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
        ending: reads the wording of a partial transcript.
    """

    def __init__(
        self,
        detection: TurnDetection | None,
        *,
        observes: bool = False,
        endpointing: Endpointing | None = None,
        ending: Callable[[str], Ending] = ending_of,
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
        self._by_sound = False
        """The turn was taken from the agent before a word was understood."""
        self._cut_short = False
        self._answer_ms: int | None = None
        self._remark_at_ms = 0
        self._remark_voiced_ms = 0
        self._tail_until_ms = 0
        self._turn_end: float | None = None
        self._resumptions = 0
        self._paused_ms = 0
        self._opener = OpenerTiming()
        self._echo = EchoGuard()
        self._endpointer = Endpointer(ending)
        self._overlap = OverlapLimits()
        self._voice = NOTHING_KNOWN
        self._lowered_ms: int | None = None

    @property
    def phase(self) -> Phase:
        """The phase now."""
        return self._phase

    @property
    def text(self) -> str:
        """What was understood of the speech in progress."""
        return self._text

    # --- facts ---

    @property
    def echoing(self) -> bool:
        """What was understood of the speech in progress are the agent's own words."""
        return self._in_speech and self.echoes(self._text, self._onset_ms)

    @property
    def listens_only(self) -> bool:
        """An answer was cut by a sound of which only a listener's words were understood so far."""
        return self._cut_short and self._by_sound and is_backchannel(self._text)

    def echoes(self, text: str, onset_ms: int) -> bool:
        """Words heard from `onset_ms` on are the agent's own, come back."""
        return self._echo.echoes(text, onset_ms)

    def agent(self, responding: bool) -> None:
        """A response of the agent is open (spoken, or about to be) for a turn that has ended."""
        if responding != self._agent_open:
            self._answer_ms = None
        self._agent_open = responding

    def cut_short(self) -> None:
        """The answer that the user just cut could go on."""
        self._cut_short = True

    def agent_says(self, now_ms: int, text: str, *, opener: bool = False) -> None:
        """Words of the agent begin to sound."""
        self._echo.said(now_ms, text)
        if self._agent_open and not opener and self._answer_ms is None:
            self._answer_ms = now_ms

    def ear(self, now_ms: int, *, speaking: bool, silence_ms: int, voice: Prosody = NOTHING_KNOWN) -> list[Decision]:
        """The voice detector's state, told every 20–40 ms.

        Args:
            now_ms: time of the newest sound.
            speaking: voice by the detector's hysteresis.
            silence_ms: since the last voiced window; 0 while voiced.
            voice: how it sounds.
        """
        self._voice = voice
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

    def transcript(self, now_ms: int, text: str, *, settled: bool, turn_end: float | None = None) -> list[Decision]:
        """A new reading of the speech in progress, or of the remark just made.

        Args:
            turn_end: the recogniser's own probability that the speaker has finished, where it has an opinion.
        """
        self._text = text
        self._settled = settled
        self._turn_end = turn_end
        silence_ms = max(0, now_ms - self._voiced_end_ms)
        if self._phase is Phase.OVERLAP:
            return self._over_agent(now_ms, silence_ms)
        if self._phase is Phase.PAUSE and settled:
            return self._opener_due(silence_ms)
        if self._phase is Phase.REMARK and settled:
            self._phase = Phase.SILENT
            self._judge_remark(now_ms, text)
            if self._may_interrupt and self._echo.lets_take(now_ms, text, self._onset_ms):
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
            self._judge_remark(now_ms, self._text)
        if not speaking:
            self._tail_until_ms = 0
        if not voiced or now_ms < self._tail_until_ms:
            return []
        if self._phase is Phase.REMARK:  # its words did not come in time
            self._judge_remark(now_ms, self._text)
        self._reset()
        self._onset_ms = self._voiced_end_ms = now_ms
        over_agent = self._agent_open and not self.observes
        if over_agent and self._may_interrupt:
            self._phase = Phase.OVERLAP
            lower = not self._echo.suspects(now_ms)
            self._lowered_ms = now_ms if lower else None
            return [Duck(lower)]
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
            self._turn_end = None
            self._resumptions += self._paused_ms >= times.hesitation_ms
            return [Resumed()]
        if self._phase is Phase.SPEECH and silence_ms >= times.pause_ms:
            self._phase = Phase.PAUSE
            self._settled = False
            wordless = self._by_sound and not words_of(self._text)
            opener = self._opener.pause_begins(
                self._text,
                voiced_ms=self._voiced_ms,
                hesitates=self._resumptions > 0,
                doubtful=wordless or self.echoing,
            )
            decisions.append(Paused(now_ms - silence_ms, opener, known=self._ending is not Ending.FINISHED))
        if self._phase is Phase.PAUSE:
            self._paused_ms = silence_ms
            decisions += self._opener_due(silence_ms)
        if self._phase is Phase.PAUSE and silence_ms >= self._endpoint_ms():
            decisions += self._end_pause(now_ms, silence_ms)
        return decisions

    def _opener_due(self, silence_ms: int) -> list[Decision]:
        return self._opener.pause_goes_on(
            self._text,
            silence_ms,
            ending=self._ending if self._settled else None,
            hesitates=self._resumptions > 0,
            doubtful=self.echoing,
        )

    def _end_pause(self, now_ms: int, silence_ms: int) -> list[Decision]:
        text = self._text
        if self.echoing:
            self._echo.noticed(now_ms)
            self._reset()
            return [TurnDropped("false_interruption", text)]
        if (self._beside_agent and is_backchannel(text)) or self._was_none:
            self._reset()
            return [TurnDropped("backchannel" if words_of(text) else "false_interruption", text)]
        if self._is_turn():
            return self._end_turn(now_ms - silence_ms)
        self._reset()
        return [TurnDropped("false_interruption", text)]

    @property
    def _was_none(self) -> bool:
        """What cut an answer short by its sound was no interruption: only a listener's words, or none."""
        nothing = self._settled and not words_of(self._text)
        return self.listens_only or (nothing and self._cut_short and self._by_sound)

    @property
    def _ending(self) -> Ending:
        return self._endpointer.ending(self._text, self._turn_end)

    def _endpoint_ms(self) -> int:
        """The pause that ends this turn, given what was understood of it."""
        if self.detection is not None and self.detection.silence_ms is not None:
            return self.detection.silence_ms
        if self._settled and self._was_none:
            return self._endpointing.overlap_pause_ms
        return self._endpointer.pause_ms(
            self._text, turn_end=self._turn_end, melody=self._voice.melody, resumptions=self._resumptions
        )

    def _is_turn(self) -> bool:
        return bool(words_of(self._text)) or (
            not self._settled and self._voiced_ms >= self._endpointing.wordless_voiced_ms
        )

    def _over_agent(self, now_ms: int, silence_ms: int) -> list[Decision]:
        times = self._endpointing
        alone = not self._agent_open or not self._may_interrupt
        if alone and not self.echoing:  # the agent ended meanwhile: an ordinary turn
            self._beside_agent = self._agent_open
            self._phase = Phase.SPEECH
            return [SpeechBegan(self._onset_ms)]
        by_words = self._echo.lets_take(now_ms, self._text, self._onset_ms)
        if by_words or self._takes_by_sound(now_ms):
            self._by_sound = not by_words
            return self._barge_in()
        if self.echoing and silence_ms < times.overlap_pause_ms:
            lowered = not self._echo.suspects(now_ms)
            self._echo.noticed(now_ms)
            return [Unduck()] if lowered else []
        if silence_ms >= times.overlap_pause_ms:
            heard = self._text or self._voiced_ms >= 150
            kind = "backchannel" if heard and not self.echoing else "false_interruption"
            text = self._text
            settled = self._settled
            self._remark_at_ms = now_ms
            self._remark_voiced_ms = self._voiced_end_ms - self._onset_ms
            self._phase = Phase.SILENT if settled else Phase.REMARK
            if settled:
                self._judge_remark(now_ms, text)
            return [Restore(kind, text)] if settled else [Restore(kind, text), SettleNow()]
        if self._lowered_ms is not None and now_ms - self._lowered_ms >= self._overlap.doubt_ms:
            self._lowered_ms = None
            return [Unduck()]
        return []

    def _judge_remark(self, now_ms: int, text: str) -> None:
        self._echo.sound_ended(now_ms, self._onset_ms, self._remark_voiced_ms, text)

    def _takes_by_sound(self, now_ms: int) -> bool:
        """By going on for longer than a listener's noise does."""
        sound_ms = limit_ms(self._overlap, self._text, self._voice, onset_ms=self._onset_ms, answer_ms=self._answer_ms)
        if self._echo.armed(now_ms) and self._echo.possible(self._onset_ms):
            if self._echo.suspects(now_ms) or self.echoing:
                return False
            sound_ms = self._overlap.guarded_ms
        return self._voiced_end_ms - self._onset_ms >= sound_ms and not self.echoing

    def _barge_in(self) -> list[Decision]:
        self._phase = Phase.SPEECH
        self._agent_open = False
        self._resumptions = 0
        return [BargeIn(self._onset_ms)]

    def _end_turn(self, speech_end_ms: int) -> list[Decision]:
        text = self._text
        self._reset()
        return [TurnEnded(speech_end_ms, text)]

    def _reset(self) -> None:
        self._phase = Phase.SILENT
        self._beside_agent = False
        self._by_sound = self._cut_short = False
        self._text = ""
        self._settled = False
        self._turn_end = None
        self._resumptions = 0
        self._opener.reset()
        self._voiced_ms = 0
        self._onset_ms = 0
