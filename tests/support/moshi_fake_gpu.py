"""A GPU without hardware, values or memory: PyTorch's fake tensors, which know shape, type and device of everything.

Models of full size pass through it in seconds. What a real GPU would refuse is refused: tensors of two devices in one
operation, types that do not fit. What would make the host wait for the GPU fails: there is no value to wait for, and a
copy to the GPU must not block. And what is to become a CUDA graph may touch nothing but the GPU's memory and draw no
random numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from moshi.utils.compile import CUDAGraphed, no_compile
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

M = TypeVar("M", bound=nn.Module)
GPU = torch.device("cuda", 0)
_INDEXING = ("aten::index", "aten::index_put_", "aten::index_put")


class CannotBeCapturedError(AssertionError):
    """A CUDA graph cannot hold this."""


class HostWaitsError(AssertionError):
    """The host would wait until the GPU has done all that it was given before."""


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Tensors made within are fake; moshi's own graphs, and those of `record`, are looked at as they are captured."""
    plain = CUDAGraphed.__call__
    CUDAGraphed.__call__ = _look_and_run  # type: ignore[method-assign,assignment]
    try:
        with no_compile(), torch.no_grad(), FakeTensorMode(), _PythonSide():
            yield
    finally:
        CUDAGraphed.__call__ = plain  # type: ignore[method-assign]


def record(step: Callable[[], None]) -> Callable[[], None]:
    """A `StepRecorder`: the step can be captured, or this fails."""

    def run() -> None:
        with captured():
            step()

    return run


@contextmanager
def captured() -> Iterator[None]:
    """Fails on what a CUDA graph cannot hold."""
    with _CaptureRules():  # type: ignore[no-untyped-call]
        yield


def on_gpu(module: M) -> M:
    """A module that was built on the device `meta`, put on the fake GPU."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                fresh = torch.empty(parameter.shape, dtype=parameter.dtype, device=GPU)
                part._parameters[name] = nn.Parameter(fresh, requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=GPU)
    return module.eval()


def _look_and_run(graphed: CUDAGraphed, *args: Any) -> Any:
    if graphed.disable:
        return graphed.func(*args)
    with captured():
        return graphed.func(*args)


class _CaptureRules(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name, kwargs = func._schema.name, kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise CannotBeCapturedError(f"{name} draws random numbers")
        if torch.Tag.data_dependent_output in func.tags:
            raise CannotBeCapturedError(f"{name} gives the host a value")
        # Indexing by numbers gives a known shape, by a mask it does not.
        indices = tree_leaves(args[1]) if name in _INDEXING else []
        masked = any(isinstance(index, Tensor) and index.dtype is torch.bool for index in indices)
        if masked or (torch.Tag.dynamic_output_shape in func.tags and name not in _INDEXING):
            raise CannotBeCapturedError(f"{name} has a shape that depends on values")
        result = func(*args, **kwargs)
        leaves = tree_leaves((args, kwargs, result))
        if any(isinstance(leaf, Tensor) and leaf.device.type == "cpu" for leaf in leaves):
            raise CannotBeCapturedError(f"{name} touches the host's memory")
        return result


class _PythonSide(TorchFunctionMode):
    """What PyTorch's C++ would ask the missing driver for; and what the host knows of its own tensors."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is Tensor.__getitem__:
            viewed, indices = _viewed(args[0], args[1])
            return torch.ops.aten.index(viewed, indices) if indices else viewed
        if func is Tensor.__setitem__:
            return _assign(*args)
        if func is Tensor.copy_:
            return _copy(*args, **(kwargs or {}))
        if func is Tensor.__invert__:
            return torch.bitwise_not(args[0])
        if func in (torch.equal, Tensor.__bool__) and args[0].device.type == "cpu":
            return False
        result = func(*args, **(kwargs or {}))
        if func is Tensor.to and not (kwargs or {}).get("non_blocking"):
            _no_wait(result, args[0])
        return result


def _viewed(tensor: Tensor, key: Any) -> tuple[Tensor, list[Tensor | None]]:
    """Numbers, slices and None of an index as views; what remains are index tensors by dimension."""
    keys = key if isinstance(key, tuple) else (key,)
    used = sum(part is not None and part is not Ellipsis for part in keys)
    indices: list[Tensor | None] = []
    for part in keys:
        at = len(indices)
        if part is Ellipsis:
            indices += [None] * (tensor.dim() - at - used)
        elif part is None:
            tensor = tensor.unsqueeze(at)
            indices.append(None)
        elif isinstance(part, int):
            tensor = tensor.select(at, part)
        elif isinstance(part, slice):
            tensor = torch.ops.aten.slice(tensor, at, part.start, part.stop, part.step or 1)
            indices.append(None)
        else:
            indices.append(torch.as_tensor(part))
        used -= part is not None and part is not Ellipsis
    return tensor, indices if any(index is not None for index in indices) else []


def _assign(tensor: Tensor, key: Any, value: Any) -> None:
    viewed, indices = _viewed(tensor, key)
    if indices:
        given = value if isinstance(value, Tensor) else torch.full((), value, dtype=viewed.dtype, device=viewed.device)
        torch.ops.aten.index_put_(viewed, indices, given)
    elif isinstance(value, Tensor):
        _copy(viewed, value)
    else:
        viewed.fill_(value)


def _no_wait(to: Tensor, source: Tensor) -> None:
    """A copy to the GPU that blocks; also from pinned memory."""
    if source.device.type == "cpu" and to.device.type == "cuda":
        raise HostWaitsError("a copy to the GPU waits until it is done")


def _copy(to: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    source.expand(to.shape)  # fails where it does not fit
    if to.device == source.device:
        torch.ops.aten.add(to, source)  # seen by the rules as a copy would be
    elif _capturing():
        raise CannotBeCapturedError("a copy touches the host's memory")
    elif not non_blocking:
        _no_wait(to, source)
    return to


def _capturing() -> bool:
    modes = torch.utils._python_dispatch._get_current_dispatch_mode_stack()
    return any(isinstance(mode, _CaptureRules) for mode in modes)
