"""Endpointing: how long a pause must be to end a turn.

What is known of its words decides first, then the melody they were said with, then how often the speaker has paused
and gone on. A recogniser with an opinion of its own has heard all that: it overrules both.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kame_core.phrasing import Ending, ending_of, words_of
from kame_core.prosody import Melody


@dataclass(frozen=True, slots=True)
class PauseLimits:
    """Pauses in ms that end a turn."""

    finished_ms: int = 320
    """Its words sound finished."""
    finished_held_ms: int = 700
    """... but its pitch was held, as by somebody who goes on."""
    unknown_fallen_ms: int = 560
    """Its words do not tell, but its pitch has fallen."""
    unknown_ms: int = 880
    """Nothing tells: most pauses within a turn are shorter."""
    unknown_held_ms: int = 1350
    """Its words do not tell, and its pitch was held."""
    open_fallen_ms: int = 1350
    """Its words sound as if more came, but its pitch has fallen."""
    open_ms: int = 1800
    """Its words sound as if more came ("and ...")."""
    wordless_ms: int = 900
    """No word was understood (yet)."""
    hesitant: float = 1.4
    """The pause grows by this with every pause the speaker has made in the turn, ..."""
    most_hesitant: float = 2.0
    """... up to this."""
    surely_ended: float = 0.7
    """Recognisers with an opinion: from this probability on the turn is over as if its words sounded finished."""
    surely_open: float = 0.3
    """... and up to this one it goes on as if they sounded open."""


class Endpointer:
    """Judges pauses; pure.

    Args:
        ending: reads the wording.
    """

    def __init__(self, ending: Callable[[str], Ending] = ending_of, limits: PauseLimits | None = None) -> None:
        self._ending = ending
        self._limits = limits or PauseLimits()

    def ending(self, text: str, turn_end: float | None) -> Ending:
        """How the words end; `turn_end` is the recogniser's own probability that the turn is over."""
        if turn_end is not None and turn_end >= self._limits.surely_ended:
            return Ending.FINISHED
        if turn_end is not None and turn_end <= self._limits.surely_open:
            return Ending.OPEN
        return self._ending(text)

    def pause_ms(self, text: str, *, turn_end: float | None, melody: Melody, resumptions: int) -> int:
        """The pause that ends the turn, given what was understood of it."""
        limits = self._limits
        if not words_of(text):
            return limits.wordless_ms
        sure = turn_end is not None and not limits.surely_open < turn_end < limits.surely_ended
        pause_ms = self._by_words_and_melody(self.ending(text, turn_end), Melody.UNKNOWN if sure else melody)
        patience = min(limits.most_hesitant, limits.hesitant**resumptions)
        return min(limits.open_ms, round(pause_ms * patience))

    def _by_words_and_melody(self, ending: Ending, melody: Melody) -> int:
        limits = self._limits
        match ending, melody:
            case Ending.FINISHED, Melody.HELD:
                return limits.finished_held_ms
            case Ending.FINISHED, _:
                return limits.finished_ms
            case Ending.OPEN, Melody.FALLEN:
                return limits.open_fallen_ms
            case Ending.OPEN, _:
                return limits.open_ms
            case _, Melody.FALLEN:
                return limits.unknown_fallen_ms
            case _, Melody.HELD:
                return limits.unknown_held_ms
        return limits.unknown_ms
