"""Parameters of requests, declared as data: name, type, range, default.

An endpoint declares its parameters in the order in which the server checks
them. The texts of errors are those of Zulip 10.0.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable
from typing import Any, Final, get_args, get_origin

from attrs import frozen

from .errors import ErrorResponse, bad_request

REQUIRED: Final = object()
_NAMES = {int: "an integer", bool: "a boolean", str: "a string", list: "a list", dict: "a dict"}


@frozen
class Parameter:
    """A parameter: how to convert its text, and its value if it is absent.

    Attributes:
        convert: Function of its name and text.
        default: Value if it is absent, or `REQUIRED`.
        alias: Older name of the parameter.
    """

    convert: Callable[[str, str], Any]
    default: Any = REQUIRED
    alias: str | None = None

    def parse(self, name: str, params: dict[str, str]) -> Any:
        """Return the value of the parameter."""
        found = [alias for alias in (name, self.alias) if alias in params]
        if len(found) > 1:
            msg = f"Can't decide between '{found[0]}' and '{found[1]}' arguments"
            names = {"var_name1": found[0], "var_name2": found[1]}
            raise ErrorResponse(400, "REQUEST_CONFUSING_VAR", msg, **names)
        if found:
            return self.convert(name, params[str(found[0])])
        if self.default is REQUIRED:
            msg = f"Missing '{name}' argument"
            raise ErrorResponse(400, "REQUEST_VARIABLE_MISSING", msg, var_name=name)
        return self.default


def text(
    default: Any = REQUIRED, *, alias: str | None = None, max_length: int | None = None
) -> Parameter:
    """Return a parameter whose value is its text."""

    def convert(name: str, value: str) -> str:
        if max_length is not None and len(value) > max_length:
            raise bad_request(f"{name} is too long (limit: {max_length} characters)")
        return value

    return Parameter(convert, default, alias)


def choice(*values: str, default: Any = REQUIRED) -> Parameter:
    """Return a parameter that has one of some values."""

    def convert(name: str, value: str) -> str:
        if value not in values:
            raise bad_request(f"Invalid {name}")
        return value

    return Parameter(convert, default)


def json(kind: Any, default: Any = REQUIRED, *, minimum: int | None = None) -> Parameter:
    """Return a parameter whose value is JSON of a type, such as `list[int]`."""

    def convert(name: str, value: str) -> Any:
        try:
            parsed = jsonlib.loads(value)
        except ValueError:
            raise bad_request(f"{name} is not valid JSON") from None
        if parsed is None and default is None:
            return parsed
        checked = _check(name, parsed, kind)
        if minimum is not None and checked < minimum:
            raise bad_request(f"{name} is too small")
        return checked

    return Parameter(convert, default)


def _check(name: str, value: Any, kind: Any) -> Any:
    """Return a JSON value, or raise an error unless it has a type."""
    origin = get_origin(kind) or kind
    if origin is Any:
        return value
    if type(value) is not origin:
        raise bad_request(f"{name} is not {_NAMES[origin]}")
    arguments = get_args(kind)
    if arguments and origin is list:
        for number, item in enumerate(value):
            _check(f"{name}[{number}]", item, arguments[0])
    elif arguments:
        for key, item in value.items():
            _check(f"{name}[{jsonlib.dumps(key)}]", item, arguments[1])
    return value
