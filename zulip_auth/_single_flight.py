"""Do work once for all callers, which wait for it in any event loop and thread."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, TypeVar

from ._event_loop import get_asyncio_loop
from ._exceptions import InvalidInputError, ZulipAuthError

_FOREIGN_LOOP_CHECK = 0.5  # seconds

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


class Flight(Generic[T]):
    """Do work in one event loop.

    Attributes:
        work: The function that does it.
        result: What it returned; None if it failed or was cancelled, or if its
            event loop has gone.
    """

    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.result: T | None = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._pid = os.getpid()
        self._loop = get_asyncio_loop()
        self._coroutine = self._run()
        # A future of asyncio would belong to one event loop.
        self._end: Future[None] = Future()
        self._end.set_running_or_notify_cancel()  # no waiter can cancel it

    def start(self) -> None:
        self._task = self._loop.create_task(self._coroutine)  # asyncio has a weak reference
        self._task.add_done_callback(lambda _: self._end.set_result(None))

    async def _run(self) -> None:
        """Do the work, and keep its exception: SystemExit in a task would stop the event loop."""
        _current.set(self)
        try:
            self.result = await self.work()
        except BaseException as exc:
            # The end of a closed coroutine is nothing for its callers.
            if isinstance(exc, GeneratorExit) or self._loop.is_closed():
                raise
            error = exc
            if isinstance(exc, asyncio.CancelledError):
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                error = InvalidInputError(
                    "The password function, store or transport was cancelled."
                )
            self._error, self._traceback = error, exc.__traceback__

    def is_alive(self) -> bool:
        """Return whether the work can still end by itself."""
        # The future last: another thread may have held its lock during a fork.
        return self._pid == os.getpid() and self._loop.is_running() and not self._end.done()

    def abandon(self) -> None:
        """Release what the work holds, such as a lock, if its event loop was closed."""
        if self._loop.is_closed():
            with suppress(Exception):  # the end of it may need the event loop
                self._coroutine.close()

    async def wait(self) -> BaseException | None:
        """Wait until the work cannot go on, and return its exception, if there is one."""
        # The end of another event loop is not an event.
        timeout = None if get_asyncio_loop() is self._loop else _FOREIGN_LOOP_CHECK
        waiter = asyncio.wrap_future(self._end)
        try:
            while self.is_alive():
                await asyncio.wait({waiter}, timeout=timeout)
        finally:
            with suppress(RuntimeError):  # the event loop of a caller may be closed
                waiter.cancel()
        if isinstance(self._error, ZulipAuthError):
            return copy.copy(self._error)  # without the frames of other callers
        return self._error and self._error.with_traceback(self._traceback)


# The flight that the running task belongs to, also if the work started the task.
_current: ContextVar[Flight[Any] | None] = ContextVar("_current", default=None)


class SingleFlight(Generic[T]):
    """Start work, unless there is some under way."""

    def __init__(self) -> None:
        self._flight: Flight[T] | None = None
        self._locks: dict[int, threading.RLock] = {}

    @property
    def lock(self) -> threading.RLock:
        """The lock of the state that the work depends on, one for each process.

        Another thread may have held it during a fork, and this one may hold it
        when the garbage collector ends a flight.
        """
        return self._locks.setdefault(os.getpid(), threading.RLock())

    def join(self, work: Work[T]) -> Flight[T]:
        """Return the flight under way, or start one.

        Raises:
            InvalidInputError: If the caller belongs to that flight.
        """
        with self.lock:
            flight = self._flight
            if flight is None or not flight.is_alive():
                if flight is not None:
                    flight.abandon()
                flight = self._flight = Flight(work)
                flight.start()
            elif flight is _current.get():
                raise InvalidInputError(
                    "A password function or a store must not wait for its own source."
                )
            return flight
