"""One request over the wire: body limits, encodings, and `sent`."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import zlib
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from httpx_aiohttp import AiohttpTransport

from helpers.constants import AUTH_FAILED, PASSWORD, SUCCESS, USERNAME
from helpers.errors import login_error
from helpers.raw_server import ScriptedServer, close_without_response, respond, succeed
from zulip_auth import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationFailedError,
    InvalidResponseError,
    RetryPolicy,
    TLSError,
    login,
)
from zulip_auth._http.exchange import MAX_BODY_SIZE, send
from zulip_auth._responses.context import RequestContext
from zulip_auth.testing import FakeZulip
from zulip_auth_client import Client
from zulip_auth_client.types import Response

ONCE = RetryPolicy(attempts=1)


# ---- Bodies


async def test_max_body_size() -> None:
    body = b'{"result":"error","msg":"' + b"x" * (MAX_BODY_SIZE - 27) + b'"}'
    assert len(body) == MAX_BODY_SIZE
    async with ScriptedServer(respond(401, body)) as server:
        error = await login_error(AuthenticationFailedError, server.site, retry=ONCE)
    assert error.message == ""  # longer than any message of Zulip


@pytest.mark.parametrize("status", [200, 401])
async def test_body_too_large(status: int) -> None:
    body = b'{"result":"error","msg":"' + b"x" * (MAX_BODY_SIZE - 26) + b'"}'
    assert len(body) == MAX_BODY_SIZE + 1
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
    body = compress(json.dumps(SUCCESS).encode().ljust(MAX_BODY_SIZE))
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
        gzip.compress(b" " * MAX_BODY_SIZE + b"{}"),
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
        context = RequestContext(server.site, "none")
        parsed = await send(get_me, context, transport=http_transport, **options)
        [request] = server.requests
    assert parsed == SUCCESS["email"]
    assert (request.line, request.body) == ("GET /api/v1/users/me HTTP/1.1", b"")
    assert "transfer-encoding" not in request.headers


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


TRANSPORT_ERRORS = [
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
    pytest.param(cyclic_cause(), id="cyclic cause"),
    pytest.param(long_chain(), id="long chain"),
]


@pytest.mark.parametrize("exc", TRANSPORT_ERRORS, ids=repr)
@pytest.mark.parametrize("read", [False, True])
async def test_transport_errors(exc: Exception, read: bool) -> None:
    with pytest.raises(APIConnectionError) as caught:
        await login(
            "https://chat.example.com",
            USERNAME,
            PASSWORD,
            retry=ONCE,
            transport=StubTransport(read=read, outcome=exc),
        )
    assert caught.value.__context__ is None
    # The password was sent if and only if the body was read.
    assert caught.value.sent is read
    assert "secret" not in str(caught.value)
    timeouts = (httpx.TimeoutException, TimeoutError)
    assert isinstance(caught.value, APITimeoutError) == isinstance(exc, timeouts)
    tls = isinstance(exc, ssl.SSLError) and not read
    assert isinstance(caught.value, TLSError) == tls


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


async def test_sync_response_stream() -> None:
    class Synchronous(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield b"{}"

    transport = StubTransport(read=True, outcome=httpx.Response(200, stream=Synchronous()))
    with pytest.raises(APIConnectionError):
        await login("https://chat.example.com", USERNAME, PASSWORD, retry=ONCE, transport=transport)
