"""The embedded front end for a CPU."""

from kame_core.frontend.reflex.engine import ReflexEngine, reflex_host

__all__ = ["ReflexEngine", "reflex_host"]
