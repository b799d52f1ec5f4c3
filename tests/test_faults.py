"""The table of faults: each ends in one documented error, on time, with nothing secret in it."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
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
    Credentials,
    DevAuthDisabledError,
    InvalidInputError,
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
from zulip_auth._http import transport

PASSWORD = 'correct horse & battery=+%é"<'
FORM = "username=iago%40zulip.com&password=correct+horse+%26+battery%3D%2B%25%C3%A9%22%3C"
LEAKS = SecretScanner(PASSWORD, API_KEY, FORM)


@frozen
class Row:
    """A fault, and what must become of a login that meets it.

    Attributes:
        place: Where it goes.
        ends_in: The class of the error, exactly, or Credentials.
        sends: How many whole requests the server must have counted.
        attributes: What the error must say.
        within: The bound on its time, in seconds.
        timeout: What it is given, in seconds.
    """

    place: TargetFactory
    ends_in: type[Any]
    sends: int = 1
    attributes: Mapping[str, Any] = field(factory=dict)
    within: float = 1.0
    timeout: float = 5.0
    dev: bool = False


def lost(place: TargetFactory, **more: Any) -> Row:
    """It may have been sent, so it is sent twice and no more."""
    return Row(place, APIConnectionError, sends=2, attributes={"sent": True}, **more)


def not_reached(place: TargetFactory, kind: type[Any] = APIConnectionError, **more: Any) -> Row:
    return Row(place, kind, sends=0, attributes={"sent": False}, **more)


def no_answer(place: TargetFactory, status: int | None = 200) -> Row:
    return Row(place, InvalidResponseError, attributes={"status_code": status})


def odd(**fields: Any) -> Row:
    """A success with something wrong about its fields; `...` leaves one out."""
    said = {name: value for name, value in {**SUCCESS, **fields}.items() if value is not ...}
    return no_answer(http_target(respond(200, json.dumps(said))))


def raw(body: bytes | str) -> Row:
    return no_answer(http_target(respond(200, body)))


def refused(
    status: int,
    kind: type[Any],
    body: Any = AUTH_FAILED,
    sends: int = 1,
    **attributes: Any,
) -> Row:
    return Row(
        http_target(respond(status, body)),
        kind,
        sends=sends,
        attributes={"status_code": status, **attributes},
    )


def coded(code: str | None, kind: type[Any], status: int = 401) -> Row:
    said: dict[str, Any] = {"result": "error", "msg": "No", "code": code}
    if code is None:
        del said["code"]
    return refused(status, kind, said, code=code, message="No")


def limited(
    header: str | None = None, body: Any = None, seconds: float | None = None, sends: int = 1
) -> Row:
    headers = {} if header is None else {"Retry-After": header}
    said = {"result": "error", "msg": "Busy", "code": "RATE_LIMIT_HIT", **(body or {})}
    place = http_target(respond(429, said, headers))
    return Row(place, RateLimitedError, sends=sends, attributes={"retry_after": seconds})


def legacy(reason: str, kind: type[Any]) -> Row:
    said = {"result": "error", "msg": "No", "reason": reason}
    return refused(403, kind, said, code=None, message="No")


def in_proxy(scenario: Scenario) -> Row:
    return not_reached(faults.proxied(scenario))


ROWS: dict[str, Row] = {
    # Not reached
    "name does not resolve": not_reached(faults.no_such_name, within=3.0),
    "refused": not_reached(faults.closed_port),
    "connect timeout": not_reached(faults.full_backlog, APITimeoutError, timeout=0.6),
    "TLS handshake that hangs": not_reached(
        faults.handshake_that_hangs, APITimeoutError, timeout=0.6
    ),
    "untrusted certificate": not_reached(faults.untrusted_certificate, TLSError),
    "expired certificate": not_reached(faults.expired_certificate, TLSError),
    "wrong-host certificate": not_reached(faults.wrong_host_certificate, TLSError),
    "https to a plain port": not_reached(faults.https_to_a_plain_port, TLSError),
    "proxy that refuses": in_proxy(faults.refuse_the_tunnel),
    "proxy that wants authentication": in_proxy(faults.require_proxy_auth),
    "proxy that is no URL": Row(
        faults.environment("HTTPS_PROXY", "http://x:y z"), InvalidInputError, sends=0
    ),
    "proxy of another kind": Row(
        faults.environment("HTTPS_PROXY", "gopher://x"), InvalidInputError, sends=0
    ),
    "socks without its package": Row(
        faults.environment("ALL_PROXY", "socks5://x"), InvalidInputError, sends=0
    ),
    "SSL_CERT_FILE that does not exist": not_reached(
        faults.environment("SSL_CERT_FILE", "/nowhere.pem"), TLSError
    ),
    # Lost
    "reset before headers": lost(http_target(faults.reset_before_headers)),
    "reset before headers, TLS": lost(https_target(faults.reset_before_headers)),
    "closed without an answer": lost(http_target(close_without_response)),
    "closed without an answer, TLS": lost(https_target(close_without_response)),
    "closed in the headers": lost(http_target(faults.close_in_the_headers)),
    "truncated body": lost(http_target(faults.truncate_the_body)),
    "truncated body, TLS": lost(https_target(faults.truncate_the_body)),
    "truncated chunks": lost(http_target(faults.truncate_the_chunks)),
    "reset in mid-body": lost(http_target(faults.reset_in_the_body)),
    # Too slow
    "silence": Row(
        http_target(never_respond),
        APITimeoutError,
        sends=2,
        attributes={"sent": True},
        timeout=0.6,
    ),
    "one byte per 0.5 s": Row(
        http_target(faults.drip),
        APITimeoutError,
        attributes={"sent": True},
        timeout=1.2,
        within=1.5,
    ),
    "endless 1xx": Row(
        http_target(faults.never_end_1xx), APITimeoutError, attributes={"sent": True}, timeout=0.6
    ),
    # Not HTTP, or not quite
    "http to a TLS port": Row(
        faults.http_to_a_tls_port, APIConnectionError, sends=0, attributes={"sent": True}
    ),
    "garbage status line": no_answer(http_target(faults.garbage_with_the_password), None),
    "SSH": lost(http_target(faults.speak_ssh)),
    "headers of 1 MB": no_answer(http_target(faults.headers_of_1_mb), None),
    "10,000 headers": no_answer(http_target(faults.ten_thousand_headers), None),
    "bad chunk size": no_answer(http_target(faults.bad_chunk_size)),
    "bad chunk size, after the head": no_answer(http_target(faults.bad_chunk_size_after_the_head)),
    "bad chunk size of a 503": Row(
        http_target(faults.bad_chunk_size_of_a_503),
        ServerError,
        sends=2,
        attributes={"status_code": 503},
    ),
    "conflicting lengths": no_answer(http_target(faults.conflicting_lengths), None),
    # Too much, or wrapped up
    "body of 64 KiB": Row(http_target(faults.body_of(2**16)), Credentials),
    "body of 64 KiB and a byte": no_answer(http_target(faults.body_of(2**16 + 1))),
    "body of 65 KiB": no_answer(http_target(faults.body_of(65 * 2**10))),
    "body of 200 MB": no_answer(http_target(faults.body_of_200_mb)),
    "gzip": no_answer(http_target(faults.gzipped(1))),
    "double gzip": no_answer(http_target(faults.gzipped(2))),
    "plain, said to be gzip": no_answer(
        http_target(respond(200, SUCCESS, {"Content-Encoding": "gzip"}))
    ),
    "corrupt gzip": no_answer(http_target(faults.corrupt_gzip)),
    # Redirects
    "301": no_answer(faults.redirect(301), 301),
    "302": no_answer(faults.redirect(302), 302),
    "303": no_answer(faults.redirect(303), 303),
    "307": no_answer(faults.redirect(307), 307),
    "308": no_answer(faults.redirect(308), 308),
    # 2xx that are no success
    "204": no_answer(http_target(respond(204)), 204),
    "201 with a success": no_answer(http_target(respond(201, SUCCESS)), 201),
    "empty 200": raw(""),
    "HTML": raw(HTML),
    "null": raw("null"),
    "list": raw("[]"),
    "text": raw('"x"'),
    "100,000 nested lists": raw("[" * 100_000),
    "30,000 nested lists": raw("[" * 30_000 + "]" * 30_000),
    "5,000-digit integer": raw('{"result":"success","user_id":' + "9" * 5000 + "}"),
    "invalid UTF-8": raw(json.dumps(SUCCESS).encode().replace(b"iago", b"\xff\xfe")),
    "byte order mark": Row(
        http_target(respond(200, json.dumps(SUCCESS).encode("utf-8-sig"))), Credentials
    ),
    "UTF-16": Row(http_target(respond(200, json.dumps(SUCCESS).encode("utf-16"))), Credentials),
    "key missing": odd(api_key=...),
    "key null": odd(api_key=None),
    "key 7": odd(api_key=7),
    "key NaN": odd(api_key=float("nan")),
    "key empty": odd(api_key=""),
    "key with a newline": odd(api_key=f"{API_KEY}\n"),
    "key of 1 MB": odd(api_key="a" * 2**20),
    "key of 32 KB": odd(api_key="a" * 2**15),
    "email missing": odd(email=...),
    "email null": odd(email=None),
    "email with a newline": odd(email="iago@zulip.com\nX: y"),
    "user_id missing": Row(
        http_target(respond(200, {k: v for k, v in SUCCESS.items() if k != "user_id"})), Credentials
    ),
    "user_id null": odd(user_id=None),
    "user_id '5'": odd(user_id="5"),
    "user_id -1": odd(user_id=-1),
    "user_id true": odd(user_id=True),
    "result error with 200": raw(json.dumps(AUTH_FAILED)),
    "result unknown": odd(result="maybe"),
    "result missing": odd(result=...),
    "msg missing": odd(msg=...),
    # 4xx
    "401 AUTHENTICATION_FAILED": coded("AUTHENTICATION_FAILED", AuthenticationFailedError),
    "401 USER_DEACTIVATED": coded("USER_DEACTIVATED", UserDeactivatedError),
    "401 REALM_DEACTIVATED": coded("REALM_DEACTIVATED", RealmDeactivatedError),
    "401 PASSWORD_AUTH_DISABLED": coded("PASSWORD_AUTH_DISABLED", PasswordAuthDisabledError),
    "401 PASSWORD_RESET_REQUIRED": coded("PASSWORD_RESET_REQUIRED", PasswordResetRequiredError),
    "401 unknown code": coded("SOMETHING_NEW", AuthenticationFailedError),
    "401 without a code": coded(None, AuthenticationFailedError),
    "401 HTML": no_answer(http_target(respond(401, HTML)), 401),
    "400 BAD_REQUEST": coded("BAD_REQUEST", BadRequestError, 400),
    "400 HTML": no_answer(http_target(respond(400, HTML)), 400),
    "403 legacy, password": legacy("incorrect_creds", AuthenticationFailedError),
    "403 legacy, user": legacy("user disable", UserDeactivatedError),
    "403 legacy, organization": legacy("realm deactivated", RealmDeactivatedError),
    "403 legacy, no passwords": legacy("password auth disabled", PasswordAuthDisabledError),
    "403 HTML": no_answer(http_target(respond(403, HTML)), 403),
    "404 NONEXISTENT_SUBDOMAIN": coded("NONEXISTENT_SUBDOMAIN", InvalidSubdomainError, 404),
    "404 HTML": no_answer(http_target(respond(404, HTML)), 404),
    "404 HTML, development login": Row(
        http_target(respond(404, HTML)),
        DevAuthDisabledError,
        attributes={"status_code": 404},
        dev=True,
    ),
    "405": coded(None, APIStatusError, 405),
    "408": refused(408, APIStatusError, {"result": "error", "msg": "Slow"}, sends=2),
    "408 HTML": Row(
        http_target(respond(408, HTML)),
        InvalidResponseError,
        sends=2,
        attributes={"status_code": 408},
    ),
    "418": coded("TEAPOT", APIStatusError, 418),
    # 429
    "429 with half an hour": limited("1799.7959835529327", seconds=1799.7959835529327),
    "429 with no time at all": limited("0", seconds=0.0, sends=5),
    "429 with a moment": limited("0.05", seconds=0.05, sends=5),
    "429 just too long": limited("10.1", seconds=10.1),
    "429 without": limited(),
    "429 null": limited(body={"retry-after": None}),
    "429 negative": limited("-5"),
    "429 nan": limited("nan"),
    "429 a past date": limited("Mon, 23 Nov 2020 22:00:00 GMT", seconds=0.0, sends=5),
    "429 body alone": limited(body={"retry-after": 28.7}, seconds=28.7),
    "429 HTML": Row(
        http_target(respond(429, HTML, {"Retry-After": "60"})),
        RateLimitedError,
        attributes={"retry_after": 60.0, "code": None, "message": ""},
    ),
    # 5xx, and beyond
    "500": refused(500, ServerError, sends=2, code="AUTHENTICATION_FAILED"),
    "500 HTML": refused(500, ServerError, HTML, sends=2, code=None, message=""),
    "502": refused(502, ServerError, "", sends=2),
    "503 with Retry-After": Row(
        http_target(respond(503, HTML, {"Retry-After": "3600"})),
        ServerError,
        sends=2,
        attributes={"status_code": 503},
    ),
    "504": refused(504, ServerError, HTML, sends=2),
    "499": refused(499, InvalidResponseError, HTML),
    "520": refused(520, ServerError, HTML, sends=2),
    "999": refused(999, InvalidResponseError, HTML),
    # Servers that repeat what they were sent
    "password in the words of 401": Row(
        http_target(faults.echo_as_message(401)), AuthenticationFailedError
    ),
    "password in the words of 400": Row(http_target(faults.echo_as_message(400)), BadRequestError),
    "password in the words of 418": Row(http_target(faults.echo_as_message(418)), APIStatusError),
    "password in the words of 429": Row(http_target(faults.echo_as_message(429)), RateLimitedError),
    "password in the words of 500": Row(
        http_target(faults.echo_as_message(500)), ServerError, sends=2
    ),
    "password in a page": no_answer(http_target(faults.echo_as_html), 403),
    "password in Location": no_answer(http_target(faults.echo_as_location), 302),
    "password in Retry-After": Row(http_target(faults.echo_as_retry_after), RateLimitedError),
    "password in a success": no_answer(http_target(faults.echo_in_a_malformed_success)),
    # And for comparison
    "nothing wrong": Row(http_target(respond(200, SUCCESS)), Credentials),
    "nothing wrong, TLS": Row(https_target(respond(200, SUCCESS)), Credentials),
}

# What is otherwise over httpx-aiohttp. All other rows are the same there.
OVER_AIOHTTP: dict[str, Row | None] = {
    # aiohttp knows by the first bytes that this is no HTTP; h11 waits for more of it.
    "SSH": no_answer(http_target(faults.speak_ssh), None),
    # aiohttp reads what has come in as a whole, so that the head is lost with the
    # body: there is no status, and no reason to try again.
    "bad chunk size": no_answer(http_target(faults.bad_chunk_size), None),
    "bad chunk size of a 503": no_answer(http_target(faults.bad_chunk_size_of_a_503), None),
    # … and where the head has come before, it waits for a body that it can read.
    "bad chunk size, after the head": Row(
        http_target(faults.bad_chunk_size_after_the_head),
        APITimeoutError,
        attributes={"sent": True},
        timeout=0.6,
    ),
    # Whoever makes the transport chooses its proxy and its certificates, and has
    # been told before there is a client.
    "proxy that is no URL": None,
    "proxy of another kind": None,
    "socks without its package": None,
    "SSL_CERT_FILE that does not exist": None,
}

# httpcore writes the head of each answer, and what it could not read of it, to
# its own log at DEBUG. Where a server repeats the password in there, that log
# has it, and nothing that this package does can prevent it: see SECURITY.md.
REPEATED_IN_THE_HEAD = {
    "garbage status line",
    "password in Location",
    "password in Retry-After",
}


@pytest.fixture(autouse=True)
def fresh_certificates() -> Iterator[None]:
    transport._shared_context.cache_clear()
    yield
    transport._shared_context.cache_clear()


@asynccontextmanager
async def over_httpx(place: Target) -> AsyncIterator[dict[str, Any]]:
    yield place.options


EMPTY_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which takes no time to make


@asynccontextmanager
async def over_aiohttp(place: Target) -> AsyncIterator[dict[str, Any]]:
    transport = AiohttpTransport(
        verify=place.options.get("ssl_context", EMPTY_CONTEXT),
        proxy=httpx.Proxy(place.environment["HTTPS_PROXY"]) if place.environment else None,
    )
    async with transport:
        yield {"transport": transport}


CASES = {
    **{name: (row, over_httpx) for name, row in ROWS.items()},
    **{
        f"{name}, over httpx-aiohttp": (row, over_aiohttp)
        for name, row in {**ROWS, **OVER_AIOHTTP}.items()
        if row is not None
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
    row, over = CASES[name]
    caplog.set_level(logging.DEBUG)
    async with row.place() as place, over(place) as carrying:
        for variable, value in place.environment.items():
            monkeypatch.setenv(variable, value)
        options = {"retry": no_backoff, "timeout": row.timeout, **carrying}
        start = time.monotonic()
        try:
            if row.dev:
                ended: Any = await dev_login(place.site, USERNAME, **options)
            else:
                ended = await login(place.site, USERNAME, PASSWORD, **options)
        except zulip_auth.ZulipAuthError as error:
            ended = error
        took = time.monotonic() - start
        sends = len(place.server.requests)
    assert type(ended) is row.ends_in, repr(ended)
    assert {each: getattr(ended, each) for each in row.attributes} == row.attributes
    assert sends == row.sends
    assert took < row.within, took
    # Nothing secret anywhere.
    if isinstance(ended, Credentials):
        LEAKS.check(f"{ended} {ended!r}", "the credentials")
    else:
        LEAKS.check_error(ended)
        assert place.site in str(ended) or "SSL_CERT_FILE" in str(ended) or "PROXY" in str(ended)
    for record in caplog.records:
        if name in REPEATED_IN_THE_HEAD and record.name.startswith("httpcore."):
            continue
        LEAKS.check(record.getMessage(), f"the log of {record.name}")
    LEAKS.check("".join(capfd.readouterr()), "standard output or error")


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


@pytest.mark.parametrize("over", [over_httpx, over_aiohttp])
@given(answered=st.binary(max_size=200) | SPLICED | STATUSES)
@settings(max_examples=300)
def test_any_bytes(over: Any, answered: bytes) -> None:
    async def say(connection: Connection) -> None:
        await connection.read()
        await connection.write(answered)

    async def check() -> None:
        async with ScriptedServer(say) as server, over(Target(server.site, server)) as carrying:
            options = {"retry": RetryPolicy(wait_max=0), "timeout": 2, **carrying}
            try:
                await login(server.site, USERNAME, PASSWORD, **options)
            except (APIConnectionError, InvalidResponseError, APIStatusError) as error:
                assert type(error).__name__ in zulip_auth.__all__
                LEAKS.check_error(error)
            assert 1 <= len(server.requests) <= 2

    asyncio.run(check())


def test_fault_table(record_property: Any) -> None:
    record_property("rows in the table of faults", len(ROWS))
    assert set(OVER_AIOHTTP) < set(ROWS)
    assert len(ROWS) > 110
    vague = (Exception, zulip_auth.ZulipAuthError)
    assert all(row.ends_in not in vague for row in ROWS.values())
