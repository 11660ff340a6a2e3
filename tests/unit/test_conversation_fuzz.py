"""Random conversations in virtual time: whatever people, models and networks do, no turn gets stuck or lost.

`KAME_FUZZ_EXAMPLES` and `KAME_FUZZ_SEED` make it run longer and elsewhere than the few fixed examples of a default run.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from kame_core.backend.base import ChatRequest
from kame_core.events import Event, FinalTranscript, Trouble
from kame_core.options import ConversationOptions
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.conversation_rules import (
    check_asides,
    check_floor,
    check_last_turn,
    check_oracle,
    check_order,
    check_ordinary,
    check_responses,
    check_user,
    come_to_rest,
    no_errors_logged,
)
from tests.support.random_talk import ANSWER, QUESTION, SCRIPTS, Burst, Client, Script, clip
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.studio import Studio, in_studio

EXAMPLES = int(os.environ.get("KAME_FUZZ_EXAMPLES", "25"))
SEED = os.environ.get("KAME_FUZZ_SEED")


def run(script: Script) -> None:
    stt = ScriptedSpeechToText(*script.lines)
    ordinary = False

    def answer(request: ChatRequest) -> Answer:
        if ordinary:
            return Answer(ANSWER)
        return script.answers[len(chat.calls) % len(script.answers)]

    chat = ScriptedChatModel(answer)

    async def scene(studio: Studio) -> None:
        nonlocal ordinary
        to_be_answered: set[str] = set()

        def watch(news: list[Event]) -> None:
            check_floor(studio)
            if studio.conversation._automatic:
                to_be_answered.update(event.item_id for event in news if isinstance(event, FinalTranscript))

        studio.watch = watch
        await studio.listen(0.3)
        for step in script.steps:
            await step.act(studio, stt)
        studio.attach()
        studio.conversation.set_options(ConversationOptions())
        stt.opened[0].settle_s, stt.opened[0].takes_back_words = 0.15, 0
        await come_to_rest(studio)
        whole = Client("detach") not in script.steps and not any(isinstance(step, Burst) for step in script.steps)
        check_responses(studio.events, whole)
        if not {Client("cancel"), Client("clear_voice")} & set(script.steps):
            check_last_turn(studio.events, to_be_answered)

        ordinary = True
        stt.opened[0].lines = [QUESTION]
        before = len(studio.events)
        await studio.say(clip(QUESTION))
        await come_to_rest(studio)
        check_ordinary(studio.events[before:])
        check_responses(studio.events, whole)
        check_user(studio.events)
        check_oracle(studio.events)
        check_order(studio)
        check_asides(studio.events)
        assert not any(trouble.fatal for trouble in studio.all(Trouble))

    with no_errors_logged():
        in_studio(scene, chat=chat, stt=stt, options=script.options)


@pytest.mark.timeout(600)  # as many examples as are asked for, on a machine that may be busy
def test_random_conversations() -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=SEED is None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # shrinking minutes of talk takes longer than reading them
        print_blob=False,
    )
    @given(SCRIPTS)
    def conversations(script: Script) -> None:
        run(script)

    (conversations if SEED is None else seed(int(SEED))(conversations))()
