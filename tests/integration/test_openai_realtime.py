"""The realtime transcription API's troubles, against a real WebSocket server whose reader understands tones."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from itertools import pairwise

import numpy as np
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples, silence
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import SpeechToTextError, UnavailableError
from kame_core.speech_api import SpeechApi
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.openai_realtime import OpenAIRealtimeSpeechToText
from kame_core.stt.realtime_recognizer import RealtimeRecognizer
from tests.support.tone_words import WORD_SAMPLES, ToneLanguage
from tests.support.transcription_server import Fault, TranscriptionServer, transcription_server

pytestmark = pytest.mark.skipif(importlib.util.find_spec("websockets") is None, reason="websockets is not installed")

LANGUAGE = ToneLanguage("what is the capital of france and spain two plus three tell me more please now zebra")
QUESTION = "what is the capital of france"
_PIECE_SAMPLES = SAMPLE_RATE_HZ * 96 // 1000


@pytest.fixture
async def server() -> AsyncIterator[TranscriptionServer]:
    async with transcription_server(TranscriptionServer(LANGUAGE)) as running:
        yield running


class Ear:
    """A recogniser and all it told."""

    def __init__(self, recognizer: RealtimeRecognizer) -> None:
        self.recognizer = recognizer
        self.updates: list[RecognizerUpdate] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for update in self.recognizer.updates():
            self.updates.append(update)
            self._news.set()

    async def hear(self, sound: Samples, pace: float = 10.0) -> None:
        """Push sound at a multiple of its own pace."""
        for begin in range(0, sound.size, _PIECE_SAMPLES):
            self.recognizer.push(sound[begin : begin + _PIECE_SAMPLES])
            await asyncio.sleep(_PIECE_SAMPLES / SAMPLE_RATE_HZ / pace)

    async def settled(self, count: int = 1, deadline_s: float = 15.0) -> RecognizerUpdate:
        """The n-th settled update."""
        async with asyncio.timeout(deadline_s):
            while len(found := [update for update in self.updates if update.settled]) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    async def told(self, code: str, deadline_s: float = 15.0) -> SpeechToTextError:
        """A fault of this code."""
        async with asyncio.timeout(deadline_s):
            while True:
                for update in self.updates:
                    if isinstance(update.fault, SpeechToTextError) and update.fault.code == code:
                        return update.fault
                self._news.clear()
                await self._news.wait()

    @property
    def faults(self) -> list[str]:
        return [update.fault.code for update in self.updates if update.fault is not None]

    async def aclose(self) -> None:
        """End both."""
        await self.recognizer.aclose()
        async with asyncio.timeout(2):
            await self._task


@pytest.fixture
async def stt(server: TranscriptionServer) -> AsyncIterator[OpenAIRealtimeSpeechToText]:
    engine = OpenAIRealtimeSpeechToText(server.api, connect_deadline_s=1.0, answer_deadline_s=0.6, give_up_s=3.0)
    yield engine
    await engine.aclose()
    assert server.open_sockets == 0 or server.fault is Fault.HANG


@pytest.fixture
async def ear(stt: OpenAIRealtimeSpeechToText) -> AsyncIterator[Ear]:
    made = Ear(await stt.open("en-GB"))
    yield made
    await made.aclose()


async def test_it_opens_a_transcription_session_without_the_services_turn_detection(
    server: TranscriptionServer, ear: Ear
) -> None:
    assert server.authorizations == ["Bearer secret-key"]
    (session,) = server.sessions
    assert session["type"] == "transcription"
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session["audio"]["input"]["transcription"] == {"model": "gpt-live-transcribe", "language": "en"}


async def test_where_two_languages_are_spoken_the_service_is_told_none(server: TranscriptionServer, ear: Ear) -> None:
    """The connection is renewed for it as soon as nobody speaks, and no word is lost."""
    await ear.hear(LANGUAGE.say(QUESTION))
    ear.recognizer.expect(("en", "de"))
    ear.recognizer.flush()
    assert (await ear.settled()).text == QUESTION
    ear.recognizer.commit()
    async with asyncio.timeout(5):
        while len(server.sessions) < 2:
            await asyncio.sleep(0.02)
    await ear.hear(LANGUAGE.say(QUESTION))
    ear.recognizer.flush()
    assert (await ear.settled(2)).text == QUESTION
    told = [session["audio"]["input"]["transcription"] for session in server.sessions]
    assert [one.get("language") for one in told] == ["en", None]


async def test_partials_grow_word_by_word_while_one_speaks(ear: Ear) -> None:
    await ear.hear(LANGUAGE.say(QUESTION))
    ear.recognizer.flush()
    assert (await ear.settled()).text == QUESTION
    partials = [update.text for update in ear.updates if not update.settled]
    assert len(partials) >= 5
    assert all(after.startswith(before) for before, after in pairwise(partials))


async def test_a_model_that_does_not_stream_reads_at_pauses(server: TranscriptionServer, ear: Ear) -> None:
    server.streams = False
    await ear.hear(LANGUAGE.say(QUESTION))
    assert ear.updates == []
    ear.recognizer.flush()
    await ear.settled()
    await ear.hear(LANGUAGE.say("and spain"))
    ear.recognizer.flush()
    assert (await ear.settled(2)).text == f"{QUESTION} and spain"


@pytest.mark.parametrize("fault", [Fault.DROP_ON_APPEND, Fault.DROP_ON_COMMIT, Fault.EXPIRED, Fault.FAILED])
async def test_no_word_is_lost_when_a_session_ends_in_the_middle(
    server: TranscriptionServer, ear: Ear, fault: Fault
) -> None:
    await ear.hear(LANGUAGE.say("what is the"))
    ear.recognizer.flush()
    await ear.settled()
    server.fault, server.fault_count = fault, 1
    await ear.hear(LANGUAGE.say("capital of france"))
    ear.recognizer.flush()
    assert (await ear.settled(2)).text == QUESTION
    assert len(server.sessions) == 2
    assert server.most_sockets == 1
    assert ear.faults == []  # nothing was lost, so nothing is told
    texts = [update.text for update in ear.updates]
    assert all(len(after) >= len(before) for before, after in pairwise(texts))


async def test_a_reading_that_never_comes_is_asked_for_again(server: TranscriptionServer, ear: Ear) -> None:
    server.fault, server.fault_count = Fault.MUTE_ON_COMMIT, 1
    await ear.hear(LANGUAGE.say(QUESTION))
    ear.recognizer.flush()
    assert (await ear.settled()).text == QUESTION
    assert len(server.sessions) == 2


async def test_what_cannot_be_read_at_all_is_given_up_and_told(server: TranscriptionServer, ear: Ear) -> None:
    server.fault = Fault.FAILED
    await ear.hear(LANGUAGE.say(QUESTION))
    ear.recognizer.flush()
    settled = await ear.settled()
    assert settled.text == QUESTION  # read while it was spoken, if not to the end
    assert "stt_failed" in ear.faults
    server.fault = Fault.NONE
    ear.recognizer.commit()
    await ear.hear(LANGUAGE.say("two plus three"))
    ear.recognizer.flush()
    assert (await ear.settled(2)).text == "two plus three"


async def test_speech_during_a_short_outage_is_read_after_it(server: TranscriptionServer, ear: Ear) -> None:
    await ear.hear(LANGUAGE.say("what is the"))
    server.fault = Fault.SERVER_ERROR
    for socket in list(server.sockets):
        await socket.close(code=1012)
    await ear.hear(LANGUAGE.say("capital of france"))
    ear.recognizer.flush()
    await asyncio.sleep(0.3)
    assert not any(update.settled for update in ear.updates)
    server.fault = Fault.NONE
    assert (await ear.settled()).text == QUESTION
    assert ear.recognizer.lost_samples == 0


async def test_an_outage_that_lasts_is_told_and_the_turn_ends_with_what_is_known(
    server: TranscriptionServer, ear: Ear
) -> None:
    await ear.hear(LANGUAGE.say("what is"))
    ear.recognizer.flush()
    await ear.settled()
    server.fault = Fault.SERVER_ERROR
    for socket in list(server.sockets):
        await socket.close()
    await ear.hear(LANGUAGE.say("the capital"))
    ear.recognizer.flush()
    assert (await ear.settled(2)).text == "what is"
    assert {"speech_api_failed", "stt_failed"} <= set(ear.faults)
    assert ear.recognizer.lost_samples > 0
    server.fault = Fault.NONE
    ear.recognizer.commit()
    await ear.hear(LANGUAGE.say("two plus three"))
    ear.recognizer.flush()
    assert (await ear.settled(3)).text == "two plus three"


async def test_half_an_utterance_that_is_dropped_stays_out_of_the_next(server: TranscriptionServer, ear: Ear) -> None:
    for _ in range(5):
        await ear.hear(LANGUAGE.say("tell me more"))
        ear.recognizer.commit()
    await ear.hear(LANGUAGE.say("two plus three"))
    ear.recognizer.flush()
    settled = await ear.settled()
    assert (settled.utterance, settled.text) == (5, "two plus three")
    assert all(update.text in "tell me more" for update in ear.updates if update.utterance < 5)


async def test_a_flush_and_the_next_utterance_at_once_do_not_mix(ear: Ear) -> None:
    ear.recognizer.push(LANGUAGE.say("tell me more"))
    ear.recognizer.flush()
    ear.recognizer.commit()
    ear.recognizer.push(LANGUAGE.say("two plus three"))
    ear.recognizer.flush()
    settled = await ear.settled()
    assert (settled.utterance, settled.text) == (1, "two plus three")


async def test_a_scrap_of_sound_is_filled_up_to_what_the_service_takes(server: TranscriptionServer, ear: Ear) -> None:
    ear.recognizer.push(silence(240))
    ear.recognizer.flush()
    assert (await ear.settled()).text == ""
    assert server.errors == []


async def test_speech_without_a_pause_is_read_in_parts(ear: Ear) -> None:
    text = " ".join(["what is the capital of france and spain"] * 12)
    sound = LANGUAGE.say(text)
    assert sound.size > 20 * SAMPLE_RATE_HZ
    await ear.hear(sound, pace=200)
    ear.recognizer.flush()
    heard = (await ear.settled()).text.split()
    assert abs(len(heard) - len(text.split())) <= 1  # the word at the seam


async def test_beyond_half_a_minute_unread_the_oldest_gives_way(server: TranscriptionServer, ear: Ear) -> None:
    server.fault = Fault.SERVER_ERROR
    for socket in list(server.sockets):
        await socket.close()
    text = " ".join(["please"] * (50 * SAMPLE_RATE_HZ // WORD_SAMPLES))
    sound = LANGUAGE.say(text)
    for begin in range(0, sound.size, _PIECE_SAMPLES):
        ear.recognizer.push(sound[begin : begin + _PIECE_SAMPLES])
    assert 20 * SAMPLE_RATE_HZ <= ear.recognizer.lost_samples <= 40 * SAMPLE_RATE_HZ
    server.fault = Fault.NONE
    ear.recognizer.flush()
    heard = (await ear.settled()).text.split()
    assert 10 / 0.24 - 2 < len(heard) <= 30 / 0.24 + 2


@pytest.mark.parametrize(
    ("fault", "code", "retryable"),
    [
        (Fault.UNAUTHORIZED, "speech_api_auth", False),
        (Fault.BUSY, "speech_api_busy", True),
        (Fault.SERVER_ERROR, "speech_api_failed", True),
        (Fault.REFUSED_SESSION, "speech_api_refused", False),
        (Fault.HANG, "speech_api_timeout", True),
    ],
)
async def test_why_it_cannot_open_is_said(
    server: TranscriptionServer, stt: OpenAIRealtimeSpeechToText, fault: Fault, code: str, retryable: bool
) -> None:
    server.fault = fault
    with pytest.raises(SpeechToTextError) as caught:
        await stt.open("en")
    assert (caught.value.code, caught.value.retryable) == (code, retryable)


async def test_nobody_there_is_an_error_of_its_own() -> None:
    stt = OpenAIRealtimeSpeechToText(SpeechApi("http://127.0.0.1:9/v1"))
    with pytest.raises(SpeechToTextError) as caught:
        await stt.open("en")
    assert caught.value.code == "speech_api_unreachable"
    await stt.aclose()


async def test_closing_the_engine_closes_every_connection(server: TranscriptionServer) -> None:
    stt = OpenAIRealtimeSpeechToText(server.api)
    ears = [Ear(await stt.open("en")) for _ in range(3)]
    assert server.open_sockets == 3
    await stt.aclose()
    await stt.aclose()
    async with asyncio.timeout(2):
        while server.open_sockets:
            await asyncio.sleep(0.01)
    for ear in ears:
        await ear.aclose()
    with pytest.raises(SpeechToTextError):
        await stt.open("en")


def test_without_websockets_the_advice_is_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="websockets"):
        OpenAIRealtimeSpeechToText(SpeechApi())


def test_half_an_hour_with_broken_and_renewed_sessions_loses_no_word_and_does_not_grow() -> None:
    turns, broken_every = 180, 45

    async def talk(clock: VirtualClock) -> None:
        begin_s = clock.now()
        async with transcription_server(TranscriptionServer(LANGUAGE, settle_s=0.3)) as server:
            stt = OpenAIRealtimeSpeechToText(server.api, session_s=240.0)
            ear = Ear(await stt.open("en"))
            await asyncio.sleep(1)
            tasks = len(asyncio.all_tasks())
            sounds = {text: LANGUAGE.say(text) for text in (QUESTION, "two plus three", "tell me more please now")}
            texts = list(sounds)
            for turn in range(turns):
                text = texts[turn % 3]
                if turn % broken_every == broken_every - 1:
                    server.fault, server.fault_count = (
                        (Fault.DROP_ON_APPEND, Fault.EXPIRED)[turn // broken_every % 2],
                        1,
                    )
                await ear.hear(sounds[text], pace=1.0)
                ear.recognizer.flush()
                settled = await ear.settled()
                assert (settled.utterance, settled.text) == (turn, text)
                ear.updates.clear()
                ear.recognizer.commit()
                await asyncio.sleep(begin_s + 10.0 * (turn + 1) - clock.now())
            assert clock.now() - begin_s >= 1800
            assert ear.recognizer.lost_samples == 0
            assert (
                turns // broken_every + 4 <= len(server.sessions) <= turns // broken_every + 6
            )  # the others: renewals
            assert server.most_sockets == 1
            assert len(asyncio.all_tasks()) <= tasks
            await ear.aclose()
            await stt.aclose()

    run_virtual(talk)


def test_the_service_is_not_asked_for_silence() -> None:
    """Only pauses and speech are sent: minutes of quiet cost nothing."""

    async def listen(clock: VirtualClock) -> None:
        async with transcription_server(TranscriptionServer(LANGUAGE)) as server:
            stt = OpenAIRealtimeSpeechToText(server.api)
            ear = Ear(await stt.open("en"))
            await asyncio.sleep(600)
            assert server.samples == 0
            assert len(server.sessions) == 1
            ear.recognizer.push(np.tile(LANGUAGE.say("zebra"), 2))
            ear.recognizer.flush()
            assert (await ear.settled()).text == "zebra zebra"
            await ear.aclose()
            await stt.aclose()

    run_virtual(listen)
