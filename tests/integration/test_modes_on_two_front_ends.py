"""A real call on the moshi front end that moves to the reflex beside it for the mode `cascaded`, and back."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from kame_core.audio import level_dbfs
from kame_core.frontend.base import FrontendHost, SlotOptions
from tests.support.openai_server import Messages, OpenAIServer
from tests.support.rtc_client import RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.server import running_server
from tests.support.speech import say

KAME = Path(__file__).parents[1] / "assets" / "tiny_kame"
QUESTION = "what is the capital of france"
ANSWERS = {"colour": "Blue, or green.", "france": "Paris.", "moon": "About twenty eight days."}


def answer(messages: Messages) -> str:
    asked = messages[-1]["content"].lower().splitlines()[-1]
    return next((text for word, text in ANSWERS.items() if word in asked), "")


def ask(client: RtcClient, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    client.send({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}})
    client.send({"type": "response.create"})


async def change(client: RtcClient, mode: str) -> None:
    before = len(client.events)
    client.send({"type": "session.update", "session": {"type": "realtime", "kame": {"mode": mode}}})
    updated = await client.event("session.updated", 5, after=before)
    assert updated["session"]["kame"]["mode"] == mode


async def answered(client: RtcClient, after: int) -> str:
    response: dict[str, Any] = (await client.event("response.done", 40, after=after))["response"]
    assert response["status"] == "completed"
    transcript: str = response["output"][0]["content"][0]["transcript"]
    return transcript


async def sessions(client: RtcClient, after: int, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(5):
        while client.kinds()[after:].count("session.updated") < count:
            await asyncio.sleep(0.02)
    return [event["session"] for _, event in client.events[after:] if event["type"] == "session.updated"]


async def taken(*wanted: tuple[FrontendHost, int]) -> None:
    async with asyncio.timeout(10):
        while any(host.capacity - host.free != places for host, places in wanted):
            await asyncio.sleep(0.02)


async def test_a_call_moves_to_the_reflex_and_back_with_its_transcript() -> None:
    async with (
        OpenAIServer(answer) as llm,
        running_server(
            loaders=ScriptedEar(ScriptedSpeechToText(QUESTION)),
            frontend="moshi",
            moshi_weights=str(KAME),
            moshi_device="cpu",
            moshi_slots=1,
            llm="openai",
            openai_base_url=llm.base_url,
            llm_model="test-model",
        ) as server,
    ):
        engines = server.room.require()
        moshi, reflex = engines.frontend, engines.cascade
        assert reflex is not None
        assert "cascaded runs on reflex beside it, 1 call at once" in server.room.part("frontend").note
        assert server.calls.places.capacity == 1
        async with RtcClient() as client:
            await client.connect_http(server.base_url)
            ask(client, "Which colour do you like?")
            await client.event("response.output_audio_transcript.delta", 20)
            await change(client, "cascaded")  # while it speaks
            assert await answered(client, 0) == ANSWERS["colour"]
            await taken((moshi, 0), (reflex, 1))

            before = len(client.events)
            client.say(say(QUESTION))
            assert await answered(client, before) == ANSWERS["france"]
            await client.event("kame.turn.timing", 5, after=before, where=lambda event: event["mode"] == "cascaded")
            assert "Which colour do you like?" in [message["content"] for message in llm.requests[-1].messages]

            other = await moshi.lease(SlotOptions())  # as if another call had begun
            before = len(client.events)
            await change(client, "tandem")
            error = await client.event("error", 5, after=before)
            assert error["error"]["code"] == "mode_unavailable"
            assert "stays in cascaded" in error["error"]["message"]
            modes = [session["kame"]["mode"] for session in await sessions(client, before, 2)]
            assert modes == ["tandem", "cascaded"]  # what was asked for, and what it is
            await other.aclose()
            async with aiohttp.ClientSession() as http, http.get(server.url("/metrics")) as response:
                text = await response.text()
            assert 'kame_ticks_total{frontend="reflex"}' in text
            assert 'kame_errors_total{part="conversation",code="mode_unavailable"} 1' in text

            await change(client, "tandem")
            await taken((moshi, 1), (reflex, 0))
            before = len(client.events)
            ask(client, "How long does the moon take?")
            assert await answered(client, before) == ANSWERS["moon"]
            assert level_dbfs(client.ear.line) > -50
            await change(client, "cascaded")  # hung up as it moves
        await taken((moshi, 0), (reflex, 0))
