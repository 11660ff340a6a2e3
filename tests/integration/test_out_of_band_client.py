"""OpenAI's own client has a text written beside the talk, by a real LLM server over a real connection."""

import asyncio
import importlib.util
import json
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent

from tests.support.openai_server import Behaviour, Messages, OpenAIServer
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import running_server

QUESTION = "what is the capital of france"
CLASSIFY = "Classify what the user wants. Answer with JSON."
CLASSES = '```json\n{"topic": "geography", "link": "[map](https://example.com/fr)"}\n```'

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("websockets") is None, reason="the openai package needs websockets for its realtime client"
)


def answer(messages: Messages) -> str:
    return CLASSES if CLASSIFY in messages[0]["content"] else "Paris is the capital of France."


async def test_a_turn_is_spoken_while_it_is_classified() -> None:
    seen: list[RealtimeServerEvent] = []
    async with (
        OpenAIServer(answer, Behaviour(token_chars=4, token_delay_s=0.02)) as llm,
        running_server(
            loaders=ScriptedEar(), llm="openai", openai_base_url=llm.base_url, openai_api_key="k", llm_model="m"
        ) as server,
        AsyncOpenAI(base_url=server.url("/v1"), api_key="none is needed") as client,
        client.realtime.connect(model="kame") as connection,
    ):
        content: Any = [{"type": "input_text", "text": QUESTION}]
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await connection.response.create()
        aside: Any = {
            "conversation": "none",
            "output_modalities": ["text"],
            "metadata": {"for": "page"},
            "instructions": CLASSIFY,
        }
        await connection.response.create(response=aside)
        about: list[Any] = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Bonjour"}]}]
        other: Any = {**aside, "input": about, "metadata": {"for": "log"}}
        await connection.response.create(response=other)
        left = 3
        async with asyncio.timeout(20):
            async for event in connection:
                seen.append(event)
                assert event.type != "error", event
                left -= event.type == "response.done"
                if not left:
                    break
    done = {tuple((e.response.metadata or {}).values()): e.response for e in seen if e.type == "response.done"}
    assert {response.status for response in done.values()} == {"completed"}
    spoken = done[()]
    assert spoken.conversation_id is not None
    for what in ("page", "log"):
        response = done[what,]
        assert response.conversation_id is None
        assert response.output is not None
        (part,) = response.output[0].content  # type: ignore[union-attr]
        assert part.text == CLASSES, "what is not spoken is not made sayable"
        deltas = [e.delta for e in seen if e.type == "response.output_text.delta" and e.response_id == response.id]
        assert "".join(deltas) == CLASSES
    order = [e.response.id for e in seen if e.type == "response.done"]
    assert order[-1] == spoken.id, "what is written does not wait for the voice"
    assert len([e for e in seen if e.type == "conversation.item.added"]) == 2
    asked = [request.messages for request in llm.requests if CLASSIFY in request.messages[0]["content"]]
    assert {messages[-1]["content"] for messages in asked} == {QUESTION, "Bonjour"}
    assert "KAME" not in json.dumps(asked), "it is no part of the agent"
