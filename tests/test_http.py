"""One request over the wire: encodings, headers, `sent`, failures, TLS, proxies."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import threading
import traceback
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import trustme
from attrs import define
from httpx_aiohttp import AiohttpTransport

from helpers.constants import AUTH_FAILED, PASSWORD, SUCCESS, USERNAME
from helpers.errors import error_of, login_error
from helpers.messages import messages
from helpers.raw_server import (
    ScriptedServer,
    close_without_response,
    respond,
    serve_keepalive,
    succeed,
    tunnel_to,
)
from helpers.secret_scanner import SecretScanner
from helpers.tls import client_context, server_context
from zulip_auth import (
    APIConnectionError,
    AuthClient,
    AuthenticationFailedError,
    BadRequestError,
    ConfigurationError,
    InvalidApiKeyError,
    InvalidResponseError,
    RetryPolicy,
    TLSError,
    _http,
    login,
)
from zulip_auth._errors import RequestContext
from zulip_auth._http import MAX_RESPONSE_SIZE, send
from zulip_auth._network_errors import Attempt, error_from_exception
from zulip_auth_client import Client
from zulip_auth_client.types import Response

ONCE = RetryPolicy(attempts=1)
SITE = "https://chat.example.com"


# ---- Bodies


def compressed(body: dict[str, Any], compress: Callable[[bytes], bytes], more: int = 0) -> bytes:
    """Return the compressed body, of the maximum size and *more* bytes."""
    return compress(json.dumps(body).encode().ljust(MAX_RESPONSE_SIZE + more))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", compressed(SUCCESS, gzip.compress)),
        ("X-GZIP", compressed(SUCCESS, gzip.compress)),
        ("deflate", compressed(SUCCESS, zlib.compress)),
        ("identity", json.dumps(SUCCESS).encode()),
    ],
)
async def test_content_encoding(encoding: str, body: bytes) -> None:
    async with ScriptedServer(respond(200, body, {"Content-Encoding": encoding})) as server:
        await login(server.site, USERNAME, PASSWORD)


SMALL = gzip.compress(json.dumps(AUTH_FAILED).encode())


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", SMALL),
        ("identity, gzip", SMALL),
        ("gzip", b"not gzip"),
        ("gzip", SMALL[:-4]),
        ("gzip", compressed(AUTH_FAILED, gzip.compress, 1)),
    ],
)
async def test_body_that_cannot_be_decoded(encoding: str, body: bytes) -> None:
    async with ScriptedServer(respond(401, body, {"Content-Encoding": encoding})) as server:
        await login_error(InvalidResponseError, server.site, retry=ONCE)


# ---- Requests


async def test_body_in_chunks() -> None:
    """Endpoints that send a stream need no change here."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"

    async def upload(*, client: Client) -> Response[Any]:
        response = await client.get_async_httpx_client().post("/upload", content=chunks())
        return Response(HTTPStatus.OK, response.content, {}, parsed=response.json())

    async with ScriptedServer(succeed) as server:
        deadline = asyncio.get_running_loop().time() + 5
        options: dict[str, Any] = {"transport": None, "ssl_context": None, "user_agent": None}
        context = RequestContext(server.site, "none")
        assert await send(upload, context, timeout=5, deadline=deadline, **options) == SUCCESS
        [request] = server.requests
    assert request.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in request.headers


HEADERS = {"CF-Access-Client-Id": "id.access", "Cookie": "session=s3cr3t-of-the-gateway; a=b"}
SETTINGS = {"result": "success", "msg": "", "zulip_version": "10.0", "realm_name": "x"}


@pytest.mark.parametrize("transport", [None, AiohttpTransport])
async def test_headers_of_each_request(transport: Any) -> None:
    settings = respond(200, {**SETTINGS, "realm_url": "https://x.org"})
    responses = [succeed, settings, respond(401, AUTH_FAILED)]
    async with ScriptedServer(*responses) as server, AsyncExitStack() as stack:
        own = await stack.enter_async_context(transport()) if transport else None
        client = AuthClient(server.site, headers=HEADERS, transport=own)
        credentials = await client.login(USERNAME, PASSWORD)
        await client.server_settings()
        await error_of(InvalidApiKeyError, client.verify(credentials))
        await error_of(AuthenticationFailedError, client.jwt_login("a.b.c"))
        assert not any("transfer-encoding" in request.headers for request in server.requests)
        sent = [
            [request.headers.get(name.lower()) for name in HEADERS] for request in server.requests
        ]
    assert sent == [list(HEADERS.values())] * 4
    SecretScanner(*HEADERS.values()).check(repr(client), "the client")


