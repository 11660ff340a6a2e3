"""How the voice is chosen, and the ears and voices that are reached through a speech service."""

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

from kame_core.errors import KameError, TextToSpeechError, UnavailableError
from kame_core.languages import primary_code

if TYPE_CHECKING:  # these bring in openai, torch
    from app.engines import EngineRoom
    from app.settings import Settings
    from kame_core.speech_api import SpeechApi
    from kame_core.stt.base import SpeechToText
    from kame_core.stt.kyutai import KyutaiSpeechToText
    from kame_core.tts.base import TextToSpeech

log = logging.getLogger(__name__)

BETTER_VOICE = "For a neural voice set KAME_TTS to openai (a speech service), or install pocket-tts and its model."
_LEAST_SPEED = 1.5
"""Seconds of sound a second; a slower voice would stutter as soon as two speak."""
_MOST_REQUESTS = 32


async def load_voice(room: "EngineRoom") -> "TextToSpeech":
    """The voice that was asked for; espeak-ng stands behind every other.

    Raises:
        KameError: it cannot be had.
    """
    match room.settings.tts:
        case "openai":
            return await _openai_voice(room)
        case "pocket":
            return await _pocket_voice(room, "KAME_TTS asks for it.")
        case "auto" if await _pocket_is_usable(room):
            try:
                return await _pocket_voice(room, "It is installed, and its model is on disk.", _LEAST_SPEED)
            except KameError as error:
                return await _espeak_voice(room, error.user_message)
        case _:
            return await _espeak_voice(room)


def texts_at_once(settings: "Settings", tts: "TextToSpeech") -> int:
    """How many texts a voice is given at a time: one that waits for a network more than one that computes here."""
    return min(_MOST_REQUESTS, max(4, 2 * settings.calls_at_once)) if tts.name == "openai" else 2


def needs_whisper(settings: "Settings") -> bool:
    """Nothing embedded stands in for a Whisper model: it is asked for, or hears a language that only it can."""
    return settings.stt == "faster-whisper" or (settings.stt == "auto" and primary_code(settings.language) != "en")


async def load_transcription(room: "EngineRoom") -> "SpeechToText":
    """The ear behind a speech service.

    Raises:
        KameError: none is named, or it refuses.
    """
    api = await _speech_api(room, "KAME_STT")
    await room.import_modules("kame_core.stt.openai_realtime")
    from kame_core.stt.openai_realtime import OpenAIRealtimeSpeechToText

    settings = room.settings
    stt = await room.work(lambda: OpenAIRealtimeSpeechToText(api, model=settings.stt_model, language=settings.language))
    room.own(stt.aclose)
    why = "KAME_STT asks for it; what people say is sent there."
    try:
        await (await stt.open(settings.language)).aclose()
    except KameError as error:
        if not error.retryable:
            raise
        why = f"{why} At present: {error.user_message}"
    room.languages = frozenset()
    room.ready_part("stt", f"{stt.model} at {api.place}", why=why)
    return stt


async def load_kyutai(room: "EngineRoom", fetch_deadline_s: float) -> "KyutaiSpeechToText":
    """The ear inside the moshi front end, which must be given it.

    Raises:
        KameError: there is no such front end, or the model cannot be had.
    """
    settings = room.settings
    if settings.frontend != "moshi":
        raise UnavailableError(
            "KAME_STT is kyutai, which hears through the moshi front end. Set KAME_FRONTEND to moshi, or KAME_STT to "
            "auto."
        )
    try:
        await room.import_modules("kame_core.stt.kyutai_model", "kame_core.frontend.moshi.load")
    except UnavailableError as error:
        raise UnavailableError(
            f"Kyutai's speech-to-text needs packages that are not here ({error.__cause__}). Start with: make run-gpu",
            code="package_missing",
        ) from error
    from kame_core.frontend.moshi.load import device_of, dtype_for
    from kame_core.stt.kyutai import KyutaiSpeechToText
    from kame_core.stt.kyutai_files import fetch_kyutai
    from kame_core.stt.kyutai_model import KyutaiModel

    loop = asyncio.get_running_loop()

    def fetched(done: int, total: int | None) -> None:  # on a worker
        loop.call_soon_threadsafe(lambda: room.set("stt", progress=min(done / total, 1.0) if total else None))

    room.set("stt", choice="kyutai", why=f"Loading {settings.kyutai_weights}.")
    files = await fetch_kyutai(settings.kyutai_weights, fetched, fetch_deadline_s)
    device = device_of(settings.moshi_device)
    model = await room.work(KyutaiModel, files, device, dtype_for(device))
    stt = KyutaiSpeechToText(model, language=settings.language)
    room.own(stt.aclose)
    stt.require_language(settings.language)
    room.languages = stt.languages
    better = "" if model.foresees_turn_ends else "kyutai/stt-1b-en_fr-candle also foresees the end of a turn."
    why = f"{settings.kyutai_weights} hears the codes that the front end makes anyway."
    room.ready_part("stt", "kyutai", why=why, better=better)
    return stt


