"""Functions a chat model may have called: the server's own in Python, and what each request is offered.

Server tools run here, inside the candidate that asked for them: the model is told what came out and goes on. Tools of
the client are only offered; their calls leave through the response. Tools are run for whole turns only; requests about
partial transcripts are offered none but server tools declared `read_only`.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from kame_core.backend.base import ChatMessage, ToolCall, ToolDeclaration
from kame_core.errors import InvalidRequestError, KameError
from kame_core.events import Event, ToolFinished, ToolStarted
from kame_core.options import ConversationOptions

logger = logging.getLogger(__name__)

DEFAULT_DEADLINE_S = 5.0
_MOST_RUNNING = 16
_LONGEST_OUTPUT_CHARS = 8000
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}

ToolFunction = Callable[..., Awaitable[object]]
F = TypeVar("F", bound=ToolFunction)
T = TypeVar("T")


class ToolError(KameError):
    """A tool did not do what it was called for; the model is told so, and the talk goes on."""

    code = "tool_failed"
    retryable = True


@dataclass(frozen=True, slots=True)
class ServerTool:
    """A function of this process."""

    declaration: ToolDeclaration
    run: ToolFunction
    """Takes the arguments by keyword; gives text, or anything that JSON can hold."""
    read_only: bool
    """It changes nothing, so it may run for words that the user has not finished, or takes back."""
    deadline_s: float


class Toolbox:
    """The server tools of a process, by name; filled before conversations begin."""

    def __init__(self) -> None:
        self._tools: dict[str, ServerTool] = {}

    @property
    def tools(self) -> tuple[ServerTool, ...]:
        """All of them, in the order in which they were added."""
        return tuple(self._tools.values())

    def get(self, name: str) -> ServerTool | None:
        """The tool with that name."""
        return self._tools.get(name)

    def tool(
        self,
        description: str,
        parameters: Mapping[str, Any] = _NO_PARAMETERS,
        *,
        name: str = "",
        read_only: bool = False,
        deadline_s: float = DEFAULT_DEADLINE_S,
    ) -> Callable[[F], F]:
        """Declare the decorated `async` function as a tool; it must not block the event loop.

        Args:
            description: for the model: what it does, and when to call it.
            parameters: JSON schema of an object.
            name: default: the function's own.
            read_only: see `ServerTool`.
            deadline_s: longest time; then it is cancelled and the model told so.

        Raises:
            InvalidRequestError: it is no `async` function, or the name is taken.
        """

        def add(function: F) -> F:
            known_as = name or getattr(function, "__name__", "")
            if not _is_async(function):
                raise InvalidRequestError(f"The tool {known_as} is no async function. Declare it with async def.")
            if known_as in self._tools:
                raise InvalidRequestError(f"There are two tools called {known_as}. Rename one.")
            declaration = ToolDeclaration(known_as, description, parameters)
            self._tools[known_as] = ServerTool(declaration, function, read_only, deadline_s)
            return function

        return add


@dataclass(frozen=True, slots=True)
class CandidateCalls(Event):
    """A candidate for a whole turn is finished and wants functions of the client called. Between engine parts only."""

    candidate_id: str
    text: str
    """What it says before."""
    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class ToolsUsed(Event):
    """A candidate for a whole turn had server tools run: what the dialogue remembers. Between engine parts only."""

    candidate_id: str
    messages: tuple[ChatMessage, ...]


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """What one request may call."""

    tools: tuple[ToolDeclaration, ...] = ()
    choice: str = "auto"
    client: frozenset[str] = frozenset()
    """Names of those that the client runs."""


class ToolDesk:
    """One conversation's tools: what is offered, and the server's being run. Everything on the event loop.

    Two calls of a `read_only` tool with the same arguments within a turn are one. What has begun ends by itself, also
    when nobody waits for it any more: a tool that changes something must not be left half-way by an interruption.

    Args:
        toolbox: the server's tools.
        options: gives the options in force, with the client's tools; those win over server tools of the same name.
        tasks: the conversation's task group; no exception leaves a task of the desk.
        emit: takes `ToolStarted` and `ToolFinished`.
        now_ms: the conversation's time.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        options: Callable[[], ConversationOptions],
        tasks: asyncio.TaskGroup,
        emit: Callable[[Event], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._toolbox = toolbox
        self._options = options
        self._tasks = tasks
        self._emit = emit
        self._now_ms = now_ms
        self._known: dict[tuple[str, str], asyncio.Task[str]] = {}
        self._running: set[asyncio.Task[Any]] = set()

    def offer(self, *, complete: bool) -> ToolOffer:
        """The tools for a request; `complete`: it answers a whole turn."""
        options = self._options()
        if options.tool_choice == "none":
            return ToolOffer()
        client = {tool.name: tool for tool in options.tools}
        server = [
            tool.declaration
            for tool in self._toolbox.tools
            if tool.declaration.name not in client and (complete or tool.read_only)
        ]
        if not complete:
            return ToolOffer(tuple(server))
        offered = (*server, *client.values())
        wanted = options.tool_choice
        choice = wanted if wanted in ("auto", "required") or wanted in {tool.name for tool in offered} else "auto"
        return ToolOffer(offered, choice if offered else "auto", frozenset(client))

    def new_turn(self) -> None:
        """What tools said in the turn before is not to be relied on any more."""
        self._known.clear()

    async def use(
        self, candidate_id: str, calls: tuple[ToolCall, ...], offer: ToolOffer, *, said: str, remember: bool
    ) -> tuple[ChatMessage, ...]:
        """Run server tools side by side; never raises but `CancelledError`.

        Args:
            candidate_id: whose calls they are.
            offer: what it was offered.
            said: its words before them.
            remember: tell the dialogue what came out (`ToolsUsed`), also when the candidate is dropped meanwhile.

        Returns:
            The messages with which its next request goes on.
        """
        return await asyncio.shield(self._own(self._use(candidate_id, calls, offer, said, remember)))

    async def _use(
        self, candidate_id: str, calls: tuple[ToolCall, ...], offer: ToolOffer, said: str, remember: bool
    ) -> tuple[ChatMessage, ...]:
        outputs = await asyncio.gather(*(self._output_of(call, offer) for call in calls))
        results = (ChatMessage("tool", out, call_id=call.call_id) for call, out in zip(calls, outputs, strict=True))
        messages = (ChatMessage("assistant", said, calls), *results)
        if remember:
            remembered = (replace(messages[0], content=""), *messages[1:])  # its words come with the rest of the answer
            self._emit(ToolsUsed(self._now_ms(), candidate_id, remembered))
        return messages

    async def _output_of(self, call: ToolCall, offer: ToolOffer) -> str:
        tool = self._toolbox.get(call.name)
        if tool is None or call.name in offer.client or call.name not in {one.name for one in offer.tools}:
            return _error("There is no such tool.")
        try:
            arguments = checked_arguments(call.arguments, tool.declaration.parameters)
        except ToolError as error:
            self._tell(call, error)
            return _error(error.user_message)
        key = (call.name, json.dumps(arguments, sort_keys=True))
        task = self._known.get(key)
        if task is None:
            if len(self._running) >= _MOST_RUNNING:
                return _error("Too many tools are running. Try again later.")
            task = self._own(self._run(tool, call, arguments))
            if tool.read_only:
                self._known[key] = task
        return await asyncio.shield(task)

    async def aclose(self, deadline_s: float) -> None:
        """Cancel what only reads, give what changes something that long to end, then cancel it, too."""
        for reading in self._known.values():
            reading.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=deadline_s)
        left = tuple(self._running)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)

    def _own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        try:
            task = self._tasks.create_task(work)
        except RuntimeError:  # the conversation's task group is ending
            work.close()
            raise asyncio.CancelledError from None
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _run(self, tool: ServerTool, call: ToolCall, arguments: dict[str, Any]) -> str:
        self._emit(ToolStarted(self._now_ms(), call.call_id, call.name))
        error: ToolError | None = None
        try:
            async with asyncio.timeout(tool.deadline_s):
                output = _as_text(await tool.run(**arguments))
        except ToolError as told:
            error = told
        except KameError as told:
            error = ToolError(told.user_message, code=told.code)
        except TimeoutError:
            error = ToolError(f"The tool {call.name} did not answer in time.", code="tool_timeout")
        except Exception as fault:  # its message may quote what was said
            logger.warning("the tool %s failed: %s", call.name, type(fault).__name__)
            error = ToolError(f"The tool {call.name} failed.")
        if error is not None:
            output = _error(error.user_message)
        self._tell(call, error)
        return output

    def _tell(self, call: ToolCall, error: ToolError | None) -> None:
        self._emit(ToolFinished(self._now_ms(), call.call_id, call.name, error))


