"""The processes behind the embedded recogniser: none outlives the engine, however it is interrupted."""

import asyncio

import pytest

from kame_core.errors import SpeechToTextError
from kame_core.stt.pocketsphinx import PocketsphinxSpeechToText
from tests.support.processes import living_children

WORKER = "pocketsphinx_worker"


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.3])
async def test_an_engine_that_ends_while_a_process_starts_leaves_none(after_s: float) -> None:
    engine = PocketsphinxSpeechToText(spares=1)
    opening = asyncio.create_task(engine.open("en"))
    await asyncio.sleep(after_s)
    await engine.aclose()
    with pytest.raises(SpeechToTextError):
        await opening
    assert not living_children(WORKER)


async def test_a_close_that_was_cut_off_is_made_up_for(stt: PocketsphinxSpeechToText) -> None:
    recognizer = await stt.open("en")
    closing = asyncio.create_task(recognizer.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert living_children(WORKER)
    await stt.aclose()
    assert not living_children(WORKER)


async def test_nothing_opens_after_the_end(stt: PocketsphinxSpeechToText) -> None:
    await stt.aclose()
    with pytest.raises(SpeechToTextError, match="shutting down"):
        await stt.open("en")
    await stt.aclose()  # again: no effect


@pytest.fixture
def stt() -> PocketsphinxSpeechToText:
    return PocketsphinxSpeechToText(spares=0)
