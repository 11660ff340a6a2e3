"""Our own events, beside OpenAI's on the same channel. Clients that do not know them ignore them.

Each class documents and checks one; `docs/protocol.md` holds the same as a table. `at_ms`: milliseconds since the
conversation began.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class KameEvent(BaseModel):
    """Base: every event has a `type`; `event_id` is added when it is sent."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class EnginePart(BaseModel):
    """One engine in use."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str
    note: str = ""
    """Why this one, and how to get better; a sentence for people."""


class EngineEvent(KameEvent):
    """What answers; sent after `session.created`."""

    type: Literal["kame.engine"] = "kame.engine"
    frontend: EnginePart
    stt: EnginePart
    tts: EnginePart
    llm: EnginePart


class PongEvent(KameEvent):
    """Answer to `kame.ping`; `t` is the client's own."""

    type: Literal["kame.pong"] = "kame.pong"
    t: int | float | str | None = None


class PartialTranscriptEvent(KameEvent):
    """The user's turn so far: the whole text, replacing the one before."""

    type: Literal["kame.partial_transcript"] = "kame.partial_transcript"
    item_id: str
    text: str
    at_ms: int


class TurnLanguageEvent(KameEvent):
    """The language (ISO 639) the user's turn was spoken in, where speech-to-text has recognised it."""

    type: Literal["kame.turn.language"] = "kame.turn.language"
    item_id: str
    language: str
    at_ms: int


class TurnDroppedEvent(KameEvent):
    """What had begun as a turn was none; its item never comes."""

    type: Literal["kame.turn.dropped"] = "kame.turn.dropped"
    item_id: str
    kind: Literal["backchannel", "false_interruption"]
    text: str
    at_ms: int


class CandidateStartedEvent(KameEvent):
    """The back end was asked for an answer to `partial`; `complete`: that was a whole turn."""

    type: Literal["kame.candidate.started"] = "kame.candidate.started"
    candidate_id: str
    partial: str
    complete: bool
    at_ms: int


class CandidateDeltaEvent(KameEvent):
    """A candidate grew."""

    type: Literal["kame.candidate.delta"] = "kame.candidate.delta"
    candidate_id: str
    delta: str
    at_ms: int


class CandidateFinishedEvent(KameEvent):
    """A candidate is whole."""

    type: Literal["kame.candidate.finished"] = "kame.candidate.finished"
    candidate_id: str
    text: str
    input_tokens: int
    output_tokens: int
    at_ms: int


class CandidateFailedEvent(KameEvent):
    """A candidate ended with an error; without `code` it was dropped before it spoke."""

    type: Literal["kame.candidate.failed"] = "kame.candidate.failed"
    candidate_id: str
    code: str | None
    message: str | None
    at_ms: int


class CandidateAdoptedEvent(KameEvent):
    """The front end reads this candidate from now on."""

    type: Literal["kame.candidate.adopted"] = "kame.candidate.adopted"
    candidate_id: str
    at_ms: int


class CandidateSupersededEvent(KameEvent):
    """The unread rest of this candidate is dropped; `by` is null when the turn ended."""

    type: Literal["kame.candidate.superseded"] = "kame.candidate.superseded"
    candidate_id: str
    by: str | None
    at_ms: int


class SpokenEvent(KameEvent):
    """Words being spoken now, and where they come from."""

    type: Literal["kame.spoken"] = "kame.spoken"
    response_id: str
    item_id: str
    delta: str
    origin: str
    """`opener`, `oracle` or `own`."""
    at_ms: int


class ToolStartedEvent(KameEvent):
    """A tool of the server runs."""

    type: Literal["kame.tool.started"] = "kame.tool.started"
    call_id: str
    name: str
    at_ms: int


class ToolFinishedEvent(KameEvent):
    """It has ended; `code` and `message`: what went wrong, null if nothing did."""

    type: Literal["kame.tool.finished"] = "kame.tool.finished"
    call_id: str
    name: str
    code: str | None
    message: str | None
    at_ms: int


class VoiceDuckedEvent(KameEvent):
    """The user speaks over the agent, whose voice was lowered."""

    type: Literal["kame.voice.ducked"] = "kame.voice.ducked"
    at_ms: int


class VoiceRestoredEvent(KameEvent):
    """It was no interruption; the voice is back."""

    type: Literal["kame.voice.restored"] = "kame.voice.restored"
    at_ms: int


class TurnTimingEvent(KameEvent):
    """Time line of one turn in ms after the end of the user's speech; null: did not happen."""

    type: Literal["kame.turn.timing"] = "kame.turn.timing"
    response_id: str
    mode: str
    pause_ms: int | None
    settled_ms: int | None
    turn_end_ms: int | None
    asked_ms: int | None
    first_token_ms: int | None
    adopted_ms: int | None
    first_audio_ms: int | None
    first_oracle_audio_ms: int | None
    hold_ms: int | None
    gate_ms: int | None
    at_ms: int


class SpentEvent(KameEvent):
    """What the LLM has cost since the conversation began."""

    type: Literal["kame.spent"] = "kame.spent"
    requests: int
    input_tokens: int
    output_tokens: int
    requests_per_minute: float
    tokens_per_minute: float
    at_ms: int


class TroubleEvent(KameEvent):
    """Something failed. Unless `fatal`, the conversation goes on with what it has."""

    type: Literal["kame.trouble"] = "kame.trouble"
    code: str
    message: str
    fatal: bool
    at_ms: int


class EndingEvent(KameEvent):
    """The server will end the call in `in_s` seconds; null: it will not, after all."""

    type: Literal["kame.ending"] = "kame.ending"
    reason: Literal["time_limit", "idle", "server_shutdown"]
    in_s: float | None


class EndedEvent(KameEvent):
    """The conversation is over; nothing comes after this."""

    type: Literal["kame.ended"] = "kame.ended"
    reason: str
    at_ms: int


KAME_EVENTS: tuple[type[KameEvent], ...] = (
    EngineEvent,
    PongEvent,
    PartialTranscriptEvent,
    TurnLanguageEvent,
    TurnDroppedEvent,
    CandidateStartedEvent,
    CandidateDeltaEvent,
    CandidateFinishedEvent,
    CandidateFailedEvent,
    CandidateAdoptedEvent,
    CandidateSupersededEvent,
    SpokenEvent,
    ToolStartedEvent,
    ToolFinishedEvent,
    VoiceDuckedEvent,
    VoiceRestoredEvent,
    TurnTimingEvent,
    SpentEvent,
    TroubleEvent,
    EndingEvent,
    EndedEvent,
)
"""All of them."""
