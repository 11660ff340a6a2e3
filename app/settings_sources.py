"""`Settings` from command line, environment and `.env`, and what is said where they are wrong.

Order: command line, environment, `.env` in the working directory, defaults. Nothing else in the application reads the
environment.
"""

import argparse
import difflib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from app.setting_fields import PREFIX, Right
from app.settings import Settings, environment_names
from kame_core.errors import KameError


class SettingsError(KameError):
    """One or more settings are wrong; `problems` has one line for each."""

    code = "bad_settings"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def parser() -> argparse.ArgumentParser:
    """The command line: a command, and one flag for every setting."""
    made = argparse.ArgumentParser(
        prog="python -m app",
        description="KAME voice: serve the page and its calls, or say what would be used and why.",
        epilog="Every setting can also be given in the environment or in a file .env, under the name in brackets.",
        allow_abbrev=False,
    )
    made.add_argument("command", nargs="?", choices=("serve", "doctor"), default="serve", help="default: serve")
    made.add_argument(
        "--weights",
        metavar="PLACE",
        default=argparse.SUPPRESS,
        help="with doctor: only check this checkpoint of the moshi front end, a directory or a repository",
    )
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
    except UnicodeDecodeError:
        raise SettingsError([f"{env_file}: it is no UTF-8 text; save it as UTF-8."]) from None


def unknown_names(environment: Mapping[str, str] | None = None, *, env_file: str | None = ".env") -> list[str]:
    """A line for each `KAME_` variable, of the environment or the file, that is no setting, most likely misspelt."""
    known = {choice for name in Settings.model_fields for choice in environment_names(name)}
    filed = dotenv_values(env_file) if env_file is not None else {}
    given = {name.upper() for name in (*(os.environ if environment is None else environment), *filed)}
    lines = []
    for variable in sorted(given):
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
            cause = _cause(problem["type"], problem["msg"])
            lines.setdefault(name, f"{name}: {cause}." if name else f"{cause}.")
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


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _right(field: FieldInfo) -> Right:
    return next((item for item in field.metadata if isinstance(item, Right)), Right("another value"))