def _is_async(function: object) -> bool:  # apart, because `iscoroutinefunction` would narrow the function's type
    return inspect.iscoroutinefunction(function)


def checked_arguments(text: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as the model wrote them, held against the schema: required ones, known ones, types and choices.

    Raises:
        ToolError: `tool_bad_arguments`, with a message from which the model can do better.
    """
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise _bad("The arguments are no JSON.") from None
    if not isinstance(arguments, dict):
        raise _bad("The arguments must be a JSON object.")
    properties = parameters.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    for name in parameters.get("required", ()):
        if name not in arguments:
            raise _bad(f"The argument {name} is missing.")
    for name, value in arguments.items():
        if name not in properties:
            raise _bad(f"There is no argument {name}.")
        _check(value, properties[name], name)
    return arguments


def _check(value: object, schema: object, name: str) -> None:
    if not isinstance(schema, Mapping):
        return
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else list(kinds or ())
    allowed = tuple(python for kind in names for python in _TYPES.get(kind, (object,)))
    wrong = isinstance(value, bool) and not {bool, object} & set(allowed)  # a bool is an int, but no number
    if allowed and (wrong or not isinstance(value, allowed)):
        raise _bad(f"The argument {name} must be of type {' or '.join(names)}.")
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        raise _bad(f"The argument {name} must be one of {', '.join(map(str, choices))}.")


def _bad(message: str) -> ToolError:
    return ToolError(message, code="tool_bad_arguments")


def _as_text(result: object) -> str:
    if isinstance(result, str):
        text = result
    else:
        try:
            text = json.dumps(result, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise ToolError("The tool's result cannot be read.", code="tool_bad_result") from None
    return text if len(text) <= _LONGEST_OUTPUT_CHARS else text[:_LONGEST_OUTPUT_CHARS] + " (cut here)"


def _error(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)
