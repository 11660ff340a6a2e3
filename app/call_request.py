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
    """The `session` object, defaults of its key included."""
    model: str = ""
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

    @property
    def allowance(self) -> Allowance:
        """What the call may take."""
        return self.secret.allowance if self.secret else NO_LIMITS
