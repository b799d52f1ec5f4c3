"""Send one request through the generated client."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import lru_cache
from typing import Any, cast

import httpx
from attrs import Factory, define

from zulip_auth._exceptions import ZulipAuthError
from zulip_auth._responses.context import RawResponse, RequestContext
from zulip_auth._responses.errors import error_from_response, invalid_response
from zulip_auth._version import __version__
from zulip_auth_client import Client
from zulip_auth_client.types import Response

from .network_errors import error_from_exception, is_connect_error, is_protocol_error
from .transport import Transport

MAX_BODY_SIZE = 64 * 1024
"""Size limit of a response body, in bytes."""

Endpoint = Callable[..., Coroutine[Any, Any, Response[Any]]]
"""An endpoint function of the generated client, with its body filled in."""


async def send(
    endpoint: Endpoint,
    context: RequestContext,
    *,
    transport: Transport,
    timeout: float,
    deadline: float,
    user_agent: str | None,
) -> object:
    """Call an endpoint of the generated client once.

    Args:
        endpoint: The endpoint function.
        context: The request.
        transport: The transport to send it with.
        timeout: Seconds for the whole call. Connecting may take a third of
            them and a read half, which leaves time for another attempt.
        deadline: The end of the call, by the clock of the running loop.
        user_agent: The caller's part of the User-Agent header.

    Returns:
        The model of the generated client for a 200.

    Raises:
        ZulipAuthError: If there is no response, or another one. Exceptions of
            httpx are not raised, since they reference the request and its body.
    """
    http = _HTTPClient(context, transport, timeout, user_agent)
    client = Client(base_url=context.site).set_async_httpx_client(cast("httpx.AsyncClient", http))
    error: ZulipAuthError
    try:
        async with asyncio.timeout_at(deadline):
            return (await endpoint(client=client)).parsed
    except ZulipAuthError:
        raise
    except Exception as exc:  # noqa: BLE001 - transports and parsers may raise anything
        if http.is_complete:
            error = invalid_response(context, 200)
        else:
            sent = http.sent or (context.authorization is not None and not is_connect_error(exc))
            proxy = getattr(transport, "proxy", None)
            error = error_from_exception(exc, context.site, sent=sent, proxy=proxy)
    # Outside of the block, so that the error has no context.
    raise error


# Parsing the URL takes nearly half the time of building a request.
_parse_url = lru_cache(httpx.URL)


@define(eq=False)
class _HTTPClient:
    """Stand in for the `httpx.AsyncClient` of the generated client, for one request.

    Making an `httpx.AsyncClient` takes longer than the rest of an attempt, and
    its cookies, redirects and logged URLs are unwanted.

    Attributes:
        sent: Whether the transport has taken the body.
        is_complete: Whether a 200 was read to its end.
    """

    _context: RequestContext
    _transport: Transport
    _timeout: float
    _user_agent: str | None
    _handshakes: list[Any] = Factory(list)
    sent: bool = False
    is_complete: bool = False

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        """Send a request of the generated client."""
        parsed_url = _parse_url(f"{self._context.site}/api/v1{url}")
        content = str(httpx.QueryParams(data)).encode()
        all_headers = {
            "Host": parsed_url.netloc.decode("ascii"),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
            # Without this, httpx-aiohttp sends an empty GET body chunked.
            "Content-Length": str(len(content)),
            "User-Agent": " ".join(filter(None, [self._user_agent, f"zulip-auth/{__version__}"])),
            **(headers or {}),
        }
        if self._context.authorization is not None:
            all_headers["Authorization"] = self._context.authorization
        timeout = httpx.Timeout(self._timeout / 2, connect=self._timeout / 3)
        request = httpx.Request(
            method,
            parsed_url,
            headers=all_headers,
            stream=_OneShotStream(content, self),
            extensions={"timeout": timeout.as_dict(), "trace": self._trace},
        )
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException:
            # httpcore leaves a connection open that is cancelled in the TLS handshake.
            for stream in self._handshakes:
                await stream.aclose()
            raise
        try:
            body = await _read_body(response)
        finally:
            await response.aclose()
        raw = RawResponse(response.status_code, response.headers, body)
        if raw.status_code != 200:
            raise error_from_response(raw, self._context)
        if body is None:
            raise invalid_response(self._context, 200)
        self.is_complete = True
        # Making an httpx.Response would take 7 % of a login over aiohttp.
        return cast("httpx.Response", raw)

    async def _trace(self, event: str, details: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete" and self._context.site.startswith("https:"):
            self._handshakes.append(details["return_value"])
        elif event.endswith(".start_tls.complete"):  # of the connection or of a proxy's tunnel
            self._handshakes.clear()  # other requests may use the connection now


class _OneShotStream(httpx.AsyncByteStream):
    """A request body that can be read once, and records that it was.

    So one attempt sends at most once over any transport, retrying ones included.
    """

    def __init__(self, content: bytes, http: _HTTPClient) -> None:
        self._content = content
        self._http = http

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._http.sent:
            raise httpx.StreamConsumed
        self._http.sent = True
        yield self._content


async def _read_body(response: httpx.Response) -> bytes | None:
    """Return a body, or None if its encoding is unknown, or it is too large or malformed."""
    body = bytearray()
    assert isinstance(response.stream, httpx.AsyncByteStream)
    try:
        async for chunk in response.stream:
            body += chunk
            if len(body) > MAX_BODY_SIZE:
                return None
    except httpx.RemoteProtocolError as error:
        if not is_protocol_error(error):
            raise
        return None
    return decode_body(bytes(body), response.headers.get("content-encoding", ""))


def decode_body(body: bytes, encoding: str) -> bytes | None:
    """Return a body without its encoding, or None if that is unknown, malformed or too large.

    Some proxies compress, although requests ask for `identity`.
    """
    if encoding.lower() in ("", "identity"):
        return body if len(body) <= MAX_BODY_SIZE else None
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        return None
    for wbits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # with a header, without one
        decompressor = zlib.decompressobj(wbits)
        try:
            content = decompressor.decompress(body, MAX_BODY_SIZE + 1)
        except zlib.error:
            continue
        return content if decompressor.eof and len(content) <= MAX_BODY_SIZE else None
    return None
