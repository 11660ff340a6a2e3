"""The time line of a turn: from the end of the user's speech to the first sound of what the oracle knew."""

from kame_core.events import TurnTiming


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

        def after(name: str) -> int | None:
            stamp = self._stamps.get(name)
            return None if stamp is None else stamp - self.speech_end_ms

        return TurnTiming(
            at_ms=at_ms,
            response_id=response_id,
            mode=mode,
            pause_ms=after("pause"),
            settled_ms=after("settled"),
            turn_end_ms=after("turn_end"),
            asked_ms=after("asked"),
            first_token_ms=after("first_token"),
            adopted_ms=after("adopted"),
            first_audio_ms=after("first_audio"),
            first_oracle_audio_ms=after("first_oracle_audio"),
        )
