"""Openers: when one may come into a pause that is perhaps the end of the user's turn.

As the pause begins; or later, where the speaker hesitates, where the words sound open, and where an answer is known,
which an opener would only delay.
"""

from dataclasses import dataclass

from kame_core.phrasing import Ending, is_backchannel, words_of
from kame_core.turn_decisions import Decision, OpenerDue


@dataclass(frozen=True, slots=True)
class OpenerLimits:
    """Pauses and durations in ms."""

    late_ms: int = 360
    """The opener comes so late where the speaker went on over one in this turn: he hesitates; and where an answer is
    known, which finished words would have brought by now."""
    unsettled_ms: int = 380
    """... and so late where words that sound open are not settled by then: the last ones may just not be read yet."""
    open_ms: int = 900
    """... and so late into words that sound as if more came."""
    voiced_ms: int = 350
    """Speech shorter than this, with no word understood, gets no opener: it may be a cough."""


class OpenerTiming:
    """The opener of one pause after another; pure."""

    def __init__(self, limits: OpenerLimits | None = None) -> None:
        self._limits = limits or OpenerLimits()
        self._pending = False
        self._given = False

    def reset(self) -> None:
        """The turn is over."""
        self._pending = self._given = False

    def pause_begins(self, text: str, *, voiced_ms: int, hesitates: bool, doubtful: bool) -> bool:
        """Whether one may come at once. Words that sound open do not forbid it: the last one is often not read yet.

        Args:
            text: what was understood of the turn so far.
            voiced_ms: how much of it was voice.
            hesitates: the speaker has gone on after a long pause in this turn.
            doubtful: this may be nothing that the user says to the agent.
        """
        enough = bool(words_of(text)) or voiced_ms >= self._limits.voiced_ms
        self._pending = True
        self._given = enough and not (is_backchannel(text) or hesitates or doubtful)
        return self._given

    def pause_goes_on(
        self, text: str, silence_ms: int, *, ending: Ending | None, hesitates: bool, doubtful: bool
    ) -> list[Decision]:
        """The pause has grown, or its words are clear now: is it time for the opener after all?

        Args:
            text: what was understood of the turn so far.
            silence_ms: how long the pause is.
            ending: how the words sound; None: they are not settled yet.
            hesitates: the speaker has gone on after a long pause in this turn.
            doubtful: this may be nothing that the user says to the agent.
        """
        if not self._pending or not words_of(text) or is_backchannel(text) or doubtful:
            return []
        due_ms = self._limits.late_ms
        if ending is None:
            due_ms = self._limits.unsettled_ms
        elif ending is Ending.OPEN:
            due_ms = self._limits.open_ms
        elif ending is Ending.UNKNOWN and not hesitates:
            due_ms = 0  # the pause that ends such a turn is long: what is known would wait for it
        if silence_ms >= due_ms:
            self._pending = False
            return [OpenerDue()]
        if ending is not None and not (self._given or hesitates or ending is Ending.OPEN):
            self._given = True
            return [OpenerDue(known=False)]
        return []
