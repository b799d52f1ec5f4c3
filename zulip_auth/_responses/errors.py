"""What a refusal means: the server's words in, an error out."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

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

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,253}")
_COUNT = re.compile(r"[0-9]{1,9}")
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT", re.ASCII)


def error_from_response(answer: RawResponse, question: RequestContext) -> ZulipAuthError:
    """Return what an answer other than a 200 means."""
    status = answer.status_code
    said = _zulip_error(answer)
    words = _Words.of(said or {}, question)
    if 300 <= status <= 399:
        return _redirect(answer, question)
    if status == 429:
        return _rate_limited(answer, said or {}, words, question)
    if 500 <= status <= 599:
        return ServerError(
            f"{question.site} failed with status {status}{words.in_brackets}. Try again later.",
            **words.arguments(status),
        )
    if said is None and status == 404 and question.way == "dev":
        return _dev_auth_disabled(status, words, question)
    if said is None or status < 400:
        old = " Servers before Zulip 7.0 take no tokens." if question.way == "jwt" else ""
        return InvalidResponseError(
            f"{question.site} answered {status}, but not as Zulip does. "
            f"Check the address: a proxy or another program may be answering there.{old}",
            status_code=status,
        )
    return _by_code(answer, said, words, question)


@frozen
class _Words:
    """What of a server's words may stand in an error."""

    code: str | None
    message: str

    @classmethod
    def of(cls, said: Mapping[str, Any], question: RequestContext) -> _Words:
        code = said.get("code")
        if (
            not isinstance(code, str)
            or not _CODE.fullmatch(code)
            or (code not in _CODES and question.cut_out(code) != code)
        ):
            code = None
        return cls(code, question.cut_out(said.get("msg", "")))

    @property
    def in_brackets(self) -> str:
        return f" ({self.code})" if self.code else ""

    def arguments(self, status_code: int) -> dict[str, Any]:
        return {"status_code": status_code, "code": self.code, "message": self.message}


def _zulip_error(answer: RawResponse) -> dict[str, Any] | None:
    """Return an error answer of Zulip's API, or None where it is no such thing.

    The content type is not looked at: Zulip gives 405 as JSON that claims to
    be HTML.
    """
    if answer.body is None:
        return None
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    if (
        isinstance(said, dict)
        and said.get("result") == "error"
        and isinstance(said.get("msg"), str)
    ):
        return said
    return None


# What each code means, and what can be done.
_REFUSALS: dict[str, tuple[type[AuthenticationFailedError], str, str]] = {
    "AUTHENTICATION_FAILED": (
        AuthenticationFailedError,
        "the username or the password is wrong",
        "Check both before you try again.",
    ),
    "USER_DEACTIVATED": (
        UserDeactivatedError,
        "the account is deactivated",
        "Ask an administrator of the organization to reactivate it.",
    ),
    "REALM_DEACTIVATED": (
        RealmDeactivatedError,
        "the organization is deactivated",
        "Ask its owners or the server's administrator.",
    ),
    "PASSWORD_AUTH_DISABLED": (
        PasswordAuthDisabledError,
        "the organization does not accept passwords",
        "Copy the API key from the account's settings in the Zulip app.",
    ),
    "PASSWORD_RESET_REQUIRED": (
        PasswordResetRequiredError,
        "the password has to be reset first",
        "Reset it on the organization's login page.",
    ),
}
_CODES = {
    *_REFUSALS,
    "NONEXISTENT_SUBDOMAIN",
    "BAD_REQUEST",
    "REQUEST_VARIABLE_MISSING",
    "REQUEST_VARIABLE_INVALID",
    "RATE_LIMIT_HIT",
    "SERVER_NOT_READY",
    "UNAUTHORIZED",
    "INVALID_API_KEY",
}
# What servers before 5.0 say, without a code.
_LEGACY_REASONS = {
    "user disable": "USER_DEACTIVATED",
    "realm deactivated": "REALM_DEACTIVATED",
    "password auth disabled": "PASSWORD_AUTH_DISABLED",
}
_DEV_AUTH_DISABLED = {"DevAuthBackend not enabled.", "Endpoint not available in production."}


_CHECK_USERNAME = (
    "Check that the username is what this organization logs in with, usually an e-mail."
)
_CHECK = {
    "password": _CHECK_USERNAME,
    "dev": _CHECK_USERNAME,
    "jwt": "It takes no tokens, or not this one; its own words say which.",
    "key": "The server's own words may say more.",
    "nothing": "The server's own words may say more.",
}


