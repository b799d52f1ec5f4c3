"""Map error responses to exceptions."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from attrs import frozen

from zulip_auth._exceptions import (
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

from .context import RawResponse, RequestContext

_CODE_RE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_HOST_RE = re.compile(r"[A-Za-z0-9._:\[\]-]{1,253}")
_PATH_RE = re.compile(r"/[A-Za-z0-9._~/-]{0,200}")
_COUNT_RE = re.compile(r"[0-9]{1,9}")
_HTTP_DATE_RE = re.compile(
    r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT", re.ASCII
)


def error_from_response(response: RawResponse, context: RequestContext) -> ZulipAuthError:
    """Return the exception for a response with any status code but 200."""
    status = response.status_code
    body = _parse_error_body(response)
    details = _ErrorDetails.from_body(body or {}, context)
    if 300 <= status <= 399:
        return _redirect(response, context)
    if status == 429:
        return _rate_limited(response, body or {}, details, context)
    if 500 <= status <= 599:
        return ServerError(
            f"Server error from {context.site}: HTTP {status}{details.code_suffix}. "
            "Try again later.",
            **details.as_kwargs(status),
            attempts_remaining=_attempts_remaining(response, context),
        )
    if body is None and status == 404 and context.auth == "dev":
        return _dev_auth_disabled(status, details, context)
    if body is None or status < 400:
        return invalid_response(context, status)
    return _error_for_code(response, body, details, context)


def invalid_response(context: RequestContext, status_code: int) -> InvalidResponseError:
    """Return the exception for a response that is not from the Zulip API."""
    by = "a proxy or another service" if status_code != 200 else "another service"
    version_hint = " JWT login requires Zulip 7.0 or later." if context.auth == "jwt" else ""
    return InvalidResponseError(
        f"{context.site} returned HTTP {status_code} with a response that is not from the "
        f"Zulip API. Check the URL; {by} may be responding.{version_hint}",
        status_code=status_code,
    )


@frozen
class _ErrorDetails:
    """The parts of an error body that may appear in an exception."""

    code: str | None
    message: str

    @classmethod
    def from_body(cls, body: Mapping[str, Any], context: RequestContext) -> _ErrorDetails:
        code, message = body.get("code"), body.get("msg", "")
        if (
            not isinstance(code, str)
            or not _CODE_RE.fullmatch(code)
            or not (code in _KNOWN_CODES or context.is_safe(code))
        ):
            code = None
        if not (message in _KNOWN_MESSAGES or context.is_safe(message)):
            message = ""
        return cls(code, message)

    @property
    def code_suffix(self) -> str:
        return f" ({self.code})" if self.code else ""

    def as_kwargs(self, status_code: int) -> dict[str, Any]:
        return {"status_code": status_code, "code": self.code, "message": self.message}


def _parse_error_body(response: RawResponse) -> dict[str, Any] | None:
    """Return the body of an error of the Zulip API, or None for anything else.

    The content type is ignored: Zulip sends a 405 as JSON labelled HTML.
    """
    if response.content is None:
        return None
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    if (
        isinstance(body, dict)
        and body.get("result") == "error"
        and isinstance(body.get("msg"), str)
    ):
        return body
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
# A password may be a part of one of these, which does not make it a repetition.
_KNOWN_MESSAGES = {
    "API usage exceeded rate limit",
    "Account is deactivated",
    "Account is not associated with this subdomain",
    "Enter a valid email address.",
    "Internal server error",
    "Invalid API key",
    "Invalid subdomain",
    "Malformed API key",
    "Password authentication is disabled in this organization",
    "This organization has been deactivated",
    "Your account has been disabled.",
    "Your password has been disabled and needs to be reset",
    "Your username or password is incorrect",
    "Your username or password is incorrect.",
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
    "api_key": _SERVER_MESSAGE_HINT,
    "none": _SERVER_MESSAGE_HINT,
}


def _error_for_code(
    response: RawResponse,
    body: Mapping[str, Any],
    details: _ErrorDetails,
    context: RequestContext,
) -> APIStatusError:
    status, site, auth = response.status_code, context.site, context.auth
    unauthorized = status == 401 or (status == 403 and body.get("code") is None)
    code = details.code
    if auth == "api_key" and unauthorized:
        code = _KEY_CODES.get(body["msg"], code)
    if code == "NONEXISTENT_SUBDOMAIN" or body["msg"] == "Invalid subdomain":
        or_other = "" if auth == "none" else ", or the account belongs to a different one"
        return InvalidSubdomainError(
            f"No organization at {site}{or_other}{details.code_suffix}. "
            "Check the organization URL.",
            **details.as_kwargs(status),
        )
    if auth == "none" and body["msg"] == "Subdomain required":
        return SubdomainRequiredError(
            f"{site} is a server's root domain, not an organization{details.code_suffix}. "
            "Use the URL of an organization.",
            **details.as_kwargs(status),
        )
    if auth == "dev" and body["msg"] in _DEV_AUTH_DISABLED:
        return _dev_auth_disabled(status, details, context)
    if auth == "api_key" and unauthorized and code not in ("USER_DEACTIVATED", "REALM_DEACTIVATED"):
        reason, hint = _KEY_REASONS.get(body["msg"], _UNKNOWN_KEY_REASON)
        return InvalidApiKeyError(
            f"{site} rejected the API key{details.code_suffix}: {reason}. {hint}",
            **details.as_kwargs(status),
        )
    if code in _LOGIN_ERRORS or (unauthorized and auth != "none"):
        code = code or _LEGACY_REASONS.get(str(body.get("reason")), "AUTHENTICATION_FAILED")
        return _authentication_failed(response, code, details, context)
    if status == 400:
        return BadRequestError(
            f"{site} rejected the request as invalid{details.code_suffix}. "
            f"{_BAD_REQUEST_HINTS[auth]}",
            **details.as_kwargs(status),
        )
    return APIStatusError(
        f"{site} rejected the request: HTTP {status}{details.code_suffix}. {_SERVER_MESSAGE_HINT}",
        **details.as_kwargs(status),
    )


def _authentication_failed(
    response: RawResponse, code: str, details: _ErrorDetails, context: RequestContext
) -> AuthenticationFailedError:
    error, reason, hint = _LOGIN_ERRORS.get(
        code, (AuthenticationFailedError, "no reason given by the server", "Check the account.")
    )
    if context.auth == "dev" and code == "AUTHENTICATION_FAILED":
        reason = "no such account, or development login is disabled in this organization"
        hint = "Check the username."
    if context.is_bot and code == "AUTHENTICATION_FAILED":
        reason = "bots have no password, or this one is incorrect"
        hint = "Get a bot's API key with AuthClient.bots(), or from its owner's Zulip settings."
    if context.auth == "jwt" and code == "AUTHENTICATION_FAILED":
        reason = "the token is valid, but no account has its email address"
        hint = "Check the token's email claim."
    subject = (
        f"{context.site} rejected the API key"
        if context.auth == "api_key"
        else f"Login to {context.site} failed"
    )
    remaining = _attempts_remaining(response, context)
    suffix = "" if remaining is None else f" {_format_remaining(remaining)}"
    return error(
        f"{subject}: {reason}{details.code_suffix}. {hint}{suffix}",
        **details.as_kwargs(response.status_code),
        attempts_remaining=remaining,
    )


def _attempts_remaining(response: RawResponse, context: RequestContext) -> int | None:
    if context.auth in ("api_key", "none"):
        return None  # the header counts requests
    count = response.headers.get("x-ratelimit-remaining", "")
    return int(count) if _COUNT_RE.fullmatch(count) else None


def _format_remaining(count: int) -> str:
    if count == 0:
        return (
            "No attempts remaining; further logins are blocked for a while, even with the "
            "correct password."
        )
    return f"{count} attempt{'s' * (count != 1)} remaining."


def _dev_auth_disabled(
    status: int, details: _ErrorDetails, context: RequestContext
) -> DevAuthDisabledError:
    return DevAuthDisabledError(
        f"Development login is not available on {context.site}{details.code_suffix}. "
        "Log in with a password.",
        **details.as_kwargs(status),
    )


def _rate_limited(
    response: RawResponse,
    body: Mapping[str, Any],
    details: _ErrorDetails,
    context: RequestContext,
) -> RateLimitedError:
    seconds = _retry_after(response, body)
    wait = "later" if seconds is None else f"in {_format_duration(seconds)}"
    if context.auth in ("api_key", "none"):
        summary = f"Too many requests to {context.site}{details.code_suffix}. Try again {wait}."
    else:
        summary = (
            f"Too many login attempts on {context.site}{details.code_suffix}, wrong passwords or "
            f"simultaneous logins with the correct one. Try again {wait}; until then even the "
            "correct password is rejected."
        )
    return RateLimitedError(summary, **details.as_kwargs(response.status_code), retry_after=seconds)


def _format_duration(seconds: float) -> str:
    if seconds >= 120:
        return f"{math.ceil(seconds / 60)} minutes"
    whole = math.ceil(seconds)
    return f"{whole} second{'s' * (whole != 1)}"


def _retry_after(response: RawResponse, body: Mapping[str, Any]) -> float | None:
    """Return the seconds that a 429 asks for, by its header, else by its body."""
    header = response.headers.get("retry-after", "")
    candidates = (
        _parse_seconds(header),
        _parse_http_date(header),
        _parse_seconds(body.get("retry-after")),
    )
    return next((seconds for seconds in candidates if seconds is not None), None)


def _parse_seconds(value: object) -> float | None:
    """Return a number of seconds; Zulip sends fractions, and rarely `null`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _parse_http_date(value: str) -> float | None:
    """Return the seconds until a date, as a proxy in front of Zulip may send it."""
    if not _HTTP_DATE_RE.fullmatch(value):
        return None
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())


def _redirect(response: RawResponse, context: RequestContext) -> InvalidResponseError:
    target, hint = _redirect_target(response, context)
    return InvalidResponseError(
        f"{context.site} redirected to {target} (HTTP {response.status_code}), which was not "
        f"followed. {hint}",
        status_code=response.status_code,
    )


def _redirect_target(response: RawResponse, context: RequestContext) -> tuple[str, str]:
    """Return the host or, on the same host, the path of a redirect, and a hint."""
    location = response.headers.get("location", "")
    try:
        url = urlsplit(urljoin(f"{context.site}/", location) if location else "")
    except ValueError:
        url = urlsplit("")
    host = url.netloc.rpartition("@")[2]
    is_same_host = bool(url.scheme) and f"{url.scheme}://{host}" == context.site
    if is_same_host and _PATH_RE.fullmatch(url.path) and context.is_safe(url.path):
        return url.path, "Check the URL."
    if not is_same_host and _HOST_RE.fullmatch(host) and context.is_safe(host):
        return host, f"If {host} is correct, use it as the site."
    return "another address", "Check the URL."
