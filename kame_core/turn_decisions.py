"""What `Turns` decides from what is heard. What a decision means is its listener's business."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    """The user begins a turn (again: after `Paused`, see `Resumed`); beside the agent where that is not interrupted."""

    onset_ms: int


@dataclass(frozen=True, slots=True)
class Paused:
    """The user paused, perhaps at the end of the turn."""

    speech_end_ms: int
    opener: bool
    """There was enough speech to answer with an opener."""
    known: bool = False
    """... also where an answer is known: its words do not sound finished, so that it may answer only half of them."""


@dataclass(frozen=True, slots=True)
class OpenerDue:
    """Now an opener may come, which `Paused` did not allow yet, or which a known answer seemed to make needless."""

    known: bool = True
    """Also where the answer is known: it would have to wait for the end of the turn."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The user goes on with the same turn: an opener given meanwhile was a backchannel."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The user's turn is over."""

    speech_end_ms: int
    text: str
    """As understood so far; a better reading may still come."""


@dataclass(frozen=True, slots=True)
class TurnDropped:
    """What had begun was no turn."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Duck:
    """The user speaks over the agent: lower the voice while it is unclear why."""

    lower: bool = True
    """False where an echo was noticed lately: the voice would go up and down for ever."""


@dataclass(frozen=True, slots=True)
class Restore:
    """It was a backchannel or a noise: the agent goes on."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class BargeIn:
    """The user takes the turn: cut the agent."""

    onset_ms: int


@dataclass(frozen=True, slots=True)
class SettleNow:
    """Ask speech-to-text for its best reading of the remark over the agent."""


@dataclass(frozen=True, slots=True)
class Unduck:
    """What is heard over the agent is an echo, or tells nothing: the voice need not stay low while it lasts."""


Decision = (
    SpeechBegan | Paused | OpenerDue | Resumed | TurnEnded | TurnDropped | Duck | Restore | BargeIn | SettleNow | Unduck
)
