from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zulip_auth
from helpers.recordings import Exchange, load_recordings
from zulip_auth import ZulipAuthError
from zulip_auth._errors import RequestContext, error_from_response

SITE = "https://chat.example.com"
PASSWORD = "hunter2!"
LOGIN = RequestContext(SITE, "password", (PASSWORD,))
DEV_LOGIN = RequestContext(SITE, "dev")
BOT_LOGIN = RequestContext(SITE, "password", (PASSWORD,), "reminder-bot@zulip.com")
TOKEN = RequestContext(SITE, "jwt", ("a.b.c",))
API_KEY = RequestContext(SITE, "api_key", ("iago@zulip.com:k3y", "k3y"))
NO_CREDENTIALS = RequestContext(SITE, "none")


def error_from(
    status: int,
    body: bytes | str | dict[str, Any] = b"",
    headers: Mapping[str, str] | None = None,
    context: RequestContext = LOGIN,
) -> Any:
    """Return the exception for a response."""
    if isinstance(body, dict):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    error = error_from_response(status, headers or {}, body, context)
    assert isinstance(error, ZulipAuthError)
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
    return error


def error_body(msg: str = "No", **more: Any) -> dict[str, Any]:
    return {"result": "error", "msg": msg, **more}


# Class, code, attempts_remaining and retry_after of each recorded error.
RECORDED: dict[str, tuple[type[Any], str | None, int | None, float | None]] = {
    "fetch: wrong password": (
        zulip_auth.AuthenticationFailedError,
        "AUTHENTICATION_FAILED",
        4,
        None,
    ),
    "fetch: username not an email": (zulip_auth.BadRequestError, "BAD_REQUEST", None, None),
    "fetch: password missing": (
        zulip_auth.BadRequestError,
        "REQUEST_VARIABLE_MISSING",
        None,
        None,
    ),
    "fetch: GET": (zulip_auth.APIStatusError, None, None, None),
    "fetch: unknown subdomain": (
        zulip_auth.InvalidSubdomainError,
        "NONEXISTENT_SUBDOMAIN",
        None,
        None,
    ),
    "fetch: rate limit, bad attempt 5": (
        zulip_auth.AuthenticationFailedError,
        "AUTHENTICATION_FAILED",
        0,
        None,
    ),
    "fetch: rate limit, bad attempt 6": (
        zulip_auth.RateLimitedError,
        "RATE_LIMIT_HIT",
        None,
        1799.7959835529327,
    ),
    "fetch: user deactivated": (zulip_auth.UserDeactivatedError, "USER_DEACTIVATED", 4, None),
    "fetch: realm deactivated": (zulip_auth.RealmDeactivatedError, "REALM_DEACTIVATED", 4, None),
    "fetch: password auth disabled": (
        zulip_auth.PasswordAuthDisabledError,
        "PASSWORD_AUTH_DISABLED",
        3,
        None,
    ),
}


@pytest.mark.parametrize(
    "exchange",
    [exchange for exchange in load_recordings("fetch:") if exchange.name in RECORDED],
    ids=str,
)
def test_recorded_error(exchange: Exchange) -> None:
    exc_type, code, attempts_remaining, retry_after = RECORDED[exchange.name]
    error = error_from(exchange.status, exchange.body, exchange.headers)
    assert type(error) is exc_type
    assert error.status_code == exchange.status
    assert error.code == code
    assert error.message == exchange.json()["msg"]
    assert getattr(error, "attempts_remaining", None) == attempts_remaining
    assert getattr(error, "retry_after", None) == retry_after


CLASS_BY_REASON = {
    "incorrect_creds": zulip_auth.AuthenticationFailedError,
    "user disable": zulip_auth.UserDeactivatedError,
    "realm deactivated": zulip_auth.RealmDeactivatedError,
    "password auth disabled": zulip_auth.PasswordAuthDisabledError,
    "password reset needed": zulip_auth.PasswordResetRequiredError,
    "something else": zulip_auth.AuthenticationFailedError,
}


