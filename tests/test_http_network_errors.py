from __future__ import annotations

import socket
import ssl
from typing import Any

import aiohttp
import httpx
import pytest

from zulip_auth import APIConnectionError, APITimeoutError, InvalidResponseError, TLSError
from zulip_auth._http.network_errors import _causes, error_from_exception, is_protocol_error

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
    "https://chat.example.com could not be reached ({}). Check the address, that the server is "
    "running, and the proxy, if there is one."
)
LOST = (
    "The connection to https://chat.example.com was lost before its answer was complete ({}). "
    "Try again later."
)
TLS = (
    "No secure connection to https://chat.example.com: {}. "
    "Check the address, the certificate, and the certificates trusted here."
)
TOO_LATE = "https://chat.example.com {} in time. Try again later, or allow it more."

# Transport exception, whether the request was sent, expected class and message.
CASES: dict[str, tuple[Exception, bool, type[Any], str]] = {
    "refused": (
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
        UNREACHED.format("its name does not resolve"),
    ),
    "proxy": (
        chain(httpx.ProxyError("407 x"), CONNECTION_REFUSED),
        False,
        APIConnectionError,
        UNREACHED.format("the proxy refused"),
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
        TOO_LATE.format("could not be reached"),
    ),
    "read timeout": (
        httpx.ReadTimeout("x"),
        True,
        APITimeoutError,
        TOO_LATE.format("gave no complete answer"),
    ),
    "deadline": (
        TimeoutError(),
        True,
        APITimeoutError,
        TOO_LATE.format("gave no complete answer"),
    ),
    "time over, in two message": (
        chain(httpx.ReadTimeout("x"), httpx.ConnectTimeout("x")),
        True,
        APITimeoutError,
        TOO_LATE.format("gave no complete answer"),
    ),
    "deadline, after other error": (
        chain(TimeoutError(), RuntimeError()),
        False,
        APITimeoutError,
        TOO_LATE.format("could not be reached"),
    ),
    # As httpx-aiohttp wraps errors of aiohttp; test_faults.py has them from the wire.
    "aiohttp, refused": (
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
        TOO_LATE.format("could not be reached"),
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
        TLS.format("the handshake failed"),
    ),
    "TLS error after the request was sent": (
        chain(httpx.ReadError("x"), tls_error()),
        True,
        APIConnectionError,
        LOST.format("operation not permitted"),
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
        "What answered at https://chat.example.com does not speak HTTP as it should. "
        "Check the address and the port."
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
    assert _causes(first) == [first, second]
    group = ExceptionGroup("x", [second, third])
    assert _causes(group) == [group, second, third, first]
    for _ in range(100):
        first = chain(RuntimeError(), first)  # type: ignore[assignment]
    assert len(_causes(first)) == 50
