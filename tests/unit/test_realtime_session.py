"""The wire session: merging, what it means to a conversation, and what is told about it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from openai.types.realtime import RealtimeSessionCreateRequest
from openai.types.realtime.realtime_session_create_response import RealtimeSessionCreateResponse

from app.protocol.errors import ParameterError
from app.protocol.session import PATIENT_SILENCE_MS, SessionDefaults, SessionState
from kame_core.errors import InvalidRequestError
from kame_core.options import ConversationOptions, Mode, TurnDetection
from kame_core.speech_control import SpeechControl

OPTIONS = ConversationOptions(voice="klatt", instructions="You are KAME.")
DEFAULTS = SessionDefaults("kame-reflex", OPTIONS, frozenset({"klatt", "anna"}), frozenset({"en", "pt"}))

SDK_UPDATE: dict[str, Any] = {
    "type": "realtime",
    "instructions": "Be kind.",
    "model": "gpt-realtime",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "noise_reduction": None,
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {"type": "semantic_vad"},
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "ash", "speed": 1},
    },
    "tools": [{"type": "function", "name": "f", "description": "", "parameters": {}, "strict": True}],
    "tool_choice": "auto",
}
"""What OpenAI's JavaScript SDK sends when the channel opens."""


@pytest.fixture
def session() -> SessionState:
    return SessionState.new(DEFAULTS, expires_at=1_800_000_000)


def turn_detection(config: dict[str, Any] | None) -> dict[str, Any]:
    return {"audio": {"input": {"turn_detection": config}}}


def test_untouched_session_asks_for_the_defaults(session: SessionState) -> None:
    assert session.options == OPTIONS
    assert session.not_honoured() == []
    assert session.transcribes


@pytest.mark.parametrize("patch", [{}, SDK_UPDATE, turn_detection(None), {"kame": {"mode": "direct"}}])
def test_rendered_session_is_one_of_openais(session: SessionState, patch: dict[str, Any]) -> None:
    rendered = session.updated(patch).render(resume="r")
    json.dumps(rendered)
    RealtimeSessionCreateRequest.model_validate(rendered, strict=True)
    RealtimeSessionCreateResponse.model_validate(rendered, strict=True)
    assert rendered["type"] == "realtime"
    assert rendered["object"] == "realtime.session"
    assert rendered["id"].startswith("sess_")
    assert rendered["expires_at"] == 1_800_000_000


def test_update_of_the_sdk_is_echoed_and_what_has_no_effect_is_named(session: SessionState) -> None:
    updated = session.updated(SDK_UPDATE)
    rendered = updated.render()
    assert rendered["instructions"] == "Be kind."
    assert rendered["model"] == "gpt-realtime"
    assert rendered["audio"]["output"]["voice"] == "ash"
    assert rendered["tools"] == SDK_UPDATE["tools"]
    assert rendered["kame"]["not_honoured"] == [
        "audio.input.transcription.model",
        "audio.output.voice",
        "model",
    ]
    assert updated.options.voice == "klatt"
    assert updated.options.instructions == "Be kind."


def test_functions_become_tools_and_servers_of_tools_do_not(session: SessionState) -> None:
    schema = {"type": "object", "properties": {"place": {"type": "string"}}}
    tools = [
        {"type": "function", "name": "weather", "description": "Looks out.", "parameters": schema},
        {"type": "mcp", "server_label": "other"},
        {"type": "function", "name": "hang_up"},
    ]
    updated = session.updated({"tools": tools, "tool_choice": {"type": "function", "name": "weather"}})
    weather, hang_up = updated.options.tools
    assert (weather.name, weather.description, weather.parameters) == ("weather", "Looks out.", schema)
    assert (hang_up.name, hang_up.description, hang_up.parameters["type"]) == ("hang_up", "", "object")
    assert updated.options.tool_choice == "weather"
    assert updated.not_honoured() == ["tools"]
    assert session.updated({"tool_choice": "required"}).options.tool_choice == "required"


def test_preset_context_and_knowledge(session: SessionState) -> None:
    kame = {"preset": "interpreter", "second_language": "pt-BR", "context": "On a train.", "knowledge": "Nine to five."}
    options = session.updated({"kame": kame}).options
    assert (options.preset, options.second_language) == ("interpreter", "pt-BR")
    assert (options.context, options.knowledge) == ("On a train.", "Nine to five.")


def test_second_update_of_the_sdk_changes_nothing_else(session: SessionState) -> None:
    first = session.updated(SDK_UPDATE)
    second = first.updated({"type": "realtime", "tracing": "auto"})
    assert second.render() == first.render() | {
        "tracing": "auto",
        "kame": {**first.render()["kame"], "not_honoured": sorted([*first.not_honoured(), "tracing"])},
    }


