"""Mimi for many calls at once: one streaming codec whose batch rows are slots that know nothing of each other.

Mimi (Défossez et al. 2024, https://arxiv.org/abs/2410.00037) turns 80 ms of sound into one code for each of up to 32
codebooks and back. A code of a codebook depends only on those before it, so an encode at 32 codebooks holds the encode
at 8: the language model and a recogniser can share one.

Always exactly one frame in and one out, for the slots named and no others. That also avoids a fault of moshi 0.2.13:
a ring cache writes the keys of slots that do not take part at the place of their next ones, which is harmless only as
long as all calls bring the same number of steps.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from moshi.models.compression import MimiModel
from moshi.modules.transformer import StreamingMultiheadAttention
from torch import Tensor

from kame_core.errors import UnavailableError
from kame_core.frontend.moshi.memory import is_out_of_memory


class MimiBatch:
    """A streaming codec of fixed capacity. All methods belong to one thread.

    Args:
        mimi: in evaluation mode, and streaming nowhere else; it is this batch's own until `close_all`.
        capacity: number of slots.
        codebooks: how many the encoder writes; the decoder takes what it is given.

    Raises:
        ValueError: the codec has fewer codebooks.
        UnavailableError: there is no memory for so many slots.
    """

    def __init__(self, mimi: MimiModel, capacity: int, codebooks: int = 8) -> None:
        if not 2 <= codebooks <= mimi.total_codebooks:
            raise ValueError(f"the codec has {mimi.total_codebooks} codebooks, not {codebooks}")
        self.capacity = capacity
        self.codebooks = codebooks
        self.frame_samples: int = mimi.frame_size
        self._mimi = mimi
        self._device = next(mimi.parameters()).device
        self._open = torch.zeros(capacity, dtype=torch.bool)
        self._masked: Tensor | None = None
        mimi.set_num_codebooks(codebooks)
        try:
            self._streaming: ExitStack = mimi.streaming(capacity)
            states = (
                module._streaming_state for module in mimi.modules() if isinstance(module, StreamingMultiheadAttention)
            )
            self._caches = [
                state.kv_cache.cache for state in states if state is not None and state.kv_cache is not None
            ]
            self._warm_up()
        except (MemoryError, RuntimeError) as error:
            mimi._stop_streaming()
            if not is_out_of_memory(error):
                raise
            raise UnavailableError(
                f"The GPU has no memory for the codec in {capacity} conversations. Set fewer places.",
                code="out_of_memory",
            ) from error

    def open(self, slot: int) -> None:
        """Give a slot to a new call: encoder and decoder begin anew. An open one is reset.

        Raises:
            ValueError: there is no such slot.
        """
        self._check(slot)
        self._open[slot] = True
        only = torch.zeros(self.capacity, dtype=torch.bool, device=self._device)
        only[slot] = True
        self._mimi.reset_streaming(only)
        for cache in self._caches:
            # A reset only forgets where the keys end. What is left weighs nothing, but nothing times NaN is NaN.
            cache[:, slot].zero_()
        self._masked = None  # the reset lets the slot take part whatever was said before

    def close(self, slot: int) -> None:
        """Take a slot out; its row is ignored from now on.

        Raises:
            ValueError: there is no such slot.
        """
        self._check(slot)
        self._open[slot] = False

    def encode(self, pcm: Tensor, slots: Sequence[int] | None = None) -> Tensor:
        """One frame of sound to codes.

        Args:
            pcm: float32 [capacity, 1, 1920], on any device. Samples that are not finite are replaced: NaN by silence,
                infinity by full scale. In pinned memory it must not change until what came out was fetched.
            slots: those that take part, all of them open; the others' state stays as it is, as if this call had not
                been made. None: all open slots.

        Returns:
            int64 [capacity, codebooks, 1] on the codec's device; rows of other slots mean nothing.

        Raises:
            ValueError: a shape is wrong, or a slot is not open.
        """
        if pcm.shape != (self.capacity, 1, self.frame_samples):
            raise ValueError(f"pcm must be {[self.capacity, 1, self.frame_samples]}, not {list(pcm.shape)}")
        self._take_part(slots)
        given = pcm.to(self._device, torch.float32, non_blocking=True)
        sound = torch.nan_to_num(given, nan=0.0, posinf=1.0, neginf=-1.0)
        with torch.no_grad():
            codes: Tensor = self._mimi.encode(sound)
        return codes

    def decode(self, codes: Tensor, slots: Sequence[int] | None = None) -> Tensor:
        """One frame of codes to sound.

        Args:
            codes: int64 [capacity, K, 1] with any K the codec has. Rows of slots that do not take part may hold
                anything, marks below zero included.
            slots: as for `encode`.

        Returns:
            float32 [capacity, 1, 1920] on the codec's device; rows of other slots mean nothing.

        Raises:
            ValueError: a shape is wrong, or a slot is not open.
        """
        if codes.dim() != 3 or codes.shape[0] != self.capacity or codes.shape[2] != 1:
            raise ValueError(f"codes must be [{self.capacity}, codebooks, 1], not {list(codes.shape)}")
        if not 1 <= codes.shape[1] <= self._mimi.total_codebooks:
            raise ValueError(f"the codec has {self._mimi.total_codebooks} codebooks, not {codes.shape[1]}")
        self._take_part(slots)
        known = codes.to(self._device, non_blocking=True)
        known = known.clamp(0, self._mimi.cardinality - 1)  # an index outside kills a CUDA process
        with torch.no_grad():
            pcm: Tensor = self._mimi.decode(known)
        return pcm

    def close_all(self) -> None:
        """End streaming and free the state; the codec may then be used otherwise. Idempotent."""
        self._open[:] = False
        self._caches.clear()
        self._streaming.close()

    def _warm_up(self) -> None:
        """Compute with all slots closed, which leaves no trace: on a GPU the second call of anything records its graph,
        and that must not happen while others use the GPU.
        """
        for _ in range(2):
            self._masked = None
            self.decode(self.encode(torch.zeros(self.capacity, 1, self.frame_samples)))

    def _check(self, slot: int) -> None:
        if not 0 <= slot < self.capacity:
            raise ValueError(f"there is no slot {slot} of {self.capacity}")

    def _take_part(self, slots: Sequence[int] | None) -> None:
        if slots is None:
            self._mask(self._open)
            return
        mask = torch.zeros(self.capacity, dtype=torch.bool)
        mask[list(slots)] = True
        if (mask & ~self._open).any():
            raise ValueError("a slot is not open")
        self._mask(mask)

    def _mask(self, mask: Tensor) -> None:
        if self._masked is None or not torch.equal(self._masked, mask):
            self._mimi.set_exec_mask(mask.to(self._device, non_blocking=True))
            self._masked = mask.clone()
