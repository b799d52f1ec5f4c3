"""Map error responses and failures of the network to exceptions. No I/O."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urljoin, urlsplit

from attrs import field, frozen

from ._exceptions import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationFailedError,
    BadRequestError,
    DevAuthDisabledError,
    InvalidApiKeyError,
    InvalidResponseError,
    InvalidSubdomainError,
    PasswordAuthDisabledError,
    PasswordResetRequiredError,
    RateLimitedError,
    RealmDeactivatedError,
    ServerError,
    SubdomainRequiredError,
    TLSError,
    UserDeactivatedError,
    ZulipAuthError,
)
from ._redaction import repeats_secret

AuthMethod = Literal["password", "dev", "jwt", "api_key", "none"]
"""How a request authenticates."""

Failure = Literal["timeout", "protocol", "proxy", "connect", "other"]
"""How an attempt ended without a response."""

E = TypeVar("E", bound=APIStatusError)

_MAX_CHAIN_LENGTH = 50
_CODE_RE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_HOST_RE = re.compile(r"[A-Za-z0-9._:\[\]-]{1,253}")
_PATH_RE = re.compile(r"/[A-Za-z0-9._~/-]{0,200}")
_COUNT_RE = re.compile(r"[0-9]{1,9}")
_HTTP_DATE_RE = re.compile(
    r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT", re.ASCII
)


@frozen
class RequestContext:
    """The parts of a request that its headers and the meaning of its response depend on.

    Attributes:
        site: The organization URL.
        auth: How the request authenticates.
        secrets: Values that no error may contain.
        username: The username of a login; the server limits its attempts.
        authorization: The Authorization header, if any.
    """

    site: str
    auth: AuthMethod
    secrets: tuple[str, ...] = field(default=(), repr=False)
    username: str | None = None
    authorization: str | None = field(default=None, repr=False)

    def is_safe(self, text: str) -> bool:
        """Return whether a server's text does not repeat a secret of the request."""
        return not repeats_secret(text, self.secrets)


# ---- Responses


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, context: RequestContext
) -> ZulipAuthError:
    """Return the exception for a response with any status code but 200.

    Args:
        status: The HTTP status code.
        headers: The headers, by lowercase name.
        body: The body; empty if it could not be read.
        context: The request.
    """
    error = _ErrorResponse(status, headers, body, context)
    if 300 <= error.status <= 399:
        return _redirect(error)
    if error.status == 429:
        return _rate_limited(error)
    if 500 <= error.status <= 599:
        failure = f"Server error from {error.site}: HTTP {error.status}"
        remaining = _attempts_remaining(error)
        return error.exception(
            ServerError, failure, "Try again later.", attempts_remaining=remaining
        )
    is_unknown_endpoint = error.auth == "dev" and error.status == 404
    if error.status < 400 or not (error.is_from_zulip or is_unknown_endpoint):
        return invalid_response(context, error.status)
    return _error_for_code(error)


def invalid_response(context: RequestContext, status_code: int) -> InvalidResponseError:
    """Return the exception for a response that is not from the Zulip API."""
    by = "a proxy or another service" if status_code != 200 else "another service"
    version_hint = " JWT login requires Zulip 7.0 or later." if context.auth == "jwt" else ""
    return InvalidResponseError(
        f"{context.site} returned HTTP {status_code} with a response that is not from the "
        f"Zulip API. Check the URL; {by} may be responding.{version_hint}",
        status_code=status_code,
    )


class _ErrorResponse:
    """An error response, and the parts of it that an exception may have.

    Attributes:
        is_from_zulip: Whether the body is that of an error of the Zulip API.
        text: The server's message, which may repeat a secret.
    """

    def __init__(
        self, status: int, headers: Mapping[str, str], content: bytes, context: RequestContext
    ) -> None:
        self.status, self.headers = status, headers
        self.site, self.auth, self.username = context.site, context.auth, context.username
        self.is_safe = context.is_safe
        body = _parse_error_body(content)
        self.is_from_zulip = body is not None
        self.body = body or {}
        self.text: str = self.body.get("msg", "")
        code: Any = self.body.get("code")
        is_code = isinstance(code, str) and _CODE_RE.fullmatch(code)
        self.code: str | None = (
            code if is_code and (code in _KNOWN_CODES or self.is_safe(code)) else None
        )

    @property
    def is_login(self) -> bool:
        return self.auth not in ("api_key", "none")

    def exception(
        self, cls: type[E], failure: str, hint: str, *, reason: str = "", **attributes: Any
    ) -> E:
        """Return an exception with the attributes of the response."""
        code = f" ({self.code})" if self.code else ""
        is_safe = self.text in _KNOWN_MESSAGES or self.is_safe(self.text)
        return cls(
            f"{failure}{code}{reason}. {hint}",
            status_code=self.status,
            code=self.code,
            message=self.text if is_safe else "",
            **attributes,
        )


