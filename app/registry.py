"""All calls of this process: who may come in, what they leave behind, and how they all end."""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.agreements import Agreements
from app.allowance import SecretUse
from app.call import BROKEN, CONVERSATION_ENDED, HUNG_UP, Call, CallEnd, Codec, Line, Link
from app.call_codec import conversation_codec, echo_codec, teller
from app.call_request import CallRequest
from app.call_time import IDLE, SHUTDOWN, TIME_LIMIT, CallLimits
from app.dialling import Dial, abandon, over_webrtc, require_network, starting
from app.engines import EngineRoom, PartState
from app.left_behind import LeftBehind
from app.measurements import Measurements
from app.observability import CALL_ID
from app.places import Places
from app.protocol.session import SessionState
from app.protocol.sound_formats import formats_of
from app.sessions import new_session
from app.settings import Settings
from app.tracing import CallTrace, TraceExporter
from kame_core.clock import Clock
from kame_core.errors import KameError, UnavailableError
from kame_core.events import Event

if TYPE_CHECKING:  # aiortc is imported on a worker, behind the first page
    from kame_core.conversation import Conversation
    from kame_core.registry import ConversationRegistry

log = logging.getLogger(__name__)

NEVER_CONNECTED = "connect_timeout"
"""The peer's own word."""
FINAL_REASONS = frozenset({HUNG_UP, CONVERSATION_ENDED, TIME_LIMIT, IDLE, SHUTDOWN, BROKEN, NEVER_CONNECTED})
"""Ends that take the conversation with them. After any other the transport broke, and the client may come back; also
from a call that was to take the conversation up again and never connected.
"""
SHUTDOWN_DEADLINE_S = 4.0


@dataclass(frozen=True, slots=True)
class OpenedCall:
    """A call that was accepted."""

    call: Call
    answer: str
    """The answer, SDP; empty where nothing was negotiated."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a live call takes."""

    began_s: float
    give_back: Callable[[], None]
    """The share of its caller."""
    trace: CallTrace | None
    returns: bool
    """It goes on with a conversation."""


