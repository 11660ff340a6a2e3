"""The facts a conversation emits. Every wire protocol is a codec over this one stream.

`at_ms` is the conversation's time: milliseconds since it began. Ids are unguessable strings.
"""

from dataclasses import dataclass
from typing import Literal

from kame_core.errors import KameError

ResponseStatus = Literal["completed", "cancelled", "incomplete", "failed"]
ResponseReason = Literal["", "turn_detected", "client_cancelled", "no_speech", "ended"]
AsideReason = Literal["", "client_cancelled", "max_output_tokens", "content_filter", "ended"]
Role = Literal["user", "assistant", "system"]


@dataclass(frozen=True, slots=True)
class Event:
    """A fact at a time."""

    at_ms: int


# --- the user ---


@dataclass(frozen=True, slots=True)
class SpeechStarted(Event):
    """The user began to speak a turn, or goes on with one (the same item) that was taken to be over."""

    item_id: str


@dataclass(frozen=True, slots=True)
class SpeechStopped(Event):
    """The user's turn ended; `at_ms` is when, `speech_end_ms` the end of the last sound."""

    item_id: str
    speech_end_ms: int


@dataclass(frozen=True, slots=True)
class PartialTranscript(Event):
    """The user's turn so far; the whole text, replacing the one before."""

    item_id: str
    text: str


@dataclass(frozen=True, slots=True)
class UserTurnCommitted(Event):
    """The user's turn is an item of the dialogue now; its final transcript may still come."""

    item_id: str
    previous_item_id: str | None


@dataclass(frozen=True, slots=True)
class FinalTranscript(Event):
    """What the user said in a committed turn."""

    item_id: str
    text: str
    seconds: float
    language: str = ""
    """Code (ISO 639) of what it was spoken in; empty: speech-to-text has not recognised it."""


@dataclass(frozen=True, slots=True)
class TranscriptionFailed(Event):
    """A committed turn could not be transcribed."""

    item_id: str
    error: KameError


@dataclass(frozen=True, slots=True)
class UserTurnDropped(Event):
    """What had begun was no turn: a backchannel, or noise without words (false interruption)."""

    item_id: str
    kind: Literal["backchannel", "false_interruption"]
    text: str


# --- the oracle ---


@dataclass(frozen=True, slots=True)
class CandidateStarted(Event):
    """The back end was asked."""

    candidate_id: str
    partial: str
    """The transcript it answers."""
    complete: bool
    """That was a whole turn."""


@dataclass(frozen=True, slots=True)
class CandidateText(Event):
    """A candidate grew."""

    candidate_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class CandidateFinished(Event):
    """A candidate is whole. Empty ones (`no_answer`) are never adopted."""

    candidate_id: str
    text: str
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class CandidateFailed(Event):
    """A candidate ended with an error or was dropped before it spoke (`error` None)."""

    candidate_id: str
    error: KameError | None


@dataclass(frozen=True, slots=True)
class CandidateAdopted(Event):
    """The front end reads this candidate from now on."""

    candidate_id: str


@dataclass(frozen=True, slots=True)
class CandidateSuperseded(Event):
    """A newer candidate was adopted, or the turn is over; the rest of this one is not read."""

    candidate_id: str
    by: str | None


@dataclass(frozen=True, slots=True)
class ToolStarted(Event):
    """A tool of the server runs."""

    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolFinished(Event):
    """A tool of the server has ended, or could not be run as it was asked for (`error`)."""

    call_id: str
    name: str
    error: KameError | None = None


# --- the agent ---


@dataclass(frozen=True, slots=True)
class ResponseStarted(Event):
    """The agent's turn began."""

    response_id: str
    item_id: str
    previous_item_id: str | None
    speaks: bool = True
    """False: nothing is said in it, so there is no message; it holds function calls only."""


@dataclass(frozen=True, slots=True)
class ResponseText(Event):
    """Words of the agent that are being spoken now; joined deltas give the text."""

    response_id: str
    item_id: str
    delta: str
    origin: str


