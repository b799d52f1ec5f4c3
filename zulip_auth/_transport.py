"""The wire: where httpx is named, and where the rules of transport are kept."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import cache
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx
from attrs import frozen

from zulip_auth_client import Client
from zulip_auth_client.types import Response

from ._answers import Answer
from ._errors import (
    APIConnectionError,
    APITimeoutError,
    InvalidInputError,
    InvalidResponseError,
    TLSError,
)
from ._version import __version__

MAX_BODY = 64 * 1024
"""How much of an answer's body is read, in bytes."""

_MOST_CAUSES = 50

Transport = httpx.AsyncBaseTransport

Endpoint = Callable[..., Coroutine[Any, Any, Response[Any]]]
"""An endpoint function of the generated client, with its body filled in."""


@frozen
class Outcome:
    """What one try ended in.

    Attributes:
        result: The answer, or why there is none.
        sent: Whether the server may have seen the password.
    """

    result: Answer | APIConnectionError | InvalidResponseError
    sent: bool


async def send(
    endpoint: Endpoint,
    *,
    site: str,
    transport: Transport,
    timeout: float,
    deadline: float,
    user_agent: str | None,
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

    Returns:
        What came of it. Nothing but a cancellation is raised: what httpx
        raises holds the request, and that holds the password.
    """
    guard = _Guard(transport)
    parsed, failure, cancelled = None, None, None
    # Each error is turned into a new one, outside of the block that caught it:
    # what was caught leads to the request, and so to the password.
    try:
        client = _client(guard, site, timeout, user_agent)
        async with asyncio.timeout_at(deadline):
            parsed = (await endpoint(client=client)).parsed
    except Exception as error:  # noqa: BLE001 - transports and parsers may raise anything
        failure = _failure(error, site=site, sent=guard.sent)
    except asyncio.CancelledError as error:
        cancelled = error.args
    if cancelled is not None:
        raise asyncio.CancelledError(*cancelled)
    if guard.answer is not None:
        return Outcome(guard.answer.with_parsed(parsed), sent=True)
    assert failure is not None
    return Outcome(failure, sent=guard.sent)


def _client(guard: _Guard, site: str, timeout: float, user_agent: str | None) -> Client:
    http = httpx.AsyncClient(
        transport=guard,
        base_url=f"{site}/api/v1",
        headers={
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": " ".join(filter(None, [user_agent, f"zulip-auth/{__version__}"])),
        },
        timeout=httpx.Timeout(timeout / 2, connect=timeout / 3),
    )
    return Client(base_url=site).set_async_httpx_client(http)


class _NotForTheParser(Exception):
    """Keeps an answer other than a plain 200 away from the generated parser."""


class _Guard(httpx.AsyncBaseTransport):
    """Carries one request, and notes what httpx itself does not tell.

    Attributes:
        sent: Whether the body, with the password, was handed on.
        answer: What came back, once it is complete.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.sent = False
        self.answer: Answer | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        watched = httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=_WatchedBody(request.content, self),
            extensions=request.extensions,
        )
        response = await self._transport.handle_async_request(watched)
        try:
            body = await _read(response)
        finally:
            await response.aclose()
        self.answer = Answer(response.status_code, dict(response.headers), body)
        if response.status_code != 200 or body is None:
            raise _NotForTheParser
        # Neither cookies nor anything else of the headers reaches the client.
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
            if len(body) > MAX_BODY:
                return None
    except httpx.RemoteProtocolError as error:
        if not _is_malformed(error):
            raise
        return None
    return bytes(body)


def _is_malformed(error: Exception) -> bool:
    """Tell an answer that is not HTTP from a connection that was lost.

    httpx has one class for both; the words for the latter are httpcore's
    ("Server disconnected …") and h11's ("peer closed connection …").
    """
    if not isinstance(error, httpx.RemoteProtocolError):
        return False
    return not str(error).startswith(("Server disconnected", "peer "))


