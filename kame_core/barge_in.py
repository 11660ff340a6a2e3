"""Speech over the agent: how much of it takes the turn, where no words tell yet."""

from dataclasses import dataclass

from kame_core.phrasing import is_backchannel
from kame_core.prosody import Prosody


@dataclass(frozen=True, slots=True)
class OverlapLimits:
    """Durations in ms of speech over the agent."""

    words_ms: int = 520
    """Speech that is articulated like words takes the turn after so long, ..."""
    listener_ms: int = 700
    """... after so long where it began with a listener's words ("okay but where ..."), ..."""
    dying_ms: int = 900
    """... after so long while it is dying away, ..."""
    hum_ms: int = 1400
    """... and a hum or a drawn-out vowel after so long."""
    early_within_ms: int = 1000
    """Speech that begins in the first second of an answer is most often the turn going on after all: it takes the turn
    after so little:"""
    early_ms: int = 360
    unanswered_ms: int = 200
    """... and after this where the answer is not heard yet."""
    guarded_ms: int = 1500
    """... while an echo of the agent is possible, and no word tells."""
    articulated_db: float = 5.5
    """Words change the spectrum's shape by so much within 64 ms, on average; hums and long vowels by 1 to 5 dB."""
    dying_away_db: float = 15.0
    """A sound that is so far below its loudest moment may be over."""
    doubt_ms: int = 560
    """The voice is kept low for no longer than this while nothing tells; words may still take the turn then."""


def limit_ms(limits: OverlapLimits, text: str, voice: Prosody, *, onset_ms: int, answer_ms: int | None) -> int:
    """Speech of this length takes the turn by its sound.

    Args:
        text: what was understood of it so far.
        onset_ms: when it began.
        answer_ms: when the agent's answer was first heard; None: not yet.
    """
    hums = voice.articulation_db is not None and voice.articulation_db < limits.articulated_db
    vague_ms = limits.hum_ms if hums else limits.dying_ms if voice.decay_db > limits.dying_away_db else None
    if is_backchannel(text):
        return vague_ms or limits.listener_ms
    if answer_ms is None or onset_ms <= answer_ms:
        return limits.unanswered_ms
    if onset_ms <= answer_ms + limits.early_within_ms:
        return limits.early_ms
    return vague_ms or limits.words_ms
