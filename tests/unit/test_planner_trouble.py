"""The planner where the back end fails or budgets run out; all in virtual time."""

import asyncio

import pytest

from kame_core.backend.base import ChatMessage, ChatRequest, Usage
from kame_core.backend.planner import Planner, PlannerBudgets
from kame_core.backend.prompt import PromptContext
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import ChatModelError
from kame_core.events import CandidateFailed, CandidateFinished, CandidateStarted, Event
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.planner_desk import Desk, play


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "code"),
        [(ChatModelError("x", code="llm_auth"), "llm_auth"), (ValueError("secret words"), "llm_failed")],
    )
    def test_an_error_is_an_event_and_the_next_turn_works(
        self, fault: Exception, code: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.turn_ended("break")
            await desk.at(1000)
            assert not desk.planner.busy
            desk.planner.new_turn()
            desk.planner.turn_ended("work")
            await desk.at(3000)

        def answer(request: ChatRequest) -> Answer:
            return Answer(text="One two three", error=fault) if request.messages[-1].content == "break" else Answer()

        desk = play(script, ScriptedChatModel(answer))
        (error,) = desk.failures()
        assert error is not None
        assert error.code == code
        assert desk.finished() == ["Paris is the capital of France."]
        assert "secret words" not in caplog.text

    def test_a_model_that_hangs_for_ever_is_a_timeout(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.turn_ended("hang")
            await desk.at(8900)
            assert desk.failures() == []
            await desk.at(9100)

        (error,) = play(script, ScriptedChatModel(Answer(first_token_delay_s=1e6))).failures()
        assert error is not None
        assert error.code == "llm_timeout"

    def test_a_model_that_hangs_in_the_middle_is_a_timeout_and_its_words_stay(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.turn_ended("hang")
            await desk.at(30_000)

        desk = play(script, ScriptedChatModel(Answer(text="one two three four", token_delay_s=9.0)))
        assert [error.code for error in desk.failures() if error] == ["llm_timeout"]
        assert desk.text_of("hang") == "one two three"

    def test_flooding_is_cut_at_a_word(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.turn_ended("flood")
            await desk.at(3000)

        model = ScriptedChatModel(Answer(text="word " * 10_000, token_delay_s=0.0001))
        (text,) = play(script, model, PlannerBudgets(answer_chars=102)).finished()
        assert text == " ".join(["word"] * 20)
        assert model.calls[0].ended == "closed"

    def test_an_answer_without_finish_is_whole(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.turn_ended("hi")
            await desk.at(3000)

        assert play(script, ScriptedChatModel(Answer(finish=None))).finished() == ["Paris is the capital of France."]

    def test_a_context_that_cannot_be_made_is_an_event(self) -> None:
        async def main(clock: VirtualClock) -> list[Event]:
            def context() -> PromptContext:
                raise RuntimeError("broken")

            events: list[Event] = []
            async with asyncio.TaskGroup() as tasks:
                planner = Planner(ScriptedChatModel(), context, events.append, clock, tasks, lambda: 0)
                planner.turn_ended("hi")
                await planner.aclose()
            return events

        assert [type(event) for event in run_virtual(main)] == [CandidateStarted, CandidateFailed]

    def test_a_listener_that_fails_ends_nothing(self) -> None:
        async def main(clock: VirtualClock) -> int:
            heard = 0

            def emit(event: Event) -> None:
                nonlocal heard
                heard += 1
                raise RuntimeError("broken")

            async with asyncio.TaskGroup() as tasks:
                planner = Planner(ScriptedChatModel(), PromptContext, emit, clock, tasks, lambda: 0)
                planner.turn_ended("hi")
                await asyncio.sleep(2)
            return heard

        assert run_virtual(main) == 1 + 6 + 1

    def test_speculation_rests_while_the_model_fails_but_whole_turns_are_asked(self) -> None:
        async def script(desk: Desk) -> None:
            for number in range(20):
                await desk.at(number * 400)
                desk.planner.partial(f"words {number}")
            desk.planner.turn_ended("words at the end")
            await desk.at(9000)

        model = ScriptedChatModel(Answer(text="", first_token_delay_s=0.05, error=ChatModelError("no")))
        desk = play(script, model)
        assert len(desk.started()) < 8
        assert desk.started()[-1][1:] == ("words at the end", True)


class TestBudgets:
    def test_requests_per_minute_keep_a_share_for_whole_turns(self) -> None:
        async def script(desk: Desk) -> None:
            for number in range(10):
                await desk.at(number * 1000)
                desk.planner.partial(f"words {number}")
            await desk.at(10_000)
            desk.planner.turn_ended("whole 1")
            await desk.at(12_000)
            desk.planner.turn_ended("whole 2")
            await desk.at(14_000)
            assert len(model.calls) == 4
            await desk.at(75_000)
            desk.planner.turn_ended("whole 3")
            await desk.at(77_000)

        model = ScriptedChatModel()
        desk = play(script, model, PlannerBudgets(requests_per_minute=4))
        assert [call.text for call in model.calls] == ["words 0", "words 1", "words 2", "whole 1", "whole 3"]
        (error,) = desk.failures()
        assert error is not None
        assert (error.code, error.retryable) == ("llm_rate_limited", True)

    def test_all_that_was_asked_and_spent_is_on_the_account(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.turn_ended("first")
            await desk.at(1000)
            desk.planner.new_turn()
            desk.planner.turn_ended("second")
            await desk.at(1100)
            desk.planner.stop()  # before its first word: its prompt is paid for all the same
            account = desk.planner.ledger.account
            assert account.requests == 2
            assert account.output_tokens == 20
            assert account.input_tokens > 100

        play(script, ScriptedChatModel(Answer(usage=Usage(100, 20))))

    def test_tokens_per_conversation(self) -> None:
        async def script(desk: Desk) -> None:
            for number in range(4):
                await desk.at(number * 2000)
                desk.planner.new_turn()
                desk.planner.turn_ended(f"turn {number}")
            await desk.at(10_000)

        model = ScriptedChatModel(Answer(usage=Usage(400, 100)))
        desk = play(script, model, PlannerBudgets(tokens_per_conversation=1000))
        assert len(model.calls) == 2
        assert [error.retryable for error in desk.failures() if error] == [False, False]
        usages = [(e.input_tokens, e.output_tokens) for e in desk.events if isinstance(e, CandidateFinished)]
        assert usages == [(400, 100)] * 2

    def test_tokens_are_estimated_where_the_model_does_not_say(self) -> None:
        async def script(desk: Desk) -> None:
            for number in range(20):
                await desk.at(number * 2000)
                desk.planner.new_turn()
                desk.planner.turn_ended(f"turn {number}")
            await desk.at(50_000)

        model = ScriptedChatModel()
        play(script, model, PlannerBudgets(tokens_per_conversation=1000))
        assert 1 < len(model.calls) < 8

    def test_prompt_length_and_answer_length_reach_the_model(self) -> None:
        async def script(desk: Desk) -> None:
            desk.context = PromptContext(
                history=tuple(ChatMessage("user" if n % 2 == 0 else "assistant", "x" * 100) for n in range(200))
            )
            desk.planner.turn_ended("hi")
            await desk.at(1000)

        model = ScriptedChatModel()
        play(
            script,
            model,
            PlannerBudgets(prompt_chars=4000, answer_tokens=77, deadline_s=9.0, first_token_deadline_s=3.0),
        )
        request = model.calls[0].request
        assert sum(len(message.content) for message in request.messages) <= 4000
        assert (request.max_tokens, request.deadline_s, request.first_token_deadline_s) == (77, 9.0, 3.0)
