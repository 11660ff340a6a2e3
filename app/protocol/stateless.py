"""Events of a conversation whose message needs no memory of other events."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from app.protocol import kame_events as kame
from app.protocol import server_events as wire
from app.protocol.errors import error_event
from app.protocol.server_events import Outgoing
from kame_core import events

Messages = list[Outgoing]


def item_deleted(event: events.ItemDeleted) -> Messages:
    """`conversation.item.deleted`."""
    return [Outgoing(wire.item_deleted(event.item_id))]


def candidate_started(event: events.CandidateStarted) -> Messages:
    """`kame.candidate.started`."""
    return _ours(kame.CandidateStartedEvent, event)


def candidate_text(event: events.CandidateText) -> Messages:
    """`kame.candidate.delta`; its end carries the whole text."""
    return _ours(kame.CandidateDeltaEvent, event, droppable=True)


def candidate_finished(event: events.CandidateFinished) -> Messages:
    """`kame.candidate.finished`."""
    return _ours(kame.CandidateFinishedEvent, event)


def candidate_failed(event: events.CandidateFailed) -> Messages:
    """`kame.candidate.failed`."""
    failed = kame.CandidateFailedEvent(
        candidate_id=event.candidate_id,
        code=event.error.code if event.error else None,
        message=event.error.user_message if event.error else None,
        at_ms=event.at_ms,
    )
    return [Outgoing(failed.model_dump())]


def candidate_adopted(event: events.CandidateAdopted) -> Messages:
    """`kame.candidate.adopted`."""
    return _ours(kame.CandidateAdoptedEvent, event)


def candidate_superseded(event: events.CandidateSuperseded) -> Messages:
    """`kame.candidate.superseded`."""
    return _ours(kame.CandidateSupersededEvent, event)


def tool_started(event: events.ToolStarted) -> Messages:
    """`kame.tool.started`."""
    return _ours(kame.ToolStartedEvent, event)


def tool_finished(event: events.ToolFinished) -> Messages:
    """`kame.tool.finished`."""
    finished = kame.ToolFinishedEvent(
        call_id=event.call_id,
        name=event.name,
        code=event.error.code if event.error else None,
        message=event.error.user_message if event.error else None,
        at_ms=event.at_ms,
    )
    return [Outgoing(finished.model_dump())]


def ducked(event: events.Ducked) -> Messages:
    """`kame.voice.ducked`."""
    return _ours(kame.VoiceDuckedEvent, event)


def restored(event: events.Restored) -> Messages:
    """`kame.voice.restored`."""
    return _ours(kame.VoiceRestoredEvent, event)


def turn_timing(event: events.TurnTiming) -> Messages:
    """`kame.turn.timing`."""
    return _ours(kame.TurnTimingEvent, event)


def spent(event: events.Spent) -> Messages:
    """`kame.spent`."""
    return _ours(kame.SpentEvent, event)


def trouble(event: events.Trouble) -> Messages:
    """`kame.trouble`; what ends the conversation is told to foreign clients too, as `error`."""
    told = kame.TroubleEvent(
        code=event.error.code, message=event.error.user_message, fatal=event.fatal, at_ms=event.at_ms
    )
    return [Outgoing(told.model_dump()), *([Outgoing(error_event(event.error))] if event.fatal else [])]


def mode_refused(event: events.ModeRefused) -> Messages:
    """`error`; the session that it leaves is told by `session.updated`."""
    return [Outgoing(error_event(event.error))]


def conversation_ended(event: events.ConversationEnded) -> Messages:
    """`kame.ended`."""
    return _ours(kame.EndedEvent, event)


def _ours(model: type[kame.KameEvent], event: events.Event, *, droppable: bool = False) -> Messages:
    """The wire event has the very fields of the fact."""
    return [Outgoing(model(**dataclasses.asdict(event)).model_dump(), droppable)]


STATELESS: Mapping[type[events.Event], Callable[[Any], Messages]] = {
    events.ItemDeleted: item_deleted,
    events.CandidateStarted: candidate_started,
    events.CandidateText: candidate_text,
    events.CandidateFinished: candidate_finished,
    events.CandidateFailed: candidate_failed,
    events.CandidateAdopted: candidate_adopted,
    events.CandidateSuperseded: candidate_superseded,
    events.ToolStarted: tool_started,
    events.ToolFinished: tool_finished,
    events.Ducked: ducked,
    events.Restored: restored,
    events.TurnTiming: turn_timing,
    events.Spent: spent,
    events.Trouble: trouble,
    events.ModeRefused: mode_refused,
    events.ConversationEnded: conversation_ended,
}
"""Events that need no memory of others."""
