"""Modes that run on different front ends: there is no place, or it breaks, or somebody hangs up; nothing is leaked."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from kame_core.audio import silence
from kame_core.errors import FrontendError, UnavailableError
from kame_core.events import ModeRefused, ResponseEnded, SpeechStarted, VoiceStarted
from kame_core.frontend.base import SlotInput, SlotOutput
from kame_core.frontend.echo import EchoEngine
from kame_core.options import ConversationOptions, Mode
from tests.support.scripted_stt import ScriptedSpeechToText
from tests.support.speech import say
from tests.support.two_front_ends import ANSWERS, FRANCE, House, answers, ask, ask_for, in_house


def test_without_a_place_the_conversation_stays_in_its_mode_and_says_so() -> None:
    async def scene(house: House) -> None:
        studio = house.studio
        other = await house.another(ConversationOptions(mode=Mode.CASCADED))
        ask_for(studio, Mode.DIRECT)
        ask_for(studio, Mode.CASCADED)
        await studio.listen(0.2)
        refused = studio.one(ModeRefused)
        assert (refused.mode, refused.error.code, refused.error.retryable) == ("direct", "mode_unavailable", True)
        assert "reflex" in refused.error.user_message
        assert studio.conversation.options.mode is Mode.DIRECT
        assert house.taken == (1, 1)
        await other.conversation.aclose()
        ask_for(studio, Mode.CASCADED)
        await studio.listen(0.3)
        assert house.taken == (0, 1)
        assert (await ask(studio, FRANCE)).text == ANSWERS["france"]

    in_house(EchoEngine(1), scene, answers(), ScriptedSpeechToText(FRANCE))


def test_a_place_that_does_not_come_is_given_up() -> None:
    async def scene(house: House) -> None:
        house.reflex.late_s = 60.0
        ask_for(house.studio, Mode.CASCADED)
        refused = await house.studio.listen_until(ModeRefused)
        assert "in time" in refused.error.user_message
        assert house.taken == (1, 0)

    in_house(EchoEngine(2), scene, answers(), ScriptedSpeechToText(""))


def test_a_waiting_conversation_gives_its_place_to_one_that_moves() -> None:
    async def scene(house: House) -> None:
        registry = house.studio.registry
        elsewhere = await house.another(ConversationOptions())
        lost = await house.another(ConversationOptions(mode=Mode.CASCADED))
        for waiting in (elsewhere, lost):
            await registry.detach(waiting.conversation, grace_s=60)
        ask_for(house.studio, Mode.CASCADED)
        await house.studio.listen(0.3)
        assert lost.conversation.closed
        assert not elsewhere.conversation.closed  # its end would have freed nothing
        assert house.taken == (1, 1)

    in_house(EchoEngine(2), scene, answers(), ScriptedSpeechToText(""))


def test_a_server_without_it_refuses_the_mode_at_once() -> None:
    async def scene(house: House) -> None:
        house.engines.cascade = None
        try:
            with pytest.raises(UnavailableError) as caught:
                ask_for(house.studio, Mode.CASCADED)
            assert caught.value.code == "mode_unavailable"
            assert house.studio.conversation.options.mode is Mode.TANDEM
            with pytest.raises(UnavailableError):
                await house.another(ConversationOptions(mode=Mode.CASCADED))
        finally:
            house.engines.cascade = house.reflex

    in_house(EchoEngine(2), scene, answers(), ScriptedSpeechToText(""))


class Faulty(EchoEngine):
    """Its slots break after a second."""

    ticks = 0

    def step(self, inputs: Sequence[SlotInput]) -> Sequence[SlotOutput]:
        self.ticks += 1
        outputs = super().step(inputs)
        fault = FrontendError("It broke.", code="slot_broke") if self.ticks == 12 else None
        return [replace(out, fault=fault) for out in outputs]


def test_a_place_that_breaks_while_it_waits_is_not_missed() -> None:
    async def scene(house: House) -> None:
        studio = house.studio
        studio.conversation.add_text("tell me a story", "user")
        studio.conversation.create_response()
        await studio.listen_until(VoiceStarted)
        ask_for(studio, Mode.TANDEM)
        refused = await studio.listen_until(ModeRefused)
        assert "It broke" in refused.error.user_message
        assert (await studio.listen_until(ResponseEnded)).text == ANSWERS["story"]
        assert house.taken == (0, 1)

    options = ConversationOptions(mode=Mode.CASCADED)
    in_house(Faulty(1), scene, answers(), ScriptedSpeechToText(""), options=options)


def test_twenty_changes_one_on_the_other_leave_one_place_taken() -> None:
    dice = random.Random(4)

    async def scene(house: House) -> None:
        studio = house.studio
        house.model.late_s = house.reflex.late_s = 0.2
        talking = asyncio.ensure_future(studio.say(np.concatenate([say(FRANCE), silence(72_000)] * 2)))
        for number in range(20):
            ask_for(studio, Mode.CASCADED if number % 2 == 0 else dice.choice([Mode.TANDEM, Mode.DIRECT]))
            await asyncio.sleep(dice.choice([0.0, 0.05, 0.15, 0.3, 0.6, 0.9]))
        await talking
        await studio.listen(4.0)
        assert house.taken == (1, 0)
        assert len(house.model.leased) + len(house.reflex.leased) > 6
        assert studio.all(SpeechStarted)
        ask_for(studio, Mode.CASCADED)
        assert (await ask(studio, FRANCE)).text == ANSWERS["france"]
        assert house.taken == (0, 1)
        assert not studio.all(ModeRefused)

    in_house(EchoEngine(2), scene, answers(), ScriptedSpeechToText(FRANCE))


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1, 0.19, 0.2, 0.21, 0.3])
def test_hanging_up_while_moving_leaves_nothing(after_s: float) -> None:
    async def scene(house: House) -> None:
        house.reflex.late_s = 0.2
        await house.studio.listen(0.1)
        ask_for(house.studio, Mode.CASCADED)
        await asyncio.sleep(after_s)
        await house.studio.conversation.aclose()
        assert house.taken == (0, 0)

    in_house(EchoEngine(1), scene, answers(), ScriptedSpeechToText(""))
