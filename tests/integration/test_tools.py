"""Functions over the wire: a real LLM server's tool calls, a real caller's data channel, the server's own tools."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from kame_core.backend.tools import Toolbox
from tests.support.openai_server import Behaviour, Messages, OpenAIServer, Reply
from tests.support.rtc_client import RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.server import RunningServer, running_server
from tests.support.speech import say
from tests.support.wire_conversation import check_server_event

QUESTION = "what is the weather in paris"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Looks up the weather of a place.",
    "parameters": SCHEMA,
}
ARGUMENTS = '{"place": "Paris, Île-de-France"}'
CALLING = Reply("Let me look.", (("call_w", "weather", ARGUMENTS),))
TOLD = "It is sunny."
CALL = [
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "conversation.item.done",
    "response.output_item.done",
]
Answer = Callable[[Messages], str | Reply]


def results_of(messages: Messages) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "tool"]


def weather_model(messages: Messages) -> str | Reply:
    """Calls, then tells what came out."""
    return TOLD if results_of(messages) else CALLING


@asynccontextmanager
async def talk(
    answer: Answer = weather_model,
    *,
    tools: list[dict[str, Any]] | None = None,
    toolbox: Toolbox | None = None,
    behaviour: Behaviour | None = None,
    **session: Any,
) -> AsyncIterator[tuple[RtcClient, OpenAIServer, RunningServer]]:
    """A caller with these tools, a server with those, and an LLM that answers like this."""
    async with OpenAIServer(answer, behaviour or Behaviour(token_chars=3), longest_s=20.0) as llm:
        ear = ScriptedEar(ScriptedSpeechToText(QUESTION))
        serving = running_server(
            loaders=ear, llm="openai", openai_base_url=llm.base_url, openai_api_key="k" * 20, llm_model="m"
        )
        async with serving as server, RtcClient() as client:
            if toolbox is not None:
                server.room.require().tools = toolbox
            config = {"type": "realtime", "tools": [WEATHER] if tools is None else tools, **session}
            await client.connect_http(server.base_url, config, multipart=True)
            await client.event("session.created")
            yield client, llm, server
            for _, event in client.events:
                check_server_event(event, echoes=True)


def type_and_ask(client: RtcClient, text: str = QUESTION) -> None:
    content = [{"type": "input_text", "text": text}]
    client.send({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
    client.send({"type": "response.create"})


def give_result(client: RtcClient, call_id: str = "call_w", output: str = '{"sky": "sunny", "degrees": 18}') -> None:
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    client.send({"type": "conversation.item.create", "item": item})


async def done(client: RtcClient, after: int = 0, deadline_s: float = 20.0) -> dict[str, Any]:
    response: dict[str, Any] = (await client.event("response.done", deadline_s, after=after))["response"]
    return response


def said(response: dict[str, Any]) -> str:
    messages = [item for item in response["output"] if item["type"] == "message"]
    return " ".join(part["transcript"] for item in messages for part in item["content"])


async def test_a_spoken_question_becomes_a_call_and_its_result_is_told() -> None:
    async with talk() as (client, llm, _):
        client.say(say("What is the weather in Paris?"))
        first = await done(client)
        kinds = [kind for kind in client.kinds() if not kind.startswith("kame.")]
        begin = kinds.index("response.function_call_arguments.delta") - 2
        assert kinds[begin : begin + 6] == CALL
        assert kinds.index("response.created") < begin < kinds.index("response.done")
        assert first["status"] == "completed"
        call = first["output"][1]
        assert "Let me look." in said(first)
        assert (call["type"], call["name"], call["call_id"]) == ("function_call", "weather", "call_w")
        assert json.loads(call["arguments"]) == json.loads(ARGUMENTS)
        assert all(not request.messages[-1]["content"].startswith("Let me") for request in llm.requests)
        await client.event("output_audio_buffer.stopped", 10)
        before = len(client.events)
        give_result(client)
        client.send({"type": "response.create"})
        assert TOLD in said(await done(client, before))
        added = await client.event(
            "conversation.item.added", where=lambda event: event["item"]["type"] == "function_call_output"
        )
        assert added["previous_item_id"] == call["id"]
        asked = llm.requests[-1].messages
        assert [message["role"] for message in asked] == ["system", "user", "assistant", "tool"]
        assert asked[-2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": ARGUMENTS}
        assert asked[-1]["tool_call_id"] == "call_w"
        assert llm.requests[-1].body["tools"][0]["function"]["name"] == "weather"


async def test_a_response_asked_for_while_the_words_are_played_follows_them() -> None:
    async with talk() as (client, _, _):
        type_and_ask(client)
        await client.event("response.function_call_arguments.done", 10)
        give_result(client, "call_nobody_made")
        assert (await client.event("error"))["error"]["code"] == "function_call_not_found"
        give_result(client)
        client.send({"type": "response.create", "response": {"metadata": {"about": "weather"}}})
        before = len(client.events)
        client.send({"type": "response.create"})
        refused = await client.event("error", after=before)
        assert refused["error"]["code"] == "conversation_already_has_active_response"
        first = await done(client)
        second = await client.event("response.done", 20, where=lambda event: event["response"]["id"] != first["id"])
        assert "Let me look" in said(first)
        assert TOLD in said(second["response"])
        before = len(client.events)
        give_result(client)
        assert (await client.event("error", after=before))["error"]["code"] == "output_exists"
        assert second["response"]["metadata"] == {"about": "weather"}
        bounds = [kind for kind in client.kinds() if kind in ("response.created", "response.done")]
        assert bounds == ["response.created", "response.done"] * 2


async def test_two_calls_in_one_answer_without_a_word() -> None:
    calls = Reply("", (("call_a", "weather", '{"place": "Rome"}'), ("call_b", "weather", '{"place": "Oslo"}')))

    def answer(messages: Messages) -> str | Reply:
        return "Rome is warm and Oslo is cold." if len(results_of(messages)) == 2 else calls

    async with talk(answer) as (client, llm, _):
        type_and_ask(client)
        first = await done(client)
        assert [item["call_id"] for item in first["output"] if item["type"] == "function_call"] == ["call_a", "call_b"]
        give_result(client, "call_b", "cold")
        give_result(client, "call_a", "warm")
        before = len(client.events)
        client.send({"type": "response.create"})
        assert "Oslo is cold" in said(await done(client, before))
        talk_of = [message for message in llm.requests[-1].messages if message["role"] != "system"]
        assert [message.get("tool_call_id") for message in talk_of][1:] == [None, "call_a", None, "call_b"]


async def test_the_user_takes_the_turn_while_a_call_is_out() -> None:
    words = "Let me look that up, which takes a moment because the station in Paris is slow to answer today."

    def answer(messages: Messages) -> str | Reply:
        return TOLD if results_of(messages)[-1:] == ["sunny"] else Reply(words, CALLING.calls)

    async with talk(answer) as (client, llm, _):
        type_and_ask(client)
        await client.event("response.function_call_arguments.done", 10)
        give_result(client, output="sunny")
        client.send({"type": "response.create"})
        client.say(say("What is the weather in Paris?"))
        first = await done(client)
        assert (first["status"], first["kame"]["reason"]) == ("cancelled", "turn_detected")
        assert [item["type"] for item in first["output"]] == ["message", "function_call"]
        promised = await client.event("response.done", 5, where=lambda event: event["response"]["id"] != first["id"])
        assert promised["response"]["status"] == "cancelled"
        after = len(client.events)
        third = await client.event("response.done", 15, after=after)
        assert TOLD in said(third["response"])
        assert results_of(llm.requests[-1].messages) == ["sunny"]


async def test_a_server_tool_runs_inside_its_response() -> None:
    toolbox = Toolbox()

    @toolbox.tool("Looks up the weather of a place.", SCHEMA)
    async def weather(place: str) -> object:
        return {"place": place, "sky": "sunny"}

    async with talk(tools=[], toolbox=toolbox) as (client, llm, _):
        type_and_ask(client)
        response = await done(client)
        assert "Let me look. It is sunny." in said(response)
        assert [item["type"] for item in response["output"]] == ["message"]
        assert json.loads(results_of(llm.requests[-1].messages)[0])["place"] == "Paris, Île-de-France"
        assert (await client.event("kame.tool.started"))["name"] == "weather"
        finished = await client.event("kame.tool.finished")
        assert (finished["name"], finished["code"]) == ("weather", None)
