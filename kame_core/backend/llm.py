"""An LLM behind any OpenAI-compatible server, as a chat model.

Importing this module loads the `openai` package (about half a second); importers that must start fast do it late.
"""

import asyncio
import contextlib
import importlib
import logging
import random
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import httpx2
import openai
from openai._base_client import get_platform
from openai.types.chat import ChatCompletionChunk

from kame_core.backend.base import ChatEvent, ChatRequest, Finish, TextDelta, ToolCall, Usage
from kame_core.backend.llm_errors import AttemptError, all_thought, bad_answer, complaint_of, failure_of, timed_out
from kame_core.backend.llm_servers import (
    LOCAL_SERVERS,
    OPENAI_BASE_URL,
    OPENAI_DEFAULT_MODEL,
    LlmSettings,
    choose_chat_model,
    is_loopback,
    probe_local_server,
)
from kame_core.backend.spoken import ReasoningFilter, SpokenFilter
from kame_core.backend.tool_wire import EXTRA, CallAssembler, as_wire, tool_parameters, without_tools
from kame_core.characters import CharacterJoiner
from kame_core.errors import ChatModelError

logger = logging.getLogger(__name__)

with contextlib.suppress(ImportError):  # else anyio does so at the first request: in the middle of a call, for 0.2 s
    importlib.import_module("anyio._backends._asyncio")

_MOST_ATTEMPTS = 3
_FIRST_BACKOFF_S = 0.15
_CONNECT_DEADLINE_S = 3.0
_KEEP_ALIVE_S = 120.0
_LIST_DEADLINE_S = 3.0
_CHARS_PER_TOKEN = 8
"""Generous: an answer longer than this times its allowed tokens ignores `max_tokens`."""
_THINKING_TOKENS = 2048
"""Added to what an answer may have where a model spends tokens on thinking first."""
FinishReason = Literal["stop", "length", "no_answer", "refusal", "tool_calls"]
_KNOWS_NO_TOOLS = re.compile(
    r"not support\w*.{0,20}(tool|function)|(tool|function)\w*.{0,20}not support|unsupported.{0,20}tool"
    r"|enable-auto-tool-choice|extra inputs.{0,20}tools|tools extra inputs",
    re.IGNORECASE,
)
_FINISH_REASONS: dict[str, FinishReason] = {"length": "length", "content_filter": "refusal"}


