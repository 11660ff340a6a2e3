"""A real OpenAI-compatible server on the loopback interface, with the faults real ones have."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from aiohttp import web

Messages = list[dict[str, Any]]
SIGNATURE = {"google": {"thought_signature": "c2lnbmVk"}}


class Fault(StrEnum):
    """What goes wrong."""

    NONE = "none"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    NO_QUOTA = "no_quota"
    TOO_LONG = "too_long"
    SERVER_ERROR = "server_error"
    HANG = "hang"
    """Nothing is answered, not even headers."""
    HANG_MIDWAY = "hang_midway"
    """Two words, then nothing more."""
    FLOOD = "flood"
    """Words without end."""
    DROP_MIDWAY = "drop_midway"
    """Two words, then the connection breaks."""
    DROP_IN_CALL = "drop_in_call"
    """The connection breaks within the arguments of a tool call."""
    DROP = "drop"
    """The connection breaks before any answer."""
    GARBAGE_BODY = "garbage_body"
    """A web page instead of a stream."""
    GARBAGE_EVENT = "garbage_event"
    """An event that is no JSON."""
    STRANGE_EVENT = "strange_event"
    """JSON of other shapes between the right ones."""
    ERROR_EVENT = "error_event"
    """An error inside the stream."""
    NO_FINISH = "no_finish"
    """Neither finish reason nor usage nor the closing mark."""
    EMPTY = "empty"


_STATUS: dict[Fault, tuple[int, dict[str, Any]]] = {
    Fault.UNAUTHORIZED: (401, {"message": "bad key", "code": "invalid_api_key"}),
    Fault.FORBIDDEN: (403, {"message": "not for you"}),
    Fault.NOT_FOUND: (404, {"message": "no such model", "code": "model_not_found"}),
    Fault.RATE_LIMITED: (429, {"message": "slow down", "code": "rate_limit_exceeded"}),
    Fault.NO_QUOTA: (429, {"message": "no credit", "code": "insufficient_quota"}),
    Fault.TOO_LONG: (400, {"message": "maximum context length", "code": "context_length_exceeded"}),
    Fault.SERVER_ERROR: (500, {"message": "oh no"}),
}
_STRANGE_EVENTS: tuple[dict[str, Any], ...] = (
    {},
    {"choices": None},
    {"choices": [{}]},
    {"choices": [{"delta": {"content": 7}}]},
    {"choices": "no", "usage": 3},
)


@dataclass(slots=True)
class Behaviour:
    """How requests are answered."""

    fault: Fault = Fault.NONE
    fault_count: int | None = None
    """Only the next so many requests go wrong; None: all."""
    first_token_delay_s: float = 0.0
    token_delay_s: float = 0.0
    retry_after_s: float | None = None
    thinking: str = ""
    """Written in a `<think>` block before the answer."""
    thinking_field: str = ""
    """Sent as `reasoning_content` deltas before the answer."""
    finish_reason: str = "stop"
    token_chars: int | None = None
    """Length of a delta, of a tool call's arguments too; None: a word."""
    call_style: str = "openai"
    """How tool calls are written: `openai`, `whole` (in one piece, with neither index nor id), `first` (in pieces, all
    with the index 0), or `new_ids` (each piece with an id of its own)."""
    signs_calls: bool = False
    """The first call of an answer has a signature; messages with calls, and none that is signed, are refused."""
    refuses_extras: bool = False
    """Calls that come back with anything the API does not know are refused."""
    bad_schema: bool = False
    """Whatever tools are declared are refused with status 400, as wrong."""
    unknown_parameters: tuple[str, ...] = ()
    """Refused with status 400, as some servers do."""
    refusal_status: int = 400
    """422: they are refused in another shape."""


