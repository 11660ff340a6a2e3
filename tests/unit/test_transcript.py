import pytest

from kame_core.backend.base import ChatMessage, ToolCall
from kame_core.errors import InvalidRequestError
from kame_core.transcript import NO_RESULT, Item, Transcript, function_call, function_output


def said(item_id: str, role: str, text: str) -> Item:
    assert role in ("user", "assistant", "system")
    return Item(item_id, role, text, "completed", "audio")  # type: ignore[arg-type]


def test_items_keep_their_order_and_know_what_is_before_them() -> None:
    transcript = Transcript()
    assert transcript.add(said("a", "user", "hello")) is None
    assert transcript.add(said("b", "assistant", "Hello.")) == "a"
    assert transcript.add(said("between", "system", "be brief"), "a") == "a"
    assert [item.id for item in transcript.items()] == ["a", "between", "b"]
    assert transcript.last_id == "b"


def test_history_is_what_was_heard_not_what_was_generated() -> None:
    transcript = Transcript()
    transcript.add(said("a", "user", "what is the capital of france"))
    transcript.add(Item("b", "assistant", "", "in_progress", "audio"))
    transcript.update("b", text="Paris is", generated="Paris is the capital of France.", status="incomplete")
    assert transcript.history() == (
        ChatMessage("user", "what is the capital of france"),
        ChatMessage("assistant", "Paris is"),
    )
    assert transcript.history(without="a") == (ChatMessage("assistant", "Paris is"),)


def test_every_call_is_followed_by_its_result_wherever_that_came() -> None:
    transcript = Transcript()
    transcript.add(said("a", "user", "hello"))
    for call_id in ("one", "two"):
        transcript.add(function_call(call_id, call_id, "look", "{}"))
    transcript.add(said("b", "user", "well?"))
    transcript.add(function_output("o", "one", "sunny"))
    assert transcript.history() == (
        ChatMessage("user", "hello"),
        ChatMessage("assistant", "", (ToolCall("one", "look", "{}"),)),
        ChatMessage("tool", "sunny", call_id="one"),
        ChatMessage("assistant", "", (ToolCall("two", "look", "{}"),)),
        ChatMessage("tool", NO_RESULT, call_id="two"),
        ChatMessage("user", "well?"),
    )
    transcript.delete("one")
    assert [message.role for message in transcript.history()] == ["user", "assistant", "tool", "user"]


def test_what_tools_did_for_a_turn_stands_behind_it_and_goes_with_it() -> None:
    transcript = Transcript()
    transcript.add(said("a", "user", "hello"))
    done = (ChatMessage("assistant", "", (ToolCall("c", "f", "{}"),)), ChatMessage("tool", "done", call_id="c"))
    transcript.update("a", tools=done)
    assert transcript.history() == (ChatMessage("user", "hello"), *done)
    assert transcript.before("a") is None
    transcript.add(said("b", "assistant", "Hello."))
    assert transcript.before("b") == "a"
    transcript.delete("a")
    assert transcript.history() == (ChatMessage("assistant", "Hello."),)


def test_ids_are_unique_and_unknown_ones_are_told() -> None:
    transcript = Transcript()
    transcript.add(said("a", "user", "hello"))
    with pytest.raises(InvalidRequestError) as taken:
        transcript.add(said("a", "user", "again"))
    assert taken.value.code == "item_exists"
    with pytest.raises(InvalidRequestError) as missing:
        transcript.add(said("b", "user", "again"), "nowhere")
    assert missing.value.code == "item_not_found"
    with pytest.raises(InvalidRequestError):
        transcript.delete("nowhere")
    assert transcript.update("nowhere", text="x") is None


def test_a_long_dialogue_forgets_its_beginning() -> None:
    transcript = Transcript(max_items=3)
    for number in range(5):
        transcript.add(said(str(number), "user", "word"))
    assert [item.id for item in transcript.items()] == ["2", "3", "4"]
