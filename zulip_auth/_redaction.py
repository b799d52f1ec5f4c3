"""Redact secrets: local variables in tracebacks, and text that a server wrote."""

from __future__ import annotations

import inspect
import json
import re
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial, wraps
from html import unescape
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from ._exceptions import ZulipAuthError

P = ParamSpec("P")
T = TypeVar("T")

_MAX_LENGTH = 1000
_ROUNDS = 3
_ESCAPES_RE = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\.")  # two may make one character


def repeats_secret(text: str, secrets: Iterable[str]) -> bool:
    """Return whether a server's text may repeat a secret, plain or encoded.

    Percent-encoding, HTML entities and JSON escapes are undone, up to three of
    them in a row; hexadecimal and base64 are looked for, the latter also if the
    secret is a part of what was encoded. A long text counts as a repetition.
    """
    secrets = tuple(secrets)
    if not secrets:
        return False
    if len(text) > _MAX_LENGTH:
        return True
    variants = {text}
    for _ in range(_ROUNDS):
        variants |= {decode(variant) for variant in variants for decode in _DECODERS}
    haystack = "\n".join(variants).casefold()
    needles = {needle.casefold() for secret in secrets for needle in _encodings(secret)}
    return any(needle in haystack for needle in needles)


def _unescape(match: re.Match[str]) -> str:
    with suppress(ValueError):
        return str(json.loads(f'"{match[0]}"'))
    return match[0][1:]


_DECODERS = (unescape, unquote, unquote_plus, partial(_ESCAPES_RE.sub, _unescape))


def _encodings(secret: str) -> Iterator[str]:
    yield secret
    # Also as a part of a form.
    for form in {secret, quote(secret, safe=""), quote_plus(secret)}:
        data = form.encode()
        yield data.hex()
        for offset in range(3):
            # Without the characters that depend on the neighbors.
            encoded = b64encode(bytes(offset) + data).decode()
            core = encoded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
            if len(core) >= 4:
                yield core
                yield core.replace("+", "-").replace("/", "_")


def hide_locals(func: Callable[P, T]) -> Callable[P, T]:
    """Keep the arguments and variables of a function out of tracebacks.

    It goes on every public function that takes or handles a secret: error
    trackers show the variables of each frame. A `ZulipAuthError` or a
    cancellation leaves no frame of the function; anything else, a bug, keeps
    its frames without their variables.

    Args:
        func: A function, or a coroutine function.

    Returns:
        The same, with one frame of its own that holds nothing.
    """
    if inspect.iscoroutinefunction(func):

        @wraps(func)
        async def async_wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                coroutine: Any = func(*args, **kwargs)
                del args, kwargs
                return await coroutine
            except BaseException as error:
                args = kwargs = coroutine = None  # type: ignore[assignment]
                _drop_locals(error)
                raise error  # noqa: TRY201 - a bare `raise` would leave no frame at all

        return cast("Callable[P, T]", async_wrapper)

    @wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return func(*args, **kwargs)
        except BaseException as error:
            args = kwargs = None  # type: ignore[assignment]
            _drop_locals(error)
            raise error  # noqa: TRY201

    return wrapper


def _drop_locals(error: BaseException) -> None:
    """Remove from an exception all that leads to variables of its frames."""
    from asyncio import CancelledError  # late: `import zulip_auth` does without asyncio

    if isinstance(error, ZulipAuthError | CancelledError):
        error.__cause__ = error.__context__ = error.__traceback__ = None
        return
    for exc in exception_chain(error):
        traceback.clear_frames(exc.__traceback__)


def exception_chain(error: BaseException) -> list[BaseException]:
    """Return an exception and all that it leads to: causes, contexts, members of groups."""
    chain = [error]
    for exc in chain:
        group = exc.exceptions if isinstance(exc, BaseExceptionGroup) else ()
        for link in (*group, exc.__cause__, exc.__context__):
            if link is not None and link not in chain:
                chain.append(link)
    return chain
