"""OpenAI Realtime server events as JSON objects, each from plain values; `event_id` is added when they are sent.

Shapes: the `openai` package's classes in `openai.types.realtime`, against which the tests check every one strictly.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from app.protocol.errors import error_type, http_status
from kame_core.errors import KameError
from kame_core.events import AsideEnded, ResponseEnded
from kame_core.transcript import Item

Json = dict[str, Any]


class Outgoing(NamedTuple):
    """One message to the client."""

    payload: Json
    droppable: bool = False
    """On a congested channel it may be left out: a later message carries the same fact whole."""


class UnknownPlace:
    """Stands for a previous item that is not to be named; clients then append."""


UNKNOWN_PLACE = UnknownPlace()
Place = str | None | UnknownPlace
"""The item before: null only where the item is really the first, because clients put it at the front then."""


def _placed(payload: Json, previous: Place) -> Json:
    return payload if isinstance(previous, UnknownPlace) else {**payload, "previous_item_id": previous}


# --- items ---


def wire_item(item: Item) -> Json:
    """A part of the dialogue as `item`; of an agent's speech, what was heard."""
    if item.kind != "message":
        return _function_item(item)
    content: list[Json]
    if item.role == "assistant":
        kind, key = ("output_audio", "transcript") if item.modality == "audio" else ("output_text", "text")
        content = [{"type": kind, key: item.text}] if item.text or item.status != "in_progress" else []
    elif item.role == "user" and item.modality == "audio":
        content = [{"type": "input_audio", "transcript": item.text or None}]
    else:
        content = [{"type": "input_text", "text": item.text}]
    return {
        "id": item.id,
        "object": "realtime.item",
        "type": "message",
        "role": item.role,
        "status": item.status,
        "content": content,
    }


def _function_item(item: Item) -> Json:
    body = {"id": item.id, "object": "realtime.item", "type": item.kind, "status": item.status, "call_id": item.call_id}
    if item.kind == "function_call":
        return {**body, "name": item.name, "arguments": item.text}
    return {**body, "output": item.text}


def item_added(item: Json, previous: Place) -> Json:
    """`conversation.item.added`."""
    return _placed({"type": "conversation.item.added", "item": item}, previous)


def item_done(item: Json, previous: Place) -> Json:
    """`conversation.item.done`."""
    return _placed({"type": "conversation.item.done", "item": item}, previous)


def item_retrieved(item: Json) -> Json:
    """`conversation.item.retrieved`."""
    return {"type": "conversation.item.retrieved", "item": item}


def item_deleted(item_id: str) -> Json:
    """`conversation.item.deleted`."""
    return {"type": "conversation.item.deleted", "item_id": item_id}


def item_truncated(item_id: str, audio_end_ms: int) -> Json:
    """`conversation.item.truncated`: of the agent's item only this much was heard."""
    return {
        "type": "conversation.item.truncated",
        "item_id": item_id,
        "content_index": 0,
        "audio_end_ms": audio_end_ms,
    }


# --- the user's turn ---


def speech_started(item_id: str, audio_start_ms: int) -> Json:
    """`input_audio_buffer.speech_started`."""
    return {"type": "input_audio_buffer.speech_started", "item_id": item_id, "audio_start_ms": audio_start_ms}


def speech_stopped(item_id: str, audio_end_ms: int) -> Json:
    """`input_audio_buffer.speech_stopped`."""
    return {"type": "input_audio_buffer.speech_stopped", "item_id": item_id, "audio_end_ms": audio_end_ms}


def input_committed(item_id: str, previous: Place) -> Json:
    """`input_audio_buffer.committed`."""
    return _placed({"type": "input_audio_buffer.committed", "item_id": item_id}, previous)


def input_cleared() -> Json:
    """`input_audio_buffer.cleared`."""
    return {"type": "input_audio_buffer.cleared"}


_TRANSCRIPTION = "conversation.item.input_audio_transcription"


def transcription_delta(item_id: str, delta: str) -> Json:
    """`conversation.item.input_audio_transcription.delta`."""
    return {"type": f"{_TRANSCRIPTION}.delta", "item_id": item_id, "content_index": 0, "delta": delta}


def transcription_completed(item_id: str, transcript: str, seconds: float) -> Json:
    """`conversation.item.input_audio_transcription.completed`."""
    return {
        "type": f"{_TRANSCRIPTION}.completed",
        "item_id": item_id,
        "content_index": 0,
        "transcript": transcript,
        "usage": {"type": "duration", "seconds": seconds},
    }


def transcription_failed(item_id: str, error: KameError) -> Json:
    """`conversation.item.input_audio_transcription.failed`."""
    kind = error_type(http_status(error))
    # No `param`: OpenAI's JavaScript client takes a string or nothing, but not null.
    details = {"type": kind, "code": error.code, "message": error.user_message}
    return {"type": f"{_TRANSCRIPTION}.failed", "item_id": item_id, "content_index": 0, "error": details}


# --- the agent's turn ---


def response_created(response: Json) -> Json:
    """`response.created`."""
    return {"type": "response.created", "response": response}


def response_done(response: Json) -> Json:
    """`response.done`."""
    return {"type": "response.done", "response": response}


def output_item_added(response_id: str, item: Json, index: int = 0) -> Json:
    """`response.output_item.added`."""
    return {"type": "response.output_item.added", "response_id": response_id, "output_index": index, "item": item}


