"""When the agent speaks without having been asked: a greeting, and a prompt into a long silence.

Pure: told the state of the dialogue with every frame of the slot, it needs neither timer nor task.
"""

from kame_core.options import ConversationOptions

_GREET_AFTER_MS = 240
"""So long somebody has to listen: the first packets of a connection are often lost."""
_MOST_IDLE_PROMPTS = 2
"""In a row. The second waits twice as long; then it is silent until the user says something: a noise is no reason."""


class Unasked:
    """One conversation's greeting and idle prompts. Times are milliseconds of the conversation."""

    def __init__(self) -> None:
        self._quiet_since_ms: int | None = None
        self._begun = False
        self.prompted = 0
        """Prompts since words of the user's."""

    def user_said(self) -> None:
        """Words of the user's have come, spoken or typed: prompts count anew."""
        self.prompted = 0

    def due(self, now_ms: int, options: ConversationOptions, *, listened: bool, user: bool, agent: bool) -> str:
        """What is to be said now; empty: nothing.

        Args:
            listened: somebody hears the agent.
            user: the user has a turn in progress, or one that waits for its answer.
            agent: the agent speaks or is about to.
        """
        if user or agent:
            self._begun = True
            self._quiet_since_ms = None
            return ""
        if not listened:
            self._quiet_since_ms = None
            return ""
        if self._quiet_since_ms is None:
            self._quiet_since_ms = now_ms
        quiet_ms = now_ms - self._quiet_since_ms
        if not self._begun and options.greeting:
            return options.greeting if quiet_ms >= _GREET_AFTER_MS else ""
        automatic = options.turn_detection is not None and options.turn_detection.create_response
        if not options.idle_prompt or not automatic or self.prompted >= _MOST_IDLE_PROMPTS:
            return ""
        if quiet_ms < options.idle_after_s * 1000 * 2**self.prompted:
            return ""
        self.prompted += 1
        return options.idle_prompt
