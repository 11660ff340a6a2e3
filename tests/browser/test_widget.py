"""The widget on somebody else's pages: another origin, its policies, its secrets; real Chromium, real calls."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from kame_core.audio import Samples, resample, to_int16, write_wav
from tests.support.accessibility import require_axe, violations
from tests.support.chromium import CAPTURE_RATE_HZ, MICROPHONE_RATE_HZ, chromium
from tests.support.host_page import frames, host_page, told
from tests.support.page_speech import MICROPHONE
from tests.support.scripted_ear import ScriptedEar
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.server import NoEngines, no_calls, open_calls, running_server
from tests.support.speech import microphone, say

KEY = "a-server-key-of-some-length"
QUESTION = "what is the capital of france"
STRICT = (
    "default-src 'none'; script-src 'self' {server}; frame-src {server}; connect-src 'self'; style-src 'self'; "
    "img-src 'self'; base-uri 'none'; require-trusted-types-for 'script'"
)


@asynccontextmanager
async def browser_with(sound: Samples, folder: Path, *arguments: str) -> AsyncIterator[Browser]:
    path = folder / "microphone.wav"
    write_wav(path, resample(sound, CAPTURE_RATE_HZ, MICROPHONE_RATE_HZ), MICROPHONE_RATE_HZ)
    async with chromium(path, arguments=arguments) as browser:
        yield browser


async def opened(browser: Browser, url: str, script: str = "") -> tuple[Page, list[str]]:
    """A page, and what it and its frames complain about.

    Args:
        browser: opens it.
        url: where it is.
        script: run in it and in its frames before all else.
    """
    page = await browser.new_page()
    await page.add_init_script(script)
    complaints: list[str] = []
    page.on("console", lambda one: complaints.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(url)
    return page, complaints


async def widget(page: Page, script: str, which: str = "kame-voice") -> Any:
    """Do something with the element `w`."""
    return await page.evaluate(f"() => {{ const w = document.querySelector('{which}'); return {script}; }}")


async def kinds(page: Page) -> list[str]:
    found: list[str] = await page.evaluate("told.map(({type}) => type)")
    return found


async def test_a_spoken_question_is_answered_on_a_strict_page_with_a_secret_of_its_own(tmp_path: Path) -> None:
    limits = {"max_call_s": 60, "max_calls": 3}
    ear = ScriptedEar(ScriptedSpeechToText(QUESTION))  # what words are understood is not what is tested here
    async with (
        running_server(loaders=ear, api_key=KEY) as server,
        host_page(
            server.base_url,
            name="localhost",
            server_key=KEY,
            body='<kame-voice muted token-url="/voice-token" heading="Ask our shop" agent="assistant"></kame-voice>',
        ) as host,
        browser_with(microphone(0.5), tmp_path) as browser,
    ):
        host.headers = {
            "Content-Security-Policy": STRICT.format(server=server.base_url),
            "Permissions-Policy": f'microphone=(self "{server.base_url}")',
            "Cross-Origin-Embedder-Policy": "require-corp",
        }
        host.secret_request = {"kame": {**limits, "origin": host.base_url}}
        page, complaints = await opened(browser, host.base_url, MICROPHONE)
        launcher = page.get_by_role("button", name="Talk")
        assert await launcher.get_attribute("aria-expanded") == "false"
        assert not page.frames[1:]  # nothing is loaded before somebody comes near
        await widget(page, "w.mute(false)")  # long before there is a call
        await launcher.click()
        [frame] = await frames(page)
        assert await frame.locator("h1").inner_text() == "Ask our shop"
        await frame.get_by_test_id("talk").click()
        started = await told(page, "call-start")
        question = to_int16(say(QUESTION))
        await frame.evaluate("speak", base64.b64encode(question.tobytes()).decode())
        await told(page, "user-transcript", f"d.final && d.text === '{QUESTION}'")
        await told(page, "agent-transcript", "d.final && d.text.includes('Paris')")
        await told(page, "volume", "d.agent > 0.15")
        await told(page, "state", "d.state === 'speaking'")
        assert await widget(page, "w.callId") == started["detail"]["callId"]
        assert host.minted == 1

        await widget(page, "w.mute()")
        await told(page, "muted", "d.muted")
        await widget(page, "w.sendText('what is seven times eight')")
        await told(page, "agent-transcript", "d.text.includes('fifty six')")
        await page.get_by_role("button", name="Close").click()  # the call goes on
        await page.locator("kame-voice iframe").wait_for(state="hidden")
        await page.get_by_role("button", name="A call is going on.").wait_for()
        assert await open_calls(server.base_url) == 1
        await widget(page, "w.stop()")
        ended = await told(page, "call-end")
        assert ended["detail"] == {"callId": started["detail"]["callId"], "reason": "hangup"}
        await no_calls(server.base_url)
        assert "violation" not in await kinds(page)
        assert complaints == []

        host.server_key = "another-key-of-some-length"  # its back end gets no secret any more
        await page.reload()
        await launcher.wait_for()
        await widget(page, "w.start()")
        await told(page, "error", "d.code === 'token_failed'")
        refused = await told(page, "error", "d.code === 'missing_api_key'")  # for the page's own people
        assert "API key" in refused["detail"]["message"]
        assert await widget(page, "w.state") == "error"
        [frame] = await frames(page, talking=False)
        assert await frame.get_by_test_id("state").inner_text() == "Not available here"  # for its visitors
        host.server_key = KEY
        await frame.get_by_role("button", name="Try again").click()
        await told(page, "call-start")


ASKED_BY_TWO = "told.filter(({type, id}) => type === 'call' && id === 'two').length"


async def test_two_widgets_on_a_page_do_not_know_each_other(tmp_path: Path) -> None:
    body = (
        '<kame-voice id="one" variant="inline" heading="One" lang="de" mode="direct"></kame-voice>'
        '<kame-voice id="two" placement="top-left" label="Ask" accent="#ffe14d"></kame-voice>'
    )
    async with (
        running_server(loaders=ScriptedEar()) as server,
        host_page(server.base_url, name="localhost", body=body) as host,
        browser_with(microphone(0.5), tmp_path) as browser,
    ):
        page, complaints = await opened(browser, host.base_url)
        await page.get_by_role("button", name="Ask").wait_for()
        await widget(page, "(w.open = true)", "#two")
        await frames(page, 2)
        launcher = "getComputedStyle(w.shadowRoot.querySelector('button'))"
        assert await widget(page, f"{launcher}.backgroundColor", "#two") == "rgb(255, 225, 77)"
        colour = await widget(page, f"{launcher}.color.match(/[0-9.]+/g).slice(-3)", "#two")  # XYZ (D65)
        assert all(float(part) < 0.01 for part in colour)  # near-black, to be read on it
        await page.evaluate(
            """() => {
                window.refused = ['one', 'two'];
                document.addEventListener('kame-voice:call', (event) => {
                    if (window.refused.includes(event.target.id)) event.preventDefault();
                    else event.detail.config.muted = true;
                });
                document.addEventListener('kame-voice:state', (event) => {
                    if (event.detail.state === 'connecting') event.target.mute(false);
                });
            }"""
        )
        await widget(page, "w.start()", "#one")  # which the page does not want
        await widget(page, "(w.sendText('hello'), w.sendText('never said'))", "#two")
        await page.wait_for_function(f"{ASKED_BY_TWO} === 1")
        await page.evaluate("window.refused = ['one']")
        await widget(page, "(w.start(), w.stop())", "#two")
        await page.wait_for_function(f"{ASKED_BY_TWO} === 2")
        await widget(page, "w.start()", "#two")
        await told(page, "muted", "d.muted")
        await told(page, "muted", "!d.muted")  # said while the call was being made
        assert await page.evaluate(f"{ASKED_BY_TWO} === 3 && told.filter((t) => t.type === 'call-start').length < 2")
        assert await widget(page, "w.state", "#one") == "idle"
        await widget(page, "w.sendText('what is the capital of spain')", "#two")
        answer = await told(page, "agent-transcript", "d.final && /Madrid|capital|Spain/.test(d.text)")
        assert answer["id"] == "two"
        transcripts = await page.evaluate("told.filter((t) => t.type.endsWith('transcript'))")
        assert {one["id"] for one in transcripts} == {"two"}
        typed = {one["detail"]["text"] for one in transcripts if one["type"] == "user-transcript"}
        assert typed == {"what is the capital of spain"}
        forged = "{source: 'kame-voice', v: 1, type: 'state', payload: {state: 'error'}}"
        await page.evaluate(f"postMessage({forged}, '*')")  # from the page, not from the frame
        for payload in ("{state: 7}", "null", "{}"):  # from the frame, but nothing of what it may say
            malformed = f"{{source: 'kame-voice', v: 1, type: 'state', payload: {payload}}}"
            await page.frames[-1].evaluate(f"parent.postMessage({malformed}, '*')")
        await page.evaluate("new Promise((resolve) => setTimeout(resolve, 50))")
        assert await widget(page, "w.state", "#two") in ("listening", "thinking", "speaking")
        await page.evaluate("document.getElementById('two').remove()")
        await no_calls(server.base_url)
        assert complaints == []

        # What keeps the microphone back is said, and where it can be changed.
        host.headers = {"Permissions-Policy": "microphone=()"}
        host.body = '<kame-voice variant="inline"></kame-voice>'
        await page.goto(host.base_url)
        [frame] = await frames(page)
        await frame.get_by_test_id("talk").click()
        refused = await told(page, "error", "d.code === 'frame_blocked'")
        assert 'allow="microphone; autoplay"' in refused["detail"]["message"]
        assert await open_calls(server.base_url) == 0

        # A plain frame, without our script.
        host.headers = {}
        host.body = f'<iframe src="{server.base_url}/embed?heading=Plain&muted" allow="microphone; autoplay"></iframe>'
        await page.goto(host.base_url)
        await page.wait_for_function("plain.some((m) => m.type === 'ready')")
        await page.evaluate(
            """([server, text]) => document.querySelector('iframe').contentWindow.postMessage(
                {source: 'kame-voice', v: 1, type: 'send-text', payload: {text}}, server)""",
            [server.base_url, "what is two plus three"],
        )
        await page.wait_for_function(
            "plain.some((m) => m.type === 'agent-transcript' && /two|plus|three|five/i.test(m.payload.text))",
            timeout=30_000,
        )
        assert set(await page.evaluate("plain.map((m) => m.origin)")) == {server.base_url}
        junk: list[dict[str, Any]] = [
            {"v": 2, "type": "stop", "payload": {}},
            {"source": "another", "type": "stop", "payload": {}},
            {
                "type": "configure",
                "payload": {"heading": ["x"], "theme": "x", "look": {"accent": "url(//x)", "ink": 1}},
            },
            {"type": "constructor", "payload": None},
            {"type": 7},
        ]
        for one in junk:
            await page.evaluate(
                "([server, message]) => document.querySelector('iframe').contentWindow.postMessage(message, server)",
                [server.base_url, {"source": "kame-voice", "v": 1} | one],
            )
        # Another frame of the same page says it.
        await page.evaluate(
            """(server) => {
                const plain = document.querySelector('iframe').contentWindow;
                const other = document.body.appendChild(document.createElement('iframe')).contentWindow;
                const stop = {source: 'kame-voice', v: 1, type: 'stop', payload: {}};
                other.Function('plain', 'stop', 'server', 'plain.postMessage(stop, server)')(plain, stop, server);
                other.frameElement.remove();
            }""",
            server.base_url,
        )
        await asyncio.sleep(0.5)
        assert await open_calls(server.base_url) == 1
        assert await page.frames[-1].locator("h1").inner_text() == "Plain"
        assert await page.frames[-1].evaluate("document.documentElement.style.getPropertyValue('--accent')") == ""
        assert complaints == []


async def test_pages_the_operator_does_not_know_are_told_so_and_others_can_use_every_look(tmp_path: Path) -> None:
    require_axe()
    names = "--host-resolver-rules=MAP *.example 127.0.0.1"
    async with (
        running_server(loaders=NoEngines()) as server,
        host_page(server.base_url, name="shop.example", body='<kame-voice variant="inline"></kame-voice>') as host,
        browser_with(microphone(0.5), tmp_path, names) as browser,
    ):
        page, _ = await opened(browser, host.base_url)
        await told(page, "error", "d.code === 'origin_not_allowed'")
        assert "ready" not in await kinds(page)
        # A frame that says it stands on another page than it does is not shown at all.
        frame = f"{server.base_url}/embed?origin=http://localhost:1"
        await page.evaluate(
            """(src) => new Promise((resolve) => {
                document.body.append(Object.assign(document.createElement('iframe'), {src, onload: resolve}));
            })""",
            frame,
        )
        assert await page.frames[-1].locator("[data-testid=talk]").count() == 0

    async with (
        running_server(loaders=NoEngines(), allowed_origins="http://shop.example") as server,
        browser_with(microphone(0.5), tmp_path) as browser,
    ):
        page, complaints = await opened(browser, f"{server.base_url}/widget")
        copy = page.get_by_test_id("copy-snippet")
        await copy.click()
        await page.locator("#copied:not(:empty)").wait_for(state="attached")
        await copy.click()
        for width, height in ((1200, 900), (390, 844)):
            await page.set_viewport_size({"width": width, "height": height})
            await page.get_by_test_id("variant").select_option("launcher")
            await widget(page, "(w.open = true)")
            await told_ready(page)
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                assert await violations(page) == []
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.get_by_test_id("variant").select_option("inline")
        await page.get_by_test_id("heading").fill('Ask "us" & <them>')
        await page.get_by_test_id("accented").check()
        await page.get_by_test_id("transcript").uncheck()
        policy = await page.get_by_test_id("policy").inner_text()
        assert policy == f"script-src {server.base_url}; frame-src {server.base_url};"
        snippet = await page.get_by_test_id("snippet").inner_text()
        assert snippet.splitlines() == [
            f'<script async src="{server.base_url}/static/widget.js"></script>',
            '<kame-voice variant="inline" heading="Ask &quot;us&quot; &amp; &lt;them>" transcript="off" '
            'accent="#7a3cff"></kame-voice>',
        ]
        await told_ready(page)
        embedded = next(frame for frame in reversed(page.frames) if "/embed" in frame.url)
        assert await embedded.locator("h1").inner_text() == 'Ask "us" & <them>'
        accent = "getComputedStyle(document.documentElement).getPropertyValue('--accent')"
        assert await embedded.evaluate(accent) == "#7a3cff"
        await copy.and_(page.get_by_text("Copy", exact=True)).wait_for()  # the button's words are back
        await page.goto(f"{server.base_url}/widget?lang=de")
        await page.get_by_role("heading", name="Auf die eigene Seite").wait_for()
        await page.get_by_role("button", name="Sprechen").wait_for()
        assert await violations(page) == []
        for address in ("/embed?heading=Ask+us", "/embed?origin=http://other.example"):
            await page.goto(server.base_url + address)
            assert await violations(page) == []
        complaints = [one for one in complaints if "403" not in one]  # the page that says no
        assert complaints == []


async def told_ready(page: Page) -> None:
    """The preview's frame is there."""
    await page.wait_for_function("document.querySelector('kame-voice').shadowRoot.querySelector('iframe')")
    state = page.frame_locator("kame-voice iframe").get_by_test_id("state")
    await state.filter(has_text="cannot take calls").wait_for()
