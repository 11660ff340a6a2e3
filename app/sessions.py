"""The session that a call begins with: what the operator set, what this server has, what the client asks for."""

import math
import time
from collections.abc import Mapping
from typing import Any

from app.engines import EngineRoom
from app.protocol.session import SessionDefaults, SessionState
from app.settings import Settings
from kame_core.options import ConversationOptions


def new_session(
    settings: Settings,
    room: EngineRoom,
    asked: Mapping[str, Any],
    model: str = "",
    *,
    max_call_s: float = math.inf,
) -> SessionState:
    """The session a call gets that asks for this, on top of what the settings say.

    Raises:
        InvalidRequestError: it asks for what is not to be had.
    """
    defaults = SessionDefaults(
        model=model or room.model,
        options=options_of(settings),
        voices=room.voices,
        languages=room.languages,
        steerable=room.engines is None or room.engines.frontend.traits.takes_turns,
    )
    expires_at = time_in(min(settings.max_call_s, max_call_s))
    return SessionState.new(defaults, expires_at=expires_at).updated(asked)


def time_in(seconds: float) -> int:
    """Unix time."""
    return int(time.time() + seconds)


def options_of(settings: Settings) -> ConversationOptions:
    """What conversations are asked for where nobody asks for anything else."""
    return ConversationOptions(
        mode=settings.mode,
        language=settings.language,
        voice=settings.voice,
        instructions=settings.instructions,
        opener=settings.opener,
        preset=settings.preset,
        second_language=settings.second_language,
        knowledge=settings.knowledge,
        greeting=settings.greeting,
        idle_prompt=settings.idle_prompt,
        idle_after_s=settings.idle_after_s,
    )
