"""Items that clients add, ask for and take away, and the precise answer to everything that is wrong."""

from typing import Any

import pytest

from kame_core import events
from kame_core.transcript import Item
from tests.support.codec_call import Call, message


@pytest.fixture
def call() -> Call:
    return Call()


def test_typed_message_becomes_part_of_the_dialogue(call: Call) -> None:
    assert call.send(type="conversation.item.create", item=message(id="item_x")) == []
    assert call.send(type="conversation.item.create", item=message("hi", "system"), previous_item_id="item_x") == []
    assert call.conversation.calls == [
        ("add_text", "hello", "user", "item_x", None),
        ("add_text", "hi", "system", None, "item_x"),
    ]
    call.codec.handle_event(events.ItemAdded(0, "item_x", None, "user", "hello"))
    assert call.client.types() == ["conversation.item.added", "conversation.item.done"]


def test_parts_of_a_message_are_joined(call: Call) -> None:
    item = message()
    item["content"].append({"type": "input_text", "text": "world"})
    call.send(type="conversation.item.create", item=item)
    assert call.conversation.calls == [("add_text", "hello\nworld", "user", None, None)]


def test_function_output_becomes_part_of_the_dialogue(call: Call) -> None:
    item = {"type": "function_call_output", "call_id": "call_1", "output": "", "id": "item_o"}
    assert call.send(type="conversation.item.create", item=item) == []
    assert call.conversation.calls == [("add_function_output", "call_1", "", "item_o", None)]


def test_assistant_message_is_output_text(call: Call) -> None:
    call.send(type="conversation.item.create", item=message("Hi.", "assistant", "output_text"))
    assert call.conversation.calls == [("add_text", "Hi.", "assistant", None, None)]


@pytest.mark.parametrize(
    ("item", "param", "code"),
    [
        ({"type": "mcp_approval_response"}, "item.type", "unsupported_item_type"),
        ({"type": "function_call_output", "output": "1"}, "item.call_id", "missing_required_parameter"),
        ({"type": "function_call_output", "call_id": "c"}, "item.output", "missing_required_parameter"),
        ({"type": "function_call_output", "call_id": 5, "output": "1"}, "item.call_id", "invalid_type"),
        ({"role": "user", "content": []}, "item.type", "missing_required_parameter"),
        ({"type": "message", "content": []}, "item.role", "missing_required_parameter"),
        ({"type": "message", "role": "robot", "content": []}, "item.role", "invalid_value"),
        ({"type": "message", "role": "user"}, "item.content", "missing_required_parameter"),
        ({"type": "message", "role": "user", "content": "hello"}, "item.content", "invalid_type"),
        (message(" \n"), "item.content", "invalid_value"),
        (message(kind="input_image"), "item.content[0].type", "unsupported_content_type"),
        (message(kind="input_audio"), "item.content[0].type", "unsupported_content_type"),
        (message(role="assistant"), "item.content[0].type", "unsupported_content_type"),
        (message(id="../etc"), "item.id", "invalid_value"),
        (message(id="taken"), "item.id", "item_exists"),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
            "item.content[0].text",
            "missing_required_parameter",
        ),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": 5}]},
            "item.content[0].text",
            "invalid_type",
        ),
    ],
)
def test_bad_items_name_the_parameter(call: Call, item: dict[str, Any], param: str, code: str) -> None:
    call.conversation.transcript.add(Item("taken", "user", "x", "completed", "text"))
    error = call.refused(type="conversation.item.create", item=item)
    assert (error["param"], error["code"]) == (param, code)
    assert call.conversation.calls == []


@pytest.mark.parametrize(("previous", "code"), [("root", "invalid_value"), ("nobody", "item_not_found")])
def test_places_that_cannot_be_had(call: Call, previous: str, code: str) -> None:
    error = call.refused(type="conversation.item.create", item=message(), previous_item_id=previous)
    assert (error["param"], error["code"]) == ("previous_item_id", code)


@pytest.mark.parametrize(
    ("item", "content"),
    [
        (Item("i", "user", "what time", "completed", "audio"), {"type": "input_audio", "transcript": "what time"}),
        (Item("i", "user", "", "completed", "audio"), {"type": "input_audio", "transcript": None}),
        (Item("i", "user", "hi", "completed", "text"), {"type": "input_text", "text": "hi"}),
        (Item("i", "assistant", "Ten", "incomplete", "audio"), {"type": "output_audio", "transcript": "Ten"}),
        (Item("i", "assistant", "Ten", "completed", "text"), {"type": "output_text", "text": "Ten"}),
    ],
)
def test_retrieved_items_show_what_was_heard(call: Call, item: Item, content: dict[str, Any]) -> None:
    call.conversation.transcript.add(item)
    (answer,) = call.send(type="conversation.item.retrieve", item_id="i")
    assert answer["type"] == "conversation.item.retrieved"
    assert answer["item"]["content"] == [content]
    assert answer["item"]["status"] == item.status


@pytest.mark.parametrize("kind", ["conversation.item.retrieve", "conversation.item.delete"])
def test_unknown_items(call: Call, kind: str) -> None:
    error = call.refused(type=kind, item_id="nobody")
    assert (error["param"], error["code"]) == ("item_id", "item_not_found")


def test_deleting(call: Call) -> None:
    call.conversation.transcript.add(Item("i", "user", "x", "completed", "text"))
    assert call.send(type="conversation.item.delete", item_id="i") == []
    assert call.conversation.calls == [("delete_item", "i")]


def test_truncation_is_acknowledged_for_the_agents_items_only(call: Call) -> None:
    call.conversation.transcript.add(Item("a", "assistant", "x", "completed", "audio"))
    call.conversation.transcript.add(Item("u", "user", "x", "completed", "audio"))
    truncate = {"type": "conversation.item.truncate", "content_index": 0, "audio_end_ms": 300}
    (answer,) = call.send(**truncate, item_id="a")
    assert (answer["type"], answer["audio_end_ms"]) == ("conversation.item.truncated", 300)
    assert call.refused(**truncate, item_id="u")["param"] == "item_id"
    assert call.refused(**{**truncate, "content_index": 1}, item_id="a")["param"] == "content_index"
    assert call.refused(**{**truncate, "audio_end_ms": -1}, item_id="a")["param"] == "audio_end_ms"
