"""Chooses the engines, loads them behind the first page, and says what was chosen, why, and what would be better."""

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from app.loaders import Loaders
from app.settings import Settings
from app.speech_loaders import needs_whisper
from app.webrtc.ice import IceSettings, parse_ice_servers
from kame_core.clock import Clock
from kame_core.errors import KameError, UnavailableError
from kame_core.workers import CrewWorkers, ThreadWorkers

if TYPE_CHECKING:  # these bring in onnxruntime, openai, ctranslate2: imported on a worker, behind the first page
    from kame_core.backend.base import ChatModel
    from kame_core.backend.tools import Toolbox
    from kame_core.engines import Engines
    from kame_core.frontend.base import FrontendHost
    from kame_core.tts.base import TextToSpeech
    from kame_core.wording import EnglishWording

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

LOAD_DEADLINE_S = 120.0
MODEL_DEADLINE_S = 4500.0
"""For a model that may have to be fetched first: many gigabytes, or over a slow line."""
CLOSE_DEADLINE_S = 2.5
BROKEN = "It fails in every conversation. Start the server again; the log says more."
HEARING_THREADS = 2
"""Voice detection takes 0.2 ms for each 32 ms of a call."""


class PartState(StrEnum):
    """Where a part stands."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the engine as people see it."""

    name: str
    """frontend, stt, tts, llm or ice."""
    title: str
    choice: str = ""
    """The engine that was chosen; empty while that is open."""
    state: PartState = PartState.LOADING
    progress: float | None = None
    """0 to 1 of something being fetched, also while something else serves; None: nothing, or unknown."""
    why: str = ""
    """Why this one, or what is wrong."""
    better: str = ""
    """What to do for a better one; empty: nothing."""

    @property
    def note(self) -> str:
        """`why` and `better` as one text."""
        return " ".join(sentence for sentence in (self.why, self.better) if sentence)

    def as_line(self) -> str:
        """For a terminal."""
        state = {PartState.LOADING: "loading", PartState.READY: "ready", PartState.FAILED: "FAILED"}[self.state]
        progress = "" if self.progress is None else f" {self.progress:.0%}"
        return f"  {self.title:<16} {self.choice or '-':<28} {state}{progress}  {self.why}".rstrip()

    def as_json(self) -> dict[str, object]:
        """As `/readyz` shows it."""
        return {
            "name": self.name,
            "title": self.title,
            "choice": self.choice,
            "state": self.state.value,
            "progress": None if self.progress is None else round(self.progress, 3),
            "note": self.note,
        }


TITLES = {
    "frontend": "Front end",
    "stt": "Speech-to-text",
    "tts": "Text-to-speech",
    "llm": "Language model",
    "ice": "Network",
}