async def _speech_api(room: "EngineRoom", wanted_by: str) -> "SpeechApi":
    settings = room.settings
    base_url = settings.speech_base_url or settings.openai_base_url
    key = settings.speech_api_key
    if key is None and not settings.speech_base_url:  # never sent to a server it was not given for
        key = settings.openai_api_key
    if not base_url and key is None:
        raise UnavailableError(
            f"{wanted_by} is openai, but no service is named. Set OPENAI_API_KEY, or KAME_SPEECH_BASE_URL to a server "
            "that knows OpenAI's speech API."
        )
    await room.import_modules("kame_core.speech_api")
    from kame_core.backend.llm_servers import OPENAI_BASE_URL
    from kame_core.speech_api import SpeechApi

    return SpeechApi(base_url or OPENAI_BASE_URL, key.get_secret_value() if key is not None else "")


# --- voices ---


async def _espeak_voice(room: "EngineRoom", instead: str = "") -> "TextToSpeech":
    await room.import_modules("kame_core.tts.espeak")
    from kame_core.tts.espeak import DEFAULT_VOICE, EspeakTextToSpeech

    voice = room.settings.voice or DEFAULT_VOICE
    tts = EspeakTextToSpeech(voice)
    room.own(tts.aclose)
    room.voices = frozenset(await tts.voices())
    await _try(tts)  # loads the voice, and fails here rather than in a call
    why = "It is embedded: small, quick, everywhere; clear rather than beautiful."
    room.ready_part("tts", f"espeak-ng {voice}", why=f"{instead} {why}".strip(), better=BETTER_VOICE)
    return tts


async def _openai_voice(room: "EngineRoom") -> "TextToSpeech":
    api = await _speech_api(room, "KAME_TTS")
    await room.import_modules("kame_core.tts.openai_speech")
    from kame_core.backend.llm_servers import OPENAI_BASE_URL
    from kame_core.tts.openai_speech import VOICES, OpenAITextToSpeech

    settings = room.settings
    tts = await room.work(lambda: OpenAITextToSpeech(api, model=settings.tts_model, voice=settings.voice))
    room.own(tts.aclose)
    why = "KAME_TTS asks for it; what is said is sent there. Where it fails, espeak-ng says the rest."
    trouble: KameError | None = None
    try:
        await _try(tts)
    except KameError as error:
        if not error.retryable:
            raise
        trouble = error
    room.voices = VOICES if api.base_url == OPENAI_BASE_URL else frozenset()
    return await _with_espeak_behind(room, tts, f"{tts.model} ({tts.voice}) at {api.place}", why, trouble)


async def _pocket_voice(room: "EngineRoom", why: str, least_speed: float = 0.0) -> "TextToSpeech":
    await room.import_modules("kame_core.tts.pocket")
    from kame_core.tts.pocket import VOICES, PocketTextToSpeech

    settings = room.settings
    tts = PocketTextToSpeech(settings.language, model=settings.tts_model, voice=settings.voice)
    room.own(tts.aclose)
    speed = await tts.load()
    if speed < least_speed:
        await tts.aclose()
        raise UnavailableError(f"pocket-tts makes only {speed:.1f} s of speech a second on this machine.")
    room.voices = VOICES
    told = f"{why} It makes {speed:.1f} s of speech a second here; where it fails, espeak-ng says the rest."
    return await _with_espeak_behind(room, tts, f"pocket-tts {tts.voice}", told, None)


async def _pocket_is_usable(room: "EngineRoom") -> bool:
    """It is installed and nothing must be fetched."""
    await room.import_modules("kame_core.tts.pocket")
    from kame_core.tts.pocket import LANGUAGES, VOICES, is_installed, missing_files

    settings = room.settings
    model, voice = LANGUAGES.get(settings.language.lower().partition("-")[0], ("", ""))
    model, voice = settings.tts_model or model, settings.voice or voice
    if not is_installed() or not model or voice not in VOICES:  # else it is a voice of espeak-ng that is asked for
        return False
    try:
        return not await room.work(missing_files, model, voice)
    except Exception as error:  # whatever a broken installation raises
        log.warning("pocket-tts is installed but cannot be used: %s", type(error).__name__)
        return False


async def _with_espeak_behind(
    room: "EngineRoom", tts: "TextToSpeech", choice: str, why: str, trouble: KameError | None
) -> "TextToSpeech":
    await room.import_modules("kame_core.tts.espeak", "kame_core.tts.fallback")
    from kame_core.tts.espeak import DEFAULT_VOICE, EspeakTextToSpeech
    from kame_core.tts.fallback import FallbackTextToSpeech

    language = room.settings.language.lower()
    english = language.partition("-")[0] == "en"
    espeak = EspeakTextToSpeech(DEFAULT_VOICE if english else language)
    room.own(espeak.aclose)
    try:
        await _try(espeak)
    except TextToSpeechError:  # a language it does not have: better in an English voice than not at all
        espeak = EspeakTextToSpeech()
        room.own(espeak.aclose)

    def tell(error: KameError | None) -> None:
        room.set("tts", why=why if error is None else f"espeak-ng speaks at present: {error.user_message} {why}")

    room.ready_part("tts", choice, why=why)
    if trouble is not None:
        tell(trouble)
    return FallbackTextToSpeech(tts, espeak, room.clock, tell)


async def _try(tts: "TextToSpeech") -> None:
    async with aclosing(tts.speak("ready")) as chunks:
        async for _ in chunks:
            pass
