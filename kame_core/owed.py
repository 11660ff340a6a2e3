"""What the agent owes the user while somebody else has the floor."""

from dataclasses import dataclass

from kame_core.latency import TurnTimeline


@dataclass(frozen=True, slots=True)
class Deferred:
    """A turn of the user that waits until the agent has said its own."""

    item_id: str
    text: str
    timeline: TurnTimeline | None


@dataclass(slots=True)
class Owed:
    """Words that were not answered, or not to the end. Whatever is answered next pays all of it."""

    deferred: Deferred | None = None
    unanswered_item_id: str | None = None
    """What was being answered when the user took the turn, for the case that this was no interruption, ..."""
    unsaid: str = ""
    """... and what was not heard of the answer."""

    def take_cut_short(self) -> tuple[str | None, str]:
        """The item that was not answered, and the rest of an answer; they are taken once."""
        taken = self.unanswered_item_id, self.unsaid
        self.unanswered_item_id, self.unsaid = None, ""
        return taken

    def clear(self) -> None:
        """Nothing is owed any more."""
        self.deferred = None
        self.take_cut_short()
