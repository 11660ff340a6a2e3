"""An LLM behind any OpenAI-compatible server, as a chat model.

Importing this module loads the `openai` package (about half a second); importers that must start fast do it late.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import httpx2
import openai
from openai._base_client import get_platform
from openai.types.chat import ChatCompletionChunk

from kame_core.backend.base import ChatEvent, ChatRequest, Finish, TextDelta, Usage
from kame_core.backend.llm_servers import (
    LOCAL_SERVERS,
    OPENAI_BASE_URL,
    OPENAI_DEFAULT_MODEL,
    LlmSettings,
    choose_chat_model,
    is_loopback,
    probe_local_server,
)
from kame_core.backend.spoken import MarkupFilter, ReasoningFilter
from kame_core.errors import ChatModelError

logger = logging.getLogger(__name__)

_MOST_ATTEMPTS = 3
_FIRST_BACKOFF_S = 0.15
_CONNECT_DEADLINE_S = 3.0
_KEEP_ALIVE_S = 120.0
_LIST_DEADLINE_S = 3.0
_CHARS_PER_TOKEN = 8
"""Generous: an answer longer than this times its allowed tokens ignores `max_tokens`."""
FinishReason = Literal["stop", "length", "no_answer", "refusal"]
_FINISH_REASONS: dict[str, FinishReason] = {"length": "length", "content_filter": "refusal"}


@dataclass(slots=True)
class _Dialect:
    """Which optional parameters the server knows, learned from its refusals."""

    token_limit: str
    stream_options: bool = True
    reasoning_effort: bool = True


class OpenAIChatModel:
    """A chat model over the chat completions API.

    Faults are tried again, twice at most and within the request's deadline, only while no word has come. Nothing of a
    conversation is logged. Building one takes some 0.1 s (certificates), so do it at start or off the loop.

    Args:
        settings: where the LLM is.
    """

    name = "openai"

    def __init__(self, settings: LlmSettings) -> None:
        self.settings = settings
        host = urlsplit(settings.base_url).hostname or ""
        self._model = settings.model or (OPENAI_DEFAULT_MODEL if host == "api.openai.com" else "")
        self._dialect = _Dialect("max_completion_tokens" if host == "api.openai.com" else "max_tokens")
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=_CONNECT_DEADLINE_S),
            limits=httpx2.Limits(max_connections=256, max_keepalive_connections=32, keepalive_expiry=_KEEP_ALIVE_S),
            trust_env=not is_loopback(host),  # a proxy is not for this machine
            verify=urlsplit(settings.base_url).scheme == "https",  # loads certificates only where they are used
        )
        self._client = openai.AsyncOpenAI(
            api_key=settings.api_key or "none",
            base_url=settings.base_url,
            max_retries=0,
            http_client=self._http,
        )
        for chatty in ("openai", "httpcore2"):  # their debug records hold what was said, and keys
            if logging.getLogger(chatty).level == logging.NOTSET:
                logging.getLogger(chatty).setLevel(logging.INFO)
        # The client would find these out at the first request: one in asyncio's default executor, one by an import.
        self._client._platform = get_platform()
        self._completions = self._client.chat.completions

    @property
    def model(self) -> str:
        """The model that is asked; empty until it was chosen from the server's list."""
        return self._model

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Answer as a stream of `TextDelta`, then `Usage` if the server tells, then `Finish`.

        What reasoning models think, and markup, is left out. An answer without words ends with `no_answer`. Closing
        the generator closes the HTTP response at once.

        Raises:
            ChatModelError: as the contract says.
        """
        loop = asyncio.get_running_loop()
        first_due_s = loop.time() + min(request.first_token_deadline_s, request.deadline_s)
        due_s = loop.time() + request.deadline_s
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            spoke = False
            try:
                async with contextlib.aclosing(self._attempt(request, first_due_s, due_s)) as events:
                    async for event in events:
                        spoke = spoke or isinstance(event, TextDelta)
                        yield event
                return
            except _AttemptError as failure:
                error, wait_s = failure.error, failure.retry_after_s
            if wait_s is None:
                wait_s = _FIRST_BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            late = loop.time() + wait_s >= first_due_s
            if spoke or late or not error.retryable or error.code == "llm_timeout" or attempt == _MOST_ATTEMPTS:
                raise error
            logger.info("the LLM answered %s; attempt %d failed", error.code, attempt)
            await asyncio.sleep(wait_s)

    async def list_models(self, deadline_s: float = _LIST_DEADLINE_S) -> tuple[str, ...]:
        """Ids of the server's models; tells whether address and key are right.

        Raises:
            ChatModelError: as `stream`.
        """
        try:
            async with asyncio.timeout(deadline_s):
                page = await self._client.models.list()
                return tuple(str(model.id) for model in page.data or ())
        except TimeoutError:
            raise _timed_out() from None
        except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, AttributeError) as error:
            raise self._failure_of(error).error from None

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        await self._http.aclose()

    # --- one attempt ---

    async def _attempt(self, request: ChatRequest, first_due_s: float, due_s: float) -> AsyncGenerator[ChatEvent, None]:
        stream = await self._open(request, first_due_s)
        reasoning, markup = ReasoningFilter(), MarkupFilter()
        most_chars = max(400, request.max_tokens * _CHARS_PER_TOKEN)
        chars = 0
        chunks = 0
        usage: Usage | None = None
        reason: FinishReason = "stop"
        try:
            while True:
                try:
                    async with asyncio.timeout_at(due_s if chars else first_due_s):
                        chunk = await anext(stream)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    raise _AttemptError(_timed_out()) from None
                except (openai.OpenAIError, httpx2.HTTPError, ValueError) as error:
                    raise self._failure_of(error) from None
                chunks += 1
                usage = _usage_of(chunk) or usage
                delta, finish = _content_of(chunk)
                if finish is not None:
                    reason = _FINISH_REASONS.get(finish, reason)
                text = markup.feed(reasoning.feed(delta))[: most_chars - chars]
                if text:
                    chars += len(text)
                    yield TextDelta(text)
                if chars >= most_chars:
                    reason = "length"
                    break
            if not chunks:
                raise _AttemptError(_bad_answer())
            rest = (markup.feed(reasoning.finish()) + markup.finish())[: most_chars - chars]
            if rest:
                chars += len(rest)
                yield TextDelta(rest)
        finally:
            await stream.close()
        if usage is not None:
            yield usage
        yield Finish(reason if chars or reason == "refusal" else "no_answer")

    async def _open(self, request: ChatRequest, first_due_s: float) -> openai.AsyncStream[ChatCompletionChunk]:
        for _ in range(4):  # each refusal of a parameter teaches one
            try:
                async with asyncio.timeout_at(first_due_s):
                    model = request.model or self._model or await self._choose_model()
                    return await self._completions.create(
                        model=model,
                        messages=cast(Any, [{"role": m.role, "content": m.content} for m in request.messages]),
                        stream=True,
                        extra_body=self._parameters(request),
                    )
            except TimeoutError:
                raise _AttemptError(_timed_out()) from None
            except ChatModelError as error:  # of the list of models
                raise _AttemptError(error) from None
            except openai.BadRequestError as error:
                if not self._learn(error):
                    raise self._failure_of(error) from None
            except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError) as error:
                raise self._failure_of(error) from None
        raise _AttemptError(_bad_answer())

    def _parameters(self, request: ChatRequest) -> dict[str, object]:
        parameters: dict[str, object] = {self._dialect.token_limit: request.max_tokens}
        if self._dialect.stream_options:
            parameters["stream_options"] = {"include_usage": True}
        if self.settings.reasoning_effort and self._dialect.reasoning_effort:
            parameters["reasoning_effort"] = self.settings.reasoning_effort
        return parameters

    def _learn(self, error: openai.BadRequestError) -> bool:
        """Leave out what the server does not know; False if its complaint is about something else."""
        complaint = f"{error.param or ''} {error.message}"
        dialect = self._dialect
        if dialect.stream_options and "stream_options" in complaint:
            dialect.stream_options = False
        elif dialect.reasoning_effort and self.settings.reasoning_effort and "reasoning_effort" in complaint:
            dialect.reasoning_effort = False
        elif dialect.token_limit == "max_tokens" and "max_completion_tokens" in complaint:
            dialect.token_limit = "max_completion_tokens"
        elif dialect.token_limit == "max_completion_tokens" and "max_completion_tokens" in complaint:
            dialect.token_limit = "max_tokens"
        else:
            return False
        return True

    async def _choose_model(self) -> str:
        chosen = choose_chat_model(await self.list_models())
        if chosen is None:
            raise ChatModelError(
                f"The LLM server at {self._place} offers no chat model. Load one there, or name it in the settings.",
                code="llm_failed",
                retryable=False,
            )
        self._model = chosen
        return chosen

    @property
    def _place(self) -> str:
        return urlsplit(self.settings.base_url).netloc.rpartition("@")[2] or "the given address"

    def _failure_of(self, error: Exception) -> "_AttemptError":
        place = self._place
        if isinstance(error, openai.APIStatusError):
            return _AttemptError(self._refusal(error.status_code, error.code, place), _retry_after_s(error.response))
        if isinstance(error, openai.APITimeoutError):
            return _AttemptError(_timed_out())
        if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
            return _AttemptError(
                ChatModelError(
                    f"The LLM server at {place} cannot be reached. Check that it runs, its address and the network.",
                    code="llm_unreachable",
                    retryable=True,
                )
            )
        if isinstance(error, openai.APIError):  # an error inside the stream
            return _AttemptError(
                ChatModelError(f"The LLM server at {place} failed while answering. Try again.", code="llm_failed")
            )
        return _AttemptError(_bad_answer())

    def _refusal(self, status: int, code: str | None, place: str) -> ChatModelError:
        if status in (401, 403):
            return ChatModelError(
                f"The LLM server at {place} refuses the API key. Check the key and what it may be used for.",
                code="llm_auth",
                retryable=False,
            )
        if status == 404:
            model = self._model or "asked for"
            return ChatModelError(
                f"The LLM server at {place} does not know the model {model} or the address is wrong. Check the model's "
                "name, and that the base URL ends in /v1.",
                code="llm_failed",
                retryable=False,
            )
        if status == 429 and code == "insufficient_quota":
            return ChatModelError(
                f"The credit for the LLM at {place} is used up. Add credit, or use another key.",
                code="llm_rate_limited",
                retryable=False,
            )
        if status == 429:
            return ChatModelError(
                f"The LLM server at {place} has had too many requests. Wait a moment and try again.",
                code="llm_rate_limited",
                retryable=True,
            )
        if status >= 500 or status in (408, 409, 425):
            return ChatModelError(
                f"The LLM server at {place} has a fault (HTTP {status}). Try again, or look into its log.",
                code="llm_failed",
                retryable=True,
            )
        return ChatModelError(
            f"The LLM server at {place} refused the request (HTTP {status}). Check the model's name and its settings.",
            code="llm_failed",
            retryable=False,
        )


class _AttemptError(Exception):
    """An attempt's error, and when the server wants the next one."""

    def __init__(self, error: ChatModelError, retry_after_s: float | None = None) -> None:
        super().__init__(error.code)
        self.error = error
        self.retry_after_s = retry_after_s


