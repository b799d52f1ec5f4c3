"""The running event loop, and threads for what would stop it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

T = TypeVar("T")


def get_asyncio_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop of asyncio.

    Raises:
        RuntimeError: If there is none, as under trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise RuntimeError(
        "zulip-auth requires a running asyncio event loop. "
        "Under trio, run it in a thread: trio.to_thread.run_sync(asyncio.run, ...)."
    )


def start_thread(func: Callable[[], T]) -> concurrent.futures.Future[T]:
    """Call a function in a daemon thread, which does not block the exit of the program.

    A thread of asyncio's default executor does.
    """
    future: concurrent.futures.Future[T] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()  # it cannot be cancelled

    def run() -> None:
        try:
            future.set_result(func())
        except BaseException as exc:  # noqa: BLE001 - raised to the caller
            future.set_exception(exc)

    threading.Thread(target=run, name="zulip-auth", daemon=True).start()
    return future


async def run_in_thread(func: Callable[[], T]) -> T:
    """Call a function that may block."""
    return await asyncio.wrap_future(start_thread(func))


async def load(func: _lru_cache_wrapper[T]) -> T:
    """Call a function with a cache, in a thread unless it has a result already."""
    return func() if func.cache_info().currsize else await run_in_thread(func)
