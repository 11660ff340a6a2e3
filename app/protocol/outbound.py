"""From the facts of a conversation to server events, in the order in which OpenAI's clients expect them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.protocol import kame_events as kame
from app.protocol import server_events as wire
from app.protocol.server_events import UNKNOWN_PLACE, Json, Outgoing, Place
from app.protocol.stable_transcript import StableTranscript
from app.protocol.stateless import STATELESS, Messages
from app.protocol.written import WrittenResponses
from kame_core import events
from kame_core.transcript import Item, ItemStatus, function_call, function_output

_OPEN_MOST = 16
"""Turns and responses remembered at once; one of each is usual, and the oldest is forgotten."""

V = TypeVar("V")


@dataclass(slots=True)
class _Response:
    """What of a response has been told so far."""

    started: events.ResponseStarted
    calls: list[Json] = field(default_factory=list)
    has_content: bool = False
    voice_started_ms: int | None = None
    voice_stopped: events.VoiceStopped | None = None
    ended: bool = False


class Outbound:
    """Translates one conversation's events for one client; holds what must be known of earlier ones.

    Args:
        conversation_id: named in responses.
        response_fields: fields of a `response` with that id that stay the same (such as `metadata`).
        transcribes: whether the client wants the user's words now.
    """

    def __init__(
        self,
        conversation_id: str,
        response_fields: Callable[[str], Mapping[str, Any]],
        transcribes: Callable[[], bool],
    ) -> None:
        self._conversation_id = conversation_id
        self._response_fields = response_fields
        self._transcribes = transcribes
        self._speaking: dict[str, None] = {}
        self._transcripts: dict[str, StableTranscript] = {}
        self._responses: dict[str, _Response] = {}
        self._any_item = False
        self._written = WrittenResponses(response_fields)

    def translate(self, event: events.Event) -> Messages:
        """The messages that tell this event; none for what this client was never told the beginning of."""
        match event:
            case events.SpeechStarted():
                _remember(self._speaking, event.item_id, None)
                return [Outgoing(wire.speech_started(event.item_id, event.at_ms))]
            case events.SpeechStopped():
                self._speaking.pop(event.item_id, None)
                return [Outgoing(wire.speech_stopped(event.item_id, event.speech_end_ms))]
            case events.PartialTranscript():
                return self._partial(event)
            case events.UserTurnCommitted():
                return self._committed(event)
            case events.FinalTranscript():
                return self._final(event)
            case events.TranscriptionFailed():
                self._transcripts.pop(event.item_id, None)
                failed = Outgoing(wire.transcription_failed(event.item_id, event.error))
                return [failed] if self._transcribes() else []
            case events.UserTurnDropped():
                return self._dropped(event)
            case events.ResponseStarted():
                return self._response_started(event)
            case events.ResponseText():
                return self._response_text(event)
            case events.VoiceStarted():
                return self._voice_started(event)
            case events.VoiceStopped():
                return self._voice_stopped(event)
            case events.ResponseEnded():
                return self._response_ended(event)
            case events.FunctionCalled():
                return self._function_called(event)
            case events.ItemAdded():
                return self._item_added(event)
            case events.FunctionOutputAdded():
                return self._function_output_added(event)
            case events.AsideStarted() | events.AsideText() | events.AsideCalled() | events.AsideEnded():
                return self._written.translate(event)
            case _:
                translation = STATELESS.get(type(event))
                return translation(event) if translation else []

    # --- the user's turn ---

    def _partial(self, event: events.PartialTranscript) -> Messages:
        if not self._transcribes():
            return []
        transcript = self._transcripts.get(event.item_id)
        if transcript is None:
            transcript = _remember(self._transcripts, event.item_id, StableTranscript())
        whole = kame.PartialTranscriptEvent(item_id=event.item_id, text=event.text, at_ms=event.at_ms)
        return [*_delta(event.item_id, transcript.partial(event.text)), Outgoing(whole.model_dump(), droppable=True)]

    def _committed(self, event: events.UserTurnCommitted) -> Messages:
        """Usually after the speech stopped; before, where the agent's opener fell into a pause of the turn."""
        previous = self._place(event.previous_item_id)
        item = wire.wire_item(Item(event.item_id, "user", "", "completed", "audio"))
        return [
            Outgoing(wire.input_committed(event.item_id, previous)),
            Outgoing(wire.item_added(item, previous)),
            Outgoing(wire.item_done(item, previous)),
        ]

    def _final(self, event: events.FinalTranscript) -> Messages:
        transcript = self._transcripts.pop(event.item_id, None) or StableTranscript()
        if not self._transcribes():
            return []
        completed = wire.transcription_completed(event.item_id, event.text, event.seconds)
        messages = [*_delta(event.item_id, transcript.final(event.text)), Outgoing(completed)]
        if event.language:
            spoken = kame.TurnLanguageEvent(item_id=event.item_id, language=event.language, at_ms=event.at_ms)
            messages.append(Outgoing(spoken.model_dump()))
        return messages

    def _dropped(self, event: events.UserTurnDropped) -> Messages:
        self._transcripts.pop(event.item_id, None)
        dropped = kame.TurnDroppedEvent(item_id=event.item_id, kind=event.kind, text=event.text, at_ms=event.at_ms)
        messages = [Outgoing(dropped.model_dump())]
        if event.item_id in self._speaking:  # a client that was told of speech must be told of its end
            del self._speaking[event.item_id]
            messages.insert(0, Outgoing(wire.speech_stopped(event.item_id, event.at_ms)))
        return messages

    # --- the agent's turn ---

    def _response_started(self, event: events.ResponseStarted) -> Messages:
        _remember(self._responses, event.response_id, _Response(event))
        fields = self._response_fields(event.response_id)
        created = wire.response_created(wire.open_response(event.response_id, self._conversation_id, fields))
        if not event.speaks:
            return [Outgoing(created)]
        previous = self._place(event.previous_item_id)
        item = wire.wire_item(Item(event.item_id, "assistant", "", "in_progress", "audio"))
        return [
            Outgoing(created),
            Outgoing(wire.output_item_added(event.response_id, item)),
            Outgoing(wire.item_added(item, previous)),
        ]

    def _function_called(self, event: events.FunctionCalled) -> Messages:
        response = self._responses.get(event.response_id)
        if response is None or response.ended:
            return []
        index = len(response.calls) + response.started.speaks
        previous = self._place(event.previous_item_id)
        item = wire.wire_item(function_call(event.item_id, event.call_id, event.name, event.arguments))
        response.calls.append(item)
        begun = {**item, "status": "in_progress", "arguments": ""}
        delta, done = wire.call_arguments(event.response_id, item, index)
        return [
            Outgoing(wire.output_item_added(event.response_id, begun, index)),
            Outgoing(wire.item_added(begun, previous)),
            Outgoing(delta),
            Outgoing(done),
            Outgoing(wire.item_done(item, previous)),
            Outgoing(wire.output_item_done(event.response_id, item, index)),
        ]

    def _content(self, response: _Response) -> Messages:
        if response.has_content:
            return []
        response.has_content = True
        return [Outgoing(wire.content_part_added(response.started.response_id, response.started.item_id))]

    def _response_text(self, event: events.ResponseText) -> Messages:
        response = self._responses.get(event.response_id)
        if response is None or response.ended:
            return []
        spoken = kame.SpokenEvent(
            response_id=event.response_id,
            item_id=event.item_id,
            delta=event.delta,
            origin=event.origin,
            at_ms=event.at_ms,
        )
        delta = wire.audio_transcript_delta(event.response_id, event.item_id, event.delta)
        return [
            *self._content(response),
            Outgoing(delta, droppable=True),
            Outgoing(spoken.model_dump(), droppable=True),
        ]

    def _voice_started(self, event: events.VoiceStarted) -> Messages:
        response = self._responses.get(event.response_id)
        if response is None or response.voice_started_ms is not None:
            return []
        response.voice_started_ms = event.at_ms
        content = [] if response.ended else self._content(response)
        return [*content, Outgoing(wire.voice("started", event.response_id))]

    def _voice_stopped(self, event: events.VoiceStopped) -> Messages:
        response = self._responses.get(event.response_id)
        if response is None or response.voice_stopped is not None:
            return []
        response.voice_stopped = event
        cleared = [Outgoing(wire.voice("cleared", event.response_id))] if event.cleared else []
        return cleared + (self._voice_over(response) if response.ended else [])

    def _voice_over(self, response: _Response) -> Messages:
        """What follows once the response is done and its sound has stopped."""
        event, started_ms = response.voice_stopped, response.voice_started_ms
        if event is None and started_ms is not None:
            return []
        del self._responses[response.started.response_id]
        if event is None or started_ms is None:
            return []
        if event.cleared:
            heard_ms = max(0, event.at_ms - started_ms)
            return [Outgoing(wire.item_truncated(response.started.item_id, heard_ms))]
        return [Outgoing(wire.voice("stopped", event.response_id))]

    def _response_ended(self, event: events.ResponseEnded) -> Messages:
        response = self._responses.get(event.response_id)
        if response is None or response.ended:
            return []
        response.ended = True
        content = self._content(response) if event.text else []
        status: ItemStatus = "completed" if event.status == "completed" else "incomplete"
        item = wire.wire_item(Item(event.item_id, "assistant", event.text, status, "audio"))
        if not response.has_content:
            item["content"] = []
        ids = event.response_id, event.item_id
        fields = self._response_fields(event.response_id)
        part_done = [
            Outgoing(wire.audio_done(*ids)),
            Outgoing(wire.audio_transcript_done(*ids, event.text)),
            Outgoing(wire.content_part_done(*ids, event.text)),
        ]
        message_done = [
            *content,
            *(part_done if response.has_content else []),
            Outgoing(wire.item_done(item, response.started.previous_item_id or UNKNOWN_PLACE)),
            Outgoing(wire.output_item_done(event.response_id, item)),
        ]
        speaks = response.started.speaks
        output = [item, *response.calls] if speaks else response.calls
        return [
            *(message_done if speaks else []),
            Outgoing(wire.response_done(wire.ended_response(event, self._conversation_id, output, fields))),
            *self._voice_over(response),
        ]

    # --- the dialogue ---

    def _item_added(self, event: events.ItemAdded) -> Messages:
        previous = self._place(event.previous_item_id)
        item = wire.wire_item(Item(event.item_id, event.role, event.text, "completed", "text"))
        return [Outgoing(wire.item_added(item, previous)), Outgoing(wire.item_done(item, previous))]

    def _function_output_added(self, event: events.FunctionOutputAdded) -> Messages:
        previous = self._place(event.previous_item_id)
        item = wire.wire_item(function_output(event.item_id, event.call_id, event.output))
        return [Outgoing(wire.item_added(item, previous)), Outgoing(wire.item_done(item, previous))]

    def _place(self, previous_item_id: str | None) -> Place:
        first, self._any_item = not self._any_item, True
        return None if first and previous_item_id is None else (previous_item_id or UNKNOWN_PLACE)


def _remember(memory: dict[str, V], key: str, value: V) -> V:
    memory[key] = value
    while len(memory) > _OPEN_MOST:
        del memory[next(iter(memory))]
    return value


def _delta(item_id: str, delta: str) -> Messages:
    return [Outgoing(wire.transcription_delta(item_id, delta), droppable=True)] if delta else []
