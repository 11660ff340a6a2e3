"""What a conversation may be asked for."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from kame_core.backend.base import ChatMessage, ToolDeclaration
from kame_core.speech_control import SpeechControl

MAX_SAID_CHARS = 1000
"""Longest greeting or idle prompt."""


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
    preset: str = "assistant"
    """What the agent is for: a name of `kame_core.backend.presets`."""
    second_language: str = ""
    """Of presets between two languages; empty: English, or Spanish beside English."""
    context: str = ""
    """What the page or host knows of the user's situation."""
    knowledge: str = ""
    """A text to answer from."""
    turn_detection: TurnDetection | None = TurnDetection()
    """None: turns end by `commit_input` only (push to talk)."""
    opener: bool = True
    """A short opener may be spoken before the oracle is there."""
    speech_control: SpeechControl = field(default_factory=SpeechControl)
    """Of front ends that take turns themselves."""
    greeting: str = ""
    """Said first, as it is, unless the user was quicker; empty: the user begins."""
    idle_prompt: str = ""
    """Said, as it is, into a long silence, twice at most until the user speaks again; empty: nothing."""
    idle_after_s: float = 10.0
    """How long a silence is long."""
    max_tokens: int | None = None
    """What the conversation may spend in all, prompts and answers together; None: the back end's own budget. Only what
    it begins with counts."""
    max_output_tokens: int = 200
    """Longest answer of the back end, a tool call's arguments included."""
    tools: tuple[ToolDeclaration, ...] = ()
    """Functions of the client that the back end may have called."""
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or the name of the one tool that must be called."""


@dataclass(frozen=True, slots=True)
class ResponseOptions:
    """What a client asks of a single response; whatever is left out is as in the conversation's options."""

    instructions: str = ""
    """In the place of the conversation's own. Where no words of the user wait for an answer, what to do or say."""
    tools: tuple[ToolDeclaration, ...] | None = None
    tool_choice: str = ""
    max_output_tokens: int | None = None

    def over(self, options: ConversationOptions) -> ConversationOptions:
        """The options that hold for this response."""
        return replace(
            options,
            instructions=self.instructions or options.instructions,
            tools=options.tools if self.tools is None else self.tools,
            tool_choice=self.tool_choice or options.tool_choice,
            max_output_tokens=self.max_output_tokens or options.max_output_tokens,
        )


@dataclass(frozen=True, slots=True)
class ItemReference:
    """Stands for an item of the dialogue, as it was heard."""

    item_id: str


@dataclass(frozen=True, slots=True)
class AsideOptions:
    """What a client wants written beside the dialogue; whatever is left out is as in the conversation's options."""

    instructions: str | None = None
    """In the place of the conversation's own."""
    input: tuple[ChatMessage | ItemReference, ...] | None = None
    """What it is written about; None: the dialogue so far, as it was heard."""
    tools: tuple[ToolDeclaration, ...] = ()
    """Functions that may be called in it; those of the conversation may not."""
    tool_choice: str = ""
    """As in `ConversationOptions`; empty: `auto`."""
    max_output_tokens: int | None = None
