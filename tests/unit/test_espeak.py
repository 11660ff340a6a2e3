import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kame_core.audio import SAMPLE_RATE_HZ, Samples, level_dbfs
from kame_core.errors import TextToSpeechError, UnavailableError
from kame_core.tts.base import SpeechChunk, WordMark
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.tts.espeak_library import EspeakLibrary, find_library
from kame_core.tts.text import pause_samples, speakable, split_pieces
from kame_core.workers import InlineWorkers


@pytest.fixture
async def tts() -> AsyncIterator[EspeakTextToSpeech]:
    voice = EspeakTextToSpeech(workers=InlineWorkers())
    yield voice
    await voice.aclose()


async def spoken(tts: EspeakTextToSpeech, text: str, voice: str = "") -> tuple[Samples, list[WordMark]]:
    chunks = [chunk async for chunk in tts.speak(text, voice)]
    if not chunks:
        return np.zeros(0, np.float32), []
    return np.concatenate([chunk.pcm for chunk in chunks]), [mark for chunk in chunks for mark in chunk.marks]


def words(text: str, marks: list[WordMark]) -> list[str]:
    return [text[mark.start_char : mark.end_char] for mark in marks]


async def test_speaks_24_khz_float_at_a_fitting_length_and_level(tts: EspeakTextToSpeech) -> None:
    pcm, _ = await spoken(tts, "The capital of France is Paris, and forty two dollars is enough for today.")
    assert pcm.dtype == np.float32
    assert 3.0 < pcm.size / SAMPLE_RATE_HZ < 7.0
    assert np.abs(pcm).max() < 0.891  # -1 dBFS
    assert level_dbfs(pcm) > -25


async def test_every_word_has_one_mark_with_its_punctuation(tts: EspeakTextToSpeech) -> None:
    text = "It costs $1,234.50 today; “don’t” wait – ok?"
    pcm, marks = await spoken(tts, text)
    assert words(text, marks) == ["It", "costs", "$1,234.50", "today;", "“don’t”", "wait –", "ok?"]
    starts = [mark.start_samples for mark in marks]
    assert starts == sorted(starts)
    assert starts[0] < SAMPLE_RATE_HZ * 0.03
    assert starts[-1] < pcm.size
    dollars, today = starts[2], starts[3]
    assert today - dollars > 2.5 * SAMPLE_RATE_HZ  # a number is several spoken words, but one of the text


async def test_marks_lie_where_the_sound_of_the_word_begins(tts: EspeakTextToSpeech) -> None:
    text = "Stop! Stop!"
    pcm, marks = await spoken(tts, text)
    second = marks[1].start_samples
    before = pcm[second - SAMPLE_RATE_HZ // 20 : second]
    after = pcm[second : second + SAMPLE_RATE_HZ // 5]
    assert level_dbfs(before) < -50
    assert level_dbfs(after) > -30


async def test_words_espeak_merges_still_get_their_own_time(tts: EspeakTextToSpeech) -> None:
    text = "One of the boxes is empty"
    _, marks = await spoken(tts, text)
    assert words(text, marks) == text.split()
    assert marks[1].start_samples < marks[2].start_samples < marks[3].start_samples


async def test_sound_starts_at_once_and_pauses_follow_punctuation(tts: EspeakTextToSpeech) -> None:
    def quiet_tail_ms(pcm: Samples) -> float:
        return float(pcm.size - 1 - np.flatnonzero(np.abs(pcm) > 0.003)[-1]) / 24

    plain, _ = await spoken(tts, "hello there")
    assert np.flatnonzero(np.abs(plain) > 0.003)[0] <= 480
    assert quiet_tail_ms(plain) <= 21
    assert 119 <= quiet_tail_ms((await spoken(tts, "hello there,"))[0]) <= 141
    assert 249 <= quiet_tail_ms((await spoken(tts, "“Hello there.” "))[0]) <= 271


@pytest.mark.parametrize("text", ["", "   ", "...", "—", "😀", "**", "\0"])
async def test_nothing_to_say_is_silence_not_an_error(tts: EspeakTextToSpeech, text: str) -> None:
    pcm, _ = await spoken(tts, text)
    assert pcm.size == 0 or level_dbfs(pcm) > -60


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.sampled_from("aé B.,!?'’“-–$5%&*#😀日\n\t x9"), max_size=60))
def test_marks_are_well_formed_for_any_text(text: str) -> None:
    async def check() -> None:
        tts = EspeakTextToSpeech(workers=InlineWorkers())
        try:
            pcm, marks = await spoken(tts, text)
            assert len(speakable(text)) == len(text)
            assert np.isfinite(pcm).all()
            if pcm.size:
                assert np.abs(pcm).max() < 0.891
            end_char, start_samples = 0, 0
            for mark in marks:
                assert end_char <= mark.start_char < mark.end_char <= len(text)
                assert start_samples <= mark.start_samples < pcm.size
                end_char, start_samples = mark.end_char, mark.start_samples
        finally:
            await tts.aclose()

    asyncio.run(check())


@given(st.lists(st.sampled_from(["word", "a", "Dr.", "end.", "Why?", "x" * 90, "\n", "long" * 150]), max_size=120))
def test_pieces_are_the_whole_text_in_order_and_bounded(parts: list[str]) -> None:
    text = " ".join(parts)
    spans = split_pieces(text)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(end - start <= 401 for start, end in spans)


@pytest.mark.parametrize(
    ("text", "pause_s"),
    [("Yes", 0), ("Yes,", 0.12), ('"Yes."', 0.25), ("है।", 0.25), ("حالك؟", 0.25), ("ہے۔", 0.25), ("فرنسا،", 0.12)],
)
def test_the_pause_after_a_text_is_that_of_its_mark_in_all_scripts(text: str, pause_s: float) -> None:
    assert pause_samples(text) == pause_s * SAMPLE_RATE_HZ


