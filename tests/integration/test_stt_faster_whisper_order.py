"""In which order Whisper speech-to-text reads, with readings held back."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kame_core.audio import Samples
from kame_core.errors import SpeechToTextError
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.faster_whisper import FasterWhisperSpeechToText
from kame_core.stt.whisper_reader import Reading, WhisperReader
from tests.support.tiny_whisper import build_whisper
from tests.support.whisper_talk import RATE_HZ, Reader, engine, push, speech


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_whisper(tmp_path_factory.mktemp("whisper"))


class Gate:
    """Stands in for the model's reading: each call waits until it is let through, and is written down."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []
        self.begun = threading.Semaphore(0)
        self._through = threading.Semaphore(0)

    def read(
        self, _: WhisperReader, pieces: tuple[Samples, ...], languages: tuple[str, ...], *, settled: bool
    ) -> Reading:
        self.calls.append((sum(piece.size for piece in pieces), settled))
        self.begun.release()
        assert self._through.acquire(timeout=20)
        return Reading(f"reading {len(self.calls)}", languages[0])

    def open(self, times: int = 1) -> None:
        self._through.release(times)

    async def busy(self) -> None:
        async with asyncio.timeout(20):
            while not self.begun.acquire(blocking=False):
                await asyncio.sleep(0.005)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(WhisperReader, "read", lambda *args, **kwargs: gate.read(*args, **kwargs))
    yield gate
    gate.open(100)


async def test_a_commit_takes_back_what_was_asked(model: Path, gate: Gate) -> None:
    async with engine(model) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        push(recognizer, speech(1.0))
        await gate.busy()
        recognizer.flush()
        recognizer.commit()
        gate.open()
        assert await reader.within(0.2) == []
        recognizer.push(speech(0.2))
        recognizer.flush()
        gate.open()
        assert await reader.next() == RecognizerUpdate(1, "reading 2", settled=True)
    assert gate.calls[1] == (round(0.2 * RATE_HZ), True)


async def test_unread_settled_readings_go_with_their_utterance(model: Path, gate: Gate) -> None:
    gate.open(3)
    async with engine(model) as stt:
        recognizer = await stt.open("en")
        recognizer.push(speech(0.2))
        recognizer.flush()
        await gate.busy()
        await asyncio.sleep(0.1)
        recognizer.commit()
        recognizer.flush()
        assert await Reader(recognizer).next() == RecognizerUpdate(1, "", settled=True)


async def test_new_sound_waits_as_one_wish_and_a_flush_takes_its_place(model: Path, gate: Gate) -> None:
    async with engine(model) as stt:
        recognizer = await stt.open("en")
        reader = Reader(recognizer)
        push(recognizer, speech(1.0))
        await gate.busy()
        push(recognizer, speech(3.0))
        recognizer.flush()
        push(recognizer, speech(1.0))
        recognizer.flush()
        gate.open(2)
        assert [(await reader.next()).settled for _ in range(3)] == [False, True, True]
        assert await reader.within(0.1) == []
    assert [settled for _, settled in gate.calls] == [False, True]
    assert gate.calls[1][0] == 5 * RATE_HZ


async def test_pauses_go_first_and_recognisers_take_turns(model: Path, gate: Gate) -> None:
    async with engine(model) as stt:
        first, second, third, fourth = [await stt.open("en") for _ in range(4)]
        first.push(speech(0.6))
        await gate.busy()
        second.push(speech(0.7))
        first.push(speech(10.0))
        third.push(speech(0.8))
        fourth.push(speech(0.3))
        fourth.flush()
        for _ in range(4):
            gate.open()
            await gate.busy()
        gate.open()
    samples = [count for count, _ in gate.calls]
    assert samples == [round(seconds * RATE_HZ) for seconds in (0.6, 0.3, 0.7, 0.8, 10.6)]


async def test_partials_pause_in_proportion_to_what_they_cost(model: Path, gate: Gate) -> None:
    async with engine(model) as stt:
        recognizer = await stt.open("en")
        push(recognizer, speech(0.6))
        await gate.busy()
        await asyncio.sleep(0.8)  # a reading of 0.8 s: the next is due after 1.2 s of sound
        gate.open()
        await Reader(recognizer).next()
        push(recognizer, speech(1.0))
        await asyncio.sleep(0.05)
        assert len(gate.calls) == 1
        push(recognizer, speech(2.0))
        await gate.busy()


async def test_sound_is_bounded_at_30_s(model: Path, gate: Gate) -> None:
    async with engine(model) as stt:
        recognizer = await stt.open("en")
        push(recognizer, speech(40.0))
        recognizer.push(speech(1.001))
        recognizer.flush()
        gate.open()
        await Reader(recognizer).settled()
    assert gate.calls == [(30 * RATE_HZ, True)]


async def test_a_newer_reading_replaces_an_unread_one(model: Path, gate: Gate) -> None:
    async with engine(model) as stt:
        recognizer = await stt.open("en")
        for _ in range(3):
            push(recognizer, speech(5.0))
            await gate.busy()
            gate.open()
            async with asyncio.timeout(20):
                while recognizer._reading:
                    await asyncio.sleep(0.005)
        reader = Reader(recognizer)
        assert (await reader.next()).text == "reading 3"
        assert await reader.within(0.1) == []


async def test_closing_does_not_wait_for_the_model(model: Path, gate: Gate) -> None:
    async with engine(model) as stt:
        closed, open_still = await stt.open("en"), await stt.open("en")
        reader = Reader(closed)
        push(closed, speech(1.0))
        await gate.busy()
        async with asyncio.timeout(2):
            waiting = asyncio.create_task(reader.next())
            await asyncio.sleep(0)
            await closed.aclose()
            await closed.aclose()
            with pytest.raises(StopAsyncIteration):
                await waiting
        closed.push(speech(1.0))
        closed.flush()
        open_still.push(speech(0.2))
        open_still.flush()
        gate.open(2)
        assert (await Reader(open_still).next()).settled
    assert len(gate.calls) == 2


async def test_closing_the_engine_during_a_reading(model: Path, gate: Gate) -> None:
    stt = FasterWhisperSpeechToText(model, device="cpu")
    recognizer = await stt.open("en")
    push(recognizer, speech(1.0))
    await gate.busy()
    async with asyncio.timeout(2):
        await stt.aclose()
        await stt.aclose()
    assert [update async for update in recognizer.updates()] == []
    with pytest.raises(SpeechToTextError, match="closed"):
        await stt.open("en")
    gate.open()
