"""The default transport: one HTTP/1.1 connection of asyncio, with h11 as its parser."""

from __future__ import annotations

import asyncio
import selectors
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, cast

import h11
import httpx
from aiohappyeyeballs import start_connection

_MAX_HEAD_SIZE = 100 * 1024
_MAX_RESPONSE_SIZE = 256 * 1024  # of heads, body and anything after it
_HAPPY_EYEBALLS_DELAY = 0.25  # seconds, as RFC 8305 recommends


class ConnectionTransport(httpx.AsyncBaseTransport):
    """Transport with one connection, reused if no data follows the last response.

    httpcore cannot report such data, which h11 would read as the next response. It
    also leaks connections that are cancelled in the TLS handshake, and takes a
    fifth of the CPU time of a short script.

    Args:
        ssl_context: The trusted CAs; None for http.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None) -> None:
        self._ssl_context = ssl_context
        self._connection: _Connection | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeout = request.extensions["timeout"]
        if self._connection is not None and not self._connection.is_reusable():
            await self.aclose()
        if self._connection is None:
            self._connection = await self._connect(request.url, timeout["connect"])
        return await self._connection.send(request, timeout["read"])

    async def _connect(self, url: httpx.URL, timeout: float) -> _Connection:
        host, ssl_context = url.raw_host.decode("ascii"), self._ssl_context
        if ssl_context is not None:  # maybe one that the caller uses with HTTP/2 as well
            ssl_context.set_alpn_protocols(["http/1.1"])
        loop, connection = asyncio.get_running_loop(), _Connection()
        try:
            async with asyncio.timeout(timeout):
                # The loop's own Happy Eyeballs leak a socket if cancelled, and uvloop has none.
                sock = await start_connection(
                    await _resolve(host, url.port or (443 if ssl_context else 80)),
                    happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY,
                )
                try:
                    await loop.create_connection(
                        lambda: connection,
                        sock=sock,
                        ssl=ssl_context,
                        server_hostname=host if ssl_context else None,
                    )
                except BaseException:
                    # Closed by asyncio, but after the handshake not before the server agrees.
                    connection.abort()
                    raise
        except TimeoutError as exc:
            raise httpx.ConnectTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpx.ConnectError(str(exc)) from exc
        return connection

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()


async def _resolve(host: str, port: int) -> list[Any]:
    try:  # without a thread, if it is an IP address
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_SIZE)
        self._changed = asyncio.Event()
        self._closed = asyncio.Event()
        self._error: Exception | None = None
        self._is_eof = False
        self._received = 0  # bytes since the last request
        self._transport: Any = None

    # ---- Callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > _MAX_RESPONSE_SIZE:
            self.abort()
        self._parser.receive_data(data)
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._error, self._is_eof = exc, True
        self._changed.set()
        self._closed.set()

    # ---- Requests

    def is_reusable(self) -> bool:
        """Return whether the last response ended and no data follows it."""
        is_done = self._parser.our_state is self._parser.their_state is h11.DONE
        is_open = not self._is_eof and not self._transport.is_closing()
        if not is_done or not is_open or self._parser.trailing_data[0]:
            return False
        with selectors.DefaultSelector() as selector:  # for data that the loop has not read yet
            selector.register(self._transport.get_extra_info("socket"), selectors.EVENT_READ)
            return not selector.select(0)

    async def send(self, request: httpx.Request, timeout: float) -> httpx.Response:
        """Send a request and return the response as soon as its head is complete."""
        if self._parser.our_state is h11.DONE:
            self._parser.start_next_cycle()
        self._received = 0
        head = h11.Request(
            method=request.method, target=request.url.raw_path, headers=request.headers.raw
        )
        data = self._parser.send(head) or b""
        async for chunk in cast("httpx.AsyncByteStream", request.stream):
            data += self._parser.send(h11.Data(data=chunk)) or b""
        # Requests have some kilobytes, so the buffer needs no draining.
        self._transport.write(data + (self._parser.send(h11.EndOfMessage()) or b""))
        while not isinstance(event := await self._receive(timeout), h11.Response):
            pass  # informational
        return httpx.Response(
            event.status_code,
            headers=event.headers.raw_items(),
            content=self._receive_body(timeout),
        )

    async def _receive_body(self, timeout: float) -> AsyncIterator[bytes]:
        while isinstance(event := await self._receive(timeout), h11.Data):
            yield bytes(event.data)

    async def _receive(self, timeout: float) -> object:
        """Return the next event of the parser."""
        try:
            while (event := self._parser.next_event()) is h11.NEED_DATA:
                if not self._is_eof:
                    self._changed.clear()
                    async with asyncio.timeout(timeout):
                        await self._changed.wait()
                elif self._received > _MAX_RESPONSE_SIZE:
                    raise httpx.RemoteProtocolError("Response too large")
                elif self._error is not None:
                    raise httpx.ReadError(str(self._error)) from self._error
                elif self._parser.their_state is h11.SEND_RESPONSE:
                    raise httpx.RemoteProtocolError("Server disconnected")
                else:
                    self._parser.receive_data(b"")  # the end of a body without a length
        except TimeoutError as exc:
            raise httpx.ReadTimeout(str(exc)) from exc
        except h11.RemoteProtocolError as exc:
            raise httpx.RemoteProtocolError(str(exc)) from exc
        return event

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def aclose(self) -> None:
        self.abort()
        await self._closed.wait()