@dataclass(frozen=True, slots=True)
class FunctionCalled(Event):
    """The response wants a function of the client called; it closes when its words have been played."""

    response_id: str
    item_id: str
    previous_item_id: str | None
    call_id: str
    name: str
    arguments: str
    """JSON as the model wrote it."""


@dataclass(frozen=True, slots=True)
class VoiceStarted(Event):
    """The response's first sound leaves the server."""

    response_id: str


@dataclass(frozen=True, slots=True)
class VoiceStopped(Event):
    """The response's sound has been played out, or was cut (`cleared`)."""

    response_id: str
    cleared: bool


@dataclass(frozen=True, slots=True)
class ResponseEnded(Event):
    """The agent's turn is over. `text` is what was heard, `generated` what had been meant to be said."""

    response_id: str
    item_id: str
    status: ResponseStatus
    reason: ResponseReason
    text: str
    generated: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Ducked(Event):
    """The user spoke over the agent, whose voice was lowered."""


@dataclass(frozen=True, slots=True)
class Restored(Event):
    """It was no interruption; the voice came back."""


# --- beside the dialogue ---


@dataclass(frozen=True, slots=True)
class AsideStarted(Event):
    """The chat model is asked for a text that is no part of the dialogue and is not spoken."""

    response_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class AsideText(Event):
    """It grew; joined deltas give the text."""

    response_id: str
    item_id: str
    delta: str


@dataclass(frozen=True, slots=True)
class AsideCalled(Event):
    """It wants a function called; comes behind all text."""

    response_id: str
    item_id: str
    """Of the call."""
    call_id: str
    name: str
    arguments: str
    """JSON as the model wrote it."""


@dataclass(frozen=True, slots=True)
class AsideEnded(Event):
    """Nothing more is written."""

    response_id: str
    item_id: str
    status: ResponseStatus
    reason: AsideReason
    text: str
    input_tokens: int
    """Both as far as the model tells."""
    output_tokens: int
    error: KameError | None = None
    """Why it failed."""


# --- the dialogue ---


@dataclass(frozen=True, slots=True)
class ItemAdded(Event):
    """A typed message became part of the dialogue."""

    item_id: str
    previous_item_id: str | None
    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class FunctionOutputAdded(Event):
    """The client told what came out of a function call."""

    item_id: str
    previous_item_id: str | None
    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class ItemDeleted(Event):
    """A message was taken out of the dialogue."""

    item_id: str


@dataclass(frozen=True, slots=True)
class TurnTiming(Event):
    """The time line of one turn, all in ms after the end of the user's speech; None: did not happen."""

    response_id: str
    mode: str
    pause_ms: int | None
    """The pause was noticed."""
    settled_ms: int | None
    """The transcript was settled."""
    turn_end_ms: int | None
    """The turn was taken to be over."""
    asked_ms: int | None
    """The adopted candidate was asked for; negative: while the user still spoke."""
    first_token_ms: int | None
    adopted_ms: int | None
    first_audio_ms: int | None
    """The agent's first sound left the server."""
    first_oracle_audio_ms: int | None
    hold_ms: int | None = None
    """The end of the user's speech reached a front end whose ears are held back (`SpeechControl.input_hold_ms`)."""
    gate_ms: int | None = None
    """The gate of the voice opened, which had been closed by then."""


@dataclass(frozen=True, slots=True)
class Spent(Event):
    """What the back end has cost since the conversation began; told after every response for which it was asked."""

    requests: int
    input_tokens: int
    """Estimated for requests of which the model does not say."""
    output_tokens: int
    requests_per_minute: float
    """Over the whole conversation, pauses included."""
    tokens_per_minute: float


@dataclass(frozen=True, slots=True)
class Trouble(Event):
    """Something failed; the conversation goes on unless `fatal`."""

    error: KameError
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class ModeRefused(Event):
    """A mode that was asked for runs on a front end with no place: the conversation stays in `mode`."""

    mode: str
    error: KameError


@dataclass(frozen=True, slots=True)
class ConversationEnded(Event):
    """Nothing comes after this."""

    reason: str