def _parse_error_body(content: bytes) -> dict[str, Any] | None:
    """Return the body of an error of the Zulip API, or None for anything else.

    The content type is ignored: Zulip sends a 405 as JSON labelled HTML.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    match body:
        case {"result": "error", "msg": str()}:
            return cast("dict[str, Any]", body)
    return None


# For each code: the exception, the reason and a hint.
_LOGIN_ERRORS: dict[str, tuple[type[AuthenticationFailedError], str, str]] = {
    "AUTHENTICATION_FAILED": (
        AuthenticationFailedError,
        "incorrect username or password",
        "Check both before retrying.",
    ),
    "USER_DEACTIVATED": (
        UserDeactivatedError,
        "the account is deactivated",
        "Ask an organization administrator to reactivate it.",
    ),
    "REALM_DEACTIVATED": (
        RealmDeactivatedError,
        "the organization is deactivated",
        "Contact its owners or the server administrator.",
    ),
    "PASSWORD_AUTH_DISABLED": (
        PasswordAuthDisabledError,
        "password login is disabled in this organization",
        "Use SSO, or copy the API key from your Zulip settings.",
    ),
    "PASSWORD_RESET_REQUIRED": (
        PasswordResetRequiredError,
        "the password must be reset",
        "Reset it on the organization's login page.",
    ),
}
# The reasons for AUTHENTICATION_FAILED, except for an account with a password.
_METHOD_REASONS = {
    "dev": (
        "no such account, or development login is disabled in this organization",
        "Check the username.",
    ),
    "bot": (
        "bots have no password, or this one is incorrect",
        "Get a bot's API key with AuthClient.bots(), or from its owner's Zulip settings.",
    ),
    "jwt": (
        "the token is valid, but no account has its email address",
        "Check the token's email claim.",
    ),
}
_KNOWN_CODES = {
    *_LOGIN_ERRORS,
    "NONEXISTENT_SUBDOMAIN",
    "BAD_REQUEST",
    "REQUEST_VARIABLE_MISSING",
    "REQUEST_VARIABLE_INVALID",
    "RATE_LIMIT_HIT",
    "SERVER_NOT_READY",
    "UNAUTHORIZED",
    "INVALID_API_KEY",
}
# Servers before 5.0 send a reason in place of a code.
_LEGACY_REASONS = {
    "user disable": "USER_DEACTIVATED",
    "realm deactivated": "REALM_DEACTIVATED",
    "password auth disabled": "PASSWORD_AUTH_DISABLED",
    "password reset needed": "PASSWORD_RESET_REQUIRED",
}
_DEV_AUTH_DISABLED = {
    "Dev environment not enabled.",  # before 4.0
    "DevAuthBackend not enabled.",
    "Endpoint not available in production.",
}
# The code is the same for all rejected keys; the message has the reason.
_KEY_CODES = {
    "Account is deactivated": "USER_DEACTIVATED",
    "This organization has been deactivated": "REALM_DEACTIVATED",
    "Account is not associated with this subdomain": "NONEXISTENT_SUBDOMAIN",
}
# A password may be a part of one of these, which does not make it a repetition.
_KNOWN_MESSAGES = {
    *_KEY_CODES,
    "API usage exceeded rate limit",
    "Enter a valid email address.",
    "Internal server error",
    "Invalid API key",
    "Invalid subdomain",
    "Malformed API key",
    "Password authentication is disabled in this organization",
    "Your account has been disabled.",
    "Your password has been disabled and needs to be reset",
    "Your username or password is incorrect",
    "Your username or password is incorrect.",
}
_INVALID_KEY = ("it is invalid or revoked, or belongs to another account", "Log in again.")
_KEY_REASONS = {
    "Invalid API key": _INVALID_KEY,
    "Malformed API key": _INVALID_KEY,
    "Not logged in: API authentication or user session required": (
        "the Authorization header is missing",
        "A proxy may be stripping it.",
    ),
    "Invalid authorization header for basic auth": (
        "the Authorization header is malformed",
        "A proxy may be changing it.",
    ),
    "This API is not available to incoming webhook bots.": (
        "incoming webhook bots can only use their webhook URL",
        "Use a generic bot.",
    ),
}
_UNKNOWN_KEY_REASON = (
    "it is invalid or revoked, belongs to another account, or the account is deactivated",
    "Log in again.",
)

_USERNAME_HINT = "Check the username format; most organizations use email addresses."
_SERVER_MESSAGE_HINT = "See the server's message for details."
_BAD_REQUEST_HINTS = {
    "password": _USERNAME_HINT,
    "dev": _USERNAME_HINT,
    "jwt": "JWT login may be disabled, or the token invalid; see the server's message.",
}


def _error_for_code(error: _ErrorResponse) -> APIStatusError:
    site, auth, code = error.site, error.auth, error.code
    unauthorized = error.status == 401 or (error.status == 403 and error.body.get("code") is None)
    if auth == "api_key" and unauthorized:
        code = _KEY_CODES.get(error.text, code)
    if code == "NONEXISTENT_SUBDOMAIN" or error.text == "Invalid subdomain":
        or_other = "" if auth == "none" else ", or the account belongs to a different one"
        failure = f"No organization at {site}{or_other}"
        return error.exception(InvalidSubdomainError, failure, "Check the organization URL.")
    if auth == "none" and error.text == "Subdomain required":
        failure = f"{site} is a server's root domain, not an organization"
        return error.exception(SubdomainRequiredError, failure, "Use the URL of an organization.")
    if auth == "dev" and (error.text in _DEV_AUTH_DISABLED or not error.is_from_zulip):
        failure = f"Development login is not available on {site}"
        return error.exception(DevAuthDisabledError, failure, "Log in with a password.")
    if auth == "api_key" and unauthorized and code not in ("USER_DEACTIVATED", "REALM_DEACTIVATED"):
        reason, hint = _KEY_REASONS.get(error.text, _UNKNOWN_KEY_REASON)
        failure = f"{site} rejected the API key"
        return error.exception(InvalidApiKeyError, failure, hint, reason=f": {reason}")
    if code in _LOGIN_ERRORS or (unauthorized and auth != "none"):
        code = code or _LEGACY_REASONS.get(str(error.body.get("reason")), "AUTHENTICATION_FAILED")
        return _authentication_failed(error, code)
    if error.status == 400:
        hint = _BAD_REQUEST_HINTS.get(auth, _SERVER_MESSAGE_HINT)
        return error.exception(BadRequestError, f"{site} rejected the request as invalid", hint)
    failure = f"{site} rejected the request: HTTP {error.status}"
    return error.exception(APIStatusError, failure, _SERVER_MESSAGE_HINT)


def _authentication_failed(error: _ErrorResponse, code: str) -> AuthenticationFailedError:
    cls, reason, hint = _LOGIN_ERRORS.get(
        code, (AuthenticationFailedError, "no reason given by the server", "Check the account.")
    )
    if code == "AUTHENTICATION_FAILED":
        method = "bot" if "-bot@" in (error.username or "").lower() else error.auth
        reason, hint = _METHOD_REASONS.get(method, (reason, hint))
    failure = f"Login to {error.site} failed"
    if error.auth == "api_key":
        failure = f"{error.site} rejected the API key"
    remaining = _attempts_remaining(error)
    if remaining is not None:
        hint += f" {_format_remaining(remaining)}"
    return error.exception(cls, f"{failure}: {reason}", hint, attempts_remaining=remaining)


def _attempts_remaining(error: _ErrorResponse) -> int | None:
    if not error.is_login:
        return None  # the header counts requests
    count = error.headers.get("x-ratelimit-remaining", "")
    return int(count) if _COUNT_RE.fullmatch(count) else None


def _format_remaining(count: int) -> str:
    if count == 0:
        return (
            "No attempts remaining; further logins are blocked for a while, even with the "
            "correct password."
        )
    return f"{count} attempt{'s' * (count != 1)} remaining."


def _rate_limited(error: _ErrorResponse) -> RateLimitedError:
    seconds = _retry_after(error)
    failure, reason = f"Too many requests to {error.site}", ""
    hint = "Try again later" if seconds is None else f"Try again in {_format_duration(seconds)}"
    if error.is_login:
        failure = f"Too many login attempts on {error.site}"
        reason = ", wrong passwords or simultaneous logins with the correct one"
        hint += "; until then even the correct password is rejected"
    return error.exception(
        RateLimitedError, failure, f"{hint}.", reason=reason, retry_after=seconds
    )


def _format_duration(seconds: float) -> str:
    if seconds >= 120:
        return f"{math.ceil(seconds / 60)} minutes"
    whole = math.ceil(seconds)
    return f"{whole} second{'s' * (whole != 1)}"


def _retry_after(error: _ErrorResponse) -> float | None:
    """Return the seconds that a 429 asks for, by its header, else by its body."""
    header = error.headers.get("retry-after", "")
    if _HTTP_DATE_RE.fullmatch(header):  # as a proxy in front of Zulip may send it
        with suppress(ValueError):
            return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    seconds = _parse_seconds(header)
    return _parse_seconds(error.body.get("retry-after")) if seconds is None else seconds


def _parse_seconds(value: object) -> float | None:
    """Return a number of seconds; Zulip sends fractions, and rarely `null`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _redirect(error: _ErrorResponse) -> InvalidResponseError:
    """Return an exception with the host or, on the same host, the path of a redirect."""
    location = error.headers.get("location")
    try:
        url = urlsplit(urljoin(f"{error.site}/", location) if location else "")
    except ValueError:
        url = urlsplit("")
    host = url.netloc.rpartition("@")[2]
    is_same_host = bool(url.scheme) and f"{url.scheme}://{host}" == error.site
    target, hint = "another address", "Check the URL."
    if is_same_host and _PATH_RE.fullmatch(url.path) and error.is_safe(url.path):
        target = url.path
    if not is_same_host and _HOST_RE.fullmatch(host) and error.is_safe(host):
        target, hint = host, f"If {host} is correct, use it as the site."
    return InvalidResponseError(
        f"{error.site} redirected to {target} (HTTP {error.status}), which was not followed. "
        f"{hint}",
        status_code=error.status,
    )


