"""What every speech-to-text engine does alike, on real engines and real sound.

The engine over the network talks to a local service that understands words as tones.
"""

import asyncio
import gc
import importlib.util
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples, resample, silence
from kame_core.errors import SpeechToTextError
from kame_core.stt.base import Recognizer, RecognizerUpdate, SpeechToText
from kame_core.stt.faster_whisper import FasterWhisperSpeechToText
from kame_core.stt.openai_realtime import OpenAIRealtimeSpeechToText
from kame_core.stt.pocketsphinx import PocketsphinxRecognizer, PocketsphinxSpeechToText
from tests.support.speech import say
from tests.support.tiny_whisper import build_whisper
from tests.support.tone_words import ToneLanguage
from tests.support.transcription_server import TranscriptionServer, transcription_server

RATE_HZ = 16_000
WITHOUT_WEBSOCKETS = importlib.util.find_spec("websockets") is None
ENGINES = (
    "pocketsphinx",
    "faster-whisper",
    pytest.param("openai", marks=pytest.mark.skipif(WITHOUT_WEBSOCKETS, reason="websockets is not installed")),
)
LANGUAGE = ToneLanguage("what is the capital of france spain and population japan two plus three")


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    build_whisper(folder)
    return folder


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine, and how to speak to it."""

    stt: SpeechToText
    say: Callable[[str], Samples]
    exact: bool
    """It understands every word; else only that it reads is tested (its weights are random)."""


@asynccontextmanager
async def engine(name: str, whisper_folder: Path) -> AsyncIterator[Engine]:
    if name == "openai":
        async with transcription_server(TranscriptionServer(LANGUAGE)) as server:
            made: SpeechToText = OpenAIRealtimeSpeechToText(server.api)
            try:
                yield Engine(made, LANGUAGE.say, exact=True)
            finally:
                await made.aclose()
        return
    made = PocketsphinxSpeechToText(spares=0) if name == "pocketsphinx" else FasterWhisperSpeechToText(whisper_folder)
    try:
        yield Engine(made, narrow, exact=name == "pocketsphinx")
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
    piece = recognizer.sample_rate_hz // 50
    for at in range(0, sound.size, piece):
        await asyncio.sleep(max(0.0, begin_s + at / recognizer.sample_rate_hz - loop.time()))
        recognizer.push(sound[at : at + piece])


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
    async with engine(name, whisper_folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        rest = " and what is the population of japan" if name == "pocketsphinx" else ""  # it reads anew on the way
        sound = tested.say("what is the capital of france" + rest)
        await push_live(recognizer, sound)
        partials = [update.text for update in reader.updates if not update.settled and update.fault is None]
        assert partials
        if tested.exact:  # it grows: what is shown is never taken back as a whole
            assert all(2 * len(after) > len(before) for before, after in pairwise(partials)), partials
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
    async with engine(name, whisper_folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        recognizer.push(tested.say("what is the capital of france"))
        recognizer.flush()
        first = await reader.settled()
        recognizer.push(tested.say("and what is the capital of spain"))
        recognizer.flush()
        second = await reader.settled(2)
        assert (first.utterance, second.utterance) == (0, 0)
        if tested.exact:
            assert first.text == "what is the capital of france"
            assert second.text.startswith("what is the capital of france ")


@pytest.mark.parametrize("name", ENGINES)
async def test_commit_begins_a_new_utterance_and_ends_the_old_ones_readings(name: str, whisper_folder: Path) -> None:
    async with engine(name, whisper_folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        recognizer.push(tested.say("what is the capital of france"))
        recognizer.flush()
        recognizer.commit()
        recognizer.push(tested.say("what is two plus three"))
        recognizer.flush()
        settled = await reader.settled()
        assert settled.utterance == 1
        assert {update.utterance for update in reader.updates} == {1}
        if tested.exact:
            assert settled.text == "what is two plus three"


@pytest.mark.parametrize("name", ENGINES)
async def test_silence_and_nothing_settle_empty(name: str, whisper_folder: Path) -> None:
    async with engine(name, whisper_folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        recognizer.flush()
        assert (await reader.settled()).text == ""
        recognizer.push(silence(recognizer.sample_rate_hz))
        recognizer.flush()
        assert (await reader.settled(2)).text == ""


@pytest.mark.parametrize("name", ENGINES)
async def test_noise_is_answered_and_what_is_said_next_is_understood(name: str, whisper_folder: Path) -> None:
    async with engine(name, whisper_folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        noise = np.random.default_rng(3).standard_normal(recognizer.sample_rate_hz, np.float32)
        for number, level in enumerate((0.003, 0.03, 0.3), 1):
            recognizer.push(np.clip(noise * np.float32(level), -1, 1))
            recognizer.flush()
            heard = await reader.settled(number)
            assert len(heard.text.split()) <= 3 or not tested.exact
            recognizer.commit()
        recognizer.push(tested.say("what is two plus three"))
        recognizer.flush()
        settled = await reader.settled(4)
        assert settled.utterance == 3
        if tested.exact:
            assert settled.text == "what is two plus three"


@pytest.mark.parametrize("name", ENGINES)
async def test_utterance_after_utterance_nothing_drifts_or_grows(name: str, whisper_folder: Path) -> None:
    """Turns as fast as the engine reads them; half an hour of them in virtual time is in test_openai_realtime."""
    turns = 12
    async with engine(name, whisper_folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        sounds = {text: tested.say(text) for text in ("what is two plus three", "what is the capital of france")}
        texts = list(sounds)
        tasks = 0
        memory_mib = 0.0
        for turn in range(turns):
            if turn == 3:  # all that is loaded once is there
                gc.collect()
                tasks, memory_mib = len(asyncio.all_tasks()), _memory_mib()
            recognizer.push(sounds[texts[turn % 2]])
            recognizer.flush()
            settled = await reader.settled(turn + 1)
            assert settled.utterance == turn
            if tested.exact:
                assert settled.text == texts[turn % 2]
            recognizer.commit()
        gc.collect()
        assert len(asyncio.all_tasks()) <= tasks
        assert _memory_mib() - memory_mib < 25


def _memory_mib() -> float:
    """Of this process and those it started."""
    own = psutil.Process()
    return float(sum(process.memory_info().rss for process in (own, *own.children(recursive=True))) / 2**20)


@pytest.mark.parametrize("name", ENGINES)
async def test_closing_in_the_middle_of_decoding_is_quick_and_can_be_repeated(name: str, whisper_folder: Path) -> None:
    async with engine(name, whisper_folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        recognizer.push(np.tile(tested.say("what is the capital of france"), 8))
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
    async with engine(name, whisper_folder) as tested:
        one, other = await tested.stt.open("en"), await tested.stt.open("en")
        readers = Reader(one), Reader(other)
        one.push(tested.say("what is the capital of france"))
        other.push(tested.say("what is two plus three"))
        one.flush()
        other.flush()
        texts = [(await reader.settled()).text for reader in readers]
        if tested.exact:
            assert texts == ["what is the capital of france", "what is two plus three"]


async def test_a_killed_process_is_replaced_and_no_sound_is_lost() -> None:
    async with engine("pocketsphinx", Path()) as tested:
        recognizer = await tested.stt.open("en")
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
    async with engine("pocketsphinx", Path()) as tested:
        with pytest.raises(SpeechToTextError) as refused:
            await tested.stt.open("de-DE")
        assert refused.value.code == "unsupported_language"
        assert "Whisper" in refused.value.user_message
