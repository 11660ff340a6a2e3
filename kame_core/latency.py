"""The time line of a turn: from the end of the user's speech to the first sound of what the oracle knew."""

from collections.abc import Iterable, Sequence

from kame_core.events import TurnTiming

STAMPS = (
    "pause",
    "settled",
    "hold",
    "turn_end",
    "asked",
    "first_token",
    "adopted",
    "gate",
    "first_audio",
    "first_oracle_audio",
)
"""Moments of a turn, each a field of `TurnTiming` with `_ms` behind it, in the order in which they usually come."""


class TurnTimeline:
    """Collects stamps in conversation ms and tells them relative to the end of the user's speech."""

    def __init__(self, speech_end_ms: int) -> None:
        self.speech_end_ms = speech_end_ms
        self._stamps: dict[str, int] = {}

    def stamp(self, name: str, at_ms: int) -> None:
        """Note a moment by its `TurnTiming` field name less `_ms`; the first note counts."""
        self._stamps.setdefault(name, at_ms)

    def forget(self, *names: str) -> None:
        """Drop stamps that turned out not to belong to this turn."""
        for name in names:
            self._stamps.pop(name, None)

    def timing(self, at_ms: int, response_id: str, mode: str) -> TurnTiming:
        """The time line as an event."""
        after = {
            f"{name}_ms": None if (stamp := self._stamps.get(name)) is None else stamp - self.speech_end_ms
            for name in STAMPS
        }
        return TurnTiming(at_ms, response_id, mode, **after)


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear between the nearest ranks; not a number where there are no values."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def stamps_of(timings: Iterable[TurnTiming]) -> dict[str, list[int]]:
    """All values there are of each stamp, in ms after the end of speech: what metrics and reports are made of."""
    collected: dict[str, list[int]] = {name: [] for name in STAMPS}
    for timing in timings:
        for name, values in collected.items():
            value = getattr(timing, f"{name}_ms")
            if value is not None:
                values.append(value)
    return collected
