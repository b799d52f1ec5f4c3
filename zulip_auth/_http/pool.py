"""Reuse transports per event loop, and limit the connections to a site."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

from attrs import Factory, define

from zulip_auth._exceptions import APIStatusError, APITimeoutError, InvalidResponseError
from zulip_auth._validation import get_asyncio_loop, validate_type

from .transport import AnyTransport, Transport, create_transport

MAX_CONNECTIONS = 100
"""Connections to one site in one event loop, at a time."""

MAX_IDLE_CONNECTIONS = 20
"""Idle connections of one client in one event loop."""

IDLE_TIMEOUT = 5.0
"""Seconds until an idle connection is closed, whether the server has closed it or not."""

_semaphores: WeakKeyDictionary[
    asyncio.AbstractEventLoop, WeakValueDictionary[str, asyncio.Semaphore]
] = WeakKeyDictionary()


@define(eq=False)
class _IdleTransports:
    """The idle transports of one event loop, the oldest first.

    Attributes:
        open_count: How many `async with` blocks are open there.
        timers: The timer of each transport, which closes it.
        closing: The tasks that close some.
    """

    open_count: int = 0
    timers: dict[Transport, asyncio.TimerHandle] = Factory(dict)
    closing: set[asyncio.Task[None]] = Factory(set)

    def has_room(self) -> bool:
        return self.open_count > 0 and len(self.timers) < MAX_IDLE_CONNECTIONS

    def push(self, transport: Transport) -> None:
        loop = asyncio.get_running_loop()
        self.timers[transport] = loop.call_later(IDLE_TIMEOUT, self._close, transport)

    def pop(self) -> Transport:
        transport, timer = self.timers.popitem()
        timer.cancel()
        return transport

    def _close(self, transport: Transport) -> None:
        self.timers.pop(transport).cancel()
        task = asyncio.create_task(_close_quietly(transport))
        self.closing.add(task)
        task.add_done_callback(self.closing.discard)

    async def aclose(self) -> None:
        for transport in list(self.timers):
            self._close(transport)
        if self.closing:
            await asyncio.wait(self.closing)  # a cancellation does not reach the tasks


@define(eq=False)
class TransportPool:
    """Pool of transports with one connection each.

    Idle transports belong to the event loop that opened them.
    """

    _site: str
    _ssl_context: ssl.SSLContext | None
    _custom_transport: Transport | None
    _idle: WeakKeyDictionary[asyncio.AbstractEventLoop, _IdleTransports] = Factory(
        WeakKeyDictionary
    )

    @asynccontextmanager
    async def acquire(self, deadline: float, *, fresh: bool = False) -> AsyncIterator[Transport]:
        """Acquire a transport for one call.

        Args:
            deadline: Until when to wait for one, by the clock of the running
                loop.
            fresh: Whether to open a new connection.

        Raises:
            APITimeoutError: If all were in use until then.
            ConfigurationError: If the proxy setting of the environment is
                invalid, or the CA certificates cannot be loaded.
        """
        if self._custom_transport is not None:
            yield self._custom_transport
            return
        semaphore = await self._acquire_slot(deadline)
        try:
            idle = self._idle.get(asyncio.get_running_loop())
            if idle and idle.timers and not fresh:
                transport = idle.pop()
            else:
                transport = create_transport(self._site, self._ssl_context)
            reusable = False
            try:
                yield transport
                reusable = True
            except (APIStatusError, InvalidResponseError):
                reusable = True  # the response was read
                raise
            finally:
                if reusable and idle and idle.has_room():
                    idle.push(transport)
                else:
                    await _close_quietly(transport)
        finally:
            semaphore.release()

    async def _acquire_slot(self, deadline: float) -> asyncio.Semaphore:
        """Wait for a free connection slot."""
        per_site = _semaphores.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        semaphore = per_site.setdefault(self._site, asyncio.Semaphore(MAX_CONNECTIONS))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await semaphore.acquire()
                return semaphore
        raise APITimeoutError(
            f"Timed out waiting for one of the {MAX_CONNECTIONS} connections to {self._site}. "
            "Increase the timeout or start fewer logins concurrently.",
            sent=False,
        )

    def open(self) -> None:
        """Reuse transports in the running loop, until as many calls of `aclose`."""
        self._idle.setdefault(get_asyncio_loop(), _IdleTransports()).open_count += 1

    async def aclose(self) -> None:
        """Undo one `open`; close the idle transports of the running loop with the last."""
        loop = asyncio.get_running_loop()
        idle = self._idle.get(loop)
        if idle is None:
            return
        idle.open_count -= 1
        if not idle.open_count:
            del self._idle[loop]
            await idle.aclose()


async def _close_quietly(transport: Transport) -> None:
    # Ignore errors on close: the call has its response already.
    with suppress(Exception):
        await transport.aclose()


def adapt_transport(transport: AnyTransport | None) -> Transport | None:
    """Return a caller's transport, wrapped if it is one of httpx2.

    Raises:
        InvalidInputError: If it is not a transport of httpx or httpx2.
    """
    if transport is None or isinstance(transport, Transport):
        return transport
    httpx2: Any = sys.modules.get("httpx2")  # if not imported, it is not one of httpx2's
    if httpx2 is not None and isinstance(transport, httpx2.AsyncBaseTransport):
        from .httpx2_adapter import HTTPX2Transport

        return HTTPX2Transport(transport)
    return validate_type("transport", cast("Transport", transport), Transport)
