"""What a client asks for when it opens a call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.admission import OpenedSecret
from app.allowance import NO_LIMITS, Allowance
from app.limits import Caller


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One request, checked as far as its form goes."""

    sdp: str = ""
    """Its offer; empty where nothing is to be negotiated."""
    session: Mapping[str, Any] = field(default_factory=dict)
    """The `session` object, that of its key included; where a conversation goes on, what is to change."""
    model: str = ""
    resume: str | None = None
    """Token of the conversation it is to go on with."""
    echo: bool = False
    """A sound check: what it says comes back, no engine takes part."""
    grace_s: float = 0.0
    """How long its conversation is to wait for it when the connection breaks."""
    caller: Caller = field(default_factory=Caller)
    """Who asks."""
    ticket: str = ""
    """Of the queue; `new`: wants one where all places are taken."""
    secret: OpenedSecret | None = None
    """The client secret it comes with."""
    allowance: Allowance = NO_LIMITS
    """What the call may take."""
