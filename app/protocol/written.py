"""Responses outside the conversation, in OpenAI's events: written, not spoken, and no item of the dialogue."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.protocol import server_events as wire
from app.protocol.server_events import Json, Outgoing
from app.protocol.stateless import Messages
from kame_core import events
from kame_core.transcript import Item, ItemStatus, function_call

_OPEN_MOST = 16
"""Remembered at once; a conversation writes fewer."""

AsideEvent = events.AsideStarted | events.AsideText | events.AsideCalled | events.AsideEnded


@dataclass(slots=True)
class _Written:
    """What of a response has been told so far."""

    has_message: bool = False
    calls: list[Json] = field(default_factory=list)


class WrittenResponses:
    """Translates a conversation's asides for one client, several side by side.

    Args:
        response_fields: fields of a `response` with that id that stay the same (such as `metadata`).
    """

    def __init__(self, response_fields: Callable[[str], Mapping[str, Any]]) -> None:
        self._response_fields = response_fields
        self._open: dict[str, _Written] = {}

    def translate(self, event: AsideEvent) -> Messages:
        """The messages that tell this event; none for what this client was never told the beginning of."""
        if isinstance(event, events.AsideStarted):
            self._open[event.response_id] = _Written()
            while len(self._open) > _OPEN_MOST:
                del self._open[next(iter(self._open))]
            fields = self._response_fields(event.response_id)
            return [Outgoing(wire.response_created(wire.open_response(event.response_id, None, fields)))]
        response = self._open.get(event.response_id)
        if response is None:
            return []
        match event:
            case events.AsideText():
                delta = Outgoing(wire.text_delta(event.response_id, event.item_id, event.delta), droppable=True)
                return [*self._message(response, event), delta]
            case events.AsideCalled():
                return self._called(response, event)
            case events.AsideEnded():
                del self._open[event.response_id]
                return self._ended(response, event)

    def _message(self, response: _Written, event: events.AsideText | events.AsideEnded) -> Messages:
        """What comes before the first words."""
        if response.has_message:
            return []
        response.has_message = True
        item = wire.wire_item(Item(event.item_id, "assistant", "", "in_progress", "text"))
        return [
            Outgoing(wire.output_item_added(event.response_id, item)),
            Outgoing(wire.text_part("added", event.response_id, event.item_id, "")),
        ]

    def _called(self, response: _Written, event: events.AsideCalled) -> Messages:
        index = len(response.calls) + response.has_message
        item = wire.wire_item(function_call(event.item_id, event.call_id, event.name, event.arguments))
        response.calls.append(item)
        begun = {**item, "status": "in_progress", "arguments": ""}
        delta, done = wire.call_arguments(event.response_id, item, index)
        return [
            Outgoing(wire.output_item_added(event.response_id, begun, index)),
            Outgoing(delta),
            Outgoing(done),
            Outgoing(wire.output_item_done(event.response_id, item, index)),
        ]

    def _ended(self, response: _Written, event: events.AsideEnded) -> Messages:
        output, messages = list(response.calls), []
        if event.text:
            ids = event.response_id, event.item_id
            status: ItemStatus = "completed" if event.status == "completed" else "incomplete"
            item = wire.wire_item(Item(event.item_id, "assistant", event.text, status, "text"))
            output.insert(0, item)
            messages = [
                *self._message(response, event),
                Outgoing(wire.text_done(*ids, event.text)),
                Outgoing(wire.text_part("done", *ids, event.text)),
                Outgoing(wire.output_item_done(event.response_id, item)),
            ]
        fields = self._response_fields(event.response_id)
        return [*messages, Outgoing(wire.response_done(wire.ended_aside(event, output, fields)))]
