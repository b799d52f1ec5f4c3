"""Faults on the wire, one small function each.

Add a fault here and a case for it in test_faults.py.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import unquote_plus

import trustme
from attrs import field, frozen

from helpers.constants import SUCCESS
from helpers.raw_server import Connection, Scenario, ScriptedServer, raw_response, respond

HTML = "<!DOCTYPE html><html><body>Something else</body></html>"


# ---- Lost connections


async def reset_before_headers(connection: Connection) -> None:
    await connection.read()
    connection.reset()


async def close_in_the_headers(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 200 OK\r\ncontent-type: appl")


async def truncate_the_body(connection: Connection) -> None:
    await connection.read()
    await connection.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"result"')


async def truncate_the_chunks(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n{")


async def reset_in_the_body(connection: Connection) -> None:
    await connection.read()
    await connection.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"result"')
    await asyncio.sleep(0.02)  # deliver the head before the reset
    connection.reset()


# ---- Too slow


async def drip(connection: Connection) -> None:
    """Send one byte every half second."""
    await connection.read()
    for byte in raw_response(200, json.dumps(SUCCESS)):
        await connection.write(bytes([byte]))
        await asyncio.sleep(0.5)


async def never_end_1xx(connection: Connection) -> None:
    await connection.read()
    while True:
        await connection.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0.01)  # a flood of them is a case of test_http_connection.py


# ---- Malformed HTTP


async def garbage_with_the_password(connection: Connection) -> None:
    body = await connection.read()
    await connection.write(b"WHAT? " + unquote_plus(body.decode()).encode() + b"\r\n\r\n")


async def speak_ssh(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"SSH-2.0-OpenSSH_9.2\r\nInvalid SSH identification string.\r\n")


async def headers_of_1_mb(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 2**20 + b"\r\n\r\n")


async def ten_thousand_headers(connection: Connection) -> None:
    await connection.read()
    lines = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 20) for number in range(10_000))
    await connection.write(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n")


async def bad_chunk_size(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n")


async def bad_chunk_size_after_the_head(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    await asyncio.sleep(0.02)  # deliver the head first
    await connection.write(b"xyz\r\n{}\r\n")


async def bad_chunk_size_of_a_503(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 503 Busy\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n")


async def conflicting_lengths(connection: Connection) -> None:
    await connection.read()
    body = json.dumps(SUCCESS).encode()
    await connection.write(
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ncontent-length: 7\r\n\r\n" % len(body) + body
    )


# ---- Body size and encoding


def body_of(size: int) -> Scenario:
    """Respond with a success of *size* bytes."""
    return respond(200, json.dumps(SUCCESS).encode().ljust(size))


async def body_of_200_mb(connection: Connection) -> None:
    await connection.read()
    await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 209715200\r\n\r\n")
    chunk = b" " * 2**16
    for _ in range(3200):
        await connection.write(chunk)


def gzipped(times: int) -> Scenario:
    """Respond with a success and 10 MB of spaces, compressed *times* times."""
    body = json.dumps(SUCCESS).encode().ljust(10 * 2**20)
    for _ in range(times):
        body = gzip.compress(body)
    return respond(200, body, {"Content-Encoding": ", ".join(["gzip"] * times)})


corrupt_gzip = respond(200, b"\x1f\x8b\x08garbage", {"Content-Encoding": "gzip"})


# ---- Servers that echo the request


def echo_as_message(status: int) -> Scenario:
    """Respond with the password and the form as the error's message and code."""

    async def scenario(connection: Connection) -> None:
        body = (await connection.read()).decode()
        password = unquote_plus(body.rpartition("password=")[2])
        error = {"result": "error", "msg": f"{password} {body}", "code": password.upper()}
        await connection.write(raw_response(status, json.dumps(error)))

    return scenario


async def echo_as_html(connection: Connection) -> None:
    body = (await connection.read()).decode()
    await connection.write(raw_response(403, f"<html>{body} {unquote_plus(body)}</html>"))


async def echo_as_location(connection: Connection) -> None:
    body = (await connection.read()).decode()
    await connection.write(raw_response(302, b"", {"Location": f"https://{body}/?{body}"}))


async def echo_as_retry_after(connection: Connection) -> None:
    body = (await connection.read()).decode()
    await connection.write(raw_response(429, body, {"Retry-After": body}))


async def echo_in_a_malformed_success(connection: Connection) -> None:
    body = (await connection.read()).decode()
    password = unquote_plus(body.rpartition("password=")[2])
    success = {**SUCCESS, "api_key": f"{password} ", "user_id": password}
    await connection.write(raw_response(200, json.dumps(success)))


# ---- Targets of a login