def _timed_out() -> ChatModelError:
    return ChatModelError(
        "The LLM did not answer in time. Try again, or choose a faster model.", code="llm_timeout", retryable=True
    )


def _bad_answer() -> ChatModelError:
    return ChatModelError(
        "The LLM server's answer makes no sense. Check that the base URL is that of an OpenAI-compatible server and "
        "ends in /v1.",
        code="llm_bad_answer",
        retryable=False,
    )


def _retry_after_s(response: httpx2.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None


def _content_of(chunk: object) -> tuple[str, str | None]:
    """Text and finish reason of a chunk; the package does not validate chunks, so anything may be missing."""
    choices = getattr(chunk, "choices", None)
    if not isinstance(choices, list) or not choices:
        return "", None
    delta = getattr(choices[0], "delta", None)
    content = getattr(delta, "content", None) or getattr(delta, "refusal", None)
    finish = getattr(choices[0], "finish_reason", None)
    return content if isinstance(content, str) else "", finish if isinstance(finish, str) else None


def _usage_of(chunk: object) -> Usage | None:
    usage = getattr(chunk, "usage", None)
    spent = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    return Usage(spent[0], spent[1]) if isinstance(spent[0], int) and isinstance(spent[1], int) else None


__all__ = [
    "LOCAL_SERVERS",
    "OPENAI_BASE_URL",
    "LlmSettings",
    "OpenAIChatModel",
    "choose_chat_model",
    "probe_local_server",
]
