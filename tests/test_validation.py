from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from helpers.errors import error_message
from zulip_auth import ApiKeySource, AuthClient, Credentials, InvalidInputError, login
from zulip_auth._validation import (
    MAX_LENGTH,
    validate_headers,
    validate_positive_int,
    validate_seconds,
    validate_text,
    validate_type,
    validate_user_agent,
)
from zulip_auth.httpx_auth import ApiKeyAuth


@pytest.mark.parametrize(
    "text",
    ["x", "correct horse & battery=+%é", " spaces ", "\t", "🔑", "a" * MAX_LENGTH],
    ids=["short", "symbols", "spaces", "tab", "beyond the BMP", "longest"],
)
def test_text_valid(text: str) -> None:
    assert validate_text("password", text) == text


INVALID_TEXT = {
    "empty": "",
    "line feed": "hunter2\n",
    "carriage return": "hunter2\r",
    "NUL": "hunter2\x00",
    "high surrogate": "hunter2\ud800",
    "low surrogate": "hunter2\udfff",
    "too long": "hunter2" * MAX_LENGTH,
    "None": None,
    "bytes": b"hunter2",
    "number": 7,
}


@pytest.mark.parametrize("text", INVALID_TEXT.values(), ids=INVALID_TEXT)
def test_invalid_text_is_not_echoed(text: Any) -> None:
    message = error_message(lambda: validate_text("password", text), secrets=("hunter2",))
    assert re.fullmatch(r"password .*\.", message)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (7, "must be a str, not int"),
        ("", "is empty"),
        ("a" * 1025, "is longer than 1024 characters"),
        (
            "a\n",
            "contains a line break, NUL or lone surrogate; "
            "check how it was read (trailing newline?)",
        ),
    ],
)
def test_text_error_message(text: Any, reason: str) -> None:
    assert error_message(lambda: validate_text("username", text)) == f"username {reason}."


@pytest.mark.parametrize("agent", [None, "bot", "my-bot/1.0 (+https://example.com)", "a" * 1024])
def test_user_agent_valid(agent: str | None) -> None:
    assert validate_user_agent(agent) == agent


@pytest.mark.parametrize("agent", ["", " bot", "bot ", "bot\r\nX: y", "bøt", "a" * 1025, 7, b"bot"])
def test_user_agent_invalid(agent: Any) -> None:
    with pytest.raises(InvalidInputError, match="user_agent"):
        validate_user_agent(agent)


@pytest.mark.parametrize("value", [1, 0.5, 1e9])
def test_seconds_valid(value: float) -> None:
    assert validate_seconds("timeout", value, allow_zero=False) == value


def test_seconds_zero() -> None:
    assert validate_seconds("wait_max", 0, allow_zero=True) == 0
    with pytest.raises(InvalidInputError, match=r"timeout must be .* greater than 0\."):
        validate_seconds("timeout", 0, allow_zero=False)


@pytest.mark.parametrize(
    "value", [-1, -0.1, 10**400, 1.1e9, math.nan, math.inf, -math.inf, True, None, "1", 1j]
)
def test_seconds_invalid(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"wait_max must be .* of at least 0\."):
        validate_seconds("wait_max", value, allow_zero=True)


def test_positive_int_valid() -> None:
    assert validate_positive_int("attempts", 1) == 1


@pytest.mark.parametrize("value", [0, -1, 1.0, True, None, "1", math.inf])
def test_positive_int_invalid(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="attempts must be an integer of at least 1"):
        validate_positive_int("attempts", value)


def test_type_mismatch() -> None:
    assert validate_type("retry", 7, int) == 7
    with pytest.raises(InvalidInputError, match="retry must be an instance of int, not str"):
        validate_type("retry", "7", int)


HEADERS = {"CF-Access-Client-Secret": "a b=~", "cookie": "a=b; c=d", "X!#$%&'*+.^_`|~-9": "x"}


def test_headers_valid() -> None:
    assert validate_headers(HEADERS) == HEADERS
    assert validate_headers(None) == {}


@pytest.mark.parametrize(
    "name", ["", "a b", "a:", "ä", "X\r\nY", "a" * 257, 7, None, "Host", "user-agent", "TE"]
)
def test_header_name_invalid(name: Any) -> None:
    with pytest.raises(InvalidInputError, match="headers"):
        validate_headers({name: "x"})


@pytest.mark.parametrize(
    "value", ["", "hunter2\n", "hunter2\r\nX: y", " hunter2", "hünter2", 7, b"hunter2", None]
)
def test_header_value_is_not_echoed(value: Any) -> None:
    error_message(lambda: validate_headers({"X-Token": value}), secrets=("hunter2",))


def test_headers_are_in_no_frame_of_another_error() -> None:
    headers = {"X-Token": "hunter2"}
    error_message(lambda: AuthClient("x.org", headers=headers, timeout=-1), secrets=("hunter2",))


CREDENTIALS: Any = Credentials("https://chat.example.com", "iago@zulip.com", "x" * 32)
SITE: Any = "chat.example.com"
PAIR: Any = ("iago@zulip.com", "hunter2")
MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "basic_auth": (lambda: ApiKeyAuth(CREDENTIALS.basic_auth), "an ApiKeySource or Credentials"),
    "username as site": (lambda: AuthClient("iago@zulip.com"), "Is the site the first argument?"),
    "a pair": (
        lambda: asyncio.run(login("chat.example.com", PAIR, "")),
        "username must be a str, not tuple.",
    ),
    "credentials as site": (lambda: AuthClient(CREDENTIALS), "site must be a str, not Credentials"),
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
    assert "hunter2" not in str(caught.value)
    assert "x" * 32 not in str(caught.value)