def output_item_done(response_id: str, item: Json, index: int = 0) -> Json:
    """`response.output_item.done`."""
    return {"type": "response.output_item.done", "response_id": response_id, "output_index": index, "item": item}


def call_arguments(response_id: str, item: Json, index: int) -> tuple[Json, Json]:
    """`response.function_call_arguments.delta` and `.done` of a whole `function_call` item."""
    ids = {"response_id": response_id, "item_id": item["id"], "output_index": index, "call_id": item["call_id"]}
    kind = "response.function_call_arguments"
    return (
        {"type": f"{kind}.delta", **ids, "delta": item["arguments"]},
        {"type": f"{kind}.done", **ids, "name": item["name"], "arguments": item["arguments"]},
    )


def content_part_added(response_id: str, item_id: str) -> Json:
    """`response.content_part.added`."""
    part = {"type": "audio", "transcript": ""}
    return {"type": "response.content_part.added", **_part_of(response_id, item_id), "part": part}


def content_part_done(response_id: str, item_id: str, transcript: str) -> Json:
    """`response.content_part.done`."""
    part = {"type": "audio", "transcript": transcript}
    return {"type": "response.content_part.done", **_part_of(response_id, item_id), "part": part}


def audio_transcript_delta(response_id: str, item_id: str, delta: str) -> Json:
    """`response.output_audio_transcript.delta`."""
    return {"type": "response.output_audio_transcript.delta", **_part_of(response_id, item_id), "delta": delta}


def audio_transcript_done(response_id: str, item_id: str, transcript: str) -> Json:
    """`response.output_audio_transcript.done`."""
    part = _part_of(response_id, item_id)
    return {"type": "response.output_audio_transcript.done", **part, "transcript": transcript}


def audio_delta(response_id: str, item_id: str, audio: str) -> Json:
    """`response.output_audio.delta`: PCM16 in base64, where sound comes in messages."""
    return {"type": "response.output_audio.delta", **_part_of(response_id, item_id), "delta": audio}


def audio_done(response_id: str, item_id: str) -> Json:
    """`response.output_audio.done`."""
    return {"type": "response.output_audio.done", **_part_of(response_id, item_id)}


def voice(what: Literal["started", "stopped", "cleared"], response_id: str) -> Json:
    """`output_audio_buffer.started`, `.stopped` or `.cleared`."""
    return {"type": f"output_audio_buffer.{what}", "response_id": response_id}


def text_part(what: Literal["added", "done"], response_id: str, item_id: str, text: str) -> Json:
    """`response.content_part.added` or `.done` of a written text."""
    part = {"type": "text", "text": text}
    return {"type": f"response.content_part.{what}", **_part_of(response_id, item_id), "part": part}


def text_delta(response_id: str, item_id: str, delta: str) -> Json:
    """`response.output_text.delta`."""
    return {"type": "response.output_text.delta", **_part_of(response_id, item_id), "delta": delta}


def text_done(response_id: str, item_id: str, text: str) -> Json:
    """`response.output_text.done`."""
    return {"type": "response.output_text.done", **_part_of(response_id, item_id), "text": text}


def _part_of(response_id: str, item_id: str) -> Json:
    return {"response_id": response_id, "item_id": item_id, "output_index": 0, "content_index": 0}


def open_response(response_id: str, conversation_id: str | None, shared: Mapping[str, Any]) -> Json:
    """A `response` that has just begun; `shared`: fields that are the same from begin to end; no conversation: it is
    written beside it.
    """
    return {
        "id": response_id,
        "object": "realtime.response",
        "conversation_id": conversation_id,
        "status": "in_progress",
        "status_details": None,
        "output": [],
        "output_modalities": ["text" if conversation_id is None else "audio"],
        "usage": None,
        **shared,
    }


def ended_response(
    event: ResponseEnded, conversation_id: str, output: Sequence[Json], shared: Mapping[str, Any]
) -> Json:
    """A `response` that is over; its `kame` says why in our own words, and what had been meant to be said."""
    return {
        **open_response(event.response_id, conversation_id, shared),
        "status": event.status,
        "status_details": _status_details(event),
        "output": list(output),
        "usage": _usage(event),
        "kame": {"reason": event.reason, "generated": event.generated},
    }


def ended_aside(event: AsideEnded, output: Sequence[Json], shared: Mapping[str, Any]) -> Json:
    """A `response` outside the conversation that is over."""
    return {
        **open_response(event.response_id, None, shared),
        "status": event.status,
        "status_details": _status_details(event),
        "output": list(output),
        "usage": _usage(event),
    }


def _usage(event: ResponseEnded | AsideEnded) -> Json:
    return {
        "total_tokens": event.input_tokens + event.output_tokens,
        "input_tokens": event.input_tokens,
        "output_tokens": event.output_tokens,
        "input_token_details": {"text_tokens": event.input_tokens, "audio_tokens": 0},
        "output_token_details": {"text_tokens": event.output_tokens, "audio_tokens": 0},
    }


def _status_details(event: ResponseEnded | AsideEnded) -> Json | None:
    if event.status == "completed":
        return None
    details: Json = {"type": event.status}
    if event.reason in ("turn_detected", "client_cancelled", "max_output_tokens", "content_filter"):
        details["reason"] = event.reason
    if isinstance(event, AsideEnded) and event.error is not None:
        error = event.error
        kind = error_type(http_status(error))
        details["error"] = {"type": kind, "code": error.code, "message": error.user_message}
    elif event.status == "failed":
        details["error"] = {"type": "server_error", "code": "response_failed"}
    return details
