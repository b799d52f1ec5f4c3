"""Which connection a login uses, and what becomes of it afterwards."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define

from ._transport import Transport, open_transport


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
    async def lend(self) -> AsyncIterator[Transport]:
        """Lend a transport for the length of a login."""
        if self._borrowed is not None:
            yield self._borrowed
            return
        idle = self._idle if self._loop is asyncio.get_running_loop() else None
        transport = idle.pop() if idle else open_transport(self._site, self._ssl_context)
        whole = False
        try:
            yield transport
            whole = True
        finally:
            if whole and idle is not None and idle is self._idle:
                idle.append(transport)
            else:
                await transport.aclose()

    def keep(self) -> None:
        """Keep what is given back from now on, in the running loop."""
        if self._idle is None:
            self._idle, self._loop = [], asyncio.get_running_loop()

    async def close(self) -> None:
        """Close what was kept, and keep nothing more."""
        idle, self._idle, self._loop = self._idle or [], None, None
        for transport in idle:
            await transport.aclose()
