"""The GPU front end: Mimi, language model and Mimi again, one step of 80 ms for all conversations at once."""

import gc
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch

from kame_core.audio import FRAME_S, FRAME_SAMPLES, Samples, level_dbfs, silence
from kame_core.errors import CapacityError, FrontendError
from kame_core.frontend.base import (
    FrontendTraits,
    OracleUpdate,
    SlotInput,
    SlotOptions,
    SlotOutput,
    SpeechOrigin,
    UserState,
)
from kame_core.frontend.moshi.checkpoint import LoadedCheckpoint
from kame_core.frontend.moshi.generation import Guidance, LMBatch
from kame_core.frontend.moshi.memory import is_out_of_memory
from kame_core.frontend.moshi.mimi import MimiBatch
from kame_core.frontend.moshi.sampling import SamplingOptions
from kame_core.frontend.moshi.step_graph import StepRecorder
from kame_core.frontend.moshi.tokenizer import TextStream
from kame_core.frontend.moshi.utterances import UtteranceCursor
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.kyutai_listener import SlotListener

log = logging.getLogger(__name__)

_SPEAKING_DBFS = -45.0
_NO_GUIDANCE = Guidance()
_MOSHI_SAMPLING = SamplingOptions()
_JUDGED_STEPS = 50
"""The last 4 s tell whether the model keeps up."""
_TICK_SHARE_S = 0.8 * FRAME_S
"""A listener may use what is left of this part of a tick to read utterances to their end."""
_WARM_UP_STEPS = 3
_TIMED_STEPS = 25
_TIMED_JOINS = 3
_TIMED_S = 2.0
"""No more steps are timed after that long."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """How long a step of all slots takes when all are in use; a frame lasts 80 ms."""

    p50_ms: float
    p95_ms: float
    joined_ms: float
    """Together with the end of one conversation and the beginning of another before it."""
    reading_ms: float = 0.0
    """What a listener's reading at a pause comes later than at once, for want of time in the tick."""


@dataclass(slots=True)
class _Slot:
    cursor: UtteranceCursor
    text: TextStream
    steps: int = 0
    turn: int = 0
    origin: SpeechOrigin = field(default=SpeechOrigin.OWN)


