"""A microphone for pages that hears what the test says, when it says it, however busy the machine is."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from kame_core.audio import SAMPLE_RATE_HZ, silence, to_int16
from tests.support.chromium import TalkPage, talk_page
from tests.support.speech import say

MICROPHONE = """
(() => {
  let context, destination;
  const play = (samples, loop) => {
    const buffer = new AudioBuffer({length: samples.length, sampleRate: 24000});
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(context, {buffer, loop});
    source.connect(destination);
    source.start();
    return source;
  };
  window.microphones = [];
  navigator.mediaDevices.getUserMedia = async ({audio}) => {
    window.microphones.push(audio);
    context = new AudioContext();
    destination = context.createMediaStreamDestination();
    play(Float32Array.from({length: 24000}, () => (Math.random() - 0.5) * 0.002), true);
    return destination.stream;
  };
  window.speak = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const source = play(Float32Array.from(new Int16Array(bytes.buffer), (sample) => sample / 32768), false);
    window.spoken = new Promise((resolve) => { source.onended = resolve; });
  };
})();
"""
"""In a quiet room."""


async def speak(talk: TalkPage, words: str) -> None:
    """Say something into the page's microphone."""
    await talk.page.evaluate("speak", base64.b64encode(to_int16(say(words)).tobytes()).decode())


async def spoken(talk: TalkPage) -> None:
    """Until what was last said into the page's microphone is over."""
    await talk.page.evaluate("spoken.then(() => null)")


@asynccontextmanager
async def spoken_page(url: str, folder: Path, **context: Any) -> AsyncIterator[TalkPage]:
    """The page with this microphone."""
    async with talk_page(url, silence(SAMPLE_RATE_HZ), folder, **context) as talk:
        await talk.page.add_init_script(MICROPHONE)
        await talk.page.reload()
        yield talk
