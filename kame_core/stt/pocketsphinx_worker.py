"""The process around one pocketsphinx decoder: `python -m kame_core.stt.pocketsphinx_worker`.

pocketsphinx holds Python's lock while it decodes (1.5 s were measured for one long utterance), so it gets a process of
its own. Messages in both directions are a kind (1 byte), a length (4 bytes, little-endian) and a body; the process ends
when its standard input does.
"""

import os
import select
import struct
from collections.abc import Iterator
from contextlib import suppress
from enum import IntEnum

import numpy as np

HEADER = struct.Struct("<BI")
_NUMBER = struct.Struct("<I")
_NICENESS = 5
"""The voice of all conversations goes before one conversation's decoding."""
_READ_BYTES = 1 << 16


class Kind(IntEnum):
    """What a message is."""

    AUDIO = 1
    """To the worker: 16 bit PCM, mono, 16 kHz."""
    FLUSH = 2
    """To the worker: read what was sent as well as possible."""
    COMMIT = 3
    """To the worker: the next utterance begins; its number."""
    READY = 4
    """From the worker: models are loaded."""
    PARTIAL = 5
    """From the worker: utterance number, text."""
    SETTLED = 6
    """From the worker, one for each flush: utterance number, text."""


def message(kind: Kind, body: bytes = b"") -> bytes:
    """A message as it goes over the pipe."""
    return HEADER.pack(kind, len(body)) + body


def numbered(number: int, text: str = "") -> bytes:
    """A body that begins with an utterance's number."""
    return _NUMBER.pack(number) + text.encode()


def read_numbered(body: bytes) -> tuple[int, str]:
    """The parts of such a body."""
    (number,) = _NUMBER.unpack_from(body)
    return number, body[_NUMBER.size :].decode(errors="replace")


class Messages:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def push(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The messages that are complete with `data`."""
        self._bytes += data
        while len(self._bytes) >= HEADER.size:
            kind, size = HEADER.unpack_from(self._bytes)
            end = HEADER.size + size
            if len(self._bytes) < end:
                return
            body = bytes(self._bytes[HEADER.size : end])
            del self._bytes[:end]
            yield Kind(kind), body


class Worker:
    """Serves one decoder: takes messages in as they come, and reads on in small slices between them."""

    def __init__(self, input_fd: int, output_fd: int) -> None:
        from kame_core.stt.question_model import question_model
        from kame_core.stt.sphinx_decoder import SphinxDecoder

        self._input_fd = input_fd
        self._output_fd = output_fd
        self._decoder = SphinxDecoder(question_model())
        self._messages = Messages()
        self._flushes = 0
        self._settling: Iterator[object] | None = None
        self._utterance = 0
        self._told = ""

    def run(self) -> None:
        """Until the input ends."""
        self._tell(Kind.READY)
        busy = False
        while True:
            if select.select([self._input_fd], [], [], 0 if busy else None)[0]:
                data = os.read(self._input_fd, _READ_BYTES)
                if not data:
                    return
                for kind, body in self._messages.push(data):
                    self._take(kind, body)
            busy = self._work()

    def _take(self, kind: Kind, body: bytes) -> None:
        match kind:
            case Kind.AUDIO:
                self._decoder.push(np.frombuffer(body, "<i2").astype(np.float32) / 32768.0)
            case Kind.FLUSH:
                self._flushes += 1
            case Kind.COMMIT:
                self._utterance, _ = read_numbered(body)
                self._decoder.commit()
                self._settling = None
                self._flushes = 0
                self._told = ""
            case _:
                raise ValueError(f"a worker is not told {kind.name}")

    def _work(self) -> bool:
        """One slice; False when there is nothing to do until more is told."""
        if self._settling is None and self._flushes:
            self._settling = iter(self._decoder.settle())
        if self._settling is None:
            busy = self._decoder.work()
            if self._decoder.partial != self._told:
                self._told = self._decoder.partial
                self._tell(Kind.PARTIAL, numbered(self._utterance, self._told))
            return busy
        reading = next(self._settling, None)
        if reading is not None:
            self._settling = None
            self._flushes -= 1
            self._told = self._decoder.partial
            self._tell(Kind.SETTLED, numbered(self._utterance, self._told))
        return True

    def _tell(self, kind: Kind, body: bytes = b"") -> None:
        data = message(kind, body)
        while data:
            data = data[os.write(self._output_fd, data) :]


def main() -> None:
    """Serve standard input and output; whatever a library prints goes elsewhere."""
    output_fd = os.dup(1)
    os.dup2(2, 1)
    with suppress(OSError, AttributeError):
        os.nice(_NICENESS)
    with suppress(BrokenPipeError, KeyboardInterrupt):
        Worker(0, output_fd).run()


if __name__ == "__main__":
    main()
