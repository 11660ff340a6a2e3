"""The bridge from the ticker's thread, which may not wait, to an asynchronous voice on the event loop."""

import asyncio
import logging
from contextlib import aclosing
from typing import Protocol

from kame_core.errors import KameError, TextToSpeechError
from kame_core.tts.base import SpeechChunk, TextToSpeech

log = logging.getLogger(__name__)

_PHRASE_DEADLINE_S = 10.0
_MOST_WAITING = 1024


class Utterance:
    """A text on its way to sound.

    Written by the synthesiser, read by the ticker's thread. Safe without a lock: `chunks` only grows, and `done` is
    set after the last chunk, so a reader that looks at `done` first misses nothing.
    """

    __slots__ = ("cancelled", "chunks", "done", "error", "language", "text", "voice")

    def __init__(self, text: str, voice: str, language: str = "") -> None:
        self.text = text
        self.voice = voice
        self.language = language
        self.chunks: list[SpeechChunk] = []
        self.done = False
        self.error: KameError | None = None
        self.cancelled = False

    def cancel(self) -> None:
        """Its sound is not wanted any more; what runs stops at the next chunk."""
        self.cancelled = True

    def end(self, error: KameError | None = None) -> None:
        """No more chunks come."""
        self.error = error
        self.done = True


class Synthesiser(Protocol):
    """Turns texts into sound elsewhere."""

    def submit(self, text: str, voice: str, language: str = "") -> Utterance:
        """Begin; never blocks, never raises. What fails or finds the queue full ends with `Utterance.error`.

        `voice` and `language` as for `TextToSpeech.speak`.
        """


class LoopSynthesiser:
    """Speaks on the event loop it was made on, in the order of submission, `parallel` texts at a time.

    In virtual time the same class works inline: everything is done before time moves on, if the voice's workers are
    `InlineWorkers`. Overflow policy: a text beyond 1,024 waiting ones ends with an error at once.

    Args:
        tts: the voice; not closed with this.
        parallel: how many texts at a time; 1 is enough for a voice that is far faster than real time.
    """

    def __init__(self, tts: TextToSpeech, *, parallel: int = 2) -> None:
        self._tts = tts
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Queue[Utterance] = asyncio.Queue(_MOST_WAITING)
        self._tasks = [
            self._loop.create_task(self._work(), name=f"synthesiser-{index}") for index in range(max(1, parallel))
        ]
        self.failures = 0

    def submit(self, text: str, voice: str, language: str = "") -> Utterance:
        """See `Synthesiser`. For any thread."""
        utterance = Utterance(text, voice, language)
        try:
            self._loop.call_soon_threadsafe(self._enqueue, utterance)
        except RuntimeError:  # the loop is closed
            utterance.end(TextToSpeechError("The voice has been closed.", retryable=False))
        return utterance

    async def idle(self) -> None:
        """Return when everything submitted on this loop so far has ended."""
        await asyncio.sleep(0)
        await self._waiting.join()

    async def aclose(self) -> None:
        """Stop; what waits ends with an error. Idempotent."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        while not self._waiting.empty():
            self._waiting.get_nowait().end(TextToSpeechError("The voice has been closed.", retryable=False))
            self._waiting.task_done()

    def _enqueue(self, utterance: Utterance) -> None:
        if not self._tasks:
            utterance.end(TextToSpeechError("The voice has been closed.", retryable=False))
        elif self._waiting.full():
            utterance.end(TextToSpeechError("The voice has too much to say at once. Try again.", code="tts_busy"))
        else:
            self._waiting.put_nowait(utterance)

    async def _work(self) -> None:
        while True:
            utterance = await self._waiting.get()
            error: KameError | None = TextToSpeechError("The voice was stopped.")
            try:
                error = await self._speak(utterance)
            finally:
                utterance.end(error)
                self._waiting.task_done()

    async def _speak(self, utterance: Utterance) -> KameError | None:
        if utterance.cancelled:
            return None
        try:
            async with asyncio.timeout(_PHRASE_DEADLINE_S):
                await self._collect(utterance)
        except KameError as error:
            failure = error
        except TimeoutError:
            failure = TextToSpeechError("The voice took too long for a phrase.", code="tts_timeout")
        except Exception as error:
            # the message could hold what was to be said
            failure = TextToSpeechError(f"The voice broke down ({type(error).__name__}).")
        else:
            return None
        self.failures += 1
        log.warning("a phrase was not spoken: %s", failure.code)
        return failure

    async def _collect(self, utterance: Utterance) -> None:
        async with aclosing(self._tts.speak(utterance.text, utterance.voice, utterance.language)) as chunks:
            async for chunk in chunks:
                if utterance.cancelled:
                    return
                utterance.chunks.append(chunk)
