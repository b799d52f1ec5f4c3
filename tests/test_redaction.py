from __future__ import annotations

import asyncio
import base64
import binascii
import html
import inspect
import json
import traceback
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helpers.secret_scanner import SecretScanner
from zulip_auth import ZulipAuthError
from zulip_auth._redaction import hide_locals, repeats_secret

PASSWORD = "correct horse/ & battery=+%é<'\"\\!"
SCANNER = SecretScanner(PASSWORD)
ENCODED = {
    "quoted, slashes kept": quote(PASSWORD),
    "form, lowercase": quote_plus(PASSWORD).lower(),
    "every byte quoted": "".join(f"%{byte:02X}" for byte in PASSWORD.encode()),
    "JSON of PHP": json.dumps(PASSWORD).replace("/", r"\/").replace("&", r"\u0026"),
    "JSON in JSON": json.dumps(json.dumps(PASSWORD)),
    "HTML of Jinja": html.escape(PASSWORD).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "decimal entities": "".join(f"&#{ord(character)};" for character in PASSWORD),
    "HEXADECIMAL": PASSWORD.encode().hex().upper(),
    "base64 without padding": base64.b64encode(PASSWORD.encode()).decode().rstrip("="),
    "repr": repr(PASSWORD),
    "upper case": PASSWORD.upper(),
}


@pytest.mark.parametrize("encoded", ENCODED.values(), ids=ENCODED)
def test_encoded_secret(encoded: str) -> None:
    assert repeats_secret(f"before {encoded} after", ["other", PASSWORD])
    assert not repeats_secret(f"before {encoded} after", ["0ther"])


@pytest.mark.parametrize(
    "text", ["", "Your password is incorrect", "%zz &#; \\u00", r"\ud800 \udc"]
)
def test_unrelated_text(text: str) -> None:
    assert not repeats_secret(text, [PASSWORD, "xx"])


def test_long_text_counts_as_repetition() -> None:
    assert not repeats_secret("x" * 1000, [PASSWORD])
    assert repeats_secret("x" * 1001, [PASSWORD])
    assert not repeats_secret("x" * 1001, [])


encodable = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100)
encoders = st.sampled_from(
    [
        str,
        quote,
        quote_plus,
        html.escape,
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    ]
)


@given(encodable, encoders, encoders, st.text(max_size=50))
@example(r"&lt;%41\n", str, str, "")  # each decoder changes it
def test_any_secret(
    secret: str, first: Callable[[str], str], second: Callable[[str], str], around: str
) -> None:
    assert repeats_secret(f"{around} {second(first(secret))} {around}", [secret])


@given(
    encodable.filter(lambda secret: len(secret.encode()) >= 4),
    st.sampled_from([str, quote_plus, lambda text: quote(text, safe="")]),
    st.binary(max_size=50),
    st.binary(max_size=50),
    st.sampled_from([base64.b64encode, base64.urlsafe_b64encode, binascii.hexlify]),
)
@example("abcd", str, b"x", b"x", base64.b64encode)  # the shortest part of base64
@example("?>~?~?", str, b"", b"", base64.urlsafe_b64encode)  # Pz5-P34_
def test_any_secret_within_bytes(
    secret: str,
    quoted: Callable[[str], str],
    prefix: bytes,
    suffix: bytes,
    encode: Callable[[bytes], bytes],
) -> None:
    assert repeats_secret(encode(prefix + quoted(secret).encode() + suffix).decode(), [secret])


def check_variables(error: BaseException) -> None:
    """Check the variables of all frames but the tests', as an error tracker shows them."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in shown.stack:
        if not frame.name.startswith("test_"):
            SCANNER.check("\n".join((frame.locals or {}).values()), f"{error!r} in {frame.name}")


class Box:
    """An object whose methods fail with a secret in their variables."""

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


ERRORS = [ZulipAuthError("x"), asyncio.CancelledError(), KeyError("x"), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_hide_locals(error: BaseException) -> None:
    box = Box(error)
    with pytest.raises(type(error)) as caught:
        box.fail(PASSWORD)
    assert caught.value is error
    check_variables(error)
    error.__traceback__ = None
    with pytest.raises(type(error)) as caught:
        await box.fail_later(PASSWORD)
    assert caught.value is error
    for exc in (error, error.__cause__, error.__context__):
        if exc is not None:
            check_variables(exc)


def test_hide_locals_of_linked_errors() -> None:
    def raised(error: Exception, secret: str) -> Exception:
        def inner(secret: str) -> None:
            raise error

        with pytest.raises(type(error)):
            inner(secret)
        return error

    cause, context, member = (raised(ValueError(), PASSWORD) for _ in range(3))
    group = ExceptionGroup("x", [member])
    group.__cause__, group.__context__ = cause, context
    cause.__context__ = context.__context__ = group
    with pytest.raises(ExceptionGroup):
        Box(group).fail(PASSWORD)
    for exc in (group, cause, context, member):
        check_variables(exc)


async def test_hide_locals_keeps_the_signature() -> None:
    @hide_locals
    async def double(number: int) -> int:
        """Return twice the number."""
        return 2 * number

    assert await double(number=3) == 6
    assert (double.__name__, double.__doc__) == ("double", "Return twice the number.")
    assert inspect.iscoroutinefunction(double)
    with pytest.raises(TypeError, match="unexpected keyword argument") as caught:
        Box(KeyError()).fail(PASSWORD, other=1)  # type: ignore[call-arg]
    check_variables(caught.value)
