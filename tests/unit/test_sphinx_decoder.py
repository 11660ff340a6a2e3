from collections.abc import Iterator

import numpy as np
import pytest

from kame_core.audio import SAMPLE_RATE_HZ, Samples, from_int16, level_dbfs, resample, silence
from kame_core.stt.question_model import question_model
from kame_core.stt.sphinx_decoder import Reading, SphinxDecoder
from kame_core.stt.sphinx_stream import MAX_UTTERANCE_SAMPLES, Stream, Utterance
from tests.support.speech import say, spoken_part

RATE_HZ = 16_000
FRANCE = "what is the capital of france"
SUM = "what is two plus three"
OPEN = "i think the government should spend more on public transport"


def speech(text: str, voice: str = "en-us+klatt4") -> Samples:
    return spoken_part(resample(say(text, voice), SAMPLE_RATE_HZ, RATE_HZ))


def utterance(sound: Samples) -> Utterance:
    made = Utterance()
    for begin in range(0, sound.size, 320):
        made.append(sound[begin : begin + 320])
    return made


def given_out(made: Utterance) -> Samples:
    return from_int16(np.frombuffer(made.pcm(made.begin, made.end), "<i2"))


def noise(seconds: float, level_db: float) -> Samples:
    sound = np.random.default_rng(3).standard_normal(round(seconds * RATE_HZ)).astype(np.float32)
    return sound * np.float32(10 ** (level_db / 20))


def listen(decoder: SphinxDecoder, sound: Samples) -> list[str]:
    """Push at a microphone's pieces, reading in between; the partials as they changed."""
    partials: list[str] = []
    for begin in range(0, sound.size, 320):
        decoder.push(sound[begin : begin + 320])
        while decoder.work():
            pass
        if decoder.partial and (not partials or partials[-1] != decoder.partial):
            partials.append(decoder.partial)
    return partials


def settle(decoder: SphinxDecoder) -> Reading:
    return next(reading for reading in decoder.settle() if reading is not None)


@pytest.fixture(scope="module")
def loaded() -> SphinxDecoder:
    return SphinxDecoder(question_model())


@pytest.fixture
def decoder(loaded: SphinxDecoder) -> Iterator[SphinxDecoder]:
    loaded.commit()
    yield loaded
    loaded.commit()


# --- the sound ---


def test_digital_silence_around_speech_gets_the_floor_of_a_room() -> None:
    made = utterance(np.concatenate([silence(1600), speech(FRANCE), silence(1600)]))
    assert made.measure()
    sound = given_out(made)
    assert -30 < level_dbfs(sound[:1600]) - level_dbfs(sound) < -20


def test_sound_that_has_a_floor_is_left_as_it_is() -> None:
    clean = speech(FRANCE)
    noisy = clean + noise(clean.size / RATE_HZ, level_dbfs(clean) - 20)
    made = utterance(noisy)
    assert made.measure()
    assert np.abs(given_out(made) - noisy).max() < 1 / 16_000


def test_a_stretch_is_the_same_however_it_is_asked_for() -> None:
    made = utterance(speech(FRANCE))
    made.measure()
    parts = [made.pcm(begin, min(made.end, begin + 1234)) for begin in range(0, made.end, 1234)]
    assert b"".join(parts) == made.pcm(0, made.end)


@pytest.mark.parametrize("sound", [silence(0), silence(100), silence(RATE_HZ), noise(1.0, -75.0)])
def test_where_nobody_can_have_spoken_is_known(sound: Samples) -> None:
    made = Utterance()
    if sound.size:
        made.append(sound)
    assert not made.measure()


def test_an_utterance_keeps_its_last_thirty_seconds() -> None:
    ramp = np.arange(MAX_UTTERANCE_SAMPLES + 20 * 1600, dtype=np.float32) / np.float32(2 * MAX_UTTERANCE_SAMPLES)
    made = Utterance()
    for begin in range(0, ramp.size, 1600):
        made.append(ramp[begin : begin + 1600])
    assert made.end == ramp.size
    assert made.size == MAX_UTTERANCE_SAMPLES
    assert np.abs(given_out(made) - ramp[-MAX_UTTERANCE_SAMPLES:]).max() < 1e-4
    made.clear()
    assert (made.begin, made.end, made.size) == (0, 0, 0)


def test_a_whole_reading_is_normalised_by_itself_whatever_was_read_before() -> None:
    files = question_model()
    stream = Stream(lm=str(files.language_model), dict=str(files.dictionary))
    one, other = utterance(speech(FRANCE)), utterance(speech(SUM, "en-us+m3") * np.float32(0.1))
    one.measure()
    other.measure()
    stream.read_whole(one, 0, one.end)
    first = stream.mean
    stream.read_whole(other, 0, other.end)
    assert np.abs(stream.mean - first).sum() > 10
    stream.start(stream.mean, 0)
    stream.feed(other, other.end)
    stream.finish()
    assert stream.read_whole(one, 0, one.end).text == FRANCE
    assert np.array_equal(stream.mean, first)


