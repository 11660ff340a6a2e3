"""Embedded speech-to-text: pocketsphinx, each recogniser in a process of its own, some processes kept ready."""

import asyncio
import logging
import os
import sys
import weakref
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from kame_core.audio import Samples, to_int16
from kame_core.errors import SpeechToTextError, UnavailableError
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.outbox import Outbox
from kame_core.stt.pocketsphinx_worker import Kind, Messages, message, numbered, read_numbered

log = logging.getLogger(__name__)

RATE_HZ = 16_000
_MAX_UTTERANCE_SAMPLES = 30 * RATE_HZ
_MAX_UNSENT_BYTES = 2 * _MAX_UTTERANCE_SAMPLES
_START_DEADLINE_S = 60.0
_END_DEADLINE_S = 1.0
_MAX_RESTARTS = 3
"""In one utterance; a sound that kills the decoder each time is given up then."""
_SOURCES = Path(__file__).resolve().parents[2]


class _Process:
    """One worker process. Made by `spawn`; its models are loaded once `ready` returns."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._messages = Messages()
        self._unread: deque[tuple[Kind, bytes]] = deque()
        self._listens = False

    @classmethod
    async def spawn(cls) -> "_Process":
        """A process that loads its models."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_SOURCES), *_python_path()])}
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "kame_core.stt.pocketsphinx_worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment,
            )
        )

    async def ready(self) -> None:
        """Return when its models are loaded.

        Raises:
            SpeechToTextError: it did not start.
        """
        try:
            async with asyncio.timeout(_START_DEADLINE_S):
                greeting = await self.read()
        except TimeoutError:
            raise _no_start(
                f"was not ready within {_START_DEADLINE_S:.0f} s. The machine is too busy or too slow: try again later"
            ) from None
        if greeting is None:
            raise _no_start("did not start. Install again with: pip install -r requirements.txt")
        self._listens = True

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def send(self, data: bytes) -> bool:
        """Queue a message; False: the process is gone or far behind, and the message is dropped."""
        if not self.alive or self._stdin.is_closing():
            return False
        if self._stdin.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            return False
        self._stdin.write(data)
        return True

    async def read(self) -> tuple[Kind, bytes] | None:
        """The next message; None when the process has ended."""
        while not self._unread:
            try:
                data = await self._stdout.read(1 << 16)
            except ConnectionError:
                return None
            if not data:
                return None
            self._unread.extend(self._messages.push(data))
        return self._unread.popleft()

    async def end(self) -> None:
        """Ask it to end, and make it end; one that still loads listens to nobody. May be called again."""
        self._stdin.close()
        try:
            async with asyncio.timeout(_END_DEADLINE_S if self._listens else 0.0):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def _python_path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _no_start(what: str) -> SpeechToTextError:
    return SpeechToTextError(f"The speech recogniser {what}.", code="stt_not_started")


