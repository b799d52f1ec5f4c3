"""Why there is no answer, in words that hold nothing of the request."""

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

_MOST_CAUSES = 50


def is_protocol_error(error: Exception) -> bool:
    """Tell an answer that is not HTTP from a connection that was lost.

    httpx has one class for both; the words for the latter are httpcore's
    ("Server disconnected …") and h11's ("peer closed connection …").
    httpx-aiohttp has none for the former, and lets aiohttp's through.
    """
    if type(error).__module__.startswith("aiohttp."):
        return type(error).__name__ == "ClientResponseError"
    if not isinstance(error, httpx.RemoteProtocolError):
        return False
    return not str(error).startswith(("Server disconnected", "peer "))


def is_connect_error(error: Exception) -> bool:
    """Tell whether there was no connection on which anything could have been sent."""
    before = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
    return isinstance(error, before)


def error_from_exception(
    error: Exception, *, site: str, sent: bool
) -> APIConnectionError | InvalidResponseError:
    """Return the error that says why there is no answer.

    Args:
        error: What a transport or the generated client raised. It leads to the
            request, so nothing of it is kept.
        site: The organization's address.
        sent: Whether the server may have seen the password.
    """
    causes = _causes(error)
    if is_protocol_error(error):
        return InvalidResponseError(
            f"What answered at {site} does not speak HTTP as it should. "
            "Check the address and the port.",
            status_code=None,
        )
    if _is_timeout(causes):
        what = "gave no complete answer" if sent else "could not be reached"
        return APITimeoutError(
            f"{site} {what} in time. Try again later, or allow it more.", sent=sent
        )
    insecure = [each for each in causes if isinstance(each, ssl.SSLError)]
    if insecure and not sent:
        detail = next(filter(None, map(_detail, insecure)), "the handshake failed")
        return TLSError(
            f"No secure connection to {site}: {detail}. "
            "Check the address, the certificate, and the certificates trusted here.",
            sent=False,
        )
    # What is no timeout is not called one.
    named = next(each for each in causes if not isinstance(each, httpx.TimeoutException))
    why = next(filter(None, map(_reason, causes)), type(named).__name__)
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


def _is_timeout(causes: list[BaseException]) -> bool:
    """Tell whether time was over, by what was raised and what led to it.

    httpx-aiohttp calls whatever becomes of a connection a ConnectTimeout, so
    that alone says little where something else has led to it.
    """
    raised, *led_to_it = causes
    timeouts = (httpx.TimeoutException, TimeoutError)
    if not isinstance(raised, timeouts):
        return False
    if not led_to_it or isinstance(raised, TimeoutError):
        return True
    return any(isinstance(each, timeouts) for each in led_to_it)


def _detail(error: ssl.SSLError) -> str | None:
    return getattr(error, "verify_message", None) or getattr(error, "reason", None)


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
