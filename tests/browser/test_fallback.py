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
from playwright.async_api import WebSocket

from kame_core.audio import SAMPLE_RATE_HZ, from_int16, level_dbfs, silence, to_int16
from tests.browser.conftest import LONG_ANSWER
from tests.browser.test_talk import open_calls, said_by
from tests.support.chromium import TalkPage, chromium, talk_page
from tests.support.server import NoEngines, ServerProcess, running_server, server_process
from tests.support.speech import say
from tests.support.understanding import understood

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
MICROPHONE = """
(() => {
  let context, destination;
  const play = (samples, loop) => {
    const buffer = new AudioBuffer({length: samples.length, sampleRate: 24000});
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(context, {buffer, loop});
    source.connect(destination);
    source.start();
  };
  navigator.mediaDevices.getUserMedia = async () => {
    context = new AudioContext();
    destination = context.createMediaStreamDestination();
    play(Float32Array.from({length: 24000}, () => (Math.random() - 0.5) * 0.002), true);
    return destination.stream;
  };
  window.speak = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    play(Float32Array.from(new Int16Array(bytes.buffer), (sample) => sample / 32768), false);
  };
})();
"""
"""A microphone in a quiet room that hears what the test says, when it says it, however busy the machine is."""
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
    """A TCP way to the server that breaks on demand."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
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
        """Break every connection; new ones are taken."""
        for end in self._ends:
            end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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


async def speak(talk: TalkPage, words: str) -> None:
    """Say something into the page's microphone."""
    await talk.page.evaluate("speak", base64.b64encode(to_int16(say(words)).tobytes()).decode())


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
        assert {"capital", "france"} & set(said_by(state, "you").lower().split())  # a busy machine hears with holes
        cut = next(caption for caption in state["captions"] if caption["interrupted"])
        assert cut["text"]
        assert "by far" not in cut["text"]
        assert level_dbfs(await talk.sound()) > -45
        truncated = sockets.of(sockets.sent, "conversation.item.truncate")[0]
        sent = sockets.of(sockets.received, "response.output_audio.delta")
        pcm = np.frombuffer(b"".join(base64.b64decode(event["delta"]) for event in sent), np.int16)
        assert len(set(understood(from_int16(pcm))) & set(LONG_ANSWER.lower().split())) >= 2  # it was cut short
        of_item = sum(len(event["delta"]) * 3 // 4 // 48 for event in sent if event["item_id"] == truncated["item_id"])
        assert 0 < truncated["audio_end_ms"] <= of_item + 10
        await talk.page.keyboard.press("Escape")
        await talk.until("s.state === 'ended' || s.state === 'idle'", 5)
        async with asyncio.timeout(5):
            while await open_calls(server_with_llm.base_url):
                await asyncio.sleep(0.1)
        assert talk.errors == []


async def test_a_broken_connection_is_taken_up_again_where_it_was(tmp_path: Path) -> None:
    environment = {"KAME_STT": "pocketsphinx", "KAME_LLM": "offline", "KAME_TRANSPORT": "websocket"}
    async with (
        server_process("--port", "0", environment=environment) as server,
        CutOff(urlsplit(server.base_url).port or 0) as way,
        socket_page(way.base_url, tmp_path) as (talk, sockets),
    ):
        await talk.talk()
        assert sockets.opened  # at once: nothing else was tried
        assert await talk.page.evaluate("captured.connections.length") == 0
        before = sockets.of(sockets.received, "session.created")[0]["session"]["kame"]
        way.cut()
        async with asyncio.timeout(10):
            while len(sockets.of(sockets.received, "session.created")) < 2:
                await asyncio.sleep(0.1)
        after = sockets.of(sockets.received, "session.created")[1]["session"]["kame"]
        assert after["conversation_id"] == before["conversation_id"]
        await talk.until("s.state === 'listening'", 10)
        await speak(talk, "what is seven times eight")
        state = await talk.until("s.captions.some((c) => c.who === 'agent' && c.final)", 15)
        assert "fifty six" in said_by(state, "agent").lower()
        await talk.page.keyboard.press("Escape")
        async with asyncio.timeout(5):
            while await open_calls(server.base_url):
                await asyncio.sleep(0.1)


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
  await new Promise((resolve) => setTimeout(resolve, 200));
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
