"""Making the connection to a client, and giving it up."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from app.call import Line, Link, Transport
from app.engines import EngineRoom
from kame_core.clock import Clock

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


async def abandon(transport: Transport, conversation: "Conversation | None") -> None:
    """Release what a call would have owned."""
    if conversation is not None:
        await conversation.aclose("failed")
    await transport.aclose()
