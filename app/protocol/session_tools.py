"""The tools a client declares in its session, checked, in the engine's own form."""

from collections.abc import Sequence
from typing import Any

from app.protocol.errors import ParameterError
from app.protocol.session_config import SessionConfig, Tool, ToolChoice
from kame_core.backend.base import ToolDeclaration

MAX_TOOLS = 64


def declarations(config: SessionConfig) -> tuple[ToolDeclaration, ...]:
    """The functions of a checked session."""
    return tuple(
        ToolDeclaration(tool.name or "", tool.description or "", tool.parameters or _NO_PARAMETERS)
        for tool in config.tools or ()
        if tool.type == "function"
    )


def choice(wanted: str | ToolChoice | None) -> str:
    """Which of them is to be called, as in `ConversationOptions.tool_choice`; empty: that was not said."""
    return (wanted.name if isinstance(wanted, ToolChoice) else wanted) or ""


def check_choice(wanted: str | ToolChoice | None, config: SessionConfig, where: str) -> None:
    """Refuse the choice of a tool that a session does not declare.

    Raises:
        ParameterError: that is so; `where` is the object the choice stands in.
    """
    if not isinstance(wanted, ToolChoice):
        return
    if wanted.type != "function":
        raise ParameterError(
            f"Invalid value for '{where}.tool_choice.type': only functions can be called here.",
            param=f"{where}.tool_choice.type",
        )
    if wanted.name not in {tool.name for tool in declarations(config)}:
        raise ParameterError(
            f"Invalid value for '{where}.tool_choice.name': 'session.tools' declares no function of this name.",
            param=f"{where}.tool_choice.name",
        )


def check_tools(config: SessionConfig) -> None:
    """Refuse functions that could not be called.

    Raises:
        ParameterError: one has no name, a name twice, or parameters that are no schema of an object; or the one that
            must be called is not declared.
    """
    tools: Sequence[Tool] = config.tools or ()
    if len(tools) > MAX_TOOLS:
        raise ParameterError(
            f"Invalid value for 'session.tools': at most {MAX_TOOLS} are supported.", param="session.tools"
        )
    names: set[str] = set()
    for place, tool in enumerate(tools):
        if tool.type != "function":
            continue
        path = f"session.tools[{place}]"
        if tool.name is None:
            raise ParameterError(
                f"Missing required parameter: '{path}.name'.", param=f"{path}.name", code="missing_required_parameter"
            )
        if tool.name in names:
            raise ParameterError(
                f"Invalid value for '{path}.name': there is a tool with this name already.", param=f"{path}.name"
            )
        names.add(tool.name)
        if tool.parameters and tool.parameters.get("type", "object") != "object":
            raise ParameterError(
                f"Invalid value for '{path}.parameters.type': arguments are always an 'object'.",
                param=f"{path}.parameters.type",
            )
    check_choice(config.tool_choice, config, "session")


_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
