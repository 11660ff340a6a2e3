"""Turns on whichever front end the mode runs on: when a conversation moves from one to another, and what then holds.

Most changes of the mode are a change of policy and apply at the next turn. Where the new mode runs on another front
end (`Engines.host_of`), the slot there comes first; the conversation moves when nobody has the turn, or as a turn
begins. Transcript, captions, voice on its way out and back end stay what they are.
"""

from dataclasses import replace

from kame_core.engines import Engines
from kame_core.errors import KameError
from kame_core.events import ModeRefused
from kame_core.frontend.base import FrontendHost
from kame_core.options import ConversationOptions, Mode
from kame_core.seats import Seats
from kame_core.stt.base import Recognizer
from kame_core.turn_taking import TurnTaking


class ModeChanges(TurnTaking):
    """Turns, and the front end they are taken on. Every method is called on the event loop."""

    def __init__(self, engines: Engines, options: ConversationOptions, seats: Seats, recognizer: Recognizer) -> None:
        super().__init__(engines, options, seats, recognizer)
        self._engines = engines
        self._settled_mode = options.mode
        """The last that was asked for and ran on the front end that is spoken through."""

    def _move(self, host: FrontendHost, before: Mode) -> None:
        """The mode that is asked for now runs there; the one before was another, perhaps."""
        if self._seats.settled:
            self._settled_mode = before
        self._seats.want(host)

    def _refuse_mode(self, error: KameError) -> None:
        """There is no place on the front end of the mode that was asked for: the one before stays."""
        refused, kept = self._options.mode, self._settled_mode
        self._options = replace(self._options, mode=kept)
        message = f"The mode {refused.value} cannot be had now; this conversation stays in {kept.value}."
        told = KameError(f"{message} {error.user_message}", code="mode_unavailable", retryable=error.retryable)
        self._emit(ModeRefused(self.now_ms(), kept.value, told))

    def _begin_turn(self) -> None:
        self._change_seat()
        super()._begin_turn()
        if not self._seats.settled:  # its slot is not there yet, or something is being said
            self._turn_options = replace(self._options, mode=self._settled_mode)

    def _before_answer(self) -> None:
        """A front end that speaks when it is told to can answer what another one has heard, even while that speaks."""
        traits, response = self._seats.next_traits, self._agent.response
        if traits is None or traits.takes_turns or (response is not None and response.on_demand):
            return
        if response is not None:
            self._agent.cut("turn_detected")
        self._change_seat()
        self._answering.begin_turn()  # what was thought of so far was thought for the other one
        self._agent.timeline = self._timeline

    def _change_between_turns(self) -> None:
        """Move if nobody has the turn; called with every frame of the slot that is spoken through."""
        if not (self._user.in_turn or self._owed.deferred is not None or self._answering.active):
            self._change_seat()

    def _change_seat(self) -> None:
        """Speak through the slot that waits, if one does and nothing is being said."""
        if self._agent.response is None and self._seats.change():
            self._turn_options = self._options
            self._user.turns.observes = self._traits.takes_turns
            self._agent.moved()
