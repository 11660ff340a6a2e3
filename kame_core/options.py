"""What a conversation may be asked for."""

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """How front end and back end work together; a policy over one engine."""

    TANDEM = "tandem"
    """KAME: the front end answers at once, the oracle follows mid-sentence."""
    DIRECT = "direct"
    """The front end alone; speech-to-text runs for captions only."""
    CASCADED = "cascaded"
    """STT, then LLM, then TTS, each waiting for the one before; for comparison."""


@dataclass(frozen=True, slots=True)
class TurnDetection:
    """How the end of the user's turn is found."""

    silence_ms: int | None = None
    """A fixed pause that ends a turn; None: adaptive, from what was said."""
    create_response: bool = True
    """The agent answers by itself when a turn ends."""
    interrupt_response: bool = True
    """The user may take the turn by speaking over the agent."""


@dataclass(frozen=True, slots=True)
class ConversationOptions:
    """Immutable; a change is a new value and applies at the next turn."""

    mode: Mode = Mode.TANDEM
    language: str = "en"
    voice: str = ""
    """Empty: the engine's default."""
    instructions: str = ""
    """Added to the persona prompt."""
    turn_detection: TurnDetection | None = TurnDetection()
    """None: turns end by `commit_input` only (push to talk)."""
    opener: bool = True
    """A short opener may be spoken before the oracle is there."""
    max_output_tokens: int = 200
