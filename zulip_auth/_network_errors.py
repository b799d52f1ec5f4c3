"""Map failures without a response to exceptions: network, TLS and proxies. No I/O."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from attrs import define

from ._exceptions import (
    APIConnectionError,
    APITimeoutError,
    InvalidResponseError,
    TLSError,
    is_transient_status,
)
from ._redaction import exception_chain

Failure = Literal["timeout", "protocol", "proxy", "connect", "other"]
"""How an attempt ended without a response."""

_PROXY_STATUS_RE = re.compile(r"[1-9]\d\d\b", re.ASCII)


@define
class Attempt:
    """The state of an attempt, and the settings of its connection that a message may name.

    Attributes:
        proxy: The host of the proxy; empty without one.
        proxy_setting: The environment variable that has the proxy, or that the
            transport may have one; empty without either.
        has_proxy_credentials: Whether that variable has credentials.
        trusted_cas: The setting that has the CAs trusted for the site; empty
            for the default ones.
        sent: Whether the server may have received the request.
        has_tunnel: Whether the proxy has opened a tunnel to the site.
    """

    proxy: str = ""
    proxy_setting: str = ""
    has_proxy_credentials: bool = False
    trusted_cas: str = ""
    sent: bool = False
    has_tunnel: bool = False

    @property
    def peer_proxy(self) -> str:
        """The host of the proxy until it has opened a tunnel; else empty."""
        return "" if self.has_tunnel else self.proxy

    def proxy_rejection(self, site: str, status_code: int) -> str:
        """Return the message for a proxy that rejects a request."""
        reason, hint = "rejected the connection", "Check the URL and the proxy's rules."
        if status_code == 407 and self.has_proxy_credentials:
            reason, hint = "rejected the credentials", f"Correct them in {self.proxy_setting}."
        elif status_code == 407:
            reason, hint = "requires credentials", f"Put them in {self.proxy_setting}."
        proxy = f"the proxy {self.proxy}" if self.proxy else "the proxy"
        return f"Could not connect to {site}: {proxy} {reason} (HTTP {status_code}). {hint}"


def error_from_exception(
    exception: Exception, failure: Failure, site: str, attempt: Attempt
) -> APIConnectionError | InvalidResponseError:
    """Return the exception for a request without a response.

    Args:
        exception: The exception of a transport. It leads to the request, so no
            part of it is kept.
        failure: What the exception means.
        site: The organization URL.
        attempt: The attempt that failed.
    """
    sent, proxy = attempt.sent, attempt.peer_proxy
    https_hint = (
        "" if site.startswith("https:") else f"; if the port is for https, use https{site[4:]}"
    )
    if failure == "protocol":
        message = f"Invalid HTTP response from {site}. Check the URL and port{https_hint}."
        return InvalidResponseError(message, status_code=None)
    if failure == "timeout":
        phase = "waiting for a response from" if sent else "connecting to"
        through = f" through the proxy {proxy}" if proxy else ""
        hint = "Try again later or increase the timeout."
        return APITimeoutError(f"Timed out {phase} {site}{through}. {hint}", sent=sent)
    if failure == "proxy" and not sent and (match := _PROXY_STATUS_RE.match(str(exception))):
        status = int(match[0])
        error = APIConnectionError(attempt.proxy_rejection(site, status), sent=False)
        error.transient = is_transient_status(status)
        return error
    chain = exception_chain(exception)
    tls_errors = [exc for exc in chain if isinstance(exc, ssl.SSLError)]
    # In TLS 1.3, a server rejects a client certificate after the handshake.
    if tls_errors and (not sent or any("CERTIFICATE" in _tls_reason(exc) for exc in tls_errors)):
        return TLSError(_tls_message(tls_errors, site, attempt), sent=sent)
    summary = f"Could not connect to {site}"
    hint = "Check the URL, the server and any proxy."
    if sent:
        summary = f"Lost the connection to {site} before the response was complete"
        hint = f"Try again later{https_hint}."
    elif proxy and failure == "connect":
        summary = f"Could not connect to the proxy {proxy}"
        hint = "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."
    return APIConnectionError(f"{summary} ({_reason(chain)}). {hint}", sent=sent)


def _reason(chain: Iterable[BaseException]) -> str:
    """Return the operating system's message; httpx's may repeat bytes of the server."""
    for exc in chain:
        if isinstance(exc, socket.gaierror):
            return "host name could not be resolved"
        if isinstance(exc, ConnectionResetError):  # asyncio raises it without a number
            return "connection reset by peer"
        if isinstance(exc, ssl.SSLError):  # its number is one of OpenSSL
            if reason := _tls_reason(exc):
                return reason
        elif isinstance(exc, OSError) and exc.errno in errno.errorcode:
            return os.strerror(exc.errno or 0).lower()
    # httpx-aiohttp raises timeouts for other failures.
    names = [type(exc).__name__ for exc in chain]
    name = next((name for name in names if "Timeout" not in name), names[0])
    is_closed = name in ("RemoteProtocolError", "ServerDisconnectedError")
    return "connection closed by peer" if is_closed else name


_CLOCK = "Check this machine's clock, which shows {now}."
_LAX_CERTIFICATE = (
    "Issue the certificate and its CA again as RFC 5280 requires, or clear "
    "ssl.VERIFY_X509_STRICT in an ssl_context, which Python 3.13 and later set."
)
_NOT_TLS = (
    "no TLS on this port",
    "Check the port, which may be for plain http or for another protocol, such as SSH or SMTP. "
    "If it is a development server, use http://{host}.",
)
# For each code of OpenSSL's check of a certificate, or else each reason of OpenSSL: the reason
# (empty for OpenSSL's own) and a hint.
_TLS_FAILURES: dict[int | str, tuple[str, str]] = {
    9: ("", _CLOCK),
    10: ("", f"{_CLOCK} If it is right, the server needs a new certificate."),
    62: ("", "Check the host name in the URL."),
    64: ("", "Use the server's host name in place of its IP address."),
    79: ("", "Issue the CA again with basicConstraints CA:TRUE and keyUsage keyCertSign."),
    **dict.fromkeys(
        [2, 18, 19, 20, 21], ("", "If you trust its issuer{inspector}, add that CA {cas}.")
    ),
    **dict.fromkeys(range(80, 94), ("", _LAX_CERTIFICATE)),
    **dict.fromkeys(
        ["WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"], _NOT_TLS
    ),
    "UNEXPECTED_EOF_WHILE_READING": (
        "connection closed during the handshake",
        "Check the URL and port.",
    ),
    "TLSV1_UNRECOGNIZED_NAME": (
        "no certificate for this host name",
        "Check the host name in the URL.",
    ),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (
        "the server requires a client certificate",
        "Load one into an ssl_context, or set client_cert in the zuliprc.",
    ),
}


def _tls_message(errors: list[ssl.SSLError], site: str, attempt: Attempt) -> str:
    error = next(filter(_tls_reason, errors), errors[0])
    own_reason = _tls_reason(error)
    reason, hint = _TLS_FAILURES.get(
        getattr(error, "verify_code", 0) or own_reason,
        ("", "Check the URL, the port, and the server's certificate and TLS settings."),
    )
    peer, cas, inspector = site, attempt.trusted_cas, ""
    if attempt.peer_proxy:
        peer, cas = f"the proxy {attempt.peer_proxy}", "SSL_CERT_FILE"
        if reason == _NOT_TLS[0]:
            hint = f"Use http:// in {attempt.proxy_setting}."
    elif attempt.proxy:
        inspector = f", which may be the proxy {attempt.proxy}"
    hint = hint.format(
        host=site.partition("://")[2],
        inspector=inspector,
        now=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        cas=f"to {cas}"
        if cas
        else "with SSL_CERT_FILE, cert_bundle, --cert-bundle or an ssl_context",
    )
    return f"TLS connection to {peer} failed: {reason or own_reason or 'handshake failed'}. {hint}"


def _tls_reason(error: ssl.SSLError) -> str:
    """Return OpenSSL's reason, or its message for a certificate; empty without either."""
    # Python 3.11.2, as in Debian 12, has no reason for a closed connection.
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "UNEXPECTED_EOF_WHILE_READING"
    message = getattr(error, "verify_message", "")
    return message.rstrip(".") or getattr(error, "reason", "") or ""
