"""One call: a transport and its wire protocol attached to a conversation. One TaskGroup, one end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from app.observability import CALL_ID
from kame_core.audio import Samples, silence
from kame_core.errors import KameError
from kame_core.events import FinalTranscript, ResponseEnded, Trouble

if TYPE_CHECKING:  # aiortc is imported on a worker, behind the first page
    from app.protocol.realtime import RealtimeCodec
    from app.webrtc.peer import Peer
    from kame_core.conversation import Conversation

log = logging.getLogger(__name__)

CLOSE_DEADLINE_S = 5.0
LAST_WORDS_S = 0.1
"""Time for a last message to leave before the connection is closed."""

HUNG_UP = "hangup"
CONVERSATION_ENDED = "conversation_ended"
TIME_LIMIT = "time_limit"
SHUTDOWN = "server_shutdown"
REPLACED = "replaced"
BROKEN = "call_failed"

FAREWELLS = {
    TIME_LIMIT: ("This call reached its longest time. Call again to go on.", "call_time_limit"),
    SHUTDOWN: ("The server is being restarted. Call again in a moment.", "server_shutdown"),
    REPLACED: ("This conversation goes on in another connection.", "call_replaced"),
}
"""What a client is told when the server ends its call."""


class Voice(Protocol):
    """A source of outgoing sound."""

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

    def read(self, samples: int, /) -> Samples:
        """Outgoing sound, float32 [samples] mono 24 kHz."""
        return silence(samples) if self._voice is None else self._voice.read(samples)

    def push_audio(self, samples: Samples) -> None:
        """Incoming sound, float32 [n] mono 24 kHz."""
        if self._hear is not None:
            self._hear(samples)


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended."""

    reason: str
    conversation: "Conversation | None"
    """What it leaves behind; None where the conversation is over, or goes on in another call."""


class Call:
    """A live call. Made by `CallRegistry` once the transport is negotiated; owned by its one task until it ends.

    It ends on hang-up, when its peer is gone, when the conversation ends, at `max_call_s`, or by `aclose`; whichever
    comes first gives the reason.

    Args:
        call_id: unguessable.
        peer: negotiated, not yet connected.
        line: the peer's sound.
        conversation: None for a sound check, whose line is a loop.
        codec: turns conversation events into messages; None without a conversation.
        greet: opens the codec's session once the data channel is open.
        max_call_s: longest time it may last.
        grace_s: how long its client asked the conversation to wait for it when its connection breaks.
        log_content: the operator wants to read what is said.
        on_end: awaited once, when everything of the transport was released.
    """

    def __init__(
        self,
        call_id: str,
        peer: "Peer",
        line: Line,
        conversation: "Conversation | None",
        codec: "RealtimeCodec | None",
        greet: Callable[[], None],
        *,
        max_call_s: float,
        grace_s: float,
        log_content: bool,
        on_end: Callable[["Call", CallEnd], Awaitable[None]],
    ) -> None:
        self.id = call_id
        self.conversation = conversation
        self._peer = peer
        self._line = line
        self._codec = codec
        self._greet = greet
        self._max_call_s = max_call_s
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

    # --- what the peer tells ---

    def connected(self) -> None:
        """Sound flows: only from now on is what the agent says heard."""
        if self.conversation is not None and not self._attached and not self._over.is_set():
            self._attached = True
            self.conversation.playout.attach()
            self._line.connect(self.conversation.playout, self.conversation.push_audio)

    def channel_opened(self) -> None:
        """The data channel is open."""
        if not self._channel_open.is_set():
            self._channel_open.set()
            self._greet()

    def message_arrived(self, text: str) -> None:
        """The client sent a message."""
        if self._codec is not None and not self._over.is_set():
            self._codec.handle_text(text)

    async def add_candidates(self, fragment: str) -> None:
        """Trickled ICE candidates (RFC 8840).

        Raises:
            InvalidRequestError: the fragment is malformed.
        """
        await self._peer.add_candidate(fragment)

    # --- life ---

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
        finally:
            self.end(BROKEN)
            self._detach()
            try:
                await self._peer.aclose()
            finally:
                log.info("call ended: %s", self._reason)
                conversation, self.conversation = self.conversation, None
                await self._on_end(self, CallEnd(self._reason, conversation))

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            helpers = []
            if self.conversation is not None and self._codec is not None:
                helpers.append(tasks.create_task(self._forward(self.conversation, self._codec)))
                helpers.append(tasks.create_task(self._follow(self.conversation)))
                if self._log_content:
                    helpers.append(tasks.create_task(self._log_words(self.conversation)))
            try:
                async with asyncio.timeout(self._max_call_s):
                    await self._over.wait()
            except TimeoutError:
                self.end(TIME_LIMIT)
            for helper in helpers:
                helper.cancel()

    async def _forward(self, conversation: "Conversation", codec: "RealtimeCodec") -> None:
        """Conversation events to the client; none before `session.created`, which opens every session."""
        async with conversation.subscribe() as events:
            await self._channel_open.wait()
            async for event in events:
                codec.handle_event(event)

    async def _log_words(self, conversation: "Conversation") -> None:
        async with conversation.subscribe() as events:
            async for event in events:
                match event:
                    case FinalTranscript(text=text):
                        log.info("user: %s", text)
                    case ResponseEnded(text=text):
                        log.info("agent: %s", text)

    async def _follow(self, conversation: "Conversation") -> None:
        await conversation.wait_closed()
        await asyncio.sleep(LAST_WORDS_S)  # `_forward` still tells why
        self.end(CONVERSATION_ENDED)

    async def _say_farewell(self) -> None:
        if self._reason not in FAREWELLS or self._codec is None or not self._channel_open.is_set():
            return
        message, code = FAREWELLS[self._reason]
        self._codec.handle_event(Trouble(at_ms=0, error=KameError(message, code=code, retryable=True), fatal=True))
        await asyncio.sleep(LAST_WORDS_S)
