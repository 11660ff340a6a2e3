"""One call: a transport and its wire protocol attached to a conversation. One TaskGroup, one end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from app.call_time import IDLE, SHUTDOWN, TIME_LIMIT, CallLimits, CallTime
from app.observability import CALL_ID
from app.protocol.kame_events import EndingEvent
from app.protocol.sound import SoundInput
from kame_core.audio import Samples, silence
from kame_core.errors import KameError
from kame_core.events import ConversationEnded, Event, FinalTranscript, ResponseEnded, Trouble

if TYPE_CHECKING:
    from app.webrtc.peer import PeerStats
    from kame_core.conversation import Conversation

log = logging.getLogger(__name__)

CLOSE_DEADLINE_S = 5.0
LAST_WORDS_S = 0.1
"""Time for a last message to leave before the connection is closed."""

HUNG_UP = "hangup"
CONVERSATION_ENDED = "conversation_ended"
REPLACED = "replaced"
BROKEN = "call_failed"

FAREWELLS: dict[str, Event] = {
    reason: Trouble(at_ms=0, error=KameError(message, code=code, retryable=True), fatal=True)
    for reason, message, code in (
        (TIME_LIMIT, "This call reached its longest time. Call again to go on.", "call_time_limit"),
        (SHUTDOWN, "The server is being restarted. Call again in a moment.", "server_shutdown"),
        (IDLE, "Nobody said anything for a while, so the call was ended. Call again to go on.", "call_idle"),
        (REPLACED, "This conversation goes on in another connection.", "call_replaced"),
    )
} | {reason: ConversationEnded(at_ms=0, reason=reason) for reason in (HUNG_UP, BROKEN)}
"""What a client is told when the server ends its call, so that it takes the end for no loss and does not come back."""


class Transport(Protocol):
    """The connection to one client. What it has to tell goes through the `Link` it was made with."""

    async def answer(self, offer: str) -> str:
        """Negotiate: the client's offer in, what it is to be answered out; both empty where nothing is to be agreed.

        Raises:
            KameError: the offer cannot be taken.
        """

    async def add_candidate(self, fragment: str) -> None:
        """Trickled ICE candidates (RFC 8840).

        Raises:
            InvalidRequestError: the fragment is malformed, or this is no WebRTC connection.
        """

    def send(self, text: str, *, droppable: bool = False) -> None:
        """A message to the client; `droppable` ones may be left out when it does not follow."""

    async def aclose(self) -> None:
        """Release everything; idempotent."""


class Codec(Protocol):
    """The wire protocol of one call."""

    @property
    def voice_open(self) -> bool:
        """The voice that is read now goes to the client in messages."""

    def speak(self, samples: Samples) -> None:
        """The voice that was just read; only where sound goes in messages."""

    def handle_event(self, event: Event) -> None:
        """Tell the client what happened."""

    def handle_text(self, raw: str) -> None:
        """Do what a client's message asks; never raises."""


class Voice(Protocol):
    """A source of outgoing sound."""

    @property
    def depth_samples(self) -> int:
        """What could be read at once, without running dry."""

    def read(self, samples: int, /) -> Samples:
        """Exactly that many samples, float32 mono 24 kHz; never blocks."""


class Line:
    """The sound of a call, both ways. Silence until something is connected: the transport is negotiated first, and
    only then is a place in the front end taken.
    """

    def __init__(self) -> None:
        self._voice: Voice | None = None
        self._hear: Callable[[Samples], None] | None = None

    def connect(self, voice: Voice, hear: Callable[[Samples], None]) -> None:
        """From now on send what `voice` gives and hand what arrives to `hear`."""
        self._voice, self._hear = voice, hear

    def disconnect(self) -> None:
        """Back to silence."""
        self._voice = self._hear = None

    @property
    def depth_samples(self) -> int:
        """What could be read at once."""
        return 0 if self._voice is None else self._voice.depth_samples

    def read(self, samples: int, /) -> Samples:
        """Outgoing sound, float32 [samples] mono 24 kHz."""
        return silence(samples) if self._voice is None else self._voice.read(samples)

    def push_audio(self, samples: Samples) -> None:
        """Incoming sound, float32 [n] mono 24 kHz."""
        if self._hear is not None:
            self._hear(samples)


