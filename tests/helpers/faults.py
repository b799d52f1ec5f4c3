"""Faults on the wire.

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
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import unquote_plus

import httpx
import trustme
from attrs import field, frozen
from httpx_aiohttp import AiohttpTransport

from helpers import tls
from helpers.constants import SUCCESS
from helpers.raw_server import Connection, Scenario, ScriptedServer, raw_response, respond

HTML = "<!DOCTYPE html><html><body>Something else</body></html>"
OK = b"HTTP/1.1 200 OK\r\n"


def send(*parts: bytes, reset: bool = False) -> Scenario:
    """Read a request, send the parts one after the other, and close or reset the connection."""

    async def scenario(connection: Connection) -> None:
        await connection.read()
        for part in parts:
            await connection.write(part)
            if reset or len(parts) > 1:
                await asyncio.sleep(0.02)  # deliver it by itself, also before a reset
        if reset:
            connection.reset()

    scenario.__name__ = f"{b''.join(parts)[:40]!r}{', reset' * reset}"  # in the names of tests
    return scenario


# ---- Lost connections

reset_before_headers = send(reset=True)
close_in_the_headers = send(OK + b"content-type: appl")
truncate_the_body = send(OK + b'content-length: 100\r\n\r\n{"result"')
truncate_the_chunks = send(OK + b"transfer-encoding: chunked\r\n\r\n64\r\n{")
reset_in_the_body = send(OK + b'content-length: 100\r\n\r\n{"result"', reset=True)


# ---- Too slow


async def drip(connection: Connection) -> None:
    """Send one byte after the other, too slowly for the time limit of the login."""
    await connection.read()
    for byte in raw_response(200, json.dumps(SUCCESS)):
        await connection.write(bytes([byte]))
        await asyncio.sleep(0.1)


async def never_end_1xx(connection: Connection) -> None:
    await connection.read()
    while True:
        await connection.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0.01)


# ---- Malformed HTTP

speak_ssh = send(b"SSH-2.0-OpenSSH_9.2\r\nInvalid SSH identification string.\r\n")
headers_of_1_mb = send(OK + b"x: " + b"a" * 2**20 + b"\r\n\r\n")
ten_thousand_headers = send(
    OK + b"".join(b"x-%d: %s\r\n" % (number, b"a" * 20) for number in range(10_000)) + b"\r\n"
)
bad_chunk_size = send(OK + b"transfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n")
bad_chunk_size_of_a_401 = send(b"HTTP/1.1 401 x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n")
bad_chunk_size_after_the_head = send(OK + b"transfer-encoding: chunked\r\n\r\n", b"xyz\r\n{}\r\n")
conflicting_lengths = send(OK + b"content-length: 2\r\ncontent-length: 7\r\n\r\n{}")


# ---- Body size and encoding


def body_of(size: int) -> Scenario:
    """Respond with a success of *size* bytes."""
    return respond(200, json.dumps(SUCCESS).encode().ljust(size))


async def body_of_200_mb(connection: Connection) -> None:
    await connection.read()
    await connection.write(OK + b"content-length: 209715200\r\n\r\n")
    chunk = b" " * 2**16
    for _ in range(3200):
        await connection.write(chunk)


def gzipped(times: int) -> Scenario:
    """Respond with a success and 10 MB of spaces, compressed *times* times."""
    body = json.dumps(SUCCESS).encode().ljust(10 * 2**20)
    for _ in range(times):
        body = gzip.compress(body)
    return respond(200, body, {"Content-Encoding": ", ".join(["gzip"] * times)})


# ---- Servers that echo the request


def echo(response: Callable[[str, str], bytes]) -> Scenario:
    """Send a response that contains the form and the password."""

    async def scenario(connection: Connection) -> None:
        form = (await connection.read()).decode()
        await connection.write(response(form, unquote_plus(form.rpartition("password=")[2])))

    return scenario


def echo_as_message(status: int) -> Scenario:
    """Respond with the password and the form as the error's message and code."""
    return echo(
        lambda form, password: raw_response(
            status,
            json.dumps({"result": "error", "msg": f"{password} {form}", "code": password.upper()}),
        )
    )


