"""All calls of this process: who may come in, what they leave behind, and how they all end."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.call import BROKEN, CONVERSATION_ENDED, HUNG_UP, SHUTDOWN, TIME_LIMIT, Call, CallEnd, Line
from app.engines import EngineRoom
from app.protocol.session import SessionDefaults, SessionState
from app.settings import Settings
from kame_core.clock import Clock
from kame_core.errors import CapacityError, UnavailableError
from kame_core.options import ConversationOptions

if TYPE_CHECKING:
    from app.protocol.realtime import RealtimeCodec
    from app.webrtc.peer import Peer
    from kame_core.conversation import Conversation
    from kame_core.registry import ConversationRegistry

log = logging.getLogger(__name__)

NEVER_CONNECTED = "connect_timeout"
"""The peer's own word."""
FINAL_REASONS = frozenset({HUNG_UP, CONVERSATION_ENDED, TIME_LIMIT, SHUTDOWN, BROKEN, NEVER_CONNECTED})
"""Ends that take the conversation with them. After any other the transport broke, and the client may come back."""
SHUTDOWN_DEADLINE_S = 4.0


@dataclass(frozen=True, slots=True)
class CallRequest:
    """What a client asks for when it opens a call."""

    sdp: str
    """Its offer."""
    session: Mapping[str, Any] = field(default_factory=dict)
    """The `session` object, defaults of its key included."""
    model: str = ""
    echo: bool = False
    """A sound check: what it says comes back, no engine takes part."""
    grace_s: float = 0.0
    """How long its conversation is to wait for it when the connection breaks."""


@dataclass(frozen=True, slots=True)
class OpenedCall:
    """A call that was accepted."""

    call: Call
    answer: str
    """The answer, SDP."""


@dataclass(frozen=True, slots=True)
class _Left:
    """A conversation whose client may come back, and until when."""

    conversation: "Conversation"
    until_s: float


class _Link:
    """Passes on what a peer tells, which may begin before its call is made."""

    def __init__(self) -> None:
        self._call: Call | None = None
        self._connected = False
        self._open = False
        self._closed: str | None = None

    def connect(self, call: Call) -> None:
        """From now on to this call, what happened before included."""
        self._call = call
        if self._connected:
            call.connected()
        if self._open:
            call.channel_opened()
        if self._closed is not None:
            call.end(self._closed)

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
        """The data channel is open."""
        self._open = True
        if self._call is not None:
            self._call.channel_opened()

    def closed(self, reason: str) -> None:
        """The peer is gone."""
        self._closed = reason
        if self._call is not None:
            self._call.end(reason)


def _nothing() -> None:
    """A sound check greets nobody."""


async def _abandon(peer: "Peer", conversation: "Conversation | None") -> None:
    """Release what a call would have owned."""
    if conversation is not None:
        await conversation.aclose("failed")
    await peer.aclose()