class Link:
    """What a transport tells, passed on to its call, which may be made later."""

    def __init__(self) -> None:
        self.sound: SoundInput | None = None
        """Set by a transport whose client sends sound in messages."""
        self._call: Call | None = None
        self._connected = False
        self._open = False
        self._closed: str | None = None

    def connect(self, call: "Call") -> None:
        """From now on to this call, what happened before included."""
        self._call = call
        if self._connected:
            call.connected()
        if self._open:
            call.channel_opened()
        if self._closed is not None:
            call.client_gone(self._closed)

    @property
    def voice_open(self) -> bool:
        """The voice that is read now goes to the client in messages."""
        return self._call is not None and self._call.voice_open

    def speak(self, samples: Samples) -> None:
        """The voice that was just read, float32 [n] mono 24 kHz; for transports without an audio track."""
        if self._call is not None:
            self._call.speak(samples)

    def message_arrived(self, text: str) -> None:
        """The client sent a message."""
        if self._call is not None:
            self._call.message_arrived(text)

    def connected(self) -> None:
        """Sound flows."""
        self._connected = True
        if self._call is not None:
            self._call.connected()

    def channel_opened(self) -> None:
        """Messages can be exchanged."""
        self._open = True
        if self._call is not None:
            self._call.channel_opened()

    def closed(self, reason: str) -> None:
        """The client is gone."""
        self._closed = reason
        if self._call is not None:
            self._call.client_gone(reason)


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended."""

    reason: str
    conversation: "Conversation | None"
    """What it leaves behind; None where the conversation is over, or goes on in another call."""


class Call:
    """A live call. Made by `CallRegistry` once the transport is negotiated; owned by its one task until it ends.

    It ends on hang-up, when its client is gone, when the conversation ends, at its limits, or by `aclose`; whichever
    comes first gives the reason.

    Args:
        call_id: unguessable.
        transport: negotiated, not yet connected.
        line: its sound.
        conversation: None for a sound check, whose line is a loop.
        codec: turns conversation events into messages; None for a sound check over an audio track.
        greet: opens the codec's session once messages can be exchanged.
        tell: takes what the call itself has to tell the client, once messages can be exchanged.
        limits: how long it may last.
        measure: takes every fact of the conversation.
        grace_s: how long its client asked the conversation to wait for it when its connection breaks.
        log_content: the operator wants to read what is said.
        on_end: awaited once, when everything of the transport was released.
    """

    def __init__(
        self,
        call_id: str,
        transport: Transport,
        line: Line,
        conversation: "Conversation | None",
        codec: Codec | None,
        greet: Callable[[], None],
        *,
        tell: Callable[[EndingEvent], None],
        limits: CallLimits,
        measure: Callable[[Event], None],
        grace_s: float,
        log_content: bool,
        on_end: Callable[["Call", CallEnd], Awaitable[None]],
    ) -> None:
        self.id = call_id
        self.conversation = conversation
        self._transport = transport
        self._line = line
        self._codec = codec
        self._greet = greet
        self._tell = tell
        self._time = CallTime(limits, self._tell_ending)
        self._measure = measure
        self.grace_s = grace_s
        self._log_content = log_content
        self._on_end = on_end
        self._channel_open = asyncio.Event()
        self._attached = False
        self._reason = ""
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve; from here on the call owns what it was given."""
        self._task = asyncio.create_task(self._run(), name=f"call {self.id}")

    def end(self, reason: str) -> None:
        """Ask for the end; the first reason counts. Returns at once."""
        if not self._over.is_set():
            self._reason = reason
            self._over.set()

    def end_in(self, seconds: float) -> None:
        """Tell the client that the server goes down and will end the call then."""
        self._time.close_in(seconds)

    def hand_over(self) -> "Conversation | None":
        """Give the conversation up to a new call of the same client, and end."""
        self._detach()
        conversation, self.conversation = self.conversation, None
        self.end(REPLACED)
        return conversation

    async def aclose(self, reason: str = HUNG_UP) -> None:
        """End and wait until all is released, `CLOSE_DEADLINE_S` at most; idempotent."""
        self.end(reason)
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=CLOSE_DEADLINE_S)
        if not self._task.done():
            log.warning("call did not close within %.0f s", CLOSE_DEADLINE_S)
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1.0)

    @property
    def media(self) -> "PeerStats | None":
        """Counters of the sound, where it goes over WebRTC."""
        return getattr(self._transport, "stats", None)

    # --- what the transport tells ---

    def connected(self) -> None:
        """Sound flows: only from now on is what the agent says heard."""
        if self.conversation is not None and not self._attached and not self._over.is_set():
            self._attached = True
            self.conversation.playout.attach()
            self._line.connect(self.conversation.playout, self.conversation.push_audio)

    def channel_opened(self) -> None:
        """Messages can be exchanged."""
        if not self._channel_open.is_set():
            self._channel_open.set()
            self._greet()
            self._time.repeat()

    def client_gone(self, reason: str) -> None:
        """Nobody is there to be told anything."""
        self._channel_open.clear()
        self.end(reason)

    def message_arrived(self, text: str) -> None:
        """The client sent a message."""
        if self._codec is not None and not self._over.is_set():
            self._codec.handle_text(text)

    @property
    def voice_open(self) -> bool:
        """The voice that is read now goes to the client in messages."""
        return self._codec is not None and self._codec.voice_open

    def speak(self, samples: Samples) -> None:
        """The voice that was just read, where sound goes in messages."""
        if self._codec is not None and not self._over.is_set():
            self._codec.speak(samples)

    async def add_candidates(self, fragment: str) -> None:
        """Trickled ICE candidates (RFC 8840).

        Raises:
            InvalidRequestError: the fragment is malformed.
        """
        await self._transport.add_candidate(fragment)

    # --- life ---

    def _tell_ending(self, event: EndingEvent) -> None:
        if self._channel_open.is_set() and not self._over.is_set():
            self._tell(event)

    def _detach(self) -> None:
        self._line.disconnect()
        if self._attached and self.conversation is not None:
            self.conversation.playout.detach()
        self._attached = False

    async def _run(self) -> None:
        CALL_ID.set(self.id)
        log.info("call began")
        try:
            await self._serve()
            await self._say_farewell()
        except* Exception:
            log.exception("call failed")
            self.end(BROKEN)
            await self._say_farewell()
        finally:
            self.end(BROKEN)
            self._detach()
            try:
                await self._transport.aclose()
            finally:
                log.info("call ended: %s", self._reason)
                conversation, self.conversation = self.conversation, None
                await self._on_end(self, CallEnd(self._reason, conversation))

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            helpers = [tasks.create_task(self._watch_time())]
            if self.conversation is not None and self._codec is not None:
                helpers.append(tasks.create_task(self._forward(self.conversation, self._codec)))
                helpers.append(tasks.create_task(self._follow(self.conversation)))
                helpers.append(tasks.create_task(self._observe(self.conversation)))
            await self._over.wait()
            for helper in helpers:
                helper.cancel()

    async def _forward(self, conversation: "Conversation", codec: Codec) -> None:
        """Conversation events to the client; none before `session.created`, which opens every session."""
        async with conversation.subscribe() as events:
            await self._channel_open.wait()
            async for event in events:
                codec.handle_event(event)

    async def _watch_time(self) -> None:
        self.end(await self._time.over())

    async def _observe(self, conversation: "Conversation") -> None:
        async with conversation.subscribe() as events:
            async for event in events:
                self._time.note(event)
                self._measure(event)
                match event:
                    case FinalTranscript(text=text) if self._log_content:
                        log.info("user: %s", text)
                    case ResponseEnded(text=text) if self._log_content:
                        log.info("agent: %s", text)

    async def _follow(self, conversation: "Conversation") -> None:
        await conversation.wait_closed()
        await asyncio.sleep(LAST_WORDS_S)  # `_forward` still tells why
        self.end(CONVERSATION_ENDED)

    async def _say_farewell(self) -> None:
        if self._reason in FAREWELLS and self._codec is not None and self._channel_open.is_set():
            self._codec.handle_event(FAREWELLS[self._reason])
            await asyncio.sleep(LAST_WORDS_S)
