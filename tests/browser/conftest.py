"""Browser tests run where Chromium is, and say why not elsewhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.chromium import chromium_path
from tests.support.openai_server import Behaviour, OpenAIServer
from tests.support.server import ServerProcess, no_calls, server_process

LONGEST_END_S = 30.0
"""Until the last call of a test is over, where its page could not hang up: noticed after 6 s, then 20 s of grace."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(240))  # all attempts together
            if chromium_path() is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium here, and it could not be installed"))


LONG_ANSWER = (
    "There are seven continents and five oceans, and the largest of them all is the Pacific, which covers about one "
    "third of the surface of the Earth, more than all the land together, and it is also the deepest by far."
)


@asynccontextmanager
async def embedded_server(**environment: str) -> AsyncIterator[ServerProcess]:
    """The server as people run it, with the embedded ear and voice."""
    fixed = {"KAME_STT": "pocketsphinx", "KAME_CAPACITY": "8"}  # a fixed one is not less while the machine is busy
    async with server_process("--port", "0", environment=fixed | environment) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def started() -> AsyncIterator[ServerProcess]:
    """With the offline brain."""
    async with embedded_server(KAME_LLM="offline") as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def started_with_llm() -> AsyncIterator[ServerProcess]:
    """With an LLM that answers at length."""
    behaviour = Behaviour(first_token_delay_s=0.3, token_delay_s=0.02)
    async with (
        OpenAIServer(lambda messages: LONG_ANSWER, behaviour=behaviour) as llm,
        embedded_server(OPENAI_BASE_URL=llm.base_url, OPENAI_API_KEY="unused") as running,
    ):
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def server(started: ServerProcess) -> AsyncIterator[ServerProcess]:
    """The server with the offline brain, without calls; tests that use it run on the session's loop, as it does."""
    yield started
    await no_calls(started.base_url, LONGEST_END_S)


@pytest_asyncio.fixture(loop_scope="session")
async def server_with_llm(started_with_llm: ServerProcess) -> AsyncIterator[ServerProcess]:
    """The server with an LLM, without calls; tests that use it run on the session's loop, as it does."""
    yield started_with_llm
    await no_calls(started_with_llm.base_url, LONGEST_END_S)
