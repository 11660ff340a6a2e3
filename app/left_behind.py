"""Conversations whose connection broke and whose client may come back, by the call they were in."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kame_core.clock import Clock

if TYPE_CHECKING:
    from kame_core.conversation import Conversation


@dataclass(frozen=True, slots=True)
class _Left:
    conversation: "Conversation"
    until_s: float


class LeftBehind:
    """So that a client can still hang up a call whose connection is gone. Owns nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left: dict[str, _Left] = {}

    def keep(self, call_id: str, conversation: "Conversation", grace_s: float) -> None:
        """Its client may come back for so long."""
        self._forget_old()
        self._left[call_id] = _Left(conversation, self._clock.now() + grace_s)

    def take(self, call_id: str) -> "Conversation | None":
        """What a call has left, once; None: nothing, or its time is over."""
        self._forget_old()
        left = self._left.pop(call_id, None)
        return None if left is None else left.conversation

    def resumed(self, conversation: "Conversation") -> None:
        """It goes on in another call."""
        for call_id in [call_id for call_id, left in self._left.items() if left.conversation is conversation]:
            del self._left[call_id]

    def clear(self) -> None:
        """Forget all."""
        self._left.clear()

    def _forget_old(self) -> None:
        now_s = self._clock.now()
        for call_id in [call_id for call_id, left in self._left.items() if left.until_s < now_s]:
            del self._left[call_id]
