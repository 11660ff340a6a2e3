"""Which language models, tools and roles a server has: as its settings say, with real LLM servers."""

import asyncio
import re
import sys
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest

from app.engines import EngineRoom, PartState
from app.loaders import Loaders
from kame_core.backend.base import ChatMessage, ChatRequest, TextDelta, ToolCall
from kame_core.backend.presets import PRESETS
from kame_core.backend.tools import ToolDesk
from kame_core.clock import RealClock
from kame_core.errors import UnavailableError
from kame_core.options import ConversationOptions
from tests.support.openai_server import Behaviour, Fault, OpenAIServer
from tests.support.server import NoEngines, make_settings, running_server

README = Path(__file__).resolve().parents[2] / "README.md"


def room_with(**settings: object) -> EngineRoom:
    return EngineRoom(make_settings(llm="openai", openai_api_key="k" * 20, llm_model="big", **settings), RealClock())


async def answer_of(room: EngineRoom, text: str = "hello") -> str:
    model = await Loaders().load_llm(room)
    request = ChatRequest((ChatMessage("user", text),), deadline_s=5.0, first_token_deadline_s=4.0)
    async with aclosing(model.stream(request)) as events:
        return "".join([event.text async for event in events if isinstance(event, TextDelta)])


async def test_a_second_model_and_a_second_server_answer_where_the_first_fails() -> None:
    refusing = Behaviour(fault=Fault.NOT_FOUND)
    async with OpenAIServer(behaviour=refusing) as one, OpenAIServer(lambda messages: "Two here.") as two:
        room = room_with(
            openai_base_url=one.base_url,
            llm_fallbacks=f"small, other@{two.base_url}",
            llm_fallback_api_key="second-key",
        )
        try:
            assert await answer_of(room) == "Two here."
            assert [request.body["model"] for request in one.requests] == ["big", "small"]
            assert {request.authorization for request in one.requests} == {"Bearer " + "k" * 20}
            assert [(r.body["model"], r.authorization) for r in two.requests] == [("other", "Bearer second-key")]
            assert "Where it fails, small, then other@" in room.part("llm").note
        finally:
            await room.aclose()


async def test_the_embedded_responder_is_the_last_resort() -> None:
    async with OpenAIServer(behaviour=Behaviour(fault=Fault.UNAUTHORIZED)) as server:
        room = room_with(openai_base_url=server.base_url, llm_fallbacks="offline")
        try:
            assert "five" in (await answer_of(room, "what is two plus three")).lower()
        finally:
            await room.aclose()


async def test_an_early_model_and_reasoning_effort() -> None:
    async with OpenAIServer() as server:
        room = room_with(openai_base_url=server.base_url, llm_early_model="tiny", llm_reasoning_effort="minimal")
        try:
            assert await answer_of(room) == "Paris is the capital of France."
            assert server.requests[0].body["reasoning_effort"] == "minimal"
            assert room.early_chat is not None
            request = ChatRequest((ChatMessage("user", "hel"),), complete=False)
            async with aclosing(room.early_chat.stream(request)) as events:
                assert [event async for event in events]
            assert [request.body["model"] for request in server.requests] == ["big", "tiny"]
        finally:
            await room.aclose()


async def test_tools_come_from_a_module_as_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(from kame_core.backend.tools.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "my_shop.py").write_text(example)
    monkeypatch.syspath_prepend(str(tmp_path))
    call = ToolCall("c", "find_order", '{"number": 7}')
    room = room_with(openai_base_url="http://127.0.0.1:9/v1", tools="my_shop:toolbox")
    try:
        await Loaders().load_llm(room)
        assert room.tools is not None
        async with asyncio.TaskGroup() as tasks:
            desk = ToolDesk(room.tools, ConversationOptions, tasks, lambda event: None, lambda: 0)
            offer = desk.offer(complete=False)
            assert [tool.name for tool in offer.tools] == ["find_order"]
            _, told = await desk.use("cand", (call,), offer, said="", remember=False)
        assert told.content == '{"number": 7, "place": "on its way"}'
    finally:
        await room.aclose()
        sys.modules.pop("my_shop", None)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("no_such.module:box", "KAME_TOOLS: the module no_such.module cannot be imported.*PYTHONPATH"),
        ("my_tools:box", "KAME_TOOLS: my_tools needs no_such_package"),
        (f"{__name__}:README", "has no Toolbox called README"),
    ],
)
async def test_tools_that_are_not_there(place: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_tools.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    room = room_with(openai_base_url="http://127.0.0.1:9/v1", tools=place)
    try:
        with pytest.raises(UnavailableError, match=told):
            await Loaders().load_llm(room)
        assert room.part("llm").state is not PartState.READY
    finally:
        await room.aclose()


async def test_roles_are_offered_to_pages_and_one_is_chosen_by_the_settings(tmp_path: Path) -> None:
    (tmp_path / "shop.txt").write_text("Open from nine to five.")
    chosen = running_server(loaders=NoEngines(), preset="customer_service", knowledge_file=str(tmp_path / "shop.txt"))
    async with chosen as server, aiohttp.ClientSession() as http:
        async with http.get(server.url("/offer")) as response:
            offered = (await response.json())["presets"]
        assert [preset["id"] for preset in offered] == list(PRESETS)
        session = server.calls.session({"kame": {"second_language": "fr"}})
        assert (session.options.preset, session.options.second_language) == ("customer_service", "fr")
        assert session.options.knowledge == "Open from nine to five."
        assert session.render()["kame"]["knowledge"] == "", "it is the server's own"
        assert server.calls.session({"kame": {"knowledge": "Closed."}}).options.knowledge == "Closed."
