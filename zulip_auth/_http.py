"""Send one request: the HTTP client of an attempt, with its transport, TLS context and proxy."""

from __future__ import annotations

import asyncio
import os
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from zulip_auth_client import Client
from zulip_auth_client.types import Response

from ._errors import RequestContext, error_from_response, invalid_response
from ._event_loop import load
from ._exceptions import ConfigurationError, ZulipAuthError
from ._network_errors import Attempt, Failure, error_from_exception
from ._redaction import exception_chain
from ._site import is_secure_url
from ._validation import validate_type
from ._version import __version__

MAX_RESPONSE_SIZE = 1024 * 1024
"""Size limit of a response body, in bytes, compressed and decompressed."""


async def send(
    endpoint: Callable[..., Coroutine[Any, Any, Response[Any]]],
    context: RequestContext,
    *,
    transport: httpx.AsyncBaseTransport | None,
    ssl_context: ssl.SSLContext | None,
    user_agent: str | None,
    timeout: float,
    deadline: float,
) -> object:
    """Call a function of the generated client once.

    Args:
        endpoint: The function, with its arguments except `client`.
        context: The request.
        transport: The caller's transport; None to open a connection of its own.
        ssl_context: The trusted CAs; None for the default ones.
        user_agent: The caller's part of the User-Agent header.
        timeout: Seconds for the whole call. Connecting may take a third of
            them and a read half, which leaves time for another attempt.
        deadline: The end of the call, by the clock of the running loop.

    Returns:
        The model of the generated client for a 200.

    Raises:
        ZulipAuthError: If there is no response, or another one. Exceptions of
            httpx are not raised, since they reference the request and its body.
    """
    is_success = False

    async def check_status(response: httpx.Response) -> None:
        # Before the generated parser, which accepts only what the description lists.
        nonlocal is_success
        # httpx's stream and response reference each other, and through the request the form.
        response.stream = httpx.ByteStream(b"")
        is_success = response.status_code == 200
        if not is_success:
            raise error_from_response(
                response.status_code, response.headers, response.content, context, attempt
            )

    variable, proxy = "the proxy of the transport", None
    cas = "the transport's TLS context"
    if transport is None:
        variable, proxy = proxy_from_environment(context.site)
        cas = "the ssl_context (cert_bundle, --cert-bundle)" if ssl_context else _ca_variable()
    attempt = Attempt(proxy.host if proxy else "", variable, bool(proxy and proxy.userinfo), cas)
    error: ZulipAuthError
    try:
        async with asyncio.timeout_at(deadline):
            own = transport or await _open_transport(context.site, ssl_context, proxy)
            async with httpx.AsyncClient(
                transport=GuardedTransport(own, attempt, is_owner=transport is None),
                base_url=_base_url(context.site),
                headers=_headers(context, user_agent),
                timeout=httpx.Timeout(timeout / 2, connect=timeout / 3),
                event_hooks={"response": [check_status]},
                trust_env=False,
            ) as http:
                client = Client(base_url=context.site).set_async_httpx_client(http)
                return (await endpoint(client=client)).parsed
    except ZulipAuthError:
        raise
    except Exception as exc:
        if is_success:
            error = invalid_response(context, 200)  # the generated parser may raise anything
        elif (failure := _classify(exc)) is None:
            raise
        else:
            error = error_from_exception(exc, failure, context.site, attempt)
        for link in exception_chain(exc):
            link.__traceback__ = None  # frames of httpcore and h11 reference their own exception
    # Outside of the block, so that the error has no context.
    try:
        raise error
    finally:
        del error  # or the traceback and this frame would reference each other


@lru_cache
def _base_url(site: str) -> httpx.URL:
    return httpx.URL(f"{site}/api/v1/")


def _headers(context: RequestContext, user_agent: str | None) -> dict[str, str]:
    headers = {
        **context.headers,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": " ".join(filter(None, [user_agent, f"zulip-auth/{__version__}"])),
    }
    if context.authorization is not None:
        headers["Authorization"] = context.authorization
    return headers


# ---- Transport


