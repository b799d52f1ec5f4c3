from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zulip_auth
from helpers.messages import messages
from zulip_auth._errors import RequestContext, error_from_response
from zulip_auth._network_errors import Attempt

SITE = "https://chat.example.com"
PASSWORD = "hunter2!"
LOGIN = RequestContext(SITE, "password", (PASSWORD,))
DEV_LOGIN = RequestContext(SITE, "dev")
BOT_LOGIN = RequestContext(SITE, "password", (PASSWORD,), "reminder-bot@zulip.com")
TOKEN = RequestContext(SITE, "jwt", ("a.b.c",))
API_KEY = RequestContext(SITE, "api_key", ("iago@zulip.com:k3y", "k3y"))
NO_CREDENTIALS = RequestContext(SITE, "none")
HTML = "<html>"
WRONG_PASSWORD = "AUTHENTICATION_FAILED"


def failed(code: object = None, msg: str = "No", **more: Any) -> dict[str, Any]:
    """Return the body of an error of Zulip."""
    return {"result": "error", "msg": msg, **({"code": code} if code else {}), **more}


def error_from(
    status: int,
    body: bytes | str | dict[str, Any] = b"",
    context: RequestContext = LOGIN,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Return the exception for a response."""
    content = json.dumps(body) if isinstance(body, dict) else body
    content = content.encode() if isinstance(content, str) else content
    error = error_from_response(status, headers or {}, content, context, Attempt())
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
    return error


def rejected(msg: str, context: RequestContext = API_KEY) -> tuple[Any, ...]:
    """Return an error that only its message identifies."""
    is_key = context is API_KEY
    return 401 if is_key else 400, failed("UNAUTHORIZED" if is_key else "BAD_REQUEST", msg), context


def remaining(count: int) -> dict[str, str]:
    return {"x-ratelimit-remaining": str(count)}


CASES: dict[str, tuple[Any, ...]] = {
    # A login
    "wrong password": (401, failed(WRONG_PASSWORD), LOGIN, remaining(2)),
    "wrong password, one attempt left": (401, failed(WRONG_PASSWORD), LOGIN, remaining(1)),
    "wrong password, before Zulip 5": (403, failed(reason="incorrect_creds")),
    "403 without a reason, before Zulip 5": (403, failed()),
    "403 with another reason, before Zulip 5": (403, failed(reason="something else")),
    "wrong username of a development login": (401, failed(WRONG_PASSWORD), DEV_LOGIN),
    "password of a bot": (401, failed(WRONG_PASSWORD), BOT_LOGIN, remaining(3)),
    "token without an account": (401, failed(WRONG_PASSWORD), TOKEN),
    "deactivated account": (401, failed("USER_DEACTIVATED")),
    "deactivated account, before Zulip 5": (403, failed(reason="user disable")),
    "deactivated organization": (401, failed("REALM_DEACTIVATED")),
    "deactivated organization, before Zulip 5": (403, failed(reason="realm deactivated")),
    "no password login": (401, failed("PASSWORD_AUTH_DISABLED")),
    "no password login, before Zulip 5": (403, failed(reason="password auth disabled")),
    "password to be reset": (401, failed("PASSWORD_RESET_REQUIRED")),
    "password to be reset, before Zulip 5": (403, failed(reason="password reset needed")),
    "401 with an unknown code": (401, failed("ODD"), LOGIN, remaining(0)),
    "403 with an unknown code": (403, failed("CSRF_FAILED")),
    "no development login": (404, HTML, DEV_LOGIN),
    "no development login, as JSON": rejected("Endpoint not available in production.", DEV_LOGIN),
    "no development login, not in production": rejected("DevAuthBackend not enabled.", DEV_LOGIN),
    "no development login, before Zulip 4": rejected("Dev environment not enabled.", DEV_LOGIN),
    "invalid username": (400, failed("BAD_REQUEST")),
    "username that is not an address": rejected("Enter a valid email address.", LOGIN),
    "rejected token": (400, failed("BAD_REQUEST"), TOKEN),
    "JWT login before Zulip 7": (404, HTML, TOKEN),
    # An organization
    "no organization, login": (404, failed("NONEXISTENT_SUBDOMAIN")),
    "no organization, login to Zulip 4": (400, failed(None, "Invalid subdomain")),
    "no organization": (404, failed("NONEXISTENT_SUBDOMAIN"), NO_CREDENTIALS),
    "no organization, Zulip 4": rejected("Invalid subdomain", NO_CREDENTIALS),
    "root domain": rejected("Subdomain required", NO_CREDENTIALS),
    "root domain, login": rejected("Subdomain required", LOGIN),
    # An API key
    "invalid key": (401, failed("INVALID_API_KEY", "Invalid API key"), API_KEY, remaining(7)),
    "invalid key, translated": rejected("Ungültiger Schlüssel"),
    "invalid key, before Zulip 5": (403, failed(None, "Invalid API key"), API_KEY),
    "403 for a key": (403, failed("ODD"), API_KEY),
    "key of a deactivated account": (401, failed("USER_DEACTIVATED"), API_KEY),
    "key of a deactivated account, by its text": rejected("Account is deactivated"),
    "key of a deactivated organization": rejected("This organization has been deactivated"),
    "key of another organization": rejected("Account is not associated with this subdomain"),
    "key of a webhook bot": rejected("This API is not available to incoming webhook bots."),
    "lost Authorization header": rejected(
        "Not logged in: API authentication or user session required"
    ),
    "changed Authorization header": rejected("Invalid authorization header for basic auth"),
    "invalid request with a key": (400, failed("BAD_REQUEST"), API_KEY),
    # Others
    "401 without credentials": (401, failed("UNAUTHORIZED"), NO_CREDENTIALS),
    "403 without credentials": (403, failed(), NO_CREDENTIALS),
    "408": (408, failed()),
    "418": (418, failed("TEAPOT")),
    "429 of a login": (429, failed("RATE_LIMIT_HIT"), LOGIN, {"retry-after": "1799.8"}),
    "429 of a development login": (429, failed("RATE_LIMIT_HIT"), DEV_LOGIN),
    "429 of a key": (429, failed("RATE_LIMIT_HIT"), API_KEY, {"retry-after": "20"}),
    "500": (500, failed("SERVER_NOT_READY"), LOGIN),
    "599": (599, HTML),
    "600": (600, HTML),
    "200": (200, HTML),
    "201 with an error": (201, failed(WRONG_PASSWORD)),
    "302 without a target": (302, b""),
    "302 to a script": (302, b"", LOGIN, {"location": "javascript:alert(1)"}),
    "302 on the same host": (302, b"", LOGIN, {"location": f"{SITE}/api/v1/?b"}),
}
MESSAGES = messages("Responses")


@pytest.mark.parametrize("name", CASES)
def test_response(name: str) -> None:
    error = error_from(*CASES[name])
    transient = "yes" if error.transient else "no"
    assert [type(error).__name__, transient, str(error)] == MESSAGES[name]
    status, body = CASES[name][:2]
    assert error.status_code == status
    if isinstance(error, zulip_auth.APIStatusError) and isinstance(body, dict):
        assert (error.code, error.message) == (body.get("code"), body["msg"])


def test_table() -> None:
    assert [*MESSAGES] == [*CASES]


@pytest.mark.parametrize("status", [400, 403, 404, 418])
def test_known_code_with_any_status_and_password(status: int) -> None:
    context = RequestContext(SITE, "password", ("user",))  # a part of the code
    error = error_from(status, failed("USER_DEACTIVATED"), context)
    assert type(error) is zulip_auth.UserDeactivatedError
    assert (error.status_code, error.code) == (status, "USER_DEACTIVATED")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", HTML, "null", "[]", '"error"', "9" * 5000),
        pytest.param("[" * 100_000, id="nested"),
        *({"error": "no"}, {"result": "success", "msg": ""}, {"result": "error"}),
        {"result": "error", "msg": 7},
        b'{"result":"error","msg":"\xff"}',
    ],
    ids=lambda body: repr(body)[:30],
)
def test_body_that_is_not_a_zulip_error(body: Any) -> None:
    for status, exc_type in {429: "RateLimitedError", 500: "ServerError"}.items():
        assert type(error_from(status, body)).__name__ == exc_type
    for status in (200, 204, 400, 401, 403, 404, 418, 600, 999):
        assert type(error_from(status, body)) is zulip_auth.InvalidResponseError


@pytest.mark.parametrize("code", [7, "lower", "A" * 65, "A B", "A\nB", ["A"]])
def test_malformed_code_is_none(code: object) -> None:
    assert error_from(400, failed(code)).code is None


@pytest.mark.parametrize("header", ["", "-1", "4.0", "many", "٤", "9" * 5000])
def test_invalid_attempts_remaining(header: str) -> None:
    error = error_from(401, failed(WRONG_PASSWORD), LOGIN, {"x-ratelimit-remaining": header})
    assert error.attempts_remaining is None
    assert "remaining" not in str(error)


def test_attempts_remaining() -> None:
    assert error_from(401, failed(WRONG_PASSWORD), LOGIN, remaining(0)).attempts_remaining == 0
    assert error_from(500, HTML, LOGIN, remaining(3)).attempts_remaining == 3
    for context in (API_KEY, NO_CREDENTIALS):  # the header counts requests
        assert error_from(500, HTML, context, remaining(3)).attempts_remaining is None


# The header, the field of the body, and the seconds.
RETRY_AFTER: list[tuple[str, object, float | None]] = [
    ("1799.7959835529327", None, 1799.7959835529327),
    ("30", None, 30.0),
    ("0.0", 7, 0.0),
    ("1.5", 2.5, 1.5),
    ("", 28.7, 28.7),
    ("", "3", 3.0),
    ("", None, None),
    ("null", None, None),
    ("soon", 2.5, 2.5),
    ("-1", 2.5, 2.5),
    ("nan", float("nan"), None),
    ("9" * 400, 10**400, None),
    ("", [1], None),
    ("Mon, 32 Nov 2026 22:00:00 GMT", None, None),
    ("Mon, 23 Nov 99999999999 22:00:00 GMT", None, None),
    ("Mon, 23 Nov 2020 22:00:00 GMT", None, 0.0),
]


@pytest.mark.parametrize(("header", "field", "seconds"), RETRY_AFTER)
def test_retry_after(header: str, field: object, seconds: float | None) -> None:
    body = {**failed("RATE_LIMIT_HIT"), "retry-after": field}
    assert error_from(429, body, LOGIN, {"retry-after": header}).retry_after == seconds


def test_retry_after_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    error = error_from(429, b"", LOGIN, {"retry-after": date})
    assert 595 < error.retry_after <= 600
    assert str(error).endswith("Try again in 10 minutes.")


@pytest.mark.parametrize(
    ("seconds", "duration"),
    [("0.4", "1 second"), ("119.9", "120 seconds"), ("120", "2 minutes"), ("121", "3 minutes")],
)
def test_duration(seconds: str, duration: str) -> None:
    error = error_from(429, HTML, LOGIN, {"retry-after": seconds})
    assert str(error).endswith(f"Try again in {duration}.")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://zulip.example.org:8443/api/v1/fetch_api_key", "zulip.example.org:8443"),
        ("//zulip.example.org/", "zulip.example.org"),
        ("https://user:pass@zulip.example.org/", "zulip.example.org"),
        ("http://[::1]:9991/", "[::1]:9991"),
        ("login/?next=x", "/login/"),
        ("/hunter2%21", "another address"),
        ("", "another address"),
        ("https://[::1/", "another address"),
        ("https://evil\x1b[2J.example.org/", "another address"),
        (f"https://{PASSWORD}.example.org/", "another address"),
        ("https://x.hunter2.example.org/", "x.hunter2.example.org"),
    ],
)
def test_target_of_redirect(location: str, target: str) -> None:
    for status in (300, 308, 399):
        error = error_from(status, failed(WRONG_PASSWORD), LOGIN, {"location": location})
        assert type(error) is zulip_auth.InvalidResponseError
        assert f"redirected to {target} (HTTP {status})" in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_echoed_secrets_are_redacted(status: int) -> None:
    context = RequestContext(SITE, "password", ("HUNTER2",))
    error = error_from(status, failed("HUNTER2", "You sent HUNTER2, hunter2."), context)
    assert (error.message, error.code) == ("", None)
    assert "hunter2" not in f"{error!r} {error.__dict__} {context!r}".lower()
    location = {"location": "https://hunter2.example.org/"}
    assert "hunter2" not in str(error_from(302, b"", context, location))
    header = b64encode(b"iago@zulip.com:k3y").decode()
    assert error_from(status, failed(None, f"k3y, sent as {header}"), API_KEY).message == ""


@pytest.mark.parametrize(
    ("headers", "sender"),
    [
        ({"server": "hunter2", "cf-ray": "hunter2"}, "sent by Cloudflare"),
        ({"server": "nginx/1.24.0 (hunter2)"}, "sent by nginx"),
        ({"server": "Apache/2.4.58 (Ubuntu)"}, "sent by Apache"),
        ({"server": "envoy"}, "sent by Envoy"),
        ({"via": "1.1 varnish, 1.1 hunter2"}, "sent by Varnish"),
        ({"via": "1.1 hunter2 (squid/6.6)"}, "sent by Squid"),
        ({"server": "hunter2"}, ""),
    ],
)
def test_sender_of_other_response(headers: dict[str, str], sender: str) -> None:
    for status in (401, 404, 429, 503):
        message = str(error_from(status, HTML, LOGIN, headers))
        assert "not from the Zulip API" in message
        assert (f"({sender})" in message) if sender else ("sent by" not in message)
        assert not re.search("hunter2|incorrect|correct password", message)
    # nginx in front of Zulip is not named for what Zulip responds.
    assert "sent by" not in str(error_from(401, failed("X"), LOGIN, headers))


@pytest.mark.parametrize("challenge", ['Basic realm="zulip"', 'session Realm="Zulip"'])
def test_401_with_challenge(challenge: str) -> None:
    def error(challenge: str) -> object:
        return type(error_from(401, failed("X"), LOGIN, {"www-authenticate": challenge}))

    assert error(challenge) is zulip_auth.AuthenticationFailedError
    assert error("Bearer") is error('Basic realm="x"') is zulip_auth.InvalidResponseError


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["result", "msg", "code", "reason", "retry-after", "x"]), inner
        )
    ),
    max_leaves=5,
)
errors = st.fixed_dictionaries(
    {"result": st.just("error"), "msg": st.text()},
    optional={"code": json_values, "reason": json_values, "retry-after": json_values},
)


@given(
    st.sampled_from([302, 400, 401, 403, 404, 407, 429, 500]) | st.integers(100, 999),
    st.binary() | (errors | json_values).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from(["location", "retry-after", "x-ratelimit-remaining"]), st.text()
    ),
    st.sampled_from([LOGIN, DEV_LOGIN, BOT_LOGIN, TOKEN, API_KEY, NO_CREDENTIALS]),
)
def test_any_response_maps_to_an_error(
    status: int, body: bytes, headers: dict[str, str], context: RequestContext
) -> None:
    error = error_from(status, body, context, headers)
    assert type(error).__name__ in zulip_auth.__all__
    assert SITE in str(error)
    assert "\n" not in str(error)
    seconds = getattr(error, "retry_after", None)
    assert seconds is None or (isinstance(seconds, float) and 0 <= seconds < float("inf"))
