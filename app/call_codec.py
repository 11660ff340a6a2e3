"""The wire protocol of a call, chosen by what it is: a conversation or a sound check, over a track or in messages."""

import json
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app.call import Codec, Line, Link, Transport
from app.protocol.kame_events import KameEvent
from app.protocol.session import SessionState
from kame_core.characters import whole_characters

if TYPE_CHECKING:  # aiortc is imported on a worker, behind the first page
    from app.protocol.realtime import RealtimeCodec
    from kame_core.conversation import Conversation

Greet = Callable[[], None]
"""Opens the session, once messages can be exchanged."""


def _nothing() -> None:
    """A sound check greets nobody."""


def sender(transport: Transport) -> Callable[[dict[str, Any], bool], None]:
    """Takes messages as JSON objects."""

    def send(message: dict[str, Any], droppable: bool) -> None:
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        transport.send(whole_characters(text), droppable=droppable)

    return send


def teller(transport: Transport) -> Callable[[KameEvent], None]:
    """Takes what the call itself has to say."""

    def tell(event: KameEvent) -> None:
        message = {"event_id": f"event_{secrets.token_urlsafe(12)}", **event.model_dump()}
        transport.send(json.dumps(message, separators=(",", ":")))

    return tell


def echo_codec(
    call_id: str, transport: Transport, line: Line, link: Link, session: SessionState
) -> tuple[Codec | None, Greet]:
    """A sound check: connects the line with itself. Over a track there is nothing to be said about it."""
    from app.webrtc.tracks import LoopbackAudio

    loop = LoopbackAudio()
    line.connect(loop, loop.push)
    if link.sound is None:
        return None, _nothing
    from app.websocket.echo import EchoCodec

    codec = EchoCodec(sender(transport), link.sound, call_id=call_id, session=session)
    return codec, codec.opened


def conversation_codec(
    call_id: str,
    transport: Transport,
    link: Link,
    conversation: "Conversation",
    session: SessionState,
    described: Callable[[], dict[str, dict[str, str]]],
    resume_token: "Callable[[Conversation], str | None]",
) -> "tuple[RealtimeCodec, Greet]":
    """A conversation.

    Args:
        described: what answers, as `kame.engine` tells it.
        resume_token: a token to come back with; None: the client may not.
    """
    from app.protocol.realtime import EngineEvent, RealtimeCodec

    codec = RealtimeCodec(conversation, sender(transport), call_id=call_id, session=session, sound=link.sound)

    def greet() -> None:
        codec.opened(resume=resume_token(conversation), engine=EngineEvent.model_validate(described()))

    return codec, greet
