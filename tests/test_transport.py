"""The rules of transport, at the wire: TLS, proxies, bodies, what counts as sent."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from wire import SUCCESS, Connection, WireServer, answer, drop, response, succeed

from zulip_auth import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationFailedError,
    InvalidInputError,
    InvalidResponseError,
    RetryPolicy,
    TLSError,
    _transport,
    login,
)
from zulip_auth._send import MAX_BODY
from zulip_auth._transport import open_transport
from zulip_auth.testing import FakeZulip

USERNAME, PASSWORD = "iago@zulip.com", "secret"
ONCE = RetryPolicy(attempts=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def serving(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def failing(kind: type[Any], site: str, **options: Any) -> Any:
    with pytest.raises(kind) as caught:
        await login(site, USERNAME, PASSWORD, **{"retry": ONCE, **options})
    assert type(caught.value) is kind
    return caught.value


# ---- TLS


async def test_a_login_over_tls(authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    async with WireServer(succeed, tls=serving(authority)) as server:
        credentials = await login(server.site, USERNAME, PASSWORD, ssl_context=trusting)
    assert credentials.site == server.site
    assert credentials.site.startswith("https://")


async def test_an_untrusted_certificate_is_a_tls_error_and_not_retried(
    authority: trustme.CA,
) -> None:
    async with WireServer(succeed, tls=serving(authority)) as server:
        error = await failing(TLSError, server.site, retry=RetryPolicy())
        assert server.requests == []
    assert error.sent is False
    assert "unable to get local issuer certificate" in str(error)


async def test_a_certificate_of_another_host_is_a_tls_error(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    async with WireServer(succeed, tls=serving(authority, "chat.example.com")) as server:
        error = await failing(TLSError, server.site, ssl_context=trusting)
        assert server.requests == []
    assert "127.0.0.1" in str(error)


async def test_https_to_a_port_that_speaks_http_is_a_tls_error(trusting: ssl.SSLContext) -> None:
    async def talk(connection: Connection) -> None:
        await connection.write(response(400, "Speak HTTP."))

    async with WireServer(talk) as server:
        site = f"https://127.0.0.1:{server.port}"
        error = await failing(TLSError, site, ssl_context=trusting)
    assert error.sent is False


async def test_http_to_a_port_that_speaks_tls_is_a_lost_connection(authority: trustme.CA) -> None:
    async with WireServer(succeed, tls=serving(authority)) as server:
        error = await failing(APIConnectionError, f"http://127.0.0.1:{server.port}")
    assert error.sent is True


def test_the_certificates_are_loaded_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    _transport._shared_context.cache_clear()
    loaded: list[ssl.SSLContext] = []
    load = httpx.create_ssl_context

    def counted() -> ssl.SSLContext:
        loaded.append(load())
        return loaded[-1]

    monkeypatch.setattr(httpx, "create_ssl_context", counted)
    for _ in range(3):
        open_transport("https://chat.example.com", None)
    open_transport("http://localhost", None)
    assert len(loaded) == 1


async def test_ssl_cert_file_is_honoured(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    _transport._shared_context.cache_clear()
    try:
        async with WireServer(succeed, tls=serving(authority)) as server:
            await login(server.site, USERNAME, PASSWORD)
    finally:
        _transport._shared_context.cache_clear()


async def test_certificates_that_cannot_be_loaded_are_a_tls_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _transport._shared_context.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    error = await failing(TLSError, "https://127.0.0.1:1")
    assert "SSL_CERT_FILE" in str(error)
    assert (error.sent, error.__context__) == (False, None)
    monkeypatch.delenv("SSL_CERT_FILE")
    # Not remembered: what was mended works without a new process.
    await failing(APIConnectionError, "https://127.0.0.1:1")


# ---- Proxies


async def tunnel(connection: Connection) -> None:
    """Be a proxy that opens every tunnel to the same server: itself."""
    reader, writer = connection._reader, connection._writer
    head = await reader.readuntil(b"\r\n\r\n")
    target = head.split()[1].decode()
    connection._server.tunnels.append(target)
    onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", tunnel_to[0])
    await connection.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)

    there = asyncio.create_task(pump(reader, onward_writer))
    await pump(onward_reader, writer)
    there.cancel()
    onward_writer.transport.abort()


tunnel_to: list[int] = []


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_a_proxy_is_used_for_https(
    variable: str,
    scheme: str,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = serving(authority, "chat.example.com")
    async with WireServer(succeed, tls=tls) as server, WireServer(tunnel) as proxy:
        tunnel_to[:] = [server.port]
        monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{proxy.port}")
        await login("https://chat.example.com", USERNAME, PASSWORD, ssl_context=trusting)
        assert proxy.tunnels == ["chat.example.com:443"]
        assert len(server.requests) == 1


async def test_no_proxy_is_honoured(
    authority: trustme.CA, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with WireServer(succeed, tls=serving(authority)) as server:
        await login(server.site, USERNAME, PASSWORD, ssl_context=trusting)


async def test_no_proxy_is_used_for_loopback_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with WireServer(succeed) as server:
        await login(server.site, USERNAME, PASSWORD)


async def test_a_proxy_that_refuses_has_not_sent_anything(
    trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(connection: Connection) -> None:
        await connection.read()
        await connection.write(response(403, "No"))

    async with WireServer(refuse) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.site)
        site = "https://chat.example.com"
        error = await failing(APIConnectionError, site, ssl_context=trusting)
    assert error.sent is False


@pytest.mark.parametrize("proxy", ["ftp://127.0.0.1", "http://x:hunter2", "socks5://127.0.0.1"])
async def test_a_proxy_that_cannot_be_used_is_bad_input(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    error = await failing(InvalidInputError, "https://chat.example.com")
    assert "HTTPS_PROXY" in str(error)
    assert "hunter2" not in str(error)
    assert error.__context__ is None


# ---- Not reached


async def test_a_name_that_does_not_resolve() -> None:
    error = await failing(APIConnectionError, "https://nosuch.invalid")
    assert "its name does not resolve" in str(error)
    assert error.sent is False


async def test_a_server_that_does_not_accept_is_a_timeout_and_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        error = await failing(APITimeoutError, f"http://127.0.0.1:{address[1]}", timeout=0.3)
        for each in waiting:
            each.close()
    assert error.sent is False
    assert "could not be reached in time" in str(error)


# ---- Bodies


async def test_a_body_of_just_64_kib_is_read() -> None:
    body = b'{"result":"error","msg":"' + b"x" * (MAX_BODY - 27) + b'"}'
    assert len(body) == MAX_BODY
    async with WireServer(answer(401, body)) as server:
        error = await failing(AuthenticationFailedError, server.site)
    assert len(error.message) == MAX_BODY - 27


@pytest.mark.parametrize("status", [200, 401])
async def test_a_longer_body_is_no_answer(status: int) -> None:
    body = b'{"result":"error","msg":"' + b"x" * (MAX_BODY - 26) + b'"}'
    assert len(body) == MAX_BODY + 1
    async with WireServer(answer(status, body)) as server:
        error = await failing(InvalidResponseError, server.site)
    assert error.status_code == status


async def test_a_body_without_end_is_left_at_64_kib() -> None:
    written = 0

    async def pour(connection: Connection) -> None:
        nonlocal written
        await connection.read()
        await connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 209715200\r\n\r\n")
        for _ in range(200):
            await connection.write(b" " * 2**20)
            written += 2**20

    async with WireServer(pour) as server:
        await failing(InvalidResponseError, server.site)
    assert written < 20 * 2**20  # what the buffers in between hold


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "identity, gzip"])
async def test_an_encoded_body_is_no_answer(encoding: str) -> None:
    body = gzip.compress(b'{"result":"error","msg":"No"}')
    async with WireServer(answer(401, body, {"Content-Encoding": encoding})) as server:
        await failing(InvalidResponseError, server.site)


async def test_a_body_said_to_be_plain_is_read() -> None:
    async with WireServer(answer(200, SUCCESS, {"Content-Encoding": "identity"})) as server:
        await login(server.site, USERNAME, PASSWORD)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with WireServer(succeed) as elsewhere:
        location = f"{elsewhere.site}/api/v1/fetch_api_key"
        async with WireServer(answer(status, b"", {"Location": location})) as server:
            error = await failing(InvalidResponseError, server.site)
            assert len(server.requests) == 1
        assert elsewhere.connections == 0
    assert elsewhere.site.removeprefix("http://") in str(error)


async def test_a_malformed_redirect_does_not_upset_anything() -> None:
    async with WireServer(answer(302, b"", {"Location": "http://[::1"})) as server:
        await failing(InvalidResponseError, server.site)


# ---- Transports of the callers


class Canned(httpx.AsyncBaseTransport):
    """Does as it is told, with or without looking at the body."""

    def __init__(self, *, read: bool, outcome: Exception | httpx.Response) -> None:
        self._read = read
        self._outcome = outcome

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._read:
            await request.aread()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def ring() -> Exception:
    first, second = RuntimeError("secret"), RuntimeError("secret")
    first.__cause__, second.__cause__ = second, first
    return first


def long_chain() -> Exception:
    error = RuntimeError("secret")
    for _ in range(3000):
        error, earlier = RuntimeError("secret"), error
        error.__cause__ = earlier
    return error


TROUBLES = [
    httpx.ConnectError("x"),
    httpx.PoolTimeout("x"),
    httpx.ReadError("x"),
    OSError(5, "x"),
    TimeoutError("x"),
    RuntimeError("secret"),
    KeyError("secret"),
    ExceptionGroup("secret", [ConnectionResetError(104, "x"), ValueError("secret")]),
    ssl.SSLError("secret"),
    OSError("secret", "secret"),
    OSError(10**30, "secret"),
    ring(),
    long_chain(),
]


@pytest.mark.parametrize("trouble", TROUBLES, ids=repr)
@pytest.mark.parametrize("read", [False, True])
async def test_whatever_a_transport_raises_is_a_connection_error(
    trouble: Exception, read: bool
) -> None:
    with pytest.raises(APIConnectionError) as caught:
        await login(
            "https://chat.example.com",
            USERNAME,
            PASSWORD,
            retry=ONCE,
            transport=Canned(read=read, outcome=trouble),
        )
    assert caught.value.__context__ is None
    # The password has left when, and only when, the body was looked at.
    assert caught.value.sent is read
    assert "secret" not in str(caught.value)
    timeouts = (httpx.TimeoutException, TimeoutError)
    assert isinstance(caught.value, APITimeoutError) == isinstance(trouble, timeouts)
    tls = isinstance(trouble, ssl.SSLError) and not read
    assert isinstance(caught.value, TLSError) == tls


async def test_a_transport_that_tries_again_by_itself_sends_no_more_than_once_a_try() -> None:
    class Stubborn(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            for _ in range(5):
                with suppress(httpx.TransportError):
                    return await super().handle_async_request(request)
            raise AssertionError

    async with WireServer(drop) as server, Stubborn() as transport:
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


async def test_an_answer_counts_as_sent_even_if_the_body_was_not_looked_at() -> None:
    transport = Canned(read=False, outcome=httpx.Response(503))
    with pytest.raises(Exception, match="failed with status 503"):
        await login(
            "https://chat.example.com",
            USERNAME,
            PASSWORD,
            retry=RetryPolicy(max_sends=1),
            transport=transport,
        )


async def test_a_transport_that_runs_the_server_in_process_works() -> None:
    fake = FakeZulip(users={USERNAME: PASSWORD})
    fake.add_realm("chat.example.com").add_user("hamlet@zulip.com", PASSWORD)
    transport = httpx.ASGITransport(fake.app)
    credentials = await login(
        "https://chat.example.com", "hamlet@zulip.com", PASSWORD, transport=transport
    )
    assert credentials.email == "hamlet@zulip.com"


async def test_a_stream_of_the_synchronous_kind_is_a_connection_error() -> None:
    class Synchronous(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield b"{}"

    transport = Canned(read=True, outcome=httpx.Response(200, stream=Synchronous()))
    with pytest.raises(APIConnectionError):
        await login("https://chat.example.com", USERNAME, PASSWORD, retry=ONCE, transport=transport)
