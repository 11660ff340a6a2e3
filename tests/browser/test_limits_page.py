"""What the page shows of the server's limits: the queue of a full server, and the end of a call that lasts too long."""

from pathlib import Path

import numpy as np
import pytest

from kame_core.audio import silence
from tests.support.chromium import chromium_path, talk_page
from tests.support.rtc_client import RtcClient
from tests.support.server import server_process

FLAGS = ("--port", "0", "--frontend", "echo", "--stt", "pocketsphinx", "--tts", "espeak", "--llm", "offline")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium_path() is None, reason="Chromium is not installed (tests/setup-browser.sh)"),
]


async def test_a_caller_waits_gets_in_and_is_told_of_the_end(tmp_path: Path) -> None:
    flags = ("--capacity", "1", "--max-call-s", "12")
    async with (
        server_process(*FLAGS, *flags) as server,
        talk_page(server.base_url, silence(24_000).astype(np.float32), tmp_path) as talk,
        RtcClient() as before,
    ):
        await talk.until("s.ready", 60)
        await before.connect_http(server.base_url, query="?transport=echo")
        await talk.page.get_by_test_id("talk").click()
        await talk.until("s.state === 'queued'", 10)
        assert await before.delete() == 200
        await talk.until("s.callId !== null", 10)
        state = await talk.until("s.notice.includes('longest time')", 15)
        assert "s." in state["notice"] or "3" in state["notice"]
        await talk.until("s.state === 'error'", 10)