@dataclass(slots=True)
class Received:
    """One request as it came."""

    path: str
    authorization: str
    body: dict[str, Any]
    at_s: float
    ended: str = "running"
    """`finished`, or `aborted` when the client closed the response."""
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def messages(self) -> Messages:
        """The chat."""
        messages: Messages = self.body.get("messages", [])
        return messages


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with tool calls behind its text: (id, name, arguments as written)."""

    text: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()


def _plain_answer(messages: Messages) -> str:
    return "Paris is the capital of France."


class OpenAIServer:
    """Speaks streaming chat completions and the list of models.

    Args:
        answer: the whole answer to a chat: text, or a `Reply`, which may call tools.
        behaviour: delays and faults; may be changed between requests.
        models: ids to list.
        longest_s: no response lasts longer, whatever the behaviour.
    """

    def __init__(
        self,
        answer: Callable[[Messages], "str | Reply"] = _plain_answer,
        behaviour: Behaviour | None = None,
        models: tuple[str, ...] = ("test-model",),
        longest_s: float = 30.0,
    ) -> None:
        self.answer = answer
        self.behaviour = Behaviour() if behaviour is None else behaviour
        self.models = models
        self.requests: list[Received] = []
        self.arrived = asyncio.Event()
        """A chat was asked for."""
        self.connections = 0
        self.base_url = ""
        self._longest_s = longest_s
        self._runner: web.AppRunner | None = None
        self._peers: set[object] = set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._completions)
        # An aborted request cancels its handler, so that it can be recorded.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        self._note_connection(request)
        fault = self._next_fault()
        if fault is Fault.HANG:
            await asyncio.sleep(self._longest_s)
        if fault in _STATUS:
            return self._refuse(fault)
        if fault is Fault.GARBAGE_BODY:
            return web.Response(text="<html>Hello</html>", content_type="text/html")
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        self._note_connection(request)
        received = Received(
            request.path,
            request.headers.get("Authorization", ""),
            await request.json(),
            asyncio.get_running_loop().time(),
        )
        self.requests.append(received)
        self.arrived.set()
        try:
            async with asyncio.timeout(self._longest_s):
                response = await self._respond(request, received)
            received.ended = "finished"
            return response
        except (asyncio.CancelledError, ConnectionResetError):
            received.ended = "aborted"
            raise
        finally:
            received.done.set()

    async def _respond(self, request: web.Request, received: Received) -> web.StreamResponse:
        fault = self._next_fault()
        refused = next((name for name in self.behaviour.unknown_parameters if name in received.body), None)
        if self.behaviour.bad_schema and "tools" in received.body:
            error = {"message": "Invalid schema for function 'weather'.", "param": "tools[0].function.parameters"}
            return web.json_response({"error": error}, status=400)
        if self.behaviour.signs_calls and any(map(_is_unsigned, received.messages)):
            message = "Function call is missing a thought_signature in functionCall parts."
            return web.json_response({"error": {"message": message, "code": 400}}, status=400)
        if self.behaviour.refuses_extras and '"extra_content"' in json.dumps(received.messages):
            message = "Unknown parameter: 'messages[1].tool_calls[0].extra_content'."
            return web.json_response({"error": {"message": message, "code": "unknown_parameter"}}, status=400)
        if refused is not None and self.behaviour.refusal_status == 422:
            detail = {"type": "extra_forbidden", "loc": ["body", refused], "msg": "Extra inputs are not permitted"}
            complaint = {"detail": [{**detail, "input": received.body[refused]}]}
            return web.json_response({"object": "error", "message": complaint, "code": None}, status=422)
        if refused == "tools":
            message = "registry/some-model does not support tools"
            return web.json_response({"error": {"message": message, "type": "api_error"}}, status=400)
        if refused is not None:
            message = f"Unsupported parameter: '{refused}'."
            if refused == "max_tokens":
                message += " Use 'max_completion_tokens' instead."
            return web.json_response({"error": {"message": message, "param": refused}}, status=400)
        if fault in _STATUS:
            return self._refuse(fault)
        if fault is Fault.HANG:
            await asyncio.sleep(self._longest_s)
        if fault is Fault.DROP:
            self._break_connection(request)
            return web.Response()
        if fault is Fault.GARBAGE_BODY:
            return web.Response(text="<html>Hello</html>", content_type="text/html")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        await self._write_answer(request, response, fault, received)
        with contextlib.suppress(ConnectionResetError):
            await response.write_eof()
        return response

    async def _write_answer(
        self, request: web.Request, response: web.StreamResponse, fault: Fault, received: Received
    ) -> None:
        behaviour = self.behaviour
        await _send(response, _chunk({"role": "assistant", "content": ""}))
        if behaviour.thinking_field:
            await _send(response, _chunk({"reasoning_content": behaviour.thinking_field}))
        await asyncio.sleep(behaviour.first_token_delay_s)
        if fault is Fault.FLOOD:
            while True:
                await _send(response, _chunk({"content": "flood "}))
                await asyncio.sleep(0)
        answer = "" if fault is Fault.EMPTY else self.answer(received.messages)
        reply = Reply(answer) if isinstance(answer, str) else answer
        text = reply.text
        if behaviour.thinking:
            text = f"<think>\n{behaviour.thinking}\n</think>\n\n{text}"
        for number, delta in enumerate(_deltas(text, behaviour.token_chars)):
            if number:
                await asyncio.sleep(behaviour.token_delay_s)
            if number == 2 and fault is Fault.HANG_MIDWAY:
                await asyncio.sleep(self._longest_s)
            if number == 2 and fault is Fault.DROP_MIDWAY:
                self._break_connection(request)
                return
            if number == 2 and fault is Fault.GARBAGE_EVENT:
                await response.write(b"data: {not json\n\n")
            if number == 2 and fault is Fault.STRANGE_EVENT:
                for strange in _STRANGE_EVENTS:
                    await _send(response, strange)
            if number == 2 and fault is Fault.ERROR_EVENT:
                await _send(response, {"error": {"message": "overloaded", "type": "server_error"}})
            await _send(response, _chunk({"content": delta}))
        if fault is Fault.NO_FINISH:
            return
        for number, piece in enumerate(_call_deltas(reply.calls, behaviour)):
            if number == 2 and fault is Fault.DROP_IN_CALL:
                self._break_connection(request)
                return
            await _send(response, _chunk({"tool_calls": [piece]}))
        stopped = behaviour.finish_reason == "stop"
        await _send(response, _chunk({}, "tool_calls" if reply.calls and stopped else behaviour.finish_reason))
        if received.body.get("stream_options", {}).get("include_usage"):
            spent = sum(len((message["content"] or "").split()) for message in received.messages)
            usage = {"prompt_tokens": spent, "completion_tokens": len(text.split()), "total_tokens": 0}
            await _send(response, {**_chunk({}), "choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")

    def _next_fault(self) -> Fault:
        behaviour = self.behaviour
        if behaviour.fault_count is None:
            return behaviour.fault
        behaviour.fault_count -= 1
        return behaviour.fault if behaviour.fault_count >= 0 else Fault.NONE

    def _refuse(self, fault: Fault) -> web.Response:
        status, error = _STATUS[fault]
        after = self.behaviour.retry_after_s
        headers = {} if after is None else {"Retry-After": str(after)}
        return web.json_response({"error": error}, status=status, headers=headers)

    def _note_connection(self, request: web.Request) -> None:
        if request.transport is not None and request.transport not in self._peers:
            self._peers.add(request.transport)
            self.connections += 1

    @staticmethod
    def _break_connection(request: web.Request) -> None:
        if isinstance(request.transport, asyncio.Transport):
            request.transport.abort()


def _deltas(text: str, token_chars: int | None) -> list[str]:
    if token_chars is not None:
        return [text[start : start + token_chars] for start in range(0, len(text), token_chars)]
    words = text.split(" ")
    return [f" {word}" if number else word for number, word in enumerate(words)] if text else []


def _call_deltas(calls: tuple[tuple[str, str, str], ...], behaviour: Behaviour) -> Iterator[dict[str, Any]]:
    for number, (call_id, name, arguments) in enumerate(calls):
        index = 0 if behaviour.call_style == "first" else number
        if behaviour.call_style == "whole":
            yield {"type": "function", "function": {"name": name, "arguments": arguments}}
            continue
        function = {"name": name, "arguments": ""}
        signed = {"extra_content": SIGNATURE} if behaviour.signs_calls and not number else {}
        yield {"index": index, "id": call_id, "type": "function", "function": function, **signed}
        size = behaviour.token_chars or 5
        for start in range(0, len(arguments), size):
            new_id = {"id": f"{call_id}_{start}"} if behaviour.call_style == "new_ids" else {}
            yield {"index": index, "function": {"arguments": arguments[start : start + size]}, **new_id}


def _is_unsigned(message: dict[str, Any]) -> bool:
    calls = message.get("tool_calls") or ()
    return bool(calls) and not any(call.get("extra_content") == SIGNATURE for call in calls)


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "test-model", "choices": [choice]}


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(f"data: {json.dumps(event)}\n\n".encode())
