"""How long a call goes on: its longest time, its end when nobody says anything, and a warning before either."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from app.protocol.kame_events import EndingEvent
from kame_core.events import (
    Event,
    FunctionOutputAdded,
    ItemAdded,
    PartialTranscript,
    ResponseEnded,
    ResponseStarted,
    UserTurnCommitted,
)

EndReason = Literal["time_limit", "idle", "server_shutdown"]
TIME_LIMIT: Final = "time_limit"
IDLE: Final = "idle"
SHUTDOWN: Final = "server_shutdown"
WARNING_S = 30.0
"""Time for a last sentence and its answer; of short limits, a quarter."""
ACTIVITY = (PartialTranscript, UserTurnCommitted, ItemAdded, FunctionOutputAdded, ResponseStarted, ResponseEnded)
"""What shows that somebody is there. Sound that holds no words does not."""


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one call may take."""

    max_call_s: float
    max_idle_s: float = 0.0
    """Without a word of anybody; a sound check has none at all. 0: no such end."""


class CallTime:
    """The time of one call.

    Args:
        limits: of this call.
        tell: takes each warning, and that one does not hold any more; must not block.
    """

    def __init__(self, limits: CallLimits, tell: Callable[[EndingEvent], None]) -> None:
        self._limits = limits
        self._tell = tell
        self._warned: EndReason | None = None
        self._end_s = 0.0
        self._active_s = 0.0

    def note(self, event: Event) -> None:
        """A fact of the conversation."""
        if not isinstance(event, ACTIVITY):
            return
        self._active_s = _now_s()
        if self._warned == IDLE:
            self._warned = None
            self._tell(EndingEvent(reason=IDLE, in_s=None))

    def close_in(self, seconds: float) -> None:
        """The server goes down; whoever goes down ends the call then."""
        self._warn(SHUTDOWN, _now_s() + seconds)

    def repeat(self) -> None:
        """Tell the warning that holds again, to a client that could not be told before."""
        if self._warned is not None:
            self._warn(self._warned, self._end_s)

    async def over(self) -> EndReason:
        """Return when a limit is reached, with the reason."""
        began_s = self._active_s = _now_s()
        while True:
            reason: EndReason = TIME_LIMIT
            end_s = began_s + self._limits.max_call_s
            length_s = self._limits.max_call_s
            idle_s = self._limits.max_idle_s
            if idle_s > 0 and self._active_s + idle_s < end_s:
                end_s, reason, length_s = self._active_s + idle_s, IDLE, idle_s
            now_s = _now_s()
            if now_s >= end_s:
                return reason
            warn_s = end_s - min(WARNING_S, length_s / 4)
            if now_s >= warn_s and self._warned not in (reason, SHUTDOWN):
                self._warn(reason, end_s)
            await asyncio.sleep((warn_s if now_s < warn_s else end_s) - now_s)

    def _warn(self, reason: EndReason, end_s: float) -> None:
        self._warned, self._end_s = reason, end_s
        in_s = round(max(0.0, end_s - _now_s()), 1)
        self._tell(EndingEvent(reason=reason, in_s=in_s))


def _now_s() -> float:
    return asyncio.get_running_loop().time()