@frozen
class Target:
    """The target of a login.

    Attributes:
        site: The site URL.
        server: The server, which counts requests.
        options: Further options of the login.
        environment: Environment variables to set during the login.
    """

    site: str
    server: ScriptedServer
    options: dict[str, Any] = field(factory=dict)
    environment: dict[str, str] = field(factory=dict)


TargetFactory = Callable[[], AbstractAsyncContextManager[Target]]


@cache
def test_ca() -> trustme.CA:
    return trustme.CA()


def client_context() -> dict[str, ssl.SSLContext]:
    context = ssl.create_default_context()
    test_ca().configure_trust(context)
    return {"ssl_context": context}


def server_context(name: str = "127.0.0.1", **options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    test_ca().issue_cert(name, **options).configure_cert(context)
    return context


def http_target(*scenarios: Scenario) -> TargetFactory:
    @asynccontextmanager
    async def target() -> AsyncIterator[Target]:
        async with ScriptedServer(*scenarios) as server:
            yield Target(server.site, server)

    return target


def https_target(*scenarios: Scenario) -> TargetFactory:
    @asynccontextmanager
    async def target() -> AsyncIterator[Target]:
        async with ScriptedServer(*scenarios, tls=server_context()) as server:
            yield Target(server.site, server, client_context())

    return target


@asynccontextmanager
async def no_such_name() -> AsyncIterator[Target]:
    yield Target("https://nosuch.invalid", ScriptedServer())


@asynccontextmanager
async def closed_port() -> AsyncIterator[Target]:
    async with ScriptedServer() as server:
        site = server.site
    yield Target(site, server)


@asynccontextmanager
async def full_backlog() -> AsyncIterator[Target]:
    """Listen with a full backlog, so that further connections hang."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        yield Target(f"http://127.0.0.1:{full.getsockname()[1]}", ScriptedServer())
        for client in clients:
            client.close()


@asynccontextmanager
async def handshake_that_hangs() -> AsyncIterator[Target]:
    async def hang(connection: Connection) -> None:
        await connection.wait_closed()

    async with ScriptedServer(hang) as server:
        yield Target(f"https://127.0.0.1:{server.port}", server, client_context())


@asynccontextmanager
async def untrusted_certificate() -> AsyncIterator[Target]:
    async with ScriptedServer(respond(200, SUCCESS), tls=server_context()) as server:
        yield Target(server.site, server)


@asynccontextmanager
async def expired_certificate() -> AsyncIterator[Target]:
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    tls = server_context(not_before=past, not_after=past + dt.timedelta(days=1))
    async with ScriptedServer(respond(200, SUCCESS), tls=tls) as server:
        yield Target(server.site, server, client_context())


@asynccontextmanager
async def wrong_host_certificate() -> AsyncIterator[Target]:
    tls = server_context("chat.example.com")
    async with ScriptedServer(respond(200, SUCCESS), tls=tls) as server:
        yield Target(server.site, server, client_context())


@asynccontextmanager
async def https_to_a_plain_port() -> AsyncIterator[Target]:
    async def respond_in_plain(connection: Connection) -> None:
        await connection.write(raw_response(400, "Speak HTTP."))

    async with ScriptedServer(respond_in_plain) as server:
        yield Target(f"https://127.0.0.1:{server.port}", server, client_context())


@asynccontextmanager
async def http_to_a_tls_port() -> AsyncIterator[Target]:
    async with ScriptedServer(respond(200, SUCCESS), tls=server_context()) as server:
        yield Target(f"http://127.0.0.1:{server.port}", server)


def redirect(status: int) -> TargetFactory:
    """Redirect to another server, which must get no request."""

    @asynccontextmanager
    async def target() -> AsyncIterator[Target]:
        async with ScriptedServer(respond(200, SUCCESS)) as other:
            location = f"{other.site}/api/v1/fetch_api_key"
            async with ScriptedServer(respond(status, b"", {"Location": location})) as server:
                yield Target(server.site, server)
            assert other.connections == 0

    return target


def proxied(*scenarios: Scenario) -> TargetFactory:
    @asynccontextmanager
    async def target() -> AsyncIterator[Target]:
        async with ScriptedServer(*scenarios) as proxy:
            yield Target("https://chat.example.com", proxy, environment={"HTTPS_PROXY": proxy.site})

    return target


async def reject_tunnel(connection: Connection) -> None:
    await connection.read_raw_request()
    await connection.write(raw_response(403, "No"))


async def require_proxy_auth(connection: Connection) -> None:
    await connection.read_raw_request()
    await connection.write(raw_response(407, "Proxy login", {"Proxy-Authenticate": "Basic"}))


def environment(name: str, value: str) -> TargetFactory:
    @asynccontextmanager
    async def target() -> AsyncIterator[Target]:
        yield Target("https://127.0.0.1:1", ScriptedServer(), environment={name: value})

    return target
