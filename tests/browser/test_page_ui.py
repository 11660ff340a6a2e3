"""The page as people use it: what it shows of a talk, saves, asks and explains; in a real Chromium, with real calls."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from playwright.async_api import Page, Request, Route

from app.call import Call
from kame_core.audio import SAMPLE_RATE_HZ, Samples, from_int16, silence
from tests.support.accessibility import require_axe, violations
from tests.support.chromium import TalkPage, talk_page
from tests.support.page_speech import speak, spoken_page
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import NoEngines, RunningServer, ServerProcess, running_server
from tests.support.speech import microphone, say
from tests.support.understanding import COUNTED, understood

pytestmark = pytest.mark.asyncio(loop_scope="session")  # as the servers
MAX_PAGE_BYTES = 150_000
QUIET: Samples = silence(SAMPLE_RATE_HZ)
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}}


@asynccontextmanager
async def quiet_page(url: str, folder: Path, **context: Any) -> AsyncIterator[TalkPage]:
    async with talk_page(url, QUIET, folder, **context) as talk:
        yield talk


async def shown(page: Page, test_id: str) -> str:
    return await page.get_by_test_id(test_id).inner_text()


async def saved(page: Page, kind: str) -> bytes:
    """What a person gets who saves."""
    if not await page.get_by_test_id("save").is_visible():
        await page.get_by_test_id("save-open").click()
    async with page.expect_download() as download:
        await page.get_by_test_id(f"save-{kind}").click()
    return (await (await download.value).path()).read_bytes()


async def test_a_talk_is_shown_measured_and_saved(server_with_llm: ServerProcess, tmp_path: Path) -> None:
    async with spoken_page(server_with_llm.base_url, tmp_path, **DESKTOP) as talk:
        page = talk.page
        await talk.talk()
        await page.get_by_test_id("save-open").click()
        await page.get_by_test_id("record").click()
        began_s = time.monotonic()
        await page.keyboard.press("Escape")  # closes the menu, not the call
        await speak(talk, "what is the capital of france")
        state = await talk.until("s.recording && s.state === 'speaking' && s.captions.at(-1).text.includes('five')", 25)
        assert state["firstKnowingWord"] == "There"
        assert "“There”" in await shown(page, "oracle-line")
        assert await page.locator(".candidate[data-state='adopted'] mark").inner_text() != ""
        # The score has grown with the turn; what is drawn stays and only moves.
        assert await page.locator("[data-testid=score-plot] .stretch--oracle").count() == 1
        assert int(await shown(page, "first-knowing")) >= int(await shown(page, "first-sound")) > 0
        await page.evaluate("document.querySelectorAll('.stretch, .words').forEach((one) => { one.drawn = true; })")
        opener = any(part["origin"] == "opener" for part in state["captions"][-1]["parts"])
        assert await page.get_by_test_id("knows").count() == (1 if opener else 0)

        await page.get_by_test_id("talk").click()  # stops the answer
        state = await talk.until("s.timing !== null && s.captions.some((c) => c.interrupted && c.unheard !== '')", 5)
        assert await page.evaluate(
            "[...document.querySelectorAll('.stretch, .words--oracle')].every((one) => one.drawn)"
        )
        assert "by far" in await shown(page, "unheard")
        assert await page.locator("[data-testid=score-plot] .stretch--adopted").count() == 1
        assert int(await shown(page, "first-sound")) == state["timing"]["first_audio_ms"]
        assert int(await shown(page, "first-knowing")) == state["timing"]["first_oracle_audio_ms"]
        assert "after you stopped" in await shown(page, "oracle-line")
        assert await page.locator(".mode:has(:checked) [data-figure]").inner_text() != "–"
        await page.keyboard.press("Escape")
        await talk.until("s.state === 'ended' && !s.recording", 5)
        recorded_s = time.monotonic() - began_s

        text = (await saved(page, "txt")).decode()
        assert "You: " in text
        assert "KAME: " in text
        assert "by far" in text.split("not heard: ")[1]
        subtitles = (await saved(page, "srt")).decode()
        assert "by far" not in subtitles
        assert subtitles.startswith("1\n00:00:0")
        whole = json.loads(await saved(page, "json"))
        assert [turn["who"] for turn in whole["turns"]][-2:] == ["you", "agent"]
        assert any(one["state"] == "adopted" and one["adopted_ms"] > one["started_ms"] for one in whole["oracle"])
        recording = await saved(page, "audio")
        assert recording[:4] == b"\x1aE\xdf\xa3"  # Matroska, as WebM is
        you, agent = (
            from_int16(np.frombuffer(base64.b64decode(channel), np.int16))
            for channel in await page.evaluate(DECODE, list(recording))
        )
        assert abs(you.size / SAMPLE_RATE_HZ - recorded_s) < 2.0
        assert {"seven", "continents"} <= set(understood(agent, COUNTED))
        loud = [int(np.argmax(np.abs(side) > 0.1)) for side in (you, agent)]
        assert 0 < loud[0] < loud[1]  # first the question on the left, then the answer on the right
        assert talk.errors == []


DECODE = """async (bytes) => {
  const context = new AudioContext({sampleRate: 24000});
  const sound = await context.decodeAudioData(new Uint8Array(bytes).buffer);
  return Array.from({length: sound.numberOfChannels}, (_, channel) => {
    const pcm = new Uint8Array(Int16Array.from(sound.getChannelData(channel), (sample) => sample * 32767).buffer);
    let text = '';
    for (let i = 0; i < pcm.length; i += 32768) text += String.fromCharCode(...pcm.subarray(i, i + 32768));
    return btoa(text);
  });
}"""


async def test_push_to_talk_sends_what_was_said_while_held(server: ServerProcess, tmp_path: Path) -> None:
    async with spoken_page(server.base_url, tmp_path) as talk:
        page = talk.page
        await talk.until("s.ready", 60)
        await page.get_by_test_id("settings-open").click()
        await page.get_by_test_id("pushToTalk").check()
        await page.keyboard.press("Escape")
        await talk.talk()
        assert await shown(page, "talk") == "Hold to talk"
        await page.keyboard.down(" ")
        assert await shown(page, "talk") == "Let go to send"
        await speak(talk, "what is two plus three")
        state = await talk.until("s.captions.some((c) => c.who === 'you' && c.text !== '')", 20)
        assert not any(caption["who"] == "agent" for caption in state["captions"])  # it waits, however long the pause
        await page.keyboard.up(" ")
        state = await talk.until("s.captions.some((c) => c.who === 'agent' && c.final)", 25)
        assert [caption["who"] for caption in state["captions"]] == ["you", "agent"]  # a busy machine hears with holes
        assert talk.errors == []


async def test_who_comes_when_all_places_are_taken_waits_and_gets_the_next(tmp_path: Path) -> None:
    async with (
        running_server(loaders=ScriptedEar(), capacity=1) as server,
        quiet_page(server.base_url, tmp_path) as first,
        quiet_page(server.base_url, tmp_path) as second,
    ):
        page = second.page
        third = await page.context.new_page()
        await third.set_viewport_size({"width": 740, "height": 360})
        await third.goto(server.base_url)
        await first.talk()
        for waiting, place in ((page, 1), (third, 2)):
            await waiting.bring_to_front()  # a page behind another is drawn now and then only
            await waiting.get_by_test_id("talk").dblclick()  # the second click does not leave again
            await waiting.get_by_test_id("hint").filter(has_text=f"number {place} in the line").wait_for()
        assert "Everyone is busy" in await shown(page, "state")
        assert await page.evaluate(MOVING) > 0
        await page.emulate_media(reduced_motion="reduce")
        assert await page.evaluate(MOVING) == 0
        await first.page.get_by_test_id("end").click()
        await second.until("s.state === 'listening'", 30)
        await third.get_by_test_id("hint").filter(has_text="number 1 in the line").wait_for()
        await third.get_by_test_id("talk").click()  # leaves
        await page.bring_to_front()
        assert first.errors + second.errors == []  # waiting is no failed request

        # Echo and noise treatment change in the middle of the call: another track goes out, and the call goes on.
        await page.get_by_test_id("settings-open").click()
        assert await page.get_by_test_id("voice-choice").locator("option").count() > 3
        await page.get_by_test_id("noiseSuppression").uncheck()
        await page.wait_for_function(
            "captured.connections.at(-1).getSenders()[0].track.getSettings().noiseSuppression === false"
        )
        assert (await second.state())["state"] == "listening"

        # The connection breaks while the button is held; what is chosen meanwhile counts all the same.
        await page.get_by_test_id("pushToTalk").check()
        await page.get_by_test_id("settings-close").click()
        await page.wait_for_function("document.activeElement.dataset.testid === 'talk'")
        await page.keyboard.down(" ")
        await page.wait_for_function(f"{HELD} && {SENDS}")
        way = Way()
        await page.route(re.compile("/v1/realtime/calls"), way.go)
        (await call_of(second, server)).end("peer_gone")
        await second.until("s.state === 'connecting'")
        await page.keyboard.up(" ")
        await page.get_by_test_id("mode-direct").check(force=True)
        way.opened.set()
        await second.until("s.mode === 'direct'")
        assert not await page.evaluate(f"{HELD} || {SENDS}")

        # Who gives up while there is no way through leaves nothing behind.
        way.closed = True
        (await call_of(second, server)).end("peer_gone")
        await way.tried.wait()
        await asyncio.sleep(0.2)  # in the pause before the next attempt
        await page.keyboard.press("Escape")
        await page.wait_for_function("captured.connections.every((one) => one.signalingState === 'closed')")
        assert way.hung_up
        assert (await second.state())["state"] == "idle"

        # A phone that is held sideways, and one whose keyboard takes half of the screen.
        talk = TalkPage(third, [])
        await third.bring_to_front()
        await talk.talk()
        assert await third.evaluate(OUT_OF_REACH) == []
        await third.get_by_test_id("example").first.click()
        await talk.until("s.captions.some((c) => c.who === 'agent' && c.final)")
        for width, height in ((740, 360), (667, 375), (844, 390)):
            await third.set_viewport_size({"width": width, "height": height})
            assert await third.evaluate(OUT_OF_REACH) == []
        await third.set_viewport_size({"width": 412, "height": 765})
        await third.get_by_test_id("message").focus()
        await third.set_viewport_size({"width": 412, "height": 465})
        await third.keyboard.type("hello")
        assert await third.get_by_test_id("message").input_value() == "hello"
        assert await third.evaluate(OUT_OF_REACH) == []

        assert await server.calls.hang_up((await call_of(talk, server)).id)
        await third.get_by_test_id("state").filter(has_text="The server ended the call").wait_for()
        assert (await talk.state())["state"] == "ended"


async def call_of(talk: TalkPage, server: RunningServer) -> Call:
    call = server.calls.get(str((await talk.state())["callId"]))
    assert call is not None
    return call


HELD = "document.documentElement.dataset.held === 'true'"
SENDS = "captured.connections.at(-1).getSenders()[0].track.enabled"
OUT_OF_REACH = """['talk', 'mute', 'end'].filter((name) => {
  const button = document.querySelector(`[data-testid=${name}]`);
  const {x, y, width, height} = button.getBoundingClientRect();
  const within = x >= 0 && y >= 0 && x + width <= innerWidth && y + height <= innerHeight;
  return !within || !button.contains(document.elementFromPoint(x + width / 2, y + height / 2));
})"""


class Way:
    """A page's way to open calls: waits until it is opened, and can be closed."""

    def __init__(self) -> None:
        self.opened, self.tried = asyncio.Event(), asyncio.Event()
        self.closed = self.hung_up = False

    async def go(self, route: Route) -> None:
        self.hung_up |= route.request.method == "DELETE"
        if route.request.method == "POST":
            await self.opened.wait()
            if self.closed:
                self.tried.set()
                return await route.abort()
        return await route.continue_()


