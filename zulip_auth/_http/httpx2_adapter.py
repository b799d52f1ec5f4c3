"""Send requests of httpx over a transport of httpx2."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any

import httpx
import httpx2

_parse_url = lru_cache(httpx2.URL)  # takes a third of the conversion


class HTTPX2Transport(httpx.AsyncBaseTransport):
    """Wrap a transport of httpx2: convert requests, responses and exceptions.

    Args:
        transport: The transport, which the caller closes.
    """

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        converted = httpx2.Request(
            request.method,
            _parse_url(str(request.url)),
            headers=request.headers.raw,
            stream=_Stream(request.stream),
            extensions=request.extensions,
        )
        try:
            response = await self._transport.handle_async_request(converted)
        except httpx2.RequestError as exc:
            error = _convert_exception(exc)
        else:
            return httpx.Response(
                response.status_code,
                headers=response.headers.raw,
                stream=_Stream(response.stream),
            )
        raise error


class _Stream(httpx.AsyncByteStream, httpx2.AsyncByteStream):
    """The body of a request or a response, for both libraries."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        error = None
        try:
            async for chunk in self._stream:
                yield chunk
        except httpx2.RequestError as exc:
            error = _convert_exception(exc)
        if error is not None:
            raise error

    async def aclose(self) -> None:
        await self._stream.aclose()


def _convert_exception(exc: httpx2.RequestError) -> Exception:
    """Return the exception of httpx with the same name and cause."""
    names = [cls.__name__ for cls in type(exc).__mro__]
    error: Exception = next(getattr(httpx, name) for name in names if hasattr(httpx, name))(
        str(exc)
    )
    error.__cause__ = exc.__cause__ or exc.__context__
    return error
