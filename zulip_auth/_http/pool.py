"""Which connection a login uses, and what becomes of it afterwards."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from weakref import WeakKeyDictionary, WeakValueDictionary

from attrs import Factory, define

from zulip_auth._exceptions import APITimeoutError

from .transport import Transport, create_transport

MAX_CONNECTIONS = 100
"""How many connections there are at once to one site, in one event loop."""

_places: WeakKeyDictionary[
    asyncio.AbstractEventLoop, WeakValueDictionary[str, asyncio.Semaphore]
] = WeakKeyDictionary()


@define(eq=False)
class _Kept:
    """The connections that wait for the next login in one event loop.

    Attributes:
        entered: How many times `async with` is entered there.
    """

    entered: int = 0
    idle: list[Transport] = Factory(list)


@define(eq=False)
class TransportPool:
    """Lends transports, each to one login at a time.

    A transport with one login has one connection, so that there is no pool to
    search and none whose places a cancelled login could keep. Kept ones belong
    to the event loop in which they were opened.
    """

    _site: str
    _ssl_context: ssl.SSLContext | None
    _borrowed: Transport | None
    _kept: WeakKeyDictionary[asyncio.AbstractEventLoop, _Kept] = Factory(WeakKeyDictionary)

    @asynccontextmanager
    async def lend(self, deadline: float) -> AsyncIterator[Transport]:
        """Lend a transport for the length of a login.

        Args:
            deadline: Until when to wait for one, by the clock of the running
                loop.

        Raises:
            APITimeoutError: All were in use until then.
            InvalidInputError: The environment names a proxy that cannot be used.
            TLSError: The trusted certificates cannot be loaded.
        """
        if self._borrowed is not None:
            yield self._borrowed
            return
        place = await self._take_place(deadline)
        try:
            kept = self._kept.get(asyncio.get_running_loop())
            idle = kept.idle if kept else []
            transport = idle.pop() if idle else create_transport(self._site, self._ssl_context)
            whole = False
            try:
                yield transport
                whole = True
            finally:
                if whole and kept and kept.entered:
                    idle.append(transport)
                else:
                    await _close(transport)
        finally:
            place.release()

    async def _take_place(self, deadline: float) -> asyncio.Semaphore:
        """Wait until one more connection to the site may be made."""
        sites = _places.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        place = sites.get(self._site)
        if place is None:
            place = sites[self._site] = asyncio.Semaphore(MAX_CONNECTIONS)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await place.acquire()
                return place
        raise APITimeoutError(
            f"{MAX_CONNECTIONS} other logins to {self._site} were under way until the time "
            "was over. Allow it more, or begin fewer at once.",
            sent=False,
        )

    def keep(self) -> None:
        """Keep what is given back from now on in the running loop."""
        self._kept.setdefault(asyncio.get_running_loop(), _Kept()).entered += 1

    async def close(self) -> None:
        """Undo one `keep`; with the last, close what was kept in the running loop."""
        loop = asyncio.get_running_loop()
        kept = self._kept.get(loop)
        if kept is None:
            return
        kept.entered -= 1
        if not kept.entered:
            del self._kept[loop]
            while kept.idle:
                await _close(kept.idle.pop())


async def _close(transport: Transport) -> None:
    # A login that has its answer does not fail for what cannot be closed.
    with suppress(Exception):
        await transport.aclose()
