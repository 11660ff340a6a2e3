"""What is understood of a conversation, on a model that writes what it hears half a second late."""

from collections.abc import Iterator

import pytest

from kame_core.stt.kyutai_ear import ConversationEar
from kame_core.stt.semantic import SemanticUpdate
from tests.support.kyutai_talk import PAUSE, Talk, talking
from tests.support.tiny_kyutai import DELAY


@pytest.fixture
def talk() -> Iterator[Talk]:
    with talking() as talk:
        yield talk


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


def test_a_word_that_is_still_being_written_is_waited_for(talk: Talk) -> None:
    talk.listener.open(0)
    talk.listen()
    word = "photosynthesis"
    assert len(talk.tokenizer.encode(word)) >= 3
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


def test_what_comes_late_in_a_pause_is_settled_too(talk: Talk) -> None:
    talk.listener.open(0)
    talk.listen()
    talk.say("i could look it")
    talk.flush()
    talk.say("up")  # so quietly that the voice detection has not noticed
    talk.quiet(1)
    first, *_ = talk.news()[-1:]
    assert first.settled
    talk.quiet(DELAY + len(talk.tokenizer.encode("up")) + 1)
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