MOVING = "document.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 1).length"


async def test_typing_needs_no_microphone(server: ServerProcess, tmp_path: Path) -> None:
    require_axe()
    async with quiet_page(server.base_url, tmp_path, **PHONE) as talk:
        page = talk.page
        await page.evaluate("navigator.mediaDevices.getUserMedia = () => { throw new Error('asked for'); }, 0")
        await page.evaluate(WATCH_LOCKS)
        await talk.until("s.ready", 60)
        await page.get_by_test_id("message").fill("what is the capital of spain")
        await page.get_by_test_id("send").click()
        state = await talk.until("s.captions.some((c) => c.who === 'agent' && c.final)", 15)
        assert "Madrid" in state["captions"][-1]["text"]
        assert await page.locator(".stretch--you").count() == 0
        assert await page.locator(".row--oracle .lane").count() == 1
        assert await page.locator(".axis__mark--zero").text_content() == "you send"
        assert int(await page.get_by_test_id("first-sound").text_content() or "") >= 0
        assert await page.evaluate("locks.map((lock) => lock.released)") == [False]  # the phone stays awake
        await page.locator("details summary").first.click()
        assert await violations(page) == []
        await page.get_by_test_id("end").click()
        await talk.until("s.state === 'ended'", 5)
        await page.wait_for_function("locks.every((lock) => lock.released)")
        assert await violations(page) == []
        assert talk.errors == []


