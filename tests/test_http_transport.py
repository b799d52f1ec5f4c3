"""The default transport over real sockets: TLS, CA certificates, proxies."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import trustme
from httpx_aiohttp import AiohttpTransport

from helpers.constants import PASSWORD, SUCCESS, USERNAME
from helpers.errors import login_error
from helpers.raw_server import (
    KEEPALIVE_SUCCESS,
    Connection,
    ScriptedServer,
    close_without_response,
    respond,
    serve_keepalive,
    succeed,
)
from helpers.tls import client_context, server_context
from zulip_auth import (
    APIConnectionError,
    AuthClient,
    ConfigurationError,
    RetryPolicy,
    TLSError,
    login,
)
from zulip_auth._http import transport
from zulip_auth._http.transport import create_transport

ONCE = RetryPolicy(attempts=1)


# ---- TLS


def reject_handshake(listener: socket.socket, tls: ssl.SSLContext) -> None:
    """Accept one connection, reject its handshake with an alert, and read on until its end."""
    connection, _ = listener.accept()
    with tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secure:
        with pytest.raises(ssl.SSLError):
            secure.do_handshake()
        with socket.socket(fileno=secure.detach()) as plain, suppress(ConnectionError):
            while plain.recv(4096):
                pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_server_wants_client_certificate(
    version: ssl.TLSVersion, test_ca: trustme.CA
) -> None:
    tls = server_context(test_ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.minimum_version = tls.maximum_version = version
    test_ca.configure_trust(tls)
    # No asyncio server: it resets the connection, so that the alert may be lost.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = f"https://127.0.0.1:{listener.getsockname()[1]}"
        serving = asyncio.create_task(asyncio.to_thread(reject_handshake, listener, tls))
        error = await login_error(TLSError, site, retry=ONCE, ssl_context=client_context(test_ca))
        await serving
    message = f"TLS connection to {site} failed: "
    if version is ssl.TLSVersion.TLSv1_3:
        message += "the server requires a client certificate. "
    assert str(error).startswith(message)


async def test_ca_of_the_operating_system(
    test_ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A company's CA in the system's directory is trusted next to certifi's."""
    test_ca.cert_pem.write_to_path(str(tmp_path / "company.pem"))
    rehash = await asyncio.create_subprocess_exec("openssl", "rehash", tmp_path)
    assert await rehash.wait() == 0
    paths = ssl.get_default_verify_paths()._replace(openssl_capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    transport._default_ssl_context.cache_clear()
    try:
        async with ScriptedServer(succeed, tls=server_context(test_ca)) as server:
            await login(server.site, USERNAME, PASSWORD)
    finally:
        transport._default_ssl_context.cache_clear()


async def test_tls(test_ca: trustme.CA) -> None:
    async with ScriptedServer(succeed, tls=server_context(test_ca)) as server:
        credentials = await login(
            server.site, USERNAME, PASSWORD, ssl_context=client_context(test_ca)
        )
    assert credentials.site == server.site
    assert credentials.site.startswith("https://")


def test_ca_certificates_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    transport._default_ssl_context.cache_clear()
    contexts: list[ssl.SSLContext] = []
    load = ssl.create_default_context

    def create_context(**options: Any) -> ssl.SSLContext:
        contexts.append(load(**options))
        return contexts[-1]

    monkeypatch.setattr(ssl, "create_default_context", create_context)
    for _ in range(3):
        create_transport("https://chat.example.com", None)
    create_transport("http://localhost", None)
    assert len(contexts) == 1


async def test_ssl_cert_file(
    test_ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    test_ca.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    transport._default_ssl_context.cache_clear()
    try:
        async with ScriptedServer(succeed, tls=server_context(test_ca)) as server:
            await login(server.site, USERNAME, PASSWORD)
    finally:
        transport._default_ssl_context.cache_clear()


async def test_unreadable_ca_certificates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport._default_ssl_context.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    error = await login_error(ConfigurationError, "https://127.0.0.1:1", retry=ONCE)
    assert str(error) == (
        "Could not load the CA certificates. Check SSL_CERT_FILE and SSL_CERT_DIR."
    )
    assert error.__context__ is None
    monkeypatch.delenv("SSL_CERT_FILE")
    # The failure is not cached.
    await login_error(APIConnectionError, "https://127.0.0.1:1", retry=ONCE)


# ---- Proxies


async def tunnel(connection: Connection) -> None:
    """Act as a proxy that tunnels every connection to the port in `tunnel_to`."""
    reader, writer = connection._reader, connection._writer
    head = await reader.readuntil(b"\r\n\r\n")
    target = head.split()[1].decode()
    connection._server.tunnels.append(target)
    server_reader, server_writer = await asyncio.open_connection("127.0.0.1", tunnel_to[0])
    await connection.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)

    upload = asyncio.create_task(pump(reader, server_writer))
    try:
        await pump(server_reader, writer)
    finally:
        upload.cancel()
        server_writer.transport.abort()


tunnel_to: list[int] = []


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_https_proxy(
    variable: str,
    scheme: str,
    test_ca: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = server_context(test_ca, "chat.example.com")
    async with ScriptedServer(succeed, tls=tls) as server, ScriptedServer(tunnel) as proxy:
        tunnel_to[:] = [server.port]
        monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{proxy.port}")
        await login(
            "https://chat.example.com", USERNAME, PASSWORD, ssl_context=client_context(test_ca)
        )
        assert proxy.tunnels == ["chat.example.com:443"]
        assert len(server.requests) == 1


async def test_proxied_connection_is_not_reused(
    test_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = server_context(test_ca, "chat.example.com")
    context = client_context(test_ca)
    async with ScriptedServer(serve_keepalive, tls=tls) as server, ScriptedServer(tunnel) as proxy:
        tunnel_to[:] = [server.port]
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with AuthClient("https://chat.example.com", ssl_context=context) as client:
            for _ in range(2):
                await client.login(USERNAME, PASSWORD)
        assert (proxy.connections, server.connections, len(server.requests)) == (2, 2, 2)


@pytest.mark.parametrize(
    "no_proxy",
    ["127.0.0.1", "*", "x.org, 127.0.0.1", "127.0.0.0/8", "https://127.0.0.1", "all://127.0.0.1"],
)
async def test_no_proxy(
    no_proxy: str, test_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    async with ScriptedServer(succeed, tls=server_context(test_ca)) as server:
        await login(server.site, USERNAME, PASSWORD, ssl_context=client_context(test_ca))


@pytest.mark.parametrize(
    ("site", "no_proxy", "proxied"),
    [
        ("https://[::1]:9991", "::1", False),
        ("https://[::1]:9991", "[::1]", False),
        ("https://[2001:db8::7]", "[2001:DB8:0::7]", False),
        ("https://[2001:db8::7]", "2001:db8::/32", False),
        ("https://[2001:db9::7]", "2001:db8::/32", True),
        ("https://10.1.2.3", "10.0.0.0/8", False),
        ("https://10.1.2.3", "x.org,10.9.9.9/8,fe80::/10", False),
        ("https://10.1.2.3", "x.org, 10.9.9.9/8 , fe80::/10", False),
        ("https://10.1.2.3", "10.1.2.4, fe80::/10, x/8", True),
        ("https://chat.example.com", "example.com", False),
        ("https://chat.example.com", ".example.com", False),
        ("https://chat.example.com", "chat.example.com:443", True),
        ("https://chat.example.com:8443", "chat.example.com:8443", False),
        ("https://chat.example.com", "https://chat.example.com", False),
        ("https://chat.example.com", "ample.com", True),
        ("https://chat.example.com", "", True),
    ],
)
def test_no_proxy_entries(
    site: str, no_proxy: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    created = create_transport(site, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert getattr(created, "proxy", None) == ("proxy.example.com" if proxied else None)


async def test_unresolvable_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@proxy.invalid:3128")
    error = await login_error(APIConnectionError, "https://127.0.0.1:1", retry=ONCE)
    assert str(error) == (
        "Could not connect to the proxy proxy.invalid (host name could not be resolved). "
        "Check HTTPS_PROXY, ALL_PROXY and NO_PROXY."
    )


async def test_http_ignores_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with ScriptedServer(succeed) as server:
        await login(server.site, USERNAME, PASSWORD)


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("ftp://127.0.0.1", ": unsupported scheme ftp"),
        ("socks://127.0.0.1:1080", ": unsupported scheme socks"),
        ("http://x:hunter2", ""),
        ("socks4://x:://hunter2@127.0.0.1", ": unsupported scheme socks4"),
        ("socks5://127.0.0.1", ""),
    ],
)
async def test_invalid_proxy(proxy: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    error = await login_error(ConfigurationError, "https://chat.example.com", retry=ONCE)
    assert str(error) == (
        f"Invalid proxy setting{reason}. Check HTTPS_PROXY and ALL_PROXY "
        "(SOCKS requires socks5:// and the socksio package)."
    )
    assert "hunter2" not in str(error)
    assert error.__context__ is None


# ---- Transports of the caller


@pytest.mark.parametrize("route", ["http", "https", "tunnel"])
async def test_cancel_after_handshake(route: str, test_ca: trustme.CA) -> None:
    """A transport that waits between attempts has returned the connection to its pool."""

    class WaitingTransport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            if len(server.requests) == 1:
                await response.aread()
                task.cancel()
                await asyncio.sleep(0)
            return response

    tls = None if route == "http" else server_context(test_ca)
    async with ScriptedServer(serve_keepalive, tls=tls) as server, ScriptedServer(tunnel) as proxy:
        tunnel_to[:] = [server.port]
        async with WaitingTransport(
            verify=client_context(test_ca), proxy=proxy.site if route == "tunnel" else None
        ) as transport:
            client = AuthClient(server.site, transport=transport)
            task = asyncio.create_task(client.login(USERNAME, PASSWORD))
            with pytest.raises(asyncio.CancelledError):
                await task
            await client.login(USERNAME, PASSWORD)
        assert (server.connections, len(server.requests)) == (1, 2)


async def test_aiohttp_reuses_connection() -> None:
    async with ScriptedServer(serve_keepalive) as server, AiohttpTransport() as transport:
        client = AuthClient(server.site, transport=transport)
        for _ in range(3):
            await client.login(USERNAME, PASSWORD)
        assert (server.connections, len(server.requests)) == (1, 3)
        await asyncio.gather(
            *(client.login(f"{number}@zulip.com", PASSWORD) for number in range(10))
        )
        assert server.connections == 10


async def test_aiohttp_lost_idle_connection(
    no_backoff: RetryPolicy,
) -> None:
    async def serve_once(connection: Connection) -> None:
        await connection.read()
        await connection.write(KEEPALIVE_SUCCESS)
        await connection.read()

    async with (
        ScriptedServer(serve_once, close_without_response) as server,
        AiohttpTransport() as transport,
    ):
        client = AuthClient(server.site, transport=transport, retry=no_backoff)
        await client.login(USERNAME, PASSWORD)
        with pytest.raises(APIConnectionError) as caught:
            await client.login(USERNAME, PASSWORD)
        assert caught.value.sent is True
        assert (server.connections, len(server.requests)) == (2, 3)


@pytest.mark.parametrize("store", [False, True])
async def test_aiohttp_cookies(store: bool) -> None:
    def session() -> aiohttp.ClientSession:
        jar = aiohttp.CookieJar() if store else aiohttp.DummyCookieJar()
        return aiohttp.ClientSession(cookie_jar=jar)

    set_cookie = respond(200, SUCCESS, {"Set-Cookie": "account=iago"})
    async with (
        ScriptedServer(set_cookie) as server,
        AiohttpTransport(client=session) as transport,
    ):
        # aiohttp stores no cookies of IP addresses.
        client = AuthClient(f"localhost:{server.port}", transport=transport)
        for _ in range(2):
            await client.login(USERNAME, PASSWORD)
        cookies = [request.headers.get("cookie") for request in server.requests]
    assert cookies == [None, "account=iago" if store else None]
