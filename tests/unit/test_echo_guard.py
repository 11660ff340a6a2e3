"""Is it the agent's own voice, come back? The guard alone, then whole conversations without any echo cancellation."""

import numpy as np
import pytest

from kame_core.audio import PIECE_SAMPLES, Samples, silence
from kame_core.compare.known_speech import KnownSpeechToText, SpokenWord
from kame_core.echo_guard import CONVERGING_VOICE_MS, SUSPECT_FOR_MS, EchoGuard
from kame_core.events import CandidateStarted, Ducked, ResponseEnded, ResponseText, SpeechStarted
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

ANSWER = (
    "There is a lot to say about this, so let me begin with the simple part, which most people learn at school and "
    "then forget again. After that it becomes more interesting, because the details depend on where you live."
)
ECHO_PIECES = 8
"""160 ms from the agent's mouth to the microphone."""


def spoke(guard: EchoGuard, text: str, begin_ms: int = 0, word_ms: int = 400) -> int:
    for word in text.split():
        begin_ms += word_ms
        guard.said(begin_ms, word)
    return begin_ms


class TestGuard:
    def test_words_of_the_agent_that_come_back_are_an_echo(self) -> None:
        guard = EchoGuard()
        end_ms = spoke(guard, "the capital of france is paris")
        assert guard.echoes("capital of france", end_ms - 1500)
        assert guard.echoes("the capital or france is paris", 600)  # one word misheard
        assert not guard.echoes("what about germany", end_ms - 1500)
        assert not guard.echoes("", end_ms)

    def test_the_same_words_said_after_the_agent_are_the_users(self) -> None:
        guard = EchoGuard()
        end_ms = spoke(guard, "the capital of france is paris")
        assert not guard.echoes("the capital of france is paris", end_ms + 200)

    def test_an_echo_keeps_the_order_of_the_words(self) -> None:
        guard = EchoGuard()
        spoke(guard, "the capital of france is paris")
        assert not guard.echoes("paris is the capital", 500)

    def test_one_word_alone_proves_nothing(self) -> None:
        guard = EchoGuard()
        spoke(guard, "yes")
        assert not guard.echoes("yes", 500)

    def test_writing_without_spaces_is_compared_by_letters(self) -> None:
        guard = EchoGuard()
        end_ms = spoke(guard, "法国 的 首都 是 巴黎")
        assert guard.echoes("国的首都是巴", end_ms - 1500)
        assert not guard.echoes("首都", end_ms - 1500)  # about one word
        assert not guard.lets_take(end_ms, "法国的首都是巴黎", end_ms - 1500)
        assert guard.lets_take(end_ms, "法国的首都是巴黎停下来我想问", end_ms - 1500)

    def test_it_is_armed_until_an_echo_canceller_has_converged(self) -> None:
        guard = EchoGuard()
        assert not guard.armed(0)  # nothing was said yet that could come back
        now_ms = spoke(guard, "hello there")
        assert guard.armed(now_ms)
        now_ms = spoke(guard, "word " * (CONVERGING_VOICE_MS // 400), now_ms)
        assert not guard.armed(now_ms)

    def test_an_echo_arms_it_again_for_a_while(self) -> None:
        guard = EchoGuard()
        now_ms = spoke(guard, "word " * 20)
        guard.noticed(now_ms)
        assert guard.suspects(now_ms)
        assert guard.armed(now_ms)
        assert not guard.armed(now_ms + SUSPECT_FOR_MS)

    def test_sound_that_vanishes_twice_when_the_voice_is_lowered_is_an_echo(self) -> None:
        guard = EchoGuard()
        now_ms = spoke(guard, "word " * 20)
        guard.sound_ended(now_ms, now_ms - 400, 200, "")
        assert not guard.suspects(now_ms)
        guard.sound_ended(now_ms + 500, now_ms + 100, 200, "")
        assert guard.suspects(now_ms + 500)

    def test_words_between_show_that_it_was_a_person(self) -> None:
        guard = EchoGuard()
        now_ms = spoke(guard, "word " * 20)
        guard.sound_ended(now_ms, now_ms - 400, 200, "")
        guard.sound_ended(now_ms + 500, now_ms + 100, 200, "okay")
        guard.sound_ended(now_ms + 900, now_ms + 600, 200, "")
        assert not guard.suspects(now_ms + 900)


async def talk_with_echo(
    studio: Studio, stt: KnownSpeechToText, seconds: float, gain_db: int, over: Samples | None = None, words: str = ""
) -> None:
    """The agent's voice comes back; after 5 s the user may say something into it."""
    told = 0
    user = np.zeros(0, np.float32) if over is None else over
    begin = 5 * 50
    for number in range(round(seconds * 50)):
        for event in studio.all(ResponseText)[told:]:
            told += 1
            stt.hears([SpokenWord(word.strip(",."), studio.clock.now() + 0.4) for word in event.delta.split()])
        if number == begin and words:
            now_s, spoken = studio.clock.now(), words.split()
            each_s = user.size / 24_000 / len(spoken)
            stt.hears([SpokenWord(word, now_s + each_s * (place + 1)) for place, word in enumerate(spoken)])
        mic = studio.heard[-ECHO_PIECES] * np.float32(10 ** (gain_db / 20))
        place = (number - begin) * PIECE_SAMPLES
        own = user[place : place + PIECE_SAMPLES] if 0 <= place < user.size else user[:0]
        await studio.say(mic + np.concatenate([own, silence(PIECE_SAMPLES - own.size)]))


@pytest.mark.parametrize("gain_db", [-12, -26])
def test_the_agent_neither_interrupts_itself_nor_asks_about_its_own_words(gain_db: int) -> None:
    stt = KnownSpeechToText()

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        studio.conversation.add_text("tell me all about it", "user")
        studio.conversation.create_response()
        await talk_with_echo(studio, stt, 16, gain_db)
        ended = studio.one(ResponseEnded)
        assert ended.status == "completed"
        assert ended.text.endswith(ANSWER)
        assert len(studio.all(CandidateStarted)) == 1
        assert studio.all(SpeechStarted) == []
        assert len(studio.all(Ducked)) <= 3  # and then no more up and down

    in_studio(scene, chat=ScriptedChatModel(Answer(ANSWER)), stt=stt)


def test_a_person_who_speaks_into_the_echo_is_heard() -> None:
    stt = KnownSpeechToText()

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        studio.conversation.add_text("tell me all about it", "user")
        studio.conversation.create_response()
        question = "please stop now"
        await talk_with_echo(studio, stt, 8, -12, say(question), question)
        ended = studio.all(ResponseEnded)[0]
        assert (ended.status, ended.reason) == ("cancelled", "turn_detected")
        assert 5_000 < ended.at_ms < 7_500

    in_studio(scene, chat=ScriptedChatModel(Answer(ANSWER)), stt=stt)
