"""Speech-to-text with Whisper through faster-whisper: streaming by reading the growing utterance again and again.

Whisper (Radford et al. 2022, https://arxiv.org/abs/2212.04356) reads windows of 30 s and takes nearly the same time for
each, however little sound it holds (measured: base, int8, one core: 1.3 s for 2 s as for 6 s of speech). So it is read
at most every 500 ms of new sound, and never more than two thirds of the time. Shorter windows would be faster, but
models that were not trained on them fall into repetitions (https://github.com/ggml-org/whisper.cpp/issues/1951).

All recognisers of an engine share one model and one worker: pauses are read before partials, else in turn.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kame_core.audio import Samples
from kame_core.errors import SpeechToTextError
from kame_core.languages import primary_code
from kame_core.stt.base import MULTIPLE, RecognizerUpdate
from kame_core.stt.local_agreement import LocalAgreement
from kame_core.stt.outbox import Outbox
from kame_core.stt.whisper_files import fetch_whisper, locate_whisper
from kame_core.stt.whisper_reader import RATE_HZ, Reading, WhisperReader
from kame_core.workers import ThreadWorkers, Workers

log = logging.getLogger(__name__)

_WINDOW_SAMPLES = 30 * RATE_HZ
_INTERVAL_SAMPLES = RATE_HZ // 2
_MAX_BUSY_SHARE = 2 / 3
_MAX_BACK_OFF_SAMPLES = 8 * RATE_HZ
_FIXES_LANGUAGE_SAMPLES = 3 * RATE_HZ
_MAY_FIX_LANGUAGE_SAMPLES = RATE_HZ
_SURE_OF_LANGUAGE = 0.95
"""One second is enough where the choice is so clear; detection costs as much as reading."""
_LANGUAGE_ALIASES = {"nb": "no", "iw": "he", "jv": "jw", "cmn": "zh", "fil": "tl", "in": "id", "mo": "ro"}
_DETECTED = ("", "auto", "und", MULTIPLE)


@dataclass(frozen=True, slots=True)
class _Job:
    utterance: int
    pieces: tuple[Samples, ...]
    clipped: bool
    answers: int
    """Flushes that this reading answers; 0: a partial."""


class _Queue:
    """Who wants to be read next. Bounded by the number of recognisers: each stands in it at most once."""

    def __init__(self) -> None:
        self._settling: dict[WhisperRecognizer, None] = {}
        self._partials: dict[WhisperRecognizer, None] = {}
        self._asked = asyncio.Event()

    def ask(self, recognizer: "WhisperRecognizer", *, settling: bool) -> None:
        """Stand in line; who stands already keeps the place, a pause goes before all partials."""
        if settling:
            self._partials.pop(recognizer, None)
            self._settling.setdefault(recognizer)
        elif recognizer not in self._settling:
            self._partials.setdefault(recognizer)
        self._asked.set()

    def leave(self, recognizer: "WhisperRecognizer") -> None:
        """Want nothing any more."""
        self._settling.pop(recognizer, None)
        self._partials.pop(recognizer, None)

    async def next(self) -> "WhisperRecognizer":
        """The first in line, taken out."""
        while True:
            line = self._settling or self._partials
            if line:
                recognizer = next(iter(line))
                self.leave(recognizer)
                return recognizer
            self._asked.clear()
            await self._asked.wait()


class WhisperRecognizer:
    """One conversation's ear; see `Recognizer`. Opened by `FasterWhisperSpeechToText`; used on the loop only."""

    sample_rate_hz = RATE_HZ

    def __init__(self, queue: _Queue, languages: tuple[str, ...], known: frozenset[str]) -> None:
        self._queue = queue
        self._languages = languages
        self._known = known
        self._heard_language = ""
        self._fixed_language = ""
        self._outbox = Outbox()
        self._agreement = LocalAgreement()
        self._utterance = 0
        self._shown = ""
        self._pieces: deque[Samples] = deque()
        self._samples = 0
        self._clipped = False
        self._unread_samples = 0
        self._interval_samples = _INTERVAL_SAMPLES
        self._flush: _Job | None = None
        self._reading = False
        self._closed = False

    def push(self, samples: Samples) -> None:
        """Add sound, float32 [n] mono 16 kHz; never blocks. Of more than 30 s the oldest is dropped."""
        if self._closed or samples.size == 0:
            return
        self._pieces.append(samples)
        self._samples += samples.size
        self._unread_samples += samples.size
        while self._samples > _WINDOW_SAMPLES:
            excess = self._samples - _WINDOW_SAMPLES
            oldest = self._pieces.popleft()
            if oldest.size > excess:
                self._pieces.appendleft(oldest[excess:])
            self._samples -= min(oldest.size, excess)
            self._clipped = True
        self._ask_if_due()

    def flush(self) -> None:
        """Answer with one settled reading of all that was pushed; a flush not yet begun is answered along with it."""
        if self._closed:
            return
        if not self._pieces:
            self._outbox.put(RecognizerUpdate(self._utterance, "", settled=True))
            return
        answers = 1 + (self._flush.answers if self._flush else 0)
        self._flush = _Job(self._utterance, tuple(self._pieces), self._clipped, answers)
        self._unread_samples = 0
        self._queue.ask(self, settling=True)

    def commit(self) -> None:
        """Begin the next utterance; readings of older ones no longer come."""
        self._utterance += 1
        self._pieces.clear()
        self._samples = self._unread_samples = 0
        self._clipped = False
        self._flush = None
        self._shown = self._heard_language = self._fixed_language = ""
        self._agreement = LocalAgreement()
        self._queue.leave(self)
        self._outbox.drop_readings()

    def updates(self) -> AsyncIterator[RecognizerUpdate]:
        """Readings in order; for one reader."""
        return self._outbox

    def expect(self, languages: tuple[str, ...]) -> None:
        """From the next reading on one of these languages is spoken (tags).

        Raises:
            SpeechToTextError: the model does not know one of them (`unsupported_language`).
        """
        self._languages = _language_codes(languages, self._known)
        self._heard_language = self._fixed_language = ""

    @property
    def closed(self) -> bool:
        """`aclose` was called."""
        return self._closed

    async def aclose(self) -> None:
        """End at once; what is being read on the worker is thrown away when done."""
        self._closed = True
        self._queue.leave(self)
        self._pieces.clear()
        self._flush = None
        self._outbox.close()

    # --- for the engine ---

    async def read(self, reader: WhisperReader, workers: Workers) -> None:
        """Its turn has come: read once."""
        job, self._flush = self._flush, None
        if job is None:
            job = _Job(self._utterance, tuple(self._pieces), self._clipped, 0)
            self._unread_samples = 0
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self._reading = True
        try:
            languages = (self._fixed_language,) if self._fixed_language else self._languages
            reading = await workers.run(reader.read, job.pieces, languages, settled=job.answers > 0)
        except Exception as error:
            log.warning("Whisper could not read %d ms of sound", _duration_ms(job), exc_info=error)
            self._failed(job)
        else:
            took_samples = round((loop.time() - began_s) * RATE_HZ)
            self._interval_samples = max(_INTERVAL_SAMPLES, round(took_samples / _MAX_BUSY_SHARE))
            self._understood(job, reading)
        finally:
            self._reading = False
            self._ask_if_due()

    def _ask_if_due(self) -> None:
        if not (self._reading or self._closed) and self._unread_samples >= self._interval_samples:
            self._queue.ask(self, settling=False)

    def _understood(self, job: _Job, reading: Reading) -> None:
        if self._closed or job.utterance != self._utterance:
            return
        if len(self._languages) != 1:
            self._note_language(job, reading)
        if job.answers:
            self._shown = self._agreement.settle(reading.text, clipped=job.clipped)
            self._answer(job, None)
        elif reading.text and not reading.doubtful:
            text = self._agreement.push(reading.text)
            if text != self._shown:
                self._shown = text
                self._outbox.put(RecognizerUpdate(job.utterance, text, language=self._heard_language))

    def _note_language(self, job: _Job, reading: Reading) -> None:
        self._heard_language = reading.language or self._heard_language
        samples = sum(piece.size for piece in job.pieces)
        sure = samples >= _MAY_FIX_LANGUAGE_SAMPLES and reading.language_share >= _SURE_OF_LANGUAGE
        if sure or samples >= _FIXES_LANGUAGE_SAMPLES:
            self._fixed_language = self._heard_language

    def _failed(self, job: _Job) -> None:
        """Tell; the sound is kept and read again later, less often while this goes on."""
        self._interval_samples = min(2 * self._interval_samples, _MAX_BACK_OFF_SAMPLES)
        if self._closed or job.utterance != self._utterance:
            return
        fault = SpeechToTextError("Part of what you said could not be understood. It goes on listening; say it again.")
        if job.answers:
            self._answer(job, fault)
        else:
            self._outbox.put(RecognizerUpdate(job.utterance, self._shown, fault=fault))

    def _answer(self, job: _Job, fault: SpeechToTextError | None) -> None:
        answer = RecognizerUpdate(job.utterance, self._shown, settled=True, language=self._heard_language)
        self._outbox.put(replace(answer, fault=fault))
        for _ in range(job.answers - 1):
            self._outbox.put(answer)