class CallRegistry:
    """Opens, finds and ends calls. Every method on the loop.

    A place is taken in two steps: the count of calls is checked first (cheap, before any socket), the front end's slot
    is leased only when the offer was understood and answered. Whatever fails in between is released before `open`
    raises.
    """

    def __init__(self, settings: Settings, room: EngineRoom, clock: Clock) -> None:
        self._settings = settings
        self._room = room
        self._clock = clock
        self._calls: dict[str, Call] = {}
        self._opening = 0
        self._left: dict[str, _Left] = {}
        self._conversations: ConversationRegistry | None = None
        self._over = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._refused = 0

    async def hold_conversations(self) -> None:
        """Own all conversations from the moment the engines are loaded; run by one task, ended by cancelling it."""
        await self._room.settled()
        if self._room.engines is None:
            return
        from kame_core.registry import ConversationRegistry

        async with ConversationRegistry(self._room.engines) as conversations:
            self._conversations = conversations
            try:
                await self._over.wait()
            finally:
                self._conversations = None

    @property
    def count(self) -> int:
        """Calls alive or being opened."""
        return len(self._calls) + self._opening

    def counts(self) -> dict[str, int]:
        """For `/healthz`."""
        return {
            "open": self.count,
            "capacity": self._settings.calls_at_once,
            "refused": self._refused,
            "conversations": self._conversations.count if self._conversations else 0,
        }

    def get(self, call_id: str) -> Call | None:
        """A live call."""
        return self._calls.get(call_id)

    async def open(self, request: CallRequest) -> OpenedCall:
        """Negotiate a call and connect it with a conversation.

        Raises:
            InvalidRequestError: the offer or the session is wrong.
            CapacityError: all places are taken.
            UnavailableError: engines are loading or failed, or the server is going down.
        """
        self._admit()
        session = self.session(request.session, request.model)
        if not request.echo:
            self._ready_conversations()
        self._opening += 1
        self._idle.clear()
        try:
            return await self._open(request, session)
        finally:
            self._opening -= 1
            self._note_idle()

    def _admit(self) -> None:
        if self._draining:
            raise UnavailableError(
                "The server is going down; try again in a moment.", code="shutting_down", retryable=True
            )
        if not self._room.transport_ready:
            raise UnavailableError(
                "The server is just starting; try again in a second.", code="starting", retryable=True
            )
        if self.count >= self._settings.calls_at_once:
            self._refused += 1
            raise CapacityError("All lines are busy. Try again in a little while.")

    def session(
        self, asked: Mapping[str, Any], model: str = "", options: ConversationOptions | None = None
    ) -> SessionState:
        """The session a call gets that asks for this, on top of `options` (default: those of the settings).

        Raises:
            InvalidRequestError: it asks for what is not to be had.
        """
        settings = self._settings
        defaults = SessionDefaults(
            model=model or self._room.model,
            options=options
            or ConversationOptions(
                mode=settings.mode,
                language=settings.language,
                voice=settings.voice,
                instructions=settings.instructions,
                opener=settings.opener,
            ),
            voices=self._room.voices,
            languages=self._room.languages,
        )
        expires_at = int(time.time() + settings.max_call_s)
        return SessionState.new(defaults, expires_at=expires_at).updated(asked)

    async def _open(self, request: CallRequest, session: SessionState) -> OpenedCall:
        from app.webrtc.peer import Peer

        call_id = f"rtc_{secrets.token_urlsafe(18)}"
        line = Line()
        link = _Link()
        peer = Peer(
            self._room.ice,
            line,
            on_audio=line.push_audio,
            on_message=link.message_arrived,
            on_open_channel=link.channel_opened,
            on_closed=link.closed,
            on_connected=link.connected,
            clock=self._clock,
            connect_deadline_s=self._settings.connect_deadline_s,
        )
        conversation: Conversation | None = None
        try:
            answer = await peer.answer(request.sdp)
            if not request.echo:
                conversation = await self._converse(session)
                if session.resume_token is not None:  # it goes on with what was agreed before
                    session = self.session(request.session, request.model, conversation.options)
                    conversation.set_options(session.options)
            if self._draining:
                raise UnavailableError("The server is going down.", code="shutting_down", retryable=True)
        except BaseException:
            await asyncio.shield(_abandon(peer, conversation))
            raise
        grace_s = min(request.grace_s, self._settings.max_grace_s)
        codec, greet = None, _nothing
        if conversation is None:
            from app.webrtc.tracks import LoopbackAudio

            loop = LoopbackAudio()
            line.connect(loop, loop.push)
        else:
            codec, greet = self._codec(call_id, peer, conversation, session, grace_s)
        call = Call(
            call_id,
            peer,
            line,
            conversation,
            codec,
            greet,
            max_call_s=self._settings.max_call_s,
            grace_s=grace_s,
            log_content=self._settings.log_content,
            on_end=self._ended,
        )
        self._calls[call_id] = call
        call.start()
        link.connect(call)
        return OpenedCall(call, answer)

    def _codec(
        self, call_id: str, peer: "Peer", conversation: "Conversation", session: SessionState, grace_s: float
    ) -> "tuple[RealtimeCodec, Callable[[], None]]":
        from app.protocol.realtime import EngineEvent, RealtimeCodec

        def send(message: dict[str, Any], droppable: bool) -> None:
            peer.send(json.dumps(message, ensure_ascii=False, separators=(",", ":")), droppable=droppable)

        codec = RealtimeCodec(conversation, send, call_id=call_id, session=session)

        def greet() -> None:
            token = self._conversations.token_for(conversation) if self._conversations and grace_s > 0 else None
            codec.opened(resume=token, engine=EngineEvent.model_validate(self._room.described()))

        return codec, greet

    async def _converse(self, session: SessionState) -> "Conversation":
        """The conversation of a new call: a fresh one, or the one its client lost the connection to."""
        conversations = self._ready_conversations()
        token = session.resume_token
        if token is None:
            return await conversations.open(session.options)
        conversation = conversations.resume(token)
        for call in [call for call in self._calls.values() if call.conversation is conversation]:
            call.hand_over()  # its transport is dead, only nobody has noticed yet
        for call_id in [call_id for call_id, left in self._left.items() if left.conversation is conversation]:
            del self._left[call_id]
        return conversation

    def _ready_conversations(self) -> "ConversationRegistry":
        self._room.require()
        if self._conversations is None:
            raise UnavailableError(
                "The server is just starting; try again in a second.", code="starting", retryable=True
            )
        return self._conversations

    def client_ice_servers(self) -> list[dict[str, Any]]:
        """STUN and TURN servers for a client, with credentials that are good for an hour."""
        return [server.to_json() for server in self._room.ice.for_client(time.time())]

    async def hang_up(self, call_id: str) -> bool:
        """End a call and its conversation, also one whose connection is gone already; False: there is none."""
        call = self._calls.get(call_id)
        if call is not None:
            await call.aclose(HUNG_UP)
            return True
        self._forget_old()
        left = self._left.pop(call_id, None)
        if left is not None:
            await left.conversation.aclose(HUNG_UP)
        return left is not None

    async def aclose(self) -> None:
        """Take no more calls and end all, side by side; idempotent."""
        self._draining = True
        calls = list(self._calls.values())
        if calls:
            closing = [asyncio.create_task(call.aclose(SHUTDOWN)) for call in calls]
            await asyncio.wait(closing, timeout=SHUTDOWN_DEADLINE_S)
        self._left.clear()
        self._over.set()

    async def _ended(self, call: Call, end: CallEnd) -> None:
        """Called by each call at its end, in its own task."""
        self._calls.pop(call.id, None)
        self._note_idle()
        conversation = end.conversation
        if conversation is None:
            return
        grace_s = call.grace_s
        if end.reason in FINAL_REASONS or grace_s <= 0 or self._draining or self._conversations is None:
            await conversation.aclose(end.reason)
            return
        await self._conversations.detach(conversation, grace_s)
        self._forget_old()
        self._left[call.id] = _Left(conversation, self._clock.now() + grace_s)

    async def idle(self) -> None:
        """Return when no call is alive or being opened."""
        await self._idle.wait()

    def _note_idle(self) -> None:
        if self.count == 0:
            self._idle.set()

    def _forget_old(self) -> None:
        now_s = self._clock.now()
        for call_id in [call_id for call_id, left in self._left.items() if left.until_s < now_s]:
            del self._left[call_id]
