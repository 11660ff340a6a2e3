"""Where WebRTC does not get through, the page talks over a WebSocket, and nobody has to do anything."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.async_api import WebSocket

from kame_core.audio import SAMPLE_RATE_HZ, from_int16, level_dbfs, silence
from tests.browser.conftest import LONG_ANSWER
from tests.browser.test_talk import said_by
from tests.support.chromium import TalkPage, chromium, talk_page
from tests.support.page_speech import MICROPHONE, speak
from tests.support.server import NoEngines, ServerProcess, no_calls, open_calls, running_server
from tests.support.understanding import understood

pytestmark = pytest.mark.asyncio(loop_scope="session")  # as the servers

RELAY_ONLY = """
(() => {
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(configuration) { super({...configuration, iceTransportPolicy: 'relay'}); this.made = true; }
    addEventListener(type, ...rest) { if (type !== 'track' || this.made) super.addEventListener(type, ...rest); }
  };
})();
"""
"""No UDP gets through: without a TURN server there is no candidate at all. Nothing that comes this way is captured."""
LISTEN = """
(() => {
  const play = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, 'srcObject');
  Object.defineProperty(HTMLMediaElement.prototype, 'srcObject', {
    ...play,
    set(stream) {
      play.set.call(this, stream);
      if (stream?.getAudioTracks().some((track) => !track.muted)) window.captureStream(stream);
    },
  });
})();
"""


class Sockets:
    """The WebSockets of a page."""

    def __init__(self) -> None:
        self.opened: list[WebSocket] = []
        self.sent: list[str] = []
        self.received: list[str] = []

    def add(self, socket: WebSocket) -> None:
        self.opened.append(socket)
        socket.on("framesent", lambda frame: self.sent.append(str(frame)))
        socket.on("framereceived", lambda frame: self.received.append(str(frame)))

    def of(self, frames: list[str], kind: str) -> list[dict[str, Any]]:
        events = [json.loads(frame) for frame in frames]
        return [event for event in events if event["type"] == kind]


class CutOff:
    """A TCP way to the server that breaks on demand, and stays broken while `down`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self.down = False
        self._ends: set[asyncio.StreamWriter] = set()

    @property
    def base_url(self) -> str:
        assert self._server is not None
        return f"http://localhost:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self) -> None:
        """Break every connection; new ones are taken unless the way is down."""
        for end in self._ends:
            end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ends = {writer, far_writer}
        self._ends |= ends
        with suppress(ConnectionError):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._copy(reader, far_writer))
                tasks.create_task(self._copy(far_reader, writer))
        for end in ends:
            end.close()
        self._ends -= ends

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def socket_page(url: str, folder: Path, *scripts: str) -> AsyncIterator[tuple[TalkPage, Sockets]]:
    """The page, with these scripts run before its own."""
    async with talk_page(url, silence(SAMPLE_RATE_HZ), folder) as talk:
        sockets = Sockets()
        talk.page.on("websocket", sockets.add)
        for script in (MICROPHONE, LISTEN, *scripts):
            await talk.page.add_init_script(script)
        await talk.page.reload()
        yield talk, sockets


def silent(sockets: Sockets) -> bool:
    """What was sent of the microphone is sound, and all of it is nothing."""
    sent = [base64.b64decode(one["audio"]) for one in sockets.of(sockets.sent, "input_audio_buffer.append")]
    return bool(sent) and not any(map(any, sent))


