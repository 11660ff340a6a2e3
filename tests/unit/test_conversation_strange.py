"""Talks that go otherwise than expected: three minutes without a pause, two people, the same word twice, time jumps."""

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples, silence
from kame_core.backend.base import ChatRequest
from kame_core.backend.budgets import DEFAULT_BUDGETS
from kame_core.events import FinalTranscript, ResponseEnded, ResponseStarted, Trouble
from kame_core.phrasing import words_of
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scenes import at_rest
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

STORY = "then we went on to the next village and asked for the way to the lake"


def test_three_minutes_without_a_pause_are_one_turn_and_its_end_is_answered() -> None:
    """Words by the hundred, and a question at the end: what is asked stays bounded in number and length."""
    piece = say(STORY)
    told = np.tile(piece[: piece.size - SAMPLE_RATE_HZ // 4], round(180 * SAMPLE_RATE_HZ / piece.size) + 1)
    words = " ".join(f"{STORY} {number}" for number in range(40))
    chat = ScriptedChatModel(Answer("It is forty kilometres.", first_token_delay_s=1.5))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(told)
        assert not studio.all(FinalTranscript)
        final = await studio.listen_until(FinalTranscript)
        await studio.listen(5.0)
        assert final.seconds > 170
        assert len(words_of(final.text)) > 500
        assert studio.all(ResponseEnded)[-1].text.endswith("It is forty kilometres.")
        assert studio.all(Trouble) == []
        assert at_rest(studio)
        assert len(chat.calls) <= 3.2 * DEFAULT_BUDGETS.requests_per_minute
        assert max(len(call.request.messages[-1].content) for call in chat.calls) <= 4000
        assert chat.calls[-1].request.messages[-1].content in final.text, "of very long words the end counts"

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText(words, word_s=0.3))


def test_two_people_who_speak_at_once_are_one_turn_with_one_answer() -> None:
    one, other = (
        say("what is the capital of france", "en-us+m3"),
        say("no wait what is the capital of spain", "en-us+f3"),
    )
    late = np.concatenate([silence(SAMPLE_RATE_HZ // 2), other])
    chat = ScriptedChatModel(Answer("Paris, and Madrid."))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(mixed(one, late))
        ended = await studio.listen_until(ResponseEnded)
        await studio.listen(2.0)
        assert studio.one(FinalTranscript).text == "what is no wait the capital of france spain"
        assert len([response for response in studio.all(ResponseEnded) if response.status == "completed"]) == 1
        assert ended.text.endswith("Paris, and Madrid.")

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText("what is no wait the capital of france spain", word_s=0.2))


def test_a_second_person_who_speaks_into_the_answer_takes_the_turn_like_the_first() -> None:
    def answer(request: ChatRequest) -> Answer:
        spain = "spain" in request.messages[-1].content
        return Answer("Madrid." if spain else "Paris is the capital of France, and has been for a very long time.")

    async def scene(studio: Studio) -> None:
        await studio.listen(0.3)
        await studio.say(say("what is the capital of france", "en-us+m3"))
        await studio.listen_until(ResponseStarted)
        await studio.listen(1.2)
        await studio.say(say("no tell me the capital of spain", "en-us+f3"))
        await studio.listen_until(FinalTranscript, count=2)
        await studio.listen(4.0)
        answers = [ended for ended in studio.all(ResponseEnded) if ended.text]
        assert [ended.status for ended in answers] == ["cancelled", "completed"]
        assert answers[-1].text.endswith("Madrid.")

    stt = ScriptedSpeechToText("what is the capital of france", "no tell me the capital of spain", word_s=0.2)
    in_studio(scene, chat=ScriptedChatModel(answer), stt=stt)


def test_the_same_word_said_twice_as_two_turns_is_answered_twice() -> None:
    chat = ScriptedChatModel(Answer("Here is the next one."))

    async def scene(studio: Studio) -> None:
        for count in (1, 2):
            await studio.listen(0.5)
            await studio.say(say("next"))
            await studio.listen_until(FinalTranscript, count=count)
            await studio.listen(4.0)
        assert [final.text for final in studio.all(FinalTranscript)] == ["next", "next"]
        answers = [ended.text for ended in studio.all(ResponseEnded) if ended.status == "completed"]
        assert len(answers) == 2
        assert all(text.endswith("Here is the next one.") for text in answers)
        said = [(message.role, message.content) for message in chat.calls[-1].request.messages[1:]]
        assert said == [("user", "next"), ("assistant", answers[0]), ("user", "next")]

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText("next", word_s=0.2))


def test_a_clock_that_jumps_by_an_hour_costs_a_moment_and_no_more() -> None:
    """The machine slept: in a pause, in the user's turn, in the agent's."""
    chat = ScriptedChatModel(Answer("The capital of France is Paris, on the river Seine."))
    question = say("what is the capital of france")
    middle = question.size // 2

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        sleep_for_an_hour(studio)
        await studio.listen(0.5)
        await studio.say(question[:middle])
        sleep_for_an_hour(studio)
        await studio.say(question[middle:])
        await studio.listen_until(ResponseStarted)
        await studio.listen(1.0)
        sleep_for_an_hour(studio)
        await studio.listen_until(ResponseEnded)
        await studio.listen(3.0)
        before = len(studio.all(ResponseEnded))
        await studio.say(question)
        ended = await studio.listen_until(ResponseEnded, count=before + 1)
        assert ended.status == "completed"
        assert ended.text.endswith("The capital of France is Paris, on the river Seine.")
        assert not [trouble for trouble in studio.all(Trouble) if trouble.fatal]
        assert at_rest(studio)

    in_studio(scene, chat=chat, stt=ScriptedSpeechToText("what is the capital of france", word_s=0.2))


def sleep_for_an_hour(studio: Studio) -> None:
    """The clock of the machine goes on; microphone and loudspeaker do not."""
    studio.clock.advance(3600)
    studio._start_s += 3600


def mixed(one: Samples, other: Samples) -> Samples:
    """Both at once."""
    sound = silence(max(one.size, other.size))
    sound[: one.size] += 0.6 * one
    sound[: other.size] += 0.6 * other
    return sound
