"""A client of the wire protocol on a studio's conversation, in virtual time; every message it gets is checked."""

import json
from typing import Any

from app.protocol.realtime import RealtimeCodec
from app.protocol.session import SessionDefaults, SessionState
from tests.support.studio import Studio
from tests.support.wire_conversation import Client


class Wire:
    """A client on a studio's conversation."""

    def __init__(self, studio: Studio) -> None:
        self._listener = studio.conversation.subscribe()
        self._client = Client()
        self.seen: list[dict[str, Any]] = []
        session = SessionState.new(SessionDefaults(options=studio.conversation.options))
        self._codec = RealtimeCodec(studio.conversation, self._client.receive, call_id="rtc_1", session=session)
        self._codec.opened()

    def send(self, **message: Any) -> None:
        self._codec.handle_text(json.dumps(message))

    def read(self) -> list[dict[str, Any]]:
        """What came since the last time."""
        for event in self._listener.waiting():
            self._codec.handle_event(event)
        messages = self._client.take()
        self.seen += messages
        return messages
