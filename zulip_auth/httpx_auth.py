"""Zulip's authentication for `httpx.AsyncClient`.

httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=f"{source.site}/api/v1")
"""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import NoReturn

import httpx

from ._credentials import basic_auth_header
from ._exceptions import InvalidApiKeyError
from ._http.exchange import MAX_BODY_SIZE
from ._key_source import ApiKeySource
from ._validation import validate_type

Rest = AsyncIterator[bytes]

_REVOKED = ("UNAUTHORIZED", "INVALID_API_KEY")


class ApiKeyAuth(httpx.Auth):
    """Authenticates the requests to one site, and renews a key that was revoked.

    A request to any other origin is sent as it is. After a 401 that says that
    the key is no good, the source gets another one and the request is sent once
    more, unless its body is a stream that has gone by: then the answer is the
    401, and the next request has the new key.

    httpx itself keeps the key on a redirect from `http://` to `https://` of the same
    host, and sends requests through the proxy that the environment names, those
    to `http://localhost` as well: for such a site, make the client with
    `trust_env=False`.

    What the source raises comes out of the request as it is: a `ZulipAuthError`.

    Args:
        source: Where the key comes from; its site is the only one that gets it.

    Raises:
        InvalidInputError: It is no `ApiKeySource`.

    Source: https://zulip.com/api/http-headers, and the recorded 401 answers.
    """

    def __init__(self, source: ApiKeySource) -> None:
        self._source = validate_type("source", source, ApiKeySource)
        self._origin = _origin(httpx.URL(source.site))

    def sync_auth_flow(self, request: httpx.Request) -> NoReturn:  # noqa: ARG002
        """Refuse: a login waits, which a synchronous client cannot.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "ApiKeyAuth is for httpx.AsyncClient; httpx.Client cannot wait for a login."
        )

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send a request with the key, and once more with another one where that is refused."""
        if _origin(request.url) != self._origin:
            yield request
            return
        credentials = await self._source.get()
        request.headers["Authorization"] = basic_auth_header(credentials)
        response = yield request
        if not await self._is_revoked(response):
            return
        try:
            credentials = await self._source.refresh(credentials)
        except InvalidApiKeyError:  # there is no other key: the answer stands
            return
        # What httpx has as bytes can be sent again; a stream or a file may have gone by.
        if isinstance(request.stream, httpx.ByteStream):
            request.headers["Authorization"] = basic_auth_header(credentials)
            yield request

    async def _is_revoked(self, response: httpx.Response) -> bool:
        # A redirect may have led to another server, which has no say in this.
        if response.status_code != 401 or _origin(response.url) != self._origin:
            return False
        body = _decoded(await _start_of(response), response.headers.get("content-encoding", ""))
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            return False
        return isinstance(said, dict) and said.get("code") in _REVOKED


class _PutBack(httpx.AsyncByteStream):
    """The body of an answer whose start has been read, for whoever reads it next."""

    def __init__(self, start: list[bytes], stream: httpx.AsyncByteStream, rest: Rest) -> None:
        self._start = start
        self._stream = stream
        self._rest = rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._start:
            yield chunk
        async for chunk in self._rest:
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _start_of(response: httpx.Response) -> bytes:
    """Return as much of a body as an answer of Zulip's may have, and leave the answer whole."""
    assert isinstance(response.stream, httpx.AsyncByteStream)
    start: list[bytes] = []
    rest = aiter(response.stream)
    async for chunk in rest:
        start.append(chunk)
        if sum(map(len, start)) > MAX_BODY_SIZE:
            break
    response.stream = _PutBack(start, response.stream, rest)
    return b"".join(start)


def _decoded(body: bytes, encoding: str) -> bytes:
    """Return a body as it was before it was encoded, or nothing where it is too long."""
    if len(body) > MAX_BODY_SIZE or encoding.lower() not in ("", "identity", "gzip", "deflate"):
        return b""
    if encoding.lower() in ("", "identity"):
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MAX_BODY_SIZE)
    except zlib.error:
        return b""


def _origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port
