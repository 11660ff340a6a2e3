"""A tool that looks out of the window, and a model that calls it."""

from typing import Any

from kame_core.backend.base import ChatMessage, ChatRequest, ToolCall
from kame_core.events import ResponseEnded
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.studio import Studio

QUESTION = "what is the weather in paris"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "place": {"type": "string"},
        "days": {"type": ["integer", "null"]},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "wind": {"type": "boolean"},
    },
    "required": ["place"],
}
WEATHER = ToolCall("call_w", "weather", '{"place": "Paris"}')
SUNNY = Answer("It is sunny.")


def results_of(messages: tuple[ChatMessage, ...]) -> list[str]:
    return [message.content for message in messages if message.role == "tool"]


def offered(request: ChatRequest) -> list[str]:
    return [tool.name for tool in request.tools]


def calling(*calls: ToolCall, text: str = "") -> ScriptedChatModel:
    """Calls, and tells what came out when there is something."""
    return ScriptedChatModel(
        lambda request: SUNNY if results_of(request.messages) else Answer(text, calls=calls or (WEATHER,))
    )


async def look(place: str) -> object:
    return {"sky": "sunny", "place": place}


async def type_and_ask(studio: Studio, text: str = QUESTION) -> None:
    studio.conversation.add_text(text, "user")
    studio.conversation.create_response()
    await studio.listen(0.02)


async def answered(studio: Studio, count: int = 1) -> ResponseEnded:
    return await studio.listen_until(ResponseEnded, count=count)
