"""The widget as a guest: what of the page around reaches it, how it is used without a mouse, and what it never does."""

import asyncio
import json
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.browser.test_widget import STRICT, browser_with, opened, widget
from tests.support.accessibility import require_axe, violations
from tests.support.host_page import frames, host_page, told
from tests.support.scripted_ear import ScriptedEar
from tests.support.server import NoEngines, open_calls, running_server
from tests.support.speech import microphone

RUDE = """
html { font-size: 62.5%; letter-spacing: 9px; text-transform: uppercase; line-height: 3; color: red; cursor: wait; }
* { position: relative !important; margin: 30px !important; max-width: 90px !important; font: 40px cursive !important; }
button, iframe, svg, span { display: none !important; background: red !important; }
main > * { display: block !important; text-align: right; word-spacing: 2em; }
"""
LAUNCHER = """(() => {
  const button = document.querySelector('kame-voice').shadowRoot.querySelector('.launcher');
  const {right, bottom, width, height} = button.getBoundingClientRect();
  const {clientWidth, clientHeight} = document.documentElement;
  const {font, letterSpacing, textTransform, color, cursor} = getComputedStyle(button);
  return [clientWidth - right, clientHeight - bottom, width, height, font, letterSpacing, textTransform, color, cursor];
})()"""
PANEL = "document.querySelector('kame-voice').shadowRoot.querySelector('.panel')"
ACTIVE = "[document.activeElement.localName, document.activeElement.shadowRoot?.activeElement?.localName]"
OWN = {
    "accent": "rgb(200, 10, 10)",
    "on-accent": "rgb(1, 2, 3)",
    "ground": "rgb(10, 20, 30)",
    "card": "rgb(11, 21, 31)",
    "ink": "rgb(250, 240, 230)",
    "soft": "rgb(240, 230, 220)",
    "line": "rgb(40, 50, 60)",
    "font": "monospace",
}
BOX = {"radius": "3px", "width": "300px", "height": "290px", "max-height": "310px", "offset": "7px", "z-index": "5"}


async def styles(page: Page, part: str, *names: str) -> list[str]:
    """Computed styles of a part of the widget."""
    element = f"getComputedStyle(document.querySelector('kame-voice').shadowRoot.querySelector('{part}'))"
    found: list[str] = await page.evaluate(f"{json.dumps(names)}.map((name) => {element}.getPropertyValue(name))")
    return found


async def test_nothing_of_the_page_around_gets_in_but_what_is_documented(tmp_path: Path) -> None:
    async with (
        running_server(loaders=NoEngines()) as server,
        host_page(server.base_url, name="localhost") as host,
        browser_with(microphone(0.5), tmp_path) as browser,
    ):
        host.headers = {"Content-Security-Policy": STRICT.format(server=server.base_url)}
        page, complaints = await opened(browser, host.base_url)
        await page.get_by_role("button", name="Talk").wait_for()
        polite = await page.evaluate(LAUNCHER)
        assert polite[:4] == [20, 20, polite[2], 56]
        host.style, host.direction = RUDE, "rtl"
        await page.goto(host.base_url)
        await page.get_by_role("button", name="Talk").wait_for()
        assert await page.evaluate(LAUNCHER) == polite
        for placement in ("bottom-left", "top-left", "top-right", "bottom-right"):
            await widget(page, f"(w.setAttribute('placement', '{placement}'), w.open = true)")
            sides: list[float] = await page.evaluate(
                f"(({{left, top, right, bottom}}) => [left, top, innerWidth - right, innerHeight - bottom])"
                f"({PANEL}.getBoundingClientRect())"
            )
            assert min(sides) >= 20
            assert (sides[2] < sides[0]) == placement.endswith("right")
            assert (sides[3] < sides[1]) == placement.startswith("bottom")
        await told(page, "ready")

        properties = "".join(f"--kame-{name}: {value};" for name, value in (OWN | BOX).items())
        host.style = f"kame-voice {{ {properties} }} kame-voice::part(launcher) {{ text-decoration: underline; }}"
        await page.goto(host.base_url)
        await page.get_by_role("button", name="Talk").click()
        await told(page, "ready")
        assert await styles(page, ".launcher", "background-color", "color", "font-family", "text-decoration-line") == [
            *(OWN[name] for name in ("accent", "on-accent", "font")),
            "underline",
        ]
        names = ("border-top-left-radius", "width", "height", "max-height", "background-color")
        assert await styles(page, ".panel", *names) == ["3px", "300px", "290px", "310px", OWN["ground"]]
        assert await styles(page, ".box", "right", "bottom", "z-index") == ["7px", "7px", "5"]
        inside = page.frames[-1]
        asked = [f"--{'sans' if name == 'font' else name}" for name in OWN]
        got = "names.map((name) => document.documentElement.style.getPropertyValue(name))"
        await inside.wait_for_function("document.documentElement.style.getPropertyValue('--accent')")
        assert await inside.evaluate(f"(names) => {got}", asked) == list(OWN.values())
        assert complaints == []


