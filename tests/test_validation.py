from __future__ import annotations

import math
from typing import Any

import pytest

from helpers.errors import error_message
from zulip_auth import (
    AuthClient,
    RetryPolicy,
)
from zulip_auth._validation import validate_headers, validate_seconds, validate_text

VALID = {
    "password": ["x", " spaces ", "\t", "🔑", "${x}", "'x'", "<x>", "a\u200bb", "\u00a0x\ufeff"],
    "username": ["o'brien@x.org", "$x@x.org", "50%@x.org", "iago", "نامه\u200cای", "YOURS"],
}


@pytest.mark.parametrize("name", VALID)
def test_unusual_text_is_valid(name: str) -> None:
    for text in VALID[name]:
        assert validate_text(name, text) == text


def test_text_too_long() -> None:
    for name, length in (("username", 1024), ("password", 1024), ("token", 16 * 1024)):
        assert validate_text(name, "a" * length)
        message = error_message(lambda: validate_text(name, "a" * (length + 1)))  # noqa: B023
        assert message == f"{name} is longer than {length} characters."


LINE_BREAK = "contains a line break, NUL or lone surrogate; strip a trailing newline."


@pytest.mark.parametrize("name", ["username", "password", "token"])
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "must be a str, not NoneType."),
        (b"hunter2", "must be a str, not bytes."),
        ("", "is empty."),
        *((f"hunter2{char}", LINE_BREAK) for char in "\n\r\0\ud800\udfff"),
    ],
    ids=lambda value: ascii(value)[:12],
)
def test_invalid_text_is_not_echoed(name: str, text: Any, problem: str) -> None:
    message = error_message(lambda: validate_text(name, text), secrets=("hunter2",))
    assert message == f"{name} {problem}"


def test_seconds_valid() -> None:
    for value in (1, 0.5, 1e9):
        assert validate_seconds("timeout", value) == value
    assert validate_seconds("wait_max", 0, allow_zero=True) == 0


NOT_POSITIVE: list[Any] = [-1, 10**400, 1.1e9, math.nan, math.inf, True, None, "1", 1j]


@pytest.mark.parametrize("value", [*NOT_POSITIVE, 0])
def test_number_invalid(value: Any) -> None:
    message = error_message(lambda: AuthClient("x.org", timeout=value))
    assert message == "timeout must be a finite number of seconds greater than 0."
    if value in NOT_POSITIVE:
        message = error_message(lambda: RetryPolicy(wait_max=value))
        assert message == "wait_max must be a finite number of seconds of at least 0."
    if value != 10**400:
        message = error_message(lambda: RetryPolicy(max_sends=value))
        assert message == "max_sends must be an integer of at least 1."


def test_headers_valid() -> None:
    headers = {"CF-Access-Client-Secret": "a b=~", "cookie": "a=b; c=d", "X!#$%&'*+.^_`|~-9": "x"}
    assert validate_headers(headers) == headers
    assert validate_headers(None) == {}


@pytest.mark.parametrize(
    "name", ["", "a b", "a:", "ä", "X\r\nY", "a" * 257, 7, None, "Host", "user-agent"]
)
def test_header_name_invalid(name: Any) -> None:
    assert error_message(lambda: validate_headers({name: "x"})).startswith("headers ")


@pytest.mark.parametrize(
    "value", ["", "hunter2\n", "hunter2\r\nX: y", " hunter2", "hünter2", 7, b"hunter2", None]
)
def test_header_value_is_not_echoed(value: Any) -> None:
    message = error_message(lambda: validate_headers({"X-Token": value}), secrets=("hunter2",))
    assert message == "headers['X-Token'] must be printable ASCII."
    if value is not None:
        message = error_message(lambda: AuthClient("x.org", user_agent=value))
        assert message == "user_agent must be printable ASCII."


def test_headers_are_in_no_frame_of_another_error() -> None:
    headers = {"X-Token": "hunter2"}
    error_message(lambda: AuthClient("x.org", headers=headers, timeout=-1), secrets=("hunter2",))
