"""What is refused before any request: arguments that cannot be meant."""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar

from ._exceptions import InvalidInputError

T = TypeVar("T")

MAX_LENGTH = 1024
"""The longest username, password or user agent that is sent, in characters."""

MAX_TOKEN_LENGTH = 16 * 1024
"""The longest JSON web token that is sent, in characters."""

_MOST_SECONDS = 1e9
_UNSENDABLE = re.compile(r"[\x00\r\n\ud800-\udfff]")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def validate_text(name: str, value: str, *, max_length: int = MAX_LENGTH) -> str:
    """Return a username, a password or a token that can be sent as it is.

    Raises:
        InvalidInputError: It is no str, empty, too long, or has a line break,
            a NUL or half a surrogate pair in it. The error does not repeat it.
    """
    problem = _problem_with_text(value, max_length)
    if problem is None:
        return value
    del value  # which a traceback that shows variables would show
    raise InvalidInputError(f"{name} {problem}.")


def _problem_with_text(value: str, max_length: int) -> str | None:
    if not isinstance(value, str):
        return f"must be a str, not {type(value).__name__}"
    if not value:
        return "is empty"
    if len(value) > max_length:
        return f"is longer than {max_length} characters"
    if _UNSENDABLE.search(value):
        # A line break is nearly always what is left of reading a file.
        return "has a line break, a NUL or half a surrogate pair in it; check how it was read"
    return None


def validate_user_agent(value: str | None) -> str | None:
    """Return a user agent that fits into a header.

    Raises:
        InvalidInputError: It is empty, too long, or not plain printable ASCII.
    """
    if value is None:
        return None
    if not (isinstance(value, str) and len(value) <= MAX_LENGTH and _HEADER_VALUE.fullmatch(value)):
        raise InvalidInputError(
            f"user_agent must be printable ASCII of at most {MAX_LENGTH} characters."
        )
    return value


def validate_seconds(name: str, value: float, *, allow_zero: bool) -> float:
    """Return a number of seconds that can be waited.

    Raises:
        InvalidInputError: It is no number, not finite, negative, or zero where
            that makes no sense.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= _MOST_SECONDS or (value == 0 and not allow_zero):
        least = "at least 0" if allow_zero else "more than 0"
        raise InvalidInputError(f"{name} must be a finite number of seconds, {least}.")
    return value


def validate_positive_int(name: str, value: int) -> int:
    """Return a count of at least one.

    Raises:
        InvalidInputError: It is no int, or less than one.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInputError(f"{name} must be a whole number, at least 1.")
    return value


def validate_type(name: str, value: T, type_: type[T]) -> T:
    """Return an option that is of the kind it has to be.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(value, type_):
        raise InvalidInputError(f"{name} must be a {type_.__name__}, not {type(value).__name__}.")
    return value


def validate_optional_type(name: str, value: T | None, type_: type[T]) -> T | None:
    """Return an option that may be left out, and else is of the kind it has to be.

    Raises:
        InvalidInputError: It is not.
    """
    return None if value is None else validate_type(name, value, type_)


def get_asyncio_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop of asyncio.

    Raises:
        RuntimeError: If there is none, as under trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise RuntimeError(
        "zulip-auth requires a running asyncio event loop. "
        "Under trio, run it in a thread: trio.to_thread.run_sync(asyncio.run, ...)."
    )
