"""A recogniser's own opinion about the end of the turn, where it has one (semantic voice activity detection)."""

from dataclasses import dataclass

from kame_core.stt.base import RecognizerUpdate


@dataclass(frozen=True, slots=True)
class SemanticUpdate(RecognizerUpdate):
    """A reading with the probability that the speaker has finished his turn with it."""

    turn_end: float | None = None
    """0 to 1; None: no opinion on this reading."""