class MoshiEngine:
    """`SlotEngine` over a checkpoint of the Moshi family. It speaks when it wants to; an oracle tells it what.

    Args:
        checkpoint: used by this engine alone, until `shutdown`.
        capacity: slots; the work of a step is the same however many are open.
        guidance: classifier-free guidance.
        sampling: how every slot chooses its tokens.
        recorder: see `LMBatch`.
        listener: speech-to-text on the codes that are made here anyway; this engine's own from now on.
        now_s: a monotonic clock.

    Raises:
        UnavailableError: the model is of a kind that cannot converse, or there is no memory for so many slots.
    """

    def __init__(
        self,
        checkpoint: LoadedCheckpoint,
        capacity: int,
        *,
        guidance: Guidance = _NO_GUIDANCE,
        sampling: SamplingOptions = _MOSHI_SAMPLING,
        recorder: StepRecorder | None = None,
        listener: SlotListener | None = None,
        now_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.capacity = capacity
        self._now_s = now_s
        self._listener = listener
        self.traits = FrontendTraits(
            name="kame" if checkpoint.trained_for_oracle else "moshi",
            takes_turns=True,
            follows_oracle=checkpoint.lm.has_oracle,
            speaks_on_demand=False,
            hears_text=False,
            oracle_style="utterance",
        )
        self._sampling = sampling
        self._tokenizer = checkpoint.tokenizer
        self._start_id = checkpoint.config.text_card
        self._lm = LMBatch(
            checkpoint.lm, capacity, guidance, trained_for_oracle=checkpoint.trained_for_oracle, recorder=recorder
        )
        try:
            codebooks = max(2, self._lm.user_codebooks, listener.codebooks if listener is not None else 0)
            self._mimi = MimiBatch(checkpoint.mimi, capacity, codebooks)
        except BaseException:
            self._lm.shutdown()
            raise
        self._slots: dict[int, _Slot] = {}
        self._oracle = [self._lm.idle_oracle_id] * capacity
        self._mic = torch.zeros(capacity, 1, FRAME_SAMPLES, pin_memory=checkpoint.lm.device.type == "cuda")
        self._step_s: deque[float] = deque(maxlen=_JUDGED_STEPS)

    def open(self, slot: int, options: SlotOptions) -> None:
        """Begin a conversation in a slot.

        Raises:
            CapacityError: there is no memory for it, or the model does not keep up with those that are open.
        """
        if self._slots and self._too_slow:
            raise CapacityError(
                "The voice model does not keep up with the calls it has; no more are taken. Try again in a while."
            )
        try:
            self._begin(slot, options.seed)
        except BaseException as error:
            self._end(slot)
            if not is_out_of_memory(error):
                raise
            raise CapacityError(
                "There is no memory for one more call at the moment. Try again when another has ended."
            ) from error

    def close(self, slot: int) -> None:
        """End the conversation in a slot; nothing of it is left."""
        self._end(slot)

    def feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        """Oracle updates join the slot's oracle; of the user only the turn's number matters, it has ears of its own."""
        state = self._slots[slot]
        for update in oracle:
            state.cursor.apply(update)
        if user is not None:
            state.turn = user.turn

    def step(self, inputs: Sequence[SlotInput]) -> Sequence[SlotOutput]:
        """One tick: exactly one oracle token and one frame for each open slot."""
        begun_s = self._now_s()
        for given in inputs:
            self._mic[given.slot, 0] = torch.from_numpy(np.asarray(given.mic, np.float32))
            self._oracle[given.slot] = self._slots[given.slot].cursor.next_token()
        codes = self._mimi.encode(self._mic)
        told = codes if self._listener is None else self._listener.for_model(codes)
        result = self._lm.step(told, self._oracle)
        begins = self._lm.delay_steps  # nothing comes out of a slot's first steps
        sounding = [given.slot for given in inputs if self._slots[given.slot].steps >= begins]
        voices = self._mimi.decode(result.codec_input(), sounding).cpu().numpy() if sounding else None
        tokens, faults = result.text_tokens, result.faults
        heard: dict[int, tuple[RecognizerUpdate, ...]] = {}
        if self._listener is not None:
            heard = self._listener.hear(codes, begun_s + _TICK_SHARE_S - self._now_s())
        outputs = []
        for given in inputs:
            slot, state = given.slot, self._slots[given.slot]
            state.steps += 1
            if slot in faults:
                outputs.append(self._broken(slot))
            elif voices is None or slot not in sounding:
                outputs.append(self._output(slot, state, silence(FRAME_SAMPLES), "", heard.get(slot, ())))
            else:
                text = state.text.push(tokens[slot])
                outputs.append(self._output(slot, state, voices[slot, 0].copy(), text, heard.get(slot, ())))
        self._step_s.append(self._now_s() - begun_s)
        return outputs

    def warm_up(self) -> StepTimes:
        """Run some steps of all slots, so that nothing is built or allocated in the first call; call it before any is
        open.
        """
        given = [SlotInput(slot, silence(FRAME_SAMPLES)) for slot in range(self.capacity)]
        try:
            for slot in range(self.capacity):
                self._begin(slot, slot)
            for _ in range(self._lm.delay_steps + _WARM_UP_STEPS):
                self.step(given)
            self._step_s.clear()
            until_s = self._now_s() + _TIMED_S
            while len(self._step_s) < _TIMED_STEPS and self._now_s() < until_s:
                self.step(given)
            p50_ms, p95_ms = np.percentile(self._step_s, (50, 95)) * 1000
            joined_ms = 1000 * median(self._joined_s(given) for _ in range(_TIMED_JOINS))
        finally:
            for slot in range(self.capacity):
                self._end(slot)
            self._step_s.clear()
        reading_s = 0.0
        if self._listener is not None:
            reading_s = self._listener.reads_late_s(_TICK_SHARE_S - float(p50_ms) / 1000)
        return StepTimes(float(p50_ms), float(p95_ms), joined_ms, 1000 * reading_s)

    def shutdown(self) -> None:
        """Free everything but the checkpoint, which may be used by another engine; idempotent."""
        self._slots.clear()
        self._lm.shutdown()
        self._mimi.close_all()
        if self._listener is not None:
            self._listener.shutdown()
        if self._mic.is_pinned():  # it is for a GPU
            gc.collect()  # streaming states refer to each other
            torch.cuda.empty_cache()

    @property
    def _too_slow(self) -> bool:
        return len(self._step_s) >= _JUDGED_STEPS // 2 and median(self._step_s) > FRAME_S

    def _output(
        self, slot: int, state: _Slot, voice: Samples, text: str, heard: tuple[RecognizerUpdate, ...]
    ) -> SlotOutput:
        if text:
            state.origin = SpeechOrigin.ORACLE if state.cursor.said(text) else SpeechOrigin.OWN
        speaking = bool(text.strip()) or level_dbfs(voice) > _SPEAKING_DBFS
        return SlotOutput(
            slot,
            voice,
            text=text,
            origin=state.origin if speaking else SpeechOrigin.NONE,
            oracle=state.cursor.progress,
            speaking=speaking,
            pending=state.cursor.pending,
            turn=state.turn,
            heard=heard,
        )

    def _broken(self, slot: int) -> SlotOutput:
        log.error("the model's numbers are no longer finite in slot %d", slot)
        fault = FrontendError(
            "The voice model failed in this conversation. Start a new one.", code="model_failed", retryable=True
        )
        return SlotOutput(slot, silence(FRAME_SAMPLES), fault=fault)

    def _joined_s(self, given: Sequence[SlotInput]) -> float:
        """Duration of a step before which one conversation ends and another begins."""
        begun_s = self._now_s()
        self._end(0)
        self._begin(0, 0)
        self.step(given)
        return self._now_s() - begun_s

    def _begin(self, slot: int, seed: int | None) -> None:
        self._lm.open(slot, seed=seed, sampling=self._sampling)
        self._mimi.open(slot)
        if self._listener is not None:
            self._listener.open(slot)
        cursor = UtteranceCursor(self._tokenizer, self._start_id, self._lm.idle_oracle_id)
        self._slots[slot] = _Slot(cursor, TextStream(self._tokenizer))

    def _end(self, slot: int) -> None:
        self._slots.pop(slot, None)
        self._lm.close(slot)
        self._mimi.close(slot)
        if self._listener is not None:
            self._listener.close(slot)
        self._mic[slot] = 0.0
        self._oracle[slot] = self._lm.idle_oracle_id