WATCH_LOCKS = """() => {
  const native = navigator.wakeLock.request.bind(navigator.wakeLock);
  window.locks = [];
  navigator.wakeLock.request = async (kind) => {
    const lock = await native(kind);
    window.locks.push(lock);
    return lock;
  };
}"""


async def test_no_page_is_hard_to_use(tmp_path: Path) -> None:
    require_axe()
    async with (
        running_server(loaders=NoEngines()) as server,
        quiet_page(server.base_url, tmp_path, locale="de-DE", has_touch=True) as talk,
    ):
        page = talk.page
        await page.get_by_test_id("state").filter(has_text="Dieser Server").wait_for()  # says that it cannot, and why
        assert await page.evaluate("document.documentElement.lang") == "de"
        for size in (DESKTOP, PHONE):
            await page.set_viewport_size(size["viewport"])
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            for scheme in SCHEMES:
                await page.emulate_media(color_scheme=scheme)
                assert await violations(page) == []
                await page.get_by_test_id("settings-open").click()
                assert await violations(page) == []
                await page.keyboard.press("Escape")
        await page.get_by_test_id("save-open").click()
        assert await violations(page) == []
        assert talk.errors == []


async def test_the_page_is_light_and_asks_nobody_else(tmp_path: Path) -> None:
    async with running_server(loaders=NoEngines()) as server, quiet_page(server.base_url, tmp_path) as talk:
        asked: list[Request] = []
        talk.page.on("requestfinished", lambda request: asked.append(request))
        await talk.page.reload(wait_until="networkidle")
        assert all(request.url.startswith(server.base_url) for request in asked)
        sizes = [await request.sizes() for request in asked]
        assert len(asked) > 10
        assert sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes) < MAX_PAGE_BYTES


