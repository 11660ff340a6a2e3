"""Asking for texts beside the dialogue, without a conversation around it, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kame_core.asides import Asides
from kame_core.backend.base import ChatMessage, Finish, Usage
from kame_core.backend.budgets import DEFAULT_BUDGETS, Ledger, PlannerBudgets
from kame_core.backend.offline.responder import OfflineResponder
from kame_core.backend.prompt import build_aside
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import ChatModelError, InvalidRequestError
from kame_core.events import (
    AsideEnded,
    AsideStarted,
    Event,
)
from kame_core.options import AsideOptions, ConversationOptions, ItemReference
from kame_core.transcript import Item, Transcript, function_call, function_output
from tests.support.chat import Answer, ScriptedChatModel

ABOUT = AsideOptions("Name the topic.")


class Desk:
    """Asides over a transcript, in virtual time."""

    def __init__(self, clock: VirtualClock, tasks: asyncio.TaskGroup, model: Any, budgets: PlannerBudgets) -> None:
        self.events: list[Event] = []
        self.transcript = Transcript()
        self.ledger = Ledger(budgets)
        self.asides = Asides(
            model,
            self.transcript,
            lambda: ConversationOptions(instructions="Be kind.", max_output_tokens=60),
            lambda: ("", ""),
            self.ledger,
            self.events.append,
            lambda: None,
            clock,
            tasks,
            lambda: round(clock.now() * 1000),
        )

    @property
    def ends(self) -> list[AsideEnded]:
        return [event for event in self.events if isinstance(event, AsideEnded)]


def at_desk(script: Callable[[Desk], Awaitable[None]], model: Any, budgets: PlannerBudgets = DEFAULT_BUDGETS) -> Desk:
    async def main(clock: VirtualClock) -> Desk:
        async with asyncio.TaskGroup() as tasks:
            desk = Desk(clock, tasks, model, budgets)
            await script(desk)
            await desk.asides.aclose()
            await desk.asides.aclose()
        return desk

    return run_virtual(main)


def write(model: Any, wishes: AsideOptions = ABOUT) -> AsideEnded:
    """What becomes of one."""

    async def script(desk: Desk) -> None:
        desk.asides.begin(wishes)
        await asyncio.sleep(100)

    (ended,) = at_desk(script, model).ends
    return ended


@pytest.mark.parametrize(
    ("answer", "status", "reason", "code", "text"),
    [
        (Answer("all of it"), "completed", "", None, "all of it"),
        (Answer("\n\n {}"), "completed", "", None, "{}"),
        (Answer("cut here", finish=Finish("length")), "incomplete", "max_output_tokens", None, "cut here"),
        (Answer("I can not", finish=Finish("refusal")), "incomplete", "content_filter", None, "I can not"),
        (Answer("", finish=Finish("no_answer")), "failed", "", "llm_bad_answer", ""),
        (Answer("late", first_token_delay_s=30), "failed", "", "llm_timeout", ""),
        (Answer("x " * 90, token_delay_s=1.0), "failed", "", "llm_timeout", None),
        (
            Answer("half", error=ChatModelError("Gone.", code="llm_unreachable")),
            "failed",
            "",
            "llm_unreachable",
            "half",
        ),
        (Answer("", error=ValueError("our fault")), "failed", "", "llm_failed", ""),
    ],
    ids=lambda value: value.text[:10] if isinstance(value, Answer) else None,
)
def test_how_it_ends(answer: Answer, status: str, reason: str, code: str | None, text: str | None) -> None:
    ended = write(ScriptedChatModel(answer))
    assert (ended.status, ended.reason) == (status, reason)
    assert (None if ended.error is None else ended.error.code) == code
    assert text is None or ended.text == text


def test_a_flood_is_cut_at_what_the_text_may_be_long() -> None:
    chat = ScriptedChatModel(Answer("flood " * 5000, token_delay_s=0))
    ended = write(chat, AsideOptions("Go.", max_output_tokens=10))
    assert (ended.status, ended.reason) == ("incomplete", "max_output_tokens")
    assert 60 <= len(ended.text) <= 80
    assert chat.calls[0].ended == "closed"


def test_offline_answers_do_not_pretend_to_follow_instructions() -> None:
    ended = write(OfflineResponder(), AsideOptions("Sum up.", (ChatMessage("user", "what is two plus two"),)))
    assert ended.error is not None
    assert "language model" in ended.error.user_message


def test_it_shares_the_budgets_and_leaves_the_dialogue_its_part() -> None:
    async def script(desk: Desk) -> None:
        for _ in range(4):
            desk.asides.begin(ABOUT)
            await asyncio.sleep(2)
        assert desk.ledger.refusal(asyncio.get_running_loop().time(), whole_turn=True) is None

    chat = ScriptedChatModel(Answer("short", usage=Usage(300, 20)))
    desk = at_desk(script, chat, PlannerBudgets(tokens_per_conversation=1200))
    assert [end.error.code if end.error else "" for end in desk.ends] == ["", "", "", "llm_rate_limited"]
    assert (desk.ledger.account.requests, desk.ledger.account.input_tokens) == (3, 900)
    kinds = [type(event) for event in desk.events[-2:]]
    assert kinds == [AsideStarted, AsideEnded], "it is told like any other"


def test_what_it_cost_is_estimated_where_the_model_does_not_say() -> None:
    async def script(desk: Desk) -> None:
        cancelled = desk.asides.begin(AsideOptions("x" * 400, ()))
        await asyncio.sleep(0.35)
        assert desk.asides.cancel(cancelled)
        assert not desk.asides.cancel(cancelled)
        assert not desk.asides.cancel(None)

    desk = at_desk(script, ScriptedChatModel(Answer("abcd efgh never", token_delay_s=0.04)))
    assert (desk.ends[0].input_tokens, desk.ends[0].output_tokens) == (0, 0)
    assert desk.ledger.account.input_tokens >= 100
    assert desk.ledger.account.output_tokens == 2


def test_too_much_input_and_none_at_all_are_refused() -> None:
    async def script(desk: Desk) -> None:
        with pytest.raises(InvalidRequestError, match="nothing to write from"):
            desk.asides.begin(AsideOptions("", ()))
        with pytest.raises(InvalidRequestError, match="no item"):
            desk.asides.begin(AsideOptions("Go.", (ItemReference("gone"),)))
        desk.transcript.add(Item("long", "user", "x" * 9_000, "completed", "text"))
        with pytest.raises(InvalidRequestError) as caught:
            desk.asides.begin(AsideOptions("Go.", (ItemReference("long"),) * 8))
        assert caught.value.code == "input_too_long"
        assert desk.events == []
        desk.asides.begin(AsideOptions("Go.", (ItemReference("long"),) * 7))
        await asyncio.sleep(1)

    chat = ScriptedChatModel()
    assert at_desk(script, chat).ends[0].status == "completed"
    assert len(chat.calls[0].request.messages[-1].content) >= 63_000, "what was named is not cut"


def test_a_function_call_and_its_output_are_quoted_together_and_once() -> None:
    async def script(desk: Desk) -> None:
        desk.transcript.add(Item("q", "user", "how is it outside", "completed", "audio"))
        desk.transcript.add(function_call("f", "call_1", "look", "{}"))
        desk.transcript.add(function_output("o", "call_1", "sunny"))
        both = (ItemReference("q"), ItemReference("o"), ItemReference("f"))
        desk.asides.begin(AsideOptions(None, both))
        await asyncio.sleep(1)

    chat = ScriptedChatModel()
    at_desk(script, chat)
    request = chat.calls[0].request
    assert [m.role for m in request.messages] == ["system", "user", "assistant", "tool"]
    assert request.messages[0].content == "Be kind.", "the session's instructions, where it has none of its own"
    assert (request.messages[3].content, request.max_tokens) == ("sunny", 60)


# --- the prompt ---


def test_the_dialogue_loses_its_oldest_turns() -> None:
    talk = tuple(ChatMessage(role, f"{role} {n} " + "x" * 400) for n in range(20) for role in ("user", "assistant"))
    messages = build_aside("Sum up.", (*talk, ChatMessage("system", "Also: be brief.")), (), 4000)
    assert messages[0].content == "Sum up.\nAlso: be brief."
    assert messages[1].content.startswith("user 16 ")
    assert messages[-1].role == "user", "every chat template wants that"
    assert sum(len(m.content) for m in messages) < 4100
    assert build_aside("", talk, (), 4000)[0].role == "user"


def test_instructions_alone_and_messages_alone_make_a_chat() -> None:
    assert [m.role for m in build_aside("Write a poem.", None, (), 8000)] == ["system", "user"]
    given = (ChatMessage("user", "hi"), ChatMessage("user", "there"))
    assert build_aside("", None, given, 8000) == (ChatMessage("user", "hi\nthere"),)
    assert build_aside(" ", (), (), 8000) == ()
