"""Limit the simultaneous attempts to a site and logins of an account, per event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakKeyDictionary, WeakValueDictionary

from ._errors import RequestContext
from ._exceptions import APITimeoutError

MAX_ATTEMPTS = 100  # to one site; each opens a connection

# Logins with one username at one site. A server counts an attempt before it checks
# the password, and allows 5: the sixth simultaneous login would be rejected, even
# with the correct password.
MAX_LOGINS = 4

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
    site, username = context.site, context.username
    limits: list[tuple[_Key, int, str, str]] = [
        ((site, None), MAX_ATTEMPTS, "attempts", "start fewer logins simultaneously")
    ]
    if context.auth == "password":
        # The account's first: its waiters do not stop other accounts.
        limits.insert(
            0,
            ((site, username), MAX_LOGINS, "logins of the same account", "share one ApiKeySource"),
        )
    semaphores = _semaphores.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    reason = ""
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout_at(deadline):
                for key, limit, others, hint in limits:
                    reason = f"{limit} other {others} to {site}. Increase the timeout, or {hint}."
                    semaphore = semaphores.setdefault(key, asyncio.Semaphore(limit))
                    await stack.enter_async_context(semaphore)
        except TimeoutError:
            raise APITimeoutError(f"Timed out waiting for {reason}", sent=False) from None
        yield
