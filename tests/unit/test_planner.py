"""When the back end is asked; all in virtual time."""

import asyncio

import pytest

from kame_core.backend.base import ChatMessage, ChatRequest, Finish
from kame_core.backend.planner import DEFAULT_BUDGETS
from kame_core.backend.prompt import PromptContext
from kame_core.clock import VirtualClock, run_virtual
from kame_core.errors import ChatModelError
from kame_core.events import CandidateAdopted, CandidateFailed, CandidateStarted, Event
from tests.support.chat import Answer, ScriptedChatModel
from tests.support.planner_desk import Desk, play


class TestPace:
    def test_a_partial_is_asked_100_ms_after_its_last_change(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.partial("what is")
            await desk.at(500)

        assert play(script, ScriptedChatModel()).started() == [(100, "what is", False)]

    def test_changes_delay_it_to_150_ms_after_the_first(self) -> None:
        async def script(desk: Desk) -> None:
            for ms, text in ((0, "what"), (60, "what is"), (120, "what is the"), (140, "what is the cap")):
                await desk.at(ms)
                desk.planner.partial(text)
            await desk.at(145)
            assert desk.started() == []
            await desk.at(500)

        assert play(script, ScriptedChatModel()).started() == [(150, "what is the cap", False)]

    def test_no_change_asks_nothing(self) -> None:
        async def script(desk: Desk) -> None:
            for ms in range(0, 2000, 70):
                await desk.at(ms)
                desk.planner.partial("What is it?" if ms % 140 else "what is it")
            desk.planner.partial("  ")
            await desk.at(3000)

        assert len(play(script, ScriptedChatModel()).started()) == 1

    def test_going_back_to_what_is_being_answered_asks_nothing(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.partial("paris")
            await desk.at(200)
            desk.planner.partial("parish")
            await desk.at(250)
            desk.planner.partial("Paris")
            await desk.at(1000)

        assert [text for _, text, _ in play(script, ScriptedChatModel()).started()] == ["paris"]

    def test_a_pause_and_an_end_ask_at_once(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.partial("what is the cap")
            await desk.at(30)
            desk.planner.pause("what is the capital")
            await desk.at(60)
            desk.planner.turn_ended("what is the capital of France")
            await desk.at(1000)

        assert play(script, ScriptedChatModel()).started() == [
            (30, "what is the capital", False),
            (60, "what is the capital of France", True),
        ]


class TestSpeculation:
    def test_a_final_that_equals_a_running_partial_costs_nothing(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.partial("what is the capital of france")
            await desk.at(200)
            desk.planner.pause("What is the capital of France")
            desk.planner.turn_ended("What is the capital of France?")
            assert desk.planner.busy
            await desk.at(3000)
            assert not desk.planner.busy

        desk = play(script, ScriptedChatModel())
        assert desk.started() == [(100, "what is the capital of france", False)]
        assert desk.finished() == ["Paris is the capital of France."]

    def test_a_final_that_equals_an_answered_partial_costs_nothing(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.partial("what is the capital")
            await desk.at(2000)
            desk.planner.turn_ended("what is the capital")
            await desk.at(4000)

        assert len(play(script, ScriptedChatModel()).started()) == 1

    @pytest.mark.parametrize("when_ms", [50, 2000])
    def test_an_unfinished_question_without_an_answer_is_asked_again_whole(self, when_ms: int) -> None:
        def answer(request: ChatRequest) -> Answer:
            return Answer() if request.complete else Answer(text="", finish=Finish("no_answer"))

        async def script(desk: Desk) -> None:
            desk.planner.pause("tell me")
            await desk.at(when_ms)
            desk.planner.turn_ended("tell me")
            await desk.at(5000)

        desk = play(script, ScriptedChatModel(answer))
        assert [complete for _, _, complete in desk.started()] == [False, True]
        assert desk.finished() == ["", "Paris is the capital of France."]

    @pytest.mark.parametrize(("retryable", "asked"), [(True, 2), (False, 1)])
    def test_a_failed_speculation_is_asked_again_where_that_can_help(self, retryable: bool, asked: int) -> None:
        fault = ChatModelError("no", retryable=retryable)

        def answer(request: ChatRequest) -> Answer:
            return Answer() if request.complete else Answer(text="", error=fault)

        async def script(desk: Desk) -> None:
            desk.planner.pause("tell me")
            await desk.at(50)
            desk.planner.turn_ended("tell me")
            await desk.at(5000)

        desk = play(script, ScriptedChatModel(answer))
        assert len(desk.started()) == asked
        assert desk.failures() == [fault]

    def test_a_final_equal_to_a_superseded_partial_is_asked_again(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.partial("paris")
            await desk.at(1000)
            desk.planner.partial("parish")
            await desk.at(2000)
            desk.planner.turn_ended("paris")
            await desk.at(4000)

        assert [text for _, text, _ in play(script, ScriptedChatModel()).started()] == ["paris", "parish", "paris"]

    def test_a_newer_request_for_words_taken_back_is_dropped_at_the_end(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.partial("paris")
            await desk.at(200)
            desk.planner.partial("parish")
            await desk.at(320)
            desk.planner.turn_ended("paris")
            await desk.at(4000)

        desk = play(script, ScriptedChatModel())
        assert [text for _, text, _ in desk.started()] == ["paris", "parish"]
        assert desk.failures() == [None]
        assert desk.text_of("parish") == ""
        assert desk.text_of("paris") == "Paris is the capital of France."


class TestTwoAtMost:
    def slow(self) -> ScriptedChatModel:
        return ScriptedChatModel(Answer(first_token_delay_s=1.2))

    def test_a_slow_model_is_never_starved(self) -> None:
        """Words keep coming faster than the first token; the oracle still gets text before the user has finished."""
        words = [f"word{number}" for number in range(12)]

        async def script(desk: Desk) -> None:
            for count in range(1, len(words) + 1):
                await desk.at(count * 333)
                desk.planner.partial(" ".join(words[:count]))
                assert len([call for call in model.calls if call.ended == "running"]) <= 3  # two and the adopted one
            await desk.at(4000)
            desk.planner.turn_ended(" ".join(words))
            await desk.at(9000)

        model = self.slow()
        desk = play(script, model)
        adopted = [event.at_ms for event in desk.events if isinstance(event, CandidateAdopted)]
        assert adopted[0] < 333 + 150 + 1200 + 100
        assert len([ms for ms in adopted if ms < 4000]) >= 2
        assert desk.oracle.adopted is not None
        assert desk.oracle.adopted.partial == " ".join(words)
        assert desk.oracle.adopted.finished

    def test_further_changes_wait_in_a_box_where_the_latest_wins(self) -> None:
        async def script(desk: Desk) -> None:
            for ms, text in ((0, "a b"), (200, "a b c"), (400, "a b c d"), (600, "a b c d e")):
                await desk.at(ms)
                desk.planner.partial(text)
            await desk.at(1000)
            assert [text for _, text, _ in desk.started()] == ["a b", "a b c"]
            assert desk.planner.busy
            await desk.at(1500)

        desk = play(script, self.slow())
        assert desk.started()[2][1] == "a b c d e"
        assert 1300 <= desk.started()[2][0] <= 1400  # as soon as the first one was adopted

    def test_the_end_of_the_turn_takes_the_youngers_place_at_once(self) -> None:
        async def script(desk: Desk) -> None:
            for ms, text in ((0, "a b"), (200, "a b c"), (400, "a b c d")):
                await desk.at(ms)
                desk.planner.partial(text)
            await desk.at(700)
            desk.planner.turn_ended("a b c d e")
            assert desk.started()[-1] == (700, "a b c d e", True)
            await desk.at(6000)

        model = self.slow()
        desk = play(script, model)
        assert [call.text for call in model.calls] == ["a b", "a b c", "a b c d e"]
        assert [call.ended for call in model.calls] == ["finished", "closed", "finished"]
        assert desk.text_of("a b") != ""  # the older one had its say
        assert desk.text_of("a b c") == ""
        assert desk.finished() == ["Paris is the capital of France."] * 2

    def test_the_older_one_is_never_cancelled_before_its_first_word(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.partial("a b")
            await desk.at(200)
            for number in range(8):
                desk.planner.pause(f"a b {number}")
                await desk.at(300 + 100 * number)
            assert model.calls[0].ended == "running"
            await desk.at(1290)
            assert model.calls[0].ended == "running"
            await desk.at(5000)

        model = self.slow()
        desk = play(script, model)
        assert desk.text_of("a b") != ""

    def test_adopting_the_newer_one_ends_the_older_ones(self) -> None:
        def answer(request: ChatRequest) -> Answer:
            return Answer(first_token_delay_s=5.0 if request.messages[-1].content == "slow words" else 0.2)

        async def script(desk: Desk) -> None:
            desk.planner.partial("slow words")
            await desk.at(200)
            desk.planner.turn_ended("fast words")
            await desk.at(450)
            assert model.calls[0].ended == "closed"
            await desk.at(2000)

        model = ScriptedChatModel(answer)
        desk = play(script, model)
        assert desk.failures() == [None]
        assert desk.finished() == ["Paris is the capital of France."]

    def test_an_empty_answer_makes_room(self) -> None:
        async def script(desk: Desk) -> None:
            for ms, text in ((0, "a b"), (200, "a b c"), (400, "a b c d")):
                await desk.at(ms)
                desk.planner.partial(text)
            await desk.at(3000)

        model = ScriptedChatModel(Answer(text="", first_token_delay_s=1.0, finish=Finish("no_answer")))
        assert len(play(script, model).started()) == 3


class TestTurns:
    def test_typed_text_is_always_asked(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.ask("hello")
            await desk.at(2000)
            desk.planner.ask("hello")
            await desk.at(4000)

        assert [complete for _, _, complete in play(script, ScriptedChatModel()).started()] == [True, True]

    def test_the_same_words_in_the_next_turn_are_asked_again(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.turn_ended("go on")
            await desk.at(2000)
            desk.oracle.new_turn()
            desk.planner.new_turn()
            desk.planner.turn_ended("go on")
            await desk.at(4000)

        assert len(play(script, ScriptedChatModel()).started()) == 2

    def test_stop_silences_everything(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.turn_ended("tell me a story")
            await desk.at(400)
            desk.planner.partial("tell me another")
            await desk.at(600)
            desk.planner.partial("tell me another one")
            desk.planner.stop()
            assert not desk.planner.busy
            before = len(desk.events)
            await desk.at(5000)
            assert len(desk.events) == before

        model = ScriptedChatModel(Answer(text="word " * 100))
        desk = play(script, model)
        assert [call.ended for call in model.calls] == ["closed", "closed"]
        assert desk.failures() == [None, None]

    def test_closing_twice_and_calls_after_it_do_nothing(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.turn_ended("hello")
            await desk.at(100)
            await desk.planner.aclose()
            before = len(desk.events)
            desk.planner.partial("more")
            desk.planner.pause("more")
            desk.planner.turn_ended("more")
            desk.planner.ask("more")
            desk.planner.stop()
            await desk.at(1000)
            assert len(desk.events) == before

        assert play(script, ScriptedChatModel()).failures() == [None]

    def test_an_ending_task_group_is_no_fault(self) -> None:
        async def main(clock: VirtualClock) -> list[Event]:
            async with asyncio.TaskGroup() as tasks:
                desk = Desk(clock, tasks, ScriptedChatModel(), DEFAULT_BUDGETS)
            desk.planner.turn_ended("too late")
            desk.planner.partial("too late too")
            return desk.events

        events = run_virtual(main)
        assert [type(event) for event in events] == [CandidateStarted, CandidateFailed]

    def test_the_context_is_that_of_the_moment_of_asking(self) -> None:
        async def script(desk: Desk) -> None:
            desk.planner.turn_ended("one")
            desk.context = PromptContext(history=(ChatMessage("user", "one"), ChatMessage("assistant", "two")))
            await desk.at(1000)
            desk.planner.new_turn()
            desk.planner.turn_ended("three")
            await desk.at(2000)

        model = ScriptedChatModel()
        play(script, model)
        assert [len(call.request.messages) for call in model.calls] == [2, 4]
