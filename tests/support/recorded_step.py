"""What a CUDA graph does, on a CPU: a step's operations are recorded once and then replayed on the same memory.

Whatever varies between steps and does not lie in a buffer that the step reads is frozen, as it would be on a GPU.
Operations that a graph cannot hold, because the host must know a value to go on, fail while recording.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HOST_MUST_KNOW = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::lift_fresh")


class OperationLog(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Everything that is computed within, as it was called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @property
    def host_waits(self) -> list[str]:
        """Operations for whose result the host must wait."""
        return [name for func, *_ in self.calls if (name := func._schema.name) in HOST_MUST_KNOW]


def record_step(step: Callable[[], None]) -> Callable[[], None]:
    """A `StepRecorder` for `LMBatch`."""
    step()
    with OperationLog() as log:
        step()
    if log.host_waits:
        raise AssertionError(f"a CUDA graph cannot hold {log.host_waits}")

    def replay() -> None:
        with torch.no_grad():
            for func, args, kwargs, recorded in log.calls:
                fresh = func(*args, **kwargs)
                given = {_memory(tensor) for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)}
                for old, new in zip(tree_leaves(recorded), tree_leaves(fresh), strict=True):
                    if isinstance(old, Tensor) and _memory(old) not in given:  # else a view, or changed in place
                        old.copy_(new)

    return replay


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
