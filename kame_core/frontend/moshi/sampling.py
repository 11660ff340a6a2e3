"""Sampling of tokens for a whole batch at once, with temperature, top-k and seed of every slot's own.

A generator of random numbers has a state that a batch would share, and a CUDA graph freezes. Here the randomness is a
function of (seed, step, stream, token) instead, as in counter-based generators (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", 2011), and the draw is Gumbel-max: the largest of logit / temperature + noise is a sample
of the softmax. So a slot's draws depend on nothing but its own seed and logits: not on its neighbours, not on when it
joined, not on the place it has in the batch.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from kame_core.errors import InvalidRequestError

MOST_TOP_K = 256
"""Largest top-k of a slot; all slots compute with as many candidates."""

_MASK_32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How a slot chooses its tokens; the defaults are Moshi's.

    Raises:
        InvalidRequestError: a temperature is negative or not finite, or a top-k is not within 1 to 256.
    """

    text_temperature: float = 0.7
    """0: always the likeliest token."""
    text_top_k: int = 25
    audio_temperature: float = 0.8
    audio_top_k: int = 250

    def __post_init__(self) -> None:
        for temperature in (self.text_temperature, self.audio_temperature):
            if not 0 <= temperature <= 10:
                raise InvalidRequestError(f"A sampling temperature is between 0 and 10, not {temperature}.")
        for top_k in (self.text_top_k, self.audio_top_k):
            if not 1 <= top_k <= MOST_TOP_K:
                raise InvalidRequestError(f"A sampling top-k is between 1 and {MOST_TOP_K}, not {top_k}.")


GREEDY = SamplingOptions(text_temperature=0.0, audio_temperature=0.0)


class Head(IntEnum):
    """Which of a slot's settings a draw goes by."""

    TEXT = 0
    AUDIO = 1


class BatchSampler:
    """Draws one token per slot. Its buffers never move and `noise_keys` and `sample` launch the same kernels whatever
    is in them, so both may be part of a CUDA graph.

    Args:
        capacity: slots.
        streams: draws of a slot per step, each with noise of its own.
        device: of the logits.
    """

    def __init__(self, capacity: int, streams: int, device: torch.device) -> None:
        self._temperature = torch.zeros(len(Head), capacity, 1, device=device)
        self._top_k = torch.ones(len(Head), capacity, 1, dtype=torch.long, device=device)
        self._keys = torch.zeros(capacity, 2, 1, dtype=torch.long, device=device)
        self._streams = torch.arange(streams, device=device)
        self._ranks = torch.arange(MOST_TOP_K, device=device)

    def set(self, slot: int, options: SamplingOptions, seed: int) -> None:
        """What a slot goes by from now on. Equal seeds give equal noise."""
        temperatures = torch.tensor([options.text_temperature, options.audio_temperature])
        self._temperature[:, slot, 0] = temperatures.to(self._temperature.device, non_blocking=True)
        top_ks = torch.tensor([options.text_top_k, options.audio_top_k])
        self._top_k[:, slot, 0] = top_ks.to(self._top_k.device, non_blocking=True)
        digest = hashlib.blake2b(str(seed).encode(), digest_size=8).digest()
        halves = torch.tensor([int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")])
        self._keys[slot, :, 0] = halves.to(self._keys.device, non_blocking=True)

    def noise_keys(self, steps: Tensor) -> Tensor:
        """Where a step's noise comes from.

        Args:
            steps: int64 [capacity], how many steps each slot has made.

        Returns:
            int64 [capacity, 2, streams]; `[:, :, stream]` is what `sample` takes.
        """
        return _mix(_mix(self._keys ^ (steps[:, None, None] & _MASK_32)) ^ self._streams)

    def sample(self, logits: Tensor, head: Head, keys: Tensor) -> Tensor:
        """One token per slot.

        Args:
            logits: float32 [capacity, card].
            head: whose settings.
            keys: int64 [capacity, 2], this draw's share of `noise_keys`.

        Returns:
            int64 [capacity], each within 0 to card - 1, also where logits are not finite.
        """
        temperature = self._temperature[head]
        greedy = temperature == 0
        candidates, tokens = logits.topk(min(MOST_TOP_K, logits.shape[-1]), dim=-1)
        scores = candidates / temperature.masked_fill(greedy, 1.0) + _gumbel(tokens, keys)
        scores = scores.masked_fill(self._ranks[: tokens.shape[-1]] >= self._top_k[head], -torch.inf)
        drawn = tokens.gather(-1, scores.argmax(-1, keepdim=True))
        # argmax and not the first candidate: where logits tie, argmax is what the reference takes.
        return torch.where(greedy, logits.argmax(-1, keepdim=True), drawn)[:, 0]


def _gumbel(tokens: Tensor, keys: Tensor) -> Tensor:
    """Standard Gumbel noise, float32, for each of int64 tokens [B, K] under keys [B, 2]."""
    bits = _mix(_mix(tokens ^ keys[:, :1]) ^ keys[:, 1:])
    uniform = ((bits >> 9).float() + 0.5) * 2.0**-23  # 23 bits and a half: exact in float32, never 0 or 1
    return -torch.log(-torch.log(uniform))


def _mix(x: Tensor) -> Tensor:
    """A 32-bit integer hash with low bias, on int64 values of 0 to 2^32 - 1.

    Constants: C. Wellons' search for such functions ("hash-prospector", public domain). They are taken as negative
    numbers where the highest bit is set, so that no product leaves 64 bits.
    """
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _MASK_32
    x = ((x ^ (x >> 15)) * (0xD35A2D97 - 2**32)) & _MASK_32
    return x ^ (x >> 15)
