"""The language model talking in many conversations at once: one step of 80 ms for all slots of a batch.

**Alignment.** `LMBatch.step` takes the user's codes and the oracle token of a step and gives back the text token and
the voice codes of one and the same 80 ms: that of the step `delay_steps` ago (1 for published weights), because the
acoustic codebooks lag behind the semantic one. The text is thus aligned with the sound as it is heard, not with the
step in which it was sampled. For its first `delay_steps` steps a slot gives nothing. As in the reference, the user
codes of a slot's very first step are never seen by the model.

**Oracle.** One token per slot and step. What the reference feeds where it has nothing to say is pad; a model whose
oracle embedding was not trained is fed `NO_ORACLE_ID` instead and is then plain Moshi (`LMBatch.idle_oracle_id`).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import torch
from torch import Tensor

from kame_core.errors import InvalidRequestError, UnavailableError
from kame_core.frontend.moshi.memory import is_out_of_memory
from kame_core.frontend.moshi.oracle_lm import NO_ORACLE_ID, OracleLM
from kame_core.frontend.moshi.row_states import RowStates
from kame_core.frontend.moshi.sampling import BatchSampler, Head, SamplingOptions
from kame_core.frontend.moshi.slots import NOT_YET, SlotStreams
from kame_core.frontend.moshi.step_graph import StepRecorder, default_recorder


class GuidanceMode(StrEnum):
    """Classifier-free guidance: what the second, less informed half of the batch is fed. It doubles the work."""

    OFF = "off"
    SAME = "same"
    """As in the reference: the same oracle but no text; the voice is guided, the text is not."""
    PAD_NULL = "pad-null"
    """The same but for the oracle, of which it hears nothing: text and voice follow the oracle harder."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """How the model is guided, chosen when it is loaded.

    Raises:
        InvalidRequestError: the weight is not between 0 and 10.
    """

    mode: GuidanceMode = GuidanceMode.OFF
    weight: float = 1.5
    """Logits are those of the uninformed half plus `weight` times the difference; 1 changes nothing."""

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 10:
            raise InvalidRequestError(f"The weight of guidance is above 0 and at most 10, not {self.weight}.")

    @property
    def on(self) -> bool:
        """Whether a second half is computed."""
        return self.mode is not GuidanceMode.OFF and self.weight != 1.0


class StepResult:
    """What all slots said in a step.

    `audio_codes` stays on the model's device, for the codec. Everything else is fetched in one go when first asked
    for, and that waits for the device: ask after the codec's work was launched.

    Args:
        packed: int64 [capacity, 1 + voice_codebooks + 1]: text token, voice codes, 1 where all logits were finite.
    """

    def __init__(self, packed: Tensor) -> None:
        self._packed = packed

    @property
    def audio_codes(self) -> Tensor:
        """int64 [capacity, voice_codebooks]; rows of `NOT_YET` where nothing came out."""
        return self._packed[:, 1:-1]

    def codec_input(self) -> Tensor:
        """`audio_codes` as a codec takes them, int64 [capacity, voice_codebooks, 1]: code 0 where nothing came out."""
        return self.audio_codes.clamp(min=0)[:, :, None]

    @property
    def text_tokens(self) -> list[int]:
        """One per slot; `NOT_YET` where nothing came out."""
        return self._fetched[0]

    @property
    def ready(self) -> list[bool]:
        """Per slot whether something came out, text and voice together."""
        return [token != NOT_YET for token in self.text_tokens]

    @property
    def faults(self) -> frozenset[int]:
        """Slots whose logits were not finite; nothing came out of them. They cannot go on and must be closed."""
        return self._fetched[1]

    @cached_property
    def _fetched(self) -> tuple[list[int], frozenset[int]]:
        rows = self._packed.tolist()
        return [row[0] for row in rows], frozenset(slot for slot, row in enumerate(rows) if not row[-1])


class LMBatch:
    """A language model and the slots it talks in. Everything happens on the caller's thread.

    Args:
        lm: used by this batch alone from now on, until `shutdown`.
        capacity: slots.
        guidance: classifier-free guidance.
        trained_for_oracle: False for an oracle embedding cloned from the text embedding: such a model is fed
            `NO_ORACLE_ID` where there is no oracle, and is then exactly plain Moshi.
        recorder: records the step; None: what suits the device.

    Raises:
        UnavailableError: the model is of a kind that cannot converse, or there is no memory for so many slots.
    """

    def __init__(
        self,
        lm: OracleLM,
        capacity: int,
        guidance: Guidance = Guidance(),
        *,
        trained_for_oracle: bool = True,
        recorder: StepRecorder | None = None,
    ) -> None:
        _check(lm, guidance)
        self._lm = lm
        self.capacity = capacity
        self._guidance = guidance
        self._rows = 2 * capacity if guidance.on else capacity
        self.idle_oracle_id = lm.text_padding_token_id if lm.has_oracle and trained_for_oracle else NO_ORACLE_ID
        """Oracle token for a slot that has nothing to be told."""
        self.voice_codebooks: int = lm.dep_q
        self._slots = SlotStreams(capacity, lm.delays, lm.dep_q, lm._get_initial_token())
        self.user_codebooks = self._slots.user_codebooks
        self.delay_steps = self._slots.max_delay
        self._sampler = BatchSampler(capacity, 1 + lm.dep_q, lm.device)
        self._is_open = [False] * capacity
        self._codes = torch.zeros(capacity, self.user_codebooks, dtype=torch.long, device=lm.device)
        self._oracle = torch.full((capacity,), self.idle_oracle_id, dtype=torch.long, device=lm.device)
        self._given_oracle = torch.zeros(capacity, dtype=torch.long, pin_memory=lm.device.type == "cuda")
        self._packed = torch.full((capacity, lm.dep_q + 2), NOT_YET, dtype=torch.long, device=lm.device)
        try:
            with torch.no_grad():
                self._streaming = lm.streaming(self._rows)
                self._states = RowStates(lm, self._rows)
                self._run = (recorder or default_recorder(lm.device))(self._step)  # all slots are closed: no effect
        except (MemoryError, RuntimeError) as error:
            lm._stop_streaming()
            lm.depformer._stop_streaming()  # it is apart from the rest
            if not is_out_of_memory(error):
                raise
            raise UnavailableError(
                f"The GPU has no memory for {capacity} conversations beside the model. Set fewer places.",
                code="out_of_memory",
            ) from error

    def open(self, slot: int, *, seed: int | None, sampling: SamplingOptions) -> None:
        """Begin a conversation in a closed slot.

        Args:
            slot: 0 to capacity - 1.
            seed: of what is sampled: the same seed, user codes and oracle in a batch of the same capacity say the same
                again. None: another one each time.
            sampling: how tokens are chosen.
        """
        if self._is_open[slot]:
            raise ValueError(f"slot {slot} is open")
        self._states.wipe(self._rows_of(slot))  # closed slots are computed as well, and leave something in their caches
        self._slots.begin(slot)
        self._sampler.set(slot, sampling, secrets.randbits(64) if seed is None else seed)
        self._is_open[slot] = True
        self._tell_open()

    def close(self, slot: int) -> None:
        """End the conversation in a slot and forget it; idempotent."""
        if not self._is_open[slot]:
            return
        self._is_open[slot] = False
        self._slots.end(slot)
        self._states.wipe(self._rows_of(slot))
        self._tell_open()

    def step(self, codes: Tensor, oracle: Sequence[int] | Tensor) -> StepResult:
        """One step of all open slots. Without a wait for the device, where `codes` is there and `oracle` on the host.

        Args:
            codes: the user's codes, int64 [capacity, K, 1] with K at least `user_codebooks`, of which the first are
                used; anything in the rows of closed slots.
            oracle: one token per slot, [capacity]; `idle_oracle_id` for none; anything for closed slots. A model
                without oracle embedding takes no notice of it.

        Numbers outside the vocabulary are cut to it: on a GPU they would end all conversations. On a GPU what came out
        must have been fetched before the next step: only then is it sure that the oracle's buffer was read.
        """
        slots, codebooks, steps = codes.shape
        if (slots, steps) != (self.capacity, 1) or codebooks < self.user_codebooks:
            raise ValueError(f"codes must be [{self.capacity}, >= {self.user_codebooks}, 1], not {tuple(codes.shape)}")
        if len(oracle) != self.capacity:
            raise ValueError(f"one oracle token for each of {self.capacity} slots, not {len(oracle)}")
        self._codes.copy_(codes[:, : self.user_codebooks, 0])
        self._given_oracle.copy_(torch.as_tensor(oracle, dtype=torch.long))
        self._oracle.copy_(self._given_oracle, non_blocking=True)
        with torch.no_grad():
            self._run()
        return StepResult(self._packed.clone())

    def shutdown(self) -> None:
        """Free the slots' memory and the model for another batch; idempotent."""
        self._streaming.close()
        self._states.clear()
        self._run = _ended

    def _rows_of(self, slot: int) -> slice:
        """With guidance a slot has two."""
        return slice(slot, None, self.capacity)

    def _tell_open(self) -> None:
        self._states.running.copy_(self._slots.open.repeat(self._rows // self.capacity))

    def _step(self) -> None:
        """One step, from the input buffers into the output buffer; this is what a CUDA graph holds."""
        lm, slots = self._lm, self._slots
        slots.hear(self._codes.clamp(NO_ORACLE_ID, lm.card))
        inputs, oracle = self._informed_and_null()
        hidden, text_logits = lm.forward_text(inputs, None, None, oracle if lm.has_oracle else None)
        keys = self._sampler.noise_keys(slots.steps)
        logits = self._guided(text_logits, text=True)
        finite = logits.isfinite().all(-1)
        tokens = [self._sampler.sample(logits, Head.TEXT, keys[:, :, 0])]
        assert lm.depformer is not None
        with lm.depformer.streaming(self._rows):
            for codebook in range(lm.dep_q):
                last = self._row_repeat(tokens[-1][:, None, None])
                logits = self._guided(lm.forward_depformer(codebook, last, hidden), text=False)
                finite &= logits.isfinite().all(-1)
                tokens.append(self._sampler.sample(logits, Head.AUDIO, keys[:, :, 1 + codebook]))
        slots.say(torch.stack(tokens, dim=1))
        finite |= ~slots.open
        said = slots.aligned().masked_fill(~finite[:, None], NOT_YET)
        self._packed.copy_(torch.cat([said, finite[:, None]], dim=1))

    def _informed_and_null(self) -> tuple[Tensor, Tensor]:
        """What the model is fed: streams int64 [rows, channels, 1] and oracle int64 [rows, 1, 1]."""
        lm = self._lm
        inputs = self._slots.inputs()
        oracle = self._oracle.clamp(NO_ORACLE_ID, lm.text_card)[:, None, None]
        if not self._guidance.on:
            return inputs, oracle
        null_inputs, null_oracle = inputs, oracle
        if self._guidance.mode is GuidanceMode.SAME:
            untold = inputs[:, :1].masked_fill(~self._slots.before_first()[:, :1], lm.zero_token_id)
            null_inputs = torch.cat([untold, inputs[:, 1:]], dim=1)
        else:
            null_oracle = torch.full_like(oracle, self.idle_oracle_id)
        return torch.cat([inputs, null_inputs]), torch.cat([oracle, null_oracle])

    def _row_repeat(self, per_slot: Tensor) -> Tensor:
        return torch.cat([per_slot, per_slot]) if self._guidance.on else per_slot

    def _guided(self, logits: Tensor, *, text: bool) -> Tensor:
        """Logits [rows, 1, 1, card] as float32 [capacity, card], guided."""
        logits = logits[:, 0, 0].float()
        if not self._guidance.on:
            return logits
        informed, null = logits.chunk(2)
        if text and self._guidance.mode is GuidanceMode.SAME:
            return informed
        return null + (informed - null) * self._guidance.weight


def _ended() -> None:
    raise RuntimeError("this batch was shut down")


def _check(lm: OracleLM, guidance: Guidance) -> None:
    if lm.depformer is None:
        raise UnavailableError(
            "These weights cannot speak (no depth transformer). Choose those of a Moshi or KAME model."
        )
    if lm.fuser is not None:
        raise UnavailableError(
            "These weights need conditions for every conversation. Choose those of a Moshi or KAME model."
        )
    if guidance.on and guidance.mode is GuidanceMode.PAD_NULL and not lm.has_oracle:
        raise UnavailableError(
            "Guidance pad-null needs weights with an oracle embedding; these have none. Set it to off."
        )
