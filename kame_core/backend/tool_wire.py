"""Tools in the language of the chat completions API: messages, parameters, and calls put together from their pieces."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from kame_core.backend.base import ChatMessage, ToolCall, ToolDeclaration
from kame_core.characters import whole_characters

EXTRA = "extra_content"
"""Where Google's compatible API has the signature of the thought that led to a call, without which it refuses the call
when that comes back (https://ai.google.dev/gemini-api/docs/thought-signatures).
"""
_MOST_CALLS = 16
_MOST_CHARS = 32_000

Json = dict[str, Any]


def as_wire(messages: Sequence[ChatMessage], *, extras: bool = True) -> list[Json]:
    """Messages as the API has them; `extras`: with `ToolCall.extra`."""
    return [_message(message, extras) for message in _calls_joined(messages)]


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


def _calls_joined(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Of calls made at one go only the first one has an extra, and the others must be in one message with it."""
    joined: list[ChatMessage] = []
    signed: int | None = None
    for message in messages:
        has_extra = any(call.extra for call in message.tool_calls)
        if signed is not None and message.tool_calls and not message.content and not has_extra:
            first = joined[signed]
            joined[signed] = replace(first, tool_calls=first.tool_calls + message.tool_calls)
            continue
        if message.role != "tool":
            signed = len(joined) if has_extra else None
        joined.append(message)
    return joined


def _message(message: ChatMessage, extras: bool) -> Json:
    content = whole_characters(message.content)
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": content}
    if not message.tool_calls:
        return {"role": message.role, "content": content}
    calls = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
            **({EXTRA: dict(call.extra)} if extras and call.extra else {}),
        }
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": content or None, "tool_calls": calls}


@dataclass(slots=True)
class _Pieces:
    index: object
    """As the server counts; servers differ."""
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    extra: Json = field(default_factory=dict)


class CallAssembler:
    """Puts the calls of one answer together from deltas cut anywhere.

    Servers differ: some leave the index out and send a call whole, some give all calls the same index, some repeat the
    name, some give each piece of a call an id of its own, some send arguments as an object, some give no id. What makes
    no sense is left out; at most 16 calls of 32,000 characters are kept.
    """

    def __init__(self) -> None:
        self._calls: list[_Pieces] = []

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
        return tuple(
            ToolCall(
                call.call_id or f"call_{uuid4().hex}", call.name, whole_characters(call.arguments) or "{}", call.extra
            )
            for call in self._calls
            if call.name
        )

    def _take(self, piece: object) -> None:
        call_id, extra = getattr(piece, "id", None), getattr(piece, EXTRA, None)
        function = getattr(piece, "function", None)
        name, arguments = getattr(function, "name", None), getattr(function, "arguments", None)
        call = self._call_of(getattr(piece, "index", None), call_id, name)
        if call is None:
            return
        if isinstance(call_id, str) and not call.call_id:
            call.call_id = call_id
        if isinstance(name, str) and name != call.name:
            call.name += name
        if isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if isinstance(arguments, str):
            call.arguments = (call.arguments + arguments)[:_MOST_CHARS]
        if isinstance(extra, dict) and len(json.dumps(extra)) <= _MOST_CHARS:  # cut it would be worth nothing
            call.extra |= extra

    def _call_of(self, index: object, call_id: object, name: object) -> _Pieces | None:
        """What a piece belongs to: the call of its id, else the last one of its index, unless it begins another."""
        counted = isinstance(index, int)
        fellows = [call for call in self._calls if call.index == index or not counted]
        known = next((call for call in fellows if call_id and call.call_id == call_id), None)
        if known is not None:
            return known
        last = fellows[-1] if fellows else None
        another = call_id and (not counted or (name and last is not None and last.call_id))
        if last is not None and not another:
            return last
        if len(self._calls) >= _MOST_CALLS:
            return None
        self._calls.append(_Pieces(index))
        return self._calls[-1]
