"""One frozen `Settings` from command line, environment and `.env`; the only place that reads the environment.

Order: command line, environment, `.env` in the working directory, defaults. Every setting `x_y` is `KAME_X_Y` in the
environment and `--x-y` on the command line; a few also have the name everybody uses (`PORT`, `OPENAI_API_KEY`).
"""

import argparse
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kame_core.errors import InvalidRequestError, KameError
from kame_core.options import Mode

PREFIX = "KAME_"
CALLS_PER_CORE = 4
"""An embedded call costs about a tenth of a core, up to half a core while its user speaks; few speak at once."""
MIB_PER_CALL = 300
"""An embedded recogniser's process and its spare."""


class SettingsError(KameError):
    """One or more settings are wrong; `problems` has one line for each."""

    code = "bad_settings"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Right:
    """What a right value looks like, to end the sentence "give ..."."""

    words: str
    shown: str = ""
    """Placeholder in the command line's help."""


def _names(*names: str) -> AliasChoices:
    return AliasChoices(*names)


def _split(value: object) -> object:
    """Commas or white space separate the entries of a list."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """How this server runs. Immutable; secrets never show in logs, errors or `repr`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    # --- where ---
    host: Annotated[
        str, Right("an address of this machine, 127.0.0.1 for this machine only, 0.0.0.0 for all", "ADDRESS")
    ] = Field(
        "127.0.0.1",
        validation_alias=_names("KAME_HOST", "HOST"),
        description="address to listen on; microphones need https or localhost",
    )
    port: Annotated[int, Right("a number from 0 to 65535; 0 takes any free one", "NUMBER")] = Field(
        8080, ge=0, le=65535, validation_alias=_names("KAME_PORT", "PORT"), description="TCP port to listen on"
    )
    public_url: Annotated[str, Right("the whole address people open, such as https://voice.example.org", "URL")] = (
        Field("", description="address under which a reverse proxy shows this server")
    )

    # --- engines ---
    frontend: Annotated[Literal["auto", "reflex", "echo"], Right("auto, reflex or echo", "NAME")] = Field(
        "auto", description="front end that hears and speaks: auto, reflex, echo"
    )
    stt: Annotated[
        Literal["auto", "pocketsphinx", "faster-whisper"], Right("auto, pocketsphinx or faster-whisper", "NAME")
    ] = Field("auto", description="speech-to-text: auto, pocketsphinx, faster-whisper")
    whisper_model: Annotated[
        str, Right("auto, a model size such as base.en, or the path of a model directory", "MODEL")
    ] = Field(
        "auto",
        min_length=1,
        max_length=500,
        description="Whisper model for faster-whisper: a size, a directory, or auto (base from 4 cores on, else tiny)",
    )
    whisper_fetch: Annotated[bool, Right("true or false")] = Field(
        True, description="fetch the Whisper model in the background where it is not on disk"
    )
    tts: Annotated[Literal["auto", "espeak"], Right("auto or espeak", "NAME")] = Field(
        "auto", description="text-to-speech: auto, espeak"
    )
    voice: Annotated[str, Right("a name from the voice's list; empty for its default", "NAME")] = Field(
        "", max_length=100, description="voice the agent speaks with; empty: the engine's default"
    )
    llm: Annotated[Literal["auto", "openai", "offline"], Right("auto, openai or offline", "NAME")] = Field(
        "auto", description="back end: auto, openai (any OpenAI-compatible server), offline (embedded)"
    )
    llm_model: Annotated[str, Right("a model name the LLM server knows", "NAME")] = Field(
        "",
        max_length=200,
        validation_alias=_names("KAME_LLM_MODEL", "OPENAI_MODEL"),
        description="model the LLM server is asked for",
    )
    openai_base_url: Annotated[str, Right("an address such as http://localhost:11434/v1", "URL")] = Field(
        "",
        validation_alias=_names("KAME_OPENAI_BASE_URL", "OPENAI_BASE_URL"),
        description="OpenAI-compatible server of the LLM",
    )
    openai_api_key: Annotated[SecretStr | None, Right("the key of the LLM server", "KEY")] = Field(
        None,
        validation_alias=_names("KAME_OPENAI_API_KEY", "OPENAI_API_KEY"),
        description="key of the LLM server; better in the environment, where other users of the machine cannot see it",
    )

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

    # --- limits ---
    capacity: Annotated[
        int | None, Right("a number of calls, 1 or more; empty to derive it from cores and memory", "CALLS")
    ] = Field(None, ge=1, le=1000, description="calls at once; default: 4 a core, less on machines with little memory")
    max_call_s: Annotated[float, Right("a number of seconds from 1 to 86400", "SECONDS")] = Field(
        3600.0, ge=1, le=86400, description="longest time one call may last"
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

    # --- network ---
    ice_servers: Annotated[
        str, Right('URLs such as stun:stun.example.org, or a JSON list of {"urls": ...}', "SERVERS")
    ] = Field("", description="STUN and TURN servers: URLs separated by commas, or a JSON list as in WebRTC")
    turn_secret: Annotated[SecretStr | None, Right("the static-auth-secret of the TURN server", "KEY")] = Field(
        None, description="shared secret of the TURN servers in ice_servers (coturn's use-auth-secret)"
    )
    ice_transport_policy: Annotated[Literal["all", "relay"], Right("all or relay", "NAME")] = Field(
        "all", description="relay: this server talks through TURN only (hosts without inbound UDP)"
    )

    # --- logs ---
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Right("debug, info, warning or error", "LEVEL")
    ] = Field("info", description="least severe log lines to print")
    log_json: Annotated[bool, Right("true or false")] = Field(False, description="one JSON object per log line")
    log_content: Annotated[bool, Right("true or false")] = Field(
        False, description="log what was said; off, no conversation content leaves the server's memory"
    )

    @field_validator("log_level", "frontend", "stt", "tts", "llm", "mode", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("api_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("it is too short to be safe")
        return value

    @field_validator("public_url", "openai_base_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        if not value:
            return value
        url = urlsplit(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("it is no http:// or https:// address")
        return value.rstrip("/")

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin == "*":
                continue
            url = urlsplit(origin)
            if not url.scheme or not url.hostname or url.path.strip("/") or url.query:
                raise ValueError(f"{origin} is no origin (scheme, host and port only)")
        return tuple(origin.rstrip("/").lower() for origin in value)

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
        return f"{size}.en" if self.language.lower().partition("-")[0] == "en" else size

    @property
    def calls_at_once(self) -> int:
        """`capacity`, or what this machine's cores and memory allow."""
        return self.capacity if self.capacity is not None else default_capacity()

    @property
    def shown_url(self) -> str:
        """The address to open in a browser on this machine (or the public one)."""
        return self.public_url or f"http://{shown_host(self.host)}:{self.port}"


def shown_host(host: str) -> str:
    """The name to open in a browser: `localhost` where the server listens on loopback or everywhere."""
    if host in ("", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost"):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """Cores this process may use, a container's quota (cgroup v2 `cpu.max`) included."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, period = cgroup.read_text().split()
        return min(cores, int(quota) / int(period)) if quota != "max" else cores
    except (OSError, ValueError):
        return cores


def memory_mib(cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> float:
    """Memory this process may use, a container's limit (cgroup v2 `memory.max`) included."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    except (OSError, ValueError, AttributeError):
        total = 4096.0
    try:
        return min(total, int(cgroup.read_text()) / 2**20)
    except (OSError, ValueError):
        return total


def default_capacity() -> int:
    """Calls at once with the embedded engines: four a core, as far as memory goes, at least one."""
    by_memory = int((memory_mib() - 600) // MIB_PER_CALL)
    return max(1, min(int(CALLS_PER_CORE * usable_cores()), by_memory))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _right(field: FieldInfo) -> Right:
    return next((item for item in field.metadata if isinstance(item, Right)), Right("another value"))


def environment_names(name: str) -> tuple[str, ...]:
    """Names under which the environment may hold a setting, the strongest first."""
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (PREFIX + name.upper(),)


def parser() -> argparse.ArgumentParser:
    """The command line: a command, and one flag for every setting."""
    made = argparse.ArgumentParser(
        prog="python -m app",
        description="KAME voice: serve the page and its calls, or say what would be used and why.",
        epilog="Every setting can also be given in the environment or in a file .env, under the name in brackets.",
        allow_abbrev=False,
    )
    made.add_argument("command", nargs="?", choices=("serve", "doctor"), default="serve", help="default: serve")
    for name, field in Settings.model_fields.items():
        standard = (
            f"; default: {field.default}" if isinstance(field.default, str | int | float) and field.default else ""
        )
        text = f"{field.description}{standard} [{', '.join(environment_names(name))}]".replace("%", "%%")
        if field.annotation is bool:
            made.add_argument(
                _flag(name), dest=name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
            )
        else:
            made.add_argument(_flag(name), dest=name, metavar=_right(field).shown, default=argparse.SUPPRESS, help=text)
    return made


def load_settings(flags: Mapping[str, Any] | None = None, *, env_file: str | None = ".env") -> Settings:
    """Read all sources.

    Args:
        flags: values given on the command line, by field name; they win.
        env_file: None reads no file.

    Raises:
        SettingsError: with one line for each wrong setting.
    """
    given = dict(flags or {})
    try:
        return Settings(**{"_env_file": env_file, **given})
    except ValidationError as error:
        raise SettingsError(_problems(error, given)) from None


def unknown_names(environment: Mapping[str, str] | None = None) -> list[str]:
    """A line for each `KAME_` variable that is no setting, most likely misspelt."""
    known = {choice for name in Settings.model_fields for choice in environment_names(name)}
    lines = []
    for variable in sorted(os.environ if environment is None else environment):
        if variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1)
            lines.append(f"{variable}: there is no such setting" + (f"; is {near[0]} meant?" if near else "."))
    return lines


def _problems(error: ValidationError, given: Mapping[str, Any]) -> list[str]:
    lines: dict[str, str] = {}
    for problem in error.errors(include_input=False, include_url=False):
        name = _field_of(str(problem["loc"][0]) if problem["loc"] else "")
        field = Settings.model_fields.get(name)
        if field is None:
            lines.setdefault(name, f"{name}: {problem['msg']}.")
            continue
        where = _flag(name) if name in given else environment_names(name)[0]
        lines.setdefault(name, f"{where}: {_cause(problem['type'], problem['msg'])}; give {_right(field).words}.")
    return list(lines.values())


def _cause(kind: str, message: str) -> str:
    known = {
        "int_parsing": "it is no whole number",
        "float_parsing": "it is no number",
        "bool_parsing": "it is neither true nor false",
        "literal_error": "there is no such choice",
        "enum": "there is no such choice",
        "string_pattern_mismatch": "it has the wrong form",
    }
    message = message.removeprefix("Value error, ").replace("Input should", "it should").rstrip(".")
    return known.get(kind, message[:1].lower() + message[1:])


def _field_of(location: str) -> str:
    for name in Settings.model_fields:
        if location == name or location.upper() in environment_names(name):
            return name
    return location