@pytest.mark.parametrize("reason", CLASS_BY_REASON)
def test_403_with_reason_before_zulip_5(reason: str) -> None:
    error = error_from(403, error_body("Not you.", reason=reason))
    assert type(error) is CLASS_BY_REASON[reason]
    assert (error.status_code, error.code, error.message) == (403, None, "Not you.")


def test_403_without_reason_before_zulip_5() -> None:
    assert type(error_from(403, error_body())) is zulip_auth.AuthenticationFailedError


@pytest.mark.parametrize("code", ["CSRF_FAILED", "odd code", 7])
def test_403_with_unknown_code(code: object) -> None:
    assert type(error_from(403, error_body(code=code))) is zulip_auth.APIStatusError


def test_400_invalid_subdomain_of_zulip_4() -> None:
    error = error_from(400, error_body("Invalid subdomain"))
    assert type(error) is zulip_auth.InvalidSubdomainError
    assert error.code is None


def test_429_without_code_before_zulip_4() -> None:
    body = error_body("API usage exceeded rate limit", **{"retry-after": 28.7})
    error = error_from(429, body)
    assert type(error) is zulip_auth.RateLimitedError
    assert (error.code, error.retry_after) == (None, 28.7)


CLASS_BY_CODE: dict[str, type[Any]] = {
    "AUTHENTICATION_FAILED": zulip_auth.AuthenticationFailedError,
    "USER_DEACTIVATED": zulip_auth.UserDeactivatedError,
    "REALM_DEACTIVATED": zulip_auth.RealmDeactivatedError,
    "PASSWORD_AUTH_DISABLED": zulip_auth.PasswordAuthDisabledError,
    "PASSWORD_RESET_REQUIRED": zulip_auth.PasswordResetRequiredError,
    "NONEXISTENT_SUBDOMAIN": zulip_auth.InvalidSubdomainError,
}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 418])
@pytest.mark.parametrize("code", CLASS_BY_CODE)
def test_known_code_with_any_status(code: str, status: int) -> None:
    error = error_from(status, error_body(code=code))
    assert type(error) is CLASS_BY_CODE[code]
    assert (error.status_code, error.code) == (status, code)
    assert f"({code})" in str(error)


CLASS_BY_STATUS: dict[int, type[Any]] = {
    400: zulip_auth.BadRequestError,
    401: zulip_auth.AuthenticationFailedError,
    402: zulip_auth.APIStatusError,
    404: zulip_auth.APIStatusError,
    405: zulip_auth.APIStatusError,
    408: zulip_auth.APIStatusError,
    418: zulip_auth.APIStatusError,
    429: zulip_auth.RateLimitedError,
    499: zulip_auth.APIStatusError,
    500: zulip_auth.ServerError,
    520: zulip_auth.ServerError,
    599: zulip_auth.ServerError,
    600: zulip_auth.APIStatusError,
    999: zulip_auth.APIStatusError,
}


@pytest.mark.parametrize("status", CLASS_BY_STATUS)
def test_unknown_code_maps_by_status(status: int) -> None:
    error = error_from(status, error_body(code="SOMETHING_NEW"))
    assert type(error) is CLASS_BY_STATUS[status]
    assert (error.status_code, error.code, error.message) == (status, "SOMETHING_NEW", "No")


NOT_ZULIP_ERRORS: dict[str, bytes | str | dict[str, Any] | None] = {
    "empty": b"",
    "HTML": "<html>Page not found</html>",
    "null": "null",
    "list": "[]",
    "text": '"error"',
    "other object": {"error": "no"},
    "success": {"result": "success", "msg": ""},
    "no msg": {"result": "error"},
    "msg not a string": {"result": "error", "msg": 7},
    "invalid UTF-8": b'{"result":"error","msg":"\xff"}',
    "100,000 nested lists": "[" * 100_000,
    "5,000 digits": "9" * 5000,
}


