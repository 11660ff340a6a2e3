"""Recording a step once and replaying it: a CUDA graph, which spares the launch of thousands of small kernels."""

from collections.abc import Callable
from functools import partial

import torch

Step = Callable[[], None]
"""Reads and writes buffers that never move; launches the same kernels every time."""

StepRecorder = Callable[[Step], Step]
"""Makes a step that does the same at less cost. It may call the given step any number of times before it returns."""

_WARM_UP_STEPS = 3


def run_eagerly(step: Step) -> Step:
    """For a CPU: the step itself."""
    return step


def cuda_graph(step: Step, device: torch.device) -> Step:
    """Record a step on a CUDA device.

    It first runs a few times (lazy initialisation, compilation), as CUDA's rules ask for on another stream.
    """
    with torch.cuda.device(device):
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_STEPS):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use the GPU meanwhile
            step()
    return graph.replay


def default_recorder(device: torch.device) -> StepRecorder:
    """What suits a device."""
    return partial(cuda_graph, device=device) if device.type == "cuda" else run_eagerly
