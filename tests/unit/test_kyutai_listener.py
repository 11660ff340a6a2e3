"""What is understood of a conversation, on a model that writes what it hears half a second late."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kame_core.errors import SpeechToTextError
from kame_core.frontend.moshi.tokenizer import MoshiTokenizer
from kame_core.stt.base import RecognizerUpdate
from kame_core.stt.kyutai_ear import ConversationEar
from kame_core.stt.kyutai_listener import KyutaiListener
from kame_core.stt.kyutai_lm import SttBatch, SttStep
from kame_core.stt.semantic import SemanticUpdate
from tests.support.tiny_kyutai import CODEBOOKS, DELAY, build_listening_lm
from tests.support.tiny_moshi import CODEBOOK_SIZE, PAD_ID, TEXT_CARD, build_tokenizer

PAUSE = 2
"""Frames of silence after which the voice detection notices a pause: 160 ms."""


class TimedBatch(SttBatch):
    """Time passes while the model steps, and at no other moment."""

    now_s = 0.0
    step_s = 0.004

    def _stepped(self, codes: Tensor) -> SttStep:
        self.now_s += self.step_s
        return super()._stepped(codes)


class Talk:
    """Several people talk to one listener; what they say is spelt in the model's own tokens, one a frame."""

    def __init__(self, tokenizer: MoshiTokenizer, capacity: int = 2) -> None:
        self._tokenizer = tokenizer
        self.spare_s = 1.0
        self.batch = TimedBatch(build_listening_lm(), capacity, torch.zeros(CODEBOOKS, 4, dtype=torch.long))
        self.listener = KyutaiListener(self.batch, tokenizer, frozenset({0, PAD_ID}), DELAY, lambda: self.batch.now_s)
        self._garbage = torch.Generator().manual_seed(1)
        self.updates: dict[int, list[RecognizerUpdate]] = {slot: [] for slot in range(capacity)}

    def frame(self, codes: dict[int, int]) -> None:
        """One frame of each slot."""
        heard = torch.randint(0, CODEBOOK_SIZE, (self.batch.capacity, CODEBOOKS, 1), generator=self._garbage)
        for slot, code in codes.items():
            heard[slot, 0, 0] = code
        for slot, updates in self.listener.hear(heard, self.spare_s).items():
            self.updates[slot] += updates

    def say(self, text: str, slot: int = 0) -> None:
        """Say words without pauses between them."""
        for token in self._tokenizer.encode(text):
            self.frame({slot: token})

    def quiet(self, frames: int, slot: int = 0) -> None:
        for _ in range(frames):
            self.frame({slot: 0})

    def listen(self, slot: int = 0) -> None:
        self.listener.tell(slot, ConversationEar.listen)

    def flush(self, utterance: int = 0, slot: int = 0) -> None:
        self.listener.tell(slot, partial(ConversationEar.flush, utterance=utterance))

    def commit(self, utterance: int, slot: int = 0) -> None:
        self.listener.tell(slot, partial(ConversationEar.commit, utterance=utterance))

    def news(self, slot: int = 0) -> list[RecognizerUpdate]:
        """What has come since the last call."""
        news, self.updates[slot] = self.updates[slot], []
        return news

    def texts(self, slot: int = 0) -> list[str]:
        return [update.text for update in self.news(slot)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> MoshiTokenizer:
    path: Path = tmp_path_factory.mktemp("tokenizer") / "model"
    path.write_bytes(build_tokenizer())
    tokenizer = MoshiTokenizer(path)
    assert tokenizer.size <= TEXT_CARD
    return tokenizer


@pytest.fixture
def talk(tokenizer: MoshiTokenizer) -> Iterator[Talk]:
    talk = Talk(tokenizer)
    yield talk
    talk.listener.shutdown()


def test_words_come_one_by_one_half_a_second_after_they_were_said(talk: Talk) -> None:
    talk.listener.open(0)
    talk.quiet(3)
    talk.listen()
    talk.say("the moon goes")
    assert talk.texts() in ([], ["the"])
    talk.quiet(DELAY + 1)
    assert talk.texts()[-2:] == ["the moon", "the moon goes"]


def test_a_flush_gives_all_words_at_once(talk: Talk) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("water boils at one hundred")
    talk.quiet(PAUSE)
    before = talk.texts()
    assert before
    assert before[-1] != "water boils at one hundred"
    talk.flush()
    talk.quiet(1)
    (update,) = talk.news()
    assert update.settled
    assert update.utterance == 0
    assert update.text == "water boils at one hundred"


def test_after_a_flush_nothing_is_told_twice_and_speech_goes_on(talk: Talk) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("water boils at one")
    talk.quiet(PAUSE)
    talk.flush()
    talk.quiet(1)
    assert talk.texts()[-1] == "water boils at one"
    talk.listener.tell(0, ConversationEar.resume)
    talk.say("hundred degrees")
    talk.quiet(DELAY + 1)
    news = talk.news()
    assert [update.text for update in news] == ["water boils at one hundred", "water boils at one hundred degrees"]
    assert not any(update.settled for update in news)


def test_a_flush_is_answered_once_for_every_time_it_was_asked(talk: Talk) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("yes")
    talk.flush()
    talk.flush()
    talk.quiet(1)
    assert [(update.text, update.settled) for update in talk.news()] == [("yes", True)] * 2


def test_a_flush_without_speech_is_answered(talk: Talk) -> None:
    talk.listener.open(0)
    talk.quiet(1)
    talk.flush()
    talk.quiet(1)
    (update,) = talk.news()
    assert update.settled
    assert update.text == ""


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


def test_a_word_that_is_still_being_written_is_waited_for(talk: Talk, tokenizer: MoshiTokenizer) -> None:
    talk.listener.open(0)
    talk.listen()
    word = "photosynthesis"
    assert len(tokenizer.encode(word)) >= 3
    talk.say(word)  # the pause is noticed in its middle
    talk.flush()
    talk.frame({0: 0})
    assert talk.texts() == [word]


def test_a_new_utterance_has_none_of_the_words_before(talk: Talk) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("what time is it now")
    talk.quiet(PAUSE)
    talk.flush()
    talk.quiet(PAUSE)
    assert talk.texts()[-1] == "what time is it now"
    talk.commit(1)  # 320 ms after the speech, while its words are still being written
    talk.quiet(DELAY)
    talk.listen()
    talk.say("blue or red")
    talk.quiet(PAUSE)
    talk.flush(1)
    talk.quiet(1)
    news = talk.news()
    assert {update.utterance for update in news} == {1}
    assert news[-1].text == "blue or red"
    assert not any("now" in update.text for update in news)


def test_speech_that_was_noticed_late_keeps_its_first_word(talk: Talk) -> None:
    talk.listener.open(0)
    talk.quiet(20)
    talk.commit(1)  # long ago, as after a response
    talk.quiet(10)
    talk.say("no")
    talk.quiet(1)
    talk.listen()
    talk.say("i am sorry")
    talk.quiet(PAUSE)
    talk.flush(1)
    talk.quiet(1)
    assert talk.texts()[-1] == "no i am sorry"


def test_what_was_understood_before_the_voice_detection_noticed_speech_is_no_ones(talk: Talk) -> None:
    talk.listener.open(0)
    talk.say("some tv in the next room")
    talk.quiet(DELAY + 2)
    assert talk.news() == []
    talk.listen()
    talk.say("where do they live")
    talk.quiet(PAUSE)
    talk.flush()
    talk.quiet(1)
    assert talk.texts()[-1] == "where do they live"


def test_a_turn_that_the_client_ends_in_the_middle_of_speech_gives_its_last_word_once(talk: Talk) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("go straight on")
    talk.flush()  # at once, without a pause
    talk.quiet(1)
    assert talk.texts()[-1] == "go straight on"
    talk.commit(1)
    talk.listen()  # the rest of the last word
    talk.quiet(3)
    talk.say("then turn left")
    talk.quiet(PAUSE)
    talk.flush(1)
    talk.quiet(1)
    assert talk.texts()[-1] == "then turn left"


def test_what_comes_late_in_a_pause_is_settled_too(talk: Talk, tokenizer: MoshiTokenizer) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("i could look it")
    talk.flush()
    talk.say("up")  # so quietly that the voice detection has not noticed
    talk.quiet(1)
    first, *_ = talk.news()[-1:]
    assert first.settled
    talk.quiet(DELAY + len(tokenizer.encode("up")) + 1)
    *_, last = talk.news()
    assert last.settled
    assert last.text == "i could look it up"


def test_a_flush_or_reading_of_an_older_utterance_no_longer_comes(talk: Talk) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("who wrote that")
    talk.flush(0)
    talk.commit(1)
    talk.quiet(DELAY + 3)
    assert talk.news() == []
    talk.flush(0)
    talk.quiet(1)
    assert talk.news() == []


def test_the_end_of_the_turn_is_foreseen_once_there_are_words(talk: Talk) -> None:
    talk.listener.open(0)
    talk.quiet(4)
    talk.flush()
    talk.quiet(1)
    (update,) = talk.news()
    assert isinstance(update, SemanticUpdate)
    assert update.turn_end is None
    talk.listen()
    talk.say("that is quite right")
    talk.flush()
    talk.quiet(1)
    *_, update = talk.news()
    assert isinstance(update, SemanticUpdate)
    assert update.turn_end is not None
    assert update.turn_end < 0.3
    talk.quiet(2)  # a single step is not believed
    (update,) = talk.news()
    assert isinstance(update, SemanticUpdate)
    assert update.settled
    assert update.turn_end is not None
    assert update.turn_end > 0.7
    assert update.text == "that is quite right"
    talk.quiet(10)
    assert talk.news() == []  # nothing new


def test_partial_readings_have_no_opinion(talk: Talk) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("every evening the quick brown fox jumps over the dog")
    assert all(not isinstance(update, SemanticUpdate) for update in talk.news())


def test_slots_do_not_hear_each_other(tokenizer: MoshiTokenizer) -> None:
    sentences = ["the earth goes around", "paris is the capital of france"]
    alone = []
    for sentence in sentences:
        talk = Talk(tokenizer)
        talk.listener.open(0)
        talk.listen()
        talk.say(sentence)
        talk.flush()
        talk.quiet(DELAY)
        alone.append(talk.news())
    both = Talk(tokenizer)
    spoken = [tokenizer.encode(sentence) for sentence in sentences]
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
    talk.batch._caches[0].cache[:, 0] = math.nan
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
        talk.batch._caches[0].cache[:, 0] = math.nan
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
