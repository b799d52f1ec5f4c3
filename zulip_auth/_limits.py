"""Limit the simultaneous attempts to a site and logins of an account, per event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from weakref import WeakKeyDictionary, WeakValueDictionary

from ._errors import RequestContext
from ._exceptions import APITimeoutError

MAX_ATTEMPTS = 100
"""Simultaneous attempts to one site. Each opens a connection."""

MAX_LOGINS = 4
"""Simultaneous logins with one username at one site.

A server counts an attempt before it checks the password, and allows 5. The
sixth simultaneous login would be rejected, even with the correct password.
"""

_Semaphores = WeakValueDictionary[tuple[str, str | None], asyncio.Semaphore]
_semaphores: WeakKeyDictionary[asyncio.AbstractEventLoop, _Semaphores] = WeakKeyDictionary()


@asynccontextmanager
async def attempt_slot(context: RequestContext, deadline: float) -> AsyncIterator[None]:
    """Wait until another attempt may start.

    Args:
        context: The request.
        deadline: Until when to wait, by the clock of the running loop.

    Raises:
        APITimeoutError: If there were too many attempts until then.
    """
    async with _slot((context.site, None), MAX_ATTEMPTS, deadline):
        if context.auth != "password":
            yield
        else:
            async with _slot((context.site, context.username), MAX_LOGINS, deadline):
                yield


@asynccontextmanager
async def _slot(key: tuple[str, str | None], limit: int, deadline: float) -> AsyncIterator[None]:
    of_loop = _semaphores.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    semaphore = of_loop.setdefault(key, asyncio.Semaphore(limit))
    acquired = False
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            acquired = await semaphore.acquire()
    if not acquired:
        others, hint = "attempts", "start fewer logins at once"
        if key[1] is not None:
            others, hint = "logins of the same account", "share one ApiKeySource"
        raise APITimeoutError(
            f"Timed out waiting for {limit} other {others} to {key[0]}. "
            f"Increase the timeout, or {hint}.",
            sent=False,
        )
    try:
        yield
    finally:
        semaphore.release()
