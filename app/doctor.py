"""`python -m app doctor`: loads and tries every part as the server would; says what was chosen, why, and what next."""

import asyncio
import shutil
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from app.engines import EngineRoom, Part, PartState
from app.loaders import Loaders
from app.pages import Pages
from app.relay import IceKeeper, cloudflare_turn
from app.settings import Settings
from kame_core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, level_dbfs, resample, silence
from kame_core.clock import Clock, RealClock
from kame_core.errors import KameError

if TYPE_CHECKING:
    from kame_core.backend.base import ChatModel
    from kame_core.engines import Engines
    from kame_core.stt.base import RecognizerUpdate
    from kame_core.stt.kyutai import SlotRecognizer
    from kame_core.tts.base import TextToSpeech

PHRASE = "What is two plus three?"
"""Said, heard and answered by the engines themselves; every one of them knows it."""
TRY_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    title: str
    choice: str
    fine: bool
    text: str
    better: str = ""


async def diagnose(settings: Settings, loaders: Loaders | None = None) -> int:
    """Print the table. Returns 0 where the server could serve with these settings, else 1."""
    print("Loading what the server would use; this takes some seconds.\n", flush=True)
    findings = await examine(settings, RealClock(), loaders)
    print(table(findings))
    bad = [finding.title.lower() for finding in findings if not finding.fine]
    if bad:
        print(f"\nThis server could not serve as it is set: look at {', '.join(bad)}.")
        return 1
    run = "run-gpu" if settings.frontend == "moshi" else "run"
    print(f"\nAll is well. Start with: make {run}, then open {settings.shown_url}")
    return 0


def diagnose_weights(location: str) -> int:
    """Check a checkpoint of the moshi front end by its headers alone. Returns 0 where it can be loaded, else 1."""
    print(f"Reading the headers of {location}.\n", flush=True)
    finding = examine_weights(location)
    print(table([finding]))
    return 0 if finding.fine else 1


def examine_weights(location: str) -> Finding:
    """What the headers of a checkpoint's files tell, good or bad, never an error."""
    try:
        from kame_core.frontend.moshi.headers import check_checkpoint
    except ImportError as error:
        text = f"This needs packages that are not installed ({error.name}). Run: make run-gpu"
        return Finding("Checkpoint", location, False, text)
    try:
        report = check_checkpoint(location)
    except KameError as error:
        return Finding("Checkpoint", location, False, error.user_message)
    kind = "KAME: it follows an LLM." if report.trained_for_oracle else "Moshi."
    width = "8 bit" if report.quantized else "16 bit"
    size = f"{len(report.weights.tensors)} tensors, {report.memory_bytes() / 1e9:.1f} GB in {width}"
    text = " ".join([f"{kind} {size}{', with LoRA' if report.lora else ''}.", *report.problems])
    return Finding("Checkpoint", location, not report.problems, text, " ".join(report.notes))


async def examine(settings: Settings, clock: Clock, loaders: Loaders | None = None) -> list[Finding]:
    """Load and try everything; every finding, good or bad, never an error."""
    findings = [_port(settings), _page()]
    room = EngineRoom(settings, clock, loaders)
    loading = asyncio.create_task(room.load(), name="load engines")
    try:
        await room.settled()
        keeper = IceKeeper(room, cloudflare_turn(settings))
        if keeper.needed and room.transport_ready:
            await keeper.check()
        tries: dict[str, Callable[[], Coroutine[None, None, str]]] = {}
        spoken: list[Samples] = []
        if room.tts is not None:
            tts = room.tts
            tries["tts"] = lambda: _speak(tts, spoken)
        if room.engines is not None:
            engines = room.engines
            tries["stt"] = lambda: _recognise(engines, settings.language, spoken)
            (_, first), *others = _brains(engines, settings)
            tries["llm"] = partial(_ask, first)
        results = {name: await _try(action) for name, action in tries.items()}  # hearing needs what was spoken
        if room.engines is not None:
            room.set("llm", better=" ".join(filter(None, [room.part("llm").better, *await _silent(others)])))
        findings += [_finding(part, *results.get(part.name, (True, ""))) for part in room.parts]
    finally:
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        await room.aclose()
    return findings


def _finding(part: Part, worked: bool, result: str) -> Finding:
    fine = part.state is PartState.READY and worked
    return Finding(part.title, part.choice or "-", fine, " ".join(filter(None, (part.why, result))), part.better)


async def _try(action: Callable[[], Coroutine[None, None, str]]) -> tuple[bool, str]:
    try:
        async with asyncio.timeout(TRY_DEADLINE_S):
            return True, await action()
    except KameError as error:
        return False, error.user_message
    except TimeoutError:
        return False, f"It gave nothing within {TRY_DEADLINE_S:.0f} s."


async def _speak(tts: "TextToSpeech", spoken: list[Samples]) -> str:
    began_s = time.monotonic()
    async for chunk in tts.speak(PHRASE):
        spoken.append(chunk.pcm)
    took_ms = (time.monotonic() - began_s) * 1000
    sound = np.concatenate(spoken) if spoken else silence(0)
    if sound.size < SAMPLE_RATE_HZ // 2 or level_dbfs(sound) < -50:
        raise KameError("It made no sound.", code="tts_silent")
    return f"Tried: {sound.size / SAMPLE_RATE_HZ:.1f} s of speech made in {took_ms:.0f} ms."