@pytest.mark.parametrize("body", NOT_ZULIP_ERRORS.values(), ids=NOT_ZULIP_ERRORS)
def test_body_that_is_not_a_zulip_error(body: Any) -> None:
    assert type(error_from(429, body)) is zulip_auth.RateLimitedError
    assert type(error_from(500, body)) is zulip_auth.ServerError
    assert type(error_from(599, body)) is zulip_auth.ServerError
    for status in (200, 201, 204, 206, 400, 401, 403, 404, 405, 408, 418, 499, 600, 999):
        error = error_from(status, body)
        assert type(error) is zulip_auth.InvalidResponseError
        assert error.status_code == status
        assert str(status) in str(error)


@pytest.mark.parametrize("status", [200, 201, 299])
def test_error_body_with_2xx(status: int) -> None:
    error = error_from(status, error_body(code="AUTHENTICATION_FAILED"))
    assert type(error) is zulip_auth.InvalidResponseError


DEV_DISABLED = {
    "production": (404, "<html>Page not found</html>"),
    "production, body too large": (404, b""),
    "off before Zulip 4.0": (400, error_body("Dev environment not enabled.")),
    "off": (400, error_body("DevAuthBackend not enabled.", code="BAD_REQUEST")),
    "production, JSON": (
        400,
        error_body("Endpoint not available in production.", code="BAD_REQUEST"),
    ),
}


@pytest.mark.parametrize(("status", "body"), DEV_DISABLED.values(), ids=DEV_DISABLED)
def test_dev_login_disabled(status: int, body: Any) -> None:
    error = error_from(status, body, context=DEV_LOGIN)
    assert type(error) is zulip_auth.DevAuthDisabledError
    assert error.status_code == status
    assert error.message == (body["msg"] if isinstance(body, dict) else "")
    # The same responses to a password login do not.
    assert not isinstance(error_from(status, body), zulip_auth.DevAuthDisabledError)


def test_dev_login_401_names_both_reasons() -> None:
    error = error_from(401, error_body(code="AUTHENTICATION_FAILED"), context=DEV_LOGIN)
    assert type(error) is zulip_auth.AuthenticationFailedError
    assert "no such account" in str(error)
    assert "development login is disabled" in str(error)
    assert "password" not in str(error)


@pytest.mark.parametrize(
    ("header", "remaining", "message"),
    [
        ("4", 4, "4 attempts remaining."),
        ("1", 1, "1 attempt remaining."),
        ("0", 0, "No attempts remaining;"),
        (None, None, None),
        ("", None, None),
        ("-1", None, None),
        ("4.0", None, None),
        ("many", None, None),
        ("٤", None, None),
        ("9" * 5000, None, None),
    ],
)
def test_attempts_remaining(header: str | None, remaining: int | None, message: str | None) -> None:
    headers = {} if header is None else {"x-ratelimit-remaining": header}
    error = error_from(401, error_body(code="AUTHENTICATION_FAILED"), headers)
    assert error.attempts_remaining == remaining
    assert (message in str(error)) if message else ("remaining" not in str(error))


RETRY_AFTER: dict[str, tuple[str | None, object, float | None]] = {
    "fraction": ("1799.7959835529327", None, 1799.7959835529327),
    "integer": ("30", None, 30.0),
    "zero": ("0.0", 7, 0.0),
    "tiny": ("9.5e-05", None, 9.5e-05),
    "header before body": ("1.5", 2.5, 1.5),
    "body only": (None, 2.5, 2.5),
    "body only, integer": (None, 3, 3.0),
    "body only, string": (None, "2.5", 2.5),
    "neither": (None, None, None),
    "empty": ("", None, None),
    "null in the header": ("null", None, None),
    "text": ("soon", None, None),
    "text, then body": ("soon", 2.5, 2.5),
    "negative": ("-1", None, None),
    "negative, then body": ("-1", 2.5, 2.5),
    "negative body": (None, -1, None),
    "nan": ("nan", None, None),
    "nan body": (None, float("nan"), None),
    "infinite": ("inf", None, None),
    "too large": ("9" * 400, None, None),
    "too large, body": (None, 10**400, None),
    "true": (None, True, None),
    "list": (None, [1], None),
    "invalid day": ("Mon, 32 Nov 2026 22:00:00 GMT", None, None),
    "invalid month": ("Mon, 23 Nix 2026 22:00:00 GMT", None, None),
    "past date": ("Mon, 23 Nov 2020 22:00:00 GMT", None, 0.0),
}


