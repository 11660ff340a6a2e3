"""A client's messages into a codec, and the answers."""

import json
from typing import Any

from app.protocol.realtime import RealtimeCodec
from app.protocol.session import SessionDefaults, SessionState
from tests.support.wire_conversation import Client, RecordingConversation


class Call:
    """A codec between a recording conversation and a checking client."""

    def __init__(self) -> None:
        self.conversation = RecordingConversation()
        self.client = Client()
        session = SessionState.new(SessionDefaults(voices=frozenset({"anna"})))
        self.codec = RealtimeCodec(self.conversation, self.client.receive, call_id="rtc_1", session=session)

    def send(self, **message: Any) -> list[dict[str, Any]]:
        self.codec.handle_text(json.dumps(message))
        return self.client.take()

    def refused(self, **message: Any) -> dict[str, Any]:
        """Send what must be answered with exactly one error, linked to it."""
        (answer,) = self.send(event_id="mine", **message)
        assert answer["type"] == "error"
        error: dict[str, Any] = answer["error"]
        assert error["event_id"] == "mine"
        assert error["message"]
        return error


def message(text: str = "hello", role: str = "user", kind: str = "input_text", **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **more}
