"""Validate arguments before any request is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
# Spaces other than U+0020, marks of width zero and of direction. A joiner is
# valid in a few scripts, never after an ASCII character.
_INVISIBLE_RE = re.compile(
    "[\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u180e\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u206f"
    "\u3000\u3164\ufeff\ufff9-\ufffb]|(?<![^\x00-\x7f])[\u200c\u200d]"
)
_QUOTED_RE = re.compile("[\"'\u2018\u201c\u00ab`].*[\"'\u2019\u201d\u00bb`]")
# $VAR, %VAR%, YOUR_EMAIL, ${VAR}, {{ name }}, <your-email>, your-email@example.com
_PLACEHOLDER_RE = re.compile(
    r"(?:https?://)?(?:\$\w+|%\w+%|YOUR[_-].*)|.*(?:\$\{|\$\(|\{\{|<[^<>@]*>).*"
    r"|your[-_]e-?mail(?:@.*)?"
)
_HEADER_NAME_RE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_PROTOCOL_HEADER_RE = re.compile(
    r"accept(-encoding)?|authorization|connection|content-(encoding|length|type)|expect|host"
    r"|keep-alive|proxy-authorization|te|trailer|transfer-encoding|upgrade|user-agent",
    re.IGNORECASE,
)
_HEADER_VALUE_RE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


@hide_locals
def validate_text(name: str, value: str, *, max_length: int = MAX_LENGTH) -> str:
    """Return *value*, a username, password or token.

    A password may be any text, except that no keyboard types a byte order
    mark in front of it; the others are checked for `find_mistake`.

    Raises:
        InvalidInputError: If *value* is not a non-empty str, is too long,
            contains a line break, NUL or lone surrogate, or cannot be right.
            The message does not repeat it.
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
    elif name == "password" and value.startswith("\ufeff"):
        reason = "begins with a byte order mark; read its file as utf-8-sig"
    elif name != "password" and (mistake := find_mistake(value)):
        reason = mistake
    elif name == "username" and "://" in value:
        reason = "is a URL; is the site the first argument?"
    else:
        return value
    raise InvalidInputError(f"{name} {reason}{'' if reason.endswith('?') else '.'}")


def find_mistake(value: str) -> str | None:
    """Return why *value* cannot be a site, username or token; None if it may be one."""
    if match := _INVISIBLE_RE.search(value):
        return f"contains an invisible character (U+{ord(match[0]):04X}); type it again"
    if _QUOTED_RE.fullmatch(value):
        return "is in quotes; remove them"
    if _PLACEHOLDER_RE.fullmatch(value):
        return "is a variable or placeholder that was not replaced"
    return None


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
        if not (isinstance(content, str) and _HEADER_VALUE_RE.fullmatch(content)):
            raise InvalidInputError("headers has a value that is not printable ASCII.")
    return dict(value)


def header_secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of headers, and their parts, such as a token or a cookie's value."""
    values = headers.values()
    return (*values, *(part for value in values for part in re.findall(r"[^\s;,=]{8,}", value)))


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
