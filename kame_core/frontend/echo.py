"""A front end that says back what it hears, in the same tick: sound check and benchmarks."""

from collections.abc import Sequence

from kame_core.audio import level_dbfs
from kame_core.frontend.base import FrontendTraits, OracleUpdate, SlotInput, SlotOptions, SlotOutput, UserState

_SPEAKING_DBFS = -50.0


class EchoEngine:
    """`SlotEngine` without state but the turn it was told last."""

    traits = FrontendTraits(
        name="echo",
        takes_turns=True,
        follows_oracle=False,
        speaks_on_demand=False,
        hears_text=False,
        oracle_style="utterance",
    )

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self._turns: dict[int, int] = {}

    def open(self, slot: int, options: SlotOptions) -> None:
        """Begin."""
        self._turns[slot] = 0

    def close(self, slot: int) -> None:
        """End."""
        self._turns.pop(slot, None)

    def feed(self, slot: int, oracle: tuple[OracleUpdate, ...], user: UserState | None) -> None:
        """Only the turn's number matters."""
        if user is not None:
            self._turns[slot] = user.turn

    def step(self, inputs: Sequence[SlotInput]) -> Sequence[SlotOutput]:
        """Voice is mic."""
        return [
            SlotOutput(
                given.slot,
                given.mic,
                speaking=level_dbfs(given.mic) > _SPEAKING_DBFS,
                turn=self._turns[given.slot],
            )
            for given in inputs
        ]

    def shutdown(self) -> None:
        """Nothing to free."""
