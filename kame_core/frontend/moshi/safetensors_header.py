"""Headers of safetensors files: names, types and shapes of all tensors, without the tensors.

Format: https://github.com/huggingface/safetensors (eight bytes of length, a JSON object, the data).
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kame_core.frontend.moshi.config import CheckpointError

Shape = tuple[int, ...]

_MOST_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_FIRST_READ_BYTES = 1 << 17
_BITS = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8}


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """One tensor of a safetensors file."""

    dtype: str
    """As the format names it: F32, BF16, I8."""
    shape: Shape


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The header of a safetensors file."""

    name: str
    size_bytes: int
    tensors: Mapping[str, TensorHeader]

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The types in it, sorted."""
        return tuple(sorted({tensor.dtype for tensor in self.tensors.values()}))


def read_header(path: Path) -> FileHeader:
    """Read the header of a safetensors file.

    Raises:
        CheckpointError: it is missing, no safetensors file, or shorter than its header says.
    """
    try:
        with path.open("rb") as file:

            def read(start_byte: int, end_byte: int) -> bytes:
                file.seek(start_byte)
                return file.read(end_byte - start_byte)

            return parse_header(path.name, path.stat().st_size, read)
    except OSError as error:
        raise CheckpointError(f"The file {path.name} cannot be read ({error.strerror}).") from error


def parse_header(name: str, size_bytes: int, read: Callable[[int, int], bytes]) -> FileHeader:
    """Read the header of a safetensors file that lies anywhere.

    Args:
        name: of the file.
        size_bytes: of the whole file.
        read: hands out its bytes from the first index up to the second.

    Raises:
        CheckpointError: it is no safetensors file, or shorter than its header says.
    """
    broken = f"{name} is no safetensors file, or damaged"
    start = read(0, min(_FIRST_READ_BYTES, size_bytes))
    if len(start) < 8:
        raise CheckpointError(f"{broken}: it has {size_bytes} bytes. Fetch it again.")
    (length,) = struct.unpack("<Q", start[:8])
    if length > _MOST_HEADER_BYTES:
        raise CheckpointError(f"{broken}: it does not begin with a header. Fetch it again.")
    if 8 + length > size_bytes:
        raise CheckpointError(f"{name} is cut off: it ends within its header. Fetch it again.")
    raw = start[8 : 8 + length]
    raw += read(8 + len(raw), 8 + length) if len(raw) < length else b""
    try:
        entries = json.loads(raw)
        entries.pop("__metadata__", None)
        tensors = {key: TensorHeader(str(at["dtype"]), tuple(map(int, at["shape"]))) for key, at in entries.items()}
        ends = {key: int(at["data_offsets"][1]) - int(at["data_offsets"][0]) for key, at in entries.items()}
        last = max((int(at["data_offsets"][1]) for at in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{broken}: its header makes no sense ({type(error).__name__}). Fetch it again."
        ) from error
    needed = 8 + length + last
    if needed != size_bytes:
        cut = "cut off" if size_bytes < needed else "longer than its header says"
        raise CheckpointError(f"{name} is {cut}: it has {size_bytes:,} bytes of {needed:,}. Fetch it again.")
    for key, tensor in tensors.items():
        bits = _BITS.get(tensor.dtype)
        if bits is not None and ends[key] * 8 != bits * math.prod(tensor.shape):
            raise CheckpointError(f"{broken}: the size of {key} does not fit its shape. Fetch it again.")
    return FileHeader(name, size_bytes, tensors)
