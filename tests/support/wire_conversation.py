"""Both ends of a codec under test: a conversation that records, and a client that checks all it gets."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from app.protocol.kame_events import KAME_EVENTS
from kame_core.errors import InvalidRequestError
from kame_core.events import Role
from kame_core.options import AsideOptions, ConversationOptions, ResponseOptions
from kame_core.transcript import Item, Transcript

_AS_ALWAYS = ResponseOptions()
_OPENAI: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
_KAME = {model.model_fields["type"].default: model for model in KAME_EVENTS}


def check_server_event(payload: dict[str, Any], *, echoes: bool = False) -> None:
    """Assert that a message is exactly one of OpenAI's event classes, or one of ours.

    A union takes the first class that fits loosely, so the class is then asked for its own `type`, and whatever it
    does not know may only be our `kame` object, or with `echoes` what the client itself put into its session.
    """
    assert isinstance(payload["event_id"], str)
    assert payload["event_id"]
    if payload["type"].startswith("kame."):
        _KAME[payload["type"]].model_validate({key: value for key, value in payload.items() if key != "event_id"})
        return
    event = _OPENAI.validate_python(payload, strict=True)
    assert event.type == payload["type"]
    unknown = {field for field in _unknown_fields(event, "") if not (echoes and field.startswith(".session."))}
    allowed = {".session.id", ".session.object", ".session.expires_at", ".session.kame", ".response.kame"}
    assert unknown <= allowed, f"{payload['type']} holds fields OpenAI does not know: {unknown - allowed}"


def _unknown_fields(model: Any, path: str) -> Iterable[str]:
    for name in model.__pydantic_extra__ or {}:
        yield f"{path}.{name}"
    for name in type(model).model_fields:
        value = getattr(model, name)
        for part in value if isinstance(value, list) else [value]:
            if hasattr(part, "__pydantic_extra__"):
                yield from _unknown_fields(part, f"{path}.{name}")


@dataclass
class Client:
    """The other end of a codec."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    droppable: list[bool] = field(default_factory=list)
    echoes: bool = False
    """The session holds fields that OpenAI does not know, because the test put them there."""

    def receive(self, payload: dict[str, Any], droppable: bool) -> None:
        self.messages.append(payload)
        self.droppable.append(droppable)

    def take(self) -> list[dict[str, Any]]:
        """What came since the last time, every message checked (not when it comes: the codec would answer that)."""
        for message in self.messages:
            check_server_event(message, echoes=self.echoes)
        taken, self.messages = self.messages, []
        return taken

    def types(self) -> list[str]:
        """Types of what came since the last time."""
        return [message["type"] for message in self.take()]


class RecordingConversation:
    """A `ConversationPort` with a real transcript that emits nothing by itself."""

    def __init__(self) -> None:
        self.id = "conv_1"
        self.transcript = Transcript()
        self.options = ConversationOptions()
        self.calls: list[tuple[Any, ...]] = []
        self.active_response: str | None = None
        self.refuse: Exception | None = None
        self.keeps_voice = False

    def set_options(self, options: ConversationOptions) -> None:
        self._called("set_options")
        self.options = replace(options, voice=self.options.voice) if self.keeps_voice else options

    def add_text(self, text: str, role: Role, item_id: str | None = None, previous_item_id: str | None = None) -> str:
        self._called("add_text", text, role, item_id, previous_item_id)
        item_id = item_id or f"item_{len(self.transcript.items())}"
        self.transcript.add(Item(item_id, role, text, "completed", "text"), previous_item_id)
        return item_id

    def add_function_output(
        self, call_id: str, output: str, item_id: str | None = None, previous_item_id: str | None = None
    ) -> str:
        self._called("add_function_output", call_id, output, item_id, previous_item_id)
        return item_id or f"item_{len(self.transcript.items())}"

    def delete_item(self, item_id: str) -> None:
        self._called("delete_item", item_id)
        self.transcript.delete(item_id)

    def item(self, item_id: str) -> Item | None:
        return self.transcript.get(item_id)

    def create_response(self, wishes: ResponseOptions = _AS_ALWAYS) -> str:
        self._called("create_response", wishes)
        if self.active_response is not None:
            raise InvalidRequestError("The agent is speaking.", code="conversation_already_has_active_response")
        self.active_response = "resp_1"
        return self.active_response

    def create_aside(self, wishes: AsideOptions) -> str:
        self._called("create_aside", wishes)
        return f"aside_{sum(call[0] == 'create_aside' for call in self.calls)}"

    def cancel_response(self, response_id: str | None = None) -> None:
        self._called("cancel_response", response_id)
        if self.active_response is None:
            raise InvalidRequestError("No response is active.", code="response_cancel_not_active")
        self.active_response = None

    def clear_voice(self) -> str | None:
        self._called("clear_voice")
        return None

    def commit_input(self) -> None:
        self._called("commit_input")

    def clear_input(self) -> None:
        self._called("clear_input")

    def _called(self, *call: Any) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.calls.append(call)
