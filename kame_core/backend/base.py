"""Contract of a chat model."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolDeclaration:
    """A function that a chat model may ask to be called."""

    name: str
    description: str
    parameters: Mapping[str, Any] = field(hash=False)
    """JSON schema of an object."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a function to be called. Comes whole, behind all text of the answer."""

    call_id: str
    name: str
    arguments: str
    """JSON as the model wrote it: nobody has checked it."""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What else the server sent with it and wants back with its result, such as the signature of a thought."""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a chat."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    """Of the assistant; a `tool` message for each follows."""
    call_id: str = ""
    """Of a `tool` message: the call whose result its content is."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked of a chat model."""

    messages: tuple[ChatMessage, ...]
    deadline_s: float = 20.0
    """Longest time for the whole answer."""
    first_token_deadline_s: float = 8.0
    max_tokens: int = 200
    complete: bool = True
    """The last user message is a whole turn, not a partial transcript."""
    spoken: bool = True
    """The answer is said: what no voice can say is left out of it."""
    model: str = ""
    """Empty: the model's default."""
    tools: tuple[ToolDeclaration, ...] = ()
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or the name of the one tool that must be called."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the answer, cut anywhere."""

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens spent."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The answer is complete. `no_answer`: the model has nothing to say to this (yet)."""

    reason: Literal["stop", "length", "no_answer", "refusal", "tool_calls"]


ChatEvent = TextDelta | ToolCall | Usage | Finish


class ChatModel(Protocol):
    """Anything that answers a chat as a stream."""

    name: str

    def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Answer as a stream that ends with `Finish`; closing the generator cancels.

        Raises:
            ChatModelError: with a code among `llm_auth`, `llm_rate_limited`, `llm_unreachable`, `llm_timeout`,
                `llm_bad_answer`, `llm_bad_request` (this request is refused, others may not be), `llm_failed`.
        """

    async def aclose(self) -> None:
        """Free connections."""
