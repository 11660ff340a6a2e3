"""The agent speaks first, and into a long silence: the rules, then whole conversations in virtual time."""

from dataclasses import replace

import pytest

from kame_core.events import FinalTranscript, ResponseEnded, ResponseText, VoiceStarted
from kame_core.options import ConversationOptions, Mode, TurnDetection
from kame_core.unasked import Unasked
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.studio import Studio, in_studio

GREETING = "Welcome to the library. What are you looking for?"
PROMPT = "Are you still there?"
OPTIONS = ConversationOptions(greeting=GREETING, idle_prompt=PROMPT, idle_after_s=5.0)


class Watch:
    """Asks every 80 ms."""

    def __init__(self, options: ConversationOptions) -> None:
        self.options = options
        self.now_ms = 0
        self.unasked = Unasked()

    def passes(self, seconds: float, *, listened: bool = True, user: bool = False, agent: bool = False) -> list[str]:
        said = []
        for _ in range(round(seconds / 0.08)):
            self.now_ms += 80
            said.append(self.unasked.due(self.now_ms, self.options, listened=listened, user=user, agent=agent))
        return [words for words in said if words]


class TestRules:
    def test_a_greeting_waits_for_a_listener(self) -> None:
        watch = Watch(replace(OPTIONS, idle_prompt=""))
        assert watch.passes(5, listened=False) == []
        assert watch.passes(0.2) == []
        assert watch.passes(0.4)[0] == GREETING

    def test_whoever_was_quicker_is_not_greeted(self) -> None:
        watch = Watch(replace(OPTIONS, idle_prompt=""))
        assert watch.passes(1, user=True) == []
        assert watch.passes(60) == []

    def test_a_silence_is_broken_twice_the_second_time_after_twice_the_wait(self) -> None:
        watch = Watch(replace(OPTIONS, greeting=""))
        assert watch.passes(4.9) == []
        assert watch.passes(0.3) == [PROMPT]
        watch.passes(1, agent=True)
        assert watch.passes(9.9) == []
        assert watch.passes(0.3) == [PROMPT]
        watch.passes(1, agent=True)
        assert watch.passes(300) == []
        watch.passes(1, user=True)  # a noise
        assert watch.passes(300) == []
        watch.unasked.user_said()
        assert watch.passes(0.1) == [PROMPT]

    @pytest.mark.parametrize("detection", [None, TurnDetection(create_response=False)])
    def test_manual_turns_are_never_prompted(self, detection: TurnDetection | None) -> None:
        assert Watch(replace(OPTIONS, greeting="", turn_detection=detection)).passes(60) == []


@pytest.mark.parametrize("mode", list(Mode))
def test_the_agent_greets_first_and_then_answers(mode: Mode) -> None:
    chat = ScriptedChatModel(Answer("It is in the second room."))

    async def scene(studio: Studio) -> None:
        greeted = await studio.listen_until(ResponseEnded)
        assert (greeted.status, greeted.text) == ("completed", GREETING)
        assert studio.one(VoiceStarted).at_ms <= 900
        assert chat.calls == []
        await studio.say(say("where is the map of france"))
        answered = await studio.listen_until(ResponseEnded, count=2)
        assert answered.status == "completed"
        roles = [(item.role, item.text) for item in studio.conversation.transcript.items()]
        assert [role for role, _ in roles] == ["assistant", "user", "assistant"]
        assert roles[0][1] == GREETING
        if mode is not Mode.DIRECT:
            assert GREETING in [message.content for message in chat.calls[-1].request.messages]
            assert "second room" in roles[2][1]

    in_studio(
        scene,
        chat=chat,
        stt=ScriptedSpeechToText("where is the map of france"),
        options=ConversationOptions(mode=mode, greeting=GREETING),
    )


@pytest.mark.parametrize(
    "options",
    [ConversationOptions(greeting=GREETING * 3), ConversationOptions(idle_prompt=GREETING * 3, idle_after_s=2.0)],
    ids=["greeting", "idle prompt"],
)
def test_what_is_said_unasked_can_be_interrupted(options: ConversationOptions) -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen_until(ResponseText, count=2)
        await studio.say(say("stop where is the map of france"))
        first = (await studio.listen_until(ResponseEnded, count=2), studio.all(ResponseEnded)[0])[1]
        assert (first.status, first.reason) == ("cancelled", "turn_detected")
        assert len(first.text) < len(GREETING)
        assert studio.one(FinalTranscript).text == "stop where is the map of france"

    in_studio(
        scene,
        stt=ScriptedSpeechToText("stop where is the map of france", word_s=0.25),
        options=options,
    )


def test_nobody_is_greeted_before_somebody_listens() -> None:
    async def scene(studio: Studio) -> None:
        studio.detach()
        await studio.listen(3)
        assert studio.events == []
        studio.attach()
        assert (await studio.listen_until(ResponseEnded)).text == GREETING

    in_studio(scene, options=ConversationOptions(greeting=GREETING))


def test_a_long_silence_is_broken() -> None:
    async def scene(studio: Studio) -> None:
        await studio.listen(3)
        await studio.say(say("what is the capital of france"))
        answered = await studio.listen_until(ResponseEnded)
        prompted = await studio.listen_until(ResponseEnded, count=2)
        assert prompted.text == PROMPT
        assert 5_000 <= studio.all(VoiceStarted)[1].at_ms - answered.at_ms <= 5_600
        assert studio.conversation._unasked.prompted == 1
        await studio.listen(3)
        await studio.say(say("what is the capital of france"))
        assert (await studio.listen_until(ResponseEnded, count=3)).text.endswith("Paris is the capital of France.")
        assert studio.conversation._unasked.prompted == 0

    in_studio(scene, stt=ScriptedSpeechToText("what is the capital of france"), options=replace(OPTIONS, greeting=""))