@pytest.mark.parametrize(("header", "body", "seconds"), RETRY_AFTER.values(), ids=RETRY_AFTER)
def test_retry_after(header: str | None, body: object, seconds: float | None) -> None:
    headers = {} if header is None else {"retry-after": header}
    error = error_from(429, error_body("Busy", **{"retry-after": body}), headers)
    assert type(error) is zulip_auth.RateLimitedError
    assert error.retry_after == seconds


def test_retry_after_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    error = error_from(429, b"", {"retry-after": date})
    assert 595 < error.retry_after <= 600


@given(st.text(alphabet=st.characters(max_codepoint=255)) | st.floats().map(str))
def test_retry_after_with_any_text(header: str) -> None:
    seconds = error_from(429, b"", {"retry-after": header}).retry_after
    assert seconds is None or (isinstance(seconds, float) and 0 <= seconds < float("inf"))


@pytest.mark.parametrize(
    ("seconds", "duration"),
    [
        (None, "later"),
        ("0.4", "in 1 second"),
        ("1", "in 1 second"),
        ("20", "in 20 seconds"),
        ("119.9", "in 120 seconds"),
        ("120", "in 2 minutes"),
        ("121", "in 3 minutes"),
        ("3660", "in 61 minutes"),
    ],
)
def test_rate_limit_message_duration(seconds: str | None, duration: str) -> None:
    headers = {} if seconds is None else {"retry-after": seconds}
    error = error_from(429, error_body(code="RATE_LIMIT_HIT"), headers)
    assert f"Try again {duration}; until then" in str(error)


@pytest.mark.parametrize(
    ("location", "host"),
    [
        (None, "another address"),
        ("https://zulip.example.org/api/v1/fetch_api_key", "zulip.example.org"),
        ("https://zulip.example.org:8443/", "zulip.example.org:8443"),
        ("//zulip.example.org/", "zulip.example.org"),
        ("https://user:pass@zulip.example.org/", "zulip.example.org"),
        ("http://[::1]:9991/", "[::1]:9991"),
        ("/login", "/login"),
        ("login/?next=x", "/login/"),
        ("/hunter2%21", "another address"),
        ("", "another address"),
        ("https://[::1/", "another address"),
        ("https://evil\x1b[2J.example.org/", "another address"),
        (f"https://{PASSWORD}.example.org/", "another address"),
        ("https://x.hunter2.example.org/", "x.hunter2.example.org"),
    ],
)
@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 399])
def test_redirect_names_host(status: int, location: str | None, host: str) -> None:
    headers = {} if location is None else {"location": location}
    error = error_from(status, error_body(code="AUTHENTICATION_FAILED"), headers)
    assert type(error) is zulip_auth.InvalidResponseError
    assert error.status_code == status
    assert f"redirected to {host} (HTTP" in str(error)


def test_redirect_to_host_with_password() -> None:
    context = RequestContext(SITE, "password", ("hunter2",))
    headers = {"location": "https://hunter2.example.org/"}
    assert "hunter2" not in str(error_from(302, b"", headers, context))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_echoed_password_is_redacted(status: int) -> None:
    context = RequestContext(SITE, "password", ("HUNTER2",))
    error = error_from(
        status, error_body("You sent HUNTER2, hunter2.", code="HUNTER2"), {}, context
    )
    assert error.message == ""
    assert error.code is None
    assert "hunter2" not in f"{error!r} {error.__dict__}".lower()


