"""Map error responses to exceptions. No I/O."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Literal, cast
from urllib.parse import urljoin, urlsplit

from attrs import field, frozen

from . import _exceptions as exceptions
from ._network_errors import Attempt
from ._redaction import repeats_secret

AuthMethod = Literal["password", "dev", "jwt", "api_key", "none"]
"""How a request authenticates."""

_CODE_RE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_COUNT_RE = re.compile(r"[0-9]{1,9}")
_REDIRECT_TARGET_RE = re.compile(r"[A-Za-z0-9._~:/\[\]-]{1,253}")
# nginx, Apache and Go (Caddy, Traefik) respond so to http on a port for https.
_HTTPS_PORT_RE = re.compile(
    rb"plain HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL-enabled"
    rb"|sent an HTTP request to an HTTPS server"
)
# Their names in the headers Server and Via. No other text of these is repeated.
_GATEWAYS = (
    *("Cloudflare", "CloudFront", "awselb", "AkamaiGHost", "Microsoft-IIS", "Google Frontend"),
    *("OpenResty", "nginx", "Caddy", "Apache", "HAProxy", "Varnish", "Envoy", "Traefik", "Squid"),
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
    content: bytes,
    context: RequestContext,
    attempt: Attempt,
) -> exceptions.ZulipAuthError:
    """Return the exception for a response with any status code but 200.

    Args:
        status: The HTTP status code.
        headers: The headers, by lowercase name.
        content: The body; empty if it could not be read.
        context: The request.
        attempt: The attempt that got the response.
    """
    site, auth, sender = context.site, context.auth, _sender(headers, attempt)
    if status == 407 and attempt.proxy_setting:
        message = attempt.proxy_rejection(site, status)
        return exceptions.InvalidResponseError(message, status_code=status)
    if 300 <= status <= 399:
        return _redirect(context, status, headers.get("location"), sender)
    body = _parse_error_body(content)
    challenge = headers.get("www-authenticate") if status == 401 else None
    if challenge and 'realm="zulip"' not in challenge.lower():
        body = {}
    kind = _kind(status, body, context)
    if kind is None:
        if site.startswith("http:") and _HTTPS_PORT_RE.search(content):
            message = f"{site} expects https on this port. Use https{site[4:]}."
            return exceptions.InvalidResponseError(message, status_code=status)
        return invalid_response(context, status, sender)
    cls, message = _ERRORS.get(f"{auth}: {kind}") or _ERRORS[kind]
    code = _code(body)
    if code not in _ERRORS and not context.is_safe(code):
        code = ""
    origin = f" ({code})" if code else ""
    attributes: dict[str, Any] = {}
    wait, remaining = None, None
    if issubclass(cls, exceptions.RateLimitedError):
        attributes["retry_after"] = wait = _retry_after(headers, body)
    elif issubclass(cls, exceptions.AuthenticationFailedError | exceptions.ServerError):
        count = headers.get("x-ratelimit-remaining", "")
        # Without a login, the header counts requests.
        if auth not in ("api_key", "none") and _COUNT_RE.fullmatch(count):
            remaining = int(count)
        attributes["attempts_remaining"] = remaining
    message = message.format(
        site=site,
        failed=f"{site} rejected the API key" if auth == "api_key" else f"Login to {site} failed",
        code=origin if body else f", {_not_from_zulip(sender)}",
        status=status,
        wait="later" if wait is None else f"in {_format_duration(wait)}",
    )
    if issubclass(cls, exceptions.AuthenticationFailedError) and remaining is not None:
        message += f" {_format_remaining(remaining)}"
    text = body.get("msg", "")
    text = text if context.is_safe(text) else ""
    return cls(message, status_code=status, code=code or None, message=text, **attributes)


def invalid_response(
    context: RequestContext, status_code: int, sender: str = ""
) -> exceptions.InvalidResponseError:
    """Return the exception for a response that is not from the Zulip API."""
    hint = "a proxy or another service may be responding."
    if status_code == 200:
        hint = "another service may be responding."
    elif status_code in (401, 403, 407):
        hint = _gateway_hint(context)
    elif context.auth == "jwt" and status_code == 404:
        hint += " JWT login requires Zulip 7.0 or later."
    return exceptions.InvalidResponseError(
        f"{context.site} returned HTTP {status_code} with a response that is "
        f"{_not_from_zulip(sender)}. Check the URL; {hint}",
        status_code=status_code,
    )


def _not_from_zulip(sender: str) -> str:
    return "not from the Zulip API" + (f" ({sender})" if sender else "")


def _gateway_hint(context: RequestContext) -> str:
    if context.headers:
        return "an access gateway may have rejected what you passed as headers."
    return "an access gateway may be responding, which expects headers of its own (headers=)."


def _sender(headers: Mapping[str, str], attempt: Attempt) -> str:
    text = f"{headers.get('server')} {headers.get('via')} {'cf-ray' in headers and 'cloudflare'}"
    for name in _GATEWAYS:
        if name.lower() in text.lower():
            return f"sent by {name}"
    return f"possibly sent by the proxy {attempt.peer_proxy}" if attempt.peer_proxy else ""


def _parse_error_body(content: bytes) -> dict[str, Any]:
    """Return the body of an error of the Zulip API; empty for anything else.

    The content type is ignored: Zulip sends a 405 as JSON labelled HTML.
    """
    with suppress(ValueError, RecursionError):
        match json.loads(content):
            case {"result": "error", "msg": str()} as body:
                return cast("dict[str, Any]", body)
    return {}


def _code(body: Mapping[str, Any]) -> str:
    """Return the code of an error; empty without a valid one."""
    code = body.get("code")
    return code if isinstance(code, str) and _CODE_RE.fullmatch(code) else ""


# The exception and the message for each code of the server, and for what has no code of its own.
# One for an authentication method comes first.
_ERRORS: dict[str, tuple[type[exceptions.APIStatusError], str]] = {
    "AUTHENTICATION_FAILED": (
        exceptions.AuthenticationFailedError,
        "{failed}: incorrect username or password{code}. Check both before retrying.",
    ),
    "dev: AUTHENTICATION_FAILED": (
        exceptions.AuthenticationFailedError,
        "{failed}: no such account, or development login is disabled{code}. Check the username.",
    ),
    "jwt: AUTHENTICATION_FAILED": (
        exceptions.AuthenticationFailedError,
        "{failed}: no account has the token's email address{code}. Check the email claim.",
    ),
    "login of a bot": (
        exceptions.AuthenticationFailedError,
        "{failed}: bots have no password, or this one is incorrect{code}. "
        "Get a bot's API key with AuthClient.bots(), or from its owner's Zulip settings.",
    ),
    "unknown login error": (
        exceptions.AuthenticationFailedError,
        "{failed}: no reason given by the server{code}. Check the account.",
    ),
    "USER_DEACTIVATED": (
        exceptions.UserDeactivatedError,
        "{failed}: the account is deactivated{code}. Ask an administrator to reactivate it.",
    ),
    "REALM_DEACTIVATED": (
        exceptions.RealmDeactivatedError,
        "{failed}: the organization is deactivated{code}. Contact its owners.",
    ),
    "PASSWORD_AUTH_DISABLED": (
        exceptions.PasswordAuthDisabledError,
        "{failed}: password login is disabled in this organization{code}. "
        "Use SSO, or copy the API key from your Zulip settings.",
    ),
    "PASSWORD_RESET_REQUIRED": (
        exceptions.PasswordResetRequiredError,
        "{failed}: the password must be reset{code}. Reset it on the organization's login page.",
    ),
    "NONEXISTENT_SUBDOMAIN": (
        exceptions.InvalidSubdomainError,
        "No organization at {site}, or the account belongs to a different one{code}. "
        "Check the organization URL.",
    ),
    "none: NONEXISTENT_SUBDOMAIN": (
        exceptions.InvalidSubdomainError,
        "No organization at {site}{code}. Check the organization URL.",
    ),
    "root domain": (
        exceptions.SubdomainRequiredError,
        "{site} is a server's root domain, not an organization{code}. "
        "Use the URL of an organization.",
    ),
    "no development login": (
        exceptions.DevAuthDisabledError,
        "Development login is not available on {site}. Log in with a password.",
    ),
    "invalid key": (
        exceptions.InvalidApiKeyError,
        "{failed}{code}: it is invalid or revoked, or belongs to another account. Log in again.",
    ),
    "invalid header": (
        exceptions.InvalidApiKeyError,
        "{failed}{code}: the Authorization header is missing or malformed. "
        "A proxy may be stripping or changing it.",
    ),
    "webhook bot": (
        exceptions.InvalidApiKeyError,
        "{failed}{code}: incoming webhook bots can only use their webhook URL. Use a generic bot.",
    ),
    "invalid address": (
        exceptions.BadRequestError,
        "{site} rejected the username: it is not an email address{code}. "
        "Use the account's email address.",
    ),
    "password: invalid request": (
        exceptions.BadRequestError,
        "{site} rejected the request as invalid{code}. "
        "Check the username format; most organizations use email addresses.",
    ),
    "invalid request": (
        exceptions.BadRequestError,
        "{site} rejected the request as invalid{code}. See the server's message for details.",
    ),
    "login limit": (
        exceptions.RateLimitedError,
        "Too many login attempts on {site}{code}. Try again {wait}; until then even the correct "
        "password is rejected, unless another login with it has just succeeded, which ends the "
        "block.",
    ),
    "429": (
        exceptions.RateLimitedError,
        "Too many requests to {site}: HTTP 429{code}. Try again {wait}.",
    ),
    "5xx": (
        exceptions.ServerError,
        "Server error from {site}: HTTP {status}{code}. Try again later.",
    ),
    "other": (
        exceptions.APIStatusError,
        "{site} rejected the request: HTTP {status}{code}. See the server's message for details.",
    ),
}
# Servers before 5.0 send a reason in place of a code.
_LEGACY_REASONS = {
    "user disable": "USER_DEACTIVATED",
    "realm deactivated": "REALM_DEACTIVATED",
    "password auth disabled": "PASSWORD_AUTH_DISABLED",
    "password reset needed": "PASSWORD_RESET_REQUIRED",
}
# Some errors have a message, and no code of their own. It is translated by few servers.
_BY_TEXT: dict[str, dict[str, str]] = {
    "none": {"Subdomain required": "root domain"},
    "dev": {
        "Dev environment not enabled.": "no development login",  # before 4.0
        "DevAuthBackend not enabled.": "no development login",
        "Endpoint not available in production.": "no development login",
    },
    "api_key": {
        "Account is deactivated": "USER_DEACTIVATED",
        "This organization has been deactivated": "REALM_DEACTIVATED",
        "Account is not associated with this subdomain": "NONEXISTENT_SUBDOMAIN",
        "Not logged in: API authentication or user session required": "invalid header",
        "Invalid authorization header for basic auth": "invalid header",
        "This API is not available to incoming webhook bots.": "webhook bot",
    },
    "any": {
        "Invalid subdomain": "NONEXISTENT_SUBDOMAIN",
        "Enter a valid email address.": "invalid address",
    },
}


def _kind(status: int, body: Mapping[str, Any], context: RequestContext) -> str | None:
    """Return the key of an error in the table of errors; None if it is not from Zulip."""
    auth, code, text = context.auth, _code(body), body.get("msg")
    if status == 429:
        return "login limit" if body and auth == "password" else "429"
    if 500 <= status <= 599:
        return "5xx"
    if status < 400 or not body:
        return "no development login" if auth == "dev" and status == 404 else None
    for texts in (_BY_TEXT["any"], _BY_TEXT.get(auth, {})):
        if text in texts:
            return texts[text]
    is_unauthorized = status == 401 or (status == 403 and body.get("code") is None)
    if auth == "api_key" and is_unauthorized and code not in _BY_TEXT["api_key"].values():
        return "invalid key"
    if auth != "none" and is_unauthorized and not code:
        code = _LEGACY_REASONS.get(str(body.get("reason")), "AUTHENTICATION_FAILED")
    if code == "AUTHENTICATION_FAILED" and "-bot@" in (context.username or "").lower():
        return "login of a bot"
    if code in _ERRORS:
        return code
    if auth != "none" and is_unauthorized:
        return "unknown login error"
    return "invalid request" if status == 400 else "other"


def _format_remaining(count: int) -> str:
    if count == 0:
        return (
            "No attempts remaining; further logins are blocked for a while, even with the "
            "correct password."
        )
    return f"{count} attempt{'s' * (count != 1)} remaining."


def _format_duration(seconds: float) -> str:
    if seconds >= 120:
        return f"{math.ceil(seconds / 60)} minutes"
    whole = math.ceil(seconds)
    return f"{whole} second{'s' * (whole != 1)}"


def _retry_after(headers: Mapping[str, str], body: Mapping[str, Any]) -> float | None:
    """Return the seconds that a 429 asks for, by its header, else by its body."""
    header = headers.get("retry-after", "")
    with suppress(ValueError, OverflowError):  # a date, as a proxy in front of Zulip may send it
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    for value in (header, body.get("retry-after")):
        with suppress(TypeError, ValueError, OverflowError):
            seconds = float(value)  # type: ignore[arg-type]
            if math.isfinite(seconds) and seconds >= 0:
                return seconds
    return None


def _redirect(
    context: RequestContext, status: int, location: str | None, sender: str
) -> exceptions.InvalidResponseError:
    """Return an exception with the host or, on the same host, the path of a redirect."""
    url = urlsplit("")
    with suppress(ValueError):
        url = urlsplit(urljoin(f"{context.site}/", location) if location else "")
    target = host = url.netloc.rpartition("@")[2]
    hint = f"If {host} is correct, use it as the site."
    if f"{url.scheme}://{host}" == context.site:
        target, hint = url.path, "Check the URL."
    if not (_REDIRECT_TARGET_RE.fullmatch(target) and context.is_safe(target)):
        target, hint = "another address", "Check the URL."
    elif not re.match(r"/?$|/api/", url.path):  # a login page
        hint = f"Check the URL; {_gateway_hint(context)}"
    origin = f"HTTP {status}, {sender}" if sender else f"HTTP {status}"
    return exceptions.InvalidResponseError(
        f"{context.site} redirected to {target} ({origin}), which was not followed. {hint}",
        status_code=status,
    )
