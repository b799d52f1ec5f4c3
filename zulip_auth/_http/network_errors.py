"""Map transport exceptions to `APIConnectionError`, without keeping the request."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import httpx

from zulip_auth._exceptions import (
    APIConnectionError,
    APITimeoutError,
    InvalidResponseError,
    TLSError,
)

_MAX_CHAIN_LENGTH = 50


def is_protocol_error(error: Exception) -> bool:
    """Return whether *error* means a response that is not HTTP.

    httpx uses one class for that and for a lost connection; the messages for
    the latter are httpcore's ("Server disconnected …") and h11's ("peer closed
    connection …"). httpx-aiohttp lets aiohttp's exception through.
    """
    if type(error).__module__.startswith("aiohttp."):
        return type(error).__name__ == "ClientResponseError"
    if not isinstance(error, httpx.RemoteProtocolError):
        return False
    return not str(error).startswith(("Server disconnected", "peer "))


def is_connect_error(error: Exception) -> bool:
    """Return whether *error* means that there was no connection to send anything on."""
    return isinstance(
        error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError
    )


def error_from_exception(
    error: Exception, site: str, *, sent: bool, proxy: str | None = None
) -> APIConnectionError | InvalidResponseError:
    """Return the exception for a request without a response.

    Args:
        error: The exception of a transport. It leads to the request, so no
            part of it is kept.
        site: The organization URL.
        sent: Whether the server may have received the request.
        proxy: The host of the proxy, if there is one.
    """
    chain = _exception_chain(error)
    if is_protocol_error(error):
        return InvalidResponseError(
            f"Invalid HTTP response from {site}. Check the URL and port.", status_code=None
        )
    if _is_timeout(chain):
        phase = "waiting for a response from" if sent else "connecting to"
        return APITimeoutError(
            f"Timed out {phase} {site}. Try again later or increase the timeout.", sent=sent
        )
    tls_errors = [exc for exc in chain if isinstance(exc, ssl.SSLError)]
    # In TLS 1.3, a server rejects a client certificate after the handshake.
    if tls_errors and (
        not sent or any("CERTIFICATE" in str(getattr(exc, "reason", "")) for exc in tls_errors)
    ):
        reason = next(filter(None, map(_tls_reason, tls_errors)), "handshake failed")
        return TLSError(
            f"TLS connection to {site} failed: {reason}. Check the URL, the server's certificate "
            "and your trusted CAs (SSL_CERT_FILE, cert_bundle or --cert-bundle).",
            sent=sent,
        )
    # Skip timeouts: httpx-aiohttp raises them for other failures.
    first_non_timeout = next(exc for exc in chain if not isinstance(exc, httpx.TimeoutException))
    os_reasons = filter(None, map(_os_reason, chain))
    reason = next(os_reasons, type(first_non_timeout).__name__)
    failure = f"Could not connect to {site}"
    hint = "Check the URL, the server and any proxy."
    if sent:
        failure = f"Lost the connection to {site} before the response was complete"
        hint = "Try again later."
    elif proxy and isinstance(error, httpx.ConnectError):
        failure = f"Could not connect to the proxy {proxy}"
        hint = "Check HTTPS_PROXY, ALL_PROXY and NO_PROXY."
    return APIConnectionError(f"{failure} ({reason}). {hint}", sent=sent)


def _exception_chain(error: BaseException) -> list[BaseException]:
    """Return an exception and its causes, as far as they are of interest."""
    chain: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue and len(chain) < _MAX_CHAIN_LENGTH:
        exc = queue.pop(0)
        if exc is None or any(exc is other for other in chain):
            continue
        chain.append(exc)
        if isinstance(exc, BaseExceptionGroup):
            queue += exc.exceptions
        queue.append(exc.__cause__ or exc.__context__)
    return chain


def _is_timeout(chain: list[BaseException]) -> bool:
    """Return whether a timeout ended the request.

    httpx-aiohttp raises ConnectTimeout for any failed connection, so a timeout
    with another cause does not count.
    """
    error, *causes = chain
    timeouts = (httpx.TimeoutException, TimeoutError)
    if not isinstance(error, timeouts):
        return False
    if not causes or isinstance(error, TimeoutError):
        return True
    return any(isinstance(exc, timeouts) for exc in causes)


def _tls_reason(error: ssl.SSLError) -> str | None:
    reason = getattr(error, "reason", None)
    if reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED":
        return "the server requires a client certificate"
    return getattr(error, "verify_message", None) or reason


def _os_reason(error: BaseException) -> str | None:
    """Return the operating system's message; httpx's may repeat bytes of the server."""
    if isinstance(error, httpx.ProxyError):
        return "proxy rejected the connection"
    if isinstance(error, socket.gaierror):
        return "host name could not be resolved"
    if isinstance(error, ssl.SSLError):  # its number is one of OpenSSL
        return _tls_reason(error)
    if isinstance(error, ConnectionResetError):  # asyncio raises it without a number
        return "connection reset by peer"
    code = error.errno if isinstance(error, OSError) else None
    if isinstance(code, int) and code in errno.errorcode:
        return os.strerror(code).lower()
    return None
