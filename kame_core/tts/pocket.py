"""Kyutai's pocket-tts as a voice: neural, streaming, on two CPU cores (https://github.com/kyutai-labs/pocket-tts).

The package is optional (`pip install pocket-tts`; it brings PyTorch) and is imported on the engine's own worker. Its
weights are not fetched from here: `pocket-tts generate` on the command line fetches them once.
"""

import asyncio
import importlib
import importlib.util
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kame_core.audio import SAMPLE_RATE_HZ, Samples
from kame_core.errors import KameError, TextToSpeechError, UnavailableError
from kame_core.languages import primary_code
from kame_core.tts.base import SpeechChunk
from kame_core.tts.streaming import speech_chunks
from kame_core.tts.text import is_language_tag, speakable
from kame_core.tts.word_timing import SpeakingRates
from kame_core.workers import ThreadWorkers, Workers

T = TypeVar("T")

LANGUAGES = {
    "en": ("english", "alba"),
    "fr": ("french", "estelle"),
    "de": ("german", "juergen"),
    "it": ("italian", "giovanni"),
    "pt": ("portuguese", "rafael"),
    "es": ("spanish", "lola"),
    "nl": ("dutch", "daan"),
}
"""Language code to the package's name of its model and the voice it speaks with by default."""
VOICES = frozenset(
    {
        "alba", "anna", "azelma", "bill_boerst", "caro_davy", "charles", "cosette", "daan", "eponine", "estelle", "eve",
        "fantine", "george", "giovanni", "jane", "javert", "jean", "juergen", "lola", "marius", "mary", "michael",
        "paul", "peter_yearsley", "rafael", "stuart_bell", "vera",
    }
)  # fmt: skip
"""Voices that come with the models."""

_PIECE_DEADLINE_S = 5.0
_STOP_DEADLINE_S = 2.0
_MOST_VOICES = 8


