"""One request over the wire: size limit, encodings, `sent`, TLS, CA certificates, proxies."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import pickle
import socket
import ssl
import threading
import traceback
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import trustme
from httpx_aiohttp import AiohttpTransport

from helpers import faults
from helpers.constants import AUTH_FAILED, PASSWORD, SUCCESS, USERNAME
from helpers.errors import login_error
from helpers.generated_client import generated_client
from helpers.raw_server import (
    KEEPALIVE_SUCCESS,
    Connection,
    ScriptedServer,
    close_without_response,
    respond,
    serve_keepalive,
    succeed,
)
from helpers.secret_scanner import SecretScanner
from helpers.tls import client_context, server_context
from zulip_auth import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthClient,
    AuthenticationFailedError,
    BadRequestError,
    ConfigurationError,
    InvalidResponseError,
    RetryPolicy,
    TLSError,
    _http,
    login,
)
from zulip_auth._errors import RequestContext
from zulip_auth._http import MAX_RESPONSE_SIZE, send
from zulip_auth._network_errors import Route, error_from_exception, exception_chain
from zulip_auth.testing import FakeZulip
from zulip_auth_client import Client
from zulip_auth_client.types import Response

ONCE = RetryPolicy(attempts=1)
SETTINGS = {
    "result": "success",
    "msg": "",
    "zulip_version": "10.0",
    "realm_name": "x",
    "realm_url": "https://x.org",
}


# ---- Bodies


async def test_max_response_size() -> None:
    body = b'{"result":"error","msg":"' + b"x" * (MAX_RESPONSE_SIZE - 27) + b'"}'
    assert len(body) == MAX_RESPONSE_SIZE
    async with ScriptedServer(respond(401, body)) as server:
        error = await login_error(AuthenticationFailedError, server.site, retry=ONCE)
    assert error.message == ""  # longer than any message of Zulip


@pytest.mark.parametrize("status", [200, 401])
async def test_body_too_large(status: int) -> None:
    body = b'{"result":"error","msg":"' + b"x" * (MAX_RESPONSE_SIZE - 26) + b'"}'
    assert len(body) == MAX_RESPONSE_SIZE + 1
    async with ScriptedServer(respond(status, body)) as server:
        error = await login_error(InvalidResponseError, server.site, retry=ONCE)
    assert error.status_code == status


def raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body, wbits=-zlib.MAX_WBITS)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
    ],
)
async def test_content_encoding(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    headers = {"Content-Encoding": encoding}
    body = compress(json.dumps(SUCCESS).encode().ljust(MAX_RESPONSE_SIZE))
    async with ScriptedServer(respond(200, body, headers)) as server:
        await login(server.site, USERNAME, PASSWORD)


@pytest.mark.parametrize("encoding", ["br", "zstd", "identity, gzip", "gzip, gzip"])
async def test_unknown_content_encoding(encoding: str) -> None:
    body = gzip.compress(json.dumps(AUTH_FAILED).encode())
    async with ScriptedServer(respond(401, body, {"Content-Encoding": encoding})) as server:
        await login_error(InvalidResponseError, server.site, retry=ONCE)


SMALL = gzip.compress(b'{"result":"error","msg":"No"}')


@pytest.mark.parametrize(
    "body",
    [
        b"not gzip",
        SMALL[:-4],
        gzip.compress(b" " * MAX_RESPONSE_SIZE + b"{}"),
        gzip.compress(b" " * 2**26),
    ],
    ids=["malformed", "truncated", "too large", "bomb"],
)
async def test_malformed_gzip(body: bytes) -> None:
    async with ScriptedServer(respond(401, body, {"Content-Encoding": "gzip"})) as server:
        await login_error(InvalidResponseError, server.site, retry=ONCE)


async def test_content_encoding_identity() -> None:
    async with ScriptedServer(respond(200, SUCCESS, {"Content-Encoding": "identity"})) as server:
        await login(server.site, USERNAME, PASSWORD)


async def test_malformed_redirect() -> None:
    async with ScriptedServer(respond(302, b"", {"Location": "http://[::1"})) as server:
        await login_error(InvalidResponseError, server.site, retry=ONCE)


# ---- Requests


@pytest.mark.parametrize("transport", [httpx.AsyncHTTPTransport, AiohttpTransport])
async def test_request_without_form(transport: Any) -> None:
    async def get_me(*, client: Client) -> Response[str]:
        http = client.get_async_httpx_client()
        response = await http.request(method="get", url="/users/me")
        return Response(HTTPStatus.OK, response.content, {}, parsed=response.json()["email"])

    async with ScriptedServer(succeed) as server, transport() as http_transport:
        deadline = asyncio.get_running_loop().time() + 5
        options: dict[str, Any] = {"timeout": 5, "deadline": deadline, "user_agent": None}
        options["ssl_context"] = None
        context = RequestContext(server.site, "none")
        parsed = await send(get_me, context, transport=http_transport, **options)
        [request] = server.requests
    assert parsed == SUCCESS["email"]
    assert (request.line, request.body) == ("GET /api/v1/users/me HTTP/1.1", b"")
    assert "transfer-encoding" not in request.headers


# ---- Headers of the caller

HEADERS = {"CF-Access-Client-Id": "id.access", "Cookie": "session=s3cr3t-of-the-gateway; a=b"}


@pytest.mark.parametrize("transport", [None, AiohttpTransport])
async def test_headers_of_each_request(transport: Any) -> None:
    responses = [respond(200, SUCCESS), respond(200, SETTINGS), respond(401, AUTH_FAILED)]
    async with ScriptedServer(*responses) as server, AsyncExitStack() as stack:
        own = await stack.enter_async_context(transport()) if transport else None
        client = AuthClient(server.site, headers=HEADERS, transport=own)
        credentials = await client.login(USERNAME, PASSWORD)
        await client.server_settings()
        for call in (client.verify(credentials), client.jwt_login("a.b.c")):
            with pytest.raises(APIStatusError):
                await call
        sent = [
            [request.headers.get(name.lower()) for name in HEADERS] for request in server.requests
        ]
    assert sent == [list(HEADERS.values())] * 4
    SecretScanner(*HEADERS.values()).check(repr(client), "the client")


@pytest.mark.parametrize("secret", ["id.access", "s3cr3t-of-the-gateway"])
async def test_echoed_headers_are_redacted(secret: str) -> None:
    body = {"result": "error", "msg": f"Unknown {secret}", "code": "X"}
    location = {"Location": f"https://{secret}.example.com/"}
    async with ScriptedServer(respond(400, body), respond(302, b"", location)) as server:
        options: dict[str, Any] = {"headers": HEADERS}
        error = await login_error(BadRequestError, server.site, **options)
        assert error.message == ""
        redirect = await login_error(InvalidResponseError, server.site, **options)
    for exc in (error, redirect):
        SecretScanner(*HEADERS.values(), secret).check_error(exc)


async def send_to(server: ScriptedServer, endpoint: Any, **options: Any) -> Any:
    """Call a function of a generated client as AuthClient does."""
    deadline = asyncio.get_running_loop().time() + 5
    defaults = {"transport": None, "ssl_context": None, "user_agent": None}
    context = RequestContext(server.site, "none")
    return await send(endpoint, context, timeout=5, deadline=deadline, **(defaults | options))


@pytest.mark.slow
async def test_operations_of_any_description(tmp_path: Path) -> None:
    """A query string, JSON, path parameters, arrays and files need no change here."""
    item = {"name": "\u00e9", "labels": ["a"]}
    with generated_client(tmp_path) as package:
        items, models, types = package.api.items, package.models, package.types
        model = models.Item.from_dict(item)
        async with ScriptedServer(respond(200, json.dumps(item))) as server:
            create = partial(items.create_item.asyncio_detailed, body=model)
            assert await send_to(server, create) == model
            remove = partial(items.remove_label.asyncio_detailed, 7, "a/b?c")
            await send_to(server, remove)
            body = models.UploadFileBody(file=types.File(io.BytesIO(b"content"), "a.txt"))
            await send_to(server, partial(items.upload_file.asyncio_detailed, 7, body=body))
            requests = server.requests
        async with ScriptedServer(respond(200, json.dumps([item]))) as server:
            query = {"limit": 3, "archived": False, "label": ["a", "&"], "x_trace": "t"}
            listed = await send_to(server, partial(items.list_items.asyncio_detailed, **query))
            assert listed == [model]
            requests += server.requests
    create_item, remove_label, upload_file, list_items = requests
    assert json.loads(create_item.body) == item
    assert remove_label.line.split()[1] == "/api/v1/items/7/labels/a%2Fb%3Fc"
    assert b'filename="a.txt"' in upload_file.body
    assert list_items.line.split()[1] == "/api/v1/items?limit=3&archived=false&label=a&label=%26"
    assert list_items.headers["x-trace"] == "t"


async def test_body_of_unknown_length() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def upload(*, client: Client) -> Response[str]:
        http = client.get_async_httpx_client()
        response = await http.request(method="post", url="/upload", content=chunks())
        return Response(HTTPStatus.OK, response.content, {}, parsed="done")

    async with ScriptedServer(succeed) as server:
        assert await send_to(server, upload) == "done"
        [request] = server.requests
    assert request.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in request.headers


# ---- Custom transports


class StubTransport(httpx.AsyncBaseTransport):
    """Return or raise *outcome*, after reading the request body if *read*."""

    def __init__(self, *, read: bool, outcome: Exception | httpx.Response) -> None:
        self._read = read
        self._outcome = outcome

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._read:
            await request.aread()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def cyclic_cause() -> Exception:
    first, second = RuntimeError("secret"), RuntimeError("secret")
    first.__cause__, second.__cause__ = second, first
    return first


def long_chain() -> Exception:
    error = RuntimeError("secret")
    for _ in range(3000):
        error, cause = RuntimeError("secret"), error
        error.__cause__ = cause
    return error


def chain(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


TRANSPORT_ERRORS = [
    httpx.ConnectError("x"),
    httpx.PoolTimeout("x"),
    httpx.ReadError("x"),
    OSError(5, "x"),
    TimeoutError("x"),
    ssl.SSLError("secret"),
    OSError("secret", "secret"),
    OSError(10**30, "secret"),
    pytest.param(chain(httpx.ReadError("x"), cyclic_cause()), id="cyclic cause"),
    pytest.param(chain(httpx.ReadError("x"), long_chain()), id="long chain"),
]


@pytest.mark.parametrize("exc", TRANSPORT_ERRORS, ids=repr)
@pytest.mark.parametrize("read", [False, True])
async def test_transport_errors(exc: Exception, read: bool) -> None:
    transport = StubTransport(read=read, outcome=exc)
    with pytest.raises(APIConnectionError) as caught:
        await login("https://chat.example.com", USERNAME, PASSWORD, retry=ONCE, transport=transport)
    assert caught.value.__context__ is None
    # The password was sent if and only if the body was read.
    assert caught.value.sent is read
    assert "secret" not in str(caught.value)
    timeouts = (httpx.TimeoutException, TimeoutError)
    assert isinstance(caught.value, APITimeoutError) == isinstance(exc, timeouts)
    tls = isinstance(exc, ssl.SSLError) and not read
    assert isinstance(caught.value, TLSError) == tls


BUGS = [RuntimeError("a bug"), TypeError("a bug"), KeyError("a bug"), AssertionError("a bug")]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
@pytest.mark.parametrize("read", [False, True])
async def test_bug_keeps_its_type_and_traceback(bug: Exception, read: bool) -> None:
    """A bug is raised as it is, once, with frames that have lost their variables."""
    calls: list[str] = []

    class Buggy(StubTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            calls.append(request.method)
            return await super().handle_async_request(request)

    transport = Buggy(read=read, outcome=bug)
    with pytest.raises(type(bug)) as caught:
        await login("https://chat.example.com", USERNAME, PASSWORD, transport=transport)
    assert caught.value is bug
    assert calls == ["POST"]
    frames = list(traceback.walk_tb(caught.value.__traceback__))
    assert "handle_async_request" in [frame.f_code.co_name for frame, _ in frames]
    for frame, _ in frames[1:]:
        assert PASSWORD not in repr(frame.f_locals)


async def test_retrying_transport_sends_once_per_attempt() -> None:
    class RetryingTransport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            for _ in range(5):
                with suppress(httpx.TransportError):
                    return await super().handle_async_request(request)
            raise AssertionError

    async with ScriptedServer(close_without_response) as server, RetryingTransport() as transport:
        with pytest.raises(APIConnectionError) as caught:
            await login(
                server.site,
                USERNAME,
                PASSWORD,
                transport=transport,
                retry=RetryPolicy(wait_max=0),
            )
    assert caught.value.sent is True
    assert len(server.requests) == 2


async def test_response_counts_as_sent() -> None:
    transport = StubTransport(read=False, outcome=httpx.Response(503))
    with pytest.raises(Exception, match="HTTP 503"):
        await login(
            "https://chat.example.com",
            USERNAME,
            PASSWORD,
            retry=RetryPolicy(max_sends=1),
            transport=transport,
        )


async def test_asgi_transport() -> None:
    fake = FakeZulip(users={USERNAME: PASSWORD})
    fake.add_realm("chat.example.com").add_user("hamlet@zulip.com", PASSWORD)
    transport = httpx.ASGITransport(fake.app)
    credentials = await login(
        "https://chat.example.com", "hamlet@zulip.com", PASSWORD, transport=transport
    )
    assert credentials.email == "hamlet@zulip.com"


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


EMPTY = ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "no_proxy"]


@pytest.mark.parametrize("empty", [[], EMPTY], ids=["unset", "empty"])
async def test_ca_of_the_operating_system(
    empty: list[str], test_ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A company's CA in the system's directory is trusted next to certifi's."""
    for name in empty:
        monkeypatch.setenv(name, "")
    test_ca.cert_pem.write_to_path(str(tmp_path / "company.pem"))
    rehash = await asyncio.create_subprocess_exec("openssl", "rehash", tmp_path)
    assert await rehash.wait() == 0
    paths = ssl.get_default_verify_paths()._replace(openssl_capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    _http._default_ssl_context.cache_clear()
    try:
        async with ScriptedServer(succeed, tls=server_context(test_ca)) as server:
            await login(server.site, USERNAME, PASSWORD)
    finally:
        _http._default_ssl_context.cache_clear()


async def test_tls(test_ca: trustme.CA) -> None:
    async with ScriptedServer(succeed, tls=server_context(test_ca)) as server:
        credentials = await login(
            server.site, USERNAME, PASSWORD, ssl_context=client_context(test_ca)
        )
    assert credentials.site == server.site
    assert credentials.site.startswith("https://")


async def test_ca_certificates_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread, for the first login over https."""
    _http._default_ssl_context.cache_clear()
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


async def test_ssl_cert_file(
    test_ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    test_ca.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    _http._default_ssl_context.cache_clear()
    try:
        async with ScriptedServer(succeed, tls=server_context(test_ca)) as server:
            await login(server.site, USERNAME, PASSWORD)
    finally:
        _http._default_ssl_context.cache_clear()


async def test_unreadable_ca_certificates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _http._default_ssl_context.cache_clear()
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


async def test_proxy_that_inspects_tls(
    test_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = server_context(test_ca, "chat.example.com")
    async with ScriptedServer(succeed, tls=tls) as server, ScriptedServer(tunnel) as proxy:
        tunnel_to[:] = [server.port]
        monkeypatch.setenv("HTTPS_PROXY", proxy.site)
        error = await login_error(TLSError, "https://chat.example.com")
    assert str(error) == (
        "TLS connection to https://chat.example.com failed: unable to get local issuer "
        "certificate. If you trust its issuer, which may be the proxy 127.0.0.1, add that CA "
        "with SSL_CERT_FILE, cert_bundle, --cert-bundle or an ssl_context."
    )


async def test_proxy_with_untrusted_certificate(
    test_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The context of the caller is for the site, so it is not advised for the proxy."""
    async with ScriptedServer(tunnel, tls=server_context(test_ca)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.site)
        options = {"ssl_context": client_context(test_ca)}
        error = await login_error(TLSError, "https://chat.example.com", **options)
    assert str(error) == (
        "TLS connection to the proxy 127.0.0.1 failed: unable to get local issuer certificate. "
        "If you trust its issuer, add that CA to SSL_CERT_FILE."
    )


async def test_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer(succeed) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.site)
        await login("http://chat.example.com", USERNAME, PASSWORD, allow_http=True)
        [request] = proxy.requests
    assert request.line == "POST http://chat.example.com/api/v1/fetch_api_key HTTP/1.1"