def test_sending_a_session_back_changes_nothing(session: SessionState) -> None:
    rendered = session.updated(SDK_UPDATE).render(resume="token")
    again = session.updated(SDK_UPDATE).updated(rendered)
    del rendered["kame"]["resume"]
    assert again.render() == {**rendered, "id": again.id}


def test_old_states_are_not_changed_by_new_ones(session: SessionState) -> None:
    before = json.dumps(session.render())
    session.updated(SDK_UPDATE).updated(turn_detection(None))
    assert json.dumps(session.render()) == before


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, None),
        ({"type": "server_vad"}, TurnDetection()),
        ({"type": "server_vad", "silence_duration_ms": 800}, TurnDetection(silence_ms=800)),
        ({"type": "server_vad", "create_response": False}, TurnDetection(create_response=False)),
        ({"type": "semantic_vad", "interrupt_response": False}, TurnDetection(interrupt_response=False)),
        ({"type": "semantic_vad", "eagerness": "high"}, TurnDetection()),
        ({"type": "semantic_vad", "eagerness": "low"}, TurnDetection(silence_ms=PATIENT_SILENCE_MS)),
    ],
)
def test_turn_detection(session: SessionState, config: dict[str, Any] | None, expected: TurnDetection | None) -> None:
    assert session.updated(turn_detection(config)).options.turn_detection == expected


def test_turn_detection_of_another_type_keeps_nothing_of_the_old(session: SessionState) -> None:
    vad = session.updated(turn_detection({"type": "server_vad", "silence_duration_ms": 800, "create_response": False}))
    assert vad.updated(turn_detection({"create_response": True})).options.turn_detection == TurnDetection(800)
    assert vad.updated(turn_detection({"type": "semantic_vad"})).options.turn_detection == TurnDetection()


def test_turn_detection_comes_back_only_with_a_type(session: SessionState) -> None:
    off = session.updated(turn_detection(None))
    with pytest.raises(ParameterError) as caught:
        off.updated(turn_detection({"create_response": True}))
    assert caught.value.param == "session.audio.input.turn_detection.type"
    assert caught.value.code == "missing_required_parameter"


def test_null_brings_defaults_back(session: SessionState) -> None:
    changed = session.updated({**SDK_UPDATE, "max_output_tokens": 50, "kame": {"mode": "direct", "opener": False}})
    assert (changed.options.max_output_tokens, changed.options.mode) == (50, Mode.DIRECT)
    reset = {"instructions": None, "max_output_tokens": None, "audio": None, "kame": None, "tools": None, "model": None}
    back = changed.updated(reset)
    assert back.options == OPTIONS
    assert back.not_honoured() == []


def test_infinite_tokens(session: SessionState) -> None:
    infinite = session.updated({"max_output_tokens": "inf"})
    assert infinite.options.max_output_tokens == 4096
    assert infinite.render()["max_output_tokens"] == "inf"


@pytest.mark.parametrize("voice", ["anna", {"id": "anna"}])
def test_voice_by_name_or_object(session: SessionState, voice: Any) -> None:
    assert session.updated({"audio": {"output": {"voice": voice}}}).options.voice == "anna"


def test_last_written_language_counts_in_both_places(session: SessionState) -> None:
    portuguese = session.updated({"audio": {"input": {"transcription": {"language": "pt-BR"}}}})
    assert portuguese.options.language == "pt"
    assert portuguese.render()["kame"]["language"] == "pt-BR"
    english = portuguese.updated({"kame": {"language": "en"}})
    assert english.options.language == "en"
    assert english.render()["audio"]["input"]["transcription"]["language"] == "en"


@pytest.mark.parametrize(
    ("patch", "param"),
    [
        ({"kame": {"language": "ja"}}, "session.kame.language"),
        ({"audio": {"input": {"transcription": {"language": "ja"}}}}, "session.audio.input.transcription.language"),
    ],
)
def test_languages_that_are_not_understood(session: SessionState, patch: dict[str, Any], param: str) -> None:
    with pytest.raises(ParameterError, match=r"en, pt") as caught:
        session.updated(patch)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_language")


def test_transcription_off(session: SessionState) -> None:
    off = session.updated({"audio": {"input": {"transcription": None}}})
    assert not off.transcribes
    assert off.updated({"instructions": "x"}).render()["audio"]["input"]["transcription"] is None


