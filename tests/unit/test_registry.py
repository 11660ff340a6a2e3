"""Conversations outlive a broken transport for their grace time, and nothing outlives the registry."""

import asyncio
import contextlib

import pytest

from kame_core.errors import CapacityError, InvalidRequestError
from kame_core.events import ConversationEnded
from kame_core.options import ConversationOptions
from tests.support.scripted_stt import ScriptedRecognizer, ScriptedSpeechToText
from tests.support.studio import Studio, in_studio


def test_without_grace_a_detached_conversation_ends_at_once() -> None:
    async def scene(studio: Studio) -> None:
        await studio.registry.detach(studio.conversation)
        assert studio.conversation.closed
        assert studio.registry.count == 0

    in_studio(scene)


def test_a_token_resumes_within_the_grace_time_until_there_is_the_next() -> None:
    async def scene(studio: Studio) -> None:
        token = studio.registry.token_for(studio.conversation)
        assert token is not None
        await studio.registry.detach(studio.conversation, grace_s=20)
        await asyncio.sleep(19)
        assert studio.registry.resume(token) is studio.conversation
        await asyncio.sleep(60)
        assert not studio.conversation.closed
        assert studio.registry.resume(token) is studio.conversation  # that connection failed: another way is tried
        assert studio.registry.token_for(studio.conversation) != token
        with pytest.raises(InvalidRequestError) as spent:
            studio.registry.resume(token)
        assert spent.value.code == "resume_token_invalid"
        for strange in ("töken", "\ud800", ""):
            with pytest.raises(InvalidRequestError):
                studio.registry.resume(strange)

    in_studio(scene)


def test_after_the_grace_time_it_is_over() -> None:
    async def scene(studio: Studio) -> None:
        token = studio.registry.token_for(studio.conversation)
        assert token is not None
        await studio.registry.detach(studio.conversation, grace_s=20)
        await asyncio.sleep(21)
        assert studio.conversation.closed
        with pytest.raises(InvalidRequestError):
            studio.registry.resume(token)

    in_studio(scene)


def test_a_waiting_conversation_gives_way_to_a_new_caller() -> None:
    async def scene(studio: Studio) -> None:
        with pytest.raises(CapacityError):
            await studio.registry.open(ConversationOptions())
        await studio.registry.detach(studio.conversation, grace_s=20)
        other = await studio.registry.open(ConversationOptions())
        assert studio.conversation.closed
        assert not other.closed

    in_studio(scene, capacity=1)


def test_the_end_is_told_and_tasks_are_gone() -> None:
    async def scene(studio: Studio) -> None:
        before = len(asyncio.all_tasks())
        for _ in range(50):
            conversation = await studio.registry.open(ConversationOptions())
            events = conversation.subscribe()
            await conversation.aclose()
            assert isinstance(events.waiting()[-1], ConversationEnded)
        await asyncio.sleep(1)
        assert len(asyncio.all_tasks()) == before
        assert studio.registry.count == 1

    in_studio(scene)


class SlowToOpen(ScriptedSpeechToText):
    """Takes a second to open a recogniser, but for the first."""

    async def open(self, language: str) -> ScriptedRecognizer:
        if self.opened:
            await asyncio.sleep(1.0)
        return await super().open(language)


def test_a_caller_who_leaves_while_the_conversation_opens_leaves_nothing_behind() -> None:
    stt = SlowToOpen("")

    async def scene(studio: Studio) -> None:
        for patience_s in (0.5, 0.999, 1.0):  # the last one leaves at the very moment it is ready
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    other = await studio.registry.open(ConversationOptions())
                    await other.aclose()
            await asyncio.sleep(1.0)
            assert studio.registry.count == 1
            assert studio.registry.engines.frontend.free == 1
            assert all(recognizer.closed for recognizer in stt.opened[1:])

    in_studio(scene, stt=stt)


def test_what_was_opening_when_the_registry_closed_is_refused() -> None:
    stt = SlowToOpen("")

    async def scene(studio: Studio) -> None:
        opening = asyncio.ensure_future(studio.registry.open(ConversationOptions()))
        await asyncio.sleep(0.5)
        await studio.registry.aclose()
        with pytest.raises(CapacityError) as refused:
            await opening
        assert refused.value.code == "shutting_down"
        assert stt.opened[-1].closed

    in_studio(scene, stt=stt)
