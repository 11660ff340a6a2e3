"""Words timed by estimate, held against the times espeak-ng gives for the same sound."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kame_core.audio import SAMPLE_RATE_HZ, Samples, silence
from kame_core.errors import TextToSpeechError
from kame_core.tts.base import SpeechChunk, WordMark
from kame_core.tts.espeak import EspeakTextToSpeech
from kame_core.tts.streaming import speech_chunks
from kame_core.tts.word_timing import SpeakingRates, WordTimer, word_letters
from kame_core.workers import InlineWorkers

SENTENCES = (
    "The capital of France is Paris, and forty two dollars is enough for today.",
    "I think that would be a wonderful idea because the weather tomorrow should be considerably better.",
    "Photosynthesis is the process by which green plants convert sunlight into chemical energy.",
    "She said that no one had ever told him about it, which is strange.",
    "Nevertheless, several international organisations recommended immediate investigation.",
    "It is a small town with an old church, a school and two shops.",
    "Of course! What would you like to know about it?",
    "A square has four equal sides and four right angles, so its area is the side times itself.",
)


def tone(samples: int) -> Samples:
    return (0.3 * np.sin(np.arange(samples) / 10)).astype(np.float32)


async def sliced(pcm: Samples, samples: int) -> AsyncIterator[Samples]:
    for begin in range(0, pcm.size, samples):
        yield pcm[begin : begin + samples]


async def timed(text: str, pcm: Samples, rates: SpeakingRates, voice: str, samples: int = 1920) -> list[WordMark]:
    chunks = [chunk async for chunk in speech_chunks(text, sliced(pcm, samples), rates, voice)]
    return [mark for chunk in chunks for mark in chunk.marks]


@pytest.mark.parametrize(("voice", "rate_wpm"), [("en-us+klatt4", 150), ("en-gb", 190), ("en-us", 120)])
async def test_the_estimate_is_near_the_truth_for_slow_and_quick_voices(voice: str, rate_wpm: int) -> None:
    tts = EspeakTextToSpeech(voice, rate_wpm=rate_wpm, workers=InlineWorkers())
    rates = SpeakingRates()
    errors_ms: list[float] = []
    for text in SENTENCES:
        spoken = [chunk async for chunk in tts.speak(text)]
        true = [mark for chunk in spoken for mark in chunk.marks]
        estimated = await timed(text, np.concatenate([chunk.pcm for chunk in spoken]), rates, voice)
        assert [(m.start_char, m.end_char) for m in estimated] == [(m.start_char, m.end_char) for m in true]
        if text is not SENTENCES[0]:  # the first teaches how fast the voice is
            errors_ms += [abs(a.start_samples - b.start_samples) / 24 for a, b in zip(estimated, true, strict=True)]
    await tts.aclose()
    assert np.median(errors_ms) < 130
    assert np.percentile(errors_ms, 90) < 950


async def test_a_pause_is_taken_for_the_punctuation() -> None:
    spoken = tone(SAMPLE_RATE_HZ * 12 // 10)
    pcm = np.concatenate([spoken, silence(SAMPLE_RATE_HZ), spoken])
    marks = await timed("First of all things, then another thing.", pcm, SpeakingRates(), "")
    assert marks[4].start_char == 21
    assert abs(marks[4].start_samples - spoken.size - SAMPLE_RATE_HZ) < SAMPLE_RATE_HZ // 20


async def test_how_the_sound_is_cut_into_pieces_makes_no_difference_beyond_a_piece() -> None:
    tts = EspeakTextToSpeech(workers=InlineWorkers())
    spoken = [chunk async for chunk in tts.speak(SENTENCES[0])]
    await tts.aclose()
    pcm = np.concatenate([chunk.pcm for chunk in spoken])
    fine = await timed(SENTENCES[0], pcm, SpeakingRates(), "", samples=7)
    coarse = await timed(SENTENCES[0], pcm, SpeakingRates(), "", samples=2400)
    assert max(abs(a.start_samples - b.start_samples) for a, b in zip(fine, coarse, strict=True)) <= 2400


@settings(max_examples=80)
@given(
    text=st.text(alphabet=st.sampled_from("abc ,.!5$日–"), max_size=50),
    pieces=st.lists(st.tuples(st.integers(0, 6000), st.floats(0, 0.5)), min_size=1, max_size=12),
)
@example(text="a 5 5", pieces=[(2400, 0.5)])
@example(text="– 5", pieces=[(1, 0.5), (2400, 0.0), (239, 0.5)])
def test_marks_are_well_formed_for_any_text_and_sound(text: str, pieces: list[tuple[int, float]]) -> None:
    timer = WordTimer(text)
    offset = begun = end_char = 0
    for number, (samples, level) in enumerate(pieces):
        pcm = np.full(samples, level, np.float32)
        for mark in timer.push(pcm, last=number == len(pieces) - 1):
            assert offset <= mark.start_samples < offset + samples
            assert begun <= mark.start_samples
            assert end_char <= mark.start_char < mark.end_char <= len(text)
            begun, end_char = mark.start_samples, mark.end_char
        offset += samples
    if pieces[-1][0]:
        assert end_char == len(text.rstrip())


def test_a_voices_pace_is_learned_and_voices_are_forgotten_in_turn() -> None:
    rates = SpeakingRates()
    first = rates.of("a")
    rates.learn("a", 5.0, 100_000)
    assert rates.of("a") == first  # too short to say anything
    rates.learn("a", 50.0, 50_000)
    assert rates.of("a") == 1000
    rates.learn("a", 50.0, 100_000)
    assert 1000 < rates.of("a") < 2000
    for number in range(64):
        rates.learn(f"voice {number}", 50.0, 50_000)
    assert rates.of("a") == first


def test_numbers_take_longer_than_they_look() -> None:
    assert word_letters("1,624") > 3 * word_letters("words")
    assert word_letters("日本") > word_letters("ab")


# --- the ends of the sound ---


async def test_silence_at_both_ends_becomes_the_pause_of_the_punctuation() -> None:
    pcm = np.concatenate([silence(30_000), tone(24_000), silence(50_000)])
    for text, pause_ms in (("Yes", 0), ("Yes,", 120), ("Yes.", 250)):
        chunks = [chunk async for chunk in speech_chunks(text, sliced(pcm, 999), SpeakingRates(), "")]
        whole = np.concatenate([chunk.pcm for chunk in chunks])
        assert abs(whole.size - 24_000 - 40 * 24 - pause_ms * 24) <= 48
        assert chunks[0].marks == (WordMark(0, len(text), 480),)


async def test_only_silence_is_nothing() -> None:
    assert [chunk async for chunk in speech_chunks("Yes.", sliced(silence(90_000), 999), SpeakingRates(), "")] == []


async def test_a_stream_that_breaks_is_faded_out_and_its_error_passed_on() -> None:
    async def breaking() -> AsyncIterator[Samples]:
        yield tone(24_000)
        raise TextToSpeechError("It broke.")

    chunks: list[SpeechChunk] = []

    async def listen() -> None:
        async for chunk in speech_chunks("One two three four five six.", breaking(), SpeakingRates(), ""):
            chunks.append(chunk)

    with pytest.raises(TextToSpeechError):
        await listen()
    whole = np.concatenate([chunk.pcm for chunk in chunks])
    assert whole.size == 24_000
    assert abs(whole[-1]) < 0.001
    assert len([mark for chunk in chunks for mark in chunk.marks]) < 6
