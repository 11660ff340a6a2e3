"""What a CUDA graph does, on a CPU: a step's operations are recorded once and then replayed on the same memory.

Whatever varies between steps and does not lie in a buffer that the step reads is frozen, as it would be on a GPU.
Operations that a graph cannot hold, because the host must know a value to go on, fail while recording.

`SameWork` and `checked_graphs` show more: that a step launches the same operations on the same memory every time.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from moshi.utils.compile import CUDAGraphed
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

    @property
    def work(self) -> list[tuple[Any, ...]]:
        """Operations with their numbers, shapes and types: what a graph has frozen."""
        return [
            (func, *(_frozen(leaf) for leaf in tree_leaves((args, kwargs)))) for func, args, kwargs, _ in self.calls
        ]

    @property
    def memory(self) -> set[int]:
        """Where that lies which was used and had been there before."""
        made: set[int] = set()
        used: set[int] = set()
        for _, args, kwargs, result in self.calls:
            used |= {_memory(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)} - made
            made |= {_memory(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor)} - used
        return used


class SameWork:
    """A `StepRecorder` that only looks: a step must be what the first one was, and draw no random numbers."""

    def __init__(self) -> None:
        self.steps = 0
        self._work: list[tuple[Any, ...]] = []
        self._memory: set[int] = set()

    def __call__(self, step: Callable[[], Any]) -> Callable[[], Any]:
        step()

        def run() -> Any:
            dice = random.getstate(), torch.get_rng_state().tolist()
            with OperationLog() as log:
                result = step()
            assert (random.getstate(), torch.get_rng_state().tolist()) == dice
            assert not log.host_waits
            if not self.steps:
                self._work, self._memory = log.work, log.memory
            assert log.work == self._work
            assert log.memory == self._memory
            self.steps += 1
            return result

        return run


@contextmanager
def checked_graphs() -> Iterator[list[SameWork]]:
    """Look at what moshi itself makes CUDA graphs of, as if there were a GPU."""
    plain = CUDAGraphed.__call__
    graphs: dict[int, tuple[list[Any], Callable[[], Any], CUDAGraphed]] = {}
    checks: list[SameWork] = []

    def call(graphed: CUDAGraphed, *args: Any) -> Any:
        if id(graphed) not in graphs:
            kept = [argument.clone() if isinstance(argument, Tensor) else argument for argument in args]
            checks.append(SameWork())
            graphs[id(graphed)] = (kept, checks[-1](lambda: graphed.func(*kept)), graphed)
            return plain(graphed, *args)
        kept, run, _ = graphs[id(graphed)]
        for buffer, given in zip(kept, args, strict=True):
            if isinstance(buffer, Tensor):
                buffer.copy_(given)
            else:
                assert buffer == given
        return run()

    CUDAGraphed.__call__ = call  # type: ignore[method-assign,assignment]
    try:
        yield checks
    finally:
        CUDAGraphed.__call__ = plain  # type: ignore[method-assign]


def _frozen(leaf: Any) -> Any:
    return (leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf)  # NaN is not NaN


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
