"""Tools in the language of the chat completions API: messages, parameters, and calls put together from their pieces."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from kame_core.backend.base import ChatMessage, ToolCall, ToolDeclaration

_MOST_CALLS = 16
_MOST_CHARS = 32_000

Json = dict[str, Any]


def as_wire(messages: Sequence[ChatMessage]) -> list[Json]:
    """Messages as the API has them."""
    return [_message(message) for message in messages]


def without_tools(messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
    """The same talk for a server that knows no tools: calls and their results left out."""
    plain = (m for m in messages if m.role != "tool" and (m.content or not m.tool_calls))
    return tuple(ChatMessage(message.role, message.content) for message in plain)


def tool_parameters(tools: Sequence[ToolDeclaration], choice: str) -> Json:
    """`tools`, and `tool_choice` where it is not the default."""
    declared = [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in tools
    ]
    if choice == "auto":
        return {"tools": declared}
    named: object = choice if choice in ("none", "required") else {"type": "function", "function": {"name": choice}}
    return {"tools": declared, "tool_choice": named}


def _message(message: ChatMessage) -> Json:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.content}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    calls = [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}


@dataclass(slots=True)
class _Pieces:
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class CallAssembler:
    """Puts the calls of one answer together from deltas cut anywhere.

    Servers differ: some leave the index out and send a call whole, some repeat the name, some send arguments as an
    object, some give no id. What makes no sense is left out; at most 16 calls of 32,000 characters are kept.
    """

    def __init__(self) -> None:
        self._calls: dict[int, _Pieces] = {}

    def __bool__(self) -> bool:
        """Something of a call has come."""
        return bool(self._calls)

    def feed(self, delta: object) -> None:
        """Take in the `delta` of a chunk."""
        pieces = getattr(delta, "tool_calls", None)
        for piece in pieces if isinstance(pieces, list) else ():
            self._take(piece)

    def finish(self) -> tuple[ToolCall, ...]:
        """The calls in the order in which they began."""
        named = [self._calls[index] for index in sorted(self._calls) if self._calls[index].name]
        return tuple(ToolCall(one.call_id or f"call_{uuid4().hex}", one.name, one.arguments or "{}") for one in named)

    def _take(self, piece: object) -> None:
        index, call_id = getattr(piece, "index", None), getattr(piece, "id", None)
        function = getattr(piece, "function", None)
        name, arguments = getattr(function, "name", None), getattr(function, "arguments", None)
        if not isinstance(index, int):
            index = self._place_of(call_id)
        if index not in self._calls and len(self._calls) >= _MOST_CALLS:
            return
        call = self._calls.setdefault(index, _Pieces())
        if isinstance(call_id, str) and not call.call_id:
            call.call_id = call_id
        if isinstance(name, str) and name != call.name:
            call.name += name
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if isinstance(arguments, str):
            call.arguments = (call.arguments + arguments)[:_MOST_CHARS]

    def _place_of(self, call_id: object) -> int:
        """Where a piece without an index belongs: to the call of its id, else to the last one, else to a new one."""
        known = next((index for index, call in self._calls.items() if call_id and call.call_id == call_id), None)
        if known is not None:
            return known
        last = max(self._calls, default=-1)
        return last + 1 if call_id or last < 0 else last
