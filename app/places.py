"""The places of a server: how many calls there may be at once, and who gets one."""

from collections.abc import Callable

from app.engines import EngineRoom
from app.limits import Caller, CallerLimits
from app.settings import Settings
from app.waiting import WaitingLine
from kame_core.clock import Clock
from kame_core.errors import CapacityError
from kame_core.options import Mode


class Places:
    """Gives places to callers, in the order in which they came.

    Args:
        settings: capacity and limits.
        room: the front end may have fewer places than the settings allow.
        clock: seconds.
        taken: calls alive or being opened.
        overloaded: this machine cannot keep up with the calls there are; asked where the operator set no capacity.
    """

    def __init__(
        self,
        settings: Settings,
        room: EngineRoom,
        clock: Clock,
        taken: Callable[[], int],
        overloaded: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._room = room
        self._taken = taken
        self._overloaded = overloaded
        self.refused = 0
        """How often there was no place."""
        self.line = WaitingLine(clock, self._free)
        self.limits = CallerLimits(
            clock,
            calls_per_address=settings.calls_per_ip,
            calls_per_key=settings.calls_per_secret,
            requests_per_minute=settings.opens_per_minute,
        )

    @property
    def capacity(self) -> int:
        """Calls that may be open at once."""
        most = self._settings.calls_at_once
        engines = self._room.engines
        if engines is None:
            return most
        usual = engines.cascade if self._settings.mode is Mode.CASCADED else None  # there, calls run beside it
        return min(most, engines.frontend.capacity, most if usual is None else usual.capacity)

    def _free(self) -> int:
        """Places free now. A machine that cannot keep up takes no more, unless nobody calls."""
        taken = self._taken()
        return 0 if taken and self._settings.capacity is None and self._overloaded() else self.capacity - taken

    def admit(self, caller: Caller, ticket: str = "", *, replaces: bool = False) -> None:
        """Whether this caller may have a place now. Nothing is taken yet.

        Args:
            caller: who asks. One who returns to a conversation, which runs already, is let past the queue and does not
                stand in it.
            ticket: of the queue; any other word: wants one where all places are taken; empty: does not wait.
            replaces: it takes over the place of a call that is not known to be dead yet.

        Raises:
            CapacityError: all places are taken; `QueuedError` where the caller stands in the queue now.
        """
        if replaces or (self.capacity > self._taken() if caller.returns else self.line.may_pass(ticket)):
            return
        self.refused += 1
        if ticket and not caller.returns:
            raise self.line.stand(ticket)
        raise CapacityError("All lines are busy. Try again in a little while.")

    def take(self, caller: Caller, ticket: str = "") -> Callable[[], None]:
        """Take the place; returns what gives the caller's share back, once.

        Raises:
            RateLimitedError: this caller has as many calls as one may.
        """
        give_back = self.limits.take(caller)
        self.line.use(ticket)
        return give_back
