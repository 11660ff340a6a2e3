"""Kyutai's speech-to-text model listening to many conversations at once: one step of 80 ms for all slots of a batch.

Delayed streams modelling (Zeghidour et al. 2025, https://arxiv.org/abs/2509.08753): a language model hears the codes of
every frame and writes one text token per step, of which most are padding; the words come a fixed delay after their
sound. So the last words of an utterance are still to be written when it ends. `looking_ahead` writes them at once, on
silence, and then takes everything back: speech that goes on is heard as if nobody had looked.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from moshi.models.lm import LMModel
from moshi.modules.transformer import RingKVCache
from torch import Tensor

from kame_core.errors import UnavailableError
from kame_core.frontend.moshi.memory import is_out_of_memory
from kame_core.frontend.moshi.row_states import RowStates
from kame_core.frontend.moshi.step_graph import StepRecorder, default_recorder

_PAUSE_HEAD = 2
"""Of the heads that foresee pauses of 0.5, 1, 2 and 3 s, the one that Kyutai's own voice system takes for the end of a
turn."""


@dataclass(frozen=True, slots=True)
class SttStep:
    """What came out of a step, one entry per slot; those of slots that were not stepped mean nothing."""

    tokens: list[int]
    pauses: list[float]
    """Probability that the speaker has finished; NaN for models without such heads."""
    faults: frozenset[int]
    """Slots whose logits were not finite. They must be opened anew."""


class SttBatch:
    """The model and the slots it listens in. Everything happens on the caller's thread.

    Args:
        lm: without depth transformer and without delays between its streams; used by this batch alone from now on,
            until `shutdown`.
        capacity: slots.
        silence: int64 [K, frames], what digital silence is encoded to from the first frame on, K at least `codebooks`.
        prefix_frames: of silence that every conversation begins with.
        recorder: records the step; None: what suits the device.

    Raises:
        UnavailableError: there is no memory for so many slots.
    """

    def __init__(
        self,
        lm: LMModel,
        capacity: int,
        silence: Tensor,
        *,
        prefix_frames: int = 0,
        recorder: StepRecorder | None = None,
    ) -> None:
        self._lm = lm
        self.capacity = capacity
        self.codebooks: int = lm.n_q
        device = lm.device
        self._silence = silence[: self.codebooks].to(device)
        self.codes_of_silence = silence[:, -1:].to(device)
        """What long silence is encoded to, int64 [K, 1]."""
        self._pause_head = lm.extra_heads[_PAUSE_HEAD] if len(lm.extra_heads) > _PAUSE_HEAD else None
        self._open = torch.zeros(capacity, dtype=torch.bool)
        self._told: Tensor | None = None
        self._codes = torch.zeros(capacity, self.codebooks, 1, dtype=torch.long, device=device)
        self._initial = lm._get_initial_token()
        self._out = torch.zeros(capacity, 3, dtype=torch.float32, device=device)
        try:
            with torch.no_grad():
                self._streaming = lm.streaming(capacity)
                self._states = RowStates(lm, capacity, own_counters=2)
                self._running = self._states.running
                self._token, self._steps = self._states.table[:2]
                self._run = (recorder or default_recorder(device))(self._step)  # nothing runs: no effect
        except (MemoryError, RuntimeError) as error:
            lm._stop_streaming()
            if not is_out_of_memory(error):
                raise
            raise UnavailableError(
                f"The GPU has no memory for speech-to-text in {capacity} conversations. Set fewer places.",
                code="out_of_memory",
            ) from error
        self._begin = self._prelude(prefix_frames)

    def open(self, slot: int) -> None:
        """Begin a conversation in a slot, open or not: nothing of what was there before is left."""
        self.close(slot)
        self._states.table[:, slot] = self._begin.counters
        for cache, keys in zip(self._states.caches, self._begin.keys, strict=True):
            cache.cache[:, slot, :, : keys.shape[2]] = keys
        self._open[slot] = True

    def close(self, slot: int) -> None:
        """End the conversation in a slot and forget it; idempotent."""
        self._open[slot] = False
        self._states.wipe(slice(slot, slot + 1))

    def step(self, codes: Tensor) -> SttStep:
        """One step of all open slots.

        Args:
            codes: int64 [capacity, K, 1], K at least `codebooks`, of which the first are used; anything in the rows of
                closed slots. Numbers outside the vocabulary are cut to it.
        """
        slots, codebooks, steps = codes.shape
        if (slots, steps) != (self.capacity, 1) or codebooks < self.codebooks:
            raise ValueError(f"codes must be [{self.capacity}, >= {self.codebooks}, 1], not {tuple(codes.shape)}")
        self._run_only(self._open)
        return self._stepped(codes[:, : self.codebooks])

    @contextmanager
    def looking_ahead(self, slots: Sequence[int], most_steps: int) -> Iterator[Callable[[], SttStep]]:
        """Step some open slots on silence; afterwards they are where they were, and the others never noticed.

        Args:
            slots: those that are stepped.
            most_steps: how often the given function is called at most.
        """
        states = self._states
        most_steps = min(most_steps, *(cache.capacity for cache in states.caches))
        chosen = torch.zeros(self.capacity, dtype=torch.bool)
        chosen[list(slots)] = True
        if (chosen & ~self._open).any():
            raise ValueError("a slot is not open")
        rows = torch.tensor(list(slots), device=self._running.device)
        counters = states.table[:, rows]
        places = [self._places(cache, rows, most_steps) for cache in states.caches]
        # Of a ring that is full the next keys take the place of the oldest.
        keys = [cache.cache[:, rows[:, None], :, at] for cache, at in zip(states.caches, places, strict=True)]
        left = most_steps

        def step() -> SttStep:
            nonlocal left
            if left <= 0:
                raise ValueError(f"no more than {most_steps} steps ahead were announced")
            left -= 1
            return self._stepped(self._silence[None, :, -1:])

        self._run_only(chosen)
        try:
            yield step
        finally:
            states.table[:, rows] = counters
            for cache, at, kept in zip(states.caches, places, keys, strict=True):
                cache.cache[:, rows[:, None], :, at] = kept

    def shutdown(self) -> None:
        """Free the slots' memory and the model for another batch; idempotent."""
        self._streaming.close()
        self._states.clear()
        self._open[:] = False
        self._run = _ended

    def _prelude(self, prefix_frames: int) -> "_Prelude":
        """Where every conversation begins: the model never sees the codes of its first step, then it hears silence."""
        frames = prefix_frames + 1
        if frames > min(cache.capacity for cache in self._states.caches):
            raise ValueError(f"a prefix of {prefix_frames} frames is longer than the model remembers")
        self._open[0] = True
        self._run_only(self._open)
        for frame in range(frames):
            heard = min(max(frame - 1, 0), self._silence.shape[1] - 1)
            self._launch(self._silence[None, :, heard : heard + 1])
        prelude = _Prelude(
            self._states.table[:, 0].clone(), [cache.cache[:, 0, :, :frames].clone() for cache in self._states.caches]
        )
        self.close(0)
        return prelude

    def _places(self, cache: RingKVCache, rows: Tensor, steps: int) -> Tensor:
        """Where the next keys of some slots will be written, int64 [slots, steps]."""
        ahead = torch.arange(steps, device=rows.device)
        return (cache.end_offset[rows][:, None] + ahead) % cache.capacity

    def _run_only(self, chosen: Tensor) -> None:
        if self._told is not None and torch.equal(self._told, chosen):
            return
        self._told = chosen.clone()
        self._running.copy_(chosen, non_blocking=True)

    def _launch(self, codes: Tensor) -> None:
        self._codes.copy_(codes.expand(self.capacity, -1, -1))
        with torch.no_grad():
            self._run()

    def _stepped(self, codes: Tensor) -> SttStep:
        self._launch(codes)
        rows = self._out.tolist()
        return SttStep(
            [int(row[0]) for row in rows],
            [row[1] for row in rows],
            frozenset(slot for slot, row in enumerate(rows) if not row[2]),
        )

    def _step(self) -> None:
        """One step, from the input buffers into the output buffer; this is what a CUDA graph holds."""
        lm, running = self._lm, self._running
        heard = self._codes.clamp(-1, lm.card)
        unseen = ((self._steps == 0) | ~running)[:, None, None]
        inputs = torch.where(unseen, self._initial, torch.cat([self._token[:, None, None], heard], dim=1))
        hidden, logits = lm.forward_text(inputs)
        logits = logits[:, 0, 0].float()
        finite = logits.isfinite().all(-1) | ~running
        token = logits.argmax(-1)
        self._token.copy_(torch.where(running, token, self._token))
        self._steps.add_(running)
        pause = torch.full_like(self._out[:, 1], math.nan)
        if self._pause_head is not None:
            pause = self._pause_head(hidden)[:, 0].float().softmax(-1)[:, 0]
        self._out.copy_(torch.stack([token.float(), pause, finite.float()], dim=1))


@dataclass(frozen=True, slots=True)
class _Prelude:
    """What a slot holds when a conversation begins in it."""

    counters: Tensor
    """The last token, and how far each part of the model is, int64 [counters]."""
    keys: list[Tensor]
    """Keys and values, [2, heads, frames, width] for each layer."""


def _ended() -> None:
    raise RuntimeError("this batch was shut down")