@dataclass(slots=True)
class _Dialect:
    """Which optional parameters the server knows, learned from its refusals."""

    token_limit: str
    stream_options: bool = True
    reasoning_effort: bool = True
    tools: bool = True
    call_extras: bool = True
    """`ToolCall.extra` goes back; it may be another server's, where the first fails."""
    thinks: bool = False
    """The model spends tokens of its limit on thinking."""


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
        """Answer as a stream of `TextDelta`, then each `ToolCall`, then `Usage` if the server tells, then `Finish`.

        What reasoning models think is left out, and markup where the answer is spoken. An answer without words ends
        with `no_answer`. Where the server knows no tools, or refuses the ones it is given, it is asked without them.
        Closing the generator closes the HTTP response at once.

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
                        spoke = spoke or isinstance(event, TextDelta | ToolCall)
                        yield event
                return
            except AttemptError as failure:
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
            raise timed_out() from None
        except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError, AttributeError) as error:
            raise failure_of(error, self._place, self._model).error from None

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        await self._http.aclose()

    # --- one attempt ---

    async def _attempt(self, request: ChatRequest, first_due_s: float, due_s: float) -> AsyncGenerator[ChatEvent, None]:
        may_think = self._dialect.thinks
        stream = await self._open(request, first_due_s)
        kept, calls = SpokenFilter() if request.spoken else ReasoningFilter(), CallAssembler()
        joiner = CharacterJoiner()
        most_chars = max(400, request.max_tokens * _CHARS_PER_TOKEN)
        chars = 0
        chunks = 0
        usage: Usage | None = None
        reason: FinishReason = "stop"
        try:
            while True:
                try:
                    async with asyncio.timeout_at(due_s if chars or calls else first_due_s):
                        chunk = await anext(stream)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    raise AttemptError(timed_out()) from None
                except (openai.OpenAIError, httpx2.HTTPError, ValueError) as error:
                    raise failure_of(error, self._place, self._model) from None
                chunks += 1
                usage = _usage_of(chunk) or usage
                delta, finish = _content_of(chunk)
                self._dialect.thinks = self._dialect.thinks or _is_thought(chunk)
                if finish is not None:
                    reason = _FINISH_REASONS.get(finish, reason)
                if request.tools:
                    calls.feed(_choice_of(chunk)[0])
                text = kept.feed(joiner.feed(delta))[: most_chars - chars]
                if text:
                    chars += len(text)
                    yield TextDelta(text)
                if chars >= most_chars:
                    reason = "length"
                    break
            if not chunks:
                raise AttemptError(bad_answer())
            if reason == "length" and not chars and not calls and not may_think:
                self._dialect.thinks = True
                raise AttemptError(all_thought(), 0.0)
            rest = (kept.feed(joiner.finish()) + kept.finish())[: most_chars - chars]
            if rest:
                chars += len(rest)
                yield TextDelta(rest)
        finally:
            await stream.close()
        whole_calls = calls.finish() if reason != "length" else ()  # the last one may have been cut
        for call in whole_calls:
            yield call
        if usage is not None:
            yield usage
        if whole_calls:
            reason = "tool_calls"
        yield Finish(reason if chars or whole_calls or reason == "refusal" else "no_answer")

    async def _open(self, request: ChatRequest, first_due_s: float) -> openai.AsyncStream[ChatCompletionChunk]:
        if not self._dialect.tools:
            request = replace(request, tools=(), messages=without_tools(request.messages))
        for _ in range(5):  # each refusal of a parameter teaches one
            try:
                async with asyncio.timeout_at(first_due_s):
                    model = request.model or self._model or await self._choose_model()
                    return await self._completions.create(
                        model=model,
                        messages=cast(Any, as_wire(request.messages, extras=self._dialect.call_extras)),
                        stream=True,
                        extra_body=self._parameters(request),
                    )
            except TimeoutError:
                raise AttemptError(timed_out()) from None
            except ChatModelError as error:  # of the list of models
                raise AttemptError(error) from None
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if self._learn(error):
                    continue
                if not request.tools or "tool" not in complaint_of(error):
                    raise failure_of(error, self._place, self._model) from None
                logger.warning("the LLM server refuses the tools it is offered; this request goes without them")
                request = replace(request, tools=())
            except (openai.OpenAIError, httpx2.HTTPError, ValueError, TypeError) as error:
                raise failure_of(error, self._place, self._model) from None
        raise AttemptError(bad_answer())

    def _parameters(self, request: ChatRequest) -> dict[str, object]:
        limit = request.max_tokens + (_THINKING_TOKENS if self._dialect.thinks else 0)
        parameters: dict[str, object] = {self._dialect.token_limit: limit}
        if self._dialect.tools and request.tools:
            parameters |= tool_parameters(request.tools, request.tool_choice)
        if self._dialect.stream_options:
            parameters["stream_options"] = {"include_usage": True}
        if self.settings.reasoning_effort and self._dialect.reasoning_effort:
            parameters["reasoning_effort"] = self.settings.reasoning_effort
        return parameters

    def _learn(self, error: openai.APIStatusError) -> bool:
        """Leave out what the server does not know; False if its complaint is about something else."""
        complaint = complaint_of(error)
        dialect = self._dialect
        if dialect.stream_options and "stream_options" in complaint:
            dialect.stream_options = False
        elif dialect.reasoning_effort and self.settings.reasoning_effort and "reasoning_effort" in complaint:
            dialect.reasoning_effort = False
        elif dialect.token_limit == "max_tokens" and "max_completion_tokens" in complaint:
            dialect.token_limit = "max_completion_tokens"
        elif dialect.token_limit == "max_completion_tokens" and "max_completion_tokens" in complaint:
            dialect.token_limit = "max_tokens"
        elif dialect.call_extras and EXTRA in complaint:
            dialect.call_extras = False
        elif dialect.tools and _KNOWS_NO_TOOLS.search(complaint):
            dialect.tools = False
            logger.warning("the LLM server knows no tools; nothing can be called with it")
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


def _content_of(chunk: object) -> tuple[str, str | None]:
    """Text and finish reason of a chunk; the package does not validate chunks, so anything may be missing."""
    delta, finish = _choice_of(chunk)
    content = getattr(delta, "content", None) or getattr(delta, "refusal", None)
    return content if isinstance(content, str) else "", finish if isinstance(finish, str) else None


def _choice_of(chunk: object) -> tuple[object, object]:
    """Delta and finish reason of a chunk's first choice."""
    choices = getattr(chunk, "choices", None)
    if not isinstance(choices, list) or not choices:
        return None, None
    return getattr(choices[0], "delta", None), getattr(choices[0], "finish_reason", None)


def _is_thought(chunk: object) -> bool:
    """The chunk holds reasoning apart from the answer, or tells that there was some."""
    delta, _ = _choice_of(chunk)
    details = getattr(getattr(chunk, "usage", None), "completion_tokens_details", None)
    spent = getattr(details, "reasoning_tokens", None)
    fields = (getattr(delta, "reasoning_content", None), getattr(delta, "reasoning", None))
    return any(fields) or (isinstance(spent, int) and spent > 0)


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