@pytest.mark.parametrize("code", CLASS_BY_CODE)
def test_known_code_containing_password(code: str) -> None:
    context = RequestContext(SITE, "password", (code.split("_")[0].lower(),))
    error = error_from(401, error_body(code=code), {}, context)
    assert type(error) is CLASS_BY_CODE[code]
    assert error.code == code


@pytest.mark.parametrize("code", [None, 7, "", "lower", "A" * 65, "A B", "A\nB", ["A"]])
def test_malformed_code_is_none(code: object) -> None:
    assert error_from(400, error_body(code=code)).code is None


MESSAGES: dict[str, tuple[int, Any, Mapping[str, str], RequestContext]] = {
    "https://chat.example.com returned HTTP 401 with a response that is not from the Zulip API. "
    "Check the URL; an access gateway may be responding, which expects headers of its own "
    "(headers=).": (401, "", {}, LOGIN),
    "https://chat.example.com redirected to another address (HTTP 307), which was not followed. "
    "Check the URL.": (307, "", {"location": "javascript:alert(1)"}, LOGIN),
    "https://chat.example.com redirected to /login/ (HTTP 301), which was not followed. "
    "Check the URL; an access gateway may be responding, which expects headers of its own "
    "(headers=).": (301, "", {"location": "/login/"}, LOGIN),
    "https://chat.example.com redirected to /api/v1/ (HTTP 308), which was not followed. "
    "Check the URL.": (308, "", {"location": "https://chat.example.com/api/v1/?b"}, LOGIN),
    "https://chat.example.com redirected to x.org (HTTP 302), which was not "
    "followed. If x.org is correct, use it as the site.": (
        302,
        "",
        {"location": "https://x.org/"},
        LOGIN,
    ),
    "https://chat.example.com rejected the request as invalid (BAD_REQUEST). "
    "Check the username format; most organizations use email addresses.": (
        400,
        error_body(code="BAD_REQUEST"),
        {},
        LOGIN,
    ),
    "https://chat.example.com rejected the request: HTTP 418. "
    "See the server's message for details.": (
        418,
        error_body(),
        {},
        LOGIN,
    ),
    "Login to https://chat.example.com failed: incorrect username or password "
    "(AUTHENTICATION_FAILED). Check both before retrying. 2 attempts remaining.": (
        401,
        error_body(code="AUTHENTICATION_FAILED"),
        {"x-ratelimit-remaining": "2"},
        LOGIN,
    ),
    "Login to https://chat.example.com failed: incorrect username or password. "
    "Check both before retrying.": (403, error_body(reason="incorrect_creds"), {}, LOGIN),
    "Login to https://chat.example.com failed: no reason given by the server (ODD). "
    "Check the account. No attempts remaining; further logins are blocked for a while, even with "
    "the correct password.": (401, error_body(code="ODD"), {"x-ratelimit-remaining": "0"}, LOGIN),
    "Login to https://chat.example.com failed: no such account, or development login is "
    "disabled in this organization (AUTHENTICATION_FAILED). "
    "Check the username.": (401, error_body(code="AUTHENTICATION_FAILED"), {}, DEV_LOGIN),
    "Login to https://chat.example.com failed: bots have no password, or this one is incorrect "
    "(AUTHENTICATION_FAILED). Get a bot's API key with AuthClient.bots(), or from its owner's "
    "Zulip settings. 3 attempts remaining.": (
        401,
        error_body(code="AUTHENTICATION_FAILED"),
        {"x-ratelimit-remaining": "3"},
        BOT_LOGIN,
    ),
    "Login to https://chat.example.com failed: the account is deactivated "
    "(USER_DEACTIVATED). Ask an organization administrator to reactivate it.": (
        401,
        error_body(code="USER_DEACTIVATED"),
        {},
        DEV_LOGIN,
    ),
    "No organization at https://chat.example.com, or the account belongs to a "
    "different one (NONEXISTENT_SUBDOMAIN). Check the organization URL.": (
        404,
        error_body(code="NONEXISTENT_SUBDOMAIN"),
        {},
        LOGIN,
    ),
    "No organization at https://chat.example.com (NONEXISTENT_SUBDOMAIN). "
    "Check the organization URL.": (
        404,
        error_body(code="NONEXISTENT_SUBDOMAIN"),
        {},
        NO_CREDENTIALS,
    ),
    "https://chat.example.com rejected the request as invalid. "
    "See the server's message for details.": (
        400,
        error_body(),
        {},
        API_KEY,
    ),
    "Development login is not available on https://chat.example.com. Log in with a password.": (
        404,
        "",
        {},
        DEV_LOGIN,
    ),
    "Too many login attempts on https://chat.example.com (RATE_LIMIT_HIT). Try again in 30 "
    "minutes; until then even the correct password is rejected, unless another login with it has "
    "just succeeded, which ends the block.": (
        429,
        error_body(code="RATE_LIMIT_HIT"),
        {"retry-after": "1799.8"},
        LOGIN,
    ),
    "Too many login attempts on https://chat.example.com (RATE_LIMIT_HIT). Try again later.": (
        429,
        error_body(code="RATE_LIMIT_HIT"),
        {},
        DEV_LOGIN,
    ),
    "https://chat.example.com returned HTTP 403 with a response that is not from the Zulip API. "
    "Check the URL; an access gateway may be responding, which expects headers of its own "
    "(headers=).": (403, "", {}, TOKEN),  # not for the age of the server
    "Server error from https://chat.example.com: HTTP 500 (SERVER_NOT_READY). Try again later.": (
        500,
        error_body(code="SERVER_NOT_READY"),
        {},
        LOGIN,
    ),
    "https://chat.example.com rejected the request as invalid (BAD_REQUEST). "
    "JWT login may be disabled, or the token invalid; see the server's message.": (
        400,
        error_body(code="BAD_REQUEST"),
        {},
        TOKEN,
    ),
    "Login to https://chat.example.com failed: the token is valid, but no account has its "
    "email address (AUTHENTICATION_FAILED). Check the token's email claim.": (
        401,
        error_body(code="AUTHENTICATION_FAILED"),
        {},
        TOKEN,
    ),
    "https://chat.example.com returned HTTP 404 with a response that is not from the Zulip API. "
    "Check the URL; a proxy or another service may be responding. "
    "JWT login requires Zulip 7.0 or later.": (
        404,
        "",
        {},
        TOKEN,
    ),
    "https://chat.example.com rejected the API key (UNAUTHORIZED): it is invalid or "
    "revoked, belongs to another account, or the account is deactivated. Log in again.": (
        401,
        error_body(code="UNAUTHORIZED"),
        {},
        API_KEY,
    ),
    "Too many requests to https://chat.example.com (RATE_LIMIT_HIT). Try again in 20 seconds.": (
        429,
        error_body(code="RATE_LIMIT_HIT"),
        {"retry-after": "20"},
        API_KEY,
    ),
    "https://chat.example.com is a server's root domain, not an organization (BAD_REQUEST). "
    "Use the URL of an organization.": (
        400,
        error_body("Subdomain required", code="BAD_REQUEST"),
        {},
        NO_CREDENTIALS,
    ),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_error_message(message: str) -> None:
    assert str(error_from(*MESSAGES[message])) == message


@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        ({"server": "cloudflare"}, "sent by Cloudflare"),
        ({"server": "hunter2", "cf-ray": "hunter2"}, "sent by Cloudflare"),
        ({"server": "nginx/1.24.0 (hunter2)"}, "sent by nginx"),
        ({"server": "Apache/2.4.58 (Ubuntu)"}, "sent by Apache"),
        ({"server": "Caddy"}, "sent by Caddy"),
        ({"server": "awselb/2.0"}, "sent by awselb"),
        ({"server": "envoy"}, "sent by Envoy"),
        ({"via": "1.1 varnish, 1.1 hunter2"}, "sent by Varnish"),
        ({"via": "1.1 hunter2 (squid/6.6)"}, "sent by Squid"),
        ({"server": "hunter2"}, ""),
        ({}, ""),
    ],
)
def test_sender_of_other_response(headers: dict[str, str], sender: str) -> None:
    for status in (401, 404, 429, 503):
        message = str(error_from(status, "<html>", headers))
        assert "not from the Zulip API" in message
        assert (f"({sender})" in message) if sender else ("sent by" not in message)
        assert "hunter2" not in message
        assert "incorrect" not in message
        assert "correct password" not in message
    # nginx in front of Zulip is not named for what Zulip responds.
    assert "sent by" not in str(error_from(401, error_body(code="X"), headers))


