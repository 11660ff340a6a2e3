"""Making the connection to a client, and giving it up."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.call import Line, Link, Transport
from app.engines import EngineRoom, PartState
from kame_core.clock import Clock
from kame_core.errors import UnavailableError

if TYPE_CHECKING:
    from kame_core.conversation import Conversation

Dial = Callable[[Line, Link], Transport]
"""Makes the connection to a client: its sound to and from the line, what it tells to the link."""


def over_webrtc(room: EngineRoom, clock: Clock, connect_deadline_s: float) -> Dial:
    """Connections that are negotiated by an SDP offer; call what this returns once the room has loaded WebRTC."""

    def dial(line: Line, link: Link) -> Transport:
        from app.webrtc.peer import Peer  # aiortc is imported on a worker, behind the first page

        return Peer(
            room.ice,
            line,
            on_audio=line.push_audio,
            on_message=link.message_arrived,
            on_open_channel=link.channel_opened,
            on_closed=link.closed,
            on_connected=link.connected,
            clock=clock,
            connect_deadline_s=connect_deadline_s,
        )

    return dial


def require_network(room: EngineRoom, *, webrtc: bool) -> None:
    """Whether calls can be connected now, over WebRTC or without it.

    Raises:
        UnavailableError: that is not known yet (`starting`), or there is no way for WebRTC (`connect_failed`, upon
            which clients try a WebSocket).
    """
    network = room.part("ice")
    if network.state is PartState.LOADING:
        raise starting()
    if webrtc and network.state is PartState.FAILED:
        raise UnavailableError(
            f"This server has no way for WebRTC at the moment; call over its WebSocket. {network.why}",
            code="connect_failed",
            retryable=True,
        )


def starting() -> UnavailableError:
    """Try again at once."""
    return UnavailableError("The server is just starting; try again in a second.", code="starting", retryable=True)


async def abandon(transport: Transport, conversation: "Conversation | None") -> None:
    """Release what a call would have owned."""
    if conversation is not None:
        await conversation.aclose("failed")
    await transport.aclose()
