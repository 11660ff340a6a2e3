"""What every speech-to-text engine does alike, on real engines and real sound."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples, resample, silence
from kame_core.errors import SpeechToTextError
from kame_core.stt.base import Recognizer, RecognizerUpdate, SpeechToText
from kame_core.stt.faster_whisper import FasterWhisperSpeechToText
from kame_core.stt.pocketsphinx import PocketsphinxRecognizer, PocketsphinxSpeechToText
from tests.support.speech import say
from tests.support.tiny_whisper import build_whisper

RATE_HZ = 16_000
ENGINES = ("pocketsphinx", "faster-whisper")


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    build_whisper(folder)
    return folder


@asynccontextmanager
async def engine(name: str, whisper_folder: Path) -> AsyncIterator[SpeechToText]:
    made: SpeechToText = (
        PocketsphinxSpeechToText(spares=0) if name == "pocketsphinx" else FasterWhisperSpeechToText(whisper_folder)
    )
    try:
        yield made
    finally:
        await made.aclose()


def narrow(text: str) -> Samples:
    """Speech as the gate passes it on: a little quiet around it, 16 kHz."""
    sound = np.concatenate([silence(6000), say(text), silence(3000)])
    return resample(sound, SAMPLE_RATE_HZ, RATE_HZ)


async def push_live(recognizer: Recognizer, sound: Samples) -> None:
    """In real time, as a microphone would."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    for at in range(0, sound.size, 320):
        await asyncio.sleep(max(0.0, begin_s + at / RATE_HZ - loop.time()))
        recognizer.push(sound[at : at + 320])


class Reader:
    """Collects a recogniser's updates."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.updates: list[RecognizerUpdate] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read(recognizer))

    async def _read(self, recognizer: Recognizer) -> None:
        async for update in recognizer.updates():
            self.updates.append(update)
            self._news.set()

    async def settled(self, count: int = 1, deadline_s: float = 20.0) -> RecognizerUpdate:
        """The n-th settled update."""
        async with asyncio.timeout(deadline_s):
            while len(found := [update for update in self.updates if update.settled]) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    async def ended(self) -> None:
        """The stream of updates is over."""
        async with asyncio.timeout(2.0):
            await self._task


@pytest.mark.parametrize("name", ENGINES)
async def test_partials_come_during_speech_and_one_settled_reading_after_it(name: str, whisper_folder: Path) -> None:
    async with engine(name, whisper_folder) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        sound = narrow("what is the capital of france and what is the population of japan")
        await push_live(recognizer, sound)
        partials = [update for update in reader.updates if not update.settled and update.fault is None]
        assert partials
        recognizer.flush()
        settled = await reader.settled()
        assert settled.utterance == 0
        assert settled.text
        await asyncio.sleep(0.3)
        assert sum(update.settled for update in reader.updates) == 1
        await recognizer.aclose()
        await reader.ended()


@pytest.mark.parametrize("name", ENGINES)
async def test_speech_after_a_pause_is_read_together_with_what_was_before(name: str, whisper_folder: Path) -> None:
    async with engine(name, whisper_folder) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        recognizer.push(narrow("what is the capital of france"))
        recognizer.flush()
        first = await reader.settled()
        recognizer.push(narrow("and what is the capital of spain"))
        recognizer.flush()
        second = await reader.settled(2)
        assert (first.utterance, second.utterance) == (0, 0)
        if name == "pocketsphinx":
            assert first.text == "what is the capital of france"
            assert second.text.startswith("what is the capital of france ")


@pytest.mark.parametrize("name", ENGINES)
async def test_commit_begins_a_new_utterance_and_ends_the_old_ones_readings(name: str, whisper_folder: Path) -> None:
    async with engine(name, whisper_folder) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        recognizer.push(narrow("what is the capital of france"))
        recognizer.flush()
        recognizer.commit()
        recognizer.push(narrow("what is two plus three"))
        recognizer.flush()
        settled = await reader.settled()
        assert settled.utterance == 1
        assert {update.utterance for update in reader.updates} == {1}
        if name == "pocketsphinx":
            assert settled.text == "what is two plus three"


@pytest.mark.parametrize("name", ENGINES)
async def test_silence_and_nothing_settle_empty(name: str, whisper_folder: Path) -> None:
    async with engine(name, whisper_folder) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        recognizer.flush()
        assert (await reader.settled()).text == ""
        recognizer.push(silence(RATE_HZ))
        recognizer.flush()
        assert (await reader.settled(2)).text == ""


@pytest.mark.parametrize("name", ENGINES)
async def test_closing_in_the_middle_of_decoding_is_quick_and_can_be_repeated(name: str, whisper_folder: Path) -> None:
    async with engine(name, whisper_folder) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        recognizer.push(np.tile(narrow("what is the capital of france"), 8))
        recognizer.flush()
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2.5):
            await recognizer.aclose()
            await recognizer.aclose()
        await reader.ended()
        recognizer.push(silence(320))
        recognizer.flush()
        recognizer.commit()


@pytest.mark.parametrize("name", ENGINES)
async def test_two_recognisers_do_not_mix(name: str, whisper_folder: Path) -> None:
    async with engine(name, whisper_folder) as stt:
        one, other = await stt.open("en"), await stt.open("en")
        readers = Reader(one), Reader(other)
        one.push(narrow("what is the capital of france"))
        other.push(narrow("what is two plus three"))
        one.flush()
        other.flush()
        texts = [(await reader.settled()).text for reader in readers]
        if name == "pocketsphinx":
            assert texts == ["what is the capital of france", "what is two plus three"]


async def test_a_killed_process_is_replaced_and_no_sound_is_lost() -> None:
    async with engine("pocketsphinx", Path()) as stt:
        recognizer = await stt.open("en")
        assert isinstance(recognizer, PocketsphinxRecognizer)
        reader = Reader(recognizer)
        sound = narrow("what is the capital of france")
        recognizer.push(sound[: sound.size // 2])
        first_pid = recognizer.pid
        os.kill(first_pid, signal.SIGKILL)
        await asyncio.sleep(0.1)
        recognizer.push(sound[sound.size // 2 :])
        recognizer.flush()
        settled = await reader.settled()
        assert settled.text == "what is the capital of france"
        faults = [update.fault for update in reader.updates if update.fault is not None]
        assert [fault.code for fault in faults] == ["stt_crashed"]
        assert faults[0].retryable
        assert recognizer.pid != first_pid


async def test_processes_end_with_their_recognisers_and_spares_with_the_engine() -> None:
    def children() -> set[int]:
        return {child.pid for child in psutil.Process().children(recursive=True) if child.status() != "zombie"}

    before = children()
    stt = PocketsphinxSpeechToText(spares=1)
    recognizers = [await stt.open("en") for _ in range(2)]
    for recognizer in recognizers:
        await recognizer.aclose()
    await stt.aclose()
    assert children() - before == set()
    with pytest.raises(SpeechToTextError):
        await stt.open("en")


async def test_other_languages_are_refused_with_advice() -> None:
    async with engine("pocketsphinx", Path()) as stt:
        with pytest.raises(SpeechToTextError) as refused:
            await stt.open("de-DE")
        assert refused.value.code == "unsupported_language"
        assert "Whisper" in refused.value.user_message
