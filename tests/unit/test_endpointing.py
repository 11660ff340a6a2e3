"""How long a pause ends a turn: the rules alone, then a real speaker with the whole engine."""

import pytest

from kame_core.audio import SAMPLE_RATE_HZ, resample
from kame_core.compare.known_speech import KnownSpeechToText, SpokenWord
from kame_core.endpointing import Endpointer, PauseLimits
from kame_core.events import FinalTranscript, ResponseEnded, SpeechStarted, SpeechStopped
from kame_core.phrasing import Ending
from kame_core.prosody import Melody
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.speech import recordings
from tests.support.studio import Studio, in_studio

LIMITS = PauseLimits()


def pause_ms(text: str, melody: Melody = Melody.UNKNOWN, *, turn_end: float | None = None, resumptions: int = 0) -> int:
    return Endpointer().pause_ms(text, turn_end=turn_end, melody=melody, resumptions=resumptions)


def test_finished_words_end_soon_unless_the_pitch_was_held() -> None:
    question = "what is the capital of france"
    assert pause_ms(question) == pause_ms(question, Melody.FALLEN) == LIMITS.finished_ms
    assert pause_ms(question, Melody.HELD) > 2 * LIMITS.finished_ms


def test_where_words_do_not_tell_the_melody_does() -> None:
    statement = "we had pizza for dinner"
    by_melody = [pause_ms(statement, melody) for melody in (Melody.FALLEN, Melody.UNKNOWN, Melody.HELD)]
    assert by_melody == sorted(by_melody)
    assert len(set(by_melody)) == 3


def test_no_melody_ends_open_words_as_soon_as_finished_ones() -> None:
    assert pause_ms("i would like to", Melody.HELD) == LIMITS.open_ms
    assert pause_ms("i would like to", Melody.FALLEN) > LIMITS.unknown_ms


@pytest.mark.parametrize("melody", list(Melody))
def test_a_recogniser_that_is_sure_has_heard_the_melody_too(melody: Melody) -> None:
    assert pause_ms("we had pizza", melody, turn_end=0.9) == LIMITS.finished_ms
    assert pause_ms("we had pizza", melody, turn_end=0.1) == LIMITS.open_ms


def test_hesitation_is_given_time_but_no_more_than_open_words() -> None:
    pauses = [pause_ms("we had pizza", Melody.HELD, resumptions=count) for count in range(5)]
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1] == LIMITS.open_ms


def test_without_words_neither_counts() -> None:
    assert pause_ms("", Melody.HELD) == pause_ms("", Melody.FALLEN) == LIMITS.wordless_ms


def test_the_wording_may_be_read_by_another() -> None:
    endpointer = Endpointer(lambda text: Ending.OPEN)
    assert endpointer.ending("what is the capital of france", None) is Ending.OPEN
    assert endpointer.ending("what is the capital of france", 0.9) is Ending.FINISHED


AMERICANS = (
    ("and", 0.5), ("so", 0.85), ("my", 1.2), ("fellow", 1.6), ("americans", 2.2), ("ask", 3.75), ("not", 4.35),
    ("what", 5.6), ("your", 5.85), ("country", 6.2), ("can", 6.5), ("do", 6.75), ("for", 7.1), ("you", 7.62),
    ("ask", 8.55), ("what", 8.8), ("you", 9.1), ("can", 9.3), ("do", 9.6), ("for", 9.8), ("your", 10.0),
    ("country", 10.5),
)  # fmt: skip
"""Where the words of the recording end, in seconds."""


def test_a_real_speaker_is_not_interrupted_in_pauses_of_a_second_and_answered_at_the_end() -> None:
    found = [recording for recording in recordings() if recording.name == "jfk.flac"]
    if not found:
        pytest.skip("the recordings are not beside this checkout")
    sound = resample(found[0].samples16k, 16_000, SAMPLE_RATE_HZ)
    stt = KnownSpeechToText()

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        begin_s = studio.clock.now()
        stt.hears([SpokenWord(word, begin_s + end_s) for word, end_s in AMERICANS])
        await studio.say(sound)
        await studio.listen(2.0)
        assert len(studio.all(SpeechStarted)) == 1
        assert studio.one(FinalTranscript).text == " ".join(word for word, _ in AMERICANS)
        stopped = studio.one(SpeechStopped)
        assert stopped.at_ms - stopped.speech_end_ms <= 1400
        openers = [event.generated.split() for event in studio.all(ResponseEnded)]
        assert all(len(words) <= 3 for words in openers)

    in_studio(scene, chat=ScriptedChatModel(Answer()), stt=stt)
