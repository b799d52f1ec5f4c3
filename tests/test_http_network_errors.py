from __future__ import annotations

import socket
import ssl
from typing import Any

import aiohttp
import httpx
import pytest

from zulip_auth import APIConnectionError, APITimeoutError, InvalidResponseError, TLSError
from zulip_auth._http.network_errors import (
    _exception_chain,
    error_from_exception,
    is_protocol_error,
)

SITE = "https://chat.example.com"


def certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


def tls_error() -> ssl.SSLError:
    error = ssl.SSLError(1, "wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


def chain(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


CONNECTION_REFUSED = ConnectionRefusedError(111, "anything that a server sent")
UNREACHED = (
    "Could not connect to https://chat.example.com ({}). Check the URL, the server and any proxy."
)
LOST = (
    "Lost the connection to https://chat.example.com before the response was complete ({}). "
    "Try again later."
)
TLS = (
    "TLS connection to https://chat.example.com failed: {}. "
    "Check the URL, the server's certificate and your trusted CAs "
    "(SSL_CERT_FILE, cert_bundle or --cert-bundle)."
)
TOO_LATE = "Timed out {} https://chat.example.com. Try again later or increase the timeout."

# Transport exception, whether the request was sent, expected class and message.
CASES: dict[str, tuple[Exception, bool, type[Any], str]] = {
    "connection refused": (
        chain(httpx.ConnectError("x"), chain(OSError("all failed"), CONNECTION_REFUSED)),
        False,
        APIConnectionError,
        UNREACHED.format("connection refused"),
    ),
    "exception group": (
        ExceptionGroup("x", [ValueError("x"), CONNECTION_REFUSED]),
        False,
        APIConnectionError,
        UNREACHED.format("connection refused"),
    ),
    "no such name": (
        chain(httpx.ConnectError("x"), socket.gaierror(-2, "x")),
        False,
        APIConnectionError,
        UNREACHED.format("host name could not be resolved"),
    ),
    "proxy": (
        chain(httpx.ProxyError("407 x"), CONNECTION_REFUSED),
        False,
        APIConnectionError,
        UNREACHED.format("proxy rejected the connection"),
    ),
    "other": (
        RuntimeError("secret"),
        False,
        APIConnectionError,
        UNREACHED.format("RuntimeError"),
    ),
    "reset": (
        chain(httpx.ReadError("x"), ConnectionResetError(104, "x")),
        True,
        APIConnectionError,
        LOST.format("connection reset by peer"),
    ),
    "connect timeout": (
        httpx.ConnectTimeout("x"),
        False,
        APITimeoutError,
        TOO_LATE.format("connecting to"),
    ),
    "read timeout": (
        httpx.ReadTimeout("x"),
        True,
        APITimeoutError,
        TOO_LATE.format("waiting for a response from"),
    ),
    "deadline": (
        TimeoutError(),
        True,
        APITimeoutError,
        TOO_LATE.format("waiting for a response from"),
    ),
    "time over, in two message": (
        chain(httpx.ReadTimeout("x"), httpx.ConnectTimeout("x")),
        True,
        APITimeoutError,
        TOO_LATE.format("waiting for a response from"),
    ),
    "deadline, after other error": (
        chain(TimeoutError(), RuntimeError()),
        False,
        APITimeoutError,
        TOO_LATE.format("connecting to"),
    ),
    # As httpx-aiohttp wraps errors of aiohttp; test_faults.py has them from the wire.
    "aiohttp, connection refused": (
        chain(httpx.ConnectTimeout("x"), CONNECTION_REFUSED),
        False,
        APIConnectionError,
        UNREACHED.format("connection refused"),
    ),
    "aiohttp, lost": (
        chain(httpx.ConnectTimeout("x"), aiohttp.ServerDisconnectedError()),
        True,
        APIConnectionError,
        LOST.format("ServerDisconnectedError"),
    ),
    "aiohttp, connect timeout": (
        chain(httpx.ConnectTimeout("x"), aiohttp.ConnectionTimeoutError()),
        False,
        APITimeoutError,
        TOO_LATE.format("connecting to"),
    ),
    "aiohttp, certificate": (
        chain(
            httpx.ConnectTimeout("x"), chain(ssl.SSLCertVerificationError(), certificate_error())
        ),
        False,
        TLSError,
        TLS.format("certificate has expired"),
    ),
    "certificate": (
        chain(httpx.ConnectError("x"), certificate_error()),
        False,
        TLSError,
        TLS.format("certificate has expired"),
    ),
    "handshake": (
        chain(httpx.ConnectError("x"), tls_error()),
        False,
        TLSError,
        TLS.format("WRONG_VERSION_NUMBER"),
    ),
    "handshake without message": (
        chain(httpx.ConnectError("x"), ssl.SSLError()),
        False,
        TLSError,
        TLS.format("handshake failed"),
    ),
    "TLS error after the request was sent": (
        chain(httpx.ReadError("x"), tls_error()),
        True,
        APIConnectionError,
        LOST.format("WRONG_VERSION_NUMBER"),
    ),
    "end of the connection in the handshake": (
        chain(httpx.ConnectError(""), ConnectionResetError()),
        False,
        APIConnectionError,
        UNREACHED.format("connection reset by peer"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_error_from_exception(name: str) -> None:
    exc, sent, exc_type, message = CASES[name]
    error = error_from_exception(exc, site=SITE, sent=sent)
    assert type(error) is exc_type
    assert isinstance(error, APIConnectionError)
    assert error.sent is sent
    assert str(error) == message
    assert (error.__cause__, error.__context__) == (None, None)


def test_malformed_http() -> None:
    error = error_from_exception(httpx.RemoteProtocolError("illegal secret"), site=SITE, sent=True)
    assert isinstance(error, InvalidResponseError)
    assert error.status_code is None
    assert str(error) == (
        "Invalid HTTP response from https://chat.example.com. Check the URL and port."
    )


@pytest.mark.parametrize(
    ("message", "malformed"),
    [
        # Messages of httpcore 1.0 and h11 0.16; test_faults.py has them from the wire.
        ("Server disconnected without sending a response.", False),
        ("peer closed connection without sending complete message body (incomplete read)", False),
        ("peer unexpectedly closed connection", False),
        ("illegal status line: bytearray(b'Server disconnected')", True),
        ("Receive buffer too long", True),
        ("", True),
    ],
)
def test_is_protocol_error(message: str, malformed: bool) -> None:
    assert is_protocol_error(httpx.RemoteProtocolError(message)) is malformed
    assert is_protocol_error(httpx.ReadError(message)) is False


def test_is_protocol_error_of_aiohttp() -> None:
    request_info: Any = None
    assert is_protocol_error(aiohttp.ClientResponseError(request_info, ()))
    assert not is_protocol_error(aiohttp.ClientHttpProxyError(request_info, ()))
    assert not is_protocol_error(aiohttp.ClientPayloadError())


def test_exception_chain() -> None:
    first, second, third = RuntimeError(), RuntimeError(), RuntimeError()
    first.__cause__, first.__context__ = second, third
    second.__context__ = first
    assert _exception_chain(first) == [first, second]
    group = ExceptionGroup("x", [second, third])
    assert _exception_chain(group) == [group, second, third, first]
    for _ in range(100):
        first = chain(RuntimeError(), first)  # type: ignore[assignment]
    assert len(_exception_chain(first)) == 50
