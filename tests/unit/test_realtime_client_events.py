"""What clients send: what it does, and the precise answer to everything that is wrong."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.client_events import CLIENT_EVENTS
from app.protocol.kame_events import EngineEvent, EnginePart
from kame_core import events
from kame_core.backend.base import ToolDeclaration
from kame_core.options import Mode, ResponseOptions, TurnDetection
from tests.support.codec_call import Call, message
from tests.support.wire_conversation import check_server_event


@pytest.fixture
def call() -> Call:
    return Call()


# --- opening ---


def test_opening_greets_with_the_session_and_what_answers(call: Call) -> None:
    part = EnginePart(name="reflex", note="no GPU here")
    call.codec.opened(resume="token", engine=EngineEvent(frontend=part, stt=part, tts=part, llm=part))
    created, engine = call.client.take()
    assert created["type"] == "session.created"
    assert created["session"]["object"] == "realtime.session"
    assert created["session"]["kame"]["resume"] == "token"
    assert created["session"]["kame"]["call_id"] == "rtc_1"
    assert created["session"]["kame"]["conversation_id"] == "conv_1"
    assert engine["type"] == "kame.engine"
    assert engine["llm"] == {"name": "reflex", "note": "no GPU here"}


# --- session.update ---


def test_session_update_merges_and_reaches_the_conversation(call: Call) -> None:
    turn_detection = {"type": "server_vad", "silence_duration_ms": 700, "interrupt_response": False}
    call.send(
        type="session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": turn_detection}}}
    )
    (answer,) = call.send(
        type="session.update",
        session={"type": "realtime", "instructions": "Be brief.", "audio": {"output": {"voice": "anna"}}},
    )
    assert answer["type"] == "session.updated"
    options = call.conversation.options
    assert options.instructions == "Be brief."
    assert options.voice == "anna"
    assert options.turn_detection == TurnDetection(silence_ms=700, interrupt_response=False)


def test_our_own_settings(call: Call) -> None:
    call.send(type="session.update", session={"kame": {"mode": "cascaded", "opener": False}})
    assert call.conversation.options.mode is Mode.CASCADED
    assert call.conversation.options.opener is False


def test_update_without_effect_does_not_disturb_the_conversation(call: Call) -> None:
    assert [m["type"] for m in call.send(type="session.update", session={"tracing": "auto"})] == ["session.updated"]
    assert call.conversation.calls == []


def test_voice_the_conversation_keeps_is_named(call: Call) -> None:
    call.conversation.keeps_voice = True
    (answer,) = call.send(type="session.update", session={"audio": {"output": {"voice": "anna"}}})
    assert answer["session"]["kame"]["not_honoured"] == ["audio.output.voice"]


def test_refused_options_leave_the_session_as_it_was(call: Call) -> None:
    call.conversation.refuse = RuntimeError("secret words")
    error = call.refused(type="session.update", session={"instructions": "x"})
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert call.codec.session.options.instructions == ""


@pytest.mark.parametrize(
    ("session", "param", "code"),
    [
        ({"type": "transcription"}, "session.type", "invalid_value"),
        ({"instructions": 5}, "session.instructions", "invalid_type"),
        ({"audio": 5}, "session.audio", "invalid_type"),
        ({"audio": {"input": {"turn_detection": "off"}}}, "session.audio.input.turn_detection", "invalid_type"),
        (
            {"audio": {"input": {"turn_detection": {"type": "psychic"}}}},
            "session.audio.input.turn_detection.type",
            "invalid_value",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 5}}}},
            "session.audio.input.turn_detection.silence_duration_ms",
            "invalid_value",
        ),
        (
            {"audio": {"input": {"turn_detection": {"create_response": "yes"}}}},
            "session.audio.input.turn_detection.create_response",
            "invalid_type",
        ),
        (
            {"audio": {"input": {"transcription": {"language": "!!"}}}},
            "session.audio.input.transcription.language",
            "invalid_value",
        ),
        ({"audio": {"output": {"speed": 9}}}, "session.audio.output.speed", "invalid_value"),
        ({"audio": {"output": {"voice": 7}}}, "session.audio.output.voice", "invalid_type"),
        ({"audio": {"input": {"format": {"rate": 16000}}}}, "session.audio.input.format.rate", "invalid_value"),
        ({"max_output_tokens": 0}, "session.max_output_tokens", "invalid_value"),
        ({"max_output_tokens": True}, "session.max_output_tokens", "invalid_type"),
        ({"output_modalities": ["text"]}, "session.output_modalities", "invalid_value"),
        ({"output_modalities": ["audio", "smell"]}, "session.output_modalities[1]", "invalid_value"),
        ({"kame": {"mode": "warp"}}, "session.kame.mode", "invalid_value"),
        ({"kame": {"mode": ["tandem"]}}, "session.kame.mode", "invalid_value"),
        ({"kame": {"opener": 1}}, "session.kame.opener", "invalid_type"),
        ({"tools": [5]}, "session.tools[0]", "invalid_type"),
        ({"tools": [{"type": "spanner"}]}, "session.tools[0].type", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "session.tools[0].name", "missing_required_parameter"),
        ({"tools": [{"type": "function", "name": "two words"}]}, "session.tools[0].name", "invalid_value"),
        ({"tools": [{"type": "function", "name": "f"}] * 2}, "session.tools[1].name", "invalid_value"),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": {"type": "array"}}]},
            "session.tools[0].parameters.type",
            "invalid_value",
        ),
        ({"tool_choice": {"type": "function", "name": "f"}}, "session.tool_choice.name", "invalid_value"),
        ({"kame": {"preset": "pirate"}}, "session.kame.preset", "invalid_value"),
        ({"kame": {"second_language": "!"}}, "session.kame.second_language", "invalid_value"),
        ({"kame": {"knowledge": "x" * 12_001}}, "session.kame.knowledge", "invalid_value"),
        ({"tool_choice": "maybe"}, "session.tool_choice", "invalid_value"),
        (
            {"truncation": {"type": "retention_ratio"}},
            "session.truncation.retention_ratio",
            "missing_required_parameter",
        ),
        ({"prompt": {}}, "session.prompt.id", "missing_required_parameter"),
    ],
)
def test_bad_session_values_name_the_parameter(call: Call, session: dict[str, Any], param: str, code: str) -> None:
    before = call.codec.session
    error = call.refused(type="session.update", session=session)
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert "instance of" not in error["message"], "no words of ours"
    assert call.codec.session is before


# --- responses ---


def test_response_create_carries_its_metadata_to_the_end(call: Call) -> None:
    assert call.send(type="response.create", response={"instructions": "Greet.", "metadata": {"topic": "a"}}) == []
    assert call.conversation.calls == [("create_response", ResponseOptions("Greet."))]
    call.codec.handle_event(events.ResponseStarted(0, "resp_1", "item_a", None))
    call.codec.handle_event(events.ResponseEnded(9, "resp_1", "item_a", "completed", "", "", "", 0, 0))
    metadata = [m["response"]["metadata"] for m in call.client.take() if "response" in m]
    assert metadata == [{"topic": "a"}, {"topic": "a"}]


def test_a_response_may_choose_its_tool(call: Call) -> None:
    tools = [{"type": "function", "name": "weather"}]
    call.send(type="session.update", session={"tools": tools})
    call.send(type="response.create", response={"tool_choice": {"type": "function", "name": "weather"}})
    assert call.conversation.calls[-1] == ("create_response", ResponseOptions(tool_choice="weather"))
    error = call.refused(type="response.create", response={"tool_choice": {"type": "function", "name": "other"}})
    assert error["param"] == "response.tool_choice.name"


def test_a_response_may_bring_tools_of_its_own_and_a_limit(call: Call) -> None:
    call.send(type="session.update", session={"tools": [{"type": "function", "name": "weather"}]})
    tools = [{"type": "function", "name": "book", "description": "Books.", "parameters": {"type": "object"}}]
    choice = {"type": "function", "name": "book"}
    asked = {"tools": tools, "tool_choice": choice, "max_output_tokens": 50}
    assert call.send(type="response.create", response=asked) == []
    declared = (ToolDeclaration("book", "Books.", {"type": "object"}),)
    wishes = ResponseOptions(tools=declared, tool_choice="book", max_output_tokens=50)
    assert call.conversation.calls[-1] == ("create_response", wishes)
    call.codec.handle_event(events.ResponseStarted(0, "resp_1", "item_a", None))
    assert [m["response"]["max_output_tokens"] for m in call.client.take() if "response" in m] == [50]
    of_the_session = {"tools": [], "tool_choice": {"type": "function", "name": "weather"}}
    assert call.refused(type="response.create", response=of_the_session)["param"] == "response.tool_choice.name"


def test_second_response_is_refused_with_a_link(call: Call) -> None:
    call.send(type="response.create")
    assert call.refused(type="response.create")["code"] == "conversation_already_has_active_response"


@pytest.mark.parametrize(
    ("response", "param"),
    [
        ({"conversation": "other"}, "response.conversation"),
        ({"input": []}, "response.input"),
        ({"output_modalities": ["text"]}, "response.output_modalities"),
        ({"metadata": {str(number): "" for number in range(17)}}, "response.metadata"),
        ({"metadata": {"a": 5}}, "response.metadata.a"),
        ({"instructions": []}, "response.instructions"),
        ({"tool_choice": "maybe"}, "response.tool_choice"),
        ({"tool_choice": {"type": "mcp"}}, "response.tool_choice.type"),
        ({"tools": [{"type": "function"}]}, "response.tools[0].name"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "response.tools"),
        ({"max_output_tokens": 0}, "response.max_output_tokens"),
        ({"audio": {"output": {"voice": "anna"}}}, "response.audio"),
        ({"prompt": {"id": "p"}}, "response.prompt"),
        ("now", "response"),
    ],
)
def test_responses_that_cannot_be_had(call: Call, response: Any, param: str) -> None:
    assert call.refused(type="response.create", response=response)["param"] == param
    assert call.conversation.calls == []


def test_cancel(call: Call) -> None:
    assert call.refused(type="response.cancel")["code"] == "response_cancel_not_active"
    call.send(type="response.create")
    assert call.send(type="response.cancel", response_id="resp_1") == []
    assert call.conversation.calls[-1] == ("cancel_response", "resp_1")


def test_buffers(call: Call) -> None:
    assert call.send(type="output_audio_buffer.clear") == []
    assert call.send(type="input_audio_buffer.commit") == []
    assert [m["type"] for m in call.send(type="input_audio_buffer.clear")] == ["input_audio_buffer.cleared"]
    assert call.conversation.calls == [("clear_voice",), ("commit_input",), ("clear_input",)]
    assert call.refused(type="input_audio_buffer.append", audio="AAAA")["code"] == "unsupported_on_transport"


@pytest.mark.parametrize("t", [1, 1.5, "now", None])
def test_ping(call: Call, t: Any) -> None:
    (answer,) = call.send(type="kame.ping", t=t)
    assert (answer["type"], answer["t"]) == ("kame.pong", t)


# --- anything else ---


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ('{"type": NaN}', "invalid_json"),
        ('{"type": "kame.ping", "t": -1e999}', "invalid_json"),
        ('{"type": "kame.ping", "t": ' + "9" * 5000 + "}", "invalid_json"),
        ('{"type": "\\ud800"}', "invalid_json"),
        ("[" * 5000 + "]" * 5000, "invalid_json"),
        ('{"type":"session.update","session":' + '{"a":' * 40 + "1" + "}" * 40 + "}", "invalid_json"),
        ("[]", "invalid_type"),
        ("null", "invalid_type"),
        ('"hello"', "invalid_type"),
        ("{}", "missing_required_parameter"),
        ('{"type": 5}', "invalid_type"),
        ('{"type": "session.destroy"}', "invalid_value"),
        ('{"type": "session.update"}', "missing_required_parameter"),
        ('{"type": "kame.ping", "event_id": 7}', "invalid_type"),
        ('{"type": "kame.ping", "t": "' + "x" * 70_000 + '"}', "request_too_large"),
    ],
)
def test_malformed_messages_get_a_precise_error_and_the_session_stays(call: Call, raw: str, code: str) -> None:
    call.codec.handle_text(raw)
    (answer,) = call.client.take()
    assert answer["type"] == "error"
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["code"] == code
    assert len(answer["error"]["message"]) < 600
    assert [m["type"] for m in call.send(type="kame.ping")] == ["kame.pong"]


def test_fault_of_ours_is_answered_without_telling_what_was_said(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    call.conversation.refuse = RuntimeError("my secret is 42")
    with caplog.at_level(logging.ERROR):
        error = call.refused(type="conversation.item.create", item=message("my secret is 42"))
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "secret" not in caplog.text
    assert "RuntimeError" in caplog.text


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["server_vad", "message", "user"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["session", "item", "item_id", "previous_item_id", "response", "response_id", "event_id", "audio_end_ms", "t"]
)


@given(st.sampled_from(sorted(CLIENT_EVENTS)), st.dictionaries(FIELDS, VALUES, max_size=4))
def test_whatever_a_client_sends_the_session_goes_on(kind: str, fields: dict[str, Any]) -> None:
    call = Call()
    call.client.echoes = True
    for answer in call.send(type=kind, **fields):
        assert answer["type"] != "error" or answer["error"]["code"] != "internal_error"
    assert [m["type"] for m in call.send(type="kame.ping")] == ["kame.pong"]


SECTIONS = ["audio", "input", "output", "turn_detection", "transcription", "kame", "tools", "voice", "type", "tracing"]


@given(st.recursive(VALUES, lambda inner: st.dictionaries(st.sampled_from(SECTIONS), inner, max_size=3), max_leaves=8))
def test_no_session_update_breaks_the_session(patch: Any) -> None:
    call = Call()
    call.client.echoes = True
    (answer,) = call.send(type="session.update", session=patch)
    assert answer["type"] == "session.updated" or answer["error"]["code"] != "internal_error"
    assert call.codec.session.options is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "response.done", "event_id": "e", "response": {"status": "great"}},
        {"type": "input_audio_buffer.speech_started", "event_id": "e", "item_id": "i", "audio_start_ms": "1"},
        {"type": "conversation.item.done", "event_id": "e", "item": {"type": "message", "role": "user"}},
        {"type": "input_audio_buffer.cleared", "event_id": "e", "extra": 1},
        {"type": "kame.pong", "event_id": "e", "extra": 1},
        {"type": "no.such.event", "event_id": "e"},
    ],
)
def test_the_checking_client_of_these_tests_does_check(wrong: dict[str, Any]) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check_server_event(wrong)
