"""The connection of the default transport, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import faults
from helpers.constants import AUTH_FAILED, PASSWORD, SUCCESS, USERNAME
from helpers.errors import login_error
from helpers.raw_server import (
    KEEPALIVE_SUCCESS,
    Connection,
    Scenario,
    ScriptedServer,
    raw_response,
    respond,
    serve_keepalive,
    succeed,
)
from helpers.tls import client_context, server_context
from zulip_auth import (
    APIConnectionError,
    APITimeoutError,
    AuthClient,
    InvalidResponseError,
    RetryPolicy,
    ZulipAuthError,
    login,
)
from zulip_auth._http import connection, pool

ONCE = RetryPolicy(attempts=1)


# ---- Connecting


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Resolve every host name to ports of this machine, in this order."""

    async def resolve(host: str, port: int) -> list[object]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", number)) for number in ports
        ]

    monkeypatch.setattr(connection, "_resolve", resolve)
    monkeypatch.setattr(connection, "_HAPPY_EYEBALLS_DELAY", 0.02)


async def test_next_address_after_refusal(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedServer(succeed) as server:
        resolve_to(monkeypatch, closed_port, closed_port, server.port)
        await login("localhost", USERNAME, PASSWORD, retry=ONCE)
        assert server.connections == 1


async def test_next_address_after_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    async with faults.full_backlog() as hanging, ScriptedServer(succeed) as server:
        port = int(hanging.site.rpartition(":")[2])
        resolve_to(monkeypatch, port, port, server.port)
        await login("localhost", USERNAME, PASSWORD, retry=ONCE, timeout=2)
        assert server.connections == 1


async def test_all_addresses_refuse(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, closed_port, closed_port)
    error = await login_error(APIConnectionError, "localhost", retry=ONCE)
    assert "connection refused" in str(error)


async def test_no_address_accepts_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with faults.full_backlog() as hanging:
        port = int(hanging.site.rpartition(":")[2])
        resolve_to(monkeypatch, port, port)
        await login_error(APITimeoutError, "localhost", retry=ONCE, timeout=0.3)


@pytest.mark.parametrize(
    ("site", "host", "port"),
    [
        ("chat.example.com", "chat.example.com", 443),
        ("https://bücher.example:8443", "xn--bcher-kva.example", 8443),
        ("http://chat.example.com", "chat.example.com", 80),
        ("http://127.0.0.2", "127.0.0.2", 80),
    ],
)
async def test_host_and_port(
    site: str, host: str, port: int, monkeypatch: pytest.MonkeyPatch, test_ca: trustme.CA
) -> None:
    lookups: list[tuple[str, int, bool]] = []
    resolve = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: int, flags: int = 0, **kwargs: int) -> list[Any]:
        in_thread = threading.current_thread() is not threading.main_thread()
        lookups.append((host, port, in_thread))
        if flags == socket.AI_NUMERICHOST:
            resolve(host, port, flags=flags)  # fails for a name
        return resolve("127.0.0.1", server.port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    tls = None if site.startswith("http:") else server_context(test_ca, host)
    async with ScriptedServer(succeed, tls=tls) as server:
        client = AuthClient(site, ssl_context=client_context(test_ca), allow_http=True)
        credentials = await client.login(USERNAME, PASSWORD)
    assert credentials.site == client.site
    assert server.requests[0].headers["host"] == httpx.URL(client.site).netloc.decode()
    # Only a name may take time, and therefore a thread.
    expected = [(host, port, False), (host, port, True)]
    assert lookups == expected[: 1 if host == "127.0.0.2" else 2]


def create_request(site: str, **timeouts: float) -> httpx.Request:
    return httpx.Request("GET", site, extensions={"timeout": timeouts})


async def test_connect_timeout() -> None:
    """A connection that hangs leaves time for another attempt."""
    transport = connection.ConnectionTransport(None)
    async with faults.full_backlog() as hanging:
        with pytest.raises(httpx.ConnectTimeout):
            await transport.handle_async_request(
                create_request(hanging.site, connect=0.05, read=20)
            )


async def test_read_timeout_within_body() -> None:
    async def stall(connection: Connection) -> None:
        await connection.read()
        await connection.write(KEEPALIVE_SUCCESS[:-1])
        await connection.wait_closed()

    transport = connection.ConnectionTransport(None)
    async with ScriptedServer(stall) as server:
        response = await transport.handle_async_request(
            create_request(server.site, connect=20, read=0.05)
        )
        with pytest.raises(httpx.ReadTimeout):
            await response.aread()
        await transport.aclose()


async def test_context_shared_with_http2(test_ca: trustme.CA) -> None:
    server_tls, client_tls = server_context(test_ca), client_context(test_ca)
    protocols: list[str | None] = []

    async def record_protocol(connection: Connection) -> None:
        tls = connection._writer.get_extra_info("ssl_object")
        protocols.append(tls.selected_alpn_protocol())
        await succeed(connection)

    for context in (server_tls, client_tls):
        context.set_alpn_protocols(["h2", "http/1.1"])
    async with ScriptedServer(record_protocol, tls=server_tls) as server:
        await login(server.site, USERNAME, PASSWORD, retry=ONCE, ssl_context=client_tls)
    assert protocols == ["http/1.1"]


async def test_server_closes_in_the_handshake() -> None:
    async def close(connection: Connection) -> None:
        await connection._reader.read(1)

    async with ScriptedServer(close) as server:
        site = server.site.replace("http:", "https:")
        error = await login_error(APIConnectionError, site, retry=ONCE)
    assert "(connection reset by peer)" in str(error)
    assert not error.sent


async def test_cancel_as_handshake_ends(
    test_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is closed without waiting for the server, which reads nothing."""
    connections: list[connection._Connection] = []

    class Cancelled(connection._Connection):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            connections.append(self)
            task.cancel()

    def serve_handshake(listener: socket.socket) -> ssl.SSLSocket:
        return server_context(test_ca).wrap_socket(listener.accept()[0], server_side=True)

    monkeypatch.setattr(connection, "_Connection", Cancelled)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(asyncio.to_thread(serve_handshake, listener))
        site = f"https://127.0.0.1:{listener.getsockname()[1]}"
        context = client_context(test_ca)
        task = asyncio.create_task(login(site, USERNAME, PASSWORD, ssl_context=context))
        with pytest.raises(asyncio.CancelledError):
            await task
        with await serving:
            async with asyncio.timeout(5):
                await connections[0]._closed.wait()


# ---- Responses


@pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_keepalive(loop_factory: object, scheme: str, test_ca: trustme.CA) -> None:
    async def log_in() -> None:
        tls = server_context(test_ca) if scheme == "https" else None
        async with (
            ScriptedServer(serve_keepalive, tls=tls) as server,
            AuthClient(server.site, ssl_context=client_context(test_ca)) as client,
        ):
            for _ in range(3):
                await client.login(USERNAME, PASSWORD)
            assert (server.connections, len(server.requests)) == (1, 3)

    with asyncio.Runner(loop_factory=loop_factory) as runner:  # type: ignore[arg-type]
        runner.run(log_in())


async def send_without_length(connection: Connection) -> None:
    """Send a body that ends with the connection, as HTTP/1.0 does."""
    await connection.read()
    await connection.write(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(SUCCESS).encode())


async def send_informational(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3)
    await connection.write(raw_response(200, json.dumps(SUCCESS)))


@pytest.mark.parametrize("scenario", [send_without_length, send_informational])
async def test_other_responses(scenario: object) -> None:
    async with ScriptedServer(scenario, succeed) as server, AuthClient(server.site) as client:  # type: ignore[arg-type]
        for _ in range(2):
            assert (await client.login(USERNAME, PASSWORD)).email == USERNAME
        assert server.connections == 2


async def test_close_header_is_respected() -> None:
    async with ScriptedServer(respond(200, SUCCESS)) as server, AuthClient(server.site) as client:
        for _ in range(2):
            await client.login(USERNAME, PASSWORD)
        assert (server.connections, len(server.requests)) == (2, 2)


async def test_server_closing_idle_connection_is_noticed() -> None:
    """The client closes its side as well: no socket is left in CLOSE_WAIT."""
    closed = asyncio.Event()

    async def serve_once(connection: Connection) -> None:
        await connection.read()
        await connection.write(raw_response(200, json.dumps(SUCCESS)).replace(b"close", b"x"))
        connection._writer.write_eof()
        await connection.wait_closed()
        closed.set()

    async with ScriptedServer(serve_once) as server, AuthClient(server.site) as client:
        await client.login(USERNAME, PASSWORD)
        await closed.wait()
        await client.login(USERNAME, PASSWORD)
        assert server.connections == 2


async def test_reset_of_idle_connection_is_noticed(test_ca: trustme.CA) -> None:
    """With TLS, asyncio closes the socket before it reports the loss."""
    reset = asyncio.Event()

    async def reset_after_response(connection: Connection) -> None:
        await connection.read()
        await connection.write(KEEPALIVE_SUCCESS)
        await reset.wait()
        sock = connection._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.reset()

    transport = connection.ConnectionTransport(client_context(test_ca))
    async with ScriptedServer(reset_after_response, tls=server_context(test_ca)) as server:
        await login(server.site, USERNAME, PASSWORD, transport=transport)
        idle = transport._connection
        assert idle is not None
        assert idle.is_reusable()
        reset.set()
        async with asyncio.timeout(5):
            while not idle._closed.is_set():
                idle.is_reusable()
                await asyncio.sleep(0)
        assert not idle.is_reusable()
        await transport.aclose()


BODY = json.dumps(SUCCESS).encode()
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
REJECTION = json.dumps(AUTH_FAILED).encode()
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
RESPONSES = [
    KEEPALIVE_SUCCESS,
    HINTS + KEEPALIVE_SUCCESS,
    CHUNKED + b"%x;a=b\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(BODY), BODY),
    b"HTTP/1.1 401 No\r\ncontent-length: %d\r\n\r\n%s" % (len(REJECTION), REJECTION),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
]


def describe(result: object) -> tuple[object, ...]:
    attributes = ("email", "status_code", "sent")
    return type(result), *(getattr(result, name, None) for name in attributes)


@given(
    response=st.sampled_from(RESPONSES),
    trailing=st.sampled_from([b"", b"\r\n", b"x", HINTS, KEEPALIVE_SUCCESS]),
    cuts=st.sets(st.integers(1, 250), max_size=6),
)
@settings(max_examples=50, deadline=None)
def test_response_in_any_pieces(response: bytes, trailing: bytes, cuts: set[int]) -> None:
    """The result is that of httpx; a connection with more data is not reused."""

    async def log_in_twice(transport: httpx.AsyncBaseTransport | None) -> tuple[object, ...]:
        complete = asyncio.Event()

        async def send_pieces(connection: Connection) -> None:
            await connection.read()
            ends = [*sorted(cuts), None]
            try:
                for start, end in zip([0, *ends], ends, strict=False):
                    if piece := (response + trailing)[start:end]:
                        await connection.write(piece)
                        await asyncio.sleep(0)
            finally:  # the client may have closed the connection already
                complete.set()
            await serve_keepalive(connection)

        async with (
            ScriptedServer(send_pieces, serve_keepalive) as server,
            AuthClient(server.site, transport=transport, retry=ONCE) as client,
        ):
            try:
                result: object = await client.login(USERNAME, PASSWORD)
            except ZulipAuthError as error:
                result = error
            await complete.wait()
            if transport is None:
                await client.login(USERNAME, PASSWORD)
                assert server.connections == (2 if trailing else 1)
        return describe(result)

    async def compare() -> None:
        async with httpx.AsyncHTTPTransport() as transport:
            assert await log_in_twice(None) == await log_in_twice(transport)

    asyncio.run(compare())


# ---- Servers that send much, or without end


async def test_large_head() -> None:
    async def scenario(connection: Connection) -> None:
        await connection.read()
        head = raw_response(200, json.dumps(SUCCESS), {"x-padding": "a" * 99_000})
        for half in (head[:98_000], head[98_000:]):
            await connection.write(half)
            await asyncio.sleep(0.02)  # deliver it separately

    async with ScriptedServer(scenario) as server:
        await login(server.site, USERNAME, PASSWORD, retry=ONCE)


def flood(head: bytes, data: bytes, closed: asyncio.Event) -> Scenario:
    """Respond to a login, and send *data* until the client closes the connection."""

    async def scenario(connection: Connection) -> None:
        await connection.read()
        await connection.write(head)
        try:
            while True:
                await connection.write(data)
        finally:
            closed.set()

    return scenario


@pytest.mark.parametrize(
    ("head", "data"),
    [(b"", b"HTTP/1.1 100\r\n\r\n"), (CHUNKED, b"1\r\nx\r\n"), (CHUNKED, b"1;y=zzzzz\r\nx\r\n")],
    ids=["informational responses", "tiny chunks", "chunk extensions"],
)
async def test_endless_response(head: bytes, data: bytes) -> None:
    """The limit is one of bytes: reading them all would keep the event loop busy."""
    async with ScriptedServer(flood(head, data * 5000, asyncio.Event())) as server:
        await login_error(InvalidResponseError, server.site)
        assert server.connections == 1


@pytest.mark.parametrize(
    "response",
    [KEEPALIVE_SUCCESS, b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n", b"x\r\n\r\n"],
    ids=["complete", "too large", "malformed"],
)
async def test_idle_connection_is_flooded(response: bytes) -> None:
    closed = asyncio.Event()
    async with (
        ScriptedServer(flood(response, bytes(65536), closed)) as server,
        AuthClient(server.site) as client,
    ):
        with suppress(InvalidResponseError):
            await client.login(USERNAME, PASSWORD)
        async with asyncio.timeout(pool.IDLE_TIMEOUT / 2):
            await closed.wait()