CHOSEN = {
    "preset": "tutor",
    "persona": "Be kind.",
    "voice": "en-gb",
    "language": "de",
    "microphone": "of-my-headset",
    "speaker": "in-my-headset",
}


async def test_the_pages_own_policy_lets_everything_work(tmp_path: Path) -> None:
    """The other tests listen in through a worklet that the policy forbids, so they switch it off."""
    speech = microphone(0.5, say("one two three four five six seven eight nine ten"))
    async with running_server(loaders=NoEngines()) as server, talk_page(server.base_url, speech, tmp_path) as talk:
        chosen = [{"name": "kame-voice", "value": json.dumps(CHOSEN)}]
        storage: Any = {"cookies": [], "origins": [{"origin": server.base_url, "localStorage": chosen}]}
        context = await talk.page.context.browser.new_context(  # type: ignore[union-attr] # it was launched
            storage_state=storage
        )
        page = await context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(server.base_url)
        await page.get_by_test_id("settings-open").click()
        await page.get_by_test_id("theme-dark").check(force=True)
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 18)"
        kept = json.loads(await page.evaluate("localStorage.getItem('kame-voice')"))
        assert kept == kept | CHOSEN | {"theme": "dark", "opener": None}  # what is not there now may come back
        await page.get_by_test_id("sound-check").click()
        await page.get_by_test_id("check-sound").and_(page.locator("[data-done=true]")).wait_for()
        await page.reload()
        assert await page.evaluate("document.documentElement.dataset.theme") == "dark"  # what was chosen stays
        assert complaints == []
