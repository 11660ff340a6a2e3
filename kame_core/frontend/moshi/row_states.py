"""What moshi's streaming modules keep of every row of a batch, laid so that one operation reaches all of them.

moshi resets and masks a row module by module: a thousand small kernels of a 7 B model when one conversation ends and
another begins, which on a GPU is milliseconds of a tick of all. Here the modules share one mask of the rows that run,
and count in one table.
"""

import torch
from moshi.models.lm import LMModel
from moshi.modules.transformer import RingKVCache

_COUNTERS = ("offset", "offsets", "end_offset")


class RowStates:
    """The states of a language model that streams. From now on `reset_streaming` and `set_exec_mask` are not for it.

    Args:
        lm: streaming `rows` rows, none of which was stepped yet: a recorded step keeps to the buffers it finds. Its
            depth transformer, which streams within a step only, is left alone.
        rows: of the batch.
        own_counters: places in `table` for the caller's own.
    """

    def __init__(self, lm: LMModel, rows: int, own_counters: int = 0) -> None:
        states = list(lm.get_streaming_state().values())
        caches = (getattr(state, "kv_cache", None) for state in states)
        self.caches = [cache for cache in caches if isinstance(cache, RingKVCache)]
        """Keys and values of each layer, [2, rows, heads, steps, width]."""
        self.running = torch.zeros(rows, dtype=torch.bool, device=lm.device)
        """Rows that the next step changes."""
        owners = [(part, name) for part in (*states, *self.caches) for name in _COUNTERS if hasattr(part, name)]
        self.table = torch.zeros(own_counters + len(owners), rows, dtype=torch.long, device=lm.device)
        """How far each part of the model is in each row, int64 [counters, rows]; the caller's own first."""
        for state in states:
            state.exec_mask = self.running
        for counter, (part, name) in zip(self.table[own_counters:], owners, strict=True):
            setattr(part, name, counter)

    def wipe(self, rows: slice) -> None:
        """Nothing of these rows' past is left.

        The keys and values too, which moshi's own reset only hides: weight 0 times NaN is NaN, so one bad number of an
        earlier conversation would spoil all later ones.
        """
        self.table[:, rows] = 0
        for cache in self.caches:
            cache.cache[:, rows] = 0

    def clear(self) -> None:
        """Let go of the memory."""
        self.caches.clear()