garbage_with_the_password = echo(lambda form, password: f"WHAT? {password} {form}\r\n\r\n".encode())
echo_as_html = echo(lambda form, password: raw_response(403, f"<html>{form} {password}</html>"))
echo_as_location = echo(
    lambda form, _: raw_response(302, b"", {"Location": f"https://{form}/?{form}"})
)
echo_as_retry_after = echo(lambda form, _: raw_response(429, form, {"Retry-After": form}))
echo_in_a_malformed_success = echo(
    lambda _, password: raw_response(
        200, json.dumps({**SUCCESS, "api_key": f"{password} ", "user_id": password})
    )
)


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
def shared_ca() -> trustme.CA:
    return trustme.CA()


@cache
def client_context() -> ssl.SSLContext:
    return tls.client_context(shared_ca())


def http_target(*scenarios: Scenario, scheme: str = "http", **options: Any) -> TargetFactory:
    if scheme == "https":
        options["ssl_context"] = client_context()

    @asynccontextmanager
    async def target() -> AsyncIterator[Target]:
        async with ScriptedServer(*scenarios) as server:
            yield Target(f"{scheme}://127.0.0.1:{server.port}", server, options)

    return target


def https_target(
    *scenarios: Scenario,
    site: str = "https://127.0.0.1:{}",
    context: ssl.SSLContext | None = None,
    trusted: bool = True,
    over: Callable[..., httpx.AsyncBaseTransport] | None = None,
    environment: dict[str, str] | None = None,
    **certificate: Any,
) -> TargetFactory:
    """Return a target with TLS.

    Args:
        scenarios: The scenarios of the server.
        site: The site, with {} in place of the port.
        context: The server's, in place of one with a certificate of the test CA.
        trusted: Whether the login has an ssl_context, which trusts the test CA.
        over: The transport to use, with that context.
        environment: Environment variables to set during the login.
        certificate: What differs from a valid certificate for 127.0.0.1.
    """

    @asynccontextmanager
    async def target() -> AsyncIterator[Target]:
        own = context or tls.server_context(shared_ca(), **certificate)
        options: dict[str, Any] = {"ssl_context": client_context()} if trusted else {}
        async with ScriptedServer(*scenarios, tls=own) as server, AsyncExitStack() as stack:
            if over:
                transport = over(verify=options.pop("ssl_context"))
                options["transport"] = await stack.enter_async_context(transport)
            yield Target(site.format(server.port), server, options, environment or {})

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


async def hang(connection: Connection) -> None:
    await connection.wait_closed()


async def respond_in_plain(connection: Connection) -> None:
    await connection.write(raw_response(400, "Speak HTTP."))


PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
handshake_that_hangs = http_target(hang, scheme="https")
https_to_a_plain_port = http_target(respond_in_plain, scheme="https")
http_to_a_tls_port = https_target(respond(200, SUCCESS), site="http://127.0.0.1:{}", trusted=False)
untrusted_certificate = https_target(respond(200, SUCCESS), trusted=False)
wrong_host_certificate = https_target(respond(200, SUCCESS), name="chat.example.com")
expired_certificate = https_target(
    respond(200, SUCCESS), not_before=PAST, not_after=PAST + dt.timedelta(days=1)
)


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


def proxied(
    status: int,
    site: str = "https://chat.example.com",
    variable: str = "HTTPS_PROXY",
    url: str = "http://{}",
) -> TargetFactory:
    """Connect through a proxy that rejects each request.

    Args:
        status: The status code of its responses.
        site: The site.
        variable: The environment variable with the proxy; empty to use a transport with it.
        url: The URL of the proxy, with {} in place of its address.
    """

    async def reject(connection: Connection) -> None:
        if not url.startswith("https:"):
            await connection.read_raw_request()
        await connection.write(raw_response(status, HTML, {"Proxy-Authenticate": "Basic"}))

    @asynccontextmanager
    async def target() -> AsyncIterator[Target]:
        async with ScriptedServer(reject) as proxy, AsyncExitStack() as stack:
            address = url.format(f"127.0.0.1:{proxy.port}")
            options: dict[str, Any] = {"allow_http": True}
            if not variable:
                own = AiohttpTransport(proxy=httpx.Proxy(address))
                options["transport"] = await stack.enter_async_context(own)
            yield Target(site, proxy, options, {variable: address} if variable else {})

    return target
