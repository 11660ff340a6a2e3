"""Several chat models as one: whichever is well answers, the best first."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from kame_core.backend.base import ChatEvent, ChatModel, ChatRequest, Finish, TextDelta, ToolCall
from kame_core.errors import ChatModelError

logger = logging.getLogger(__name__)

_FIRST_REST_S = 5.0
_LONGEST_REST_S = 60.0
_SHORTEST_SHARE_S = 1.0


@dataclass(slots=True)
class _Member:
    model: ChatModel
    failures: int = 0
    rests_until_s: float = 0.0


class FallbackChatModel:
    """Asks the next model where one fails, or has nothing to say to a whole turn, before its first word.

    A model gets half of the time that is left for the first word, the last one all of it. One that failed rests for 5
    to 60 s, the whole minute if trying again will not help, so that not every turn waits for it; if all rest, all are
    asked. One that refuses a request for what is in it (`llm_bad_request`) is well, and does not rest.

    Args:
        models: at least one; they are closed with this one.
    """

    name = "fallback"

    def __init__(self, models: Sequence[ChatModel]) -> None:
        self._members = tuple(_Member(model) for model in models)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Answer as the first model that does.

        Raises:
            ChatModelError: of the last model asked, or of one that failed behind its first word. Where the last has
                nothing to say to what is not spoken (offline answers never have), of the one that failed before it.
        """
        now = asyncio.get_running_loop().time
        first_due_s = now() + min(request.first_token_deadline_s, request.deadline_s)
        due_s = now() + request.deadline_s
        members = [member for member in self._members if member.rests_until_s <= now()] or list(self._members)
        failure: ChatModelError | None = None
        for place, member in enumerate(members):
            last = place == len(members) - 1
            left_s = max(first_due_s - now(), _SHORTEST_SHARE_S)
            asked = replace(
                request,
                first_token_deadline_s=left_s if last else max(left_s / 2, _SHORTEST_SHARE_S),
                deadline_s=max(due_s - now(), _SHORTEST_SHARE_S),
            )
            spoke = False
            empty: Finish | None = None
            not_the_end = request.complete if not last else failure is not None and not request.spoken
            try:
                async with contextlib.aclosing(member.model.stream(asked)) as events:
                    async for event in events:
                        spoke = spoke or isinstance(event, TextDelta | ToolCall)
                        if isinstance(event, Finish) and event.reason == "no_answer" and not_the_end:
                            empty = event
                            break
                        yield event
            except ChatModelError as error:
                failure = error
                self._failed(member, error, now())
                if spoke or last:
                    raise
                logger.warning("LLM %d of %d failed (%s); the next is asked", place + 1, len(members), error.code)
                continue
            member.failures = 0
            if empty is None:
                return
        if failure is not None:
            raise failure

    @property
    def models(self) -> tuple[ChatModel, ...]:
        """All of them, the first to be asked first."""
        return tuple(member.model for member in self._members)

    async def aclose(self) -> None:
        """Close all models."""
        for member in self._members:
            await member.model.aclose()

    def _failed(self, member: _Member, error: ChatModelError, now_s: float) -> None:
        if error.code == "llm_bad_request":
            return
        member.failures += 1
        rest_s = _FIRST_REST_S * 2 ** min(member.failures - 1, 10) if error.retryable else _LONGEST_REST_S
        member.rests_until_s = now_s + min(rest_s, _LONGEST_REST_S)