def test_unknown_fields_are_kept_and_named(session: SessionState) -> None:
    updated = session.updated({"mood": {"happy": [1, 2]}, "kame": {"hat": "red"}}).updated({"instructions": "x"})
    assert updated.render()["mood"] == {"happy": [1, 2]}
    assert updated.render()["kame"]["hat"] == "red"
    assert updated.not_honoured() == ["mood"]


def test_what_opens_a_call_is_not_echoed(session: SessionState) -> None:
    opening = session.updated({"kame": {"resume": "old token", "transport": "echo"}})
    assert "old token" not in json.dumps(opening.render())
    assert opening.render(resume="new token")["kame"]["resume"] == "new token"


def test_a_session_goes_on_in_another_call_as_it_was(session: SessionState) -> None:
    tool = {"type": "function", "name": "lamp", "parameters": {"type": "object"}}
    sound = {"input": {"format": {"type": "audio/pcmu"}, "transcription": None}}
    before = session.updated({"tools": [tool], "tool_choice": "required", "audio": sound, "instructions": "x"})
    again = before.again(expires_at=7).updated({"kame": {"resume": "token", "context": "y"}, "instructions": None})
    assert again.id != before.id
    assert (again.expires_at, again.transcribes) == (7, False)
    assert again.options == replace(before.options, context="y", instructions=OPTIONS.instructions)
    assert again.config["audio"] == before.config["audio"]


def test_server_fields_cannot_be_set(session: SessionState) -> None:
    forged = session.updated({"id": "sess_forged", "object": "x", "expires_at": 1, "kame": {"not_honoured": ["lies"]}})
    assert forged.render() == session.render()


def test_size_of_a_session_is_bounded(session: SessionState) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        session.updated({"instructions": "x" * 60_000})
    assert caught.value.code == "session_too_large"
    assert len(session.updated({"instructions": "説明" * 7_000}).options.instructions) == 14_000


def test_a_greeting_and_an_idle_prompt_reach_the_conversation() -> None:
    session = SessionState.new(DEFAULTS)
    assert (session.options.greeting, session.options.idle_prompt) == ("", "")
    wish = {"kame": {"greeting": "Hello.", "idle_prompt": "Are you there?", "idle_after_s": 7}}
    changed = session.updated(wish)
    assert (changed.options.greeting, changed.options.idle_prompt) == ("Hello.", "Are you there?")
    assert changed.options.idle_after_s == 7
    assert changed.render()["kame"]["greeting"] == "Hello."
    assert changed.updated({"kame": {"greeting": None}}).options.greeting == ""


@pytest.mark.parametrize(
    ("field", "value"), [("greeting", 5), ("greeting", "x" * 1001), ("idle_after_s", 1), ("idle_after_s", "soon")]
)
def test_a_wrong_greeting_or_wait_is_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        SessionState.new(DEFAULTS).updated({"kame": {field: value}})
    assert getattr(refused.value, "param", None) == f"session.kame.{field}"


def test_speech_control_is_merged_field_by_field(session: SessionState) -> None:
    held = session.updated({"kame": {"speech_control": {"input_hold_ms": 800, "more": 1}}})
    assert held.options.speech_control == SpeechControl(input_hold_ms=800)
    gated = held.updated({"kame": {"speech_control": {"wait_for_guidance": True, "repeat_unspoken": True}}})
    assert gated.options.speech_control == SpeechControl(800, wait_for_guidance=True, repeat_unspoken=True)
    assert gated.not_honoured() == []
    shown = gated.render()["kame"]["speech_control"]
    assert (shown["input_hold_ms"], shown["wait_for_guidance"]) == (800, True)
    assert gated.updated({"kame": {"speech_control": None}}).options.speech_control == SpeechControl()


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"input_hold_ms": 801}, ".input_hold_ms"),
        ({"input_hold_ms": -1}, ".input_hold_ms"),
        ({"input_hold_ms": 80.5}, ".input_hold_ms"),
        ({"wait_for_guidance": 1}, ".wait_for_guidance"),
        ("tight", ""),
    ],
)
def test_speech_control_that_is_not_to_be_had_is_refused(session: SessionState, wish: Any, param: str) -> None:
    with pytest.raises(ParameterError) as refused:
        session.updated({"kame": {"speech_control": wish}})
    assert refused.value.param == f"session.kame.speech_control{param}"


def test_speech_control_without_effect_is_told() -> None:
    session = SessionState.new(SessionDefaults(steerable=False))
    assert session.updated({"kame": {"speech_control": {"input_hold_ms": 0}}}).not_honoured() == []
    held = session.updated({"kame": {"speech_control": {"input_hold_ms": 80}}})
    assert held.not_honoured() == ["kame.speech_control"]
