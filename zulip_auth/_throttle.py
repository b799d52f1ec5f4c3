"""Limit the simultaneous logins of one account in this process."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from attrs import Factory, define

from ._exceptions import APITimeoutError

MAX_LOGINS = 4
"""Simultaneous logins with one username at one site.

A server counts an attempt before it checks the password, and allows 5. The
sixth simultaneous login would be rejected, even with the correct password.
"""


@define(eq=False)
class _Slots:
    loops: list[asyncio.AbstractEventLoop] = Factory(list)  # one for each login in progress
    waiters: deque[asyncio.Future[None]] = Factory(deque)


# Event loops may run in several threads. The garbage collector may close a pending login
# while this thread holds the lock.
_lock = threading.RLock()
_slots: dict[tuple[str, str], _Slots] = {}


@asynccontextmanager
async def login_slot(site: str, username: str, deadline: float) -> AsyncIterator[None]:
    """Wait until fewer than `MAX_LOGINS` logins of an account are in progress.

    Args:
        site: The organization URL.
        username: The username, as the server counts it.
        deadline: Until when to wait, by the clock of the running loop.

    Raises:
        APITimeoutError: If there were too many until then.
    """
    key, loop = (site, username), asyncio.get_running_loop()
    while True:
        with _lock:
            slots = _slots.setdefault(key, _Slots())
            # An event loop that stopped during a login may never release its slot.
            slots.loops = [other for other in slots.loops if other.is_running()]
            if len(slots.loops) < MAX_LOGINS:
                slots.loops.append(loop)
                break
            waiter = loop.create_future()
            slots.waiters.append(waiter)
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
            continue
        except (TimeoutError, asyncio.CancelledError) as exc:
            if not waiter.cancelled():
                _resolve(waiter, slots)  # wake another one instead
            if isinstance(exc, asyncio.CancelledError):
                raise
        raise APITimeoutError(
            f"Timed out waiting for {MAX_LOGINS} other logins of the same account to {site}. "
            "Increase the timeout, or share one ApiKeySource.",
            sent=False,
        )
    try:
        yield
    finally:
        with _lock:
            with suppress(ValueError):  # the loop was stopped, and runs again
                slots.loops.remove(loop)
            _wake_next(slots)
            if not slots.loops and not slots.waiters:
                _slots.pop(key, None)


def _wake_next(slots: _Slots) -> None:
    while slots.waiters:
        waiter = slots.waiters.popleft()
        loop = waiter.get_loop()
        if not waiter.done() and loop.is_running():
            with suppress(RuntimeError):  # closed in the meantime
                loop.call_soon_threadsafe(_resolve, waiter, slots)
                return


def _resolve(waiter: asyncio.Future[None], slots: _Slots) -> None:
    if waiter.done():
        with _lock:
            _wake_next(slots)
    else:
        waiter.set_result(None)


def _reset_after_fork() -> None:  # pragma: no cover - runs in the child
    global _lock
    _lock = threading.RLock()
    _slots.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch
    os.register_at_fork(after_in_child=_reset_after_fork)
