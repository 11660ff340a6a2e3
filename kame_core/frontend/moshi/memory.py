"""Whether an error means that memory is too small, whatever it is called where it arises."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this error, or one it arose from, says that there is no memory left.

    PyTorch has a class for it on a GPU and none on a CPU. And where memory ends while a CUDA graph is recorded, ending
    the recording fails in turn, with an error that says only that: what it arose from is its context.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
