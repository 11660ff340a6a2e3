"""A voice behind an OpenAI-compatible speech API (`POST /audio/speech`), streamed as 24 kHz PCM.

Such voices give no word times; they are estimated. Importing this module loads the `openai` package.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress

import httpx2
import numpy as np
import openai

from kame_core.audio import Samples, from_int16
from kame_core.errors import TextToSpeechError
from kame_core.speech_api import SpeechApi, refusal, unreachable
from kame_core.tts.base import SpeechChunk, shifted
from kame_core.tts.streaming import speech_chunks
from kame_core.tts.text import is_language_tag, speakable, split_pieces
from kame_core.tts.word_timing import SpeakingRates

DEFAULT_MODEL = "gpt-4o-mini-tts"
DEFAULT_VOICE = "marin"
VOICES = frozenset(
    ("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse")
)
"""OpenAI's own; other servers have others."""

_MOST_CHARS = 4096
_PIECE_BYTES = 4800
"""100 ms."""
_WHAT = "The speech service"


class OpenAITextToSpeech:
    """A voice over HTTP. Build it off the loop: it reads certificates.

    Args:
        api: where the server is.
        model: empty for OpenAI's default.
        voice: empty for OpenAI's default; a language tag given to `speak` as the voice means this one too.
        first_sound_deadline_s: from request to first sound; a neural voice takes 0.3 to 1 s.
        stall_deadline_s: between two pieces of sound.
    """

    name = "openai"

    def __init__(
        self,
        api: SpeechApi,
        *,
        model: str = "",
        voice: str = "",
        first_sound_deadline_s: float = 3.0,
        stall_deadline_s: float = 2.0,
    ) -> None:
        self.api = api
        self.model = model or DEFAULT_MODEL
        self.voice = voice or DEFAULT_VOICE
        self._first_sound_deadline_s = first_sound_deadline_s
        self._stall_deadline_s = stall_deadline_s
        self._client = api.client()
        self._speech = self._client.audio.speech.with_streaming_response  # imports what is behind it
        self._rates = SpeakingRates()
        self._closed = False

    async def speak(self, text: str, voice: str = "", language: str = "") -> AsyncGenerator[SpeechChunk, None]:
        """Synthesise; chunks as they arrive; closing the generator closes the HTTP response at once.

        `language` changes nothing: every voice of such services speaks the language of its text.

        Raises:
            TextToSpeechError: refused, unreachable, broken off, or too slow (`tts_timeout`).
        """
        if self._closed:
            raise TextToSpeechError("The voice has been closed.", retryable=False)
        chosen = self.voice if not voice or (is_language_tag(voice) and voice not in VOICES) else voice
        offset_samples = 0
        for start, end in [(0, len(text))] if len(text) <= _MOST_CHARS else split_pieces(text):
            piece = speakable(text[start:end])
            if not any(map(str.isalnum, piece)):
                continue
            before_samples = offset_samples
            async with (
                aclosing(self._sound(piece, chosen)) as sound,
                aclosing(speech_chunks(text[start:end], sound, self._rates, chosen)) as chunks,
            ):
                async for chunk in chunks:
                    marks = shifted(chunk.marks, start, before_samples)
                    offset_samples += chunk.pcm.size
                    yield SpeechChunk(chunk.pcm, marks)

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        self._closed = True
        with suppress(RuntimeError):  # the loop that opened them may be gone
            await self._client.close()

    async def _sound(self, text: str, voice: str) -> AsyncGenerator[Samples, None]:
        due_s = asyncio.get_running_loop().time() + self._first_sound_deadline_s
        request = self._speech.create(input=text, model=self.model, voice=voice, response_format="pcm")
        odd = b""
        heard = False
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout_at(due_s):
                    response = await stack.enter_async_context(request)
                pieces = response.iter_bytes(_PIECE_BYTES)
                while True:
                    async with asyncio.timeout_at(due_s):
                        data = await anext(pieces, None)
                    if data is None:
                        break
                    if not heard:
                        _check_is_pcm(data, response.headers.get("content-type", ""))
                        heard = True
                    due_s = asyncio.get_running_loop().time() + self._stall_deadline_s
                    data = odd + data
                    whole = len(data) & ~1
                    odd = data[whole:]
                    yield from_int16(np.frombuffer(data[:whole], "<i2"))
        except TimeoutError:
            raise TextToSpeechError(
                f"The speech service at {self.api.place} is too slow.", code="tts_timeout", retryable=True
            ) from None
        except openai.APIStatusError as error:
            if error.status_code in (400, 422) and "voice" in f"{error.param} {error.message}":
                raise TextToSpeechError(
                    f"The speech service at {self.api.place} has no voice {voice!r}.",
                    code="unknown_voice",
                    retryable=False,
                ) from None
            raise refusal(TextToSpeechError, self.api, _WHAT, error.status_code, error.code or "") from None
        except (openai.OpenAIError, httpx2.HTTPError) as error:
            raise unreachable(TextToSpeechError, self.api, _WHAT) from error
        if not heard:
            raise TextToSpeechError(f"The speech service at {self.api.place} gave no sound.", retryable=True)


def _check_is_pcm(data: bytes, kind: str) -> None:
    """Some servers answer in another format than was asked for; noise must not reach the caller."""
    container = data[:4] in (b"RIFF", b"OggS", b"fLaC", b"ID3\x03", b"ID3\x04")
    if container or kind.startswith(("text/", "application/json")):
        raise TextToSpeechError(
            "The speech service's answer is no raw PCM. Use a server that knows response_format=pcm.",
            code="tts_bad_answer",
            retryable=False,
        )
