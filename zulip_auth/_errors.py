"""Map error responses to exceptions. No I/O."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urljoin, urlsplit

from attrs import field, frozen

from ._exceptions import (
    APIStatusError,
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
    UserDeactivatedError,
    ZulipAuthError,
)
from ._network_errors import DIRECT, Route
from ._redaction import repeats_secret

AuthMethod = Literal["password", "dev", "jwt", "api_key", "none"]
"""How a request authenticates."""

E = TypeVar("E", bound=APIStatusError)

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
        headers: The caller's own headers.
    """

    site: str
    auth: AuthMethod
    secrets: tuple[str, ...] = field(default=(), repr=False)
    username: str | None = None
    authorization: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)

    def is_safe(self, text: str) -> bool:
        """Return whether a server's text does not repeat a secret of the request."""
        return not repeats_secret(text, self.secrets)


def error_from_response(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    context: RequestContext,
    route: Route = DIRECT,
) -> ZulipAuthError:
    """Return the exception for a response with any status code but 200.

    Args:
        status: The HTTP status code.
        headers: The headers, by lowercase name.
        body: The body; empty if it could not be read.
        context: The request.
        route: The connection of the request.
    """
    error = _ErrorResponse(status, headers, body, context, route)
    if status == 407 and route.proxy_setting:
        return InvalidResponseError(route.proxy_rejection(error.site, status), status_code=status)
    if 300 <= error.status <= 399:
        return _redirect(error)
    if error.status == 429:
        return _rate_limited(error)
    if 500 <= error.status <= 599:
        failure = f"Server error from {error.site}: HTTP {status}"
        remaining = _attempts_remaining(error)
        return error.exception(
            ServerError, failure, "Try again later.", attempts_remaining=remaining
        )
    is_unknown_endpoint = error.auth == "dev" and error.status == 404
    if error.status < 400 or not (error.is_from_zulip or is_unknown_endpoint):
        if error.site.startswith("http:") and _HTTPS_PORT_RE.search(body):
            return InvalidResponseError(
                f"{error.site} expects https on this port. Use https{error.site[4:]}.",
                status_code=status,
            )
        return invalid_response(context, status, error.origin)
    return _error_for_code(error)


def invalid_response(
    context: RequestContext, status_code: int, origin: str = "not from the Zulip API"
) -> InvalidResponseError:
    """Return the exception for a response that is not from the Zulip API."""
    hint = "Check the URL; a proxy or another service may be responding."
    if status_code == 200:
        hint = "Check the URL; another service may be responding."
    elif status_code in (401, 403, 407):
        hint = f"Check the URL; {_gateway_hint(context)}."
    elif context.auth == "jwt" and status_code == 404:
        hint += " JWT login requires Zulip 7.0 or later."
    return InvalidResponseError(
        f"{context.site} returned HTTP {status_code} with a response that is {origin}. {hint}",
        status_code=status_code,
    )


def _gateway_hint(context: RequestContext) -> str:
    if context.headers:
        return "an access gateway may have rejected what you passed as headers"
    return "an access gateway may be responding, which expects headers of its own (headers=)"


# Their names in the headers Server and Via. No other text of these is repeated.
_GATEWAYS = (
    *("Cloudflare", "CloudFront", "awselb", "AkamaiGHost", "Microsoft-IIS", "Google Frontend"),
    *("OpenResty", "nginx", "Caddy", "Apache", "HAProxy", "Varnish", "Envoy", "Traefik", "Squid"),
)
# nginx, Apache and Go (Caddy, Traefik) respond so to http on a port for https.
_HTTPS_PORT_RE = re.compile(
    rb"plain HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL-enabled"
    rb"|sent an HTTP request to an HTTPS server"
)


class _ErrorResponse:
    """An error response, and the parts of it that an exception may have.

    Attributes:
        is_from_zulip: Whether it is an error of the Zulip API.
        sender: What is known of who sent any other response.
        origin: The same in a sentence; empty for an error of the Zulip API.
        text: The server's message, which may repeat a secret.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        content: bytes,
        context: RequestContext,
        route: Route,
    ) -> None:
        self.status, self.headers, self.context = status, headers, context
        self.site, self.auth, self.username = context.site, context.auth, context.username
        self.is_safe = context.is_safe
        body = _parse_error_body(content)
        challenge = headers.get("www-authenticate", "") if status == 401 else ""
        if challenge and 'realm="zulip"' not in challenge.lower():
            body = None
        self.is_from_zulip = body is not None
        self.sender = _sender(headers, route)
        self.origin = ""
        if not self.is_from_zulip:
            self.origin = "not from the Zulip API" + (f" ({self.sender})" if self.sender else "")
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
        if self.origin and cls is not DevAuthDisabledError:
            reason = f", {self.origin}"
        is_known = self.text in _KNOWN_MESSAGES or _RATE_LIMIT_RE.fullmatch(self.text)
        return cls(
            f"{failure}{code}{reason}. {hint}",
            status_code=self.status,
            code=self.code,
            message=self.text if is_known or self.is_safe(self.text) else "",
            **attributes,
        )


def _sender(headers: Mapping[str, str], route: Route) -> str:
    text = f"{headers.get('server')} {headers.get('via')} {'cf-ray' in headers and 'cloudflare'}"
    for name in _GATEWAYS:
        if name.lower() in text.lower():
            return f"sent by {name}"
    return f"possibly sent by the proxy {route.proxy}" if route.proxy else ""


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
_INVALID_EMAIL = "Enter a valid email address."
# A password may be a part of one of these, which does not make it a repetition.
_KNOWN_MESSAGES = {
    *_KEY_CODES,
    _INVALID_EMAIL,
    "API usage exceeded rate limit",
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
# As newer servers send it: with a page of the API documentation, and no word that they choose.
_RATE_LIMIT_RE = re.compile(
    r"API usage exceeded rate limit; see https://zulip\.com/api/(?:(?:http|rest|rate|limit(?:s|ing)?|"
    r"error|handling|response|headers?|exceeded|the|of|a)[-#/]?)+\.?"
)
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
        failure = f"{site} rejected the request as invalid"
        hint = _BAD_REQUEST_HINTS.get(auth, _SERVER_MESSAGE_HINT)
        if error.text == _INVALID_EMAIL:
            failure = f"{site} rejected the username: it is not an email address"
            hint = "Use the account's email address."
        return error.exception(BadRequestError, failure, hint)
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
    failure = f"Too many requests to {error.site}"
    hint = "Try again later" if seconds is None else f"Try again in {_format_duration(seconds)}"
    if not error.is_from_zulip:
        failure += ": HTTP 429"
    elif error.is_login:
        failure = f"Too many login attempts on {error.site}"
    if error.is_from_zulip and error.auth == "password":
        hint += (
            "; until then even the correct password is rejected, unless another login with it "
            "has just succeeded, which ends the block"
        )
    return error.exception(RateLimitedError, failure, f"{hint}.", retry_after=seconds)


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
    if target != "another address" and not re.match(r"/?$|/api/", url.path):  # a login page
        hint = f"Check the URL; {_gateway_hint(error.context)}."
    status = ", ".join(filter(None, [f"HTTP {error.status}", error.sender]))
    return InvalidResponseError(
        f"{error.site} redirected to {target} ({status}), which was not followed. {hint}",
        status_code=error.status,
    )