class PocketsphinxRecognizer:
    """One conversation's ear; see `Recognizer`. Opened by `PocketsphinxSpeechToText`; used on the loop only.

    The sound of the utterance in progress is kept here too (30 s at most), so that a process that dies loses nothing:
    the next one gets it again.
    """

    sample_rate_hz = RATE_HZ

    def __init__(self, engine: "PocketsphinxSpeechToText", process: _Process) -> None:
        self._engine = engine
        self._process = process
        self._outbox = Outbox()
        self._utterance = 0
        self._sound: deque[bytes] = deque()
        self._sound_samples = 0
        self._shown = ""
        self._unanswered = 0
        self._restarts = 0
        self._closed = False
        self._reader = asyncio.create_task(self._read(), name="pocketsphinx reader")
        self.dropped_samples = 0

    @property
    def pid(self) -> int:
        """Of the process that decodes now."""
        return self._process.pid

    def push(self, samples: Samples) -> None:
        """Add speech."""
        if self._closed or samples.size == 0:
            return
        body = to_int16(samples).astype("<i2").tobytes()
        self._sound.append(body)
        self._sound_samples += samples.size
        while self._sound_samples > _MAX_UTTERANCE_SAMPLES and len(self._sound) > 1:
            self._sound_samples -= len(self._sound.popleft()) // 2
        if not self._process.send(message(Kind.AUDIO, body)) and self._process.alive:
            self.dropped_samples += samples.size

    def flush(self) -> None:
        """Ask for a settled reading."""
        if not self._closed:
            self._unanswered += 1
            self._process.send(message(Kind.FLUSH))

    def commit(self) -> None:
        """Begin the next utterance."""
        if self._closed:
            return
        self._utterance += 1
        self._sound.clear()
        self._sound_samples = self._unanswered = self._restarts = 0
        self._shown = ""
        self._outbox.drop_readings()
        self._process.send(message(Kind.COMMIT, numbered(self._utterance)))

    def updates(self) -> AsyncIterator[RecognizerUpdate]:
        """Readings as they come."""
        return self._outbox

    async def aclose(self) -> None:
        """End the process; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._outbox.close()
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await self._engine.end(self._process)

    # --- what the process tells ---

    async def _read(self) -> None:
        while True:
            told = await self._process.read()
            if told is None:
                if not await self._replace():
                    return
                continue
            kind, body = told
            utterance, text = read_numbered(body)
            if utterance != self._utterance:
                continue
            settled = kind is Kind.SETTLED
            if settled:
                self._unanswered = max(0, self._unanswered - 1)
            self._shown = text
            self._outbox.put(RecognizerUpdate(utterance, text, settled))

    async def _replace(self) -> bool:
        """The process died: tell, take another one and give it the utterance again; False: there is none."""
        self._restarts += 1
        log.warning("a speech recogniser process ended unexpectedly (exit code %s)", self._process.exit_code)
        fault = SpeechToTextError(
            "The speech recogniser crashed and was started again; a few words may be missing.", code="stt_crashed"
        )
        if self._restarts > _MAX_RESTARTS:  # this sound kills it
            self._sound.clear()
            self._sound_samples = 0
            self._shown = ""
        self._outbox.put(RecognizerUpdate(self._utterance, self._shown, fault=fault))
        await self._engine.end(self._process)
        try:
            self._process = await self._engine.take()
        except SpeechToTextError as error:
            self._outbox.put(RecognizerUpdate(self._utterance, "", fault=error))
            return False
        self._process.send(message(Kind.COMMIT, numbered(self._utterance)))
        for body in self._sound:
            self._process.send(message(Kind.AUDIO, body))
        for _ in range(self._unanswered):
            self._process.send(message(Kind.FLUSH))
        return True


class PocketsphinxSpeechToText:
    """Opens recognisers at once, from processes kept ready; needs about 0.2 GB of memory for each.

    Args:
        spares: processes kept ready beside those in use.
    """

    name = "pocketsphinx"
    languages = frozenset({"en"})

    def __init__(self, spares: int = 1) -> None:
        self._spares = spares
        self._processes: set[_Process] = set()
        """All that were spawned and are not known to have ended, whoever uses them: none outlives the engine."""
        self._ready: deque[_Process] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._open: weakref.WeakSet[PocketsphinxRecognizer] = weakref.WeakSet()
        self._closed = False

    async def open(self, language: str) -> PocketsphinxRecognizer:
        """A recogniser.

        Raises:
            SpeechToTextError: no process starts, or the language is not English.
        """
        if language.lower().partition("-")[0] != "en":
            raise SpeechToTextError(
                "The embedded recogniser knows English only. Use a Whisper model for other languages.",
                code="unsupported_language",
                retryable=False,
            )
        recognizer = PocketsphinxRecognizer(self, await self.take())
        self._open.add(recognizer)
        return recognizer

    async def take(self) -> _Process:
        """A ready process; another is started in its place.

        Raises:
            SpeechToTextError: none starts.
        """
        self._check_open()
        process: _Process | None = None
        while self._ready and process is None:
            candidate = self._ready.popleft()
            if candidate.alive:
                process = candidate
            else:
                await self.end(candidate)
        if process is None:
            process = await self._start()
        self._stock_up()
        return process

    def _stock_up(self) -> None:
        while not self._closed and len(self._ready) + len(self._starting) < self._spares:
            task = asyncio.create_task(self._start_spare(), name="pocketsphinx spare")
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self) -> _Process:
        process = await _Process.spawn()
        self._processes.add(process)
        try:
            await process.ready()
            self._check_open()
        except BaseException:
            await self.end(process)
            raise
        return process

    def _check_open(self) -> None:
        if self._closed:
            raise SpeechToTextError("The server is shutting down.", code="stt_closed", retryable=False)

    async def _start_spare(self) -> None:
        try:
            process = await self._start()
        except (SpeechToTextError, UnavailableError, OSError) as error:
            log.warning("no spare speech recogniser: %s", type(error).__name__)
            return
        self._ready.append(process)

    async def end(self, process: _Process) -> None:
        """End a process that was taken."""
        await process.end()
        self._processes.discard(process)

    async def aclose(self) -> None:
        """End all processes; idempotent."""
        self._closed = True
        for task in list(self._starting):
            task.cancel()
        ending = [recognizer.aclose() for recognizer in list(self._open)]
        await asyncio.gather(*ending, *(self.end(process) for process in list(self._processes)))
        if self._starting:
            await asyncio.wait(list(self._starting))
        self._ready.clear()
