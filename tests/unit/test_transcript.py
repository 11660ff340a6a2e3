import pytest

from kame_core.backend.base import ChatMessage
from kame_core.errors import InvalidRequestError
from kame_core.transcript import Item, Transcript


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