ZULIP_CHALLENGES = ['Basic realm="zulip"', 'Session realm="zulip"', 'basic Realm="Zulip"']


@pytest.mark.parametrize("challenge", [*ZULIP_CHALLENGES, "Bearer", 'Basic realm="x"', "Negotiate"])
def test_401_with_challenge(challenge: str) -> None:
    body = error_body(code="AUTHENTICATION_FAILED")
    error = error_from(401, body, {"www-authenticate": challenge})
    is_zulip = challenge in ZULIP_CHALLENGES
    expected = zulip_auth.AuthenticationFailedError if is_zulip else zulip_auth.InvalidResponseError
    assert type(error) is expected


RATE_LIMIT = "API usage exceeded rate limit"


@pytest.mark.parametrize(
    ("message", "known"),
    [
        (RATE_LIMIT, True),
        (
            f"{RATE_LIMIT}; see https://zulip.com/api/http-headers#rate-limiting-response-headers",
            True,
        ),
        (f"{RATE_LIMIT}; see https://zulip.com/api/rest-error-handling#rate-limit-exceeded", True),
        (f"{RATE_LIMIT}; see https://zulip.com/api/hunter#rate-limit-headers", False),
        (f"{RATE_LIMIT}; see https://hunter.com/api/http-headers", False),
    ],
)
def test_known_rate_limit_message_is_kept(message: str, known: bool) -> None:
    """A password may be a part of the text that Zulip sends, but not of another text."""
    for password in ("rate", "headers", "hunter"):
        context = RequestContext(SITE, "password", (password,))
        kept = error_from(429, error_body(message), {}, context).message == message
        assert kept == (known or (password == "headers" and "headers" not in message))


