"""What was agreed with a conversation's client: it holds in every call in which the conversation goes on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.protocol.session import SessionState
from app.sessions import time_in
from kame_core.clock import Clock

if TYPE_CHECKING:
    from kame_core.conversation import Conversation


@dataclass(frozen=True, slots=True)
class _Agreement:
    conversation: "Conversation"
    session: Callable[[], SessionState]
    ends_s: float


class Agreements:
    """One for each conversation that lives."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._agreements: dict[str, _Agreement] = {}

    def note(self, conversation: "Conversation", session: Callable[[], SessionState], time_s: float) -> None:
        """What counts from now on.

        Args:
            session: gives it as it is now, or was when the last call ended.
            time_s: the conversation may go on for so long, in whatever calls.
        """
        self.forget_ended()
        self._agreements[conversation.id] = _Agreement(conversation, session, self._clock.now() + time_s)

    def time_left_s(self, conversation: "Conversation") -> float:
        """How long it may still go on; 0: it is over."""
        agreed = self._agreements.get(conversation.id)
        return 0.0 if agreed is None else max(0.0, agreed.ends_s - self._clock.now())

    def session(self, conversation: "Conversation", changes: Mapping[str, Any], time_s: float) -> SessionState:
        """The session of a call that goes on with a conversation that lives, for so long at most.

        Raises:
            InvalidRequestError: the changes ask for what is not to be had.
        """
        return self._agreements[conversation.id].session().again(expires_at=time_in(time_s)).updated(changes)

    def forget_ended(self) -> None:
        """Keep nothing of conversations that are over."""
        self._agreements = {key: one for key, one in self._agreements.items() if not one.conversation.closed}
