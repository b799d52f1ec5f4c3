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

_MAX_HEAD_SIZE = 100 * 1024
_HAPPY_EYEBALLS_DELAY = 0.25  # seconds
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class ConnectionTransport(httpx.AsyncBaseTransport):
    """Transport with one connection at a time, reused if nothing is left over on it.

    httpcore costs half of a short script's time to import, leaks connections that
    are cancelled in the TLS handshake, and does not tell that there are bytes after
    the end of a response, which h11 would read as the next one.

    Args:
        ssl_context: The trusted CAs, for https.
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
        host, is_https = url.raw_host.decode("ascii"), url.scheme == "https"
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, connection = await loop.create_connection(
                    _Connection,
                    sock=await _open_socket(host, url.port or (443 if is_https else 80)),
                    ssl=self._ssl_context if is_https else None,
                    server_hostname=host if is_https else None,
                )
        except TimeoutError as exc:
            raise httpx.ConnectTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpx.ConnectError(str(exc)) from exc
        return connection

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_SIZE)
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._waiter: asyncio.Future[None] = self._loop.create_future()
        self._error: Exception | None = None
        self._is_eof = False

    # ---- Callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.receive_data(data)
        self._wake_up()

    def eof_received(self) -> None:
        self._is_eof = True
        self._wake_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._error, self._is_eof = exc, True
        self._wake_up()
        if not self._closed.done():
            self._closed.set_result(None)

    def _wake_up(self) -> None:
        if not self._waiter.done():
            self._waiter.set_result(None)

    # ---- Requests

    def is_reusable(self) -> bool:
        """Start the next cycle, if the last response ended and nothing follows it."""
        done = self._parser.our_state is self._parser.their_state is h11.DONE
        if not done or self._is_eof or self._parser.trailing_data[0]:
            return False
        self._parser.start_next_cycle()
        with _Selector() as selector:  # for data that the event loop has not read yet
            selector.register(self._transport.get_extra_info("socket"), selectors.EVENT_READ)
            return not selector.select(0)

    async def send(self, request: httpx.Request, timeout: float) -> httpx.Response:
        """Send a request and return the response as soon as its head is there."""
        head = h11.Request(
            method=request.method, target=request.url.raw_path, headers=request.headers.raw
        )
        data = self._parser.send(head) or b""
        async for chunk in cast("httpx.AsyncByteStream", request.stream):
            data += self._parser.send(h11.Data(data=chunk)) or b""
        # Never more than some kilobytes, so there is no need to drain.
        self._transport.write(data + (self._parser.send(h11.EndOfMessage()) or b""))
        while True:
            event = await self._receive(timeout)
            if isinstance(event, h11.Response):
                break
        return httpx.Response(
            event.status_code,
            headers=event.headers.raw_items(),
            stream=_ResponseStream(self, timeout),
        )

    async def receive_body(self, timeout: float) -> AsyncIterator[bytes]:
        while isinstance(event := await self._receive(timeout), h11.Data):
            yield bytes(event.data)

    async def _receive(self, timeout: float) -> object:
        try:
            while (event := self._parser.next_event()) is h11.NEED_DATA:
                if not self._is_eof:
                    await self._wait(timeout)
                elif self._error is not None:
                    raise httpx.ReadError(str(self._error)) from self._error
                elif self._parser.their_state is h11.SEND_RESPONSE:
                    raise httpx.RemoteProtocolError("Server disconnected")
                else:
                    self._parser.receive_data(b"")
        except h11.RemoteProtocolError as exc:
            raise httpx.RemoteProtocolError(str(exc)) from exc
        return event

    async def _wait(self, timeout: float) -> None:
        self._waiter = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._waiter
        except TimeoutError as exc:
            raise httpx.ReadTimeout(str(exc)) from exc

    async def aclose(self) -> None:
        self._transport.abort()
        await self._closed


class _ResponseStream(httpx.AsyncByteStream):
    def __init__(self, connection: _Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._connection.receive_body(self._timeout)


async def _open_socket(host: str, port: int) -> socket.socket:
    """Connect to the first address that accepts, with Happy Eyeballs (RFC 8305).

    asyncio's own leaks a socket if it is cancelled as one connects, and uvloop has none.
    """
    loop = asyncio.get_running_loop()
    addresses = await _resolve(host, port)
    tasks: list[asyncio.Task[socket.socket]] = []
    connected: asyncio.Task[socket.socket] | None = None
    try:
        for address in addresses:
            tasks.append(loop.create_task(_connect_socket(address)))
            pending = {task for task in tasks if not task.done()}
            is_last = len(tasks) == len(addresses)
            while pending and connected is None:
                done, pending = await asyncio.wait(
                    pending,
                    timeout=None if is_last else _HAPPY_EYEBALLS_DELAY,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                connected = next((task for task in done if task.exception() is None), None)
                if not is_last:
                    break
            if connected is not None:
                break
        return (connected or tasks[0]).result()
    finally:
        for task in tasks:
            if task is not connected:
                task.cancel()
                task.add_done_callback(_close_socket)


async def _resolve(host: str, port: int) -> list[Any]:
    try:  # without a thread, if it is an IP address
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def _connect_socket(address: Any) -> socket.socket:
    family, type_, protocol, _, sockaddr = address
    sock = socket.socket(family, type_, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_socket(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
