"""Validate arguments before any request is made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from ._exceptions import InvalidInputError
from ._redaction import hide_locals

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

MAX_LENGTH = 1024
"""Maximum length of a username, password or user agent, in characters."""

MAX_TOKEN_LENGTH = 16 * 1024
"""Maximum length of a JSON web token, in characters."""

_MAX_SECONDS = 1e9
_FORBIDDEN_CHARS_RE = re.compile(r"[\x00\r\n\ud800-\udfff]")
_HEADER_VALUE_RE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


@hide_locals
def validate_text(name: str, value: str, *, max_length: int = MAX_LENGTH) -> str:
    """Return *value*, a username, password or token.

    Raises:
        InvalidInputError: If *value* is not a non-empty str, is too long, or
            contains a line break, NUL or lone surrogate. The message does not
            repeat it.
    """
    if not isinstance(value, str):
        reason = f"must be a str, not {type(value).__name__}"
    elif not value:
        reason = "is empty"
    elif len(value) > max_length:
        reason = f"is longer than {max_length} characters"
    elif _FORBIDDEN_CHARS_RE.search(value):
        reason = (
            "contains a line break, NUL or lone surrogate; "
            "check how it was read (trailing newline?)"
        )
    else:
        return value
    raise InvalidInputError(f"{name} {reason}.")


def validate_user_agent(value: str | None) -> str | None:
    """Return *value*, a user agent that fits into a header.

    Raises:
        InvalidInputError: If *value* is empty, longer than allowed, or not printable ASCII.
    """
    is_short = isinstance(value, str) and len(value) <= MAX_LENGTH
    if value is not None and not (is_short and _HEADER_VALUE_RE.fullmatch(value)):
        raise InvalidInputError(
            f"user_agent must be printable ASCII of at most {MAX_LENGTH} characters."
        )
    return value


def validate_seconds(name: str, value: float, *, allow_zero: bool) -> float:
    """Return *value*, a duration in seconds.

    Raises:
        InvalidInputError: If *value* is not a finite number, is negative, or is
            zero without *allow_zero*.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _MAX_SECONDS or (value == 0 and not allow_zero):
        minimum = "of at least 0" if allow_zero else "greater than 0"
        raise InvalidInputError(f"{name} must be a finite number of seconds {minimum}.")
    return value


def validate_positive_int(name: str, value: int) -> int:
    """Return *value*, an int of at least 1.

    Raises:
        InvalidInputError: If *value* is not an int, or less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInputError(f"{name} must be an integer of at least 1.")
    return value


def validate_type(name: str, value: T, type_: type[T]) -> T:
    """Return *value*, an instance of *type_*.

    Raises:
        InvalidInputError: If *value* is not an instance of *type_*.
    """
    if not isinstance(value, type_):
        raise InvalidInputError(
            f"{name} must be an instance of {type_.__name__}, not {type(value).__name__}."
        )
    return value


def validate_ssl_context(value: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Return *value*, a TLS context for clients or None.

    Raises:
        InvalidInputError: If *value* is neither.
    """
    import ssl  # late, as asyncio below

    if value is None:
        return None
    if validate_type("ssl_context", value, ssl.SSLContext).protocol is ssl.PROTOCOL_TLS_SERVER:
        raise InvalidInputError("ssl_context is for servers. Use ssl.create_default_context().")
    return value
