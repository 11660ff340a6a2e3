"""What every slot of a batch keeps between two steps beside the transformer's caches: its delayed streams.

Moshi's channels (text, the agent's codebooks, the user's codebooks) run with delays of a few steps against each other,
so that within one 80 ms step a codebook may depend on another of the same frame. Per slot and channel a short shift
register holds the last `max_delay + 1` tokens; both what the model is fed and what comes out aligned are read from
fixed places of it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

NOT_YET = -2
"""Marks a token that does not exist: the slot is closed, or its delays are not over."""


class SlotStreams:
    """The delayed streams of all slots in buffers that never move; everything but `begin` and `end` is graphable.

    Channels are in the model's order: text, `voice_codebooks` of the agent, `user_codebooks` of the user.

    Args:
        capacity: slots.
        delays: steps, one for each channel.
        voice_codebooks: how many the agent speaks with.
        initial: int64 [1, channels, 1], what each channel is fed before its first token.
    """

    def __init__(self, capacity: int, delays: Sequence[int], voice_codebooks: int, initial: Tensor) -> None:
        device = initial.device
        self._own = 1 + voice_codebooks
        self.user_codebooks = len(delays) - self._own
        self.max_delay = max(delays)
        self.open = torch.zeros(capacity, dtype=torch.bool, device=device)
        self.steps = torch.zeros(capacity, dtype=torch.long, device=device)
        """Steps made since a slot was opened."""
        self._initial = initial
        self._delays = torch.tensor(delays, device=device)[:, None]
        # Newest last. The agent's registers are filled at the end of a step, the user's at its beginning: so both hold
        # at place -1 - back what was there `back` steps ago.
        shape = (capacity, len(delays), self.max_delay + 1)
        self._registers = torch.full(shape, NOT_YET, dtype=torch.long, device=device)
        newest = self.max_delay
        self._user_places = (newest - self._delays[self._own :]).expand(capacity, -1, 1)
        self._aligned_places = self._delays[: self._own].expand(capacity, -1, 1)

    def begin(self, slot: int) -> None:
        """Open a closed slot; there is nothing in it."""
        self.open[slot] = True

    def end(self, slot: int) -> None:
        """Close a slot and forget what was in it."""
        self.open[slot] = False
        self.steps[slot] = 0
        self._registers[slot] = NOT_YET

    def hear(self, codes: Tensor) -> None:
        """Take in the user's codes of this step, int64 [capacity, user_codebooks]."""
        self._shift(self._registers[:, self._own :], codes)

    def inputs(self) -> Tensor:
        """What the model is fed in this step, int64 [capacity, channels, 1]; closed slots: initial tokens."""
        own = self._registers[:, : self._own, -1:]
        user = self._registers[:, self._own :].gather(2, self._user_places)
        return torch.where(self.before_first(), self._initial, torch.cat([own, user], dim=1))

    def before_first(self) -> Tensor:
        """Where a channel has no token yet in this step, bool [capacity, channels, 1]."""
        return (self.steps[:, None, None] <= self._delays) | ~self.open[:, None, None]

    def say(self, tokens: Tensor) -> None:
        """Take in what was sampled in this step, int64 [capacity, 1 + voice_codebooks], and end the step."""
        self._shift(self._registers[:, : self._own], tokens)
        self.steps.add_(self.open)

    def aligned(self) -> Tensor:
        """After `say`: text token and voice codes of one and the same 80 ms, int64 [capacity, 1 + voice_codebooks].

        They belong to the step `max_delay` steps ago; a slot's rows hold `NOT_YET` in its first `max_delay` steps and
        while it is closed.
        """
        tokens = self._registers[:, : self._own].gather(2, self._aligned_places)[:, :, 0]
        ready = self.open & (self.steps > self.max_delay)
        return tokens.masked_fill(~ready[:, None], NOT_YET)

    def _shift(self, registers: Tensor, tokens: Tensor) -> None:
        shifted = torch.cat([registers[:, :, 1:], tokens[:, :, None]], dim=2)
        registers.copy_(torch.where(self.open[:, None, None], shifted, registers))