class CallRegistry:
    """Opens, finds and ends calls. Every method on the loop.

    A place is taken in two steps: the count of calls is checked first (cheap, before any socket), the front end's slot
    is leased only when the offer was understood and answered. Whatever fails in between is released before `open`
    raises.

    Args:
        settings: limits, and what sessions begin with.
        room: the engines.
        clock: seconds.
        measurements: what is counted.
        overloaded: this machine cannot keep up with the calls there are; asked where the operator set no capacity.
        traces: where traces go; None: nowhere.
    """

    def __init__(
        self,
        settings: Settings,
        room: EngineRoom,
        clock: Clock,
        measurements: Measurements,
        overloaded: Callable[[], bool],
        traces: TraceExporter | None = None,
    ) -> None:
        self._settings = settings
        self._room = room
        self._clock = clock
        self._calls: dict[str, Call] = {}
        self._opening = 0
        self._left = LeftBehind(clock)
        self._agreements = Agreements(clock)
        self._conversations: ConversationRegistry | None = None
        self._over = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self._measurements = measurements
        self._traces = traces
        self._secret_use = SecretUse(time.time)
        self._taken: dict[str, _Taken] = {}
        self._dial = over_webrtc(room, clock, settings.connect_deadline_s)
        self.places = Places(settings, room, clock, lambda: self.count, overloaded)

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

    @property
    def draining(self) -> bool:
        """No more calls are taken: the server goes down."""
        return self._draining

    def counts(self) -> dict[str, int]:
        """For `/healthz`."""
        return {
            "open": self.count,
            "capacity": self.places.capacity,
            "refused": self.places.refused,
            "conversations": self._conversations.count if self._conversations else 0,
        }

    def get(self, call_id: str) -> Call | None:
        """A live call."""
        return self._calls.get(call_id)

    async def open(self, request: CallRequest, dial: Dial | None = None) -> OpenedCall:
        """Negotiate a call and connect it with a conversation.

        Args:
            request: what the client asks for.
            dial: makes the connection; default: WebRTC.

        Raises:
            InvalidRequestError: the offer or the session is wrong.
            RateLimitedError: this caller takes more than its share.
            CapacityError: all places are taken; `QueuedError` where it stands in the queue now.
            UnavailableError: engines are loading or failed, or the server is going down.
        """
        try:
            self.places.limits.request(request.caller)
            self._admit(request, webrtc=dial is None)
            return await self._opened(request, dial or self._dial)
        except KameError as error:
            self._measurements.calls_refused.add(error.code)
            raise

    async def _opened(self, request: CallRequest, dial: Dial) -> OpenedCall:
        session = self._session(request)
        if not request.echo:
            self._ready_conversations()
        give_back = self.places.take(request.caller, request.ticket)
        self._opening += 1
        self._idle.clear()
        call_id = f"rtc_{secrets.token_urlsafe(18)}"
        context = CALL_ID.set(call_id)  # for the logs of what the call's tasks are made by
        try:
            kind = "echo" if request.echo else "conversation"
            trace = self._traces.call(call_id, kind) if self._traces else None
            self._taken[call_id] = _Taken(self._clock.now(), give_back, trace, request.resume is not None)
            with self._counted(request):
                opened = await self._open(call_id, request, session, dial)
            self._measurements.calls_opened.add(kind)
            return opened
        except BaseException:
            self._leave(call_id)
            raise
        finally:
            CALL_ID.reset(context)
            self._opening -= 1
            self._note_idle()

    def _counted(self, request: CallRequest) -> AbstractContextManager[None]:
        """Count the call for its secret; not one that goes on with a conversation, which was counted."""
        secret = request.secret
        if secret is None or request.resume is not None:
            return nullcontext()
        return self._secret_use.counted(secret.key_id, secret.allowance.max_calls, secret.expires_at)

    def _max_call_s(self, request: CallRequest) -> float:
        """How long the call may last; one that goes on with a conversation has what is left of that one's time."""
        most_s = min(self._settings.max_call_s, request.allowance.max_call_s or math.inf)
        if request.resume is None:
            return most_s
        return min(most_s, self._agreements.time_left_s(self._ready_conversations().find(request.resume)))

    def _leave(self, call_id: str) -> _Taken | None:
        """Give back what a call took."""
        taken = self._taken.pop(call_id, None)
        if taken is not None:
            taken.give_back()
        return taken

    def _measure(self, call_id: str) -> Callable[[Event], None]:
        """What takes a conversation's facts."""
        note, trace = self._measurements.note, self._taken[call_id].trace
        if trace is None:
            return note

        def both(event: Event) -> None:
            note(event)
            trace.note(event)

        return both

    def _admit(self, request: CallRequest, *, webrtc: bool) -> None:
        if self._draining:
            raise UnavailableError(
                "The server is going down; try again in a moment.", code="shutting_down", retryable=True
            )
        require_network(self._room, webrtc=webrtc)
        replaces = False
        if request.resume is not None:
            conversation = self._ready_conversations().find(request.resume)
            replaces = any(call.conversation is conversation for call in self._calls.values())
        self.places.admit(request.caller, request.ticket, replaces=replaces)

    def session(self, asked: Mapping[str, Any], model: str = "", *, max_call_s: float = math.inf) -> SessionState:
        """The session a call gets that asks for this, on top of what the settings say.

        Raises:
            InvalidRequestError: it asks for what is not to be had.
        """
        return new_session(self._settings, self._room, asked, model, max_call_s=max_call_s)

    def _session(self, request: CallRequest) -> SessionState:
        """The session of a call; of one that goes on with a conversation, what was agreed before, changed as asked."""
        max_call_s = self._max_call_s(request)
        if request.resume is None:
            return self.session(request.session, request.model, max_call_s=max_call_s)
        conversation = self._ready_conversations().find(request.resume)
        return self._agreements.session(conversation, request.session, max_call_s)

    async def _open(self, call_id: str, request: CallRequest, session: SessionState, dial: Dial) -> OpenedCall:
        line, link = Line(), Link()
        transport = dial(line, link)
        conversation: Conversation | None = None
        try:
            answer = await transport.answer(request.sdp)
            if request.resume is not None:
                session = self._session(request)  # as it is by now
            max_call_s = self._max_call_s(request)
            if link.sound is not None:
                formats_of(session.config)  # refused before the upgrade
            if not request.echo and request.resume is None:
                options = replace(session.options, max_tokens=request.allowance.max_tokens)
                conversation = await self._ready_conversations().open(options)
            if self._draining:
                raise UnavailableError("The server is going down.", code="shutting_down", retryable=True)
            if request.resume is not None:  # last: what fails ends the conversation
                conversation = self._taken_up(request.resume, session)
        except BaseException:
            await asyncio.shield(abandon(transport, conversation))
            raise
        grace_s = min(request.grace_s, self._settings.max_grace_s)
        codec: Codec | None
        if conversation is None:
            codec, greet = echo_codec(call_id, transport, line, link, session)
        else:
            codec, greet = talk = conversation_codec(
                call_id, transport, link, conversation, session, self._room.described, self._resume_token(grace_s)
            )
            self._agreements.note(conversation, lambda: talk[0].session, max_call_s)
        call = Call(
            call_id,
            transport,
            line,
            conversation,
            codec,
            greet,
            tell=teller(transport),
            limits=CallLimits(max_call_s, self._settings.max_idle_s),
            measure=self._measure(call_id),
            grace_s=grace_s,
            log_content=self._settings.log_content,
            on_end=self._ended,
        )
        self._calls[call_id] = call
        call.start()
        link.connect(call)
        return OpenedCall(call, answer)

    def _resume_token(self, grace_s: float) -> "Callable[[Conversation], str | None]":
        """What gives a client that is connected the token to come back with, if it may; it spends the one before."""
        conversations = self._conversations

        def token_for(conversation: "Conversation") -> str | None:
            token = conversations.token_for(conversation) if conversations else None
            return token if grace_s > 0 else None

        return token_for

    def _taken_up(self, token: str, session: SessionState) -> "Conversation":
        """The conversation its client lost the connection to, for a new call with this session."""
        conversation = self._ready_conversations().resume(token)
        for call in [call for call in self._calls.values() if call.conversation is conversation]:
            call.hand_over()  # its transport is dead, only nobody has noticed yet
        self._left.resumed(conversation)
        conversation.set_options(session.options)
        return conversation

    def _ready_conversations(self) -> "ConversationRegistry":
        self._room.require()
        if self._conversations is None:
            raise starting()
        return self._conversations

    def client_ice_servers(self) -> list[dict[str, Any]]:
        """STUN and TURN servers for a client, with credentials that are good for an hour."""
        return [server.to_json() for server in self._room.ice.for_client(time.time())]

    @property
    def websocket_only(self) -> bool:
        """Clients need not try WebRTC: the operator knows that it does not get through, or there is no way for it."""
        return self._settings.transport == "websocket" or self._room.part("ice").state is PartState.FAILED

    async def hang_up(self, call_id: str) -> bool:
        """End a call and its conversation, also one whose connection is gone already; False: there is none."""
        call = self._calls.get(call_id)
        if call is not None:
            await call.aclose(HUNG_UP)
        left = self._left.take(call_id)  # also of a call that had been lost and was being released
        if left is not None:
            await left.aclose(HUNG_UP)
        return call is not None or left is not None

    async def drain(self, deadline_s: float) -> None:
        """Take no more calls, tell those there are, and wait for their end, `deadline_s` at most."""
        self._draining = True
        for call in self._calls.values():
            call.end_in(deadline_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self.idle()

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
        taken = self._leave(call.id)
        if taken is not None:
            self._measurements.call_ended(end.reason, self._clock.now() - taken.began_s, call.media)
            if taken.trace is not None:
                taken.trace.end(end.reason)
        self._note_idle()
        conversation = end.conversation
        if conversation is None:
            return
        grace_s = min(call.grace_s, self._agreements.time_left_s(conversation))
        tried_in_vain = end.reason == NEVER_CONNECTED and taken is not None and taken.returns
        final = end.reason in FINAL_REASONS and not tried_in_vain
        if final or grace_s <= 0 or self._draining or self._conversations is None:
            await conversation.aclose(end.reason)
            self._agreements.forget_ended()
            return
        await self._conversations.detach(conversation, grace_s)
        self._left.keep(call.id, conversation, grace_s)

    async def idle(self) -> None:
        """Return when no call is alive or being opened."""
        await self._idle.wait()

    def _note_idle(self) -> None:
        if self.count == 0:
            self._idle.set()