def _duration_ms(job: _Job) -> int:
    return sum(piece.size for piece in job.pieces) * 1000 // RATE_HZ


# --- the engine ---


class FasterWhisperSpeechToText:
    """Opens recognisers on one shared Whisper model.

    Args:
        model: a directory with a CTranslate2 Whisper model, or a size found by `locate_whisper`.
        device: "cpu", "cuda", or "auto": CUDA where CTranslate2 sees and can use it, else the CPU (int8).
        workers: where the model is loaded and read; by default a thread of its own. Injected ones are not closed.
        language: spoken where `open` is given none; "auto" detects it anew in each utterance.
    """

    name = "faster-whisper"

    def __init__(
        self, model: Path | str, *, device: str = "auto", workers: Workers | None = None, language: str = "auto"
    ) -> None:
        self._model = model
        self._device = device
        self._language = language
        self._owns_workers = workers is None
        self._workers: Workers = workers if workers is not None else ThreadWorkers("whisper")
        self._queue = _Queue()
        self._reader: WhisperReader | None = None
        self._serving: asyncio.Task[None] | None = None
        self._loading = asyncio.Lock()
        self._recognizers: set[WhisperRecognizer] = set()
        self._closed = False

    @property
    def running_on(self) -> str:
        """Device and precision, such as "cpu int8"; empty before it is loaded."""
        return self._reader.running_on if self._reader else ""

    async def load(self) -> None:
        """Load the model and try it; idempotent.

        Raises:
            SpeechToTextError: it is not there, cannot be used, or the engine is closed.
        """
        await self._loaded()

    async def open(self, language: str) -> WhisperRecognizer:
        """A recogniser for a language tag such as "en-GB"; "auto" detects it.

        Raises:
            SpeechToTextError: the model cannot be loaded, or does not know the language (`unsupported_language`).
        """
        reader = await self._loaded()
        languages = _language_codes((language or self._language,), reader.languages)
        recognizer = WhisperRecognizer(self._queue, languages, reader.languages)
        self._recognizers = {other for other in self._recognizers if not other.closed} | {recognizer}
        return recognizer

    async def aclose(self) -> None:
        """Close all recognisers and free the model; idempotent; a reading in progress ends on its thread."""
        if self._closed:
            return
        self._closed = True
        for recognizer in self._recognizers:
            await recognizer.aclose()
        if self._serving is not None:
            self._serving.cancel()
            with suppress(asyncio.CancelledError):
                await self._serving
        self._reader = None
        if self._owns_workers:
            self._workers.close()

    async def _loaded(self) -> WhisperReader:
        async with self._loading:
            if self._reader is None and not self._closed:
                self._reader = await self._workers.run(self._load)
                self._serving = asyncio.create_task(self._serve(self._reader), name="whisper")
            if self._closed or self._reader is None:
                raise SpeechToTextError("The recogniser has been closed.", retryable=False)
            return self._reader

    def _load(self) -> WhisperReader:
        folder = locate_whisper(str(self._model))
        if folder is None:
            raise SpeechToTextError(
                f"There is no Whisper model {Path(self._model).name} on disk. Name a model directory, or fetch it.",
                code="model_missing",
                retryable=False,
            )
        return WhisperReader(folder, self._device)

    async def _serve(self, reader: WhisperReader) -> None:
        """Owned by the engine from loading to closing; one reading at a time."""
        while True:
            recognizer = await self._queue.next()
            await recognizer.read(reader, self._workers)


def _language_codes(tags: tuple[str, ...], known: frozenset[str]) -> tuple[str, ...]:
    """Whisper's codes for language tags; none: detect."""
    codes = tuple(dict.fromkeys(_language_code(tag, known) for tag in tags))
    return () if "" in codes else codes


def _language_code(tag: str, known: frozenset[str]) -> str:
    """Whisper's code for a language tag (BCP 47); empty: detect."""
    primary = primary_code(tag)
    if primary in _DETECTED:
        return "" if len(known) > 1 else "en"
    code = _LANGUAGE_ALIASES.get(primary, primary)
    if code in known:
        return code
    hint = "It knows only English: choose a model whose name does not end in .en." if len(known) == 1 else ""
    raise SpeechToTextError(
        f"This Whisper model does not know the language {tag!r}. {hint or 'Use a tag such as en, de or pt-BR.'}",
        code="unsupported_language",
        retryable=False,
    )


__all__ = ["FasterWhisperSpeechToText", "WhisperRecognizer", "fetch_whisper", "locate_whisper"]
