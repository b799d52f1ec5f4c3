from __future__ import annotations

import math
from typing import Any

import pytest

from zulip_auth import InvalidInputError
from zulip_auth._validation import (
    MAX_LENGTH,
    validate_positive_int,
    validate_seconds,
    validate_text,
    validate_type,
    validate_user_agent,
)


@pytest.mark.parametrize(
    "text",
    ["x", "correct horse & battery=+%é", " spaces ", "\t", "🔑", "a" * MAX_LENGTH],
    ids=["short", "symbols", "spaces", "tab", "beyond the BMP", "longest"],
)
def test_text_that_can_be_sent_is_returned_as_it_is(text: str) -> None:
    assert validate_text("password", text) == text


BAD_TEXT = {
    "empty": "",
    "line feed": "hunter2\n",
    "carriage return": "hunter2\r",
    "NUL": "hunter2\x00",
    "half a surrogate pair": "hunter2\ud800",
    "other half": "hunter2\udfff",
    "too long": "hunter2" * MAX_LENGTH,
    "None": None,
    "bytes": b"hunter2",
    "number": 7,
}


@pytest.mark.parametrize("text", BAD_TEXT.values(), ids=BAD_TEXT)
def test_text_that_cannot_be_meant_is_refused_without_repeating_it(text: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^password .*\.$") as caught:
        validate_text("password", text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (7, "must be a str, not int"),
        ("", "is empty"),
        ("a" * 1025, "is longer than 1024 characters"),
        ("a\n", "has a line break, a NUL or half a surrogate pair in it; check how it was read"),
    ],
)
def test_a_refusal_says_why(text: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        validate_text("username", text)
    assert str(caught.value) == f"username {reason}."


@pytest.mark.parametrize("agent", [None, "bot", "my-bot/1.0 (+https://example.com)", "a" * 1024])
def test_a_user_agent_that_fits_a_header_is_returned_as_it_is(agent: str | None) -> None:
    assert validate_user_agent(agent) == agent


@pytest.mark.parametrize("agent", ["", " bot", "bot ", "bot\r\nX: y", "bøt", "a" * 1025, 7, b"bot"])
def test_a_user_agent_that_does_not_is_refused(agent: Any) -> None:
    with pytest.raises(InvalidInputError, match="user_agent"):
        validate_user_agent(agent)


@pytest.mark.parametrize("value", [1, 0.5, 1e9])
def test_seconds_that_can_be_waited_are_returned_as_they_are(value: float) -> None:
    assert validate_seconds("timeout", value, allow_zero=False) == value


def test_zero_seconds_are_for_where_they_make_sense() -> None:
    assert validate_seconds("wait_max", 0, allow_zero=True) == 0
    with pytest.raises(InvalidInputError, match=r"timeout must be .*, more than 0\."):
        validate_seconds("timeout", 0, allow_zero=False)


@pytest.mark.parametrize(
    "value", [-1, -0.1, 10**400, 1.1e9, math.nan, math.inf, -math.inf, True, None, "1", 1j]
)
def test_seconds_that_cannot_be_waited_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"wait_max must be .*, at least 0\."):
        validate_seconds("wait_max", value, allow_zero=True)


def test_a_count_is_returned_as_it_is() -> None:
    assert validate_positive_int("attempts", 1) == 1


@pytest.mark.parametrize("value", [0, -1, 1.0, True, None, "1", math.inf])
def test_what_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="attempts must be a whole number, at least 1"):
        validate_positive_int("attempts", value)


def test_an_option_of_another_kind_is_refused() -> None:
    assert validate_type("retry", 7, int) == 7
    with pytest.raises(InvalidInputError, match="retry must be a int, not str"):
        validate_type("retry", "7", int)
