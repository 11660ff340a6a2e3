"""Is what is heard only the agent's own voice, come back through the user's loudspeaker?

Echo cancellers need some seconds of the far voice before they cancel it, and some rooms have none at all. Two things
tell an echo from a person: its words are the agent's of a moment ago, and it is gone as soon as the agent is lowered.
"""

from collections import deque
from itertools import pairwise

from kame_core.phrasing import length_in_words, says_stop, takes_the_turn, words_of

CONVERGING_VOICE_MS = 3_500
"""So much of the agent's voice is to be heard before an echo canceller is trusted."""
SUSPECT_FOR_MS = 30_000
"""After an echo was noticed, sound alone is not trusted for so long."""
_VANISHED_MS = 260
"""Sound that ends so soon after the voice was lowered may have been the voice."""
_VANISHED_TIMES = 2
_MOST_WORDS = 80
_WORD_LASTS_MS = 400
_SHORTEST_WAY_MS = 80
_LONGEST_WAY_MS = 600
"""So long after a word of the agent's its echo begins: the way to the user and back."""
_PATH_MS = 800
"""A word that began so long before the sound may be in it: its own length, and the way to the user and back."""
_MOST_PAUSE_MS = 1_500
"""A longer gap between two of the agent's words is not counted as voice."""
_LAST_WORDS = 3
_SAME = 0.75
"""An echo's words are the agent's, in order, but for what the recogniser misheard."""


class EchoGuard:
    """Knows what the agent said last. Times are milliseconds of the conversation; pure, no clock."""

    def __init__(self) -> None:
        self._said: deque[tuple[int, str]] = deque(maxlen=_MOST_WORDS)
        self._voice_ms = 0
        self._vanished = 0
        self._suspect_until_ms = 0

    def said(self, now_ms: int, text: str) -> None:
        """Words of the agent begin to sound."""
        for word in words_of(text):
            before_ms = self._said[-1][0] if self._said else now_ms - _WORD_LASTS_MS
            gap_ms = now_ms - before_ms
            self._voice_ms += gap_ms if gap_ms <= _MOST_PAUSE_MS else _WORD_LASTS_MS
            self._said.append((now_ms, word))

    def armed(self, now_ms: int) -> bool:
        """Sound alone is no sign of a person now: words must say so."""
        return 0 < self._voice_ms < CONVERGING_VOICE_MS or now_ms < self._suspect_until_ms

    def possible(self, onset_ms: int) -> bool:
        """The agent was heard when this sound began, and long enough before for the way to the user and back."""
        return any(onset_ms - _LONGEST_WAY_MS <= at_ms <= onset_ms - _SHORTEST_WAY_MS for at_ms, _ in self._said)

    def suspects(self, now_ms: int) -> bool:
        """An echo was noticed a moment ago: the voice need not be lowered for each new one."""
        return now_ms < self._suspect_until_ms

    def echoes(self, text: str, onset_ms: int) -> bool:
        """These words, heard from `onset_ms` on, are the agent's own."""
        said = self._said_since(onset_ms)
        if not said:  # as in most turns; this is asked at every step of the ear
            return False
        words = words_of(text)
        return length_in_words(words) >= 2 and _in_order(words, said) >= _SAME * len(words)

    def own(self, text: str, onset_ms: int) -> str:
        """What of these words, heard from `onset_ms` on, the agent has not said itself meanwhile."""
        said = self._said_since(onset_ms)
        return " ".join(word for word in words_of(text) if word not in said)

    def lets_take(self, now_ms: int, text: str, onset_ms: int) -> bool:
        """These words, heard from `onset_ms` on, take the turn, and they are not the agent's own come back."""
        if not takes_the_turn(text):
            return False
        if self.echoes(text, onset_ms):  # a person who speaks into the echo: his words come last, and are all his
            last = _last(words_of(text))
            own = self.own(" ".join(last), onset_ms)
            return says_stop(own) or (len(words_of(own)) == len(last) and takes_the_turn(own))
        return not self.armed(now_ms) or takes_the_turn(self.own(text, onset_ms))

    def _said_since(self, onset_ms: int) -> list[str]:
        return [word for at_ms, word in self._said if at_ms >= onset_ms - _PATH_MS]

    def noticed(self, now_ms: int) -> None:
        """That was an echo."""
        self._suspect_until_ms = now_ms + SUSPECT_FOR_MS

    def sound_ended(self, now_ms: int, onset_ms: int, lasted_ms: int, text: str) -> None:
        """Speech over the lowered voice has ended without taking the turn."""
        if self.echoes(text, onset_ms):
            self.noticed(now_ms)
        elif words_of(text) or lasted_ms > _VANISHED_MS:
            self._vanished = 0
        else:
            self._vanished += 1
            if self._vanished >= _VANISHED_TIMES:
                self._vanished = 0
                self.noticed(now_ms)


def _last(words: list[str]) -> list[str]:
    """The last three words; of writing without spaces as many letters as make so many."""
    count = next((n for n in range(1, len(words)) if length_in_words(words[-n:]) >= _LAST_WORDS), len(words))
    return words[-count:]


def _in_order(words: list[str], said: list[str]) -> int:
    """How many of `words` are found in `said` in the same order (longest common subsequence)."""
    row = [0] * (len(said) + 1)
    for word in words:
        row = [0, *_next_row(word, said, row)]
    return row[-1]


def _next_row(word: str, said: list[str], above: list[int]) -> list[int]:
    best = 0
    row: list[int] = []
    for (diagonal, up), other in zip(pairwise(above), said, strict=True):
        best = max(best, up, diagonal + 1 if word == other else 0)
        row.append(best)
    return row
