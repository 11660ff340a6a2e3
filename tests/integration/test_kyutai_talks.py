"""A real call on a server whose ear listens inside the moshi front end: what is said comes back as a transcript."""

import asyncio
from pathlib import Path

from moshi.models import loaders as moshi_loaders

from app.loaders import Loaders
from kame_core.frontend.moshi.files import locate_checkpoint
from tests.support.openai_server import Messages, OpenAIServer
from tests.support.rtc_client import RtcClient
from tests.support.server import running_server
from tests.support.speech import say
from tests.support.tiny_kyutai import build_kyutai, build_listening_lm

KAME = Path(__file__).parents[1] / "assets" / "tiny_kame"
ANSWER = "Blue, or green."


def answer(messages: Messages) -> str:
    return ANSWER


def kyutai_for_kame(folder: Path) -> Path:
    """Speech-to-text trained with the codec of the front end's checkpoint."""
    files = locate_checkpoint(str(KAME))
    assert files is not None
    assert files.mimi_config is not None
    codebooks = files.mimi_config["quantizer"]["n_q"]
    mimi = moshi_loaders.get_mimi(files.mimi, dict(files.mimi_config), num_codebooks=codebooks)
    hears = {"n_q": codebooks, "delays": [0] * (codebooks + 1)}
    return build_kyutai(folder, mimi, build_listening_lm(**hears), **hears)


async def test_what_is_said_is_written_down_and_answered(tmp_path: Path) -> None:
    kyutai = kyutai_for_kame(tmp_path / "kyutai")
    async with (
        OpenAIServer(answer) as llm,
        running_server(
            loaders=Loaders(),
            frontend="moshi",
            moshi_weights=str(KAME),
            moshi_device="cpu",
            moshi_slots=1,
            stt="kyutai",
            kyutai_weights=str(kyutai),
            llm="openai",
            openai_base_url=llm.base_url,
            llm_model="test-model",
        ) as server,
    ):
        assert server.room.part("stt").choice == "kyutai"
        async with RtcClient() as client:
            await client.connect_http(server.base_url)
            client.say(say("What is the capital of France?"))
            final = await client.event("conversation.item.input_audio_transcription.completed", 20)
            assert final["transcript"].strip()
            response = (await client.event("response.done", 40))["response"]
            assert response["status"] == "completed"
            said = response["output"][0]["content"][0]["transcript"]
            assert said == ANSWER  # also where a candidate for fewer words was begun before
        async with asyncio.timeout(10):
            while server.calls.counts()["conversations"]:
                await asyncio.sleep(0.02)
        assert server.room.require().frontend.free == 1
