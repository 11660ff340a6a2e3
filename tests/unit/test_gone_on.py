"""An answer that was cut by a sound which was no interruption goes on: whole conversations in virtual time."""

from collections.abc import Callable

import pytest

from kame_core.events import CandidateStarted, FinalTranscript, ResponseEnded, ResponseText, UserTurnDropped
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scenes import LONG, spoken_text
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

QUESTION = "tell me about the earth"
NOISE = "absolutely fantastic"
"""Articulated, and so long that it takes the turn by its sound, whatever is understood of it."""


def over_the_answer(understood: str, check: Callable[[Studio, list[str]], None]) -> None:
    """Say something long over the answer; `check` is told what the agent said of it in each response."""

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        await studio.listen_until(ResponseText, count=12)
        await studio.say(say(NOISE))
        await studio.listen(11.0)
        ids = [event.response_id for event in studio.all(ResponseEnded)]
        check(studio, [spoken_text(studio, response_id, "oracle") for response_id in ids])

    in_studio(scene, chat=ScriptedChatModel(Answer(LONG)), stt=ScriptedSpeechToText(QUESTION, understood))


@pytest.mark.parametrize("understood", ["exactly", ""])
def test_the_rest_is_said_after_a_listeners_word_or_a_noise(understood: str) -> None:
    def check(studio: Studio, said: list[str]) -> None:
        first, second = studio.all(ResponseEnded)
        assert (first.status, second.status) == ("cancelled", "completed")
        assert studio.all(UserTurnDropped)[-1].text == understood
        assert [event.text for event in studio.all(FinalTranscript)] == [QUESTION]
        assert LONG.startswith(said[0])
        assert LONG.endswith(said[1])
        words = len(LONG.split())
        assert words <= sum(len(part.split()) for part in said) <= words + 4
        assert all(QUESTION.startswith(event.partial) for event in studio.all(CandidateStarted))

    over_the_answer(understood, check)


def test_an_interruption_is_answered_instead() -> None:
    def check(studio: Studio, said: list[str]) -> None:
        assert [event.text for event in studio.all(FinalTranscript)] == [QUESTION, "tell me about mars"]
        assert LONG.startswith(said[-1][:20])  # the script's one answer, from its beginning

    over_the_answer("tell me about mars", check)