def _by_code(
    answer: RawResponse, said: Mapping[str, Any], words: _Words, question: RequestContext
) -> APIStatusError:
    status, site, way = answer.status_code, question.site, question.way
    if words.code == "NONEXISTENT_SUBDOMAIN" or said["msg"] == "Invalid subdomain":
        return InvalidSubdomainError(
            f"There is no organization at {site}, or the account belongs to another one"
            f"{words.in_brackets}. Check the organization's address.",
            **words.arguments(status),
        )
    if way == "nothing" and said["msg"] == "Subdomain required":
        return SubdomainRequiredError(
            f"{site} is the root of a server with many organizations{words.in_brackets}. "
            "Give the address of one of them.",
            **words.arguments(status),
        )
    if way == "dev" and said["msg"] in _DEV_AUTH_DISABLED:
        return _dev_auth_disabled(status, words, question)
    no_entry = status == 401 or (status == 403 and said.get("code") is None)
    if way == "key" and no_entry and words.code not in ("USER_DEACTIVATED", "REALM_DEACTIVATED"):
        return invalid_api_key(question, words.in_brackets, **words.arguments(status))
    if words.code in _REFUSALS or (no_entry and way != "nothing"):
        return _authentication_failed(answer, said, words, question)
    if status == 400:
        return BadRequestError(
            f"{site} could not make sense of the request{words.in_brackets}. {_CHECK[way]}",
            **words.arguments(status),
        )
    return APIStatusError(
        f"{site} refused with status {status}{words.in_brackets}. "
        "The server's own words may say more.",
        **words.arguments(status),
    )


def invalid_api_key(
    question: RequestContext,
    code_in_brackets: str = "",
    *,
    status_code: int,
    code: str | None = None,
    message: str = "",
) -> InvalidApiKeyError:
    """Return the error for a key that does not open the account."""
    return InvalidApiKeyError(
        f"{question.site} does not take the API key{code_in_brackets}: it is wrong or was "
        "revoked, it belongs to another account, or the account is deactivated. Log in again.",
        status_code=status_code,
        code=code,
        message=message,
    )


def _authentication_failed(
    answer: RawResponse, said: Mapping[str, Any], words: _Words, question: RequestContext
) -> AuthenticationFailedError:
    meaning = words.code or _LEGACY_REASONS.get(str(said.get("reason")), "AUTHENTICATION_FAILED")
    error, what, then = _REFUSALS.get(
        meaning, (AuthenticationFailedError, "the server did not say why", "Check the account.")
    )
    if question.way == "dev" and meaning == "AUTHENTICATION_FAILED":
        what = "there is no such account, or the organization does not allow development logins"
        then = "Check the username."
    if question.way == "jwt" and meaning == "AUTHENTICATION_FAILED":
        what = "the token is good, but there is no account with its e-mail address"
        then = "Check the address in the token."
    left = _attempts_remaining(answer)
    tail = "" if left is None else f" {_attempts_left(left)}"
    refused = "API key" if question.way == "key" else "login"
    return error(
        f"{question.site} refused the {refused}: {what}{words.in_brackets}. {then}{tail}",
        **words.arguments(answer.status_code),
        attempts_remaining=left,
    )


def _attempts_remaining(answer: RawResponse) -> int | None:
    count = answer.headers.get("x-ratelimit-remaining", "")
    return int(count) if _COUNT.fullmatch(count) else None


def _attempts_left(count: int) -> str:
    if count == 0:
        return "No attempt is left: for a while even the right password will be refused."
    return f"{count} attempt{' is' if count == 1 else 's are'} left."


def _dev_auth_disabled(
    status: int, words: _Words, question: RequestContext
) -> DevAuthDisabledError:
    return DevAuthDisabledError(
        f"{question.site} does not offer development logins{words.in_brackets}. "
        "Log in with a password.",
        **words.arguments(status),
    )


def _rate_limited(
    answer: RawResponse, said: Mapping[str, Any], words: _Words, question: RequestContext
) -> RateLimitedError:
    seconds = _retry_after(answer, said)
    wait = "a while" if seconds is None else _in_words(seconds)
    what, then = "attempts", "even the right password is refused"
    if question.way in ("key", "nothing"):
        what, then = "requests", "it answers none"
    return RateLimitedError(
        f"{question.site} has had too many {what}{words.in_brackets}. "
        f"Wait {wait}: until then {then}.",
        **words.arguments(answer.status_code),
        retry_after=seconds,
    )


def _in_words(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{math.ceil(seconds / 60)} minutes"


def _retry_after(answer: RawResponse, said: Mapping[str, Any]) -> float | None:
    """Return the seconds that a 429 asks for: by its header, else by its body."""
    header = answer.headers.get("retry-after", "")
    candidates = (_number(header), _http_date(header), _number(said.get("retry-after")))
    return next((seconds for seconds in candidates if seconds is not None), None)


def _number(value: object) -> float | None:
    """Return a number of seconds; Zulip sends fractions, and rarely `null`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _http_date(value: str) -> float | None:
    """Return the seconds until a date; proxies in front of Zulip may send one."""
    if not _HTTP_DATE.fullmatch(value):
        return None
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())


def _redirect(answer: RawResponse, question: RequestContext) -> InvalidResponseError:
    try:
        host = urlsplit(answer.headers.get("location", "")).netloc.rpartition("@")[2]
    except ValueError:
        host = ""
    host = question.cut_out(host) if _HOST.fullmatch(host) else "another address"
    return InvalidResponseError(
        f"{question.site} answered {answer.status_code}, a redirect to {host}. "
        "It was not followed. If that is the right address, log in there.",
        status_code=answer.status_code,
    )
