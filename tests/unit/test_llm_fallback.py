"""Several chat models as one, in virtual time."""

from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from kame_core.backend.base import ChatEvent, ChatMessage, ChatRequest, Finish, TextDelta, ToolCall
from kame_core.backend.fallback import FallbackChatModel
from kame_core.backend.llm_servers import LlmSettings, fallback_server
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import ChatModelError, InvalidRequestError
from tests.support.chat import Answer, ScriptedChatModel

REQUEST = ChatRequest((ChatMessage("user", "hello"),))
AWAY = Answer("", error=ChatModelError("Away.", code="llm_unreachable", retryable=True))
NO_KEY = Answer("", error=ChatModelError("No key.", code="llm_auth", retryable=False))
GOOD = Answer("I am here.")


async def said(model: FallbackChatModel, request: ChatRequest = REQUEST) -> str:
    async with aclosing(model.stream(request)) as events:
        answer: list[ChatEvent] = [event async for event in events]
    assert isinstance(answer[-1], Finish)
    assert sum(isinstance(event, Finish) for event in answer) == 1
    return "".join(event.text for event in answer if isinstance(event, TextDelta))


def play(script: Callable[[VirtualClock], Coroutine[Any, Any, None]]) -> None:
    run_virtual(script)


def models(*answers: Answer) -> tuple[ScriptedChatModel, ...]:
    return tuple(ScriptedChatModel(answer) for answer in answers)


def test_the_next_answers_where_one_fails_and_the_rest_are_left_alone() -> None:
    async def script(clock: VirtualClock) -> None:
        first, second, third = models(AWAY, GOOD, GOOD)
        assert await said(FallbackChatModel([first, second, third])) == "I am here."
        assert [len(model.calls) for model in (first, second, third)] == [1, 1, 0]

    play(script)


def test_the_last_ones_error_is_told() -> None:
    async def script(clock: VirtualClock) -> None:
        with pytest.raises(ChatModelError) as caught:
            await said(FallbackChatModel(models(AWAY, NO_KEY)))
        assert caught.value.code == "llm_auth"

    play(script)


def test_who_has_nothing_to_say_to_what_is_not_spoken_does_not_hide_why_the_others_failed() -> None:
    async def script(clock: VirtualClock) -> None:
        first, offline = models(NO_KEY, Answer("", finish=Finish("no_answer")))
        model = FallbackChatModel([first, offline])
        with pytest.raises(ChatModelError) as caught:
            await said(model, replace(REQUEST, spoken=False))
        assert caught.value.code == "llm_auth"
        assert await said(model) == ""
        assert [len(one.calls) for one in (first, offline)] == [1, 2], "only who failed rests"

    play(script)


def test_nobody_takes_over_behind_the_first_word() -> None:
    async def script(clock: VirtualClock) -> None:
        first, second = models(replace(AWAY, text="I was"), GOOD)
        with pytest.raises(ChatModelError):
            await said(FallbackChatModel([first, second]))
        assert not second.calls

    play(script)


def test_an_empty_answer_to_a_whole_turn_is_a_failure_and_to_a_partial_is_not() -> None:
    async def script(clock: VirtualClock) -> None:
        first, second = models(Answer("", finish=Finish("no_answer")), GOOD)
        model = FallbackChatModel([first, second])
        assert await said(model, replace(REQUEST, complete=False)) == ""
        assert await said(model) == "I am here."

    play(script)


def test_a_refusal_is_an_answer() -> None:
    async def script(clock: VirtualClock) -> None:
        first, second = models(Answer("", finish=Finish("refusal")), GOOD)
        assert await said(FallbackChatModel([first, second])) == ""
        assert not second.calls

    play(script)


def test_a_call_is_an_answer() -> None:
    async def script(clock: VirtualClock) -> None:
        first, second = models(replace(AWAY, calls=(ToolCall("c", "f", "{}"),)), GOOD)
        with pytest.raises(ChatModelError):
            await said(FallbackChatModel([first, second]))
        assert not second.calls

    play(script)


def test_the_time_for_the_first_word_is_shared() -> None:
    async def script(clock: VirtualClock) -> None:
        first, second, third = models(AWAY, AWAY, GOOD)
        await said(FallbackChatModel([first, second, third]), replace(REQUEST, first_token_deadline_s=8.0))
        shares = [model.calls[0].request.first_token_deadline_s for model in (first, second, third)]
        assert shares == pytest.approx([4.0, 3.85, 7.4])  # each fails after 0.3 s

    play(script)


def test_one_that_failed_rests_for_longer_and_longer_and_then_comes_back() -> None:
    async def script(clock: VirtualClock) -> None:
        answer = AWAY
        first = ScriptedChatModel(lambda request: answer)
        model = FallbackChatModel([first, *models(GOOD)])
        asked_s = []
        for _ in range(100):
            before = len(first.calls)
            await said(model)
            if len(first.calls) > before:
                asked_s.append(clock.now())
            await clock.sleep_until(clock.now() + 1.0)
        gaps = [round(later - earlier) for earlier, later in pairwise(asked_s)]
        assert gaps == sorted(gaps)
        assert 5 <= gaps[0] <= 8
        assert gaps[-1] <= 62
        answer = GOOD
        await clock.sleep_until(clock.now() + 61.0)
        before = len(first.calls)
        await said(model)
        await said(model)
        assert len(first.calls) == before + 2

    play(script)


def test_who_refuses_one_callers_request_answers_the_next() -> None:
    async def script(clock: VirtualClock) -> None:
        refused = Answer("", error=ChatModelError("Too long.", code="llm_bad_request", retryable=False))
        answers = iter([refused, GOOD])
        first = ScriptedChatModel(lambda request: next(answers))
        (second,) = models(GOOD)
        model = FallbackChatModel([first, second])
        assert [await said(model), await said(model)] == ["I am here."] * 2
        assert [len(one.calls) for one in (first, second)] == [2, 1]

    play(script)


def test_if_all_rest_all_are_asked() -> None:
    async def script(clock: VirtualClock) -> None:
        first, second = models(NO_KEY, NO_KEY)
        model = FallbackChatModel([first, second])
        for _ in range(2):
            with pytest.raises(ChatModelError):
                await said(model)
        assert [len(first.calls), len(second.calls)] == [2, 2]

    play(script)


def test_closing_closes_all() -> None:
    async def script(clock: VirtualClock) -> None:
        all_models = models(GOOD, GOOD)
        await FallbackChatModel(all_models).aclose()
        assert all(model.closed for model in all_models)

    play(script)


FIRST = LlmSettings("https://one.example/v1", "key-one", "big")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("small", ("https://one.example/v1", "key-one", "small")),
        ("small@http://localhost:11434/v1/", ("http://localhost:11434/v1", "key-two", "small")),
        ("a@b@https://two.example/v1", ("https://two.example/v1", "key-two", "a@b")),
        ("small@https://one.example/v1", ("https://one.example/v1", "key-one", "small")),
    ],
)
def test_fallbacks_are_named_by_model_and_address(entry: str, expected: tuple[str, str, str]) -> None:
    settings = fallback_server(entry, FIRST, "key-two")
    assert (settings.base_url, settings.api_key, settings.model) == expected


@pytest.mark.parametrize("entry", ["", "@http://localhost/v1", "small@http://", "small@httpx"])
def test_what_is_no_fallback(entry: str) -> None:
    with pytest.raises(InvalidRequestError, match="MODEL@URL"):
        fallback_server(entry, FIRST)
