"""One conversation's ear on a realtime transcription service: connection after connection, without losing a word."""

import asyncio
import base64
import json
import logging
import math
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Protocol

from openai.resources.realtime.realtime import AsyncRealtimeConnection

from kame_core.audio import SAMPLE_RATE_HZ, Samples, to_int16
from kame_core.errors import SpeechToTextError
from kame_core.languages import primary_code
from kame_core.stt.base import MULTIPLE, RecognizerUpdate
from kame_core.stt.outbox import Outbox
from kame_core.stt.speech_parts import Part, Utterance

log = logging.getLogger(__name__)

Event = dict[str, Any]

CLOSE_DEADLINE_S = 0.5
_MAX_SAMPLES = 30 * SAMPLE_RATE_HZ
_MAX_PART_SAMPLES = 15 * SAMPLE_RATE_HZ
_LEAST_SAMPLES = SAMPLE_RATE_HZ // 8
"""The service refuses to read less than 100 ms."""
_MAX_APPEND_PIECES = 64
_WATCH_INTERVAL_S = 0.25
_FIRST_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 2.0
_REFUSED_BACKOFF_S = 30.0
_STABLE_S = 5.0
_TOLD_AFTER_S = 2.0
"""An outage that ends sooner is not worth a word: nothing is lost."""
_MOST_TRIES = 3
_MOST_ITEMS = 64
_MAX_RENEWAL_DELAY_S = 300.0
_TRANSCRIPTION = "conversation.item.input_audio_transcription."


class Service(Protocol):
    """What a recogniser needs of the engine that opened it."""

    session_s: float
    answer_deadline_s: float
    give_up_s: float

    async def connect(self, language: str) -> "Line":
        """A connection with a configured session.

        Raises:
            SpeechToTextError: it cannot be had now (retryable) or ever.
        """

    def forget(self, recognizer: "RealtimeRecognizer") -> None:
        """A recogniser has closed."""


class Line:
    """One connection, and what was said on it."""

    def __init__(self, connection: AsyncRealtimeConnection, now_s: float, language: str) -> None:
        self._connection = connection
        self.since_s = now_s
        self.language = language
        self.over = asyncio.Event()
        self.commits: deque[Part] = deque()
        """Committed, and not yet told under which id."""
        self.sent: deque[Part] = deque()
        """Sent at least in part, with no id known."""
        self.clearing = False
        self._ids: dict[str, Part] = {}

    async def send(self, kind: str, **fields: object) -> None:
        """Send an event. Plain JSON: the package's typed events take milliseconds to prepare at first use."""
        await self._connection.send_raw(json.dumps({"type": kind, **fields}))

    async def receive(self) -> Event:
        """The next event.

        Raises:
            ValueError: it makes no sense. Others: the connection is closed or broken.
        """
        event = json.loads(await self._connection.recv_bytes())
        if not isinstance(event, dict):
            raise ValueError("an event is an object")
        return event

    async def aclose(self) -> None:
        """Hang up, however broken the connection is."""
        with suppress(Exception):
            async with asyncio.timeout(2 * CLOSE_DEADLINE_S):
                await self._connection.close()

    def part_of(self, item_id: str) -> Part | None:
        """The part a reading is about. A new id belongs to the oldest part that has none."""
        part = self._ids.get(item_id)
        if part is None and self.sent and not self.clearing:
            part = self.sent.popleft()
            self._remember(item_id, part)
        return part

    def committed(self, item_id: str) -> None:
        """The service confirms the oldest commit."""
        if not self.commits:
            return
        part = self.commits.popleft()
        self._remember(item_id, part)
        if part in self.sent:
            self.sent.remove(part)
        if not part.dropped:  # it was sent after whatever was cleared
            self.clearing = False

    def _remember(self, item_id: str, part: Part) -> None:
        self._ids[item_id] = part
        while len(self._ids) > _MOST_ITEMS:
            del self._ids[next(iter(self._ids))]