def _failure(
    error: Exception, *, site: str, sent: bool
) -> APIConnectionError | InvalidResponseError:
    """Say why there is no answer, in words that hold nothing of the request."""
    causes = _causes(error)
    if _is_malformed(error):
        return InvalidResponseError(
            f"What answered at {site} does not speak HTTP as it should. "
            "Check the address and the port.",
            status_code=None,
        )
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        what = "gave no complete answer" if sent else "could not be reached"
        return APITimeoutError(
            f"{site} {what} in time. Try again later, or allow it more.", sent=sent
        )
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and not sent:
            detail = getattr(cause, "verify_message", "") or getattr(cause, "reason", None)
            return TLSError(
                f"No secure connection to {site}: {detail}. "
                "Check the address, the certificate, and the certificates trusted here.",
                sent=False,
            )
    why = next(filter(None, map(_reason, causes)), type(error).__name__)
    if sent:
        return APIConnectionError(
            f"The connection to {site} was lost before its answer was complete ({why}). "
            "Try again later.",
            sent=True,
        )
    return APIConnectionError(
        f"{site} could not be reached ({why}). Check the address, that the server is running, "
        "and the proxy, if there is one.",
        sent=False,
    )


def _causes(error: BaseException) -> list[BaseException]:
    """Return an exception and what led to it, as far as that is of interest."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting and len(found) < _MOST_CAUSES:
        each = waiting.pop(0)
        if each is None or any(each is other for other in found):
            continue
        found.append(each)
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        waiting.append(each.__cause__ or each.__context__)
    return found


def _reason(error: BaseException) -> str | None:
    """Return the system's own words; httpx's may repeat what the server sent."""
    if isinstance(error, httpx.ProxyError):
        return "the proxy refused"
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(number, int) and number in errno.errorcode:
        return os.strerror(number).lower()
    return None


class _OwnTransport(httpx.AsyncHTTPTransport):
    """Closes what httpcore leaves open: a connection cancelled in its TLS handshake."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        opened: list[Any] = []

        async def note(event: str, details: dict[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                opened.append(details["return_value"])

        request.extensions["trace"] = note
        try:
            return await super().handle_async_request(request)
        except BaseException:
            for connection in opened:
                await connection.aclose()
            raise


def open_transport(site: str, ssl_context: ssl.SSLContext | None) -> Transport:
    """Make what carries requests to a site; closing it is the caller's part.

    Raises:
        InvalidInputError: The environment names a proxy that cannot be used.
        TLSError: The trusted certificates cannot be loaded.
    """
    if site.startswith("http://"):
        # Loopback alone: no proxy, and a context that costs nothing to make.
        return _OwnTransport(verify=_no_certificates(), trust_env=False)
    context = ssl_context or _trusted_certificates()
    if context is None:
        raise TLSError(
            "The trusted certificates cannot be loaded. Check SSL_CERT_FILE and SSL_CERT_DIR.",
            sent=False,
        )
    transport = _proxied(context, _proxy_for(site))
    if transport is None:
        raise InvalidInputError(
            "The proxy that the environment names cannot be used. "
            "Check HTTPS_PROXY and ALL_PROXY; SOCKS needs the package socksio."
        )
    return transport


def _proxied(context: ssl.SSLContext, proxy: str | None) -> Transport | None:
    try:
        return _OwnTransport(verify=context, proxy=proxy, trust_env=False)
    except (ValueError, ImportError, httpx.InvalidURL):
        return None


def _proxy_for(site: str) -> str | None:
    host = site.removeprefix("https://")
    if proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _trusted_certificates() -> ssl.SSLContext | None:
    try:
        return _shared_context()
    except OSError:  # which ssl.SSLError is
        return None


@cache
def _shared_context() -> ssl.SSLContext:
    # Loading the certificates takes longer than a login, so once a process.
    return httpx.create_ssl_context()


@cache
def _no_certificates() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