@pytest.mark.parametrize("code", ["UNAUTHORIZED", "INVALID_API_KEY", "ODD", None])
@pytest.mark.parametrize("status", [401, 403])
def test_rejected_api_key(code: str | None, status: int) -> None:
    error = error_from(status, error_body(code=code) if code else error_body(), context=API_KEY)
    expected: type[Any] = zulip_auth.InvalidApiKeyError
    if status == 403 and code is not None:
        expected = zulip_auth.APIStatusError
    assert type(error) is expected


# The message of a rejected key, the class of the exception, and its reason and hint.
KEY_MESSAGES: dict[str, tuple[type[Any], str]] = {
    "Invalid API key": (
        zulip_auth.InvalidApiKeyError,
        "it is invalid or revoked, or belongs to another account. Log in again.",
    ),
    "Malformed API key": (
        zulip_auth.InvalidApiKeyError,
        "it is invalid or revoked, or belongs to another account. Log in again.",
    ),
    "Account is deactivated": (
        zulip_auth.UserDeactivatedError,
        "the account is deactivated",
    ),
    "This organization has been deactivated": (
        zulip_auth.RealmDeactivatedError,
        "the organization is deactivated",
    ),
    "Account is not associated with this subdomain": (
        zulip_auth.InvalidSubdomainError,
        "the account belongs to a different one",
    ),
    "This API is not available to incoming webhook bots.": (
        zulip_auth.InvalidApiKeyError,
        "incoming webhook bots can only use their webhook URL. Use a generic bot.",
    ),
    "Not logged in: API authentication or user session required": (
        zulip_auth.InvalidApiKeyError,
        "the Authorization header is missing. A proxy may be stripping it.",
    ),
    "Invalid authorization header for basic auth": (
        zulip_auth.InvalidApiKeyError,
        "the Authorization header is malformed. A proxy may be changing it.",
    ),
    "Ungültiger API-Schlüssel": (
        zulip_auth.InvalidApiKeyError,
        "it is invalid or revoked, belongs to another account, or the account is deactivated. "
        "Log in again.",
    ),
}


