"""A real headless Chromium whose microphone plays a file, and ears on what its page receives."""

import base64
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from playwright.async_api import Browser, Error, Page, async_playwright

from kame_core.audio import Samples, from_int16, resample, write_wav

CAPTURE_RATE_HZ = 24_000
MICROPHONE_RATE_HZ = 48_000
_NAMES = ("chromium", "chromium-browser", "google-chrome")

_CAPTURE = """
(() => {
  const worklet = `registerProcessor('capture', class extends AudioWorkletProcessor {
    process([input]) { if (input[0]) this.port.postMessage(input[0].slice()); return true; } });`;
  window.captured = {blocks: [], connections: [], consoleErrors: []};
  const listen = async (stream) => {
    const context = new AudioContext({sampleRate: CAPTURE_RATE_HZ});
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([worklet], {type: 'text/javascript'})));
    const node = new AudioWorkletNode(context, 'capture');
    node.port.onmessage = (event) => window.captured.blocks.push(event.data);
    context.createMediaStreamSource(stream).connect(node);
  };
  window.captureStream = listen;
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) {
      super(...given);
      window.captured.connections.push(this);
      this.addEventListener('track', (event) => listen(new MediaStream([event.track])));
    }
  };
  window.capturedSound = () => {
    const size = window.captured.blocks.reduce((sum, block) => sum + block.length, 0);
    const all = new Int16Array(size);
    let at = 0;
    for (const block of window.captured.blocks) {
      for (let i = 0; i < block.length; i++) all[at + i] = Math.max(-1, Math.min(1, block[i])) * 32767;
      at += block.length;
    }
    const bytes = new Uint8Array(all.buffer);
    let text = '';
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return btoa(text);
  };
  window.inboundStats = async () => {
    const report = await window.captured.connections.at(-1).getStats();
    for (const entry of report.values()) if (entry.type === 'inbound-rtp') return {...entry};
    return null;
  };
})();
""".replace("CAPTURE_RATE_HZ", str(CAPTURE_RATE_HZ))


def chromium_path() -> str | None:
    """The browser's program, or None."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@dataclass(frozen=True, slots=True)
class TalkPage:
    """The page, from the outside."""

    page: Page
    errors: list[str]
    """What it printed as errors."""

    async def state(self) -> dict[str, Any]:
        """What the page says of itself."""
        state: dict[str, Any] = await self.page.evaluate("() => window.kameState()")
        return state

    async def until(self, condition: str, timeout_s: float = 15.0) -> dict[str, Any]:
        """Wait until a JavaScript condition over `s` (the state) holds; returns the state."""
        try:
            await self.page.wait_for_function(
                f"(() => {{ const s = window.kameState(); return s && ({condition}); }})()", timeout=timeout_s * 1000
            )
        except Exception as error:
            raise AssertionError(f"never: {condition}; the page says: {await self.state()}") from error
        return await self.state()

    async def talk(self) -> None:
        """Wait until the engines are ready, press the button, and wait for the connection."""
        await self.until("s.ready", 60)
        await self.page.get_by_test_id("talk").click()
        await self.until("s.callId !== null && ['listening', 'thinking', 'speaking'].includes(s.state)", 30)

    async def sound(self) -> Samples:
        """All that was received, float32 mono 24 kHz, as the browser played it."""
        return from_int16(np.frombuffer(base64.b64decode(await self.page.evaluate("capturedSound()")), np.int16))

    async def stats(self) -> dict[str, Any]:
        """The receiving stream's statistics (W3C webrtc-stats, `inbound-rtp`)."""
        stats: dict[str, Any] = await self.page.evaluate("inboundStats()")
        return stats


@asynccontextmanager
async def chromium(microphone: Path | None, *, arguments: tuple[str, ...] = ()) -> AsyncIterator[Browser]:
    """A browser; its microphone plays the file once from the moment the page asks for it, then silence."""
    flags = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--disable-sync",
        *arguments,
    ]
    if microphone is not None:
        flags.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), headless=True, args=flags)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def talk_page(
    url: str, microphone: Samples, folder: Path, *, arguments: tuple[str, ...] = (), **context: Any
) -> AsyncIterator[TalkPage]:
    """The page, opened, with a microphone that plays `microphone` (float32 mono 24 kHz) once."""
    path = folder / "microphone.wav"
    write_wav(path, resample(microphone, CAPTURE_RATE_HZ, MICROPHONE_RATE_HZ), MICROPHONE_RATE_HZ)
    async with chromium(path, arguments=arguments) as browser:
        # The capture's worklet is a blob, which the page's own policy rightly forbids.
        page = await (await browser.new_context(bypass_csp=True, **context)).new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.add_init_script(_CAPTURE)
        await page.goto(url)
        try:
            yield TalkPage(page, errors)
        finally:
            with suppress(Error):  # it may be closed
                await page.goto("about:blank", timeout=5000)  # who leaves hangs up
