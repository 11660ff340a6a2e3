"""Events of a conversation whose message needs no memory of others, one by one; and that none is left untold."""

import pytest

from app.protocol.stateless import STATELESS
from kame_core import events
from kame_core.errors import ChatModelError, FrontendError
from kame_core.options import Mode
from tests.support.codec_call import Call


@pytest.fixture
def call() -> Call:
    return Call()


FACTS: list[tuple[events.Event, dict[str, object]]] = [
    (events.ItemDeleted(1, "i"), {"type": "conversation.item.deleted", "item_id": "i"}),
    (
        events.CandidateStarted(1, "c", "what is", complete=False),
        {"type": "kame.candidate.started", "candidate_id": "c", "partial": "what is", "complete": False, "at_ms": 1},
    ),
    (
        events.CandidateText(1, "c", " it"),
        {"type": "kame.candidate.delta", "candidate_id": "c", "delta": " it", "at_ms": 1},
    ),
    (
        events.CandidateFinished(1, "c", "it is", 3, 2),
        {
            "type": "kame.candidate.finished",
            "candidate_id": "c",
            "text": "it is",
            "input_tokens": 3,
            "output_tokens": 2,
            "at_ms": 1,
        },
    ),
    (
        events.CandidateFailed(1, "c", ChatModelError("No answer in time.", code="llm_timeout")),
        {
            "type": "kame.candidate.failed",
            "candidate_id": "c",
            "code": "llm_timeout",
            "message": "No answer in time.",
            "at_ms": 1,
        },
    ),
    (
        events.CandidateFailed(1, "c", None),
        {"type": "kame.candidate.failed", "candidate_id": "c", "code": None, "message": None, "at_ms": 1},
    ),
    (events.CandidateAdopted(1, "c"), {"type": "kame.candidate.adopted", "candidate_id": "c", "at_ms": 1}),
    (
        events.CandidateSuperseded(1, "c", None),
        {"type": "kame.candidate.superseded", "candidate_id": "c", "by": None, "at_ms": 1},
    ),
    (events.Ducked(1), {"type": "kame.voice.ducked", "at_ms": 1}),
    (events.Restored(1), {"type": "kame.voice.restored", "at_ms": 1}),
    (
        events.Spent(60_000, 12, 3000, 240, 12.0, 3240.0),
        {
            "type": "kame.spent",
            "requests": 12,
            "input_tokens": 3000,
            "output_tokens": 240,
            "requests_per_minute": 12.0,
            "tokens_per_minute": 3240.0,
            "at_ms": 60_000,
        },
    ),
    (
        events.TurnTiming(1, "r", Mode.TANDEM, 60, 200, 300, -400, 100, 250, 280, None, gate_ms=270),
        {
            "type": "kame.turn.timing",
            "response_id": "r",
            "mode": "tandem",
            "pause_ms": 60,
            "settled_ms": 200,
            "turn_end_ms": 300,
            "asked_ms": -400,
            "first_token_ms": 100,
            "adopted_ms": 250,
            "first_audio_ms": 280,
            "first_oracle_audio_ms": None,
            "hold_ms": None,
            "gate_ms": 270,
            "at_ms": 1,
        },
    ),
    (
        events.ToolStarted(1, "call_1", "look_up"),
        {"type": "kame.tool.started", "call_id": "call_1", "name": "look_up", "at_ms": 1},
    ),
    (
        events.ToolFinished(1, "call_1", "look_up", ChatModelError("It is away.", code="tool_failed")),
        {
            "type": "kame.tool.finished",
            "call_id": "call_1",
            "name": "look_up",
            "code": "tool_failed",
            "message": "It is away.",
            "at_ms": 1,
        },
    ),
    (
        events.Trouble(1, ChatModelError("The LLM is away.")),
        {"type": "kame.trouble", "code": "llm_failed", "message": "The LLM is away.", "fatal": False, "at_ms": 1},
    ),
    (events.ConversationEnded(1, "hangup"), {"type": "kame.ended", "reason": "hangup", "at_ms": 1}),
]


@pytest.mark.parametrize(("fact", "expected"), FACTS, ids=lambda value: type(value).__name__)
def test_single_facts(call: Call, fact: events.Event, expected: dict[str, object]) -> None:
    call.codec.handle_event(fact)
    (message,) = call.client.take()
    assert {key: value for key, value in message.items() if key != "event_id"} == expected


def test_fatal_trouble_reaches_foreign_clients_too(call: Call) -> None:
    call.codec.handle_event(events.Trouble(1, FrontendError("The voice engine stopped. Call again."), fatal=True))
    trouble, error = call.client.take()
    assert trouble["fatal"] is True
    assert error["error"]["type"] == "server_error"
    assert error["error"]["code"] == "frontend_failed"


def test_every_event_of_a_conversation_is_told_somehow() -> None:
    told = {type(fact) for fact, _ in FACTS} | {
        events.SpeechStarted,
        events.SpeechStopped,
        events.PartialTranscript,
        events.UserTurnCommitted,
        events.FinalTranscript,
        events.TranscriptionFailed,
        events.UserTurnDropped,
        events.ResponseStarted,
        events.ResponseText,
        events.VoiceStarted,
        events.VoiceStopped,
        events.ResponseEnded,
        events.ItemAdded,
        events.FunctionCalled,
        events.FunctionOutputAdded,
        events.ModeRefused,
        events.AsideStarted,
        events.AsideText,
        events.AsideCalled,
        events.AsideEnded,
    }
    known = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)}
    assert told == known - {events.Event}, "a new event needs a translation and a test"
    assert set(STATELESS) <= told
