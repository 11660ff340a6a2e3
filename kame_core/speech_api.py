"""Reaching an OpenAI-compatible server for speech: its client, and its refusals in plain words.

Importing this module loads the `openai` package (about half a second); importers that must start fast do it late.
"""

import logging
import ssl
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import openai
from openai._base_client import get_platform

from kame_core.backend.llm_servers import OPENAI_BASE_URL, is_loopback
from kame_core.errors import KameError

E = TypeVar("E", bound=KameError)

_CONNECT_DEADLINE_S = 3.0
_KEEP_ALIVE_S = 120.0


@dataclass(frozen=True, slots=True)
class SpeechApi:
    """Where a speech service is."""

    base_url: str = OPENAI_BASE_URL
    """Up to and including `/v1`."""
    api_key: str = field(default="", repr=False)
    """Empty where the server asks for none."""

    @property
    def place(self) -> str:
        """Host and port, for people."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2] or "the given address"

    @property
    def on_this_machine(self) -> bool:
        """The server is reached without a network."""
        return is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def encrypted(self) -> bool:
        """It is reached by https or wss."""
        return urlsplit(self.base_url).scheme in ("https", "wss")

    def tls(self) -> ssl.SSLContext | None:
        """Certificates to check it with; reads files for some 30 ms. None where it is not encrypted."""
        return ssl.create_default_context() if self.encrypted else None

    def client(self) -> openai.AsyncOpenAI:
        """A client that never retries by itself; reads certificates for some 0.1 s, so not on the loop.

        Its connections are closed by its own `close`.
        """
        client = openai.AsyncOpenAI(
            api_key=self.api_key or "none",
            base_url=self.base_url,
            max_retries=0,
            http_client=httpx2.AsyncClient(
                timeout=httpx2.Timeout(None, connect=_CONNECT_DEADLINE_S),
                limits=httpx2.Limits(max_connections=256, max_keepalive_connections=32, keepalive_expiry=_KEEP_ALIVE_S),
                trust_env=not self.on_this_machine,  # a proxy is not for this machine
                verify=self.encrypted,
            ),
        )
        for chatty in ("openai", "httpcore2", "websockets"):  # their debug records hold what was said, and keys
            if logging.getLogger(chatty).level == logging.NOTSET:
                logging.getLogger(chatty).setLevel(logging.INFO)
        client._platform = get_platform()  # else found out in asyncio's default executor, at the first request
        return client


def refusal(kind: type[E], api: SpeechApi, what: str, status: int, code: str = "") -> E:
    """The error for an HTTP status or an error event.

    Args:
        kind: class of the error.
        what: the service's name, to begin a sentence with ("The speech service").
        status: HTTP status.
        code: the server's own code, where it gave one.
    """
    where = f"{what} at {api.place}"
    if status in (401, 403):
        text = f"{where} refuses the API key. Check the key and what it may be used for."
        return kind(text, code="speech_api_auth", retryable=False)
    if status == 404:
        text = f"{where} does not know the model, or the address is wrong. Check both; the base URL ends in /v1."
        return kind(text, code="speech_api_not_found", retryable=False)
    if code == "insufficient_quota":
        text = f"The credit for {where[0].lower()}{where[1:]} is used up. Add credit, or use another key."
        return kind(text, code="speech_api_no_credit", retryable=False)
    if status == 429:
        return kind(f"{where} has had too many requests. Wait a moment.", code="speech_api_busy", retryable=True)
    if status >= 500 or status in (408, 409, 425):
        text = f"{where} has a fault (status {status}). Try again, or look into its log."
        return kind(text, code="speech_api_failed", retryable=True)
    text = f"{where} refused the request (status {status}). Check the model's and the voice's name."
    return kind(text, code="speech_api_refused", retryable=False)


def unreachable(kind: type[E], api: SpeechApi, what: str) -> E:
    """The error where no connection comes about, or it breaks."""
    text = f"{what} at {api.place} cannot be reached. Check that it runs, its address and the network."
    return kind(text, code="speech_api_unreachable", retryable=True)
