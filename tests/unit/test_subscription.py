import asyncio

from kame_core.events import CandidateText, ConversationEnded, Ducked, Event, PartialTranscript
from kame_core.subscription import Subscription


async def test_events_come_in_order_and_end_with_the_conversation() -> None:
    subscription = Subscription()
    subscription.put(Ducked(1))
    subscription.put(ConversationEnded(2, "ended"))
    assert [event.at_ms async for event in subscription] == [1, 2]


async def test_deltas_give_way_before_states_when_the_listener_is_slow() -> None:
    subscription = Subscription(bound=4)
    events: list[Event] = [Ducked(0), PartialTranscript(1, "i", "a"), CandidateText(2, "c", "b"), Ducked(3), Ducked(4)]
    for event in [*events, Ducked(5), Ducked(6)]:
        subscription.put(event)
    assert subscription.dropped == 3
    assert [event.at_ms for event in subscription.waiting()] == [3, 4, 5, 6]


async def test_closing_delivers_what_waits_and_wakes_the_listener() -> None:
    subscription = Subscription()
    subscription.put(Ducked(1))

    async def listen() -> list[int]:
        return [event.at_ms async for event in subscription]

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0)
    subscription.close()
    subscription.put(Ducked(2))
    assert await listener == [1]
