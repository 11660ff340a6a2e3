"""One frozen `Settings`: every setting with what it is for, its bounds and what a right value looks like.

Every setting `x_y` is `KAME_X_Y` in the environment and `--x-y` on the command line; a few also have the name everybody
uses (`PORT`, `OPENAI_API_KEY`). The engines' are in `app/engine_settings.py`; `app/settings_sources.py` reads them all.
"""

import ipaddress
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator

from app.engine_settings import EngineSettings
from app.machine import default_capacity, usable_cores
from app.origins import web_origin
from app.setting_fields import PREFIX, Right, Words, http_url, lower_case, names
from kame_core.backend.presets import MAX_KNOWLEDGE_CHARS, spoken_languages
from kame_core.errors import InvalidRequestError
from kame_core.languages import primary_code
from kame_core.options import MAX_SAID_CHARS, Mode

MOST_GPU_CALLS = 128


class Settings(EngineSettings):
    """How this server runs. Immutable; secrets never show in logs, errors or `repr`."""

    # --- conversations ---
    language: Annotated[str, Right("a language tag such as en or en-GB", "TAG")] = Field(
        "en", pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="language people speak"
    )
    mode: Annotated[Mode, Right("tandem, direct or cascaded", "NAME")] = Field(
        Mode.TANDEM,
        description="tandem (front end and LLM together), direct (front end alone), cascaded (for comparison)",
    )
    opener: Annotated[bool, Right("true or false")] = Field(
        True, description="a short opener may be spoken before the LLM's words are there"
    )
    instructions: Annotated[str, Right("at most 8000 characters", "TEXT")] = Field(
        "", max_length=8000, description="added to what the LLM is told about itself"
    )

    preset: Annotated[
        Literal["assistant", "interpreter", "tutor", "customer_service"],
        Right("assistant, interpreter, tutor or customer_service", "NAME"),
    ] = Field("assistant", description="what the agent is for: assistant, interpreter, tutor, customer_service")
    second_language: Annotated[str, Right("a language tag such as es", "TAG")] = Field(
        "", pattern=r"^$|^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="the other language of the interpreter"
    )
    knowledge_file: Annotated[Path | None, Right("the path of a UTF-8 text of at most 12000 characters", "FILE")] = (
        Field(None, description="text the agent answers from, such as a company's rules and prices")
    )
    greeting: Annotated[str, Right("at most 1000 characters; empty: the user begins", "TEXT")] = Field(
        "", max_length=MAX_SAID_CHARS, description="what the agent says first, as it is; sessions may set their own"
    )
    idle_prompt: Annotated[str, Right("at most 1000 characters; empty for none", "TEXT")] = Field(
        "", max_length=MAX_SAID_CHARS, description="what it says into a long silence, twice at most, as it is"
    )
    idle_after_s: Annotated[float, Right("a number of seconds from 2 to 600", "SECONDS")] = Field(
        10.0, ge=2, le=600, description="silence after which idle_prompt is said, twice as long before the second"
    )

    # --- limits ---
    capacity: Annotated[
        int | None, Right("a number of calls, 1 or more; empty to derive it from cores and memory", "CALLS")
    ] = Field(
        None, ge=1, le=1000, description="calls at once; default: 4 a core, less with little memory; on moshi its slots"
    )
    max_call_s: Annotated[float, Right("a number of seconds from 1 to 86400", "SECONDS")] = Field(
        3600.0, ge=1, le=86400, description="longest time one call may last"
    )
    max_idle_s: Annotated[float, Right("a number of seconds from 0 to 86400; 0 for no such end", "SECONDS")] = Field(
        300.0, ge=0, le=86400, description="a call in which nobody says a word for so long is ended; 0: never"
    )
    drain_s: Annotated[float, Right("a number of seconds from 0 to 3600", "SECONDS")] = Field(
        20.0, ge=0, le=3600, description="longest time live calls go on after SIGTERM; a second SIGTERM ends them"
    )
    calls_per_ip: Annotated[int | None, Right("a number of calls, 1 or more; empty for no limit", "CALLS")] = Field(
        None, ge=1, description="calls at once from one address (of IPv6, its /64 network); empty: no limit"
    )
    calls_per_secret: Annotated[int | None, Right("a number of calls, 1 or more; empty for no limit", "CALLS")] = Field(
        None, ge=1, description="calls at once with one client secret; empty: no limit"
    )
    opens_per_minute: Annotated[int | None, Right("a number, 1 or more; empty for no limit", "NUMBER")] = Field(
        None, ge=1, description="calls opened and client secrets asked for by one address in a minute; empty: no limit"
    )
    connect_deadline_s: Annotated[float, Right("a number of seconds from 1 to 60", "SECONDS")] = Field(
        15.0, ge=0.2, le=60, description="longest time from offer to connection"
    )
    max_grace_s: Annotated[float, Right("a number of seconds from 0 to 300", "SECONDS")] = Field(
        20.0, ge=0, le=300, description="longest time a conversation waits for a client whose connection broke"
    )

    # --- access ---
    api_key: Annotated[SecretStr | None, Right("a secret of 16 characters or more", "KEY")] = Field(
        None, description="server key: calls and client secrets then need it (or an ek_ key made with it); empty: open"
    )
    allowed_origins: Annotated[
        Words, Right("origins such as https://www.example.org, separated by commas, or *", "ORIGINS")
    ] = Field((), description="other web origins whose pages may call this server")
    public_pages: Annotated[bool, Right("true or false")] = Field(
        False, description="with a server key: this server's own page and allowed_origins need no key"
    )
    public_max_call_s: Annotated[float, Right("a number of seconds from 1 to 86400", "SECONDS")] = Field(
        600.0, ge=1, le=86400, description="longest call from a page of another origin that has no key of its own"
    )
    public_max_tokens: Annotated[int, Right("a number of tokens, 1 or more", "TOKENS")] = Field(
        500_000, ge=1, description="tokens of the LLM that such a call may spend, prompts and answers together"
    )

    metrics_key: Annotated[SecretStr | None, Right("a secret of 16 characters or more", "KEY")] = Field(
        None, description="key that /metrics wants as Authorization: Bearer; empty: api_key; both empty: open"
    )
    trusted_proxies: Annotated[int, Right("a number from 0 to 10", "NUMBER")] = Field(
        0, ge=0, le=10, description="your own proxies before this server, each adding to X-Forwarded-For"
    )

    # --- network ---
    ice_servers: Annotated[
        str, Right('URLs such as stun:stun.example.org, or a JSON list of {"urls": ...}', "SERVERS")
    ] = Field("", description="STUN and TURN servers: URLs separated by commas, or a JSON list as in WebRTC")
    turn_secret: Annotated[SecretStr | None, Right("the static-auth-secret of the TURN server", "KEY")] = Field(
        None, description="shared secret of the TURN servers in ice_servers (coturn's use-auth-secret)"
    )
    cloudflare_turn_key: Annotated[str, Right("the id of a TURN key of your Cloudflare account", "ID")] = Field(
        "", max_length=100, pattern=r"^[A-Za-z0-9_-]*$", description="id of a TURN key of Cloudflare's service"
    )
    cloudflare_turn_token: Annotated[SecretStr | None, Right("the API token of that TURN key", "KEY")] = Field(
        None, description="API token of cloudflare_turn_key, with which credentials are fetched and renewed"
    )
    public_address: Annotated[str, Right("an IP address such as 203.0.113.7", "ADDRESS")] = Field(
        "", description="IP address under which clients reach this machine's UDP ports where it has only a private one"
    )
    ice_transport_policy: Annotated[Literal["all", "relay"], Right("all or relay", "NAME")] = Field(
        "all", description="relay: this server talks through TURN only (hosts without inbound UDP)"
    )

    transport: Annotated[Literal["auto", "websocket"], Right("auto or websocket", "NAME")] = Field(
        "auto",
        description="how pages call: auto (WebRTC, and a WebSocket where that fails), websocket (hosts without UDP)",
    )

    # --- logs ---
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Right("debug, info, warning or error", "LEVEL")
    ] = Field("info", description="least severe log lines to print")
    log_json: Annotated[bool, Right("true or false")] = Field(False, description="one JSON object per log line")
    otlp_endpoint: Annotated[str, Right("the address of a collector such as http://localhost:4318", "URL")] = Field(
        "",
        validation_alias=names("KAME_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="OpenTelemetry collector that takes traces of calls and turns over HTTP; empty: none",
    )
    otlp_headers: Annotated[SecretStr | None, Right("name=value, separated by commas", "HEADERS")] = Field(
        None,
        validation_alias=names("KAME_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
        description="headers of each request to the collector, such as its key",
    )
    log_content: Annotated[bool, Right("true or false")] = Field(
        False, description="log what was said; off, logs, metrics and traces hold none of it"
    )

    _lower_choices = field_validator("log_level", "mode", "preset", "transport", mode="before")(lower_case)
    _http_addresses = field_validator("otlp_endpoint")(http_url)

    @field_validator("api_key", "metrics_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("it is too short to be safe")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        origins = []
        for entry in value:
            origin = "*" if entry == "*" else web_origin(entry)
            if origin is None:
                raise ValueError(f"{entry} is no origin of a web page (scheme, host and port only)")
            origins.append(origin)
        return tuple(origins)

    @field_validator("knowledge_file")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                text = value.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                raise ValueError("it cannot be read as UTF-8 text") from None
            if len(text) > MAX_KNOWLEDGE_CHARS:
                raise ValueError(f"it has {len(text)} characters")
        return value

    @field_validator("public_address")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value)) if value else ""
        except ValueError:
            raise ValueError("it is no IP address") from None

    @model_validator(mode="after")
    def _both_of_cloudflare(self) -> "Settings":
        if bool(self.cloudflare_turn_key) != bool(self.cloudflare_turn_token):
            raise ValueError("KAME_CLOUDFLARE_TURN_KEY and KAME_CLOUDFLARE_TURN_TOKEN go together; give both or none")
        return self

    @field_validator("ice_servers")
    @classmethod
    def _ice_servers(cls, value: str) -> str:
        if not value:
            return value
        from app.webrtc.ice import parse_ice_servers  # here, so that reading settings stays light

        try:
            parse_ice_servers(value)
        except InvalidRequestError as error:
            raise ValueError(error.user_message) from None
        return value

    @property
    def whisper_name(self) -> str:
        """The size or directory of the Whisper model; on few cores a larger one settles too late for a talk."""
        if self.whisper_model != "auto":
            return self.whisper_model
        size = "base" if usable_cores() >= 4 else "tiny"
        spoken = spoken_languages(self.preset, self.language, self.second_language)
        return f"{size}.en" if {primary_code(tag) for tag in spoken} == {"en"} else size

    @cached_property
    def knowledge(self) -> str:
        """The text of `knowledge_file`; empty without one."""
        return "" if self.knowledge_file is None else self.knowledge_file.read_text(encoding="utf-8")

    @property
    def calls_at_once(self) -> int:
        """`capacity`, or what this machine's cores and memory allow; on a GPU its front end decides."""
        if self.capacity is not None:
            return self.capacity
        if self.frontend == "moshi":
            return self.moshi_slots or MOST_GPU_CALLS
        return default_capacity()

    @property
    def shown_url(self) -> str:
        """The address to open in a browser on this machine (or the public one)."""
        return self.public_url or f"http://{shown_host(self.host)}:{self.port}"


def shown_host(host: str) -> str:
    """The name to open in a browser: `localhost` where the server listens on loopback or everywhere."""
    if host in ("", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def environment_names(name: str) -> tuple[str, ...]:
    """Names under which the environment may hold a setting, the strongest first."""
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (PREFIX + name.upper(),)
