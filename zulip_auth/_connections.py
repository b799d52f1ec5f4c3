"""Which connection a login uses, and what becomes of it afterwards."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from weakref import WeakKeyDictionary, WeakValueDictionary

from attrs import define

from ._errors import APITimeoutError
from ._transport import Transport, open_transport

MAX_CONNECTIONS = 100
"""How many connections there are at once to one site, in one event loop."""

_places: WeakKeyDictionary[
    asyncio.AbstractEventLoop, WeakValueDictionary[str, asyncio.Semaphore]
] = WeakKeyDictionary()


@define(eq=False)
class Connections:
    """Lends transports, each to one login at a time.

    A transport with one login has one connection, so that there is no pool to
    search and none whose places a cancelled login could keep. Kept ones belong
    to the event loop that asked for them to be kept; a login in another loop
    gets a fresh one.
    """

    _site: str
    _ssl_context: ssl.SSLContext | None
    _borrowed: Transport | None
    _idle: list[Transport] | None = None
    _loop: asyncio.AbstractEventLoop | None = None

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
        loop = asyncio.get_running_loop()
        place = await self._take_place(loop, deadline)
        idle = self._idle if self._loop is loop else None
        whole = False
        try:
            transport = idle.pop() if idle else open_transport(self._site, self._ssl_context)
            try:
                yield transport
                whole = True
            finally:
                if whole and idle is not None and idle is self._idle:
                    idle.append(transport)
                else:
                    await transport.aclose()
        finally:
            place.release()

    async def _take_place(
        self, loop: asyncio.AbstractEventLoop, deadline: float
    ) -> asyncio.Semaphore:
        """Wait until one more connection to the site may be made."""
        sites = _places.setdefault(loop, WeakValueDictionary())
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
        """Keep what is given back from now on, in the running loop."""
        if self._idle is None:
            self._idle, self._loop = [], asyncio.get_running_loop()

    async def close(self) -> None:
        """Close what was kept, and keep nothing more."""
        idle, self._idle, self._loop = self._idle or [], None, None
        for transport in idle:
            await transport.aclose()