# --- the reading ---


def test_a_question_is_read_while_it_is_asked_and_settled_by_the_question_model(decoder: SphinxDecoder) -> None:
    partials = listen(decoder, speech(FRANCE))
    assert len(partials) >= 3
    assert partials[0].split()[0] == "what"
    assert settle(decoder) == Reading(FRANCE, "questions")
    assert decoder.partial == FRANCE


def test_first_words_come_half_a_second_into_speech(decoder: SphinxDecoder) -> None:
    assert listen(decoder, speech(FRANCE)[: round((0.3 + 0.5) * RATE_HZ)])


def test_settling_needs_no_work_before(decoder: SphinxDecoder) -> None:
    decoder.push(speech(SUM))
    assert settle(decoder).text == SUM


def test_open_speech_is_left_to_the_general_model(decoder: SphinxDecoder) -> None:
    listen(decoder, speech(OPEN, "en-us"))
    reading = settle(decoder)
    assert reading.by == "general"
    assert len(set(reading.text.split()) & set(OPEN.split())) >= 7


def test_settling_pauses_so_that_new_sound_can_be_taken_in(decoder: SphinxDecoder) -> None:
    listen(decoder, speech(OPEN))
    steps = list(decoder.settle())
    assert steps[-1] is not None
    assert steps.count(None) == len(steps) - 1 >= 2


def test_what_is_pushed_while_settling_belongs_to_the_next_reading(decoder: SphinxDecoder) -> None:
    decoder.push(speech(FRANCE))
    settling = decoder.settle()
    assert next(settling) is None
    decoder.push(speech("and what is the capital of spain"))
    assert [reading.text for reading in settling if reading is not None] == [FRANCE]
    assert settle(decoder).text.endswith("capital of spain")


def test_speech_after_a_pause_is_read_together_with_what_was_before(decoder: SphinxDecoder) -> None:
    listen(decoder, speech(FRANCE))
    assert settle(decoder).text == FRANCE
    partials = listen(decoder, speech("and what is the capital of spain"))
    assert all(partial.startswith("what is the capital") for partial in partials)
    both = settle(decoder).text
    assert both.startswith(f"{FRANCE} ")
    assert both.endswith(" what is the capital of spain")


def test_the_gates_tail_after_a_pause_changes_nothing(decoder: SphinxDecoder) -> None:
    listen(decoder, speech(FRANCE))
    reading = settle(decoder)
    assert listen(decoder, silence(RATE_HZ // 5)) == [FRANCE]
    assert list(decoder.settle()) == [reading]


def test_commit_forgets_the_words(decoder: SphinxDecoder) -> None:
    listen(decoder, speech(FRANCE))
    settle(decoder)
    decoder.commit()
    assert decoder.partial == ""
    assert not decoder.work()
    assert settle(decoder).text == ""
    decoder.commit()
    assert all("france" not in partial for partial in listen(decoder, speech(SUM)))
    assert settle(decoder).text == SUM


def test_commit_in_the_middle_of_speech(decoder: SphinxDecoder) -> None:
    listen(decoder, speech(OPEN)[:RATE_HZ])
    decoder.commit()
    decoder.push(speech(SUM))
    assert settle(decoder).text == SUM


@pytest.mark.parametrize("seconds", [0.0, 0.05, 2.0])
def test_silence_is_no_words(decoder: SphinxDecoder, seconds: float) -> None:
    assert listen(decoder, silence(round(seconds * RATE_HZ))) == []
    assert settle(decoder).text == ""


def test_a_quiet_and_a_loud_caller_are_understood_alike(decoder: SphinxDecoder) -> None:
    for gain in (0.02, 1.6):
        decoder.push(speech(FRANCE) * np.float32(gain))
        assert settle(decoder).text == FRANCE
        decoder.commit()


def test_without_the_general_model_all_is_read_as_a_question() -> None:
    small = SphinxDecoder(question_model(), general=False)
    listen(small, speech(FRANCE))
    assert settle(small) == Reading(FRANCE)
    small.commit()
    listen(small, speech(OPEN))
    assert settle(small).by == "questions"


def test_more_than_thirty_seconds_are_read_from_the_end(decoder: SphinxDecoder) -> None:
    decoder.push(np.tile(speech(SUM), 20)[: MAX_UTTERANCE_SAMPLES + 2 * RATE_HZ])
    decoder.push(speech(FRANCE))
    assert settle(decoder).text.endswith("france")
