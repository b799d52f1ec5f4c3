"""A scripted TCP server that counts connections and requests."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from attrs import frozen

from helpers.constants import SUCCESS

Scenario = Callable[["Connection"], Awaitable[None]]


@frozen
class Request:
    """A complete request."""

    line: str
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """The server's side of a connection."""

    def __init__(
        self,
        server: ScriptedServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._server = server
        self.reader = reader
        self.writer = writer

    async def read(self) -> bytes:
        """Read a request, record it and return its body."""
        request = await self.read_raw_request()
        self._server.requests.append(request)
        self._server.request_received.set()
        return request.body

    async def read_raw_request(self) -> Request:
        """Read a request without recording it, such as the CONNECT of a proxy."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Request(line, headers, body)

    async def write(self, *data: bytes) -> None:
        """Write in one segment; with TLS, each of *data* is a record of its own."""
        if len(data) == 1:  # writelines() of Python 3.12 fails if the client has gone
            self.writer.write(data[0])
        else:
            self.writer.writelines(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Reset the connection (RST)."""
        self.writer.transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the client closes the connection."""
        await self.reader.read()


class ScriptedServer:
    """Run one scenario for each connection, in order; the last one repeats."""

    def __init__(self, *scenarios: Scenario, tls: ssl.SSLContext | None = None) -> None:
        self._scenarios = scenarios
        self._tls = tls
        self.requests: list[Request] = []
        self.request_received = asyncio.Event()  # set after the first complete request
        self.connections = 0
        self.peak_connections = 0  # concurrent
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open_connections(self) -> int:
        return len(self._tasks)

    @property
    def site(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        _ignore_handshake_errors(asyncio.get_running_loop())
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, ssl=self._tls, limit=2**20
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for sock in self._server.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        for _ in range(4):  # let asyncio finish accepting, else it leaks the connection
            await asyncio.sleep(0)
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.peak_connections = max(self.peak_connections, len(self._tasks))
        scenario = self._scenarios[min(self.connections, len(self._scenarios)) - 1]
        try:
            await scenario(Connection(self, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client closed the connection
        except asyncio.CancelledError:
            pass  # end of the test
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


def _ignore_handshake_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Ignore aborted TLS handshakes, which asyncio reports in development mode."""
    report = loop.get_exception_handler() or asyncio.BaseEventLoop.default_exception_handler

    def filtered(loop: Any, context: dict[str, Any]) -> None:
        if not context["message"].startswith("Error on transport creation"):
            report(loop, context)

    loop.set_exception_handler(filtered)


def raw_response(
    status: int, body: bytes | str = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return the bytes of a response."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"content-length: {len(content)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + content


def respond(
    status: int, body: bytes | str | dict[str, Any] = b"", headers: Mapping[str, str] | None = None
) -> Scenario:
    """Return a scenario that reads a request and sends this response."""
    content = json.dumps(body) if isinstance(body, dict) else body

    async def scenario(connection: Connection) -> None:
        await connection.read()
        await connection.write(raw_response(status, content, headers))

    return scenario


async def close_without_response(connection: Connection) -> None:
    """Read the request and close the connection."""
    await connection.read()


async def never_respond(connection: Connection) -> None:
    """Read the request and send nothing."""
    await connection.read()
    await connection.wait_closed()


succeed = respond(200, SUCCESS)
KEEPALIVE_SUCCESS = raw_response(200, json.dumps(SUCCESS)).replace(b"connection: close\r\n", b"")


async def serve_keepalive(connection: Connection) -> None:
    """Respond to every request on the same connection."""
    while True:
        await connection.read()
        await connection.write(KEEPALIVE_SUCCESS)


def tunnel_to(port: int) -> Scenario:
    """Return a scenario that acts as a proxy, and tunnels each connection to *port*."""

    async def scenario(connection: Connection) -> None:
        await connection.read()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await connection.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        upload = asyncio.create_task(pump(connection.reader, writer))
        try:
            await pump(reader, connection.writer)
        finally:
            upload.cancel()
            writer.transport.abort()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)

    return scenario


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait up to 10 seconds for a condition that no event announces."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
