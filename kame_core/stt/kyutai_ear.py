"""What Kyutai's model has written of one conversation, as readings of its utterances."""

import math
from collections import deque

from kame_core.errors import SpeechToTextError
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.kyutai_words import WordStream
from kame_core.stt.semantic import SemanticUpdate

_MOST_UNREAD = 8
_BEFORE_COMMIT_STEPS = 3
"""A pause comes before the end of a turn: words that begin later than 240 ms before it belong to the next."""
_BEFORE_ONSET_STEPS = 5
"""Speech is noticed up to 400 ms after its first word began."""
_WORD_STEPS = 12
"""A word that is not whole 1 s after its time is not waited for any longer."""
_OPINION_STEPS = 2
"""The end of a turn must be foreseen for 160 ms: single steps are unsure, most of all in numbers."""
_OPINION_CHANGE = 0.15
"""What is told of it anew in the same pause."""


class ConversationEar:
    """Tokens of one slot in, `RecognizerUpdate`s out. Times are steps of 80 ms since the slot was opened.

    Args:
        words: empty, of the model's vocabulary.
        delay_steps: a word is written so long after it began to sound.
    """

    def __init__(self, words: WordStream, delay_steps: int) -> None:
        self._words = words
        self._delay_steps = delay_steps
        self.alone = False
        """The front end's own model hears silence meanwhile."""
        self._steps = 0
        self._utterance = 0
        self._listening = False
        self._shown = ""
        self._opinions: deque[float] = deque(maxlen=_OPINION_STEPS)
        self._opinion_told: float | None = None
        self._flushes = 0
        self._flushed_step: int | None = None
        self._settled_step = 0
        self._pausing = False
        self._updates: deque[RecognizerUpdate] = deque(maxlen=_MOST_UNREAD)

    # --- what the recogniser says ---

    def hear_alone(self, alone: bool) -> None:
        """Whether the front end's own model hears silence from the next step on."""
        self.alone = alone

    def listen(self) -> None:
        """Speech of an utterance begins; what was understood before is none of it."""
        if not self._listening:
            self._listening = True
            self._words.forget_before(self._steps - _BEFORE_ONSET_STEPS + self._delay_steps)

    def flush(self, utterance: int) -> None:
        """A pause: what was said until now is to be read."""
        if utterance == self._utterance:
            self._flushes += 1
            self._flushed_step = self._steps

    def resume(self) -> None:
        """The pause is over: the utterance goes on."""
        self._pausing = False

    def commit(self, utterance: int) -> None:
        """A new utterance begins; what was said before is none of it."""
        self._utterance = utterance
        self._listening = False
        # What a settled reading held is not read again, even if the client ended the turn in the middle of speech.
        self._words.forget_before(max(self._steps - _BEFORE_COMMIT_STEPS + self._delay_steps, self._settled_step))
        self._shown = ""
        self._updates.clear()
        self._forget_pause()

    # --- what the model says ---

    def hear(self, token: int, pause: float) -> None:
        """What the model wrote in a step, and its probability that the speaker has finished (NaN: no opinion)."""
        self._steps += 1
        self._words.push(self._steps, token)
        self._opinions.append(pause)
        if self._flushed_step is None:
            self._read()

    def fail(self, fault: SpeechToTextError) -> None:
        """The model broke down; what it has heard of this utterance is lost."""
        self._words.forget_before(self._steps + 1)
        self._shown = ""
        settled = self._flushes > 0
        self._forget_pause()
        self._updates.append(RecognizerUpdate(self._utterance, "", settled=settled, fault=fault))

    @property
    def steps_wanted(self) -> int | None:
        """Steps on silence after which all that was said before the flush is written; None: no flush is open."""
        if self._flushed_step is None:
            return None
        return max(0, self._flushed_step + self._delay_steps + 1 - self._steps)

    def ahead(self) -> "Ahead":
        """To be told what the model writes on silence."""
        return Ahead(self._words.fork(), self._steps)

    @property
    def whole(self) -> bool:
        """An open flush can be answered with what was really heard."""
        waited = self._steps - (self._flushed_step or 0) - self._delay_steps
        return self.steps_wanted == 0 and (self._words.between_words or waited > _WORD_STEPS)

    def settle(self, ahead: "Ahead | None" = None) -> None:
        """Answer the open flush, with what the model wrote ahead, or with what was really heard."""
        assert self._flushed_step is not None
        words = self._words if ahead is None else ahead.words
        self._settled_step = self._flushed_step + self._delay_steps + 1
        self._flushed_step = None
        self._pausing = True
        self._shown = words.text(partial_word=True) if self._listening else ""
        for _ in range(self._flushes):
            self._tell_settled()
        self._flushes = 0

    def updates(self) -> tuple[RecognizerUpdate, ...]:
        """Readings since the last call; of more than eight the oldest are dropped."""
        updates = tuple(self._updates)
        self._updates.clear()
        return updates

    def _read(self) -> None:
        """Tell what has changed; after a flush nothing does until the model has caught up with what it wrote ahead."""
        text = self._words.text() if self._listening else ""
        waits = self._steps < self._settled_step or (
            self._steps < self._settled_step + _WORD_STEPS and self._shown.startswith(text)
        )
        if text != self._shown and not waits:
            self._shown = text
            if self._pausing:  # the model has thought better of it
                self._tell_settled()
            else:
                self._updates.append(RecognizerUpdate(self._utterance, text))
        elif self._pausing and self._opinion_changed():
            self._tell_settled()

    def _forget_pause(self) -> None:
        self._flushes = self._settled_step = 0
        self._flushed_step = self._opinion_told = None
        self._pausing = False

    def _tell_settled(self) -> None:
        self._opinion_told = self._opinion
        self._updates.append(SemanticUpdate(self._utterance, self._shown, settled=True, turn_end=self._opinion_told))

    @property
    def _opinion(self) -> float | None:
        """Of an utterance without words the model's opinion means nothing."""
        if not self._shown or not self._opinions or any(map(math.isnan, self._opinions)):
            return None
        return min(self._opinions)

    def _opinion_changed(self) -> bool:
        now, told = self._opinion, self._opinion_told
        return now is not None and (told is None or abs(now - told) >= _OPINION_CHANGE)


class Ahead:
    """What the model writes ahead of a conversation.

    Args:
        words: a fork, told from now on.
        steps: that the conversation has made.
    """

    def __init__(self, words: WordStream, steps: int) -> None:
        self.words = words
        self._steps = steps

    def hear(self, token: int) -> None:
        """What the model wrote in a step on silence."""
        self._steps += 1
        self.words.push(self._steps, token)
