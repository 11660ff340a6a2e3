"""Holding back a front end that takes turns itself: its ears, its voice, and a second try where it stays silent.

Off by default: a speech-to-speech model then hears and speaks as it was trained to. Each part is chosen per
conversation (`ConversationOptions.speech_control`); what a client commands closes the voice's gate in any case.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, silence
from kame_core.errors import InvalidRequestError
from kame_core.frontend.base import Floor, SlotOutput, SpeechOrigin, UserState

MOST_HOLD_MS = 800
_SILENT_MS = 240
"""So long a pause is between utterances, not between words."""
_GUIDANCE_MS = 1500
"""Longest wait for guidance after the user's turn."""
_UNSPOKEN_MS = 1500
"""Guidance that was read to its end so long ago, and nothing is said, was missed."""


@dataclass(frozen=True, slots=True)
class SpeechControl:
    """How the front end is held back.

    Raises:
        InvalidRequestError: the hold is not between 0 and 800 ms.
    """

    input_hold_ms: int = 0
    """The model hears the user so much later than speech-to-text and back end do: guidance comes sooner for it."""
    wait_for_guidance: bool = False
    """After the user's turn nothing is let out before the model has begun to read what the back end writes."""
    repeat_unspoken: bool = False
    """Guidance that was read and not followed by any speech is given once more."""

    def __post_init__(self) -> None:
        if not 0 <= self.input_hold_ms <= MOST_HOLD_MS:
            raise InvalidRequestError(f"The input hold is between 0 and {MOST_HOLD_MS} ms, not {self.input_hold_ms}.")


class InputHold:
    """A delay line: as many samples out as in."""

    def __init__(self) -> None:
        self._held: deque[Samples] = deque()
        self._held_samples = 0

    def push(self, samples: Samples, hold_ms: int) -> Samples:
        """What is to be heard now; silence until the line has filled. A shorter hold drops the oldest.

        Args:
            samples: float32 [n] mono 24 kHz.
            hold_ms: from now on.
        """
        hold_samples = hold_ms * SAMPLE_RATE_HZ // 1000
        if not hold_samples and not self._held_samples:
            return samples
        line = np.concatenate([*self._held, samples])
        out = line[: max(0, line.size - hold_samples)][-samples.size :]
        kept = line[max(0, line.size - hold_samples) :]
        self._held.clear()
        self._held_samples = kept.size
        if kept.size:
            self._held.append(kept)
        return np.concatenate([silence(samples.size - out.size), out])


class OutputGate:
    """Decides frame by frame whether the model's voice is let out. Never closes within an utterance, but on command."""

    def __init__(self) -> None:
        self._commanded = False
        self._candidate_id: str | None = None
        self._silenced_id: str | None = None
        self._waits = False
        self._may_wait = False
        self._turn = 0
        self._closed = False
        self._quiet_since_ms: int | None = None
        self._speak_since_ms: int | None = None

    @property
    def quiet_since_ms(self) -> int | None:
        """When the model fell silent; None: it speaks."""
        return self._quiet_since_ms

    @property
    def closed(self) -> bool:
        """The last frame was not let out."""
        return self._closed

    def close(self) -> None:
        """On a client's command: until the model has been silent for 240 ms, or says words of a newer oracle."""
        self._commanded = True
        self._silenced_id = self._candidate_id

    def lets_out(
        self, now_ms: int, out: SlotOutput, state: UserState, *, control: SpeechControl, more_to_come: bool
    ) -> bool:
        """Whether this frame is heard.

        Args:
            now_ms: time of the conversation.
            out: the frame.
            state: what the slot was told last.
            control: as the conversation is set.
            more_to_come: the back end is at work for this turn, or the model has words to read.
        """
        if out.speaking:
            self._quiet_since_ms = None
        elif self._quiet_since_ms is None:
            self._quiet_since_ms = now_ms
        silent = self._quiet_since_ms is not None and now_ms - self._quiet_since_ms >= _SILENT_MS
        self._candidate_id = out.oracle.candidate_id
        follows = bool(out.text) and out.origin is SpeechOrigin.ORACLE
        says_newer = follows and self._candidate_id != self._silenced_id
        if silent or says_newer:
            self._commanded = False
        self._wait(now_ms, out, state, silent=silent, more_to_come=more_to_come)
        self._closed = self._commanded or (control.wait_for_guidance and self._waits)
        return not self._closed

    def _wait(self, now_ms: int, out: SlotOutput, state: UserState, *, silent: bool, more_to_come: bool) -> None:
        if state.turn != self._turn:
            self._turn = state.turn
            self._may_wait = True
            self._speak_since_ms = None
        answers = state.floor is Floor.SPEAK
        if answers and self._speak_since_ms is None:
            self._speak_since_ms = now_ms
        guided = out.turn == state.turn and out.oracle.read_chars > 0
        late = self._speak_since_ms is not None and now_ms - self._speak_since_ms >= _GUIDANCE_MS
        if guided or state.policy.alone or (answers and (late or not more_to_come)):
            self._may_wait = self._waits = False
        elif self._may_wait and silent:
            self._waits = True


class UnspokenWatch:
    """Notices guidance that was read to its end and followed by no speech."""

    def __init__(self) -> None:
        self._candidate_id: str | None = None
        self._read_ms: int | None = None
        self._settled = False

    def is_due(self, now_ms: int, out: SlotOutput, *, answers: bool) -> bool:
        """Whether the guidance is to be given again; true once for a candidate. To be asked with every frame.

        Args:
            now_ms: time of the conversation.
            out: the frame.
            answers: the turn is the agent's.
        """
        if out.oracle.candidate_id != self._candidate_id:
            if out.oracle.candidate_id is None:
                return False
            self._candidate_id, self._read_ms, self._settled = out.oracle.candidate_id, None, False
        if out.speaking or out.oracle.spoken_chars:  # or it repeats what an older one has had said
            self._settled = True
        if self._settled or not answers or not out.oracle.finished:
            return False
        if self._read_ms is None:
            self._read_ms = now_ms
        self._settled = now_ms - self._read_ms >= _UNSPOKEN_MS
        return self._settled
