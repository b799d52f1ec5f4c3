"""Each fault on the wire ends in one documented exception, in time and without secrets."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from attrs import field, frozen
from httpx_aiohttp import AiohttpTransport
from hypothesis import given, settings
from hypothesis import strategies as st

import zulip_auth
from helpers import faults
from helpers.clock import clock
from helpers.constants import API_KEY, AUTH_FAILED, SUCCESS, USERNAME
from helpers.faults import HTML, Target, TargetFactory, http_target, https_target
from helpers.raw_server import (
    Connection,
    Scenario,
    ScriptedServer,
    close_without_response,
    never_respond,
    raw_response,
    respond,
)
from helpers.secret_scanner import SecretScanner
from zulip_auth import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationFailedError,
    BadRequestError,
    ConfigurationError,
    Credentials,
    DevAuthDisabledError,
    InvalidResponseError,
    InvalidSubdomainError,
    PasswordAuthDisabledError,
    PasswordResetRequiredError,
    RateLimitedError,
    RealmDeactivatedError,
    RetryPolicy,
    ServerError,
    TLSError,
    UserDeactivatedError,
    dev_login,
    login,
)
from zulip_auth import _http as transport

PASSWORD = 'correct horse & battery=+%é"<'
FORM = "username=iago%40zulip.com&password=correct+horse+%26+battery%3D%2B%25%C3%A9%22%3C"
SCANNER = SecretScanner(PASSWORD, API_KEY, FORM)


@frozen
class FaultCase:
    """A fault and the expected result of a login that meets it.

    Attributes:
        target: The server of the login.
        expected: The exact class of the exception, or Credentials.
        sends: The number of complete requests that the server must have read.
        attributes: Expected attributes of the exception.
        max_seconds: The upper bound of the login's duration, in seconds.
        timeout: The timeout of the login, in seconds.
        dev: Whether the login is a development login.
    """

    target: TargetFactory
    expected: type[Any]
    sends: int = 1
    attributes: Mapping[str, Any] = field(factory=dict)
    max_seconds: float = 1.0
    timeout: float = 5.0
    dev: bool = False


def connection_lost(target: TargetFactory, **more: Any) -> FaultCase:
    """Expect a lost connection: the request may have been processed, so it is sent twice."""
    return FaultCase(target, APIConnectionError, sends=2, attributes={"sent": True}, **more)


def unreachable(
    target: TargetFactory, exc_type: type[Any] = APIConnectionError, **more: Any
) -> FaultCase:
    return FaultCase(target, exc_type, sends=0, attributes={"sent": False}, **more)


def invalid_response(target: TargetFactory, status: int | None = 200) -> FaultCase:
    return FaultCase(target, InvalidResponseError, attributes={"status_code": status})


def with_field(**fields: Any) -> FaultCase:
    """Expect a malformed success; `...` removes a field."""
    body = {name: value for name, value in {**SUCCESS, **fields}.items() if value is not ...}
    return invalid_response(http_target(respond(200, json.dumps(body))))


def with_body(body: bytes | str) -> FaultCase:
    return invalid_response(http_target(respond(200, body)))


def status_error(
    status: int,
    exc_type: type[Any],
    body: Any = AUTH_FAILED,
    sends: int = 1,
    **attributes: Any,
) -> FaultCase:
    return FaultCase(
        http_target(respond(status, body)),
        exc_type,
        sends=sends,
        attributes={"status_code": status, **attributes},
    )


def error_code(code: str | None, exc_type: type[Any], status: int = 401) -> FaultCase:
    body: dict[str, Any] = {"result": "error", "msg": "No", "code": code}
    if code is None:
        del body["code"]
    return status_error(status, exc_type, body, code=code, message="No")


def rate_limited(
    header: str | None = None, body: Any = None, seconds: float | None = None, sends: int = 1
) -> FaultCase:
    headers = {} if header is None else {"Retry-After": header}
    body = {"result": "error", "msg": "Busy", "code": "RATE_LIMIT_HIT", **(body or {})}
    target = http_target(respond(429, body, headers))
    return FaultCase(target, RateLimitedError, sends=sends, attributes={"retry_after": seconds})


def legacy_reason(reason: str, exc_type: type[Any]) -> FaultCase:
    body = {"result": "error", "msg": "No", "reason": reason}
    return status_error(403, exc_type, body, code=None, message="No")


def proxy_error(scenario: Scenario) -> FaultCase:
    return unreachable(faults.proxied(scenario))


FAULT_CASES: dict[str, FaultCase] = {
    # Unreachable
    "name does not resolve": unreachable(faults.no_such_name, max_seconds=3.0),
    "connection refused": unreachable(faults.closed_port),
    "connect timeout": unreachable(faults.full_backlog, APITimeoutError, timeout=0.6),
    "TLS handshake that hangs": unreachable(
        faults.handshake_that_hangs, APITimeoutError, timeout=0.6
    ),
    "untrusted certificate": unreachable(faults.untrusted_certificate, TLSError),
    "expired certificate": unreachable(faults.expired_certificate, TLSError),
    "wrong-host certificate": unreachable(faults.wrong_host_certificate, TLSError),
    "https to a plain port": unreachable(faults.https_to_a_plain_port, TLSError),
    "proxy that rejects the tunnel": proxy_error(faults.reject_tunnel),
    "proxy that requires authentication": proxy_error(faults.require_proxy_auth),
    "proxy with an invalid URL": FaultCase(
        faults.environment("HTTPS_PROXY", "http://x:y z"), ConfigurationError, sends=0
    ),
    "proxy of another kind": FaultCase(
        faults.environment("HTTPS_PROXY", "gopher://x"), ConfigurationError, sends=0
    ),
    "socks without its package": FaultCase(
        faults.environment("ALL_PROXY", "socks5://x"), ConfigurationError, sends=0
    ),
    "SSL_CERT_FILE that does not exist": FaultCase(
        faults.environment("SSL_CERT_FILE", "/nowhere.pem"), ConfigurationError, sends=0
    ),
    # Connection lost
    "reset before headers": connection_lost(http_target(faults.reset_before_headers)),
    "reset before headers, TLS": connection_lost(https_target(faults.reset_before_headers)),
    "closed without a response": connection_lost(http_target(close_without_response)),
    "closed without a response, TLS": connection_lost(https_target(close_without_response)),
    "closed in the headers": connection_lost(http_target(faults.close_in_the_headers)),
    "truncated body": connection_lost(http_target(faults.truncate_the_body)),
    "truncated body, TLS": connection_lost(https_target(faults.truncate_the_body)),
    "truncated chunks": connection_lost(http_target(faults.truncate_the_chunks)),
    "reset in mid-body": connection_lost(http_target(faults.reset_in_the_body)),
    # Too slow
    "silence": FaultCase(
        http_target(never_respond),
        APITimeoutError,
        sends=2,
        attributes={"sent": True},
        timeout=0.6,
    ),
    "one byte per 0.5 s": FaultCase(
        http_target(faults.drip),
        APITimeoutError,
        attributes={"sent": True},
        timeout=1.2,
        max_seconds=1.5,
    ),
    "endless 1xx": FaultCase(
        http_target(faults.never_end_1xx), APITimeoutError, attributes={"sent": True}, timeout=0.6
    ),
    # Malformed HTTP
    "http to a TLS port": FaultCase(
        faults.http_to_a_tls_port, APIConnectionError, sends=0, attributes={"sent": True}
    ),
    "garbage status line": invalid_response(http_target(faults.garbage_with_the_password), None),
    "SSH": connection_lost(http_target(faults.speak_ssh)),
    "headers of 1 MB": invalid_response(http_target(faults.headers_of_1_mb), None),
    "10,000 headers": invalid_response(http_target(faults.ten_thousand_headers), None),
    "bad chunk size": invalid_response(http_target(faults.bad_chunk_size)),
    "bad chunk size, after the head": invalid_response(
        http_target(faults.bad_chunk_size_after_the_head)
    ),
    "bad chunk size of a 503": FaultCase(
        http_target(faults.bad_chunk_size_of_a_503),
        ServerError,
        sends=2,
        attributes={"status_code": 503},
    ),
    "conflicting lengths": invalid_response(http_target(faults.conflicting_lengths), None),
    # Body size and encoding
    "body of 1 MiB": FaultCase(http_target(faults.body_of(2**20)), Credentials),
    "body of 1 MiB and a byte": invalid_response(http_target(faults.body_of(2**20 + 1))),
    "body of 200 MB": invalid_response(http_target(faults.body_of_200_mb)),
    "gzip": invalid_response(http_target(faults.gzipped(1))),
    "double gzip": invalid_response(http_target(faults.gzipped(2))),
    "plain, declared as gzip": invalid_response(
        http_target(respond(200, SUCCESS, {"Content-Encoding": "gzip"}))
    ),
    "corrupt gzip": invalid_response(http_target(faults.corrupt_gzip)),
    # Redirects
    "301": invalid_response(faults.redirect(301), 301),
    "302": invalid_response(faults.redirect(302), 302),
    "303": invalid_response(faults.redirect(303), 303),
    "307": invalid_response(faults.redirect(307), 307),
    "308": invalid_response(faults.redirect(308), 308),
    # Malformed 2xx
    "204": invalid_response(http_target(respond(204)), 204),
    "201 with a success": invalid_response(http_target(respond(201, SUCCESS)), 201),
    "empty 200": with_body(""),
    "HTML": with_body(HTML),
    "null": with_body("null"),
    "list": with_body("[]"),
    "text": with_body('"x"'),
    "100,000 nested lists": with_body("[" * 100_000),
    "30,000 nested lists": with_body("[" * 30_000 + "]" * 30_000),
    "5,000-digit integer": with_body('{"result":"success","user_id":' + "9" * 5000 + "}"),
    "invalid UTF-8": with_body(json.dumps(SUCCESS).encode().replace(b"iago", b"\xff\xfe")),
    "byte order mark": FaultCase(
        http_target(respond(200, json.dumps(SUCCESS).encode("utf-8-sig"))), Credentials
    ),
    "UTF-16": FaultCase(
        http_target(respond(200, json.dumps(SUCCESS).encode("utf-16"))), Credentials
    ),
    "key missing": with_field(api_key=...),
    "key null": with_field(api_key=None),
    "key 7": with_field(api_key=7),
    "key NaN": with_field(api_key=float("nan")),
    "key empty": with_field(api_key=""),
    "key with a newline": with_field(api_key=f"{API_KEY}\n"),
    "key of 1 MB": with_field(api_key="a" * 2**20),
    "key of 32 KB": with_field(api_key="a" * 2**15),
    "email missing": with_field(email=...),
    "email null": with_field(email=None),
    "email with a newline": with_field(email="iago@zulip.com\nX: y"),
    "user_id missing": FaultCase(
        http_target(respond(200, {k: v for k, v in SUCCESS.items() if k != "user_id"})), Credentials
    ),
    "user_id null": with_field(user_id=None),
    "user_id '5'": with_field(user_id="5"),
    "user_id -1": with_field(user_id=-1),
    "user_id true": with_field(user_id=True),
    "result error with 200": with_body(json.dumps(AUTH_FAILED)),
    "result unknown": with_field(result="maybe"),
    "result missing": with_field(result=...),
    "msg missing": with_field(msg=...),
    # 4xx
    "401 AUTHENTICATION_FAILED": error_code("AUTHENTICATION_FAILED", AuthenticationFailedError),
    "401 USER_DEACTIVATED": error_code("USER_DEACTIVATED", UserDeactivatedError),
    "401 REALM_DEACTIVATED": error_code("REALM_DEACTIVATED", RealmDeactivatedError),
    "401 PASSWORD_AUTH_DISABLED": error_code("PASSWORD_AUTH_DISABLED", PasswordAuthDisabledError),
    "401 PASSWORD_RESET_REQUIRED": error_code(
        "PASSWORD_RESET_REQUIRED", PasswordResetRequiredError
    ),
    "401 unknown code": error_code("SOMETHING_NEW", AuthenticationFailedError),
    "401 without a code": error_code(None, AuthenticationFailedError),
    "401 HTML": invalid_response(http_target(respond(401, HTML)), 401),
    "400 BAD_REQUEST": error_code("BAD_REQUEST", BadRequestError, 400),
    "400 HTML": invalid_response(http_target(respond(400, HTML)), 400),
    "403 legacy, password": legacy_reason("incorrect_creds", AuthenticationFailedError),
    "403 legacy, user": legacy_reason("user disable", UserDeactivatedError),
    "403 legacy, organization": legacy_reason("realm deactivated", RealmDeactivatedError),
    "403 legacy, no passwords": legacy_reason("password auth disabled", PasswordAuthDisabledError),
    "403 HTML": invalid_response(http_target(respond(403, HTML)), 403),
    "404 NONEXISTENT_SUBDOMAIN": error_code("NONEXISTENT_SUBDOMAIN", InvalidSubdomainError, 404),
    "404 HTML": invalid_response(http_target(respond(404, HTML)), 404),
    "404 HTML, development login": FaultCase(
        http_target(respond(404, HTML)),
        DevAuthDisabledError,
        attributes={"status_code": 404},
        dev=True,
    ),
    "405": error_code(None, APIStatusError, 405),
    "408": status_error(408, APIStatusError, {"result": "error", "msg": "Slow"}, sends=2),
    "408 HTML": FaultCase(
        http_target(respond(408, HTML)),
        InvalidResponseError,
        sends=2,
        attributes={"status_code": 408},
    ),
    "418": error_code("TEAPOT", APIStatusError, 418),
    # 429
    "429 with half an hour": rate_limited("1799.7959835529327", seconds=1799.7959835529327),
    "429 with zero": rate_limited("0", seconds=0.0, sends=5),
    "429 short": rate_limited("0.05", seconds=0.05, sends=5),
    "429 slightly too long": rate_limited("10.1", seconds=10.1),
    "429 without a duration": rate_limited(),
    "429 null": rate_limited(body={"retry-after": None}),
    "429 negative": rate_limited("-5"),
    "429 nan": rate_limited("nan"),
    "429 a past date": rate_limited("Mon, 23 Nov 2020 22:00:00 GMT", seconds=0.0, sends=5),
    "429 body only": rate_limited(body={"retry-after": 28.7}, seconds=28.7),
    "429 HTML": FaultCase(
        http_target(respond(429, HTML, {"Retry-After": "60"})),
        RateLimitedError,
        attributes={"retry_after": 60.0, "code": None, "message": ""},
    ),
    # 5xx and beyond
    "500": status_error(500, ServerError, sends=2, code="AUTHENTICATION_FAILED"),
    "500 HTML": status_error(500, ServerError, HTML, sends=2, code=None, message=""),
    "502": status_error(502, ServerError, "", sends=2),
    "503 with Retry-After": FaultCase(
        http_target(respond(503, HTML, {"Retry-After": "3600"})),
        ServerError,
        sends=2,
        attributes={"status_code": 503},
    ),
    "504": status_error(504, ServerError, HTML, sends=2),
    "499": status_error(499, InvalidResponseError, HTML),
    "520": status_error(520, ServerError, HTML, sends=2),
    "999": status_error(999, InvalidResponseError, HTML),
    # Servers that echo the request
    "password in the message of 401": FaultCase(
        http_target(faults.echo_as_message(401)), AuthenticationFailedError
    ),
    "password in the message of 400": FaultCase(
        http_target(faults.echo_as_message(400)), BadRequestError
    ),
    "password in the message of 418": FaultCase(
        http_target(faults.echo_as_message(418)), APIStatusError
    ),
    "password in the message of 429": FaultCase(
        http_target(faults.echo_as_message(429)), RateLimitedError
    ),
    "password in the message of 500": FaultCase(
        http_target(faults.echo_as_message(500)), ServerError, sends=2
    ),
    "password in a page": invalid_response(http_target(faults.echo_as_html), 403),
    "password in Location": invalid_response(http_target(faults.echo_as_location), 302),
    "password in Retry-After": FaultCase(http_target(faults.echo_as_retry_after), RateLimitedError),
    "password in a success": invalid_response(http_target(faults.echo_in_a_malformed_success)),
    # No fault
    "success": FaultCase(http_target(respond(200, SUCCESS)), Credentials),
    "success, TLS": FaultCase(https_target(respond(200, SUCCESS)), Credentials),
}

# Proxy and certificates are options of the caller's transport, which raises
# before there is a client.
OPTIONS_OF_TRANSPORT: dict[str, FaultCase | None] = {
    "proxy with an invalid URL": None,
    "proxy of another kind": None,
    "socks without its package": None,
    "SSL_CERT_FILE that does not exist": None,
}

# Cases with another result over httpx-aiohttp. All others are the same there.
OVER_AIOHTTP: dict[str, FaultCase | None] = {
    # aiohttp rejects the first bytes as not HTTP; h11 waits for more.
    "SSH": invalid_response(http_target(faults.speak_ssh), None),
    # aiohttp parses head and body in one step, so that the status code is lost
    # with the body, and with it the reason to retry.
    "bad chunk size": invalid_response(http_target(faults.bad_chunk_size), None),
    "bad chunk size of a 503": invalid_response(http_target(faults.bad_chunk_size_of_a_503), None),
    # If the head arrived earlier, aiohttp waits for a valid body.
    "bad chunk size, after the head": FaultCase(
        http_target(faults.bad_chunk_size_after_the_head),
        APITimeoutError,
        attributes={"sent": True},
        timeout=0.6,
    ),
    **OPTIONS_OF_TRANSPORT,
}

# httpcore logs response heads at DEBUG, also those that it cannot parse. If a
# server echoes the password there, that log contains it; see SECURITY.md.
ECHOED_IN_THE_HEAD = {
    "garbage status line",
    "password in Location",
    "password in Retry-After",
}


@pytest.fixture(autouse=True)
def fresh_certificates() -> Iterator[None]:
    transport._default_ssl_context.cache_clear()
    yield
    transport._default_ssl_context.cache_clear()


@asynccontextmanager
async def over_httpx(target: Target) -> AsyncIterator[dict[str, Any]]:
    yield target.options


EMPTY_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loads no CA certificates


@asynccontextmanager
async def over_aiohttp(target: Target) -> AsyncIterator[dict[str, Any]]:
    transport = AiohttpTransport(
        verify=target.options.get("ssl_context", EMPTY_CONTEXT),
        proxy=httpx.Proxy(target.environment["HTTPS_PROXY"]) if target.environment else None,
    )
    async with transport:
        yield {"transport": transport}


CASES = {
    **{name: (case, over_httpx) for name, case in FAULT_CASES.items()},
    **{
        f"{name}, over httpx-aiohttp": (case, over_aiohttp)
        for name, case in {**FAULT_CASES, **OVER_AIOHTTP}.items()
        if case is not None
    },
}


@pytest.mark.parametrize("name", CASES)
async def test_fault(
    name: str,
    no_backoff: RetryPolicy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    case, over = CASES[name]
    caplog.set_level(logging.DEBUG)
    async with case.target() as target, over(target) as options:
        for variable, value in target.environment.items():
            monkeypatch.setenv(variable, value)
        options = {"retry": no_backoff, "timeout": case.timeout, **options}
        start = clock()
        try:
            if case.dev:
                result: Any = await dev_login(target.site, USERNAME, **options)
            else:
                result = await login(target.site, USERNAME, PASSWORD, **options)
        except zulip_auth.ZulipAuthError as error:
            result = error
        elapsed = clock() - start
        sends = len(target.server.requests)
    assert type(result) is case.expected, repr(result)
    assert {name: getattr(result, name) for name in case.attributes} == case.attributes
    assert sends == case.sends
    assert elapsed < case.max_seconds, elapsed
    if isinstance(result, Credentials):
        SCANNER.check(f"{result} {result!r}", "the credentials")
    else:
        SCANNER.check_error(result)
        assert (
            target.site in str(result) or "SSL_CERT_FILE" in str(result) or "PROXY" in str(result)
        )
    for record in caplog.records:
        fault = name.partition(", over")[0]
        if fault in ECHOED_IN_THE_HEAD and record.name.startswith(("httpcore.", "httpcore2.")):
            continue
        SCANNER.check(record.getMessage(), f"the log of {record.name}")
        if record.name == "zulip_auth":
            SCANNER.check(repr(vars(record)), "the log record")
            assert USERNAME not in repr(vars(record))
    SCANNER.check("".join(capfd.readouterr()), "standard output or error")


VALID = raw_response(200, json.dumps(SUCCESS))
SPLICED = st.builds(
    lambda at, length, new: VALID[:at] + new + VALID[at + length :],
    st.integers(0, len(VALID)),
    st.integers(0, 20),
    st.binary(max_size=20),
)
STATUSES = st.builds(
    raw_response,
    st.integers(100, 999),
    st.binary(max_size=100) | st.just(json.dumps(AUTH_FAILED)),
)


@pytest.mark.slow
@pytest.mark.parametrize("over", [over_httpx, over_aiohttp])
@given(data=st.binary(max_size=200) | SPLICED | STATUSES)
@settings(max_examples=100)
def test_any_bytes(over: Any, data: bytes) -> None:
    async def respond_with(connection: Connection) -> None:
        await connection.read()
        await connection.write(data)

    async def check() -> None:
        async with (
            ScriptedServer(respond_with) as server,
            over(Target(server.site, server)) as options,
        ):
            options = {"retry": RetryPolicy(wait_max=0), "timeout": 2, **options}
            try:
                await login(server.site, USERNAME, PASSWORD, **options)
            except (APIConnectionError, InvalidResponseError, APIStatusError) as error:
                assert type(error).__name__ in zulip_auth.__all__
                SCANNER.check_error(error)
            assert 1 <= len(server.requests) <= 2

    asyncio.run(check())


def test_fault_table(record_property: Any) -> None:
    record_property("fault cases", len(FAULT_CASES))
    assert set(OVER_AIOHTTP) < set(FAULT_CASES)
    assert len(FAULT_CASES) > 110
    vague = (Exception, zulip_auth.ZulipAuthError)
    assert all(case.expected not in vague for case in FAULT_CASES.values())
