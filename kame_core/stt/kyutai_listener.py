"""Speech-to-text inside a front end: it hears the codes that the front end's own codec has made, once for both.

The front end calls a `SlotListener` on its ticker's thread and sends on what was understood in `SlotOutput.heard`.
Recognisers tell it of pauses and turns from their event loop; it takes notice at its next step.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from kame_core.audio import FRAME_S
from kame_core.errors import SpeechToTextError
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.kyutai_ear import ConversationEar
from kame_core.stt.kyutai_lm import SttBatch
from kame_core.stt.kyutai_words import Detokenizer, WordStream

log = logging.getLogger(__name__)

_WORD_STEPS = 12
"""A last word that is still being written is followed for so long (about 1 s) on silence."""
_WAITING_PER_SLOT = 64
_MOST_FAULTS = 3
"""A conversation in which the model breaks down more often is no longer listened to."""


class SlotListener(Protocol):
    """What a front end with a codec needs of a recogniser. All methods are called on the ticker's thread."""

    codebooks: int
    """The codec has to write so many."""

    def open(self, slot: int) -> None:
        """Begin a conversation in a slot; nothing of an earlier one is left."""

    def close(self, slot: int) -> None:
        """End the conversation in a slot; idempotent."""

    def for_model(self, codes: Tensor) -> Tensor:
        """What the front end's own model is to hear of a frame: silence, where the recogniser hears alone.

        Args:
            codes: as for `hear`, which follows.

        Returns:
            As `codes`, which are not changed.
        """

    def hear(self, codes: Tensor, spare_s: float) -> dict[int, tuple[RecognizerUpdate, ...]]:
        """One frame of all open slots.

        Args:
            codes: int64 [capacity, K, 1], K at least `codebooks`; anything in the rows of closed slots.
            spare_s: what is left of the tick; with it utterances that have ended are read to their end.

        Returns:
            What was understood, for slots where there is something new.
        """

    def reads_late_s(self, spare_s: float) -> float:
        """How much later than at once a reading at a pause comes, where so much of each tick is left after the step of
        `hear`. Known once there were steps, which tell how long one takes.
        """

    def shutdown(self) -> None:
        """Free everything; idempotent."""


