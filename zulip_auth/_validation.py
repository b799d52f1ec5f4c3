"""Validate arguments before any request is made."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import TypeVar

from ._exceptions import InvalidInputError
from ._redaction import hide_locals

T = TypeVar("T")

MAX_LENGTH = 1024
"""Maximum length of a site, username or password, in characters."""

MAX_TOKEN_LENGTH = 16 * 1024
"""Maximum length of a JSON web token, in characters."""

_FORBIDDEN_CHARS_RE = re.compile(r"[\x00\r\n\ud800-\udfff]")
_JOINER_RE = re.compile("(?<=[^\x00-\x7f])[\u200c\u200d]")  # valid in a few scripts
_QUOTED_RE = re.compile("[\"'\u2018\u201c\u00ab`].*[\"'\u2019\u201d\u00bb`]")
# $VAR, %VAR%, YOUR_EMAIL, ${VAR}, {{ name }}, <your-email>, your-email@example.com
_PLACEHOLDER_RE = re.compile(
    r"(?:https?://)?(?:\$\w+|%\w+%|YOUR[_-].*)|.*(?:\$\{|\$\(|\{\{|<[^<>@]*>).*"
    r"|your[-_]e-?mail(?:@.*)?"
)
_HEADER_NAME_RE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_PROTOCOL_HEADER_RE = re.compile(
    r"(?i)accept(-encoding)?|authorization|connection|content-.*|host|transfer-encoding|user-agent"
)
_HEADER_VALUE_RE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def validate_type(name: str, value: T, type_: type[T]) -> T:
    """Return *value*, an instance of *type_*.

    Raises:
        InvalidInputError: If *value* is not an instance of *type_*.
    """
    if not isinstance(value, type_):
        expected = "a str" if type_ is str else f"an instance of {type_.__name__}"
        raise InvalidInputError(f"{name} must be {expected}, not {type(value).__name__}.")
    return value


@hide_locals
def validate_text(name: str, value: str) -> str:
    """Return *value*, a site, username, password or token.

    A password may be any text, except that no keyboard types a byte order
    mark in front of it. The others are checked for common mistakes.

    Raises:
        InvalidInputError: If *value* is not a non-empty str, is too long,
            contains a line break, NUL or lone surrogate, or cannot be right.
            The message does not repeat it.
    """
    if problem := find_problem(name, validate_type(name, value, str)):
        raise InvalidInputError(f"{name} {problem}")
    return value


def find_problem(name: str, value: str) -> str:
    """Return why *value* cannot be right; empty if it may be."""
    if not value:
        return "is empty."
    max_length = MAX_TOKEN_LENGTH if name == "token" else MAX_LENGTH
    if len(value) > max_length:
        return f"is longer than {max_length} characters."
    if _FORBIDDEN_CHARS_RE.search(value):
        return "contains a line break, NUL or lone surrogate; strip a trailing newline."
    if name == "password":
        has_mark = value.startswith("\ufeff")
        return "begins with a byte order mark; read its file as utf-8-sig." if has_mark else ""
    visible = _JOINER_RE.sub("", value)
    if not visible.isprintable():
        character = next(character for character in visible if not character.isprintable())
        return f"contains an invisible character (U+{ord(character):04X}); type it again."
    if _QUOTED_RE.fullmatch(value):
        return "is in quotes; remove them."
    if _PLACEHOLDER_RE.fullmatch(value):
        return "is a variable or placeholder that was not replaced."
    if name == "username" and "://" in value:
        return "is a URL; is the site the first argument?"
    return ""


@hide_locals
def validate_headers(value: Mapping[str, str] | None) -> dict[str, str]:
    """Return *value*, headers for an access gateway, or no headers for None.

    Raises:
        InvalidInputError: If a name or value is invalid, or the header is one
            of the protocol. The message repeats no value.
    """
    value = {} if value is None else value
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"headers must be a mapping, not {type(value).__name__}.")
    for name, content in value.items():
        if not (isinstance(name, str) and _HEADER_NAME_RE.fullmatch(name)):
            raise InvalidInputError("headers has a name that is not one of HTTP.")
        if _PROTOCOL_HEADER_RE.fullmatch(name):
            raise InvalidInputError(f"headers must not replace {name.title()}.")
        validate_ascii(f"headers[{name!r}]", content)
    return dict(value)


def header_secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of headers, and their parts, such as a token or a cookie's value."""
    values = headers.values()
    return (*values, *(part for value in values for part in re.findall(r"[^\s;,=]{8,}", value)))


def validate_ascii(name: str, value: str) -> str:
    """Return *value*, which fits into a header.

    Raises:
        InvalidInputError: If *value* is empty or not printable ASCII, or begins
            or ends with a space.
    """
    if not isinstance(value, str) or not _HEADER_VALUE_RE.fullmatch(value):
        raise InvalidInputError(f"{name} must be printable ASCII.")
    return value


def validate_seconds(name: str, value: float, *, allow_zero: bool = False) -> float:
    """Return *value*, a duration in seconds.

    Raises:
        InvalidInputError: If *value* is not a finite number, is negative, or is
            zero without *allow_zero*.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1e9 or not (value or allow_zero):
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


def validate_ssl_context(value: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Return *value*, a TLS context for clients or None.

    Raises:
        InvalidInputError: If *value* is neither.
    """
    if value is None:
        return None
    if validate_type("ssl_context", value, ssl.SSLContext).protocol is ssl.PROTOCOL_TLS_SERVER:
        raise InvalidInputError("ssl_context is for servers. Use ssl.create_default_context().")
    return value
