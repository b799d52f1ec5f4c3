"""Redact secrets: local variables in tracebacks, and text that a server wrote."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import traceback
from base64 import b64encode
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import quote, quote_plus

from attrs import field, frozen

from ._exceptions import ZulipAuthError

P = ParamSpec("P")
T = TypeVar("T")

_REDACTED = "[redacted]"


def redact(text: str, secret: str) -> str:
    """Return *text* without *secret*, plain or encoded."""
    encodings = {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote(secret, safe="!~*'()"),  # as browsers do
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        escape(secret),
        escape(secret).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        b64encode(secret.encode()).decode(),
    }
    # In reverse order, so that an encoding comes before another one that it begins with.
    pattern = "|".join(map(re.escape, sorted(encodings, reverse=True)))
    return re.sub(pattern, _REDACTED, text, flags=re.IGNORECASE)


@frozen
class Secret:
    """A box for a secret; `hide_locals` takes its place."""

    value: str = field(repr=False)


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
            error: BaseException
            try:
                coroutine: Any = func(*args, **kwargs)
                del args, kwargs
                return await coroutine
            except BaseException as exc:  # noqa: BLE001 - raised again below
                error = _without_locals(exc)
            # Outside of the block, so that the error has no context.
            args = kwargs = coroutine = None  # type: ignore[assignment]
            try:
                raise error
            finally:
                del error

        return cast("Callable[P, T]", async_wrapper)

    @wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        error: BaseException
        try:
            return func(*args, **kwargs)
        except BaseException as exc:  # noqa: BLE001 - raised again below
            error = _without_locals(exc)
        args = kwargs = None  # type: ignore[assignment]
        try:
            raise error
        finally:
            del error

    return wrapper


def _without_locals(error: BaseException) -> BaseException:
    """Remove from an exception all that leads to variables of its frames."""
    if isinstance(error, ZulipAuthError | asyncio.CancelledError):
        error.__cause__ = error.__context__ = error.__traceback__ = None
        return error
    seen: set[int] = set()
    chain = [error]
    while chain:
        exc = chain.pop()
        if id(exc) not in seen:
            seen.add(id(exc))
            traceback.clear_frames(exc.__traceback__)
            chain += [link for link in (exc.__cause__, exc.__context__) if link is not None]
            chain += exc.exceptions if isinstance(exc, BaseExceptionGroup) else ()
    return error
