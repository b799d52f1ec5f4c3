"""Each fault on the wire ends in one documented exception, in time and without secrets."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from attrs import field, frozen
from httpx_aiohttp import AiohttpTransport
from hypothesis import given
from hypothesis import strategies as st

import zulip_auth
from helpers import faults
from helpers.clock import clock
from helpers.constants import API_KEY, AUTH_FAILED, SUCCESS, USERNAME
from helpers.faults import HTML, OK, Target, TargetFactory, http_target, https_target, send
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
    InvalidResponseError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    TLSError,
    UserDeactivatedError,
    login,
)

PASSWORD = 'correct horse & battery=+%é"<'
FORM = "username=iago%40zulip.com&password=correct+horse+%26+battery%3D%2B%25%C3%A9%22%3C"
SCANNER = SecretScanner(PASSWORD, API_KEY, FORM)


@frozen
class FaultCase:
    """A fault and the expected result of a login that meets it.

    Attributes:
        target: The server of the login.
        expected: The exact class of the exception, or Credentials.
        sends: The number of complete requests that the server must have read; until a timeout,
            there may be fewer on a busy machine.
        attributes: Expected attributes of the exception.
        timeout: The timeout of the login, in seconds.
    """

    target: TargetFactory
    expected: type[Any]
    sends: int = 1
    attributes: Mapping[str, Any] = field(factory=dict)
    timeout: float = 5.0


def connection_lost(fault: Scenario, target: Callable[..., Any] = http_target) -> FaultCase:
    """Expect a lost connection: the request may have been processed, so it is sent twice."""
    return FaultCase(target(fault), APIConnectionError, sends=2, attributes={"sent": True})


def unreachable(
    target: TargetFactory, exc_type: type[Any] = APIConnectionError, timeout: float = 5.0
) -> FaultCase:
    return FaultCase(target, exc_type, sends=0, attributes={"sent": False}, timeout=timeout)


def too_slow(scenario: Scenario) -> FaultCase:
    target = http_target(scenario)
    return FaultCase(target, APITimeoutError, sends=2, attributes={"sent": True}, timeout=0.6)


def invalid_response(fault: Scenario, status: int | None = 200) -> FaultCase:
    attributes = {"status_code": status}
    return FaultCase(http_target(fault), InvalidResponseError, attributes=attributes)


def with_body(body: bytes | str | dict[str, Any], status: int = 200) -> FaultCase:
    return invalid_response(respond(status, body), status)


def success(body: bytes) -> FaultCase:
    return FaultCase(http_target(respond(200, body)), Credentials)


def status_error(
    status: int, exc_type: type[Any], body: Any, *, sends: int = 1, **attributes: Any
) -> FaultCase:
    headers = {"Retry-After": str(attributes["retry_after"])} if "retry_after" in attributes else {}
    target = http_target(respond(status, body, headers))
    return FaultCase(target, exc_type, sends, {"status_code": status, **attributes})


def failed(**fields: Any) -> dict[str, Any]:
    """Return the body of an error of Zulip."""
    return {"result": "error", "msg": "No", **fields}


CHUNKED, BAD_CHUNK = b"transfer-encoding: chunked\r\n\r\n", b"xyz\r\n{}\r\n"
BAD_CHUNK_SIZE = send(OK + CHUNKED + BAD_CHUNK)
BAD_CHUNK_SIZE_OF_A_401 = send(b"HTTP/1.1 401 x\r\n" + CHUNKED + BAD_CHUNK)
SPEAK_SSH = send(b"SSH-2.0-OpenSSH_9.2\r\nInvalid SSH identification string.\r\n")

FAULT_CASES: dict[str, FaultCase] = {
    # Unreachable
    "name does not resolve": unreachable(faults.no_such_name),
    "connection refused": unreachable(faults.closed_port),
    "connect timeout": unreachable(faults.full_backlog, APITimeoutError, timeout=0.3),
    "TLS handshake that hangs": unreachable(
        faults.handshake_that_hangs, APITimeoutError, timeout=0.3
    ),
    "untrusted certificate": unreachable(faults.untrusted_certificate, TLSError),
    "https to a plain port": unreachable(faults.https_to_a_plain_port, TLSError),
    "proxy that rejects the tunnel": unreachable(faults.proxied(403)),
    "proxy that requires authentication": unreachable(faults.proxied(407)),
    # Connection lost
    "reset before headers": connection_lost(faults.reset_before_headers),
    "reset before headers, TLS": connection_lost(faults.reset_before_headers, https_target),
    "closed without a response": connection_lost(close_without_response),
    "closed without a response, TLS": connection_lost(close_without_response, https_target),
    "closed in the headers": connection_lost(send(OK + b"content-type: appl")),
    "truncated body": connection_lost(faults.truncate_the_body),
    "truncated body, TLS": connection_lost(faults.truncate_the_body, https_target),
    "truncated chunks": connection_lost(send(OK + CHUNKED + b"64\r\n{")),
    "reset in mid-body": connection_lost(send(OK + b'content-length: 9\r\n\r\n{"', reset=True)),
    # Too slow
    "silence": too_slow(never_respond),
    "one byte after the other": too_slow(faults.drip),
    "endless 1xx": too_slow(faults.never_end_1xx),
    # Malformed HTTP
    "http to a TLS port": FaultCase(
        faults.http_to_a_tls_port, APIConnectionError, sends=0, attributes={"sent": True}
    ),
    "garbage status line": invalid_response(faults.garbage_with_the_password, None),
    "SSH": connection_lost(SPEAK_SSH),
    "headers of 1 MB": invalid_response(send(OK + b"x: " + b"a" * 2**20 + b"\r\n\r\n"), None),
    "10,000 headers": invalid_response(send(OK + b"x-n: abcdefgh\r\n" * 10_000 + b"\r\n"), None),
    "bad chunk size": invalid_response(BAD_CHUNK_SIZE),
    "bad chunk size of a 401": invalid_response(BAD_CHUNK_SIZE_OF_A_401, 401),
    "bad chunk size, after the head": invalid_response(send(OK + CHUNKED, BAD_CHUNK)),
    "conflicting lengths": invalid_response(
        send(OK + b"content-length: 2\r\ncontent-length: 7\r\n\r\n{}"), None
    ),
    "invalid target of a redirect": invalid_response(
        respond(302, b"", {"Location": "http://[::1"}), 302
    ),
    # Body size and encoding
    "body of 1 MiB": success(json.dumps(SUCCESS).encode().ljust(2**20)),
    "body of 1 MiB and a byte": with_body(json.dumps(SUCCESS).encode().ljust(2**20 + 1)),
    "body of 200 MB": invalid_response(faults.body_of_200_mb),
    "gzip": invalid_response(faults.gzipped(1)),
    "double gzip": invalid_response(faults.gzipped(2)),
    "plain, declared as gzip": invalid_response(
        respond(200, SUCCESS, {"Content-Encoding": "gzip"})
    ),
    # Redirects
    **{
        str(status): FaultCase(faults.redirect(status), InvalidResponseError)
        for status in (301, 302, 303, 307, 308)
    },
    # Malformed 2xx; test_operations.py has each field
    "204": with_body("", 204),
    "201 with a success": with_body(SUCCESS, 201),
    "empty 200": with_body(""),
    "HTML": with_body(HTML),
    "null": with_body("null"),
    "list": with_body("[]"),
    "100,000 nested lists": with_body("[" * 100_000),
    "30,000 nested lists": with_body("[" * 30_000 + "]" * 30_000),
    "5,000-digit integer": with_body('{"result":"success","user_id":' + "9" * 5000 + "}"),
    "invalid UTF-8": with_body(json.dumps(SUCCESS).encode().replace(b"iago", b"\xff\xfe")),
    "byte order mark": success(json.dumps(SUCCESS).encode("utf-8-sig")),
    "UTF-16": success(json.dumps(SUCCESS).encode("utf-16")),
    "key with a newline": with_body({**SUCCESS, "api_key": f"{API_KEY}\n"}),
    "result error with 200": with_body(AUTH_FAILED),
    "result unknown": with_body({**SUCCESS, "result": "maybe"}),
    "msg missing": with_body({"result": "success", "api_key": API_KEY, "email": USERNAME}),
    # 4xx; test_errors.py has each code and reason
    "401": status_error(
        401,
        AuthenticationFailedError,
        AUTH_FAILED,
        code=AUTH_FAILED["code"],
        message=AUTH_FAILED["msg"],
    ),
    "401 HTML": with_body(HTML, 401),
    "400 HTML": with_body(HTML, 400),
    "403 legacy": status_error(403, UserDeactivatedError, failed(reason="user disable"), code=None),
    "404 HTML": with_body(HTML, 404),
    "408": status_error(408, APIStatusError, failed(), sends=2),
    "408 HTML": status_error(408, InvalidResponseError, HTML, sends=2),
    "418": status_error(418, APIStatusError, failed(code="TEAPOT"), code="TEAPOT", message="No"),
    # 429
    "429 with half an hour": status_error(429, RateLimitedError, failed(), retry_after=1799.79),
    "429 with zero": status_error(429, RateLimitedError, failed(), retry_after=0.0, sends=5),
    "429 short": status_error(429, RateLimitedError, failed(), retry_after=0.01, sends=5),
    "429 slightly too long": status_error(429, RateLimitedError, failed(), retry_after=10.1),
    "429 HTML": status_error(429, RateLimitedError, HTML, retry_after=60.0, code=None, message=""),
    # 5xx and beyond
    "500": status_error(500, ServerError, AUTH_FAILED, sends=2, code="AUTHENTICATION_FAILED"),
    "500 HTML": status_error(500, ServerError, HTML, sends=2, code=None, message=""),
    "503 with Retry-After": FaultCase(
        http_target(respond(503, HTML, {"Retry-After": "3600"})), ServerError, sends=2
    ),
    "504": status_error(504, ServerError, "", sends=2),
    "499": with_body(HTML, 499),
    "999": with_body(HTML, 999),
    # Servers that echo the request
    **{
        f"password in the message of {status}": FaultCase(
            http_target(faults.echo_as_message(status)), exc_type, sends
        )
        for status, exc_type, sends in (
            (401, AuthenticationFailedError, 1),
            (400, BadRequestError, 1),
            (418, APIStatusError, 1),
            (429, RateLimitedError, 1),
            (500, ServerError, 2),
        )
    },
    "password in a page": invalid_response(faults.echo_as_html, 403),
    "password in Location": invalid_response(faults.echo_as_location, 302),
    "password in Retry-After": FaultCase(http_target(faults.echo_as_retry_after), RateLimitedError),
    "password in a success": invalid_response(faults.echo_in_a_malformed_success),
    # No fault
    "success": FaultCase(http_target(respond(200, SUCCESS)), Credentials),
    "success, TLS": FaultCase(https_target(respond(200, SUCCESS)), Credentials),
}

# Cases with another result over httpx-aiohttp. All others are the same there.
OVER_AIOHTTP: dict[str, FaultCase] = {
    # aiohttp rejects the first bytes as not HTTP; h11 waits for more.
    "SSH": invalid_response(SPEAK_SSH, None),
    # aiohttp rejects the head and the chunk together.
    "bad chunk size": invalid_response(BAD_CHUNK_SIZE, None),
    "bad chunk size of a 401": invalid_response(BAD_CHUNK_SIZE_OF_A_401, None),
    # If the head arrived earlier, aiohttp waits for a valid body.
    "bad chunk size, after the head": too_slow(send(OK + CHUNKED, BAD_CHUNK)),
}

# httpcore logs response heads at DEBUG, also those that it cannot parse. If a
# server echoes the password there, that log contains it; see SECURITY.md.
ECHOED_IN_THE_HEAD = {
    "garbage status line",
    "password in Location",
    "password in Retry-After",
}


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
            result: Any = await login(target.site, USERNAME, PASSWORD, **options)
        except zulip_auth.ZulipAuthError as error:
            result = error
        elapsed = clock() - start
        sends = len(target.server.requests)
    assert type(result) is case.expected, repr(result)
    assert {name: getattr(result, name) for name in case.attributes} == case.attributes
    fewest = min(case.sends, 1) if case.expected is APITimeoutError else case.sends
    assert fewest <= sends <= case.sends
    assert elapsed < case.timeout + 1, elapsed
    if isinstance(result, Credentials):
        SCANNER.check(f"{result} {result!r}", "the credentials")
    else:
        SCANNER.check_error(result)
        assert target.site in str(result)
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
@given(st.sampled_from([over_httpx, over_aiohttp]), st.binary(max_size=200) | SPLICED | STATUSES)
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
