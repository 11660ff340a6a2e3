"""The offline responder: arithmetic, dates, units, places and small talk without a language model."""

from kame_core.backend.offline.responder import OfflineResponder, example_questions, understands

__all__ = ["OfflineResponder", "example_questions", "understands"]
