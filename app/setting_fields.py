"""What all settings are made of, and the first of them: where the server listens."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "KAME_"


@dataclass(frozen=True, slots=True)
class Right:
    """What a right value looks like, to end the sentence "give ..."."""

    words: str
    shown: str = ""
    """Placeholder in the command line's help."""


def names(*choices: str) -> AliasChoices:
    """The names under which the environment may hold a setting, the strongest first."""
    return AliasChoices(*choices)


def _split(value: object) -> object:
    """Commas or white space separate the entries of a list."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list in one value."""


def lower_case(value: object) -> object:
    """Choices may be written in capitals."""
    return value.strip().lower() if isinstance(value, str) else value


def http_url(value: str) -> str:
    """An address without its last slash, or nothing."""
    if not value:
        return value
    url = urlsplit(value)
    try:
        url.port  # noqa: B018 -- raises where it is none
    except ValueError:
        raise ValueError("its port is wrong") from None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("it is no http:// or https:// address")
    return value.rstrip("/")


class PlaceSettings(BaseSettings):
    """Where the server is."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    host: Annotated[
        str, Right("an address of this machine, 127.0.0.1 for this machine only, 0.0.0.0 for all", "ADDRESS")
    ] = Field(
        "127.0.0.1",
        validation_alias=names("KAME_HOST", "HOST"),
        description="address to listen on; microphones need https or localhost",
    )
    port: Annotated[int, Right("a number from 0 to 65535; 0 takes any free one", "NUMBER")] = Field(
        8080, ge=0, le=65535, validation_alias=names("KAME_PORT", "PORT"), description="TCP port to listen on"
    )
    public_url: Annotated[str, Right("the whole address people open, such as https://voice.example.org", "URL")] = (
        Field("", description="address under which a reverse proxy shows this server")
    )

    _place_urls = field_validator("public_url")(http_url)
