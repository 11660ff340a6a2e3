"""A cheaper model for partials, in virtual time."""

from kame_core.errors import ChatModelError
from kame_core.events import Trouble
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio
from tests.support.weather_tool import QUESTION, answered


def test_the_strong_model_answers_the_whole_turn() -> None:
    early = ScriptedChatModel(Answer("A guess.", first_token_delay_s=0.05))
    strong = ScriptedChatModel(Answer("Sunny, with some clouds.", first_token_delay_s=1.0))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await answered(studio)
        assert ended.text.endswith("Sunny, with some clouds.")
        assert "guess" not in ended.text
        assert early.calls
        assert not any(call.complete for call in early.calls)
        assert [call.text for call in strong.calls] == [QUESTION]

    in_studio(scene, chat=strong, early_chat=early, stt=ScriptedSpeechToText(QUESTION))


def test_where_the_strong_model_fails_the_early_answer_is_said() -> None:
    early = ScriptedChatModel(Answer("It is most likely sunny.", first_token_delay_s=0.05))
    strong = ScriptedChatModel(Answer("", error=ChatModelError("Away."), first_token_delay_s=0.5))

    async def scene(studio: Studio) -> None:
        await studio.listen(0.5)
        await studio.say(say(QUESTION))
        ended = await answered(studio)
        assert ended.text.endswith("It is most likely sunny.")
        assert studio.all(Trouble)

    in_studio(scene, chat=strong, early_chat=early, stt=ScriptedSpeechToText(QUESTION))
