"""All conversations of a process: opening, keeping one over a broken transport, ending.

The registry is the owner of every conversation's task.
"""

import asyncio
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType

from kame_core.backend.presets import spoken_languages
from kame_core.conversation import Conversation
from kame_core.engines import Engines
from kame_core.errors import CapacityError, InvalidRequestError
from kame_core.frontend.base import FrontendHost, SlotLease, SlotOptions
from kame_core.options import ConversationOptions
from kame_core.seats import Seat, Seats
from kame_core.stt.base import Recognizer
from kame_core.stt.kyutai import SlotRecognizer
from kame_core.stt.languages import open_ear


@dataclass(slots=True)
class _Entry:
    conversation: Conversation
    token: str | None = None
    """Resumes the conversation."""
    grace: asyncio.Task[None] | None = None
    """Runs while no transport is attached."""


class ConversationRegistry:
    """Use as an async context manager; leaving it ends all conversations."""

    def __init__(self, engines: Engines) -> None:
        self.engines = engines
        self._entries: dict[str, _Entry] = {}
        self._tasks = asyncio.TaskGroup()
        self._closing = False

    async def __aenter__(self) -> "ConversationRegistry":
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.aclose()
        finally:
            await self._tasks.__aexit__(None, None, None)  # errors of the body pass as they are

    async def aclose(self) -> None:
        """End all conversations; no new ones are opened."""
        self._closing = True
        await asyncio.gather(*(self._end(entry, "shutdown") for entry in list(self._entries.values())))

    @property
    def count(self) -> int:
        """Conversations that live now, with and without a transport."""
        return len(self._entries)

    async def open(self, options: ConversationOptions) -> Conversation:
        """Start a conversation.

        Raises:
            CapacityError: no slot is free, or the process is ending.
            UnavailableError: the mode is not to be had here.
            SpeechToTextError: the recogniser cannot start.
        """
        self._refuse_if_closing()
        engines = self.engines
        async with AsyncExitStack() as parts:
            slot_options = SlotOptions(language=options.language, voice=options.voice)
            seat = await self._seat(engines.host_of(options.mode), slot_options, parts)
            languages = spoken_languages(options.preset, options.language, options.second_language)
            recognizer = await open_ear(engines.stt, languages)
            parts.push_async_callback(recognizer.aclose)
            ears = await self._ears(recognizer, seat, slot_options, parts)
            self._refuse_if_closing()
            seats = Seats(seat, lambda host: self._lease(host, slot_options), ears)
            conversation = Conversation(engines, options, seats, recognizer)
            parts.pop_all()  # the conversation frees them from now on
        entry = self._entries[conversation.id] = _Entry(conversation)
        self._tasks.create_task(self._live(conversation), name=conversation.id)
        try:
            await conversation.wait_started()
        except BaseException:  # whoever asked for it is gone
            await self._end(entry, "ended")
            raise
        return conversation

    def _refuse_if_closing(self) -> None:
        if self._closing:
            raise CapacityError("The server is shutting down. Try again in a moment.", code="shutting_down")

    async def _seat(self, host: FrontendHost, options: SlotOptions, parts: AsyncExitStack) -> Seat:
        seat = Seat(host, await self._lease(host, options))
        parts.push_async_callback(seat.lease.aclose)
        return seat

    async def _ears(
        self, recognizer: Recognizer, seat: Seat, options: SlotOptions, parts: AsyncExitStack
    ) -> Seat | None:
        """The slot for a recogniser that listens inside the front end."""
        if not isinstance(recognizer, SlotRecognizer):
            return None
        frontend = self.engines.frontend
        ears = seat if seat.host is frontend else await self._seat(frontend, options, parts)
        recognizer.attach(ears.lease.slot)
        return ears

    async def _lease(self, host: FrontendHost, options: SlotOptions) -> SlotLease:
        try:
            return await host.lease(options)
        except CapacityError:
            held = (entry for entry in self._entries.values() if entry.conversation.holds(host))
            waiting = next((entry for entry in held if entry.grace is not None), None)
            if waiting is None:
                raise
        await self._end(waiting, "replaced")  # a conversation without a transport gives way
        return await host.lease(options)

    async def _live(self, conversation: Conversation) -> None:
        try:
            await conversation.run()
        finally:
            entry = self._entries.pop(conversation.id, None)
            if entry is not None and entry.grace is not None:
                entry.grace.cancel()

    # --- a transport goes and comes back ---

    def token_for(self, conversation: Conversation) -> str | None:
        """A new token that resumes the conversation; the one before is void. None: it has ended."""
        entry = self._entries.get(conversation.id)
        if entry is None:
            return None
        entry.token = secrets.token_urlsafe(24)
        return entry.token

    async def detach(self, conversation: Conversation, grace_s: float = 0.0) -> None:
        """The transport is gone: the conversation ends after `grace_s`, unless it is resumed before."""
        entry = self._entries.get(conversation.id)
        if entry is None or conversation.closed:
            return
        if grace_s <= 0 or self._closing:
            await self._end(entry, "ended")
        elif entry.grace is None:
            entry.grace = self._tasks.create_task(self._expire(entry, grace_s))

    def resume(self, token: str) -> Conversation:
        """Attach to the conversation of a token again. The token is spent by the next one (`token_for`), not before:
        a client whose new connection does not get through may try another way.

        Raises:
            InvalidRequestError: no conversation waits for this token.
        """
        entry = self._entry_of(token)
        if entry.grace is not None:
            entry.grace.cancel()
            entry.grace = None
        return entry.conversation

    def find(self, token: str) -> Conversation:
        """The conversation that `resume` would attach to; nothing changes.

        Raises:
            InvalidRequestError: no conversation waits for this token.
        """
        return self._entry_of(token).conversation

    def _entry_of(self, token: str) -> _Entry:
        for entry in self._entries.values():
            if entry.token is not None and _same(entry.token, token) and not entry.conversation.closed:
                return entry
        raise InvalidRequestError("That conversation is over. Start a new one.", code="resume_token_invalid")

    async def _expire(self, entry: _Entry, grace_s: float) -> None:
        await asyncio.sleep(grace_s)
        entry.grace = None  # this task ends the conversation and must not be cancelled by its end
        await self._end(entry, "grace_over")

    async def _end(self, entry: _Entry, reason: str) -> None:
        if entry.grace is not None:
            entry.grace.cancel()
            entry.grace = None
        await entry.conversation.aclose(reason)


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode(errors="surrogatepass"))
