"""Map failures without a response to exceptions: network, TLS and proxies. No I/O."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from datetime import UTC, datetime
from typing import Literal

from attrs import frozen

from ._exceptions import (
    APIConnectionError,
    APITimeoutError,
    InvalidResponseError,
    TLSError,
    is_transient_status,
)

Failure = Literal["timeout", "protocol", "proxy", "connect", "other"]
"""How an attempt ended without a response."""

_MAX_CHAIN_LENGTH = 50
_PROXY_STATUS_RE = re.compile(r"[1-9]\d\d\b", re.ASCII)


@frozen
class Route:
    """How an attempt connects, for messages that name what to change.

    Attributes:
        proxy: The host of the proxy that the attempt was to connect to.
        proxy_setting: The environment variable that has the proxy, or that the
            transport may have one; empty without either.
        has_proxy_credentials: Whether that variable has credentials.
        trusted_cas: The setting that has the trusted CAs; empty for the default ones.
        tunnel: The host of the proxy, in place of `proxy`, after it has opened
            a tunnel to the site.
    """

    proxy: str | None = None
    proxy_setting: str = ""
    has_proxy_credentials: bool = False
    trusted_cas: str = ""
    tunnel: str | None = None

    def proxy_rejection(self, site: str, status_code: int) -> str:
        """Return the message for a proxy that rejects a request."""
        reason, hint = "rejected the connection", "Check the URL and the proxy's rules."
        if status_code == 407:
            reason, hint = "requires credentials", f"Put them in {self.proxy_setting}."
            if self.has_proxy_credentials:
                reason, hint = "rejected the credentials", f"Correct them in {self.proxy_setting}."
        proxy = f"the proxy {self.proxy}" if self.proxy else "the proxy"
        return f"Could not connect to {site}: {proxy} {reason} (HTTP {status_code}). {hint}"


DIRECT = Route()


def error_from_exception(
    exception: Exception, failure: Failure, site: str, *, sent: bool, route: Route = DIRECT
) -> APIConnectionError | InvalidResponseError:
    """Return the exception for a request without a response.

    Args:
        exception: The exception of a transport. It leads to the request, so no
            part of it is kept.
        failure: What the exception means.
        site: The organization URL.
        sent: Whether the server may have received the request.
        route: The connection.
    """
    if failure == "protocol":
        hint = f"Check the URL and port{_https_hint(site)}."
        return InvalidResponseError(f"Invalid HTTP response from {site}. {hint}", status_code=None)
    if failure == "timeout":
        phase = "waiting for a response from" if sent else "connecting to"
        through = f" through the proxy {route.proxy}" if route.proxy else ""
        hint = "Try again later or increase the timeout."
        return APITimeoutError(f"Timed out {phase} {site}{through}. {hint}", sent=sent)
    chain = exception_chain(exception)
    tls_errors = [exc for exc in chain if isinstance(exc, ssl.SSLError)]
    # In TLS 1.3, a server rejects a client certificate after the handshake.
    if tls_errors and (
        not sent or any("CERTIFICATE" in str(getattr(exc, "reason", "")) for exc in tls_errors)
    ):
        return TLSError(_tls_message(tls_errors, site, route), sent=sent)
    os_reasons = filter(None, map(_os_reason, chain))
    # Skip timeouts: httpx-aiohttp raises them for other failures.
    names = [type(exc).__name__ for exc in chain if "Timeout" not in type(exc).__name__]
    reason = next(os_reasons, names[0] if names else "no reason given")
    if reason in ("RemoteProtocolError", "ServerDisconnectedError"):
        reason = "connection closed by peer"
    summary = f"Could not connect to {site}"
    hint = "Check the URL, the server and any proxy."
    if sent:
        summary = f"Lost the connection to {site} before the response was complete"
        hint = f"Try again later{_https_hint(site)}."
    elif failure == "proxy":
        if match := _PROXY_STATUS_RE.match(str(exception)):
            status = int(match[0])
            error = APIConnectionError(route.proxy_rejection(site, status), sent=False)
            error.transient = is_transient_status(status)
            return error
        summary += " through the proxy"
    elif route.proxy and failure == "connect":
        summary = f"Could not connect to the proxy {route.proxy}"
        hint = "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."
    return APIConnectionError(f"{summary} ({reason}). {hint}", sent=sent)


def _https_hint(site: str) -> str:
    if site.startswith("https:"):
        return ""
    return f"; if the port is for https, use https{site[4:]}"


def exception_chain(error: BaseException) -> list[BaseException]:
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


_LAX_CERTIFICATE = (
    "Issue the certificate and its CA again as RFC 5280 requires, or clear "
    "ssl.VERIFY_X509_STRICT in an ssl_context, which Python 3.13 and later set."
)
# The hint for each code of OpenSSL's check of a certificate.
_CERTIFICATE_HINTS = {
    9: "Check this machine's clock, which shows {now}.",
    10: "Check this machine's clock, which shows {now}. If it is right, the server needs a new "
    "certificate.",
    62: "Check the host name in the URL.",
    64: "Use the server's host name in place of its IP address.",
    79: "Issue the CA again with basicConstraints CA:TRUE and keyUsage keyCertSign.",
    **dict.fromkeys(
        [2, 18, 19, 20, 21], "If you trust its issuer{inspector}, add that CA {to_cas}."
    ),
    **dict.fromkeys(range(80, 94), _LAX_CERTIFICATE),
}
_NOT_TLS = (
    "no TLS on this port",
    "Check the port, which may be for plain http or for another protocol, such as SSH or SMTP. "
    "If it is a development server, use http://{host}.",
)
# The reason and the hint for each of OpenSSL's reasons.
_HANDSHAKE_FAILURES = {
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


def _tls_message(errors: list[ssl.SSLError], site: str, route: Route) -> str:
    reason = next(filter(None, map(_tls_reason, errors)), "handshake failed")
    hint = "Check the URL, the port and the server's TLS settings."
    codes = [code for exc in errors if (code := getattr(exc, "verify_code", 0))]
    if codes:
        hint = _CERTIFICATE_HINTS.get(codes[0], "Check the server's certificate.")
    elif route.proxy and _HANDSHAKE_FAILURES.get(reason) is _NOT_TLS:
        reason, hint = _NOT_TLS[0], f"Use http:// in {route.proxy_setting}."
    else:
        reason, hint = _HANDSHAKE_FAILURES.get(reason, (reason, hint))
    hint = hint.format(
        host=site.partition("://")[2],
        inspector=f", which may be the proxy {route.tunnel}" if route.tunnel else "",
        now=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        to_cas=f"to {route.trusted_cas}"
        if route.trusted_cas
        else "with SSL_CERT_FILE, cert_bundle, --cert-bundle or an ssl_context",
    )
    peer = f"the proxy {route.proxy}" if route.proxy else site
    return f"TLS connection to {peer} failed: {reason}. {hint}"


def _tls_reason(error: ssl.SSLError) -> str | None:
    # Python 3.11.2, as in Debian 12, has no reason for a closed connection.
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "UNEXPECTED_EOF_WHILE_READING"
    verify_message = getattr(error, "verify_message", None)
    return verify_message.rstrip(".") if verify_message else getattr(error, "reason", None)


def _os_reason(error: BaseException) -> str | None:
    """Return the operating system's message; httpx's may repeat bytes of the server."""
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
