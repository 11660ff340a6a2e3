"""The fields of a wire `session` (OpenAI Realtime, GA form) that are checked, and our own `kame` object in it.

Whatever else a client sends is kept and echoed. Which of all these fields have an effect: `session.NOT_HONOURED`.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from app.protocol.validation import WireModel
from kame_core.backend.presets import MAX_CONTEXT_CHARS, MAX_KNOWLEDGE_CHARS, PRESETS
from kame_core.options import MAX_SAID_CHARS, Mode
from kame_core.speech_control import MOST_HOLD_MS

MAX_OUTPUT_TOKENS = 4096
"""What `"inf"` means."""


def _name_of_voice(value: Any) -> Any:
    return value["id"] if isinstance(value, dict) and set(value) == {"id"} else value


def token_limit(value: Any) -> Any:
    """What a client wrote as `max_output_tokens`, as a number."""
    return MAX_OUTPUT_TOKENS if value == "inf" else value


def _preset(value: Any) -> Any:
    if isinstance(value, str) and value not in PRESETS:
        raise ValueError(f"supported are {', '.join(repr(name) for name in PRESETS)}")
    return value


def _mode(value: Any) -> Any:
    if value not in list(Mode):
        raise ValueError(f"supported are {', '.join(repr(str(mode)) for mode in Mode)}")
    return Mode(value)


Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$", max_length=35)]
"""A language tag (BCP 47); its first part is what counts."""


class AudioFormat(WireModel):
    """How sound is coded on transports that carry it in messages; WebRTC negotiates its own."""

    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] | None = None
    rate: Literal[8000, 24000] | None = None


class NoiseReduction(WireModel):
    """Noise reduction of the user's sound."""

    type: Literal["near_field", "far_field"] | None = None
    strength: Annotated[float, Field(ge=0)] | None = None


class Transcription(WireModel):
    """How the user's speech is transcribed for the client."""

    model: str | None = None
    language: Language | None = None
    prompt: str | None = None


class TurnDetectionConfig(WireModel):
    """How the end of the user's turn is found."""

    type: Literal["server_vad", "semantic_vad"]
    create_response: bool | None = None
    interrupt_response: bool | None = None
    silence_duration_ms: Annotated[int, Field(ge=100, le=10_000)] | None = None
    prefix_padding_ms: Annotated[int, Field(ge=0)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    idle_timeout_ms: Annotated[int, Field(ge=0)] | None = None
    eagerness: Literal["low", "medium", "high", "auto"] | None = None


class AudioInput(WireModel):
    """The user's sound."""

    format: AudioFormat | None = None
    noise_reduction: NoiseReduction | None = None
    transcription: Transcription | None = None
    turn_detection: TurnDetectionConfig | None = None


class AudioOutput(WireModel):
    """The agent's sound."""

    format: AudioFormat | None = None
    voice: Annotated[str, Field(max_length=200), BeforeValidator(_name_of_voice)]
    speed: Annotated[float, Field(ge=0.25, le=1.5)] | None = None


class AudioConfig(WireModel):
    """Sound in both directions."""

    input: AudioInput
    output: AudioOutput


class SpeechControlConfig(WireModel):
    """How a front end that takes turns itself is held back."""

    input_hold_ms: Annotated[int, Field(ge=0, le=MOST_HOLD_MS)]
    wait_for_guidance: bool
    repeat_unspoken: bool


class KameConfig(WireModel):
    """What only we understand."""

    mode: Annotated[Mode, BeforeValidator(_mode)]
    opener: bool
    language: Language
    preset: Annotated[str, BeforeValidator(_preset)]
    second_language: Language | Literal[""]
    context: Annotated[str, Field(max_length=MAX_CONTEXT_CHARS)]
    knowledge: Annotated[str, Field(max_length=MAX_KNOWLEDGE_CHARS)]
    greeting: Annotated[str, Field(max_length=MAX_SAID_CHARS)]
    idle_prompt: Annotated[str, Field(max_length=MAX_SAID_CHARS)]
    idle_after_s: Annotated[float, Field(ge=2, le=600)]
    speech_control: SpeechControlConfig
    transport: Literal["conversation", "echo"] | None = None
    """`echo` (when a call is opened only): the caller hears himself, for a sound check."""
    resume: Annotated[str, Field(max_length=500)] | None = None
    """When a call is opened only: token of the conversation to go on with."""


class Tool(WireModel):
    """A tool of the client's side. Functions are called; servers of tools (`mcp`) are kept and echoed only."""

    type: Literal["function", "mcp"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """JSON schema of an object."""
    server_label: str | None = None


class ToolChoice(WireModel):
    """Which tool to call."""

    type: Literal["function", "mcp"]
    name: str | None = None
    server_label: str | None = None


class Tracing(WireModel):
    """Where traces go."""

    group_id: str | None = None
    workflow_name: str | None = None


class Truncation(WireModel):
    """How long histories are cut."""

    type: Literal["retention_ratio"]
    retention_ratio: float


class Prompt(WireModel):
    """A stored prompt."""

    id: str


class Reasoning(WireModel):
    """How much a model thinks."""

    effort: str | None = None


class SessionConfig(WireModel):
    """A whole session: defaults with a client's wishes merged over them, so that what has a default is there."""

    type: Literal["realtime"]
    model: Annotated[str, Field(max_length=200)]
    instructions: str
    output_modalities: list[Literal["audio", "text"]]
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_OUTPUT_TOKENS), BeforeValidator(token_limit)]
    audio: AudioConfig
    kame: KameConfig
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | ToolChoice | None = None
    tracing: Literal["auto"] | Tracing | None = None
    truncation: Literal["auto", "disabled"] | Truncation | None = None
    prompt: Prompt | None = None
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None
    reasoning: Reasoning | None = None
    parallel_tool_calls: bool | None = None
