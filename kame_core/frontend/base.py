"""Contracts of a front end, in two layers: the engine on the ticker's thread, the host that conversations see."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from kame_core.audio import Samples
from kame_core.errors import KameError
from kame_core.stt.base import RecognizerUpdate


@dataclass(frozen=True, slots=True)
class OracleAdopt:
    """A candidate becomes the oracle; the unread rest of the one before is dropped."""

    candidate_id: str
    language: str = ""
    """Tag of the language it is most probably written in, where that need not be the slot's."""


@dataclass(frozen=True, slots=True)
class OracleText:
    """More text of the adopted candidate, spacing kept, cut anywhere."""

    candidate_id: str
    text: str


@dataclass(frozen=True, slots=True)
class OracleFinish:
    """The adopted candidate's text is complete."""

    candidate_id: str


@dataclass(frozen=True, slots=True)
class OracleClear:
    """There is no oracle any more: drop the rest unread and, for a reflex front end, unspoken."""


OracleUpdate = OracleAdopt | OracleText | OracleFinish | OracleClear


class Floor(StrEnum):
    """Who may speak now, as `turns.py` decides. For front ends that take turns themselves it is an observation."""

    LISTEN = "listen"
    """The user has the floor: say nothing, and drop what was begun and is still unspoken."""
    PAUSE = "pause"
    """The user paused, perhaps at the end: a short opener may be said, then silence."""
    SPEAK = "speak"
    """The turn is the agent's: say the oracle's words (or one's own, with `SpeechPolicy.alone`)."""


@dataclass(frozen=True, slots=True)
class SpeechPolicy:
    """What a mode allows in this turn."""

    opener: bool = True
    """A short opener may come before the oracle."""
    covers_pause: bool = False
    """... at a pause also where the oracle is there: whether the turn is over will not be known soon."""
    alone: bool = False
    """No oracle will come: answer with what the front end knows by itself."""
    whole_sentences: bool = False
    """Speech starts at the first complete sentence, not at the first phrase (mode `cascaded`)."""


@dataclass(frozen=True, slots=True)
class UserState:
    """What is known of the user now. Level-triggered: only the latest counts, and repeating it changes nothing."""

    turn: int = 0
    """Counts agent turns; when it changes, what is still unspoken of the older one is dropped. An adopted candidate of
    which nothing was said yet stays until `OracleClear` or the next adoption."""
    floor: Floor = Floor.LISTEN
    speaking: bool = False
    """Speech is heard at this moment."""
    heard: str = ""
    """Transcript of the user's turn so far."""
    policy: SpeechPolicy = field(default_factory=SpeechPolicy)


@dataclass(frozen=True, slots=True)
class SlotOptions:
    """What a conversation asks of its slot when it leases it; text and numbers only."""

    conversation_id: str = ""
    language: str = "en"
    voice: str = ""
    """Empty: the front end's own default."""
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class SlotInput:
    """One slot's share of a tick."""

    slot: int
    mic: Samples
    """float32 [1920], mono 24 kHz: what the user said; concealed where nothing arrived in time."""


class SpeechOrigin(StrEnum):
    """Where the words being spoken come from."""

    NONE = "none"
    OPENER = "opener"
    ORACLE = "oracle"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class OracleProgress:
    """How far the adopted candidate was taken in. Read is not spoken."""

    candidate_id: str | None = None
    read_chars: int = 0
    """Characters of its text consumed so far."""
    spoken_chars: int = 0
    """Characters of its text whose sound has left the front end."""
    finished: bool = False
    """Its text is complete and all of it was read."""


@dataclass(frozen=True, slots=True)
class SlotOutput:
    """What one slot said in a tick."""

    slot: int
    voice: Samples
    """float32 [1920], mono 24 kHz."""
    text: str = ""
    """Inner monologue: the words that begin in this frame, each with its leading space."""
    origin: SpeechOrigin = SpeechOrigin.NONE
    oracle: OracleProgress = OracleProgress()
    speaking: bool = False
    """The frame holds voice."""
    pending: bool = False
    """More will be said with what the front end has already (unspoken text, synthesis under way)."""
    turn: int = 0
    """The `UserState.turn` this frame belongs to."""
    heard: tuple[RecognizerUpdate, ...] = ()
    """Speech-to-text a front end computed on its own codes."""
    fault: KameError | None = None
    """This slot cannot go on; its conversation ends, the others do not notice."""


@dataclass(frozen=True, slots=True)
class FrontendTraits:
    """What a front end is, so that the conversation knows what to send it."""

    name: str
    takes_turns: bool
    """It decides itself when to speak; `UserState` is then an observation."""
    follows_oracle: bool
    speaks_on_demand: bool
    """It can be told to speak now (`response.create`)."""
    hears_text: bool
    """It uses `UserState.heard`."""
    oracle_style: Literal["continuation", "utterance"]
    """`continuation` (of the words spoken in this turn) or `utterance` (the whole next utterance, 30 words at most)."""


class SlotEngine(Protocol):
    """A batch of slots. Private to its host; every method is called on the ticker's thread only, between ticks."""

    capacity: int
    traits: FrontendTraits

    def open(self, slot: int, options: SlotOptions) -> None:
        """Begin a conversation in a slot; every bit of the slot's earlier state is gone."""

    def close(self, slot: int) -> None:
        """End the conversation in a slot; never raises."""

    def feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        """Take in what was pushed, in order, as soon as it arrives. `user` None: unchanged."""

    def step(self, inputs: Sequence[SlotInput]) -> Sequence[SlotOutput]:
        """One tick of exactly the open slots, in order. Never waits for I/O, locks or synthesis."""

    def shutdown(self) -> None:
        """Free everything; called once, after the last slot was closed."""


class SlotLease(Protocol):
    """One conversation's place in a front end."""

    slot: int

    def push_audio(self, samples: Samples) -> None:
        """Add user sound, float32 [n] mono 24 kHz, any n. Never blocks; the ring drops the oldest, counted."""

    def push(self, *, oracle: Sequence[OracleUpdate] = (), user: UserState | None = None) -> None:
        """Tell the slot. Never blocks; oracle updates are ordered and never dropped."""

    def outputs(self) -> AsyncIterator[SlotOutput]:
        """The slot's frames as they are made; bounded (2 s), the oldest is dropped and counted. Ends at `aclose`."""

    async def aclose(self) -> None:
        """Give the slot back; idempotent."""


class FrontendHost(Protocol):
    """What conversations see of a front end."""

    traits: FrontendTraits
    capacity: int

    @property
    def free(self) -> int:
        """Slots not leased now."""

    @property
    def broken(self) -> bool:
        """It fails at everything it is asked, for all conversations; a new process may do better."""

    async def lease(self, options: SlotOptions) -> SlotLease:
        """Take a slot.

        Raises:
            CapacityError: none is free.
        """

    async def aclose(self) -> None:
        """End the ticker and the engine."""
