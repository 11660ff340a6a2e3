"""One turn of the agent while it lasts: what was meant to be said, and how much of it was heard."""

from dataclasses import dataclass, field

from kame_core.events import ResponseReason, ResponseStatus


@dataclass(slots=True)
class Response:
    """A response that is open. Changed only by its conversation."""

    id: str
    item_id: str
    opened_ms: int
    on_demand: bool = False
    """The client asked for it, so it exists before anything is said."""
    generated: str = ""
    heard: str = ""
    voice_started: bool = False
    done_speaking: bool = False
    """All of it has been said; what is left waits to be played."""
    status: ResponseStatus = "completed"
    reason: ResponseReason = ""
    answered: bool = False
    """More than an opener was said."""
    speaks: bool = True
    """It has a message of the agent; False: function calls only."""
    called: bool = False
    """Functions of the client were called: nothing more will be said in it."""
    candidates: dict[str, None] = field(default_factory=dict)
    """The candidates it spoke from, in order."""