async def _recognise(engines: "Engines", language: str, spoken: list[Samples]) -> str:
    if not spoken:
        return "Not tried, as there is no voice to listen to."
    from kame_core.stt.kyutai import SlotRecognizer

    recognizer = await engines.stt.open(language)
    try:
        sound = resample(np.concatenate(spoken), SAMPLE_RATE_HZ, recognizer.sample_rate_hz)
        if isinstance(recognizer, SlotRecognizer):
            return await _recognise_in_slot(engines, recognizer, sound)
        piece = recognizer.sample_rate_hz // 50
        for start in range(0, sound.size, piece):
            recognizer.push(sound[start : start + piece])
        recognizer.flush()
        return await _settled(recognizer.updates())
    finally:
        await recognizer.aclose()


async def _recognise_in_slot(engines: "Engines", recognizer: "SlotRecognizer", sound: Samples) -> str:
    """By a recogniser that listens inside the front end, in whose own time the sound has to come."""
    from kame_core.frontend.base import SlotOptions

    lease = await engines.frontend.lease(SlotOptions())
    try:
        recognizer.attach(lease.slot)
        outputs = lease.outputs()
        for start in range(0, sound.size, FRAME_SAMPLES):
            await anext(outputs)
            lease.push_audio(sound[start : start + FRAME_SAMPLES])
            recognizer.push(sound[start : start + FRAME_SAMPLES])
        recognizer.flush()
        return await _settled(update async for output in outputs for update in output.heard)
    finally:
        await lease.aclose()


async def _settled(updates: "AsyncIterator[RecognizerUpdate]") -> str:
    began_s = time.monotonic()
    async for update in updates:
        if update.fault is not None:
            raise update.fault
        if update.settled:
            took_ms = (time.monotonic() - began_s) * 1000
            if not update.text.strip():
                raise KameError("It understood nothing of a clear sentence.", code="stt_deaf")
            return f'Tried: heard "{update.text.strip()}" in {took_ms:.0f} ms.'
    raise KameError("It ended without an answer.", code="stt_silent")


def _brains(engines: "Engines", settings: Settings) -> "list[tuple[str, ChatModel]]":
    """Every model that may be asked, by its name in the settings; first of all the one that is meant to answer."""
    from kame_core.backend.fallback import FallbackChatModel

    models = engines.chat.models if isinstance(engines.chat, FallbackChatModel) else (engines.chat,)
    named = list(zip(("", *settings.llm_fallbacks), models, strict=False))
    early = [] if engines.early_chat is None else [(settings.llm_early_model, engines.early_chat)]
    return named[:1] + early + named[1:]


async def _silent(models: "Iterable[tuple[str, ChatModel]]") -> list[str]:
    """A sentence for each that does not answer."""
    told = [(name, *await _try(partial(_ask, model))) for name, model in models]
    return [f"{name} does not answer: {why}" for name, worked, why in told if not worked]


async def _ask(model: "ChatModel") -> str:
    from kame_core.backend.base import ChatMessage, ChatRequest, TextDelta

    began_s = time.monotonic()
    first_ms = 0.0
    answer = ""
    request = ChatRequest((ChatMessage("user", PHRASE),), max_tokens=60)
    async for event in model.stream(request):
        if isinstance(event, TextDelta):
            first_ms = first_ms or (time.monotonic() - began_s) * 1000
            answer += event.text
    if not answer.strip():
        raise KameError("It gave an empty answer.", code="llm_empty")
    return f'Tried: first word after {first_ms:.0f} ms: "{textwrap.shorten(answer, 80)}".'


def _port(settings: Settings) -> Finding:
    from app.__main__ import listen, why_not_listening

    try:
        listen(settings.host, settings.port).close()
    except OSError as error:
        return Finding("Address", f"{settings.host}:{settings.port}", False, why_not_listening(settings, error))
    open_to_all = settings.host not in ("127.0.0.1", "localhost", "::1")
    why = "Free to listen on; other machines can reach it." if open_to_all else "Free to listen on, for this machine."
    better = ""
    if open_to_all and settings.api_key is None:
        better = "Anybody who reaches it may call: set KAME_API_KEY where that is not meant."
    return Finding("Address", settings.shown_url, True, why, better)


def _page() -> Finding:
    try:
        Pages("doctor", ())
    except (KameError, OSError, ValueError) as error:
        return Finding("Page", "-", False, f"Its files cannot be read ({error}). Install again.")
    return Finding("Page", "templates, static", True, "Its files are complete.")


def table(findings: Iterable[Finding], width: int | None = None) -> str:
    """The findings for a terminal `width` characters wide."""
    width = width or min(shutil.get_terminal_size((100, 24)).columns, 120)
    blocks = []
    for finding in findings:
        head = f"{'ok  ' if finding.fine else 'BAD '} {finding.title:<16} {finding.choice}"
        notes = [finding.text] + ([f"Better: {finding.better}"] if finding.better else [])
        body = [line for note in notes if note for line in textwrap.wrap(note, width - 22)]
        blocks.append("\n".join([head, *(" " * 22 + line for line in body)]))
    return "\n".join(blocks)