class RealtimeRecognizer:
    """One conversation's ear; see `Recognizer`. Opened by `OpenAIRealtimeSpeechToText`; used on the loop only."""

    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, engine: "Service", language: str, line: Line) -> None:
        self._engine = engine
        self._language = language
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox()
        self._utterance = Utterance(0, _MAX_SAMPLES, _MAX_PART_SAMPLES)
        self._line: Line | None = line
        self._clear = False
        self._news = asyncio.Event()
        self._out_since_s: float | None = None
        self._outage: SpeechToTextError | None = None
        self._closed = False
        self._task = asyncio.create_task(self._live(), name="realtime transcription")
        self.lost_samples = 0
        """Sound that was given up unread, all utterances together."""

    def push(self, samples: Samples) -> None:
        """Add speech, float32 [n] mono 24 kHz; never blocks. Beyond 30 s unread the oldest is dropped and counted."""
        if self._closed or samples.size == 0:
            return
        before = self._utterance.dropped_samples
        overtaken = self._utterance.push(to_int16(samples).astype("<i2").tobytes(), self._loop.time())
        self._clear = self._clear or overtaken
        self.lost_samples += self._utterance.dropped_samples - before
        self._news.set()

    def flush(self) -> None:
        """Ask for a settled reading."""
        if self._closed:
            return
        self._utterance.flush(self._loop.time(), _LEAST_SAMPLES)
        self._news.set()
        self._answer()

    def commit(self) -> None:
        """Begin the next utterance."""
        if self._closed:
            return
        self._clear = self._clear or self._utterance.half_sent
        self._utterance.drop()
        self._utterance = Utterance(self._utterance.number + 1, _MAX_SAMPLES, _MAX_PART_SAMPLES)
        self._outbox.drop_readings()
        self._news.set()

    def updates(self) -> AsyncIterator[RecognizerUpdate]:
        """Readings as they come; for one reader."""
        return self._outbox

    def expect(self, languages: tuple[str, ...]) -> None:
        """These languages are spoken (tags). Of several the service is told none; which it was, it does not say.

        The connection is renewed for that as soon as nobody speaks.
        """
        self._language = language_code(languages)

    async def aclose(self) -> None:
        """Hang up; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._outbox.close()
        self._utterance.drop()
        self._task.cancel()
        await asyncio.wait([self._task])
        self._engine.forget(self)

    # --- tasks ---

    async def _live(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch())
                await self._keep_connected()
        except Exception:
            log.exception("a realtime transcription ended unexpectedly")
            self._fault(SpeechToTextError("The recogniser broke down. Hang up and call again.", retryable=False))

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            line = self._line
            if line is None:
                try:
                    line = self._line = await self._engine.connect(self._language)
                except SpeechToTextError as error:
                    failures += 1
                    self._outage = error
                    await asyncio.sleep(_backoff_s(failures) if error.retryable else _REFUSED_BACKOFF_S)
                    continue
            self._out_since_s = self._outage = None
            await self._use(line)
            self._line = None
            self._clear = False
            self._out_since_s = self._loop.time()
            for part in self._utterance.parts:
                part.send_again()
            stable = self._loop.time() - line.since_s > _STABLE_S
            failures = 0 if stable else failures + 1
            if not stable:
                await asyncio.sleep(_backoff_s(failures))

    async def _use(self, line: Line) -> None:
        """Talk on a connection until it is over."""
        self._news.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send(line))
                receiving = tasks.create_task(self._receive(line))
                await line.over.wait()
                sending.cancel()
                receiving.cancel()
        finally:
            await line.aclose()

    async def _watch(self) -> None:
        """Ends a connection that owes an answer for too long or has grown old; gives up what was asked in vain."""
        engine = self._engine
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            now_s = self._loop.time()
            utterance, line = self._utterance, self._line
            lasts = self._out_since_s is not None and now_s - self._out_since_s > _TOLD_AFTER_S
            if lasts and self._outage is not None and utterance.parts:
                self._fault(self._outage)
                self._outage, self._out_since_s = None, math.inf  # told once
            for part in [part for part in utterance.parts if part.complete and part.text is None]:
                if part.tries >= _MOST_TRIES or now_s - part.complete_at_s > engine.give_up_s:
                    self._give_up(utterance, part)
                elif line is not None:
                    asked_at_s = part.asked_at_s if part.commit_sent else max(part.complete_at_s, line.since_s)
                    if now_s - asked_at_s > engine.answer_deadline_s:
                        log.info("the transcription service owes a reading; connecting again")
                        line.over.set()
            if line is not None:
                age_s = now_s - line.since_s - engine.session_s
                wanted = age_s > 0 or line.language != self._language
                if age_s > _MAX_RENEWAL_DELAY_S or (wanted and not utterance.parts):
                    line.over.set()

    def _give_up(self, utterance: Utterance, part: Part) -> None:
        self.lost_samples += part.samples
        utterance.finish(part, part.reading)
        self._fault(SpeechToTextError("Part of what you said could not be understood; say it again."))
        self._answer()

    # --- sending ---

    async def _send(self, line: Line) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                if self._clear:
                    self._clear = False
                    line.clearing = True
                    line.sent = deque(part for part in line.sent if not part.dropped)
                    await line.send("input_audio_buffer.clear")
                for part in list(self._utterance.parts):
                    while part.untold:
                        await self._send_some(line, part)
        except Exception as error:  # whatever a broken WebSocket raises
            log.info("sending to the transcription service failed: %s", type(error).__name__)
            line.over.set()

    async def _send_some(self, line: Line, part: Part) -> None:
        pieces = part.sound[part.sent_pieces : part.sent_pieces + _MAX_APPEND_PIECES]
        if pieces:
            if part.sent_pieces == 0:
                line.sent.append(part)
            part.sent_pieces += len(pieces)
            await line.send("input_audio_buffer.append", audio=base64.b64encode(b"".join(pieces)).decode())
        elif part.complete and not part.commit_sent:
            part.commit_sent = True
            part.asked_at_s = self._loop.time()
            line.commits.append(part)
            await line.send("input_audio_buffer.commit")

    # --- receiving ---

    async def _receive(self, line: Line) -> None:
        try:
            while True:
                self._take(line, await line.receive())
        except Exception as error:  # closed, broken, or no JSON
            log.info("the transcription service's connection ended: %s", type(error).__name__)
            line.over.set()

    def _take(self, line: Line, event: Event) -> None:
        kind = str(event.get("type"))
        item_id = str(event.get("item_id"))
        if kind == "input_audio_buffer.committed":
            line.committed(item_id)
        elif kind == "input_audio_buffer.cleared":
            line.clearing = False
        elif kind == "error":
            log.info("the transcription service tells of an error: %s", error_code(event))
            line.over.set()  # an expired session, a fault of the service: all that is unread is sent to the next one
        elif kind.startswith(_TRANSCRIPTION) and (part := line.part_of(item_id)) is not None and not part.dropped:
            match kind.removeprefix(_TRANSCRIPTION):
                case "delta":
                    part.heard += str(event.get("delta") or "")
                    self._read()
                case "completed":
                    self._utterance.finish(part, str(event.get("transcript", part.heard) or ""))
                    self._read()
                    self._answer()
                case "failed":
                    line.over.set()  # sent again on a fresh connection, a few times

    # --- telling ---

    def _read(self) -> None:
        text = self._utterance.text
        if text:
            self._outbox.put(RecognizerUpdate(self._utterance.number, text))

    def _answer(self) -> None:
        for _ in range(self._utterance.answered()):
            self._outbox.put(RecognizerUpdate(self._utterance.number, self._utterance.text, settled=True))

    def _fault(self, error: SpeechToTextError) -> None:
        self._outbox.put(RecognizerUpdate(self._utterance.number, self._utterance.text, fault=error))


def language_code(tags: tuple[str, ...]) -> str:
    """The code (ISO 639) the service is told; empty: it finds out by itself."""
    codes = {primary_code(tag) for tag in tags}
    return "" if len(codes) != 1 or codes & {"", "auto", "und", MULTIPLE} else codes.pop()


def error_code(event: Event) -> str:
    """Of an `error` event; its type where it has no code."""
    error = event.get("error")
    return str((error.get("code") or error.get("type")) if isinstance(error, dict) else "")


def _backoff_s(failures: int) -> float:
    doubled = _FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 8)
    return min(_LONGEST_BACKOFF_S, doubled) * random.uniform(0.7, 1.3)
