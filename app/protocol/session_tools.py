"""The tools a client declares in its session or for a response, checked, in the engine's own form."""

from collections.abc import Sequence
from typing import Any

from app.protocol.errors import ParameterError
from app.protocol.session_config import Tool, ToolChoice
from kame_core.backend.base import ToolDeclaration

MAX_TOOLS = 64


def declarations(tools: Sequence[Tool] | None) -> tuple[ToolDeclaration, ...]:
    """The functions among checked tools."""
    return tuple(
        ToolDeclaration(tool.name or "", tool.description or "", tool.parameters or _NO_PARAMETERS)
        for tool in tools or ()
        if tool.type == "function"
    )


def choice(wanted: str | ToolChoice | None) -> str:
    """Which of them is to be called, as in `ConversationOptions.tool_choice`; empty: that was not said."""
    return (wanted.name if isinstance(wanted, ToolChoice) else wanted) or ""


def check_choice(wanted: str | ToolChoice | None, tools: Sequence[Tool] | None, where: str) -> None:
    """Refuse the choice of a tool that is not declared.

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
    if wanted.name not in {tool.name for tool in declarations(tools)}:
        raise ParameterError(
            f"Invalid value for '{where}.tool_choice.name': no function of this name is declared.",
            param=f"{where}.tool_choice.name",
        )


def check_tools(tools: Sequence[Tool] | None, where: str) -> None:
    """Refuse functions that could not be called; `where` is the object the tools stand in.

    Raises:
        ParameterError: one has no name, a name twice, or parameters that are no schema of an object.
    """
    if len(tools or ()) > MAX_TOOLS:
        raise ParameterError(
            f"Invalid value for '{where}.tools': at most {MAX_TOOLS} are supported.", param=f"{where}.tools"
        )
    names: set[str] = set()
    for place, tool in enumerate(tools or ()):
        if tool.type != "function":
            continue
        path = f"{where}.tools[{place}]"
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


_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