async def test_proxy_over_https(
    test_ca: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The proxy's certificate is checked against the default CAs, not those of the site."""
    test_ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    _http._default_ssl_context.cache_clear()
    other_ca = trustme.CA()
    tls, proxy_tls = server_context(other_ca, "chat.example.com"), server_context(test_ca)
    try:
        async with (
            ScriptedServer(succeed, tls=tls) as server,
            ScriptedServer(tunnel, tls=proxy_tls) as proxy,
        ):
            tunnel_to[:] = [server.port]
            monkeypatch.setenv("HTTPS_PROXY", proxy.site)
            site, context = "https://chat.example.com", client_context(other_ca)
            await login(site, USERNAME, PASSWORD, ssl_context=context)
            assert len(server.requests) == 1
    finally:
        _http._default_ssl_context.cache_clear()


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
    proxy = _http.proxy_from_environment(site)
    assert (proxy and proxy.host) == ("proxy.example.com" if proxied else None)


@pytest.mark.parametrize("over_aiohttp", [False, True])
async def test_proxy_that_requires_credentials_gets_one_connect(
    over_aiohttp: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedServer(faults.require_proxy_auth) as proxy, AsyncExitStack() as stack:
        options: dict[str, Any] = {}
        if over_aiohttp:
            transport = AiohttpTransport(proxy=httpx.Proxy(proxy.site))
            options["transport"] = await stack.enter_async_context(transport)
        else:
            monkeypatch.setenv("HTTPS_PROXY", proxy.site)
        error = await login_error(APIConnectionError, "https://chat.example.com", **options)
        assert proxy.connections == 1
    assert (error.transient, error.sent) == (False, False)
    assert pickle.loads(pickle.dumps(error)).transient is False
    assert APIConnectionError.transient is True


async def test_unresolvable_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2@proxy.invalid:3128")
    error = await login_error(APIConnectionError, "https://127.0.0.1:1", retry=ONCE)
    assert str(error) == (
        "Could not connect to the proxy proxy.invalid (host name could not be resolved). "
        "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."
    )


@pytest.mark.parametrize("scheme", ["http://", "", "http:", "http://hunter2@"])
async def test_credentials_of_proxy_are_hidden(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}user:hunter2@127.0.0.1:1")
    error = await login_error(APIConnectionError, "https://chat.example.com", retry=ONCE)
    assert str(error).startswith("Could not connect to the proxy 127.0.0.1 (connection refused).")
    SecretScanner("hunter2").check_error(error)


async def test_loopback_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with ScriptedServer(succeed) as server:
        await login(server.site, USERNAME, PASSWORD)


@pytest.mark.parametrize(
    "proxy",
    [
        "ftp://127.0.0.1",
        "socks://127.0.0.1:1080",
        "http://x:hunter2",
        "socks4://x:://hunter2@127.0.0.1",
        "socks5://127.0.0.1",
        "user:hunter2//127.0.0.1",
        "hunter2@",
        "http://user:12/hunter2@127.0.0.1",
    ],
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
async def test_invalid_proxy(proxy: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, proxy)
    error = await login_error(ConfigurationError, "https://chat.example.com", retry=ONCE)
    assert str(error) == (
        "Invalid proxy setting. Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY: they take http://, "
        "https:// and, with the socksio package, socks5:// URLs."
    )
    SecretScanner("hunter2").check_error(error)


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


# ---- Failures

SITE = "https://chat.example.com"


def certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message, error.verify_code = "certificate revoked", 23
    return error


def tls_error(reason: str = "SSLV3_ALERT_HANDSHAKE_FAILURE") -> ssl.SSLError:
    error = ssl.SSLError(1, "secret")
    error.reason = reason
    return error


CONNECTION_REFUSED = ConnectionRefusedError(111, "anything that a server sent")
UNREACHED = (
    "Could not connect to https://chat.example.com ({}). Check the URL, the server and any proxy."
)
LOST = (
    "Lost the connection to https://chat.example.com before the response was complete ({}). "
    "Try again later."
)
TLS = (
    "TLS connection to https://chat.example.com failed: {}. "
    "Check the URL, the port and the server's TLS settings."
)
CERTIFICATE = (
    "TLS connection to https://chat.example.com failed: {}. Check the server's certificate."
)
TOO_LATE = "Timed out {} https://chat.example.com. Try again later or increase the timeout."

# Transport exception, whether the request was sent, expected class and message.
CASES: dict[str, tuple[Exception, bool, type[Any], str]] = {
    "connection refused": (
        chain(httpx.ConnectError("x"), chain(OSError("all failed"), CONNECTION_REFUSED)),
        False,
        APIConnectionError,
        UNREACHED.format("connection refused"),
    ),
    "no such name": (
        chain(httpx.ConnectError("x"), socket.gaierror(-2, "x")),
        False,
        APIConnectionError,
        UNREACHED.format("host name could not be resolved"),
    ),
    "proxy": (
        chain(httpx.ProxyError("407 x"), CONNECTION_REFUSED),
        False,
        APIConnectionError,
        "Could not connect to https://chat.example.com: the proxy requires credentials (HTTP 407). "
        "Put them in the proxy of the transport.",
    ),
    "proxy without a status": (
        chain(httpx.ProxyError("secret"), CONNECTION_REFUSED),
        False,
        APIConnectionError,
        "Could not connect to https://chat.example.com through the proxy (connection refused). "
        "Check the URL, the server and any proxy.",
    ),
    "other": (
        httpx.UnsupportedProtocol("secret"),
        False,
        APIConnectionError,
        UNREACHED.format("UnsupportedProtocol"),
    ),
    "reset": (
        chain(httpx.ReadError("x"), ConnectionResetError(104, "x")),
        True,
        APIConnectionError,
        LOST.format("connection reset by peer"),
    ),
    "connect timeout": (
        httpx.ConnectTimeout("x"),
        False,
        APITimeoutError,
        TOO_LATE.format("connecting to"),
    ),
    "read timeout": (
        httpx.ReadTimeout("x"),
        True,
        APITimeoutError,
        TOO_LATE.format("waiting for a response from"),
    ),
    "deadline": (
        TimeoutError(),
        True,
        APITimeoutError,
        TOO_LATE.format("waiting for a response from"),
    ),
    "time over, in two message": (
        chain(httpx.ReadTimeout("x"), httpx.ConnectTimeout("x")),
        True,
        APITimeoutError,
        TOO_LATE.format("waiting for a response from"),
    ),
    "deadline, after other error": (
        chain(TimeoutError(), RuntimeError()),
        False,
        APITimeoutError,
        TOO_LATE.format("connecting to"),
    ),
    # As httpx-aiohttp wraps errors of aiohttp; test_faults.py has them from the wire.
    "aiohttp, connection refused": (
        chain(httpx.ConnectTimeout("x"), CONNECTION_REFUSED),
        False,
        APIConnectionError,
        UNREACHED.format("connection refused"),
    ),
    "aiohttp, lost": (
        chain(httpx.ConnectTimeout("x"), aiohttp.ServerDisconnectedError()),
        True,
        APIConnectionError,
        LOST.format("connection closed by peer"),
    ),
    "aiohttp, connect timeout": (
        chain(httpx.ConnectTimeout("x"), aiohttp.ConnectionTimeoutError()),
        False,
        APITimeoutError,
        TOO_LATE.format("connecting to"),
    ),
    "aiohttp, certificate": (
        chain(
            httpx.ConnectTimeout("x"), chain(ssl.SSLCertVerificationError(), certificate_error())
        ),
        False,
        TLSError,
        CERTIFICATE.format("certificate revoked"),
    ),
    "certificate": (
        chain(httpx.ConnectError("x"), certificate_error()),
        False,
        TLSError,
        CERTIFICATE.format("certificate revoked"),
    ),
    "handshake": (
        chain(httpx.ConnectError("x"), tls_error()),
        False,
        TLSError,
        TLS.format("SSLV3_ALERT_HANDSHAKE_FAILURE"),
    ),
    "server without this name": (
        chain(httpx.ConnectError("x"), tls_error("TLSV1_UNRECOGNIZED_NAME")),
        False,
        TLSError,
        "TLS connection to https://chat.example.com failed: no certificate for this host name. "
        "Check the host name in the URL.",
    ),
    "handshake without message": (
        chain(httpx.ConnectError("x"), ssl.SSLError()),
        False,
        TLSError,
        TLS.format("handshake failed"),
    ),
    "TLS error after the request was sent": (
        chain(httpx.ReadError("x"), tls_error()),
        True,
        APIConnectionError,
        LOST.format("SSLV3_ALERT_HANDSHAKE_FAILURE"),
    ),
    "end of the connection in the handshake": (
        chain(httpx.ConnectError(""), ConnectionResetError()),
        False,
        APIConnectionError,
        UNREACHED.format("connection reset by peer"),
    ),
}


def map_exception(exc: Exception, *, sent: bool) -> Any:
    failure = _http._classify(exc)
    assert failure is not None
    return error_from_exception(exc, failure, SITE, sent=sent, route=_http._ROUTE_OF_TRANSPORT)


@pytest.mark.parametrize("name", CASES)
def test_error_from_exception(name: str) -> None:
    exc, sent, exc_type, message = CASES[name]
    error = map_exception(exc, sent=sent)
    assert type(error) is exc_type
    assert isinstance(error, APIConnectionError)
    assert error.sent is sent
    assert str(error) == message
    assert (error.__cause__, error.__context__) == (None, None)


def test_timeout_through_proxy() -> None:
    route = Route("10.1.2.3")
    error = error_from_exception(
        httpx.ConnectTimeout("x"), "timeout", SITE, sent=False, route=route
    )
    assert str(error) == TOO_LATE.replace(". Try", " through the proxy 10.1.2.3. Try").format(
        "connecting to"
    )


def test_malformed_http() -> None:
    error = map_exception(httpx.RemoteProtocolError("illegal secret"), sent=True)
    assert isinstance(error, InvalidResponseError)
    assert error.status_code is None
    assert str(error) == (
        "Invalid HTTP response from https://chat.example.com. Check the URL and port."
    )


@pytest.mark.parametrize(
    ("message", "malformed"),
    [
        # Messages of httpcore 1.0 and h11 0.16; test_faults.py has them from the wire.
        ("Server disconnected without sending a response.", False),
        ("peer closed connection without sending complete message body (incomplete read)", False),
        ("peer unexpectedly closed connection", False),
        ("illegal status line: bytearray(b'Server disconnected')", True),
        ("Receive buffer too long", True),
        ("", True),
    ],
)
def test_protocol_error(message: str, malformed: bool) -> None:
    expected = "protocol" if malformed else "other"
    assert _http._classify(httpx.RemoteProtocolError(message)) == expected
    assert _http._classify(httpx.ReadError(message)) == "other"


def test_protocol_error_of_aiohttp() -> None:
    request_info: Any = None
    assert _http._classify(aiohttp.ClientResponseError(request_info, ())) == "protocol"
    assert _http._classify(aiohttp.ClientHttpProxyError(request_info, ())) == "other"
    assert _http._classify(aiohttp.ClientPayloadError()) == "other"


def testexception_chain() -> None:
    first, second, third = RuntimeError(), RuntimeError(), RuntimeError()
    first.__cause__, first.__context__ = second, third
    second.__context__ = first
    assert exception_chain(first) == [first, second]
    group = ExceptionGroup("x", [second, third])
    assert exception_chain(group) == [group, second, third, first]
    for _ in range(100):
        first = chain(RuntimeError(), first)  # type: ignore[assignment]
    assert len(exception_chain(first)) == 50
