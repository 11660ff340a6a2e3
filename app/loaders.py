"""How each part is chosen and loaded. All of it runs behind the first page; what is slow, on workers."""

import asyncio
import importlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.machine import default_capacity
from app.speech_loaders import load_kyutai, load_transcription, load_voice, needs_whisper, texts_at_once
from kame_core.errors import KameError, UnavailableError
from kame_core.languages import primary_code

if TYPE_CHECKING:  # these bring in onnxruntime, openai, ctranslate2
    from app.engines import EngineRoom
    from kame_core.backend.base import ChatModel
    from kame_core.backend.llm import LlmSettings, OpenAIChatModel
    from kame_core.backend.offline import OfflineResponder
    from kame_core.backend.tools import Toolbox
    from kame_core.engines import Engines
    from kame_core.frontend.base import FrontendHost
    from kame_core.stt.base import SpeechToText
    from kame_core.stt.kyutai import KyutaiSpeechToText
    from kame_core.tts.base import TextToSpeech
    from kame_core.vad import SileroModel

FETCH_DEADLINE_S = 3600.0
PROBE_DEADLINE_S = 0.5


class Loaders:
    """The engines this server can have. Each method loads one part into the room, says on it what was chosen and why,
    and raises a `KameError` where it cannot be had.
    """

    _listening: "asyncio.Future[KyutaiSpeechToText | None] | None" = None
    """Speech-to-text that listens to the front end, which waits for it; None where it failed."""

    async def load_ice(self, room: "EngineRoom") -> None:
        """WebRTC, and which STUN and TURN servers it uses."""
        await room.import_modules("app.webrtc.peer", "app.webrtc.tracks")
        servers = [url for server in room.ice.servers for url in server.urls]
        usable = [url for server in room.ice.for_server(0.0) for url in server.urls]
        relayed = any(url.startswith("turn") for url in usable)
        if room.ice.relay_only and not relayed and not room.settings.cloudflare_turn_key:
            raise UnavailableError(
                "KAME_ICE_TRANSPORT_POLICY is relay, but KAME_ICE_SERVERS has no TURN server with credentials. "
                "Add one, or set the policy to all."
            )
        if not servers:
            room.ready_part(
                "ice",
                "direct",
                why="No STUN or TURN server is set: calls work on this machine and where UDP reaches it.",
                better="Behind a router that lets no UDP in, set KAME_ICE_SERVERS to a TURN server.",
            )
        else:
            kind = "relayed" if room.ice.relay_only else "direct, relay beside it" if relayed else "direct, with STUN"
            listed = " and ".join(usable) or "none"
            room.ready_part("ice", kind, why=f"This server uses {listed}; clients are given {len(servers)} URLs.")

    async def load_tts(self, room: "EngineRoom") -> "TextToSpeech":
        """The voice."""
        return await load_voice(room)

    async def load_frontend(self, room: "EngineRoom", voice: "asyncio.Future[TextToSpeech | None]") -> "FrontendHost":
        """What hears and speaks; `voice` comes when the text-to-speech is there, None where it failed."""
        capacity = room.settings.calls_at_once
        if room.settings.frontend == "echo":
            await room.import_modules("kame_core.frontend.echo", "kame_core.frontend.host")
            from kame_core.frontend.echo import EchoEngine
            from kame_core.frontend.host import LocalHost

            echo = LocalHost.threaded(EchoEngine(capacity))
            room.own(echo.aclose)
            room.ready_part(
                "frontend",
                "echo",
                why="It says back what it hears, as KAME_FRONTEND asks.",
                better="Set KAME_FRONTEND to auto for answers.",
            )
            return echo
        if room.settings.frontend == "moshi":
            return await self._moshi(room, voice)
        host = await self._reflex(room, voice, capacity)
        room.ready_part(
            "frontend",
            "reflex",
            why=f"It is embedded and needs no GPU; {_calls(capacity)} at once.",
            better="On an NVIDIA GPU: KAME_FRONTEND=moshi make run-gpu.",
        )
        return host

    async def _reflex(
        self, room: "EngineRoom", voice: "asyncio.Future[TextToSpeech | None]", capacity: int
    ) -> "FrontendHost":
        await room.import_modules("kame_core.frontend.reflex")
        from kame_core.frontend.reflex import reflex_host

        tts = await voice
        if tts is None:
            raise UnavailableError("It cannot speak without text-to-speech; see there.")
        host = await reflex_host(tts, capacity, parallel=texts_at_once(room.settings, tts))
        room.own(host.aclose)
        return host

    async def _moshi(self, room: "EngineRoom", voice: "asyncio.Future[TextToSpeech | None]") -> "FrontendHost":
        """A speech-to-speech model; imports torch, which nothing else does."""
        try:
            await room.import_modules("kame_core.frontend.moshi.load")
        except UnavailableError as error:
            raise UnavailableError(
                f"The moshi front end needs packages that are not here ({error.__cause__}). Start with: make run-gpu",
                code="package_missing",
            ) from error
        from kame_core.frontend.moshi.generation import Guidance, GuidanceMode
        from kame_core.frontend.moshi.load import MoshiOptions, load_moshi

        settings, loop = room.settings, asyncio.get_running_loop()

        def tell(progress: float | None) -> None:
            loop.call_soon_threadsafe(lambda: room.set("frontend", progress=progress))

        room.set("frontend", choice="moshi", why=f"Loading {settings.moshi_weights}.")
        options = MoshiOptions(
            settings.moshi_weights,
            settings.moshi_device,
            settings.moshi_slots,
            Guidance(GuidanceMode(settings.moshi_guidance), settings.moshi_guidance_weight),
            settings.moshi_clone_oracle,
        )
        stt = await self._listener() if settings.stt == "kyutai" else None
        loaded = await load_moshi(options, tell, FETCH_DEADLINE_S, stt)
        room.own(loaded.host.aclose)
        better = []
        if not loaded.in_real_time:
            better.append("That is slower than real time, so speech breaks up: use an NVIDIA GPU, or a smaller model.")
        elif loaded.times.reading_ms > 0 and loaded.host.capacity > 1:
            better.append(
                f"With so many places what is said before a pause is understood {loaded.times.reading_ms:.0f} ms later "
                "than with few: KAME_MOSHI_SLOTS sets how many."
            )
        if not loaded.trained_for_oracle:
            better.append("These weights were not trained to follow an LLM; SakanaAI/kame's were.")
        beside = await self._cascade(room, voice, loaded.host.capacity)
        room.ready_part(
            "frontend",
            "moshi",
            why=f"{settings.moshi_weights} runs on {loaded.device} in {loaded.dtype}: {_calls(loaded.host.capacity)} "
            f"at once, {loaded.times.p95_ms:.0f} ms for each 80 ms of sound. {beside}",
            better=" ".join(better),
        )
        return loaded.host

    async def _cascade(self, room: "EngineRoom", voice: "asyncio.Future[TextToSpeech | None]", most: int) -> str:
        """A reflex beside a front end that takes turns itself, for the mode `cascaded`; what there is to say of it."""
        places = min(most, room.settings.capacity or default_capacity())
        try:
            room.cascade = await self._reflex(room, voice, places)
        except KameError as error:
            return f"The mode cascaded is not to be had: {error.user_message}"
        return f"The mode cascaded runs on reflex beside it, {_calls(places)} at once."

    # --- speech-to-text ---

    def _listener(self) -> "asyncio.Future[KyutaiSpeechToText | None]":
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_future()
        return self._listening

    async def _kyutai(self, room: "EngineRoom") -> "SpeechToText":
        listening = self._listener()
        try:
            stt = await load_kyutai(room, FETCH_DEADLINE_S)
            listening.set_result(stt)
            return stt
        finally:
            if not listening.done():
                listening.set_result(None)

    async def load_stt(self, room: "EngineRoom") -> "tuple[SpeechToText, SileroModel]":
        """The ear: voice detection, and the best recogniser that is on disk."""
        await room.import_modules("kame_core.vad")
        from kame_core.vad import SileroModel

        vad = await room.work(SileroModel)
        settings = room.settings
        if settings.stt == "openai":
            return await load_transcription(room), vad
        if settings.stt == "kyutai":
            return await self._kyutai(room), vad
        if settings.stt == "pocketsphinx":
            return await self._pocketsphinx(room), vad
        needed = needs_whisper(settings)
        path = await self._whisper_on_disk(room, required=needed)
        if path is None and needed:
            if not settings.whisper_fetch:
                other = "auto" if primary_code(settings.language) == "en" else "openai"
                raise UnavailableError(
                    f"The Whisper model {settings.whisper_name} is not on disk and KAME_WHISPER_FETCH forbids to "
                    f"fetch it. Set KAME_WHISPER_MODEL to a model directory, or KAME_STT to {other}."
                )
            room.set("stt", choice=f"faster-whisper {settings.whisper_name}", why="It is being fetched.")
            path = await self._fetch_whisper(room)
        if path is None:
            return await self._pocketsphinx(room), vad
        try:
            return await self._whisper(room, path), vad
        except KameError as error:
            if needed:
                raise
            sphinx = await self._pocketsphinx(room)
            room.set(
                "stt", why=f"The Whisper model on disk cannot be used: {error.user_message} {room.part('stt').why}"
            )
            return sphinx, vad

    async def improve_stt(self, room: "EngineRoom", engines: "Engines") -> None:
        """Fetch a Whisper model where the embedded recogniser serves meanwhile; new calls then use it.

        Raises:
            KameError: it could not be fetched; the part says so.
        """
        settings = room.settings
        if settings.stt != "auto" or not settings.whisper_fetch or room.part("stt").choice != "pocketsphinx":
            return
        before = room.part("stt")
        try:
            path = await self._fetch_whisper(room)
            engines.stt = await self._whisper(room, path)  # open recognisers keep the old one, which ends with the room
        except KameError as error:
            room.set(
                "stt",
                choice=before.choice,
                progress=None,
                why=before.why,
                better=f"A Whisper model understands far more, but fetching {settings.whisper_name} failed: "
                f"{error.user_message}",
            )
            raise

    async def _pocketsphinx(self, room: "EngineRoom") -> "SpeechToText":
        await room.import_modules("kame_core.stt.pocketsphinx")
        from kame_core.stt.pocketsphinx import PocketsphinxSpeechToText

        stt = PocketsphinxSpeechToText()
        room.own(stt.aclose)
        await (await stt.open(room.settings.language)).aclose()
        room.languages = frozenset({"en"})
        room.ready_part(
            "stt",
            "pocketsphinx",
            why="It is embedded: American English, good at the questions the offline responder knows, weak at others.",
            better="A Whisper model understands far more: set KAME_WHISPER_MODEL to a size or a model directory.",
        )
        return stt

    async def _whisper(self, room: "EngineRoom", path: Path) -> "SpeechToText":
        await room.import_modules("kame_core.stt.faster_whisper")
        from kame_core.stt.faster_whisper import FasterWhisperSpeechToText

        stt = FasterWhisperSpeechToText(path)
        room.own(stt.aclose)
        await (await stt.open(room.settings.language)).aclose()
        room.languages = frozenset({"en"} if room.settings.whisper_name.endswith(".en") else ())
        room.ready_part(
            "stt", f"faster-whisper {room.settings.whisper_name}", why="The Whisper model is on disk.", better=""
        )
        return stt

    async def _whisper_on_disk(self, room: "EngineRoom", *, required: bool) -> Path | None:
        try:
            await room.import_modules("kame_core.stt.faster_whisper")
        except UnavailableError:
            if required:
                raise
            return None
        from kame_core.stt.faster_whisper import locate_whisper

        return await room.work(locate_whisper, room.settings.whisper_name)

    async def _fetch_whisper(self, room: "EngineRoom") -> Path:
        await room.import_modules("kame_core.stt.faster_whisper")
        from kame_core.stt.faster_whisper import fetch_whisper

        loop = asyncio.get_running_loop()
        size = room.settings.whisper_name

        def tell(done: int, total: int | None) -> None:
            room.set("stt", progress=min(done / total, 1.0) if total else None)

        def from_worker(done: int, total: int | None) -> None:
            loop.call_soon_threadsafe(tell, done, total)

        return await fetch_whisper(size, from_worker, FETCH_DEADLINE_S)

    # --- language model ---

    async def load_llm(self, room: "EngineRoom") -> "ChatModel":
        """The LLM that was asked for, one found on this machine, or the offline responder."""
        settings = room.settings
        if settings.tools:
            room.tools = await self._toolbox(room, settings.tools)
        named = settings.openai_api_key is not None or bool(settings.openai_base_url)
        if settings.llm == "openai" and not named:
            raise UnavailableError(
                "KAME_LLM is openai, but no server is named. Set OPENAI_API_KEY, or OPENAI_BASE_URL to a local server."
            )
        if settings.llm == "offline":
            return await self._offline(room, "KAME_LLM asks for it.")
        await room.import_modules("kame_core.backend.llm")
        from kame_core.backend.llm import OPENAI_BASE_URL, LlmSettings, OpenAIChatModel, probe_local_server

        if named:
            key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
            base_url = settings.openai_base_url or OPENAI_BASE_URL
            found: LlmSettings | None = LlmSettings(base_url, key, settings.llm_model)
            why = "OPENAI_BASE_URL names it." if settings.openai_base_url else "OPENAI_API_KEY is set."
        else:
            found = await probe_local_server(deadline_s=PROBE_DEADLINE_S)
            why = "It was found on this machine."
        if found is None:
            return await self._offline(room, "No OPENAI_API_KEY is set and no LLM server answers on this machine.")
        if settings.llm_model:
            found = replace(found, model=settings.llm_model)
        found = replace(found, reasoning_effort=settings.llm_reasoning_effort)
        chat = await room.work(OpenAIChatModel, found)  # loads certificates
        room.own(chat.aclose)
        name = f"{chat.model or 'its first model'} at {urlsplit(found.base_url).netloc}"
        if settings.llm_early_model:
            room.early_chat = await room.work(OpenAIChatModel, replace(found, model=settings.llm_early_model))
            room.own(room.early_chat.aclose)
            why += f" {settings.llm_early_model} answers while the user still speaks."
        if not settings.llm_fallbacks:
            room.ready_part("llm", name, why=why)
            return chat
        listed = ", then ".join(settings.llm_fallbacks)
        room.ready_part("llm", name, why=f"{why} Where it fails, {listed} answers.")
        return await self._with_fallbacks(room, chat, found)

    async def _with_fallbacks(self, room: "EngineRoom", chat: "OpenAIChatModel", first: "LlmSettings") -> "ChatModel":
        from kame_core.backend.fallback import FallbackChatModel
        from kame_core.backend.llm import OpenAIChatModel
        from kame_core.backend.llm_servers import OFFLINE, fallback_server

        settings = room.settings
        key = settings.llm_fallback_api_key.get_secret_value() if settings.llm_fallback_api_key else ""
        models: list[ChatModel] = [chat]
        for entry in settings.llm_fallbacks:
            if entry == OFFLINE:
                models.append(await self._responder(room))
                continue
            model = await room.work(OpenAIChatModel, fallback_server(entry, first, key))
            room.own(model.aclose)
            models.append(model)
        return FallbackChatModel(models)

    async def _toolbox(self, room: "EngineRoom", place: str) -> "Toolbox":
        from kame_core.backend.tools import Toolbox

        module, _, name = place.partition(":")
        try:
            toolbox = getattr(await room.work(importlib.import_module, module), name, None)
        except ImportError as error:
            if error.name and not f"{module}.".startswith(f"{error.name}."):
                raise UnavailableError(f"KAME_TOOLS: {module} needs {error.name}, which cannot be imported.") from error
            raise UnavailableError(
                f"KAME_TOOLS: the module {module} cannot be imported. Put it into the working directory or on "
                "PYTHONPATH."
            ) from error
        if not isinstance(toolbox, Toolbox):
            raise UnavailableError(f"KAME_TOOLS: {module} has no Toolbox called {name}.")
        return toolbox

    async def _responder(self, room: "EngineRoom") -> "OfflineResponder":
        await room.import_modules("kame_core.backend.offline")
        from kame_core.backend.offline import OfflineResponder

        responder = OfflineResponder()
        room.own(responder.aclose)
        await room.work(responder.load)
        return responder

    async def _offline(self, room: "EngineRoom", because: str) -> "ChatModel":
        responder = await self._responder(room)
        room.ready_part(
            "llm",
            "offline responder",
            why=f"{because} The embedded one knows arithmetic, dates, units and countries; it is no language model.",
            better="Set OPENAI_API_KEY, or OPENAI_BASE_URL to any OpenAI-compatible server such as Ollama.",
        )
        return responder


def _calls(number: int) -> str:
    return "1 call" if number == 1 else f"{number} calls"
