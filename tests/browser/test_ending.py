"""The end of a call that the server sets: the page says so before, and why afterwards."""

from pathlib import Path

from kame_core.audio import silence
from tests.support.chromium import talk_page
from tests.support.server import running_server


async def test_a_call_that_lasts_too_long_is_told_so_and_ends(tmp_path: Path) -> None:
    async with (
        running_server(frontend="echo", tts="espeak", max_call_s=6) as server,
        talk_page(server.base_url, silence(24_000), tmp_path) as talk,
    ):
        await talk.talk()
        state = await talk.until("s.notice.includes('longest time')", 15)
        assert state["state"] != "error"
        state = await talk.until("s.state === 'error'", 10)
        assert state["error"]["code"] == "call_time_limit"
