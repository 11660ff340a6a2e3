"""Strict reading of JSON from clients: bounded, and with errors that name the parameter."""

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from app.protocol.errors import ParameterError
from kame_core.errors import InvalidRequestError

MAX_MESSAGE_CHARS = 65_536
MAX_DEPTH = 32
"""Deepest nesting of a message; keeps every recursive pass over it far from the interpreter's limit."""
_SHOWN_CHARS = 80


class WireModel(BaseModel):
    """Base of what clients send: no coercion, unknown fields kept."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


M = TypeVar("M", bound=BaseModel)


def parse_object(raw: str | bytes, *, what: str = "The message", max_size: int = MAX_MESSAGE_CHARS) -> dict[str, Any]:
    """Read one JSON object (RFC 8259).

    Args:
        raw: the text; bytes must be UTF-8.
        what: names the text in errors.
        max_size: longest accepted, in characters (bytes for bytes).

    Raises:
        InvalidRequestError: `request_too_large`, `invalid_json` (also NaN, numbers beyond all measure, unpaired
            surrogates, too deep nesting) or `invalid_type` (JSON, but no object).
    """
    if len(raw) > max_size:
        raise InvalidRequestError(f"{what} is larger than {max_size} bytes.", code="request_too_large")
    try:
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidRequestError(f"{what} is not valid JSON{where}.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what} must be a JSON object.", code="invalid_type")
    _check_tree(value, what)
    return value


def validate(model: type[M], data: Mapping[str, Any], prefix: str = "") -> M:
    """Check `data` against a model.

    Raises:
        ParameterError: about the first wrong parameter; `prefix` is put before its path.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
    paths = [_path(problem["loc"], data, missing=problem["type"] == "missing") for problem in problems]
    # Of several choices for one field, the one that got furthest is the one that was meant.
    path, problem = max(
        (pair for pair in zip(paths, problems, strict=True) if pair[0].startswith(paths[0])),
        key=lambda pair: len(pair[0]),
    )
    raise _parameter_error(problem["type"], problem["msg"], problem.get("ctx", {}), f"{prefix}{path}")


def shown(text: str) -> str:
    """A client's own word, shortened for an error message."""
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # `1e999`; as JSON it could not be said back
        raise ValueError(f"{text} is too large")
    return value


def _check_tree(root: dict[str, Any], what: str) -> None:
    level: list[Any] = [root]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.keys())
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, str) and not value.isascii():
                _check_text(value, what)
        if not below:
            return
        level = below
    raise InvalidRequestError(f"{what} is nested more than {MAX_DEPTH} levels deep.", code="invalid_json")


def _check_text(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:  # "\ud800" alone is valid JSON, but no text: nothing could send or speak it
        raise InvalidRequestError(f"{what} holds an unpaired surrogate.", code="invalid_json") from None


def _path(loc: tuple[int | str, ...], data: Any, *, missing: bool) -> str:
    """Path of a problem without the names pydantic adds for members of unions: those are not in the data."""
    path = ""
    for place, key in enumerate(loc):
        if isinstance(data, dict) and key in data:
            path, data = f"{path}.{key}", data[key]
        elif isinstance(data, list) and isinstance(key, int) and key < len(data):
            path, data = f"{path}[{key}]", data[key]
        elif missing and place == len(loc) - 1:
            path = f"{path}.{key}"
    return path.lstrip(".")


_EXPECTED = {
    "string_type": "a string",
    "bool_type": "a boolean",
    "int_type": "an integer",
    "float_type": "a number",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def _parameter_error(kind: str, message: str, context: Mapping[str, Any], param: str) -> ParameterError:
    if kind == "missing":
        return ParameterError(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if kind in _EXPECTED:
        return ParameterError(
            f"Invalid type for '{param}': expected {_EXPECTED[kind]}.", param=param, code="invalid_type"
        )
    if kind == "literal_error":
        expected = f"supported are {context['expected']}"
    elif kind == "value_error":
        expected = str(context["error"])
    else:
        expected = message[:1].lower() + message[1:]
    return ParameterError(f"Invalid value for '{param}': {expected}.", param=param)