async def test_it_is_used_by_keyboard_and_screen_reader(tmp_path: Path) -> None:
    require_axe()
    async with (
        running_server(loaders=NoEngines()) as server,
        host_page(server.base_url, name="localhost") as host,
        browser_with(microphone(0.5), tmp_path) as browser,
    ):
        page, complaints = await opened(browser, host.base_url)
        await page.emulate_media(reduced_motion="reduce")
        launcher = page.get_by_role("button", name="Talk: Open the voice assistant.", exact=True)
        await launcher.wait_for()
        panel = page.get_by_role("region", name="Voice assistant")
        await page.keyboard.press("Tab")
        for escaping_from in ("iframe", "button"):
            assert await page.evaluate(ACTIVE) == ["kame-voice", "button"]
            await page.keyboard.press("Enter")
            await told(page, "ready")
            await panel.wait_for()
            assert await page.evaluate(ACTIVE) == ["kame-voice", "iframe"]
            if escaping_from == "button":
                await page.get_by_role("button", name="Close the voice assistant.").focus()
            await page.keyboard.press("Escape")
            await panel.wait_for(state="hidden")
            assert await page.evaluate(ACTIVE) == ["kame-voice", "button"]
            assert await launcher.get_attribute("aria-expanded") == "false"
        await page.get_by_role("button", name="Talk").click()
        assert complaints == []
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            for place in (page, page.frames[-1]):
                assert await violations(place) == []
        for part in (".panel", ".launcher"):
            assert await styles(page, part, "transition-duration", "animation-name") == ["0s", "none"]

        complaints.clear()  # axe-core posts to frames that do not listen to it
        # What does not come is said where it would be, aloud, and can be tried again.
        host.body = '<kame-voice open server="http://127.0.0.1:9" theme="dark"></kame-voice>'
        await page.goto(host.base_url)
        failed = await told(page, "error", "d.code === 'frame_failed'")
        assert await page.get_by_role("alert").inner_text() == failed["detail"]["message"]
        assert await widget(page, "w.state") == "error"
        assert await violations(page) == []
        await page.get_by_role("button", name="Try again").click()
        await page.get_by_role("alert").wait_for(state="detached")
        await widget(page, f"w.setAttribute('server', '{server.base_url}')")
        await told(page, "ready")
        assert await widget(page, "w.state") == "idle"
        await widget(page, "w.setAttribute('server', 'javascript:alert(1)')")
        await page.get_by_role("alert").wait_for()
        assert [one for one in complaints if "127.0.0.1:9" not in one and "ERR_UNSAFE_PORT" not in one] == []


UNASKED = """<kame-voice></kame-voice><script>
customElements.whenDefined("kame-voice").then(() => document.querySelector("kame-voice").%s);
</script>"""


async def test_no_page_makes_it_speak_or_listen_without_the_person(tmp_path: Path) -> None:
    async with (
        running_server(loaders=ScriptedEar()) as server,
        host_page(server.base_url, name="localhost", body=UNASKED % "start()") as host,
        browser_with(microphone(0.5), tmp_path, "--use-fake-ui-for-media-stream=deny") as browser,
    ):
        # The person does not allow the microphone: there is no call.
        page = await browser.new_page()
        await page.goto(host.base_url)
        await told(page, "error", "d.code === 'microphone_denied'", timeout_s=60)
        assert await open_calls(server.base_url) == 0
        await page.close()

        # The person has touched nothing: there is no sound. Playwright's own ways to look into a page count as touch.
        host.body = UNASKED % 'sendText("what is the capital of france")'
        page = await browser.new_page()
        await page.goto(host.base_url)
        outside = await page.context.new_cdp_session(page)

        async def look(expression: str, wanted: Any, session: Any = outside) -> None:
            async with asyncio.timeout(60):
                while True:
                    answer = await session.send("Runtime.evaluate", {"expression": expression, "returnByValue": True})
                    if answer["result"].get("value") == wanted:
                        return
                    await asyncio.sleep(0.1)

        await look("told.some(({type, detail: d}) => type === 'agent-transcript' && d.text !== '')", True)
        inside = await page.context.new_cdp_session(page.frames[-1])
        await look("document.querySelector('[data-part=sound-blocked]').checkVisibility()", True, inside)
        await look("document.querySelector('audio').paused", True, inside)
        await look("navigator.userActivation.hasBeenActive", False, inside)
        [frame] = await frames(page)
        await frame.get_by_test_id("sound-allow").click()  # the person wants to hear it
        await frame.wait_for_function("!document.querySelector('audio').paused")