class GuardedTransport(httpx.AsyncBaseTransport):
    """Send a request at most once, and read its response within the size limit.

    Args:
        transport: The transport to send it with.
        attempt: Where to record what happens.
        is_owner: Whether to close the transport.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, attempt: Attempt, *, is_owner: bool
    ) -> None:
        self._transport = transport
        self._attempt = attempt
        self._is_owner = is_owner
        self._handshakes: list[Any] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "Transfer-Encoding" not in request.headers:
            # Otherwise, httpx-aiohttp sends the empty body of a GET in chunks.
            request.headers.setdefault("Content-Length", "0")
        assert isinstance(request.stream, httpx.AsyncByteStream)
        extensions = dict(request.extensions)
        if request.url.scheme == "https":
            extensions["trace"] = self._trace
        guarded = httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=_OneShotStream(request.stream, self._attempt),
            extensions=extensions,
        )
        try:
            response = await self._transport.handle_async_request(guarded)
        except BaseException:
            # httpcore leaves a connection open that is cancelled in the TLS handshake.
            for stream in self._handshakes:
                await stream.aclose()
            raise
        try:
            body = await _read_body(response)
        finally:
            await response.aclose()
        response.headers.pop("content-encoding", None)
        # Without the extensions: the reason phrase, which httpx logs, may repeat the password.
        return httpx.Response(response.status_code, headers=response.headers, content=body)

    async def _trace(self, event: str, details: Mapping[str, Any]) -> None:
        if event == "proxy.start_tls.started":
            self._attempt.has_tunnel = True
        elif event == "connection.connect_tcp.complete":
            self._handshakes.append(details["return_value"])
        elif event.endswith(".start_tls.complete"):  # of the connection or of a proxy's tunnel
            self._handshakes.clear()  # other requests may use the connection now

    async def aclose(self) -> None:
        if self._is_owner:
            await self._transport.aclose()


class _OneShotStream(httpx.AsyncByteStream):
    """A body that an attempt sends at most once over any transport, retrying ones included."""

    def __init__(self, stream: httpx.AsyncByteStream, attempt: Attempt) -> None:
        self._stream = stream
        self._attempt = attempt

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._attempt.sent:
            raise httpx.StreamConsumed
        self._attempt.sent = True
        async for chunk in self._stream:
            yield chunk


async def _read_body(response: httpx.Response) -> bytes:
    """Return a body; empty if its encoding is unknown, or it is too large or malformed."""
    body = bytearray()
    assert isinstance(response.stream, httpx.AsyncByteStream)
    try:
        async for chunk in response.stream:
            body += chunk
            if len(body) > MAX_RESPONSE_SIZE:
                return b""
    except httpx.RemoteProtocolError as error:
        if _classify(error) != "protocol":
            raise
        return b""  # the status is enough: a rejected password must not be sent again
    return _decode(bytes(body), response.headers.get("content-encoding", "").lower())


def _decode(body: bytes, encoding: str) -> bytes:
    # Some proxies compress, although requests ask for `identity`.
    if encoding in ("", "identity"):
        return body
    if encoding in ("gzip", "x-gzip", "deflate"):
        with suppress(zlib.error):
            decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)
            content = decompressor.decompress(body, MAX_RESPONSE_SIZE + 1)
            if decompressor.eof and len(content) <= MAX_RESPONSE_SIZE:
                return content
    return b""


# ---- The default transport


async def _open_transport(
    site: str, ssl_context: ssl.SSLContext | None, proxy: httpx.URL | None
) -> httpx.AsyncHTTPTransport:
    """Open a transport of httpx for one connection, which the caller closes.

    Raises:
        ConfigurationError: If the proxy is invalid, or the CA certificates
            cannot be loaded.
    """
    await load(_import_httpcore)
    is_tls_proxy = proxy is not None and proxy.scheme == "https"
    default = _NO_CAS
    if is_tls_proxy or (site.startswith("https:") and ssl_context is None):
        default = await load(_default_ssl_context)
    with suppress(ValueError, ImportError):
        return httpx.AsyncHTTPTransport(
            verify=ssl_context or default,
            proxy=proxy and httpx.Proxy(proxy, ssl_context=default if is_tls_proxy else None),
        )
    # Outside of the block: the exception above repeats the proxy's credentials.
    raise _invalid_proxy()


_NO_CAS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The context for plain http, for which httpx would load the CAs again."""


