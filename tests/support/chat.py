"""A chat model that does what a test's script says, in the loop's time."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from kame_core.backend.base import ChatEvent, ChatRequest, Finish, TextDelta, ToolCall, Usage


@dataclass(frozen=True, slots=True)
class Answer:
    """One scripted answer."""

    text: str = "Paris is the capital of France."
    first_token_delay_s: float = 0.3
    token_delay_s: float = 0.02
    error: Exception | None = None
    """Raised after text and calls."""
    finish: Finish | None = field(default_factory=lambda: Finish("stop"))
    usage: Usage | None = None
    calls: tuple[ToolCall, ...] = ()
    """Behind the text."""


@dataclass(slots=True)
class Call:
    """One request as the model saw it."""

    at_s: float
    text: str
    complete: bool
    request: ChatRequest
    ended: str = "running"
    """`finished`, `failed` or `closed` (by its consumer)."""


class ScriptedChatModel:
    """Answers with what `script(request)` returns, word by word; records every call."""

    name = "scripted"

    def __init__(self, script: Callable[[ChatRequest], Answer] | Answer | None = None) -> None:
        answer = Answer() if script is None else script
        self._script = (lambda request: answer) if isinstance(answer, Answer) else answer
        self.calls: list[Call] = []
        self.closed = False

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        call = Call(asyncio.get_running_loop().time(), request.messages[-1].content, request.complete, request)
        self.calls.append(call)
        answer = self._script(request)
        try:
            await asyncio.sleep(answer.first_token_delay_s)
            for number, word in enumerate(answer.text.split(" ") if answer.text else ()):
                if number:
                    await asyncio.sleep(answer.token_delay_s)
                yield TextDelta(f" {word}" if number else word)
            for tool_call in answer.calls:
                yield tool_call
            if answer.error is not None:
                call.ended = "failed"
                raise answer.error
            if answer.usage is not None:
                yield answer.usage
            call.ended = "finished"
            if answer.finish is not None:
                yield answer.finish
        except (GeneratorExit, asyncio.CancelledError):
            if call.ended == "running":
                call.ended = "closed"
            raise

    async def aclose(self) -> None:
        self.closed = True
