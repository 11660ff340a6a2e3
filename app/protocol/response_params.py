"""What a `response.create` may ask for: a spoken response of the dialogue, or a written one beside it."""

from app.protocol import session_tools
from app.protocol.client_events import MessageItem, ResponseParams, typed_text
from app.protocol.errors import ParameterError
from app.protocol.session_config import Tool
from app.protocol.validation import shown
from kame_core.backend.base import ChatMessage
from kame_core.options import AsideOptions, ItemReference, ResponseOptions

_OUTSIDE = '"conversation": "none"'


def is_aside(params: ResponseParams) -> bool:
    """It is to be written outside the conversation.

    Raises:
        ParameterError: there is no such conversation.
    """
    if params.conversation not in (None, "auto", "none"):
        raise ParameterError(
            "Invalid value for 'response.conversation': supported are 'auto' and 'none'.", param="response.conversation"
        )
    return params.conversation == "none"


def spoken(params: ResponseParams, of_session: list[Tool] | None) -> ResponseOptions:
    """The wishes for a response of the dialogue; `of_session` are the session's tools.

    Raises:
        ParameterError: it would have to be over other input, or silent.
    """
    _check_common(params, "all responses are spoken as the session says.")
    if params.input is not None:
        raise ParameterError(
            f"'response.input' needs {_OUTSIDE}: what is spoken answers the conversation. Add messages to it with "
            "'conversation.item.create' first.",
            param="response.input",
            code="unsupported_parameter",
        )
    if params.output_modalities is not None and "audio" not in params.output_modalities:
        raise ParameterError(
            f"Invalid value for 'response.output_modalities': [\"text\"] needs {_OUTSIDE}; responses of the "
            'conversation are spoken, and the transcript is sent with them. Use ["audio"].',
            param="response.output_modalities",
        )
    tools = of_session if params.tools is None else params.tools
    session_tools.check_choice(params.tool_choice, tools, "response")
    return ResponseOptions(
        params.instructions or "",
        None if params.tools is None else session_tools.declarations(params.tools),
        session_tools.choice(params.tool_choice),
        params.max_output_tokens,
    )


def written(params: ResponseParams) -> AsideOptions:
    """The wishes for a response outside the conversation.

    Raises:
        ParameterError: it would have to be spoken, or its input is none.
    """
    aloud = "responses outside the conversation are written, not spoken."
    _check_common(params, aloud)
    if params.output_modalities not in (None, ["text"]):
        raise ParameterError(
            f"Invalid value for 'response.output_modalities': {aloud} Use [\"text\"].",
            param="response.output_modalities",
        )
    session_tools.check_choice(params.tool_choice, params.tools, "response")
    parts = None if params.input is None else tuple(_input(item, place) for place, item in enumerate(params.input))
    return AsideOptions(
        params.instructions,
        parts,
        session_tools.declarations(params.tools),
        session_tools.choice(params.tool_choice),
        params.max_output_tokens,
    )


def _check_common(params: ResponseParams, why: str) -> None:
    for name in ("audio", "prompt"):
        if getattr(params, name) is not None:
            raise ParameterError(
                f"'response.{name}' is not supported: {why}", param=f"response.{name}", code="unsupported_parameter"
            )
    if any(tool.type != "function" for tool in params.tools or ()):
        raise ParameterError(
            "Invalid value for 'response.tools': only functions can be called here.", param="response.tools"
        )
    session_tools.check_tools(params.tools, "response")
    if params.metadata is not None and (len(params.metadata) > 16 or any(len(key) > 64 for key in params.metadata)):
        raise ParameterError(
            "Invalid value for 'response.metadata': at most 16 keys of at most 64 characters.",
            param="response.metadata",
        )


def _input(item: MessageItem, place: int) -> ChatMessage | ItemReference:
    path = f"response.input[{place}]"
    if item.type == "item_reference":
        if item.id is None:
            raise ParameterError(
                f"Missing required parameter: '{path}.id'.", param=f"{path}.id", code="missing_required_parameter"
            )
        return ItemReference(item.id)
    if item.type != "message":
        raise ParameterError(
            f"Items of type '{shown(item.type)}' are not supported as input. Supported are 'message' and "
            "'item_reference'.",
            param=f"{path}.type",
            code="unsupported_item_type",
        )
    return ChatMessage(*typed_text(item, path))