class EngineRoom:
    """Owns the engines from start to end. `load` is run once, by one owned task; every method on the loop."""

    def __init__(self, settings: Settings, clock: Clock, loaders: Loaders | None = None) -> None:
        self._loaders = loaders or Loaders()
        self.settings = settings
        self.clock = clock
        self.engines: Engines | None = None
        """There as soon as every part is ready."""
        self.tts: TextToSpeech | None = None
        self.early_chat: ChatModel | None = None
        """A cheaper language model for partial transcripts."""
        self.cascade: FrontendHost | None = None
        """Beside a front end that takes turns itself: where the mode `cascaded` runs."""
        self.tools: Toolbox | None = None
        """Python functions that the language model may have called."""
        self.voices: frozenset[str] = frozenset()
        """Names a client may ask for."""
        self.languages: frozenset[str] = frozenset()
        """Languages (first part of the tag) that are understood; empty: many, or not known."""
        self.ice = IceSettings(
            parse_ice_servers(settings.ice_servers),
            turn_secret=settings.turn_secret.get_secret_value() if settings.turn_secret else "",
            relay_only=settings.ice_transport_policy == "relay",
            public_address=settings.public_address,
        )
        """What works of it, as soon as that was tried; see `app/relay.py`."""
        self._parts = {name: Part(name, title) for name, title in TITLES.items()}
        self._listeners: list[Callable[[Part], None]] = []
        self._settled = asyncio.Event()
        self._imports = ThreadWorkers("engine-load", 2)
        self._hearing = CrewWorkers("hearing", HEARING_THREADS)
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._closed = False

    # --- what people see ---

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, always in the same order."""
        if self.broken:
            failed = replace(self._parts["frontend"], state=PartState.FAILED, why=BROKEN, better="")
            return tuple((self._parts | {"frontend": failed}).values())
        return tuple(self._parts.values())

    @property
    def broken(self) -> bool:
        """A front end that was loaded now fails at everything: the process must be started again."""
        engines = self.engines
        return engines is not None and (
            engines.frontend.broken or (engines.cascade is not None and engines.cascade.broken)
        )

    @property
    def ready(self) -> bool:
        """Conversations can be held."""
        return self.engines is not None and self.transport_ready and not self.broken

    @property
    def converses(self) -> bool:
        """Conversations can be held, over a WebSocket at least: that needs no way through STUN and TURN."""
        return self.engines is not None and self._parts["ice"].state is not PartState.LOADING and not self.broken

    @property
    def model(self) -> str:
        """What clients are told as the session's model."""
        return f"kame-{self._parts['frontend'].choice or 'loading'}"

    @property
    def transport_ready(self) -> bool:
        """Calls that need no engine (`transport=echo`) can be answered."""
        return self._parts["ice"].state is PartState.READY

    def part(self, name: str) -> Part:
        """One part by its name."""
        return self._parts[name]

    def readiness(self) -> dict[str, object]:
        """The body of `/readyz`."""
        return {"ready": self.ready, "parts": [part.as_json() for part in self.parts]}

    def described(self) -> dict[str, dict[str, str]]:
        """What a client is told in `kame.engine`."""
        return {
            name: {"name": self._parts[name].choice, "note": self._parts[name].note}
            for name in ("frontend", "stt", "tts", "llm")
        }

    def listen(self, listener: Callable[[Part], None]) -> Callable[[], None]:
        """Call `listener(part)` at every change; returns how to stop that."""
        self._listeners.append(listener)

        def stop() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return stop

    async def settled(self) -> None:
        """Return when no part is loading any more: all are ready, or some failed."""
        await self._settled.wait()

    def require(self) -> "Engines":
        """The engines.

        Raises:
            UnavailableError: they are not loaded (`starting`, worth a retry) or a part failed (`engine_failed`).
        """
        if self.engines is not None and not self._closed:
            return self.engines
        for part in self.parts:
            if part.state is PartState.FAILED:
                raise UnavailableError(
                    f"This server cannot take calls: its {part.title.lower()} did not start. {part.why}",
                    code="engine_failed",
                )
        raise UnavailableError(
            "The server is still loading its engines; try again in a few seconds.", code="starting", retryable=True
        )

    # --- what loaders do ---

    def set(self, name: str, **changes: object) -> None:
        """Change a part, named fields only, and tell who listens."""
        part = replace(self._parts[name], **changes)  # type: ignore[arg-type] # checked by the dataclass's own names
        if part == self._parts[name]:
            return
        self._parts[name] = part
        for listener in tuple(self._listeners):
            listener(part)

    def ready_part(self, name: str, choice: str, *, why: str, better: str = "") -> None:
        """A part is usable."""
        self.set(name, choice=choice, state=PartState.READY, progress=None, why=why, better=better)

    async def work(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what is slow on one of the room's workers."""
        return await self._imports.run(function, *args, **kwargs)

    def own(self, closer: Callable[[], Awaitable[None]]) -> None:
        """Call `closer` when the room closes; the youngest first."""
        self._closers.append(closer)

    # --- loading ---

    async def load(self) -> None:
        """Load every part, then fetch what is better. Failures are shown on the part, never raised."""
        loaders = self._loaders
        voice: asyncio.Future[TextToSpeech | None] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._guard("ice", loaders.load_ice(self)))
                tasks.create_task(self._guard("tts", self._load_voice(loaders, voice)))
                big = self.settings.frontend == "moshi"
                frontend = tasks.create_task(
                    self._guard(
                        "frontend",
                        loaders.load_frontend(self, voice),
                        MODEL_DEADLINE_S if big else LOAD_DEADLINE_S,
                    )
                )
                fetched = self.settings.stt == "kyutai" or needs_whisper(self.settings)
                hearing = tasks.create_task(
                    self._guard("stt", loaders.load_stt(self), MODEL_DEADLINE_S if fetched else LOAD_DEADLINE_S)
                )
                chat = tasks.create_task(self._guard("llm", loaders.load_llm(self)))
                wording = tasks.create_task(self._load_wording())
            await self.import_modules("kame_core.registry", "app.protocol.realtime")  # a call needs them at once
            host, ears, brain = frontend.result(), hearing.result(), chat.result()
            if host is not None and ears is not None and brain is not None:
                from kame_core.engines import Engines

                stt, vad = ears
                self.engines = Engines(
                    frontend=host,
                    stt=stt,
                    vad=vad,
                    chat=brain,
                    clock=self.clock,
                    hearing=self._hearing,
                    early_chat=self.early_chat,
                    cascade=self.cascade,
                )
                if self.tools is not None:
                    self.engines.tools = self.tools
                if (ending := wording.result()) is not None:
                    self.engines.ending = ending
        finally:
            if not voice.done():
                voice.cancel()
            self._settled.set()
        if self.engines is not None:
            await self._improve(self.engines)

    async def _load_wording(self) -> "EnglishWording | None":
        """What reads the ends of sentences; before there are calls, which would stop while its model is read."""
        try:
            await self.import_modules("kame_core.wording")
            from kame_core.wording import EnglishWording

            return await self.work(EnglishWording)
        except KameError as error:
            log.info("turns end by word lists alone: %s", error.user_message)
            return None

    async def _load_voice(self, loaders: Loaders, voice: "asyncio.Future[TextToSpeech | None]") -> None:
        """The voice, which the front end waits for."""
        try:
            self.tts = await loaders.load_tts(self)
        finally:
            if not voice.done():
                voice.set_result(self.tts)

    async def _guard(self, name: str, loading: Coroutine[Any, Any, T], deadline_s: float = LOAD_DEADLINE_S) -> T | None:
        try:
            async with asyncio.timeout(deadline_s):
                return await loading
        except KameError as error:
            self.set(name, state=PartState.FAILED, progress=None, why=error.user_message)
        except TimeoutError:
            self.set(name, state=PartState.FAILED, why=f"It did not load within {deadline_s:.0f} s.")
        except Exception as error:
            log.exception("loading %s failed", name)
            self.set(
                name, state=PartState.FAILED, why=f"It failed to load ({type(error).__name__}); the log says more."
            )
        return None

    async def import_modules(self, *modules: str) -> None:
        """Import off the loop, so that the page and running calls do not wait for it."""
        for module in modules:
            try:
                await self._imports.run(importlib.import_module, module)
            except ImportError as error:
                raise UnavailableError(
                    f"A Python package is missing or broken ({error.name or module}). "
                    "Install again with: pip install -r requirements.txt",
                    code="package_missing",
                ) from error

    async def _improve(self, engines: "Engines") -> None:
        """Exchange a part for a better one while calls are served; new calls take it."""
        try:
            await self._loaders.improve_stt(self, engines)
        except KameError as error:
            log.info("speech-to-text stays as it is: %s", error.user_message)
        except Exception:
            log.exception("fetching a better speech-to-text failed")

    async def aclose(self) -> None:
        """End all engines, the youngest first, and their workers; idempotent."""
        if self._closed:
            return
        self._closed = True
        self.engines = None
        while self._closers:
            closer = self._closers.pop()
            try:
                async with asyncio.timeout(CLOSE_DEADLINE_S):
                    await closer()
            except TimeoutError:
                log.warning("an engine did not close within %.0f s", CLOSE_DEADLINE_S)
            except Exception:
                log.exception("an engine did not close cleanly")
        self._imports.close()
        self._hearing.close()
