"""The thread that serves the stand-in server."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .state import State

# freezegun replaces time.monotonic, but not clock_gettime, which Windows lacks.
_clock_gettime = getattr(time, "clock_gettime", lambda _: time.monotonic())
_CLOCK_MONOTONIC = getattr(time, "CLOCK_MONOTONIC", 1)

_ACCEPT_ITERATIONS = 3  # from accept() to connection_made()

TICK = 1.0
"""Seconds between two updates of the Date header."""


class ServerThread(threading.Thread):
    """A thread that serves an application on a bound socket until `stop`."""

    def __init__(
        self,
        app: ASGIApp,
        state: State,
        sock: socket.socket,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(name="FakeZulip", daemon=True)
        # Listen before the thread starts, so that early requests wait in the backlog.
        sock.listen(2048)
        self._state, self._socket = state, sock
        self._loop = _Loop()
        self._server = _Server(app, ssl_context)
        state.error = None
        state.drop_connection = self._server.drop_connection

    def run(self) -> None:
        """Serve the application. An error is stored in the state."""
        try:
            with self._socket, asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._server.serve(sockets=[self._socket]))
        except BaseException as error:  # noqa: BLE001 - nothing else reports it
            self._state.error = error

    def stop(self) -> None:
        """Close all connections and wait for the thread."""
        with suppress(RuntimeError):  # the loop is closed if the thread died
            self._loop.call_soon_threadsafe(self._server.stopping.set)
        self.join()


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that runs on while a test freezes the clock."""

    def time(self) -> float:
        return float(_clock_gettime(_CLOCK_MONOTONIC))


class _Server(uvicorn.Server):
    """A uvicorn server that stops immediately and drops its connections."""

    def __init__(self, app: ASGIApp, ssl_context: ssl.SSLContext | None) -> None:
        async def end_quietly(scope: Scope, receive: Receive, send: Send) -> None:
            # uvicorn logs them as errors
            with suppress(asyncio.CancelledError, ClientDisconnect):
                await app(scope, receive, send)

        config = uvicorn.Config(
            end_quietly,
            http=H11Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
        )
        config.load()
        config.ssl = ssl_context
        super().__init__(config)
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        """Update the Date header until the server is stopped."""
        while not self.stopping.is_set():
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Drop all connections. The runner cancels their requests."""
        for server in self.servers:
            for sock in server.sockets:
                server.get_loop().remove_reader(sock.fileno())
                _shut_down(sock)
        # asyncio leaks a connection that it has accepted, but not made, when the server closes.
        for _ in range(_ACCEPT_ITERATIONS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            _drop(connection)

    def drop_connection(self, client: object) -> None:
        """Close the connection of a client's address without a response."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, H11Protocol) and connection.client == client:
                _drop(connection)


def _drop(connection: Any) -> None:
    """Close a connection without a response."""
    _shut_down(connection.transport.get_extra_info("socket"))
    connection.transport.abort()


def _shut_down(sock: Any) -> None:
    """End a socket also in forked processes, in which closing it here has no effect."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
