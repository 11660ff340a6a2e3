"""The echo front end through the same slots, ticker and tracks as the others."""

import asyncio

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ
from tests.support.rtc_client import RtcClient
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import running_server
from tests.support.speech import say


async def test_what_is_said_comes_back_through_slot_and_ticker() -> None:
    speech = say("what is the capital of france")
    async with running_server(loaders=ScriptedEar(), frontend="echo") as server, RtcClient() as client:
        await client.connect_http(server.base_url)
        await asyncio.sleep(0.5)
        client.say(speech)
        await client.mouth.finished()
        done = await client.event("response.done", 5)
        assert done["response"]["status"] == "completed"
        line = client.ear.line
        said_s = client.mouth.spoken[0][0]
        heard_s = client.ear.heard_at(client.ear.onsets(level=0.02)[0])
        assert 0 < heard_s - said_s < 1.0
        voiced = np.abs(line) > 0.02
        assert abs(np.count_nonzero(voiced) - np.count_nonzero(np.abs(speech) > 0.02)) < 0.35 * SAMPLE_RATE_HZ
