from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from helpers.errors import error_message
from zulip_auth import (
    ApiKeySource,
    AuthClient,
    Credentials,
    InvalidInputError,
    RetryPolicy,
    login,
)
from zulip_auth._validation import validate_headers, validate_seconds, validate_text
from zulip_auth.httpx_auth import ApiKeyAuth


@pytest.mark.parametrize(
    "text",
    ["x", "correct horse & battery=+%é", " spaces ", "\t", "🔑", '"quoted"'],
    ids=ascii,
)
def test_password_valid(text: str) -> None:
    assert validate_text("password", text) == text


def test_text_too_long() -> None:
    for name, length in (("username", 1024), ("password", 1024), ("token", 16 * 1024)):
        assert validate_text(name, "a" * length)
        message = error_message(lambda: validate_text(name, "a" * (length + 1)))  # noqa: B023
        assert message == f"{name} is longer than {length} characters."


def test_joiner_between_letters_is_valid() -> None:
    assert validate_text("username", "نامه\u200cای") == "نامه\u200cای"


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


CREDENTIALS: Any = Credentials("https://chat.example.com", "iago@zulip.com", "x" * 32)
SITE: Any = "chat.example.com"
PAIR: Any = ("iago@zulip.com", "hunter2")
MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "basic_auth": (lambda: ApiKeyAuth(CREDENTIALS.basic_auth), "an ApiKeySource or Credentials"),
    "a pair": (lambda: asyncio.run(login(SITE, PAIR, "")), "username must be a str, not tuple."),
    "site as client": (
        lambda: ApiKeySource(SITE, "iago@zulip.com", "hunter2"),
        "client must be an instance of AuthClient, not str.",
    ),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_at_the_keyboard(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        call()
    assert message in str(caught.value)
    assert not {"hunter2", "x" * 32} & set(re.split(r"\W", str(caught.value)))
