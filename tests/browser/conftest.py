"""Browser tests run where Chromium is, and say why not elsewhere."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.chromium import chromium_path
from tests.support.openai_server import Behaviour, OpenAIServer
from tests.support.server import ServerProcess, server_process


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if chromium_path() is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium here, and it could not be installed"))


LONG_ANSWER = (
    "There are seven continents and five oceans, and the largest of them all is the Pacific, which covers about one "
    "third of the surface of the Earth, more than all the land together, and it is also the deepest by far."
)


@pytest.fixture
async def llm() -> AsyncIterator[OpenAIServer]:
    """An LLM that answers at length."""
    behaviour = Behaviour(first_token_delay_s=0.3, token_delay_s=0.02)
    async with OpenAIServer(lambda messages: LONG_ANSWER, behaviour=behaviour) as server:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[ServerProcess]:
    """The server as people run it: embedded engines, offline brain."""
    environment = {"KAME_STT": "pocketsphinx", "KAME_LLM": "offline"}
    async with server_process("--port", "0", environment=environment) as running:
        yield running


@pytest.fixture
async def server_with_llm(llm: OpenAIServer) -> AsyncIterator[ServerProcess]:
    """The server with an LLM."""
    environment = {"KAME_STT": "pocketsphinx", "OPENAI_BASE_URL": llm.base_url, "OPENAI_API_KEY": "unused"}
    async with server_process("--port", "0", environment=environment) as running:
        yield running
