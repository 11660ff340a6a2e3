"""`python -m kame_core.compare` as a user runs it: a process, an LLM behind HTTP, real time."""

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.support.openai_server import Behaviour, OpenAIServer

ROOT = Path(__file__).parents[2]


async def run(*flags: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "kame_core.compare",
        *flags,
        cwd=ROOT,
        env={**os.environ, "MY_KEY": "secret-key"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(120):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()


async def test_a_server_of_ones_own_is_compared(tmp_path: Path) -> None:
    behaviour = Behaviour(first_token_delay_s=0.2)
    async with OpenAIServer(lambda _: "Seven times eight is fifty six.", behaviour=behaviour) as llm:
        flags = ("--base-url", llm.base_url, "--api-key-variable", "MY_KEY", "--ear", "known", "--limit", "1")
        modes = ("--modes", "tandem", "--input-price", "1", "--out", str(tmp_path))
        code, out, err = await run(*flags, *modes)
    assert (code, err) == (0, "")
    assert "| tandem: front end with oracle | 100% | 100% |" in out
    assert "secret-key" not in out
    rows = json.loads((tmp_path / "compare.json").read_text())
    assert [(row["mode"], row["score"]) for row in rows] == [("tandem", 1.0)]
    assert rows[0]["understood"] == "what is seven times eight"
    assert "secret-key" not in (tmp_path / "compare.md").read_text()


async def test_a_server_that_is_not_there_is_no_crash(tmp_path: Path) -> None:
    flags = ("--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--ear", "known", "--limit", "1")
    code, out, err = await run(*flags, "--modes", "cascaded", "--out", str(tmp_path))
    assert (code, err) == (0, "")  # the front end answers alone: worth nothing, and told so
    assert "| cascaded: STT, LLM, TTS in turn | 0% |" in out
