"""What clients may send: OpenAI Realtime client events and `kame.ping`, checked strictly.

Fields that are not named here are ignored, as in `response.metadata`-only requests of other servers' clients.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from app.protocol.errors import ParameterError
from app.protocol.session_config import MAX_OUTPUT_TOKENS, Tool, ToolChoice, token_limit
from app.protocol.validation import WireModel, shown, validate
from kame_core.events import Role

ItemId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class ClientEvent(WireModel):
    """Base of all."""

    type: str
    event_id: Annotated[str, Field(max_length=512)] | None = None


class SessionUpdate(ClientEvent):
    """Change the session."""

    session: dict[str, Any]


class ContentPart(WireModel):
    """A piece of a message."""

    type: str
    text: str | None = None


class MessageItem(WireModel):
    """A text message (`typed_text`), what came out of a function call (`function_output`), or `item_reference`."""

    type: str
    id: ItemId | None = None
    role: Literal["user", "assistant", "system"] | None = None
    content: list[ContentPart] | None = None
    call_id: Annotated[str, Field(max_length=256)] | None = None
    output: str | None = None


class ItemCreate(ClientEvent):
    """Add a message to the dialogue."""

    item: MessageItem
    previous_item_id: Annotated[str, Field(max_length=64)] | None = None


class ItemRetrieve(ClientEvent):
    """Ask for a message."""

    item_id: str


class ItemDelete(ClientEvent):
    """Take a message out of the dialogue."""

    item_id: str


class ItemTruncate(ClientEvent):
    """Tell how much of the agent's message was heard."""

    item_id: str
    content_index: Annotated[int, Field(ge=0)]
    audio_end_ms: Annotated[int, Field(ge=0)]


class ResponseParams(WireModel):
    """What may be asked of a single response."""

    instructions: str | None = None
    metadata: dict[str, Annotated[str, Field(max_length=512)]] | None = None
    conversation: str | None = None
    output_modalities: list[Literal["audio", "text"]] | None = None
    input: list[MessageItem] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | ToolChoice | None = None
    max_output_tokens: Annotated[int | None, Field(ge=1, le=MAX_OUTPUT_TOKENS), BeforeValidator(token_limit)] = None
    audio: dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None


class ResponseCreate(ClientEvent):
    """Let the agent speak now, or have a text written beside the dialogue (`app.protocol.response_params`)."""

    response: ResponseParams | None = None


class ResponseCancel(ClientEvent):
    """End the agent's turn, or a text beside the dialogue."""

    response_id: str | None = None


class OutputAudioClear(ClientEvent):
    """Cut the sound that is being played."""


class InputAudioCommit(ClientEvent):
    """The user's turn ends here."""


class InputAudioClear(ClientEvent):
    """Forget what the user has said in this turn."""


class InputAudioAppend(ClientEvent):
    """Sound in a message."""

    audio: str


class Ping(ClientEvent):
    """Sign of life; answered with `kame.pong` and the same `t`."""

    t: float | int | Annotated[str, Field(max_length=64)] | None = None


CLIENT_EVENTS: Mapping[str, type[ClientEvent]] = {
    "session.update": SessionUpdate,
    "conversation.item.create": ItemCreate,
    "conversation.item.retrieve": ItemRetrieve,
    "conversation.item.delete": ItemDelete,
    "conversation.item.truncate": ItemTruncate,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
    "output_audio_buffer.clear": OutputAudioClear,
    "input_audio_buffer.commit": InputAudioCommit,
    "input_audio_buffer.clear": InputAudioClear,
    "input_audio_buffer.append": InputAudioAppend,
    "kame.ping": Ping,
}

_CONTENT: Mapping[str, tuple[str, ...]] = {
    "user": ("input_text",),
    "system": ("input_text",),
    "assistant": ("output_text", "text"),
}


def client_event(data: Mapping[str, Any]) -> ClientEvent:
    """Check one message from a client.

    Raises:
        ParameterError: its type is not known, or a field is wrong.
    """
    kind = data.get("type")
    if kind is None:
        raise ParameterError("Missing required parameter: 'type'.", param="type", code="missing_required_parameter")
    if not isinstance(kind, str):
        raise ParameterError("Invalid type for 'type': expected a string.", param="type", code="invalid_type")
    if kind not in CLIENT_EVENTS:
        raise ParameterError(
            f"Unknown event type '{shown(kind)}'. Supported are: {', '.join(CLIENT_EVENTS)}.", param="type"
        )
    return validate(CLIENT_EVENTS[kind], data)


def typed_text(item: MessageItem, path: str = "item") -> tuple[Role, str]:
    """Role and text of a typed message; `path` is where it stands.

    Raises:
        ParameterError: the item is no message of text.
    """
    if item.type != "message":
        raise ParameterError(
            f"Items of type '{shown(item.type)}' are not supported. Supported are 'message' and "
            "'function_call_output'.",
            param=f"{path}.type",
            code="unsupported_item_type",
        )
    if item.role is None:
        raise ParameterError(
            f"Missing required parameter: '{path}.role'.", param=f"{path}.role", code="missing_required_parameter"
        )
    if not item.content:
        raise ParameterError(
            f"Missing required parameter: '{path}.content'.", param=f"{path}.content", code="missing_required_parameter"
        )
    texts = [_text_of(part, item.role, f"{path}.content[{place}]") for place, part in enumerate(item.content)]
    text = "\n".join(texts)
    if not text.strip():
        raise ParameterError(f"Invalid value for '{path}.content': there is no text in it.", param=f"{path}.content")
    return item.role, text


def function_output(item: MessageItem) -> tuple[str, str]:
    """Call id and output of a `function_call_output`.

    Raises:
        ParameterError: one of them is missing.
    """
    for name, value in (("call_id", item.call_id), ("output", item.output)):
        if value is None:
            raise ParameterError(
                f"Missing required parameter: 'item.{name}'.", param=f"item.{name}", code="missing_required_parameter"
            )
    return item.call_id or "", item.output or ""


def _text_of(part: ContentPart, role: Role, path: str) -> str:
    if part.type not in _CONTENT[role]:
        raise ParameterError(
            f"Content of type '{shown(part.type)}' is not supported in a message of role '{role}'; "
            f"use '{_CONTENT[role][0]}'. Speech is sent as sound.",
            param=f"{path}.type",
            code="unsupported_content_type",
        )
    if part.text is None:
        raise ParameterError(
            f"Missing required parameter: '{path}.text'.", param=f"{path}.text", code="missing_required_parameter"
        )
    return part.text
