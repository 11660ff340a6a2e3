"""Which LLM servers there are: the settings of one, and finding one on this machine.

Light to import: the `openai` package is not needed here.
"""

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import httpx2

from kame_core.errors import InvalidRequestError

OPENAI_BASE_URL = "https://api.openai.com/v1"
OPENAI_DEFAULT_MODEL = "gpt-4.1-mini"
LOCAL_SERVERS = (
    "http://127.0.0.1:11434/v1",  # Ollama
    "http://127.0.0.1:1234/v1",  # LM Studio
    "http://127.0.0.1:8000/v1",  # vLLM
)

_LONGEST_LIST_BYTES = 1 << 20
_NOT_CHAT = (
    "embed",
    "bge-",
    "bge_",
    "gte-",
    "e5-",
    "minilm",
    "rerank",
    "whisper",
    "tts",
    "clip",
    "moderation",
    "dall-e",
)
_SLOW_TO_SPEAK = ("r1", "qwq", "think", "reason", "coder", "code", "base")


@dataclass(frozen=True, slots=True)
class LlmSettings:
    """Where the LLM is."""

    base_url: str = OPENAI_BASE_URL
    """Up to and including `/v1`."""
    api_key: str = field(default="", repr=False)
    """Empty where the server asks for none."""
    model: str = ""
    """Empty: OpenAI's default above, or the first chat model the server lists."""
    reasoning_effort: str = ""
    """Sent only if set; for models that think before they answer, `minimal` or `none` makes them speak sooner."""


OFFLINE = "offline"
"""As a fallback: the embedded responder."""


def fallback_server(entry: str, first: LlmSettings, api_key: str = "") -> LlmSettings:
    """Settings of a fallback written as `MODEL` (of the first server) or `MODEL@URL`.

    Args:
        entry: `MODEL` may hold `@`, a URL begins with `http`.
        first: the LLM that is asked first.
        api_key: for servers other than the first.

    Raises:
        InvalidRequestError: there is no model before the `@`, or no address behind it.
    """
    model, at, rest = entry.partition("@http")
    url = urlsplit(f"http{rest}")
    if not model or (at and (url.scheme not in ("http", "https") or not url.hostname)):
        raise InvalidRequestError(f"{entry} is neither MODEL nor MODEL@URL.")
    if not at:
        return replace(first, model=model)
    base_url = f"http{rest}".rstrip("/")
    return LlmSettings(base_url, first.api_key if base_url == first.base_url else api_key, model)


def choose_chat_model(models: Sequence[str]) -> str | None:
    """The first model in the list that can talk; ones made for code or long thought only if there is no other."""
    chat = [model for model in models if not any(mark in model.lower() for mark in _NOT_CHAT)]
    return min(chat, key=lambda model: any(mark in model.lower() for mark in _SLOW_TO_SPEAK), default=None)


async def probe_local_server(candidates: Sequence[str] = LOCAL_SERVERS, deadline_s: float = 0.4) -> LlmSettings | None:
    """Find an OpenAI-compatible server with a chat model on this machine.

    Args:
        candidates: base URLs up to and including `/v1`, the best first; only loopback addresses are asked.
        deadline_s: total time; all are asked at once.

    Returns:
        Settings of the first in the list that lists a chat model, or None.
    """
    found: dict[str, str] = {}

    async def ask(client: httpx2.AsyncClient, base_url: str) -> None:
        with contextlib.suppress(httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError):
            model = choose_chat_model(await _listed_models(client, base_url))
            if model is not None:
                found[base_url] = model

    local = [url for url in candidates if is_loopback(urlsplit(url).hostname or "")]
    with contextlib.suppress(TimeoutError):
        async with (
            httpx2.AsyncClient(trust_env=False, verify=False, timeout=deadline_s) as client,
            asyncio.timeout(deadline_s),
            asyncio.TaskGroup() as tasks,
        ):
            for base_url in local:
                tasks.create_task(ask(client, base_url))
    best = next((url for url in local if url in found), None)
    return None if best is None else LlmSettings(best, model=found[best])


async def _listed_models(client: httpx2.AsyncClient, base_url: str) -> list[str]:
    body = b""
    async with client.stream("GET", f"{base_url.rstrip('/')}/models") as response:
        if response.status_code != 200:
            return []
        async for part in response.aiter_bytes():
            body += part
            if len(body) > _LONGEST_LIST_BYTES:
                return []
    listed = json.loads(body)
    entries = listed.get("data") if isinstance(listed, dict) else None
    ids = [entry.get("id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [name for name in ids if isinstance(name, str)]


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