async def test_cookies_are_not_sent_back() -> None:
    async with ScriptedServer(respond(200, SUCCESS, {"Set-Cookie": "sessionid=x"})) as server:
        client = AuthClient(server.site)
        for _ in range(2):
            await client.login(USERNAME, PASSWORD)
        assert "cookie" not in server.requests[1].headers


@pytest.mark.parametrize("secret", ["id.access", "s3cr3t-of-the-gateway"])
async def test_echoed_headers_are_redacted(secret: str) -> None:
    body = {"result": "error", "msg": f"Unknown {secret}", "code": "X"}
    location = {"Location": f"https://{secret}.example.com/"}
    async with ScriptedServer(respond(400, body), respond(302, b"", location)) as server:
        for exc_type in (BadRequestError, InvalidResponseError):
            error = await login_error(exc_type, server.site, headers=HEADERS)
            assert getattr(error, "message", "") == ""
            SecretScanner(*HEADERS.values(), secret).check_error(error)


# ---- Transports of the caller


@define
class StubTransport(httpx.AsyncBaseTransport):
    """Raise an error, after reading the request body if *read*."""

    error: Exception
    read: bool
    calls: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if self.read:
            await request.aread()
        raise self.error


def chain(*errors: Exception) -> Exception:
    """Return the first of the errors, each of which has the next one as its cause."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message, error.verify_code = "certificate revoked", 23
    return error


def tls_error(reason: str = "SSLV3_ALERT_HANDSHAKE_FAILURE") -> ssl.SSLError:
    error = ssl.SSLError(1, "secret")
    error.reason = reason
    return error


REQUEST: Any = None
READ_ERROR = httpx.ReadError("secret")
CONNECTION_REFUSED = ConnectionRefusedError(111, "anything that a server sent")
GROUP = ExceptionGroup("secret", [CONNECTION_REFUSED])
# What a transport raises; test_faults.py has most of them from the wire.
UNSENT: dict[str, Exception] = {
    "connection refused": chain(httpx.ConnectError("x"), OSError("all failed"), CONNECTION_REFUSED),
    "connection refused by each address": chain(
        httpx.ConnectError("x"), OSError("all failed"), GROUP
    ),
    "no such name": chain(httpx.ConnectError("x"), socket.gaierror(-2, "x")),
    "proxy that requires credentials": chain(httpx.ProxyError("407 x"), CONNECTION_REFUSED),
    "proxy without a status": httpx.ProxyError("secret"),
    "unsupported protocol": httpx.UnsupportedProtocol("secret"),
    "full pool": httpx.PoolTimeout("x"),
    "connect timeout": httpx.ConnectTimeout("x"),
    "deadline after another error": chain(TimeoutError(), RuntimeError()),
    "OSError without a number": OSError("secret", "secret"),
    "OSError with a number of its own": OSError(10**30, "secret"),
    "certificate": chain(httpx.ConnectError("x"), certificate_error()),
    "handshake": chain(httpx.ConnectError("x"), tls_error()),
    "server without this name": chain(
        httpx.ConnectError("x"), tls_error("TLSV1_UNRECOGNIZED_NAME")
    ),
    "handshake without a reason": chain(httpx.ConnectError("x"), ssl.SSLError()),
    "reset in the handshake": chain(httpx.ConnectError(""), ConnectionResetError()),
    "aiohttp, connection refused": chain(httpx.ConnectTimeout("x"), CONNECTION_REFUSED),
    "aiohttp, connect timeout": chain(httpx.ConnectTimeout("x"), aiohttp.ConnectionTimeoutError()),
    "aiohttp, certificate": chain(
        httpx.ConnectTimeout("x"), ssl.SSLCertVerificationError(), certificate_error()
    ),
    "aiohttp, proxy": aiohttp.ClientHttpProxyError(REQUEST, ()),
}
SENT: dict[str, Exception] = {
    "reset": chain(httpx.ReadError("x"), ConnectionResetError(104, "x")),
    "read timeout": chain(httpx.ReadTimeout("x"), httpx.ConnectTimeout("x")),
    "deadline": TimeoutError("x"),
    "disconnected": httpx.RemoteProtocolError("Server disconnected without sending a response."),
    "cut short": httpx.RemoteProtocolError("peer closed connection without sending complete …"),
    "not HTTP": httpx.RemoteProtocolError("illegal status line: bytearray(b'secret')"),
    "TLS error after the request": chain(httpx.ReadError("x"), tls_error()),
    "rejected client certificate": chain(
        httpx.ReadError("x"), tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED")
    ),
    "TLS error without a reason": chain(httpx.ReadError("x"), ssl.SSLError()),
    "cyclic cause": chain(READ_ERROR, RuntimeError("secret"), READ_ERROR),
    "long chain": chain(httpx.ReadError("secret"), *map(RuntimeError, range(1100))),
    "aiohttp, disconnected": chain(httpx.ConnectTimeout("x"), aiohttp.ServerDisconnectedError()),
    "aiohttp, not HTTP": aiohttp.ClientResponseError(REQUEST, ()),
    "aiohttp, unencodable": UnicodeEncodeError("ascii", "é", 0, 1, "secret"),
    "aiohttp, lost": aiohttp.ClientPayloadError("secret"),
    "proxy, when a transport sends again": httpx.ProxyError("503 x"),
}
MESSAGES = messages("Transports")


@pytest.mark.parametrize("name", [*UNSENT, *SENT])
async def test_transport_error(name: str) -> None:
    transport = StubTransport({**UNSENT, **SENT}[name], read=name in SENT)
    with pytest.raises((APIConnectionError, InvalidResponseError)) as caught:
        await login(SITE, USERNAME, PASSWORD, retry=ONCE, transport=transport)
    error = caught.value
    transient = "yes" if error.transient else "no"
    assert [type(error).__name__, transient, str(error)] == MESSAGES[name]
    assert getattr(error, "sent", True) == (name in SENT)
    assert (error.__cause__, error.__context__) == (None, None)


def test_table() -> None:
    assert [*MESSAGES] == [*UNSENT, *SENT]


def test_timeout_through_proxy() -> None:
    error = error_from_exception(TimeoutError(), "timeout", SITE, Attempt("10.1.2.3"))
    start = f"Timed out connecting to {SITE} through the proxy 10.1.2.3. Try again later or increas"
    assert str(error).startswith(start)


@pytest.mark.parametrize("bug", [RuntimeError, TypeError, KeyError, AssertionError])
@pytest.mark.parametrize("read", [False, True])
async def test_bug_keeps_its_type_and_traceback(bug: type[Exception], read: bool) -> None:
    """A bug is raised as it is, once, with frames that have lost their variables."""
    transport = StubTransport(bug("a bug"), read=read)
    with pytest.raises(bug, match="a bug") as caught:
        await login(SITE, USERNAME, PASSWORD, transport=transport)
    assert transport.calls == 1
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert "handle_async_request" in [frame.f_code.co_name for frame in frames]
    for frame in frames[1:]:
        assert PASSWORD not in repr(frame.f_locals)


async def test_retrying_transport_sends_once_per_attempt(no_backoff: RetryPolicy) -> None:
    class RetryingTransport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            for _ in range(5):
                with suppress(httpx.TransportError):
                    return await super().handle_async_request(request)
            raise AssertionError

    async with ScriptedServer(close_without_response) as server, RetryingTransport() as transport:
        options: dict[str, Any] = {"transport": transport, "retry": no_backoff}
        error = await login_error(APIConnectionError, server.site, **options)
    assert error.sent is True
    assert len(server.requests) == 2


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
    async with (
        ScriptedServer(serve_keepalive, tls=tls) as server,
        ScriptedServer(tunnel_to(server.port)) as proxy,
        WaitingTransport(
            verify=client_context(test_ca), proxy=proxy.site if route == "tunnel" else None
        ) as transport,
    ):
        client = AuthClient(server.site, transport=transport)
        task = asyncio.create_task(client.login(USERNAME, PASSWORD))
        await error_of(asyncio.CancelledError, task)
        await client.login(USERNAME, PASSWORD)
        assert (server.connections, len(server.requests)) == (1, 2)


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


@pytest.mark.usefixtures("fresh_certificates")
async def test_ca_of_the_operating_system(
    test_ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A company's CA in the system's directory is trusted next to certifi's."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    test_ca.cert_pem.write_to_path(str(tmp_path / "company.pem"))
    rehash = await asyncio.create_subprocess_exec("openssl", "rehash", tmp_path)
    assert await rehash.wait() == 0
    paths = ssl.get_default_verify_paths()._replace(openssl_capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    async with ScriptedServer(succeed, tls=server_context(test_ca)) as server:
        await login(server.site, USERNAME, PASSWORD)


@pytest.mark.usefixtures("fresh_certificates")
async def test_ca_certificates_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread, for the first login over https."""
    threads: list[threading.Thread] = []
    create = httpx.create_ssl_context

    def create_context(**options: Any) -> ssl.SSLContext:
        threads.append(threading.current_thread())
        return create(**options)

    monkeypatch.setattr(httpx, "create_ssl_context", create_context)
    await login_error(APIConnectionError, "http://127.0.0.1:1", retry=ONCE)
    assert threads == []
    for _ in range(3):
        await login_error(APIConnectionError, "https://127.0.0.1:1", retry=ONCE)
    assert len(threads) == 1
    assert threads != [threading.main_thread()]


