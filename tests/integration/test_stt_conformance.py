"""What every speech-to-text engine does alike, on real engines and real sound.

The engine over the network talks to a local service that understands words as tones.
"""

import asyncio
import gc
import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kame_core.audio import Samples, silence
from kame_core.errors import SpeechToTextError
from kame_core.stt.base import Recognizer, RecognizerUpdate
from kame_core.stt.pocketsphinx import PocketsphinxSpeechToText
from tests.bench.stt_endurance import endure
from tests.support.ears import Reader, ears
from tests.support.processes import living_children, memory_mib
from tests.support.speech import word_errors

WITHOUT_WEBSOCKETS = importlib.util.find_spec("websockets") is None
ENGINES = (
    "pocketsphinx",
    "faster-whisper",
    pytest.param("openai", marks=pytest.mark.skipif(WITHOUT_WEBSOCKETS, reason="websockets is not installed")),
    "kyutai",
)
LONGEST_LOSS_S = 1.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the engines' files."""
    return tmp_path_factory.mktemp("ears")


async def push_live(recognizer: Recognizer, sound: Samples) -> None:
    """In real time, as a microphone would."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    piece = recognizer.sample_rate_hz // 50
    for at in range(0, sound.size, piece):
        await asyncio.sleep(max(0.0, begin_s + at / recognizer.sample_rate_hz - loop.time()))
        recognizer.push(sound[at : at + piece])


@pytest.mark.parametrize("name", ENGINES)
async def test_partials_come_during_speech_and_one_settled_reading_after_it(name: str, folder: Path) -> None:
    async with ears(name, folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        rest = " and what is the population of japan" if name == "pocketsphinx" else ""  # it reads anew on the way
        sound = tested.say("what is the capital of france" + rest)
        await push_live(recognizer, sound)
        async with asyncio.timeout(10):
            while not (partials := [update.text for update in reader.updates if not update.settled]):
                await asyncio.sleep(0.01)
        assert all(update.fault is None for update in reader.updates)
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
async def test_speech_after_a_pause_is_read_together_with_what_was_before(name: str, folder: Path) -> None:
    async with ears(name, folder) as tested:
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
async def test_commit_begins_a_new_utterance_and_ends_the_old_ones_readings(name: str, folder: Path) -> None:
    async with ears(name, folder) as tested:
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
async def test_silence_and_nothing_settle_empty(name: str, folder: Path) -> None:
    async with ears(name, folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        recognizer.flush()
        assert (await reader.settled()).text == ""
        recognizer.push(silence(recognizer.sample_rate_hz))
        recognizer.flush()
        assert (await reader.settled(2)).text == ""


@pytest.mark.parametrize("name", ENGINES)
async def test_noise_is_answered_and_what_is_said_next_is_understood(name: str, folder: Path) -> None:
    async with ears(name, folder) as tested:
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
async def test_utterance_after_utterance_nothing_drifts_or_grows(name: str, folder: Path) -> None:
    """Turns as fast as the engine reads them; half an hour of them: tests/bench/stt_endurance.py."""
    turns = 12
    async with ears(name, folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        sounds = {text: tested.say(text) for text in ("what is two plus three", "what is the capital of france")}
        texts = list(sounds)
        readings: list[set[str]] = [set(), set()]
        tasks = 0
        memory = 0.0
        for turn in range(turns):
            if turn == 3:  # all that is loaded once is there
                gc.collect()
                tasks, memory = len(asyncio.all_tasks()), memory_mib()
            recognizer.push(sounds[texts[turn % 2]])
            recognizer.flush()
            settled = await reader.settled(turn + 1)
            assert settled.utterance == turn
            readings[turn % 2].add(settled.text)
            recognizer.commit()
        gc.collect()
        assert len(asyncio.all_tasks()) <= tasks
        assert memory_mib() - memory < 25
        assert all(len(same) == 1 for same in readings), "the same sound is read alike at the end as at the beginning"
        if tested.exact:
            assert readings == [{text} for text in texts]


@pytest.mark.skipif(WITHOUT_WEBSOCKETS, reason="websockets is not installed")
async def test_the_bench_of_half_an_hour_runs(folder: Path) -> None:
    found = await endure("openai", 0.1, folder)
    assert (found.turns, found.lost_words, found.late_readings, found.tasks) == (24, 0, 0, 0)


@pytest.mark.parametrize("name", ENGINES)
async def test_closing_in_the_middle_of_decoding_is_quick_and_can_be_repeated(name: str, folder: Path) -> None:
    async with ears(name, folder) as tested:
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
async def test_two_recognisers_do_not_mix(name: str, folder: Path) -> None:
    async with ears(name, folder) as tested:
        one, other = await tested.stt.open("en"), await tested.stt.open("en")
        readers = Reader(one), Reader(other)
        one.push(tested.say("what is the capital of france"))
        other.push(tested.say("what is two plus three"))
        one.flush()
        other.flush()
        texts = [(await reader.settled()).text for reader in readers]
        if tested.exact:
            assert texts == ["what is the capital of france", "what is two plus three"]


@pytest.mark.parametrize("name", ENGINES)
async def test_a_crash_in_the_middle_of_speech_loses_a_second_at_most(name: str, folder: Path) -> None:
    async with ears(name, folder) as tested:
        recognizer = await tested.stt.open("en")
        reader = Reader(recognizer)
        first, second = map(tested.say, ("what is the capital of france", "and what is the population of japan"))
        recognizer.push(np.concatenate([first, second]))
        recognizer.flush()
        whole = (await reader.settled()).text
        recognizer.commit()
        await push_live(recognizer, first)
        tested.break_down(recognizer)
        await push_live(recognizer, second)
        recognizer.flush()
        await reader.settled(2)
        updates = [update for update in reader.updates if update.utterance == 1]
        understood = understood_in(updates)
        faults = [update.fault for update in updates if update.fault is not None]
    assert len(faults) == (0 if name == "openai" else 1), "an outage that ends soon is not worth a word"
    assert all(fault.retryable for fault in faults)
    lost_s = (
        word_errors(whole, understood) * (first.size + second.size) / recognizer.sample_rate_hz / len(whole.split())
    )
    assert lost_s <= LONGEST_LOSS_S, understood
    if name != "kyutai":  # it hears everything once only; the others' sound is kept and read again
        assert understood == whole


def understood_in(updates: list[RecognizerUpdate]) -> str:
    """What a conversation makes of an utterance's readings: what a fault without text says is gone was told before."""
    before = text = ""
    for update in updates:
        if update.fault is not None and not update.text:
            before = text
        text = f"{before} {update.text}".strip()
    return text


async def test_processes_end_with_their_recognisers_and_spares_with_the_engine() -> None:
    before = {child.pid for child in living_children()}
    stt = PocketsphinxSpeechToText(spares=1)
    recognizers = [await stt.open("en") for _ in range(2)]
    for recognizer in recognizers:
        await recognizer.aclose()
    await stt.aclose()
    assert {child.pid for child in living_children()} <= before
    with pytest.raises(SpeechToTextError):
        await stt.open("en")


async def test_other_languages_are_refused_with_advice() -> None:
    async with ears("pocketsphinx", Path()) as tested:
        with pytest.raises(SpeechToTextError) as refused:
            await tested.stt.open("de-DE")
        assert refused.value.code == "unsupported_language"
        assert "Whisper" in refused.value.user_message
