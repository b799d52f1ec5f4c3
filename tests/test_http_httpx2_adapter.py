"""Transports of httpx2 as `transport=`, over real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import pytest
from httpx_aiohttp.httpx2 import AiohttpTransport

from helpers.constants import API_KEY, PASSWORD, USERNAME
from helpers.raw_server import ScriptedServer, serve_keepalive
from zulip_auth import (
    APIConnectionError,
    APITimeoutError,
    AuthClient,
    RetryPolicy,
    TLSError,
    login,
)
from zulip_auth._http.pool import adapt_transport
from zulip_auth.testing import FakeZulip

ONCE = RetryPolicy(attempts=1)

if httpx.__name__ == "httpx2":
    pytest.skip("httpx is an alias of httpx2", allow_module_level=True)


@pytest.mark.parametrize("transport_class", [httpx2.AsyncHTTPTransport, AiohttpTransport])
async def test_login(transport_class: Any, server: FakeZulip) -> None:
    async with transport_class() as transport:
        client = AuthClient(server.site, transport=transport)
        credentials = await client.login(USERNAME, PASSWORD)
        assert (await client.verify(credentials)).user_id == credentials.user_id
        assert (await login(server.site, USERNAME, PASSWORD, transport=transport)) == credentials


@pytest.mark.parametrize("transport_class", [httpx2.AsyncHTTPTransport, AiohttpTransport])
async def test_connections_are_reused(transport_class: Any) -> None:
    async with ScriptedServer(serve_keepalive) as server, transport_class() as transport:
        client = AuthClient(server.site, transport=transport)
        for _ in range(3):
            await client.login(USERNAME, PASSWORD)
        assert (server.connections, len(server.requests)) == (1, 3)
        assert server.requests[0].body == server.requests[2].body != b""


async def test_caller_closes_transport(server: FakeZulip) -> None:
    class RecordingTransport(httpx2.AsyncHTTPTransport):
        closed = False

        async def aclose(self) -> None:
            self.closed = True
            await super().aclose()

    transport = RecordingTransport()
    async with AuthClient(server.site, transport=transport) as client:
        await client.login(USERNAME, PASSWORD)
    assert not transport.closed
    await transport.aclose()


class FailingTransport(httpx2.AsyncBaseTransport):
    """Raise an exception, as some other library's transport may."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        raise self._error


class CustomTimeout(httpx2.ReadTimeout):
    """A subclass that httpx has no class for."""


def tls_failure(link: str) -> Exception:
    """Return an exception that *link*, `__cause__` or `__context__`, links to a TLS error."""
    error = httpx2.ConnectError("x")
    setattr(error, link, ssl.SSLError(1, "x"))
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx2.ConnectError("x"), APIConnectionError),
        (httpx2.ConnectTimeout("x"), APITimeoutError),
        (CustomTimeout("x"), APITimeoutError),
        (ValueError("x"), APIConnectionError),
        (tls_failure("__cause__"), TLSError),
        (tls_failure("__context__"), TLSError),
    ],
)
async def test_exception_is_mapped(error: Exception, expected: type[APIConnectionError]) -> None:
    client = AuthClient("localhost", transport=FailingTransport(error), retry=ONCE)
    with pytest.raises(APIConnectionError) as caught:
        await client.login(USERNAME, PASSWORD)
    assert type(caught.value) is expected
    assert caught.value.sent is False


async def test_error_in_response_body() -> None:
    class TruncatedStream(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            raise httpx2.ReadError("x")

    class TruncatingTransport(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            assert isinstance(request.stream, httpx2.AsyncByteStream)
            async for _ in request.stream:
                pass
            return httpx2.Response(200, stream=TruncatedStream())

    request = httpx.Request("POST", "http://localhost/", data={"a": "b"})
    transport = adapt_transport(TruncatingTransport())
    assert transport is not None
    response = await transport.handle_async_request(request)
    with pytest.raises(httpx.ReadError):
        await response.aread()


async def test_concurrent_logins(server: FakeZulip) -> None:
    async with httpx2.AsyncHTTPTransport() as transport:
        client = AuthClient(server.site, transport=transport)
        results = await asyncio.gather(*(client.login(USERNAME, PASSWORD) for _ in range(20)))
    assert {credentials.api_key for credentials in results} != {API_KEY}
    assert len({credentials.api_key for credentials in results}) == 1
