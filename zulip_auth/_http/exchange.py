"""One try over the wire, and the rules that hold there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import lru_cache
from typing import Any, cast

import httpx
from attrs import frozen

from zulip_auth._credentials import Credentials, basic_auth_header
from zulip_auth._exceptions import APIConnectionError, InvalidResponseError
from zulip_auth._responses.context import RawResponse
from zulip_auth._version import __version__
from zulip_auth_client import Client
from zulip_auth_client.types import Response

from .network_errors import error_from_exception, is_connect_error, is_protocol_error
from .transport import Transport

MAX_BODY_SIZE = 64 * 1024
"""How much of an answer's body is read, in bytes."""

Endpoint = Callable[..., Coroutine[Any, Any, Response[Any]]]
"""An endpoint function of the generated client, with its body filled in."""


@frozen
class Outcome:
    """What one try ended in.

    Attributes:
        result: The answer, or why there is none.
        sent: Whether the server may have seen the password.
    """

    result: RawResponse | APIConnectionError | InvalidResponseError
    sent: bool


async def send(
    endpoint: Endpoint,
    *,
    site: str,
    transport: Transport,
    timeout: float,
    deadline: float,
    user_agent: str | None,
    credentials: Credentials | None = None,
) -> Outcome:
    """Call an endpoint of the generated client once.

    Args:
        endpoint: What to call.
        site: The organization's address, normalised.
        transport: What carries the request.
        timeout: Seconds for the whole login. A connection gets a third of
            them and a silent server half, which leaves time for another try.
        deadline: When it is over, by the clock of the running loop.
        user_agent: What the caller calls itself.
        credentials: What authenticates the request; None for a login.

    Returns:
        What came of it. Nothing but a cancellation is raised: what httpx
        raises holds the request, and that holds the password.
    """
    guard = _Guard(transport, site, timeout, user_agent, credentials)
    client = Client(base_url=site).set_async_httpx_client(cast("httpx.AsyncClient", guard))
    parsed, failure, cancelled, sent = None, None, None, False
    # Each error is turned into a new one, outside of the block that caught it:
    # what was caught leads to the request, and so to the password.
    try:
        async with asyncio.timeout_at(deadline):
            parsed = (await endpoint(client=client)).parsed
    except Exception as error:  # noqa: BLE001 - transports and parsers may raise anything
        sent = guard.sent or (credentials is not None and not is_connect_error(error))
        failure = error_from_exception(error, site=site, sent=sent)
    except asyncio.CancelledError as error:
        cancelled = error.args
    if cancelled is not None:
        raise asyncio.CancelledError(*cancelled)
    if guard.answer is not None:
        return Outcome(guard.answer.with_parsed(parsed), sent=True)
    assert failure is not None
    return Outcome(failure, sent=sent)


# Parsing the address takes nearly half the time of building a request.
_parsed = lru_cache(httpx.URL)


class _NotForTheParser(Exception):
    """Keeps an answer other than a plain 200 away from the generated parser."""


class _Guard:
    """Carries one request, in the place of the `httpx.AsyncClient` of the generated client.

    An `httpx.AsyncClient` takes longer to make than the rest of a try, and what
    it would do besides is not wanted: cookies, redirects, a log of addresses.

    Attributes:
        sent: Whether the body, with the password, was handed on.
        answer: What came back, once it is complete.
    """

    def __init__(
        self,
        transport: Transport,
        site: str,
        timeout: float,
        user_agent: str | None,
        credentials: Credentials | None,
    ) -> None:
        self._transport = transport
        self._base_url = f"{site}/api/v1"
        self._timeout = httpx.Timeout(timeout / 2, connect=timeout / 3)
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "keep-alive",
            "User-Agent": " ".join(filter(None, [user_agent, f"zulip-auth/{__version__}"])),
        }
        if credentials is not None:
            self._headers["Authorization"] = basic_auth_header(credentials)
        self.sent = False
        self.answer: RawResponse | None = None

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> Coroutine[Any, Any, httpx.Response]:
        """Carry a request that the generated client describes."""
        # Not itself a coroutine: no frame that waits has the form in its variables.
        sent = {**self._headers, **(headers or {})}
        whole = httpx.Request(method, _parsed(self._base_url + url), headers=sent, **content)
        # Else httpx-aiohttp sends the nothing of a GET in chunks.
        whole.headers.setdefault("Content-Length", "0")
        watched = httpx.Request(
            method,
            whole.url,
            headers=whole.headers,
            stream=_WatchedBody(whole.content, self),
            extensions={"timeout": self._timeout.as_dict()},
        )
        return self._carry(watched)

    async def _carry(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        try:
            body = await _read(response)
        finally:
            await response.aclose()
        self.answer = RawResponse(response.status_code, dict(response.headers), body)
        if response.status_code != 200 or body is None:
            raise _NotForTheParser
        return httpx.Response(200, content=body)


class _WatchedBody(httpx.AsyncByteStream):
    """Notes that the body of a request has left for the network.

    There is no other way to read the body, and it is given away once, so that
    both hold for any transport: what counts as sent, and one send for each try.
    """

    def __init__(self, content: bytes, guard: _Guard) -> None:
        self._content = content
        self._guard = guard

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._guard.sent:
            raise httpx.StreamConsumed
        self._guard.sent = True
        yield self._content


async def _read(response: httpx.Response) -> bytes | None:
    """Read a body, or return None where it is encoded, too long or malformed."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        return None
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
    return bytes(body)
