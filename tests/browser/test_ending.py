"""Around a call: the page says how far the server has loaded, that it is going to end the call, and why it did."""

import asyncio
from pathlib import Path

from app.engines import EngineRoom
from app.loaders import Loaders
from kame_core.audio import silence
from kame_core.stt.base import SpeechToText
from kame_core.vad import SileroModel
from tests.support.chromium import talk_page
from tests.support.server import running_server


class HeldUp(Loaders):
    """The recogniser comes when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def load_stt(self, room: EngineRoom) -> tuple[SpeechToText, SileroModel]:
        room.set("stt", progress=0.4)
        await self.go_on.wait()
        return await super().load_stt(room)


async def test_a_call_begins_when_all_is_loaded_and_is_told_before_it_lasts_too_long(tmp_path: Path) -> None:
    loaders = HeldUp()
    async with (
        running_server(loaders=loaders, load=False, frontend="echo", tts="espeak", max_call_s=6) as server,
        talk_page(server.base_url, silence(24_000), tmp_path, locale="de-DE") as talk,
    ):
        page = talk.page
        await page.get_by_test_id("hint").filter(has_text="Spracherkennung (40 %)").wait_for()
        assert 0 < float(await page.get_by_test_id("loading").get_attribute("value") or 0) < 1
        assert await page.get_by_test_id("talk").is_disabled()
        loaders.go_on.set()
        await talk.talk()
        state = await talk.until("s.notice.includes('längste')", 15)
        assert state["state"] != "error"
        state = await talk.until("s.state === 'error'", 10)
        assert state["error"]["code"] == "call_time_limit"
        assert "längste Dauer" in state["error"]["title"]  # in the page's words, not the server's
        assert talk.errors == []