async def test_without_udp_a_spoken_question_is_answered_aloud_and_the_answer_can_be_interrupted(
    server_with_llm: ServerProcess, tmp_path: Path
) -> None:
    async with socket_page(server_with_llm.base_url, tmp_path, RELAY_ONLY) as (talk, sockets):
        await talk.talk()
        assert len(sockets.opened) == 1
        assert await open_calls(server_with_llm.base_url) == 1  # the attempt over WebRTC was given back
        await speak(talk, "what is the capital of france")
        await talk.until("s.captions.some((c) => c.who === 'agent' && c.text.includes('oceans'))", 30)
        await speak(talk, "stop what about the capital of spain")
        state = await talk.until("s.captions.some((c) => c.who === 'agent' && c.interrupted)", 30)
        assert said_by(state, "you").strip()  # which words, a busy machine that hears with holes cannot say
        cut = next(caption for caption in state["captions"] if caption["interrupted"])
        assert cut["text"]
        assert "by far" not in cut["text"]
        assert level_dbfs(await talk.sound()) > -45
        async with asyncio.timeout(5):
            while not (told := sockets.of(sockets.sent, "conversation.item.truncate")):
                await asyncio.sleep(0.1)
        truncated = told[0]
        sent = sockets.of(sockets.received, "response.output_audio.delta")
        pcm = np.frombuffer(b"".join(base64.b64decode(event["delta"]) for event in sent), np.int16)
        assert len(set(understood(from_int16(pcm))) & set(LONG_ANSWER.lower().split())) >= 2  # it was cut short
        of_item = sum(len(event["delta"]) * 3 // 4 // 48 for event in sent if event["item_id"] == truncated["item_id"])
        assert 0 < truncated["audio_end_ms"] <= of_item + 10
        await talk.page.keyboard.press("Escape")
        await talk.until("s.state === 'ended' || s.state === 'idle'", 5)
        await no_calls(server_with_llm.base_url)
        assert talk.errors == []


async def test_without_udp_all_else_works_too(server: ServerProcess, tmp_path: Path) -> None:
    """Mute, typed text, the modes, another microphone and push to talk, one after the other."""
    async with socket_page(server.base_url, tmp_path, RELAY_ONLY) as (talk, sockets):
        page = talk.page
        await talk.talk()
        await page.get_by_test_id("mute").click()
        async with asyncio.timeout(5):
            while not silent(sockets):
                sockets.sent.clear()
                await asyncio.sleep(0.4)
        await page.get_by_test_id("mute").click()

        await page.get_by_test_id("message").fill("what is the capital of spain")
        await page.get_by_test_id("send").click()
        await talk.until("s.captions.at(-2)?.kind === 'typed' && s.captions.at(-1).text.includes('Madrid')", 15)
        await page.get_by_test_id("mode-direct").check(force=True)
        await talk.until("s.mode === 'direct'", 5)

        await page.get_by_test_id("settings-open").click()
        await page.get_by_test_id("noiseSuppression").uncheck()
        await page.wait_for_function("microphones.length === 2 && microphones[1].noiseSuppression === false")
        await page.get_by_test_id("pushToTalk").check()
        await page.keyboard.press("Escape")
        await page.get_by_test_id("talk").filter(has_text="Hold to talk").wait_for()
        await page.keyboard.down(" ")
        await page.get_by_test_id("talk").filter(has_text="Let go to send").wait_for()
        sockets.received.clear()
        await speak(talk, "what is seven times eight")  # into the other microphone
        heard = (
            "s.captions.at(-1).who === 'you' && s.captions.at(-1).kind === 'speech' && s.captions.at(-1).text !== ''"
        )
        state = await talk.until(heard, 20)
        assert sockets.of(sockets.received, "input_audio_buffer.committed") == []
        await page.keyboard.up(" ")
        before = len(state["captions"])
        await talk.until(f"s.captions.length > {before} && s.captions.at(-1).who === 'agent'", 20)
        assert len(sockets.of(sockets.received, "input_audio_buffer.committed")) == 1
        assert talk.errors == []


UDP_BLOCKED_LATER = """
(() => {
  const Native = window.RTCPeerConnection;
  window.udpBlocked = false;
  window.RTCPeerConnection = class extends Native {
    constructor(wanted) { super(window.udpBlocked ? {...wanted, iceTransportPolicy: 'relay'} : wanted); }
  };
  window.loseNetwork = () => {
    window.udpBlocked = true;
    const peer = window.captured.connections.at(-1);
    Object.defineProperty(peer, 'connectionState', {value: 'failed'});
    peer.dispatchEvent(new Event('connectionstatechange'));
  };
})();
"""
"""A network that lets WebRTC through until the person walks into another one."""


async def test_a_talk_goes_on_in_a_network_without_udp_and_after_an_outage(
    server: ServerProcess, tmp_path: Path
) -> None:
    async with (
        CutOff(urlsplit(server.base_url).port or 0) as way,
        socket_page(way.base_url, tmp_path, UDP_BLOCKED_LATER) as (talk, sockets),
    ):
        await talk.talk()
        assert sockets.opened == []
        await talk.page.get_by_test_id("message").fill("what is two plus three")
        await talk.page.get_by_test_id("send").click()
        await talk.until("s.captions.some((c) => c.who === 'agent' && c.final)", 15)

        async def resumed(times: int) -> str:
            await talk.until("s.state === 'listening' || s.state === 'error'", 25)
            created = sockets.of(sockets.received, "session.created")
            assert len(created) == times, await talk.state()
            conversation: str = created[-1]["session"]["kame"]["conversation_id"]
            return conversation

        await talk.page.evaluate("loseNetwork()")
        await talk.until("s.state === 'connecting'", 2)
        assert "Reconnecting" in await talk.page.get_by_test_id("state").inner_text()
        conversation = await resumed(1)  # the attempt over WebRTC has not spent the token
        assert (await talk.state())["captions"] != []
        way.down = True
        way.cut()
        await asyncio.sleep(2.5)
        assert (await talk.state())["state"] == "connecting"
        way.down = False
        assert await resumed(2) == conversation
        await speak(talk, "what is seven times eight")  # which words, a busy machine that hears with holes cannot say
        state = await talk.until("s.captions.filter((c) => c.who === 'agent' && c.final).length > 1", 15)
        assert "five" in said_by(state, "agent").lower()
        assert any(caption["who"] == "you" and caption["kind"] == "speech" for caption in state["captions"])
        await talk.page.keyboard.press("Escape")
        await no_calls(server.base_url)


async def test_on_a_server_without_webrtc_the_queue_works_too(tmp_path: Path) -> None:
    async with (
        running_server(loaders=NoEngines(), transport="websocket", capacity=1) as server,
        socket_page(server.base_url, tmp_path) as (first, _),
    ):
        page = await first.page.context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        second = TalkPage(page, complaints)
        await page.goto(server.base_url)
        for talk, state in ((first, "listening"), (second, "queued")):
            await talk.page.bring_to_front()  # one behind is drawn now and then only
            await talk.page.get_by_test_id("settings-open").click()
            await talk.page.get_by_test_id("sound-check").click()
            await talk.until(f"s.state === '{state}'", 15)
        await page.get_by_test_id("hint").filter(has_text="number 1 in the line").wait_for()
        await first.page.bring_to_front()
        await first.page.get_by_test_id("end").click()
        await second.until("s.state === 'listening'", 15)
        assert await first.page.evaluate("captured.connections.length") == 0  # nothing else was tried
        assert complaints + first.errors == []


CAPTURE = """
async ([rate, tones]) => {
  const context = new OfflineAudioContext(1, 2 * rate, rate);
  await context.audioWorklet.addModule('/static/js/socket/capture.js');
  const node = new AudioWorkletNode(context, 'capture', {numberOfOutputs: 0});
  const pieces = [];
  node.port.onmessage = ({data}) => pieces.push(...new Int16Array(data));
  for (const frequency of tones) {
    const tone = new OscillatorNode(context, {frequency});
    const quieter = new GainNode(context, {gain: 0.3});
    tone.connect(quieter).connect(node);
    tone.start();
  }
  await context.startRendering();
  for (let waited_ms = 0; pieces.length < 1.9 * 24000 && waited_ms < 5000; waited_ms += 50)
    await new Promise((resolve) => setTimeout(resolve, 50));
  return pieces;
}
"""


async def test_microphones_of_any_rate_are_heard_without_aliases(tmp_path: Path) -> None:
    """Some browsers capture at the device's rate only. 15 kHz is above what 24 kHz can carry."""
    async with running_server(loaders=NoEngines()) as server, chromium(None) as browser:
        page = await browser.new_page()
        await page.goto(server.base_url)
        for rate_hz in (44_100, 48_000):
            heard = from_int16(np.array(await page.evaluate(CAPTURE, [rate_hz, [1000, 15_000]]), np.int16))
            assert 1.9 * SAMPLE_RATE_HZ < heard.size <= 2 * SAMPLE_RATE_HZ
            second = heard[SAMPLE_RATE_HZ // 2 : SAMPLE_RATE_HZ * 3 // 2] * np.hanning(SAMPLE_RATE_HZ)
            spectrum = np.abs(np.fft.rfft(second)) * 4 / SAMPLE_RATE_HZ
            assert int(np.argmax(spectrum)) == 1000
            assert 0.27 < spectrum[1000] < 0.33
            spectrum[990:1010] = 0
            assert spectrum.max() < 0.003, rate_hz