@cache
def _import_httpcore() -> None:
    """Import what httpx imports with the first connection, which takes longer than a login."""
    import anyio
    import httpcore  # noqa: F401

    anyio.run(anyio.sleep, 0)  # imports its backend for asyncio


@cache
def _default_ssl_context() -> ssl.SSLContext:
    """Return the context for certifi's CAs and the operating system's.

    It is made once: loading certifi's takes longer than a login. The system's
    directory, with a company's own CA, is read during the handshake.
    """
    with suppress(OSError):  # ssl.SSLError is one
        context = httpx.create_ssl_context()
        if not _ca_variable():
            context.load_verify_locations(capath=ssl.get_default_verify_paths().openssl_capath)
        return context
    raise ConfigurationError(
        "Could not load the CA certificates. Check SSL_CERT_FILE and SSL_CERT_DIR."
    )


def _ca_variable() -> str:
    """Return the environment variable that replaces the default CAs; empty if none is set."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    return next((name for name in names if os.environ.get(name)), "")


# ---- The proxy of the environment


def proxy_from_environment(site: str) -> tuple[str, httpx.URL | None]:
    """Return the variable with the proxy for a site, and its URL; None for no proxy.

    Plain http to a loopback address uses none: it would leave this machine.

    Raises:
        ConfigurationError: If it is not a URL.
    """
    scheme, _, authority = site.partition("://")
    if scheme == "http" and is_secure_url(site):
        return "", None
    proxies = getproxies()
    key = scheme if proxies.get(scheme) else "all"
    proxy = proxies.get(key)
    if not proxy or proxy_bypass(authority) or _is_bypassed(site, proxies.get("no", "")):
        return "", None
    with suppress(httpx.InvalidURL):
        parsed = httpx.URL(proxy if "://" in proxy else f"http://{proxy}")
        # A misplaced part of the credentials must not become the host, which errors name.
        if parsed.host and parsed.path in ("", "/"):
            return f"{key}_proxy".upper(), parsed
    raise _invalid_proxy()


def _is_bypassed(site: str, no_proxy: str) -> bool:
    """Return whether NO_PROXY lists an IP address or its network, or a URL with the host."""
    url = httpx.URL(site)
    for entry in map(str.strip, no_proxy.lower().split(",")):
        if entry in (f"{url.scheme}://{url.host}", f"all://{url.host}"):
            return True
        with suppress(ValueError):  # one of them is not an IP address
            if ip_address(url.host) in ip_network(entry.strip("[]"), strict=False):
                return True
    return False


def _invalid_proxy() -> ConfigurationError:
    return ConfigurationError(
        "Invalid proxy setting. Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY: they take http://, "
        "https:// and, with the socksio package, socks5:// URLs."
    )


# ---- Failures


def _classify(error: Exception) -> Failure | None:
    """Return how an attempt failed; None for a bug.

    httpx uses one class for a response that is not HTTP and for a lost connection; the
    messages for the latter are httpcore's ("Server disconnected …") and h11's ("peer closed
    connection …"). httpx-aiohttp lets some of aiohttp's exceptions through.
    """
    is_aiohttp = type(error).__module__.startswith("aiohttp.")
    if isinstance(error, httpx.RemoteProtocolError):
        is_lost = str(error).startswith(("Server disconnected", "peer "))
        return "other" if is_lost else "protocol"
    # httpx-aiohttp cannot encode each reason phrase.
    if type(error).__name__ == "ClientResponseError" or isinstance(error, UnicodeError):
        return "protocol"
    # httpx-aiohttp raises ConnectTimeout for any failed connection, with its cause.
    timeouts = (httpx.TimeoutException, TimeoutError)
    causes = exception_chain(error)[1:] if isinstance(error, httpx.TimeoutException) else []
    if isinstance(error, timeouts) and (
        not causes or any(isinstance(exc, timeouts) for exc in causes)
    ):
        return "timeout"
    if isinstance(error, httpx.ProxyError):
        return "proxy"
    if isinstance(error, httpx.ConnectError):
        return "connect"
    is_failure = is_aiohttp or isinstance(error, httpx.HTTPError | httpx.StreamError | OSError)
    return "other" if is_failure else None


def validate_transport(transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Return *transport*.

    Raises:
        InvalidInputError: If it is not a transport of httpx.
    """
    return validate_type("transport", transport, httpx.AsyncBaseTransport)