@pytest.mark.parametrize("message", KEY_MESSAGES)
@pytest.mark.parametrize("code", ["UNAUTHORIZED", None])
def test_rejected_api_key_names_reason(message: str, code: str | None) -> None:
    exc_type, reason = KEY_MESSAGES[message]
    error = error_from(
        401, error_body(message, code=code), {"x-ratelimit-remaining": "7"}, context=API_KEY
    )
    assert type(error) is exc_type
    assert reason in str(error)
    assert (error.code, error.message) == (code, message)
    # Other requests do not have these messages.
    assert type(error_from(401, error_body(message))) is zulip_auth.AuthenticationFailedError


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("USER_DEACTIVATED", zulip_auth.UserDeactivatedError),
        ("REALM_DEACTIVATED", zulip_auth.RealmDeactivatedError),
    ],
)
def test_api_key_of_deactivated_account(code: str, error: type[Any]) -> None:
    assert type(error_from(401, error_body(code=code), context=API_KEY)) is error


def test_401_without_credentials_is_generic() -> None:
    for status in (401, 403):
        assert (
            type(error_from(status, error_body(), context=NO_CREDENTIALS))
            is zulip_auth.APIStatusError
        )
    deactivated = error_from(401, error_body(code="USER_DEACTIVATED"), context=API_KEY)
    assert "rejected the API key: the account is deactivated" in str(deactivated)


def test_root_domain() -> None:
    body = error_body("Subdomain required", code="BAD_REQUEST")
    assert type(error_from(400, body)) is zulip_auth.BadRequestError
    assert type(error_from(400, body, context=NO_CREDENTIALS)) is zulip_auth.SubdomainRequiredError
    unknown = error_body("Invalid subdomain", code="BAD_REQUEST")
    assert (
        type(error_from(400, unknown, context=NO_CREDENTIALS)) is zulip_auth.InvalidSubdomainError
    )


def test_echoed_api_key_is_redacted() -> None:
    header = b64encode(b"iago@zulip.com:k3y").decode()
    error = error_from(401, error_body(f"k3y, which came as {header}"), context=API_KEY)
    assert error.message == ""


def test_context_repr() -> None:
    assert PASSWORD not in repr(LOGIN)


@pytest.mark.slow
@given(
    st.integers(100, 999),
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["result", "msg", "code", "reason", "retry-after", "x"]), inner
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from(["location", "retry-after", "x-ratelimit-remaining"]), st.text()
    ),
    st.sampled_from([LOGIN, DEV_LOGIN, BOT_LOGIN, TOKEN, API_KEY, NO_CREDENTIALS]),
)
def test_any_response_maps_to_an_error(
    status: int, body: bytes, headers: dict[str, str], context: RequestContext
) -> None:
    error = error_from(status, body, headers, context)
    assert type(error).__name__ in zulip_auth.__all__
    assert SITE in str(error)
    assert "\n" not in str(error)
