"""README's example, run as it stands there."""

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, level_dbfs, read_audio, silence, write_wav
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import running_server
from tests.support.speech import say
from tests.support.understanding import CAPITALS, understood

REPOSITORY = Path(__file__).resolve().parents[2]


def example(word: str) -> str:
    """README's example that holds a word."""
    code: list[str] = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    (found,) = (one for one in code if word in one)
    return found


@pytest.mark.skipif(
    importlib.util.find_spec("websockets") is None, reason="the openai package needs websockets for its realtime client"
)
async def test_a_program_is_answered_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    async with running_server(loaders=ScriptedEar()) as server:
        code = example("AsyncOpenAI").replace("http://localhost:8080", server.base_url)
        scope: dict[str, Any] = {}
        exec(code.replace("asyncio.run(main())", ""), scope)
        async with asyncio.timeout(20):
            await scope["main"]()
    assert "five" in capsys.readouterr().out


def test_a_wav_file_is_answered_with_a_wav_file(tmp_path: Path) -> None:
    code = example("embedded_engines")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    question = np.concatenate(
        [silence(SAMPLE_RATE_HZ // 2), say("what is the capital of france"), silence(SAMPLE_RATE_HZ // 2)]
    )
    write_wav(tmp_path / "question.wav", question)
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stderr == ""
    said = run.stdout.splitlines()
    assert said[0] == "user: what is the capital of france"
    assert said[1].startswith("assistant: ")
    assert "Paris is the capital of France." in said[1]
    answer = read_audio(tmp_path / "answer.wav")
    assert level_dbfs(answer) > -40
    assert {"capital", "france"} <= set(understood(answer, CAPITALS))