class KyutaiListener:
    """`SlotListener` over a batch of Kyutai's model.

    Args:
        batch: used by this listener alone.
        detokenizer: of the model's vocabulary.
        paddings: tokens that stand for no text.
        delay_steps: words are written so many steps of 80 ms after they were said.
        now_s: a monotonic clock.
    """

    def __init__(
        self,
        batch: SttBatch,
        detokenizer: Detokenizer,
        paddings: frozenset[int],
        delay_steps: int,
        now_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.codebooks = batch.codebooks
        self.capacity = batch.capacity
        self._batch = batch
        self._detokenizer = detokenizer
        self._paddings = paddings
        self._delay_steps = delay_steps
        self._now_s = now_s
        self._step_s = 0.0
        self._ears: dict[int, ConversationEar] = {}
        self._faults: dict[int, int] = {}
        self._alone: set[int] = set()
        self._broken = False
        self._told: deque[tuple[int, Callable[[ConversationEar], None]]] = deque(
            maxlen=_WAITING_PER_SLOT * batch.capacity
        )

    # --- for recognisers, on any thread ---

    def tell(self, slot: int, what: Callable[[ConversationEar], None]) -> None:
        """Have something done to a conversation's ear before its next step. Bounded: the oldest gives way."""
        self._told.append((slot, what))

    # --- for the front end, on its thread ---

    def open(self, slot: int) -> None:
        """Begin a conversation in a slot.

        Raises:
            SpeechToTextError: the model has broken down for all.
        """
        self._take_notice()
        if self._broken:
            raise SpeechToTextError("Speech recognition has broken down on this server. It must be started again.")
        self._batch.open(slot)
        self._faults[slot] = 0
        self._ears[slot] = ConversationEar(WordStream(self._detokenizer, self._paddings), self._delay_steps)

    def close(self, slot: int) -> None:
        """End the conversation in a slot; idempotent."""
        self._take_notice()  # what is told later is told to the next conversation
        self._alone.discard(slot)
        if self._ears.pop(slot, None) is not None:
            self._batch.close(slot)

    def for_model(self, codes: Tensor) -> Tensor:
        """What the front end's own model is to hear of a frame; see `SlotListener`."""
        self._take_notice()
        if not self._alone:
            return codes
        told = codes.clone()
        for slot in self._alone:
            told[slot] = self._batch.codes_of_silence[: codes.shape[1]]
        return told

    def hear(self, codes: Tensor, spare_s: float) -> dict[int, tuple[RecognizerUpdate, ...]]:
        """One frame of all open slots; see `SlotListener`. Never raises: the front end can do without."""
        self._take_notice()
        ears = dict(self._ears)
        if not ears or self._broken:
            return {}
        try:
            self._step(codes, spare_s)
        except Exception:
            log.exception("speech-to-text broke down")
            self._broken = True
            for ear in ears.values():
                ear.fail(SpeechToTextError("Speech recognition broke down. What you say is no longer written down."))
        found = {slot: ear.updates() for slot, ear in ears.items()}
        return {slot: updates for slot, updates in found.items() if updates}

    def reads_late_s(self, spare_s: float) -> float:
        """What the steps that cannot be made ahead last in frames; see `SlotListener`."""
        ahead = self._steps_within(spare_s)
        return FRAME_S * max(0, self._delay_steps - ahead)

    def shutdown(self) -> None:
        """Free the batch; idempotent."""
        self._ears.clear()
        self._told.clear()
        self._batch.shutdown()

    def _step(self, codes: Tensor, spare_s: float) -> None:
        begun_s = self._now_s()
        heard = self._batch.step(codes)
        for slot, ear in list(self._ears.items()):
            if slot in heard.faults:
                self._fault(slot, ear)
            else:
                ear.hear(heard.tokens[slot], heard.pauses[slot])
        self._measure(begun_s)
        for ear in self._ears.values():
            if ear.whole:
                ear.settle()
        self._look_ahead(begun_s + spare_s)

    def _fault(self, slot: int, ear: ConversationEar) -> None:
        """The model's numbers are no longer finite in a slot."""
        self._faults[slot] += 1
        log.error("speech-to-text broke down in slot %d", slot)
        if self._faults[slot] >= _MOST_FAULTS:
            del self._ears[slot]
            self._batch.close(slot)
            ear.fail(SpeechToTextError("What you say is no longer understood. Start a new conversation."))
            return
        self._batch.open(slot)
        ear.fail(SpeechToTextError("Part of what you said was not understood. It goes on listening; say it again."))

    def _take_notice(self) -> None:
        while self._told:
            slot, what = self._told.popleft()
            ear = self._ears.get(slot)
            if ear is not None:
                what(ear)
                if ear.alone:
                    self._alone.add(slot)
                else:
                    self._alone.discard(slot)

    def _look_ahead(self, until_s: float) -> None:
        """Read to their end the utterances for which there is time. The others come nearer to it with every frame."""
        steps = self._steps_until(until_s)
        wanted = {
            slot: ear.steps_wanted
            for slot, ear in self._ears.items()
            if ear.steps_wanted is not None and max(1, ear.steps_wanted) <= steps
        }
        if not wanted:
            return
        ahead = {slot: self._ears[slot].ahead() for slot in wanted}
        open_slots = set(wanted)
        most = min(steps, max(wanted.values()) + _WORD_STEPS)
        with self._batch.looking_ahead(sorted(wanted), most) as step:
            for made in range(1, most + 1):
                begun_s = self._now_s()
                written = step()
                self._measure(begun_s)
                for slot in sorted(open_slots):
                    if slot not in written.faults:
                        ahead[slot].hear(written.tokens[slot])
                    if made >= wanted[slot] and (ahead[slot].words.between_words or slot in written.faults):
                        open_slots.discard(slot)
                needed = any(made < wanted[slot] for slot in open_slots)
                if not open_slots or (not needed and self._steps_until(until_s) < 1):
                    break
        for slot, told in ahead.items():
            self._ears[slot].settle(told)

    def _steps_until(self, until_s: float) -> int:
        return self._steps_within(until_s - self._now_s())

    def _steps_within(self, left_s: float) -> int:
        if left_s <= 0:
            return 0
        return int(left_s / self._step_s) if self._step_s > 0 else 1_000

    def _measure(self, begun_s: float) -> None:
        took_s = self._now_s() - begun_s
        self._step_s = took_s if self._step_s == 0 else 0.9 * self._step_s + 0.1 * took_s
