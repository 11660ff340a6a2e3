"""Conversations outlive a broken transport for their grace time, and nothing outlives the registry."""

import asyncio

import pytest

from kame_core.errors import CapacityError, InvalidRequestError
from kame_core.events import ConversationEnded
from kame_core.options import ConversationOptions
from tests.support.studio import Studio, in_studio


def test_without_grace_a_detached_conversation_ends_at_once() -> None:
    async def scene(studio: Studio) -> None:
        await studio.registry.detach(studio.conversation)
        assert studio.conversation.closed
        assert studio.registry.count == 0

    in_studio(scene)


def test_a_token_resumes_once_within_the_grace_time() -> None:
    async def scene(studio: Studio) -> None:
        token = studio.registry.token_for(studio.conversation)
        assert token is not None
        await studio.registry.detach(studio.conversation, grace_s=20)
        await asyncio.sleep(19)
        assert studio.registry.resume(token) is studio.conversation
        await asyncio.sleep(60)
        assert not studio.conversation.closed
        with pytest.raises(InvalidRequestError) as spent:
            studio.registry.resume(token)
        assert spent.value.code == "resume_token_invalid"

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