# ---- Proxies


@pytest.mark.parametrize(
    ("variable", "scheme"),
    [("HTTPS_PROXY", "http://"), ("https_proxy", ""), ("ALL_PROXY", "http://")],
)
async def test_https_proxy(
    variable: str, scheme: str, test_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = server_context(test_ca, "chat.example.com")
    async with (
        ScriptedServer(succeed, tls=tls) as server,
        ScriptedServer(tunnel_to(server.port)) as proxy,
    ):
        monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{proxy.port}")
        await login(SITE, USERNAME, PASSWORD, ssl_context=client_context(test_ca))
    assert [request.line for request in proxy.requests] == ["CONNECT chat.example.com:443 HTTP/1.1"]
    assert len(server.requests) == 1


@pytest.mark.usefixtures("fresh_certificates")
async def test_proxy_over_https(
    test_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The proxy's certificate is checked against the default CAs, not those of the site."""
    test_ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    other_ca = trustme.CA()
    tls, proxy_tls = server_context(other_ca, "chat.example.com"), server_context(test_ca)
    async with (
        ScriptedServer(succeed, tls=tls) as server,
        ScriptedServer(tunnel_to(server.port), tls=proxy_tls) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.site)
        await login(SITE, USERNAME, PASSWORD, ssl_context=client_context(other_ca))
    assert len(server.requests) == 1


async def test_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer(succeed) as proxy, ScriptedServer(succeed) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.site)
        await login("http://chat.example.com", USERNAME, PASSWORD, allow_http=True)
        await login(server.site, USERNAME, PASSWORD)  # a loopback address uses no proxy
    [request] = proxy.requests
    assert request.line == "POST http://chat.example.com/api/v1/fetch_api_key HTTP/1.1"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("site", "no_proxy", "proxied"),
    [
        (SITE, "*", False),
        (SITE, "x.org, example.com", False),
        (SITE, ".example.com", False),
        (SITE, "chat.example.com:443", True),
        (f"{SITE}:8443", "chat.example.com:8443", False),
        (SITE, SITE, False),
        (SITE, "all://chat.example.com", False),
        (SITE, "http://chat.example.com", True),
        (SITE, "ample.com", True),
        (SITE, "", True),
        ("https://[::1]:9991", "[::1]", False),
        ("https://[2001:db8::7]", "[2001:DB8:0::7]", False),
        ("https://[2001:db9::7]", "2001:db8::/32", True),
        ("https://10.1.2.3", "x.org, 10.9.9.9/8 , fe80::/10", False),
        ("https://10.1.2.3", "10.1.2.4, fe80::/10, x/8", True),
    ],
)
def test_no_proxy(site: str, no_proxy: str, proxied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (_http.proxy_from_environment(site)[1] is not None) == proxied


@pytest.mark.parametrize("scheme", ["http://", "", "http:", "http://hunter2@"])
async def test_credentials_of_proxy_are_hidden(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}user:hunter2@127.0.0.1:1")
    error = await login_error(APIConnectionError, SITE, retry=ONCE)
    assert str(error) == (
        "Could not connect to the proxy 127.0.0.1 (connection refused). "
        "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."
    )
    SecretScanner("hunter2").check_error(error)


INVALID_PROXIES = """
    ftp://127.0.0.1 http://x:hunter2 socks4://x:://hunter2@127.0.0.1 socks5://127.0.0.1
    user:hunter2//127.0.0.1 hunter2@ http://user:12/hunter2@127.0.0.1"""


@pytest.mark.parametrize("proxy", INVALID_PROXIES.split())
async def test_invalid_proxy(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    error = await login_error(ConfigurationError, SITE, retry=ONCE)
    assert str(error).startswith("Invalid proxy setting. Check HTTPS_PROXY, HTTP_PROXY and ALL_")
    SecretScanner("hunter2").check_error(error)