async def test_long_text_comes_in_pieces_with_marks_on_one_time_line(tts: EspeakTextToSpeech) -> None:
    text = "This sentence is here to be quite long, so that it counts. " * 8
    chunks = [chunk async for chunk in tts.speak(text)]
    assert len(chunks) > 1
    offset = 0
    for chunk in chunks:
        assert all(offset <= mark.start_samples < offset + chunk.pcm.size for mark in chunk.marks)
        offset += chunk.pcm.size
    assert [text[m.start_char : m.end_char] for chunk in chunks for m in chunk.marks] == text.split()


async def test_closing_the_generator_cancels_what_runs_on_the_thread() -> None:
    tts = EspeakTextToSpeech()
    text = "one two three four five six seven eight nine ten. " * 300
    stream = tts.speak(text)
    first = await anext(stream)
    assert isinstance(first, SpeechChunk)
    await stream.aclose()
    again, _ = await spoken(tts, "Still here.")
    assert again.size > SAMPLE_RATE_HZ // 4
    await tts.aclose()


async def test_cancelled_task_leaves_a_clean_voice() -> None:
    tts = EspeakTextToSpeech()
    task = asyncio.create_task(spoken(tts, "this is said by nobody " * 60))
    await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pcm, marks = await spoken(tts, "Clean again.")
    assert len(marks) == 2
    assert 0.4 < pcm.size / SAMPLE_RATE_HZ < 2.0
    await tts.aclose()


@pytest.mark.parametrize(
    ("voice", "hint"),
    [("en-uss", "en-us"), ("q9q9q9", "en-us"), ("en-us+klat4", "klatt4"), ("en-us+zzz", "klatt4")],
)
async def test_unknown_voice_says_what_would_be_right(tts: EspeakTextToSpeech, voice: str, hint: str) -> None:
    with pytest.raises(TextToSpeechError) as caught:
        await spoken(tts, "Hello.", voice)
    assert caught.value.code == "unknown_voice"
    assert hint in caught.value.user_message
    assert (await spoken(tts, "Hello."))[0].size  # the default goes on


@pytest.mark.parametrize("voice", ["en-gb", "en_US", "de", "de-AT", "fr+caleb", "English (Scotland)", "gmw/en-US"])
async def test_voices_go_by_code_name_and_identifier(tts: EspeakTextToSpeech, voice: str) -> None:
    assert (await spoken(tts, "Hello there.", voice))[0].size > SAMPLE_RATE_HZ // 4


async def test_voice_of_one_call_does_not_leak_into_the_next(tts: EspeakTextToSpeech) -> None:
    before, _ = await spoken(tts, "Good morning to you.")
    german, _ = await spoken(tts, "Good morning to you.", "de")
    after, _ = await spoken(tts, "Good morning to you.")
    assert after.size == before.size != german.size


async def test_voices_are_listed(tts: EspeakTextToSpeech) -> None:
    listed = await tts.voices()
    assert {"en-us", "en-gb", "de"} <= set(listed)
    assert listed == sorted(listed)


async def test_many_callers_on_many_threads_share_one_library_safely() -> None:
    voices = [EspeakTextToSpeech() for _ in range(4)]
    texts = [f"Number {index} says hello there." for index in range(12)]
    results = await asyncio.gather(*(spoken(voices[i % 4], text) for i, text in enumerate(texts)))
    for text, (pcm, marks) in zip(texts, results, strict=True):
        assert words(text, marks) == text.split()
        assert pcm.size > SAMPLE_RATE_HZ
    await voices[0].aclose()
    assert (await spoken(voices[1], "Still here."))[0].size  # one user leaving does not end it for the others
    for voice in voices:
        await voice.aclose()
    assert EspeakLibrary._shared is None


async def test_closing_ends_the_thread_and_is_idempotent() -> None:
    before = threading.active_count()
    tts = EspeakTextToSpeech()
    await spoken(tts, "Hi.")
    await tts.aclose()
    await tts.aclose()
    with pytest.raises(TextToSpeechError):
        await spoken(tts, "Hi.")
    for thread in threading.enumerate():
        if thread.name.startswith("espeak"):
            thread.join(2)
    assert threading.active_count() <= before


async def test_data_path_longer_than_the_library_can_take(tmp_path: Path) -> None:
    library, data = find_library()
    if data is None:
        pytest.skip("system library with compiled-in data")
    deep = tmp_path / ("d" * 120) / ("e" * 60)
    deep.mkdir(parents=True)
    os.symlink(data, deep / "espeak-ng-data")
    tts = EspeakTextToSpeech(workers=InlineWorkers(), library=library, data=str(deep / "espeak-ng-data"))
    assert (await spoken(tts, "Deep down."))[0].size
    link = EspeakLibrary._shared._link_dir if EspeakLibrary._shared else None
    assert link is not None
    assert os.path.exists(link.name)  # noqa: ASYNC240
    await tts.aclose()
    assert not os.path.exists(link.name)  # noqa: ASYNC240


@pytest.mark.parametrize("what", ["library", "data"])
async def test_missing_library_and_data_are_plain_errors(tmp_path: Path, what: str) -> None:
    library = find_library()[0] if what == "data" else str(tmp_path / "no.so")
    tts = EspeakTextToSpeech(workers=InlineWorkers(), library=library, data=str(tmp_path / "nothing"))
    with pytest.raises(UnavailableError, match="espeakng-loader"):
        await spoken(tts, "Hello.")
    await tts.aclose()
