from __future__ import annotations

import asyncio
import base64
import html
import inspect
import json
import traceback
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.secret_scanner import SecretScanner
from zulip_auth import ZulipAuthError
from zulip_auth._redaction import hide_locals, redact

PASSWORD = "correct horse/ & battery=+%é<'\"\\!"


@pytest.mark.parametrize(
    "form",
    [
        PASSWORD,
        quote(PASSWORD, safe=""),
        quote(PASSWORD),
        quote(PASSWORD, safe="!~*'()"),
        quote_plus(PASSWORD),
        quote_plus(PASSWORD).lower(),
        json.dumps(PASSWORD),
        html.escape(PASSWORD),
        html.escape(PASSWORD).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        base64.b64encode(PASSWORD.encode()).decode(),
    ],
)
def test_redact_encodings(form: str) -> None:
    cut = redact(f"before {form} after {form}", PASSWORD)
    if form.startswith('"'):  # which JSON puts around it
        form = form[1:-1]
    assert cut.replace('"', "") == "before [redacted] after [redacted]"


def test_redact_longest_encoding_first() -> None:
    assert redact("x&amp; x& x%26", "x&") == "[redacted] [redacted] [redacted]"
    assert redact("~' ~%27 ~&#39;", "~'") == "[redacted] [redacted] [redacted]"
    assert redact("~& ~&amp;", "~&") == "[redacted] [redacted]"


def test_redact_unrelated_text() -> None:
    words = "Your username or password is incorrect"
    assert redact(words, PASSWORD) == words


@given(st.text(min_size=1).filter(lambda text: text not in "[redacted]"), st.text(), st.text())
def test_redact_any_text(secret: str, before: str, after: str) -> None:
    try:
        secret.encode()
    except UnicodeEncodeError:
        return  # refused long before
    cut = redact(before + secret + after, secret)
    assert all(secret not in piece for piece in cut.split("[redacted]"))


def variables(error: BaseException) -> str:
    """Return the variables of all frames but this file's, as an error tracker shows them."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    inside = ("fail", "fail_later", "inner")
    return "".join(str(f.locals) for f in shown.stack if f.filename != __file__ or f.name in inside)


class Box:
    """An object whose method fails with a secret in its variables."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    @hide_locals
    def fail(self, secret: str) -> None:
        raise self._error

    @hide_locals
    async def fail_later(self, secret: str) -> None:
        await asyncio.sleep(0)
        self.inner(secret)

    def inner(self, secret: str) -> None:
        try:
            int(secret)
        except ValueError as error:
            raise self._error from error


@pytest.mark.parametrize(
    "error",
    [
        ZulipAuthError("x"),
        asyncio.CancelledError(),
        KeyError("x"),
        KeyboardInterrupt(),
        ExceptionGroup("x", [ValueError("x")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_hide_locals_leaves_no_secret(error: BaseException) -> None:
    box = Box(error)
    scanner = SecretScanner(PASSWORD)
    with pytest.raises(type(error)) as caught:
        box.fail(PASSWORD)
    assert caught.value is error
    scanner.check(variables(error), "a function")
    error.__traceback__ = None
    with pytest.raises(type(error)) as caught:
        await box.fail_later(PASSWORD)
    assert caught.value is error
    scanner.check(variables(error), "a coroutine function")
    for exc in (error.__cause__, error.__context__):
        if exc is not None:
            scanner.check(variables(exc), "the cause")


def test_hide_locals_with_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument") as caught:
        Box(KeyError()).fail(PASSWORD, other=1)  # type: ignore[call-arg]
    SecretScanner(PASSWORD).check(variables(caught.value), "a call that fails")


async def test_hide_locals_keeps_results_and_names() -> None:
    @hide_locals
    def double(number: int) -> int:
        """Return twice the number."""
        return 2 * number

    @hide_locals
    async def double_later(number: int) -> int:
        return 2 * number

    assert (double(2), await double_later(number=3)) == (4, 6)
    assert (double.__name__, double.__doc__) == ("double", "Return twice the number.")
    assert inspect.iscoroutinefunction(double_later)
