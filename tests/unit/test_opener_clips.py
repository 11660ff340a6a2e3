"""The openers' sound while the voice fails and after: made anew in it, one at a time, as soon as it is back."""

from collections.abc import AsyncGenerator
from enum import Enum, auto

import pytest

from kame_core.audio import FRAME_S
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import TextToSpeechError
from kame_core.frontend.reflex import ReflexEngine
from kame_core.frontend.reflex.opener import ALL_OPENERS
from kame_core.frontend.reflex.synthesis import LoopSynthesiser
from kame_core.tts.base import SpeechChunk, TextToSpeech
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.tts.fallback import FallbackTextToSpeech
from kame_core.workers import InlineWorkers


class Sound(Enum):
    NONE = auto()
    STAND_IN = auto()
    OWN = auto()


class Unwell:
    """A voice that fails while `ill`, or with the text `mute`, and remembers what it was asked."""

    name = "unwell"

    def __init__(self) -> None:
        self.ill = True
        self.mute = ""
        self.asked: list[str] = []
        self._tts = EspeakTextToSpeech("en-gb", workers=InlineWorkers())

    async def speak(self, text: str, voice: str = "", language: str = "") -> AsyncGenerator[SpeechChunk, None]:
        self.asked.append(text)
        if self.ill or text == self.mute:
            raise TextToSpeechError("The voice is away.", retryable=True)
        async for chunk in self._tts.speak(text, "", language):
            yield chunk

    async def aclose(self) -> None:
        await self._tts.aclose()


class Bench:
    """An engine without slots, whose voice is away at first."""

    def __init__(self, clock: VirtualClock, stand_in: TextToSpeech | None) -> None:
        self.voice = Unwell()
        self._clock = clock
        self._tts = self.voice if stand_in is None else FallbackTextToSpeech(self.voice, stand_in, clock)
        self._synthesiser = LoopSynthesiser(self._tts)
        self._engine = ReflexEngine(self._synthesiser)

    def sound(self, text: str) -> Sound:
        clip = self._engine.clips.get(text, "")
        if clip is None:
            return Sound.NONE
        return Sound.STAND_IN if any(chunk.stand_in for chunk in clip.chunks) else Sound.OWN

    async def ticks(self, count: int) -> None:
        for _ in range(count):
            before = len(self.voice.asked)
            self._engine.step(())
            await self._clock.sleep_until(self._clock.now() + FRAME_S)
            assert len(self.voice.asked) <= before + 1, "answers wait for the same synthesiser"

    async def talk_on(self) -> None:
        for _ in range(30):  # the voice rests for up to 16 s by now
            self.sound("Hello!")
            await self.ticks(10)

    async def begin(self) -> None:
        self._engine.clips.prepare("")
        await self._synthesiser.idle()

    async def aclose(self) -> None:
        await self._synthesiser.aclose()
        await self._tts.aclose()


@pytest.mark.parametrize("with_stand_in", [True, False])
def test_they_are_in_the_voice_again_soon_after_it_is_back_and_it_is_not_pestered_before(with_stand_in: bool) -> None:
    async def run(clock: VirtualClock) -> None:
        bench = Bench(clock, EspeakTextToSpeech(workers=InlineWorkers()) if with_stand_in else None)
        away = Sound.STAND_IN if with_stand_in else Sound.NONE
        await bench.begin()
        assert {bench.sound(text) for text in ALL_OPENERS} == {away}
        bench.voice.asked.clear()
        for _ in range(25):  # twenty seconds of talk
            assert bench.sound("Hello!") is away
            await bench.ticks(10)
        assert 1 <= len(bench.voice.asked) <= 5
        bench.voice.ill, bench.voice.mute = False, ALL_OPENERS[0]
        await bench.talk_on()
        assert {bench.sound(text) for text in ALL_OPENERS[1:]} == {Sound.OWN}
        bench.voice.mute = ""
        await bench.talk_on()
        assert {bench.sound(text) for text in ALL_OPENERS} == {Sound.OWN}
        asked = len(bench.voice.asked)
        await bench.ticks(10)
        assert len(bench.voice.asked) == asked
        await bench.aclose()

    run_virtual(run)
