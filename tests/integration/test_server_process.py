"""`python -m app` as a process: how it starts, what it prints, how it ends."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import aiohttp
import psutil

from tests.support.server import server_process

FREE = ("--port", "0", "--stt", "pocketsphinx", "--llm", "offline")


async def test_it_serves_the_page_and_ends_cleanly_on_sigterm() -> None:
    async with server_process(*FREE) as server, aiohttp.ClientSession() as http:
        async with http.get(server.base_url) as response:
            assert response.status == 200
        began_s = time.monotonic()
        assert await server.end() == 0
        assert time.monotonic() - began_s < 5.5  # the promise to whoever stops it
        assert "Closing." in server.lines
        assert not [line for line in server.lines if "Traceback" in line or "Error" in line]


async def test_it_says_line_by_line_what_it_loads_and_when_it_is_ready(tmp_path: Path) -> None:
    """Here with a home nobody can write to, as services have it."""
    places = {"HOME": "/dev/null", "TMPDIR": str(tmp_path)}
    async with server_process(*FREE, environment=places) as server, aiohttp.ClientSession() as http:
        assert "Ready:" in await server.line("Ready:", "Not everything", timeout_s=60), server.lines
        for title in ("Front end", "Speech-to-text", "Text-to-speech", "Language model", "Network"):
            assert "ready" in await server.line(title)
        async with http.get(server.base_url + "/readyz") as response:
            assert response.status == 200
            assert all(part["state"] == "ready" for part in (await response.json())["parts"])
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert not any("telemetry" in line for line in server.lines)
        assert all(name.startswith("kame-") for name in os.listdir(tmp_path))
        assert await server.end(signal.SIGINT) == 0
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


async def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with server_process("--port", str(port), serve=False) as server:
            async with asyncio.timeout(20):
                assert await server.process.wait() == 1
            await server.finished()
            assert server.lines == [
                f"Port {port} is in use by another program. End it, or choose another port with --port."
            ]


async def test_wrong_settings_are_one_line_each(tmp_path: Path) -> None:
    environment = {"KAME_MODE": "sideways", "KAME_API_KEY": "hush", "KAME_PROT": "1"}
    async with server_process("--port", "banana", environment=environment, serve=False) as server:
        async with asyncio.timeout(20):
            assert await server.process.wait() == 2
        await server.finished()
        assert sorted(line.split(":")[0] for line in server.lines) == ["--port", "KAME_API_KEY", "KAME_MODE"]
        assert not any("hush" in line for line in server.lines)


async def test_help_names_every_command() -> None:
    async with server_process("--help", serve=False) as server:
        async with asyncio.timeout(20):
            assert await server.process.wait() == 0
        await server.finished()
        text = "\n".join(server.lines)
        assert "{serve,doctor}" in text
        assert "--openai-base-url" in text
