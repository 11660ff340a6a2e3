"""Speech-to-text over OpenAI's realtime transcription API: a WebSocket session of type `transcription`.

The conversation's own voice detection says where pauses are: each pause commits the audio buffer, and its reading is
one part of the utterance. What has no final reading yet is kept and sent again when a connection breaks, and sessions
are renewed between utterances long before the service ends them, so that no sound is lost either way.

Models made for it ("gpt-live-transcribe") read while one speaks; others only at pauses. Importing this module loads
the `openai` package; connecting needs `websockets` too.
"""

import asyncio
import importlib.util
from contextlib import suppress
from typing import Any

from kame_core.audio import SAMPLE_RATE_HZ
from kame_core.errors import SpeechToTextError, UnavailableError
from kame_core.speech_api import SpeechApi, refusal, unreachable
from kame_core.stt.realtime_recognizer import CLOSE_DEADLINE_S, Line, RealtimeRecognizer, error_code, language_code

DEFAULT_MODEL = "gpt-live-transcribe"
_MAX_MESSAGE_BYTES = 1 << 20
_WHAT = "The transcription service"


class OpenAIRealtimeSpeechToText:
    """Opens recognisers, each with a connection of its own. Build it off the loop: it reads certificates.

    Args:
        api: where the service is.
        model: empty for OpenAI's default.
        language: spoken where `open` is given none; "auto" leaves it to the model.
        session_s: age from which a connection is renewed as soon as nobody speaks; OpenAI ends sessions at 60 min.
        answer_deadline_s: from a pause to its reading; later the connection is taken for broken.
        give_up_s: from a pause to the settled reading of whatever is known by then.

    Raises:
        UnavailableError: the package websockets is missing.
    """

    name = "openai"

    def __init__(
        self,
        api: SpeechApi,
        *,
        model: str = "",
        language: str = "auto",
        session_s: float = 25 * 60.0,
        connect_deadline_s: float = 5.0,
        answer_deadline_s: float = 3.0,
        give_up_s: float = 8.0,
    ) -> None:
        if importlib.util.find_spec("websockets") is None:
            raise UnavailableError(
                "The package websockets is missing. Install again with: pip install -r requirements.txt",
                code="package_missing",
            )
        self.api = api
        self.model = model or DEFAULT_MODEL
        self.session_s = session_s
        self.answer_deadline_s = answer_deadline_s
        self.give_up_s = give_up_s
        self._connect_deadline_s = connect_deadline_s
        self._default_language = language
        self._client = api.client()
        self._realtime = self._client.realtime  # imports what is behind it
        self._options: dict[str, Any] = {
            "open_timeout": connect_deadline_s,
            "close_timeout": CLOSE_DEADLINE_S,
            "max_size": _MAX_MESSAGE_BYTES,
            "compression": None,
            "proxy": None if api.on_this_machine else True,
        }
        tls = api.tls()
        if tls is not None:
            self._options["ssl"] = tls
        self._recognizers: set[RealtimeRecognizer] = set()
        self._closed = False

    async def open(self, language: str) -> RealtimeRecognizer:
        """A recogniser for a language tag such as "en-GB"; "auto" leaves it to the model.

        Raises:
            SpeechToTextError: the service cannot be reached, or refuses.
        """
        if self._closed:
            raise SpeechToTextError("The server is shutting down.", code="stt_closed", retryable=False)
        code = language_code((language or self._default_language,))
        recognizer = RealtimeRecognizer(self, code, await self.connect(code))
        self._recognizers.add(recognizer)
        return recognizer

    async def connect(self, language: str) -> Line:
        """A connection with a configured session; `language` is an ISO 639 code, or empty.

        Raises:
            SpeechToTextError: it cannot be reached, or refuses.
        """
        options: Any = self._options  # websockets' own; the package names only some of them
        line: Line | None = None
        ready = False
        try:
            async with asyncio.timeout(self._connect_deadline_s):
                connection = await self._realtime.connect(
                    extra_query={"intent": "transcription"}, websocket_connection_options=options
                ).enter()
                line = Line(connection, asyncio.get_running_loop().time(), language)
                await line.send("session.update", session=self._session(language))
                while (event := await line.receive()).get("type") != "session.updated":
                    if event.get("type") == "error":
                        raise self._refusal(400, error_code(event))
            ready = True
            return line
        except SpeechToTextError:
            raise
        except TimeoutError:
            raise SpeechToTextError(
                f"{_WHAT} at {self.api.place} does not answer. Check that it runs, its address and the network.",
                code="speech_api_timeout",
            ) from None
        except Exception as error:  # websockets' own errors and whatever sockets raise
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status is not None:
                raise self._refusal(status, "") from None
            raise unreachable(SpeechToTextError, self.api, _WHAT) from error
        finally:
            if line is not None and not ready:
                await line.aclose()

    def forget(self, recognizer: RealtimeRecognizer) -> None:
        """A recogniser has closed."""
        self._recognizers.discard(recognizer)

    async def aclose(self) -> None:
        """Close all connections; idempotent."""
        self._closed = True
        await asyncio.gather(*(recognizer.aclose() for recognizer in list(self._recognizers)))
        with suppress(RuntimeError):  # the loop that opened them may be gone
            await self._client.close()

    def _session(self, language: str) -> Any:
        transcription: dict[str, object] = {"model": self.model}
        if language:
            transcription["language"] = language
        return {
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": SAMPLE_RATE_HZ},
                    "transcription": transcription,
                    "turn_detection": None,
                }
            },
        }

    def _refusal(self, status: int, code: str) -> SpeechToTextError:
        return refusal(SpeechToTextError, self.api, _WHAT, status, code)
