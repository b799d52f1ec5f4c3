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


FORM = f"username=iago%40zulip.com&password={quote_plus(PASSWORD)}"
ENCODED = {
    "plain": PASSWORD,
    "quoted": quote(PASSWORD, safe=""),
    "quoted, slashes kept": quote(PASSWORD),
    "quoted as by a browser": quote(PASSWORD, safe="!~*'()"),
    "form": quote_plus(PASSWORD),
    "form, lowercase": quote_plus(PASSWORD).lower(),
    "every byte quoted": "".join(f"%{byte:02X}" for byte in PASSWORD.encode()),
    "quoted twice": quote(quote(PASSWORD)),
    "JSON": json.dumps(PASSWORD),
    "JSON of PHP": json.dumps(PASSWORD).replace("/", r"\/").replace("&", r"\u0026"),
    "JSON in JSON": json.dumps(json.dumps(PASSWORD)),
    "HTML": html.escape(PASSWORD),
    "HTML of Jinja": html.escape(PASSWORD).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "decimal entities": "".join(f"&#{ord(character)};" for character in PASSWORD),
    "hexadecimal entities": "".join(f"&#x{ord(character):x};" for character in PASSWORD),
    "hexadecimal": PASSWORD.encode().hex(),
    "HEXADECIMAL": PASSWORD.encode().hex().upper(),
    "base64": base64.b64encode(PASSWORD.encode()).decode(),
    "base64 without padding": base64.b64encode(PASSWORD.encode()).decode().rstrip("="),
    "base64 for URLs": base64.urlsafe_b64encode(PASSWORD.encode()).decode(),
    "base64 of the form": base64.b64encode(FORM.encode()).decode(),
    "hexadecimal of the form": FORM.encode().hex(),
    "base64 of the quoted": base64.b64encode(quote(PASSWORD, safe="").encode()).decode(),
    "repr": repr(PASSWORD),
    "upper case": PASSWORD.upper(),
}


@pytest.mark.parametrize("encoded", ENCODED.values(), ids=ENCODED)
def test_repeats_secret_encodings(encoded: str) -> None:
    assert repeats_secret(f"before {encoded} after", ["other", PASSWORD])
    assert not repeats_secret(f"before {encoded} after", ["0ther"])


@pytest.mark.parametrize("offset", range(6))
def test_repeats_secret_base64_offset(offset: int) -> None:
    data = b"x" * offset + PASSWORD.encode() + b"y" * 7
    assert repeats_secret(base64.b64encode(data).decode(), [PASSWORD])


@pytest.mark.parametrize(
    "text", ["", "Your username or password is incorrect", "%zz &#; \\u00", r"\ud800 \udc00"]
)
def test_repeats_secret_unrelated_text(text: str) -> None:
    assert not repeats_secret(text, [PASSWORD, "xx"])


def test_repeats_secret_without_secrets() -> None:
    assert not repeats_secret("x" * 5000, [])


def test_repeats_secret_long_text() -> None:
    assert not repeats_secret("x" * 1000, [PASSWORD])
    assert repeats_secret("x" * 1001, [PASSWORD])


encodable = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100)
ENCODERS = [
    str,
    quote,
    quote_plus,
    html.escape,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
]


@given(encodable, st.sampled_from(ENCODERS), st.sampled_from(ENCODERS), st.text(max_size=50))
@example(r"&lt;%41\n", str, str, "")  # each decoder changes it
def test_repeats_secret_any_text(
    secret: str, first: Callable[[str], str], second: Callable[[str], str], around: str
) -> None:
    assert repeats_secret(f"{around} {second(first(secret))} {around}", [secret])


@given(
    encodable.filter(lambda secret: len(secret.encode()) >= 4),
    st.binary(max_size=50),
    st.binary(max_size=50),
    st.sampled_from([base64.b64encode, base64.urlsafe_b64encode, binascii.hexlify]),
)
@example("abcd", b"x", b"x", base64.b64encode)  # the shortest part of base64
@example("?>~?~?", b"", b"", base64.urlsafe_b64encode)  # Pz5-P34_
def test_repeats_secret_within_bytes(
    secret: str, prefix: bytes, suffix: bytes, encode: Callable[[bytes], bytes]
) -> None:
    assert repeats_secret(encode(prefix + secret.encode() + suffix).decode(), [secret])


def variables(error: BaseException) -> str:
    """Return the variables of all frames but this file's, as an error tracker shows them."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    inside = ("fail", "fail_later", "inner")
    frames = (f for f in shown.stack if f.filename != __file__ or f.name in inside)
    return "\n".join(value for frame in frames for value in (frame.locals or {}).values())


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
        SecretScanner(PASSWORD).check(variables(exc), repr(exc))


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
