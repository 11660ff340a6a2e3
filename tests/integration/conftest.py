"""What several files of integration tests need; one that needs another server has a fixture of its own."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.scripted_ear import ScriptedEar
from tests.support.server import RunningServer, running_server


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server(loaders=ScriptedEar(), max_grace_s=20) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session