# ---- No response


def error_from_exception(
    exception: Exception, failure: Failure, site: str, *, sent: bool, proxy: str | None = None
) -> APIConnectionError | InvalidResponseError:
    """Return the exception for a request without a response.

    Args:
        exception: The exception of a transport. It leads to the request, so no
            part of it is kept.
        failure: What the exception means.
        site: The organization URL.
        sent: Whether the server may have received the request.
        proxy: The host of the proxy, if there is one.
    """
    if failure == "protocol":
        return InvalidResponseError(
            f"Invalid HTTP response from {site}. Check the URL and port.", status_code=None
        )
    if failure == "timeout":
        phase = "waiting for a response from" if sent else "connecting to"
        return APITimeoutError(
            f"Timed out {phase} {site}. Try again later or increase the timeout.", sent=sent
        )
    chain = exception_chain(exception)
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
    os_reasons = filter(None, map(_os_reason, chain))
    # Skip timeouts: httpx-aiohttp raises them for other failures.
    names = [type(exc).__name__ for exc in chain if "Timeout" not in type(exc).__name__]
    reason = next(os_reasons, names[0] if names else "no reason given")
    summary = f"Could not connect to {site}"
    hint = "Check the URL, the server and any proxy."
    if sent:
        summary = f"Lost the connection to {site} before the response was complete"
        hint = "Try again later."
    elif failure == "proxy":
        reason = "proxy rejected the connection"
    elif proxy and failure == "connect":
        summary = f"Could not connect to the proxy {proxy}"
        hint = "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY."
    return APIConnectionError(f"{summary} ({reason}). {hint}", sent=sent)


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


def _tls_reason(error: ssl.SSLError) -> str | None:
    reason = getattr(error, "reason", None)
    if reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED":
        return "the server requires a client certificate"
    return getattr(error, "verify_message", None) or reason


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
