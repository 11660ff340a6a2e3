"""What an LLM server's failures are called, and what their reader is told to do."""

from collections.abc import Iterator, Mapping

import httpx2
import openai

from kame_core.errors import ChatModelError


class AttemptError(Exception):
    """An attempt's error, and when the server wants the next one."""

    def __init__(self, error: ChatModelError, retry_after_s: float | None = None) -> None:
        super().__init__(error.code)
        self.error = error
        self.retry_after_s = retry_after_s


def timed_out() -> ChatModelError:
    """No answer within the deadline."""
    return ChatModelError(
        "The LLM did not answer in time. Try again, or choose a faster model.", code="llm_timeout", retryable=True
    )


def all_thought() -> ChatModelError:
    """The limit was used up before the answer began."""
    return ChatModelError(
        "The LLM spent all it may write on thinking. Choose a model that answers at once, or less reasoning effort.",
        code="llm_bad_answer",
        retryable=True,
    )


def bad_answer() -> ChatModelError:
    """That is no OpenAI-compatible server."""
    return ChatModelError(
        "The LLM server's answer makes no sense. Check that the base URL is that of an OpenAI-compatible server and "
        "ends in /v1.",
        code="llm_bad_answer",
        retryable=False,
    )


def failure_of(error: Exception, place: str, model: str) -> AttemptError:
    """What went wrong at the server `place`, which was asked for `model`."""
    if isinstance(error, openai.APIStatusError):
        return AttemptError(_refusal(error.status_code, error.code, place, model), _retry_after_s(error.response))
    if isinstance(error, openai.APITimeoutError):
        return AttemptError(timed_out())
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
        return AttemptError(
            ChatModelError(
                f"The LLM server at {place} cannot be reached. Check that it runs, its address and the network.",
                code="llm_unreachable",
                retryable=True,
            )
        )
    if isinstance(error, openai.APIError):  # an error inside the stream
        return AttemptError(
            ChatModelError(f"The LLM server at {place} failed while answering. Try again.", code="llm_failed")
        )
    return AttemptError(bad_answer())


def complaint_of(error: openai.APIStatusError) -> str:
    """What the server says of a request that it refuses, and the parameters it names, without what it quotes of it."""
    return " ".join(_words(error.body))


def _words(told: object, depth: int = 6) -> Iterator[str]:
    if isinstance(told, str):
        yield told
    elif isinstance(told, Mapping) and depth:
        for key in ("error", "param", "message", "detail", "loc", "msg"):  # the last three: servers built on pydantic
            yield from _words(told.get(key), depth - 1)
    elif isinstance(told, list) and depth:
        for one in told:
            yield from _words(one, depth - 1)


def _refusal(status: int, code: str | None, place: str, model: str) -> ChatModelError:
    if status in (401, 403):
        return ChatModelError(
            f"The LLM server at {place} refuses the API key. Check the key and what it may be used for.",
            code="llm_auth",
            retryable=False,
        )
    if status == 404:
        return ChatModelError(
            f"The LLM server at {place} does not know the model {model or 'asked for'} or the address is wrong. Check "
            "the model's name, and that the base URL ends in /v1.",
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
    if status in (400, 413, 422):
        return ChatModelError(
            f"The LLM server at {place} refuses this request (HTTP {status}). Shorten it or put it in other words; if "
            "every request is refused, check the model's name and its settings.",
            code="llm_bad_request",
            retryable=False,
        )
    return ChatModelError(
        f"The LLM server at {place} refused the request (HTTP {status}). Check the model's name and its settings.",
        code="llm_failed",
        retryable=False,
    )


def _retry_after_s(response: httpx2.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["retry-after"]))
    except (KeyError, ValueError):
        return None
