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

_Key = tuple[str, str | None]  # the site, and the username of a login
_Semaphores = WeakValueDictionary[_Key, asyncio.Semaphore]
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
    # The account's first: its waiters do not stop other accounts.
    limits: list[tuple[_Key, int]] = [((context.site, None), MAX_ATTEMPTS)]
    if context.auth == "password":
        limits.insert(0, ((context.site, context.username), MAX_LOGINS))
    acquired: list[asyncio.Semaphore] = []
    try:
        for key, limit in limits:
            acquired.append(await _acquire(key, limit, deadline))
        yield
    finally:
        for semaphore in acquired:
            semaphore.release()


async def _acquire(key: _Key, limit: int, deadline: float) -> asyncio.Semaphore:
    of_loop = _semaphores.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    semaphore = of_loop.setdefault(key, asyncio.Semaphore(limit))
    if not semaphore.locked():
        await semaphore.acquire()  # does not wait
        return semaphore
    with suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await semaphore.acquire()
            return semaphore
    others, hint = "attempts", "start fewer logins simultaneously"
    if key[1] is not None:
        others, hint = "logins of the same account", "share one ApiKeySource"
    raise APITimeoutError(
        f"Timed out waiting for {limit} other {others} to {key[0]}. "
        f"Increase the timeout, or {hint}.",
        sent=False,
    )
