"""Many conversations on one model: the time that is left for looking ahead, slots apart, and trouble."""

import math
from collections.abc import Iterator

import pytest
from torch import Tensor

from kame_core.audio import FRAME_S
from kame_core.errors import SpeechToTextError
from kame_core.stt.kyutai_lm import SttStep
from tests.support.kyutai_talk import PAUSE, Talk, talking
from tests.support.tiny_kyutai import DELAY


@pytest.fixture
def talk() -> Iterator[Talk]:
    with talking() as talk:
        yield talk


@pytest.mark.parametrize("spare_steps", [0, 1, 3, 5])
def test_with_little_time_left_a_flush_takes_more_frames_but_never_words(talk: Talk, spare_steps: int) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("berlin is the capital")
    talk.quiet(PAUSE)
    talk.spare_s = (1 + spare_steps) * talk.batch.step_s + 1e-6  # the step of the frame itself comes first
    talk.flush()
    talk.news()
    settled: list[str] = []
    frames = 0
    while not settled:
        begun_s = talk.batch.now_s
        talk.quiet(1)
        frames += 1
        assert talk.batch.now_s - begun_s <= talk.spare_s
        settled = [update.text for update in talk.news() if update.settled]
    assert settled == ["berlin is the capital"]
    assert frames == DELAY + 1 - spare_steps
    late_s = talk.listener.reads_late_s(talk.spare_s - talk.batch.step_s)
    assert late_s == pytest.approx(FRAME_S * (frames - 1))


def test_slots_do_not_hear_each_other() -> None:
    sentences = ["the earth goes around", "paris is the capital of france"]
    alone = []
    for sentence in sentences:
        talk = Talk()
        talk.listener.open(0)
        talk.listen()
        talk.say(sentence)
        talk.flush()
        talk.quiet(DELAY)
        alone.append(talk.news())
    both = Talk()
    spoken = [both.tokenizer.encode(sentence) for sentence in sentences]
    for slot in (0, 1):
        both.listener.open(slot)
        both.listen(slot)
    for frame in range(max(map(len, spoken)) + DELAY):
        codes = {slot: tokens[frame] if frame < len(tokens) else 0 for slot, tokens in enumerate(spoken)}
        for slot, tokens in enumerate(spoken):
            if frame == len(tokens):
                both.flush(slot=slot)
        both.frame(codes)
    assert [both.news(0)[: len(alone[0])], both.news(1)] == alone


def test_nothing_of_a_conversation_is_left_for_the_next_in_its_slot(talk: Talk) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("my secret")
    talk.flush()
    talk.listener.close(0)
    talk.listener.open(0)
    talk.quiet(3)
    talk.listen()
    talk.flush()
    talk.quiet(DELAY + 3)
    assert set(talk.texts()) == {""}


def test_what_is_told_to_a_conversation_that_has_ended_is_not_told_to_the_next(talk: Talk) -> None:
    talk.listener.open(0)
    talk.commit(7)
    talk.listener.close(0)
    talk.listener.open(0)
    talk.flush(7)
    talk.quiet(1)
    assert talk.news() == []  # it is in its utterance 0


def test_a_slot_that_breaks_down_says_so_and_begins_anew(talk: Talk) -> None:
    for slot in (0, 1):
        talk.listener.open(slot)
        talk.listen(slot)
    talk.say("one", 0)
    talk.batch._states.caches[0].cache[:, 0] = math.nan
    talk.flush()
    talk.frame({0: 0, 1: 0})
    (update,) = talk.news()
    assert isinstance(update.fault, SpeechToTextError)
    assert update.settled
    assert update.text == ""
    talk.say("two", 0)
    talk.flush()
    talk.quiet(1)
    assert talk.texts()[-1] == "two"
    assert all(update.fault is None for update in talk.news(1))


def test_a_slot_that_breaks_down_again_and_again_is_left_alone(talk: Talk) -> None:
    for slot in (0, 1):
        talk.listener.open(slot)
        talk.listen(slot)
    for _ in range(20):
        talk.batch._states.caches[0].cache[:, 0] = math.nan
        talk.frame({0: 0, 1: 0})
    assert [update.fault is not None for update in talk.news(0)] == [True] * 3
    talk.say("yes", 1)
    talk.flush(slot=1)
    talk.quiet(1, 1)
    assert talk.texts(1)[-1] == "yes"
    talk.listener.close(0)
    talk.listener.open(0)
    talk.listen(0)
    talk.say("of course", 0)
    talk.flush()
    talk.quiet(1)
    assert talk.texts()[-1] == "of course"


def test_a_model_that_breaks_down_for_all_is_told_once_and_lets_the_front_end_live(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.listener.open(0)

    def break_down(codes: Tensor) -> SttStep:
        raise RuntimeError("the device is lost")

    monkeypatch.setattr(talk.batch, "step", break_down)
    talk.quiet(5)
    (update,) = talk.news()
    assert isinstance(update.fault, SpeechToTextError)
    with pytest.raises(SpeechToTextError, match="started again"):
        talk.listener.open(1)


def test_of_commands_that_nobody_takes_the_oldest_give_way(talk: Talk) -> None:
    talk.listener.open(0)
    for number in range(10_000):
        talk.commit(number)
    talk.flush(9_999)
    talk.quiet(1)
    assert [update.utterance for update in talk.news()] == [9_999]