class PocketTextToSpeech:
    """The pocket-tts voice. One text at a time; others wait for it.

    Args:
        language: spoken; chooses the model, unless that is named.
        model: the package's name of a model ("english_18m_2026-10"), or the path of a configuration (.yaml).
        voice: one of `VOICES`, or the path of a recording or voice state to speak like; empty: the language's default.
        workers: where it computes; by default a thread of its own. Injected ones are not closed.

    Raises:
        UnavailableError: the package is not installed.
    """

    name = "pocket-tts"

    def __init__(
        self, language: str = "en", *, model: str = "", voice: str = "", workers: Workers | None = None
    ) -> None:
        if not is_installed():
            raise UnavailableError("The package pocket-tts is not installed. Install it with: pip install pocket-tts")
        self._language = language.lower().partition("-")[0]
        language_model, language_voice = LANGUAGES.get(self._language, ("", ""))
        self.model = model or language_model
        self.voice = voice or language_voice
        self._owns_workers = workers is None
        self._workers: Workers = workers if workers is not None else ThreadWorkers("pocket-tts")
        self._model: Any = None
        self._voices: OrderedDict[str, Any] = OrderedDict()
        self._rates = SpeakingRates()
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    async def load(self) -> float:
        """Load the model and its default voice, and speak once; returns seconds of sound made in a second.

        Raises:
            UnavailableError: the language or its files are missing, or the package cannot use them.
        """
        await self._workers.run(self._load)
        async with aclosing(self._sound("This is how quick I am.", "")) as sound:
            began_s = time.monotonic()
            samples = [piece.size async for piece in sound]
        return sum(samples) / SAMPLE_RATE_HZ / max(1e-6, time.monotonic() - began_s)

    async def speak(self, text: str, voice: str = "", language: str = "") -> AsyncGenerator[SpeechChunk, None]:
        """Synthesise; a chunk for every 80 ms or so; closing the generator stops the model at its next step.

        Raises:
            TextToSpeechError: the voice or its language is unknown (`unknown_voice`), or the model failed.
        """
        spoken = speakable(text)
        if not any(map(str.isalnum, spoken)):
            return
        chosen = voice if primary_code(language) in ("", self._language) else language
        async with (
            aclosing(self._sound(spoken, chosen)) as sound,
            aclosing(speech_chunks(text, sound, self._rates, voice)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    async def aclose(self) -> None:
        """Free the model; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._model = None
        self._voices.clear()
        if self._owns_workers:
            self._workers.close()

    async def _sound(self, text: str, voice: str) -> AsyncGenerator[Samples, None]:
        if self._closed:
            raise TextToSpeechError("The voice has been closed.", retryable=False)
        if is_language_tag(voice) and voice not in VOICES:
            if voice.lower().partition("-")[0] != self._language:
                raise TextToSpeechError(
                    f"pocket-tts was loaded for {self._language}, not for {voice}. Set KAME_LANGUAGE to it.",
                    code="unknown_voice",
                    retryable=False,
                )
            voice = ""
        async with self._one_at_a_time:
            stop = threading.Event()
            pieces = await self._guarded(lambda: self._begin(text, voice or self.voice, stop))
            try:
                while (piece := await self._guarded(lambda: _next(pieces))) is not None:
                    yield piece
            finally:
                stop.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_DEADLINE_S):
                        await self._workers.run(_drain, pieces)  # its threads end with it

    async def _guarded(self, function: Callable[[], T]) -> T:
        """On the worker, with a deadline, and the package's errors told as ours."""
        try:
            async with asyncio.timeout(_PIECE_DEADLINE_S):
                return await self._workers.run(function)
        except KameError:
            raise
        except TimeoutError:
            raise TextToSpeechError(
                "pocket-tts is too slow on this machine. Set KAME_TTS to espeak, or use more cores.", code="tts_timeout"
            ) from None
        except Exception as error:  # the message could hold what was to be said
            raise TextToSpeechError(f"pocket-tts failed ({type(error).__name__}).") from None

    # --- on the worker ---

    def _load(self) -> None:
        if self._model is not None:
            return
        if not self.model:
            known = ", ".join(sorted(LANGUAGES))
            raise UnavailableError(f"pocket-tts has no model for {self._language}. It knows {known}.")
        missing = missing_files(self.model, self.voice)
        if missing:
            raise UnavailableError(
                f"The pocket-tts model {Path(self.model).stem} is not on disk ({len(missing)} files are missing). "
                f"Fetch it once with: pocket-tts generate --language {Path(self.model).stem} --voice {self.voice}"
            )
        logging.getLogger("pocket_tts").setLevel(logging.ERROR)  # its warnings hold what is said
        try:
            package: Any = importlib.import_module("pocket_tts")
            chosen = {"config": self.model} if _is_path(self.model) else {"language": self.model}
            self._model = package.TTSModel.load_model(**chosen)
            self._state(self.voice)
        except KameError:
            raise
        except Exception as error:  # whatever PyTorch, the hub or a changed package raises
            raise UnavailableError(
                f"pocket-tts cannot use the model {Path(self.model).stem} ({type(error).__name__}). Install the "
                "package again, or set KAME_TTS to espeak."
            ) from error
        if self._model.sample_rate != SAMPLE_RATE_HZ:
            raise UnavailableError(f"A pocket-tts model of {self._model.sample_rate} Hz cannot be used; 24000 is.")

    def _state(self, voice: str) -> Any:
        """What the model knows of a voice; the one not used for longest is forgotten beyond 8."""
        if voice in self._voices:
            self._voices.move_to_end(voice)
            return self._voices[voice]
        if voice not in VOICES and voice != self.voice:  # never a path or address from outside
            raise TextToSpeechError(f"pocket-tts has no voice {voice!r}.", code="unknown_voice", retryable=False)
        source: str | Path = Path(voice).expanduser() if _is_path(voice) else voice
        self._voices[voice] = self._model.get_state_for_audio_prompt(source)
        while len(self._voices) > _MOST_VOICES:
            self._voices.popitem(last=False)
        return self._voices[voice]

    def _begin(self, text: str, voice: str, stop: threading.Event) -> Iterator[Any]:
        self._load()
        pieces: Iterator[Any] = self._model.generate_audio_stream(self._state(voice), text, stop=stop)
        return pieces


def is_installed() -> bool:
    """The package is there; it is not imported."""
    return importlib.util.find_spec("pocket_tts") is not None


def missing_files(model: str, voice: str) -> list[str]:
    """What of a model and a voice the Hugging Face cache lacks; never asks the network. Imports PyTorch.

    Args:
        model: name or configuration path.
        voice: name or path.
    """
    from huggingface_hub import try_to_load_from_cache

    configs: Any = importlib.import_module("pocket_tts.utils.config")
    sources: Any = importlib.import_module("pocket_tts.utils.utils")
    path = Path(model).expanduser() if _is_path(model) else configs.CONFIGS_DIR / f"{model}.yaml"
    if not path.is_file():
        return [path.name]
    config = configs.load_config(str(path))
    weights = [config.weights_path, config.weights_path_without_voice_cloning]  # either will do
    wanted = [[source for source in weights if source], [config.flow_lm.lookup_table.tokenizer_path]]
    if voice in VOICES:
        wanted.append([sources.get_predefined_voice(model, voice)])

    def there(source: str) -> bool:
        if not source.startswith("hf://"):
            return Path(source).is_file()
        name, _, revision = source.removeprefix("hf://").partition("@")
        parts = name.split("/")
        found = try_to_load_from_cache("/".join(parts[:2]), "/".join(parts[2:]), revision=revision or None)
        return isinstance(found, str)

    return [group[0] for group in wanted if group and not any(map(there, group))]


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml", ".wav", ".safetensors"))


def _next(pieces: Iterator[Any]) -> Samples | None:
    piece = next(pieces, None)
    return None if piece is None else np.asarray(piece.detach().cpu().numpy(), np.float32)


def _drain(pieces: Iterator[Any]) -> None:
    with suppress(Exception):
        for _ in pieces:
            pass
