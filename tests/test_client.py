"""Every method of AuthClient, over real sockets."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import socket
import ssl
import time
from base64 import b64decode
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import httpx
import httpx_aiohttp
import jwt
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

import zulip_auth
from helpers import faults
from helpers.clock import seconds_between
from helpers.constants import API_KEY, PASSWORD, USER_ID, USERNAME
from helpers.errors import login_error
from helpers.raw_server import (
    Connection,
    Scenario,
    ScriptedServer,
    close_without_response,
    never_respond,
    raw_response,
    respond,
    succeed,
)
from helpers.recordings import load_recordings, respond_as_recorded
from helpers.secret_scanner import SecretScanner
from zulip_auth import (
    APIConnectionError,
    APITimeoutError,
    AuthClient,
    AuthenticationFailedError,
    BadRequestError,
    Bot,
    Credentials,
    InsecureSiteError,
    InvalidInputError,
    InvalidResponseError,
    RetryPolicy,
    ServerError,
    dev_login,
    login,
)
from zulip_auth._validation import validate_text
from zulip_auth.testing import FakeZulip


async def test_login() -> None:
    async with FakeZulip(users={USERNAME: PASSWORD}) as server:
        credentials = await login(server.site, "IAGO@zulip.COM", PASSWORD)
        key = server.account(USERNAME).api_key
        assert credentials == Credentials(server.site, USERNAME, key, 10)


async def test_dev_login() -> None:
    async with FakeZulip(users={USERNAME: PASSWORD}) as server:
        credentials = await dev_login(server.site, "IAGO@zulip.COM")
        assert credentials.email == USERNAME
        assert credentials.api_key == server.account(USERNAME).api_key


# ---- Requests


async def test_login_request() -> None:
    async with ScriptedServer(succeed) as server:
        await login(server.site, USERNAME, PASSWORD, user_agent="my-bot/2.0")
        [request] = server.requests
    assert request.line == "POST /api/v1/fetch_api_key HTTP/1.1"
    assert request.body == (
        b"username=iago%40zulip.com&password=correct+horse+%26+battery%3D%2B%25%C3%A9"
    )
    assert dict(request.headers) == {
        "host": server.site.removeprefix("http://"),
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "keep-alive",
        "content-length": str(len(request.body)),
        "content-type": "application/x-www-form-urlencoded",
        "user-agent": f"my-bot/2.0 zulip-auth/{zulip_auth.__version__}",
    }


async def test_dev_login_request() -> None:
    async with ScriptedServer(succeed) as server:
        await dev_login(server.site, USERNAME)
        [request] = server.requests
    assert request.line == "POST /api/v1/dev_fetch_api_key HTTP/1.1"
    assert request.body == b"username=iago%40zulip.com"
    assert request.headers["user-agent"] == f"zulip-auth/{zulip_auth.__version__}"


VALID_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1
)


def is_usable(name: str, text: str) -> bool:
    with suppress(InvalidInputError):
        return validate_text(name, text) == text
    return False


@given(
    username=VALID_TEXT.filter(lambda text: is_usable("username", text)),
    password=VALID_TEXT.filter(lambda text: is_usable("password", text)),
)
def test_form_encoding_round_trip(username: str, password: str) -> None:
    async def check() -> None:
        async with ScriptedServer(succeed) as server:
            await login(server.site, username, password)
            [request] = server.requests
        assert parse_qs(request.body.decode("ascii"), strict_parsing=True) == {
            "username": [username],
            "password": [password],
        }

    asyncio.run(check())


async def test_cookies_are_not_stored() -> None:
    async with FakeZulip(users={USERNAME: "x", "hamlet@zulip.com": "x"}) as server:
        client = AuthClient(server.site)
        assert (await client.dev_login(USERNAME)).email == USERNAME
        assert (await client.dev_login("hamlet@zulip.com")).email == "hamlet@zulip.com"
        assert len(server.requests) == 2
        assert all("cookie" not in request.headers for request in server.requests)


INTERNAL_ERROR = respond(500, {"result": "error", "msg": "Internal server error"})


def settings_response(name: str) -> Scenario:
    [exchange] = load_recordings(f"server_settings: {name}", level=27)[:1]
    return respond_as_recorded(exchange)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [("unknown", zulip_auth.InvalidSubdomainError), ("root", zulip_auth.SubdomainRequiredError)],
)
async def test_500_without_organization(
    settings: str, expected: type[Exception], no_backoff: RetryPolicy
) -> None:
    """Servers before 4.0 respond so; the settings need no password to find out."""
    async with ScriptedServer(INTERNAL_ERROR, settings_response(settings)) as server:
        await login_error(expected, server.site, retry=no_backoff)
        assert [request.line.split()[1] for request in server.requests] == [
            "/api/v1/fetch_api_key",
            "/api/v1/server_settings",
        ]
        assert PASSWORD.encode() not in server.requests[1].body


@pytest.mark.parametrize(
    "settings",
    [settings_response("realm"), INTERNAL_ERROR, close_without_response, respond(200, "<html>")],
    ids=["organization", "500", "lost", "HTML"],
)
async def test_500_with_organization(settings: Scenario, no_backoff: RetryPolicy) -> None:
    async with ScriptedServer(INTERNAL_ERROR, settings, succeed) as server:
        credentials = await login(server.site, USERNAME, PASSWORD, retry=no_backoff)
        assert credentials.api_key == API_KEY
        assert len(server.requests) == 3
    async with ScriptedServer(INTERNAL_ERROR, settings, INTERNAL_ERROR) as server:
        await login_error(ServerError, server.site, retry=no_backoff)
        assert len(server.requests) == 3


async def test_500_and_settings_without_end() -> None:
    """The timeout of the login also limits the request for the settings."""
    async with ScriptedServer(INTERNAL_ERROR, faults.never_end_1xx) as server, asyncio.timeout(10):
        await login_error(ServerError, server.site, timeout=0.2)
        assert len(server.requests) == 2


@pytest.mark.parametrize("username", ["echo-bot@zulip.com", "Echo-Bot@zulip.com"])
async def test_login_of_bot(username: str) -> None:
    [rejected] = load_recordings("fetch: a bot account", level=283)
    async with ScriptedServer(respond_as_recorded(rejected)) as server:
        with pytest.raises(AuthenticationFailedError, match=r"bots have no password.*\.bots\(\)"):
            await login(server.site, username, PASSWORD)


# ---- Retries

BUSY = {"result": "error", "msg": "Busy", "code": "RATE_LIMIT_HIT"}


@pytest.mark.parametrize(
    "fault", [close_without_response, faults.reset_before_headers, faults.truncate_the_body]
)
@pytest.mark.parametrize("max_sends", [1, 2, 3])
async def test_lost_response_respects_max_sends(fault: Scenario, max_sends: int) -> None:
    policy = RetryPolicy(max_sends=max_sends, wait_max=0)
    async with ScriptedServer(fault) as server:
        error = await login_error(APIConnectionError, server.site, retry=policy)
        assert len(server.requests) == max_sends
    assert error.sent is True


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 599])
@pytest.mark.parametrize("body", [{"result": "error", "msg": "Down"}, "<html>Down</html>"])
async def test_5xx_respects_max_sends(status: int, body: Any, no_backoff: RetryPolicy) -> None:
    async with ScriptedServer(respond(status, body)) as server:
        error = await login_error(ServerError, server.site, retry=no_backoff)
        assert len(server.requests) == 2
    assert error.status_code == status


async def test_timeout_respects_max_sends(no_backoff: RetryPolicy) -> None:
    async with ScriptedServer(never_respond) as server:
        with seconds_between(0.4, 0.9):
            error = await login_error(APITimeoutError, server.site, retry=no_backoff, timeout=0.4)
        assert len(server.requests) == 2
    assert error.sent is True


@pytest.mark.parametrize(
    "fault",
    [close_without_response, respond(503), respond(408, "<html>Too slow</html>")],
    ids=["closed", "503", "408"],
)
async def test_retry_succeeds_after_one_fault(fault: Scenario, no_backoff: RetryPolicy) -> None:
    async with ScriptedServer(fault, succeed) as server:
        credentials = await login(server.site, USERNAME, PASSWORD, retry=no_backoff)
        assert len(server.requests) == 2
    assert credentials.api_key == API_KEY


async def test_max_sends_ignores_rate_limits(no_backoff: RetryPolicy) -> None:
    limited = respond(429, BUSY, {"Retry-After": "0"})
    async with ScriptedServer(
        limited, close_without_response, limited, close_without_response, limited
    ) as server:
        error = await login_error(APIConnectionError, server.site, retry=no_backoff)
        assert len(server.requests) == 4
    assert error.sent is True


async def test_refused_connection_uses_all_attempts(
    caplog: pytest.LogCaptureFixture, no_backoff: RetryPolicy
) -> None:
    async with ScriptedServer(succeed) as server:
        site = server.site
    with caplog.at_level(logging.INFO, logger="zulip_auth"):
        error = await login_error(APIConnectionError, site, retry=no_backoff)
    assert error.sent is False
    assert "connection refused" in str(error)
    assert [record.getMessage() for record in caplog.records] == [
        f"{error} Retrying in 0.0 s (attempt {number} of 5)." for number in (2, 3, 4, 5)
    ]
    assert {record.levelname for record in caplog.records} == {"INFO"}


async def test_error_sent_by_earlier_attempt(no_backoff: RetryPolicy) -> None:
    stopped = False

    async def stop(connection: Connection) -> None:
        await connection.read()
        server._server.close()
        nonlocal stopped
        stopped = True

    async with ScriptedServer(stop) as server:
        error = await login_error(APIConnectionError, server.site, retry=no_backoff)
    assert stopped
    assert "Could not connect to" in str(error)
    assert error.sent is True


# ---- Timeouts and cancellation


async def test_expired_deadline_sends_nothing() -> None:
    async with ScriptedServer(succeed) as server:
        error = await login_error(APITimeoutError, server.site, timeout=1e-9)
        assert server.requests == []
    assert error.sent is False


async def test_cancel_then_login() -> None:
    async with ScriptedServer(never_respond, succeed) as server:
        client = AuthClient(server.site)
        task = asyncio.create_task(client.login(USERNAME, PASSWORD))
        await server.request_received.wait()
        start = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - start < 5
        assert (await client.login(USERNAME, PASSWORD)).api_key == API_KEY


# ---- One client, many logins


async def test_concurrent_logins() -> None:
    users = {f"user{number}@zulip.com": f"secret {number}" for number in range(50)}
    async with FakeZulip(users) as server:
        client = AuthClient(server.site)
        found = await asyncio.gather(*(client.login(*user) for user in users.items()))
        keys = [server.account(email).api_key for email in users]
    assert [credentials.api_key for credentials in found] == keys


async def test_custom_transport_is_not_closed() -> None:
    urls = []

    class Transport(httpx.AsyncHTTPTransport):
        closed = False

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            urls.append(str(request.url))
            return await super().handle_async_request(request)

        async def aclose(self) -> None:
            self.closed = True
            await super().aclose()

    transport = Transport()
    async with FakeZulip(users={USERNAME: PASSWORD}) as server:
        await AuthClient(server.site, transport=transport).login(USERNAME, PASSWORD)
        await login(server.site, USERNAME, PASSWORD, transport=transport)
        await dev_login(server.site, USERNAME, transport=transport)
        assert not transport.closed
        assert [url.rpartition("/")[2] for url in urls] == [
            "fetch_api_key",
            "fetch_api_key",
            "dev_fetch_api_key",
        ]
        await transport.aclose()


@pytest.mark.parametrize("call", [login, dev_login])
async def test_login_passes_options_to_client(call: Any) -> None:
    requests: list[httpx.Request] = []

    class RefusingTransport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            requests.append(request)
            raise httpx.ConnectError("x")

    arguments = ["localhost", USERNAME] + [PASSWORD] * (call is login)
    options: dict[str, Any] = {
        "timeout": 6,
        "retry": RetryPolicy(attempts=3, wait_max=0),
        "transport": RefusingTransport(),
        "user_agent": "my-bot/2.0",
    }
    with pytest.raises(APIConnectionError):
        await call(*arguments, **options)
    assert len(requests) == 3
    assert requests[0].headers["user-agent"].startswith("my-bot/2.0 ")
    assert requests[0].extensions["timeout"] == {"connect": 2, "read": 3, "write": 3, "pool": 3}
    with pytest.raises(InvalidInputError, match="ssl_context"):
        await call(*arguments, ssl_context="cert.pem")


@pytest.mark.parametrize("call", [login, dev_login, AuthClient])
def test_login_option_defaults(call: Any) -> None:
    parameters = inspect.signature(call).parameters
    assert {name: parameters[name].default for name in list(parameters)[-7:]} == {
        "timeout": 30.0,
        "retry": RetryPolicy(),
        "ssl_context": None,
        "transport": None,
        "user_agent": None,
        "headers": None,
        "allow_http": False,
    }


def test_client_repr() -> None:
    client = AuthClient("Chat.Example.com/api", timeout=5)
    assert client.site == "https://chat.example.com"
    assert repr(client) == "<AuthClient https://chat.example.com>"
    assert repr(AuthClient.__new__(AuthClient)) == "<AuthClient without a site>"


# ---- Invalid arguments

INVALID_ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "site": ({"site": "http://chat.example.com"}, "Plain http"),
    "address out of range": ({"site": "999.1.1.1"}, "site has an invalid host"),
    "username empty": ({"username": ""}, "username is empty"),
    "username with a newline": ({"username": "iago@zulip.com\n"}, "username contains a line break"),
    "password empty": ({"password": ""}, "password is empty"),
    "password with a newline": ({"password": "hunter2\n"}, "password contains a line break"),
    "password None": ({"password": None}, "password must be a str, not NoneType"),
    "password of 1 MB": ({"password": "a" * 2**20}, "password is longer than 1024"),
    "timeout zero": ({"timeout": 0}, "timeout must be .* greater than 0"),
    "timeout None": ({"timeout": None}, "timeout must"),
    "timeout nan": ({"timeout": float("nan")}, "timeout must"),
    "timeout beyond floats": ({"timeout": 10**400}, "timeout must"),
    "retry": ({"retry": 3}, "retry must be an instance of RetryPolicy, not int"),
    "ssl_context": (
        {"ssl_context": "cert.pem"},
        "ssl_context must be an instance of SSLContext, not str",
    ),
    "ssl_context false": ({"ssl_context": False}, "ssl_context must"),
    "ssl_context of a server": (
        {"ssl_context": ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)},
        r"ssl_context is for servers\. Use ssl\.create_default_context\(\)\.",
    ),
    "transport": (
        {"transport": "x"},
        "transport must be an instance of AsyncBaseTransport, not str",
    ),
    "transport false": ({"transport": False}, "transport must"),
    "allow_http": ({"allow_http": "false"}, "allow_http must be an instance of bool, not str"),
    "user agent": ({"user_agent": "a\r\nb: c"}, "user_agent must"),
}


@pytest.mark.parametrize(("bad", "message"), INVALID_ARGUMENTS.values(), ids=INVALID_ARGUMENTS)
async def test_invalid_argument_sends_nothing(bad: dict[str, Any], message: str) -> None:
    async with ScriptedServer(succeed) as server:
        good: dict[str, Any] = {
            "site": server.site,
            "username": USERNAME,
            "password": PASSWORD,
        }
        with pytest.raises(InvalidInputError, match=f"^{message}") as caught:
            await login(**{**good, **bad})
        assert isinstance(caught.value, ValueError)
        SecretScanner(PASSWORD).check_error(caught.value)
        assert server.connections == 0


@pytest.fixture
def development_host(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a host name for development servers, which resolves to 127.0.0.1 here."""
    resolve = socket.getaddrinfo

    def getaddrinfo(_host: object, *args: Any, **kwargs: Any) -> Any:
        return resolve("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return "zulip.zulipdev.com"


async def test_dev_login_over_http(development_host: str) -> None:
    async with ScriptedServer(succeed) as server:
        site = f"http://{development_host}:{server.port}"
        assert await dev_login(site, USERNAME) == Credentials(site, USERNAME, API_KEY, USER_ID)
        with pytest.raises(InvalidResponseError):  # it is the response to a login
            await AuthClient(site).server_settings()
        assert [request.line for request in server.requests] == [
            "POST /api/v1/dev_fetch_api_key HTTP/1.1",
            "GET /api/v1/server_settings HTTP/1.1",
        ]


SECRET_CALLS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "password": ("login", (USERNAME, PASSWORD)),
    "token": ("jwt_login", ("a.b.c",)),
    "key": ("verify", (...,)),
    "new key": ("regenerate_api_key", (...,)),
    "keys of bots": ("bots", (...,)),
}


@pytest.mark.parametrize(("call", "args"), SECRET_CALLS.values(), ids=SECRET_CALLS)
async def test_development_site_gets_no_secrets(
    call: str, args: tuple[Any, ...], development_host: str
) -> None:
    async with ScriptedServer(respond(401)) as server:
        site = f"http://{development_host}:{server.port}"
        args = tuple(Credentials(site, USERNAME, API_KEY) if arg is ... else arg for arg in args)
        hint = rf"Use https://{development_host}\.$"
        with pytest.raises(InsecureSiteError, match=rf"unencrypted\. {hint}"):
            await getattr(AuthClient(site), call)(*args)
        assert server.connections == 0
        with pytest.raises(InvalidResponseError):
            await getattr(AuthClient(site, allow_http=True), call)(*args)
        assert server.connections == 1


async def test_allow_http() -> None:
    async with ScriptedServer(succeed) as server:
        site = f"http://0.0.0.0:{server.port}"  # not a loopback address, but this machine
        for function, args in ((login, (USERNAME, PASSWORD)), (dev_login, (USERNAME,))):
            with pytest.raises(InsecureSiteError):
                await function(site, *args)
            assert server.connections == 0
        credentials = await login(site, USERNAME, PASSWORD, allow_http=True)
        assert credentials.site == site
        assert await dev_login(site, USERNAME, allow_http=True) == credentials


async def test_settings_over_http() -> None:
    [recorded] = load_recordings("settings: realm")
    methods = [
        {"name": "sso", "display_name": "SSO", "login_url": "/accounts/login/sso/"},
        {"name": "idp", "display_name": "IdP", "login_url": "http://idp.example.com/"},
    ]
    settings = {**recorded.json(), "external_authentication_methods": methods}
    async with ScriptedServer(respond(200, settings)) as server:
        site = f"http://0.0.0.0:{server.port}"
        client = AuthClient(site, allow_http=True)
        sso, idp = (await client.server_settings()).external_methods
        assert client.start_sso(sso).url.startswith(f"{site}/accounts/login/sso/?")
        assert client.start_sso(idp).url.startswith("http://idp.example.com/?")
        with pytest.raises(InvalidInputError, match="login_url"):
            AuthClient("localhost").start_sso(sso)


# ---- Secrets


# ---- Server settings, verification, regeneration, tokens

CREDENTIALS = Credentials("http://127.0.0.1", USERNAME, API_KEY, 16)
KEY_CALLS = ["verify", "regenerate_api_key", "bots"]
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJlbWFpbCI6ImhhbWxldEB6dWxpcC5jb20ifQ.6SvmFGE1qtiY3a"


async def test_verify_request() -> None:
    async with ScriptedServer(respond(200, ME)) as server:
        await AuthClient(server.site).verify(evolve(CREDENTIALS, site=server.site))
        [request] = server.requests
    assert request.line == "GET /api/v1/users/me HTTP/1.1"
    sent = request.headers["authorization"].removeprefix("Basic ")
    assert b64decode(sent).decode() == f"{USERNAME}:{API_KEY}"
    assert request.body == b""
    assert "content-type" not in request.headers
    assert "cookie" not in request.headers


async def test_jwt_login_request() -> None:
    async with ScriptedServer(succeed) as server:
        await AuthClient(server.site).jwt_login(TOKEN)
        [request] = server.requests
    assert request.line == "POST /api/v1/jwt/fetch_api_key HTTP/1.1"
    assert request.body == f"token={TOKEN}&include_profile=true".encode()


async def test_echoed_long_token_is_redacted() -> None:
    token = f"{TOKEN}{'a' * 5000}"
    async with ScriptedServer(respond(400, {"result": "error", "msg": f"Bad {token}"})) as server:
        with pytest.raises(BadRequestError) as caught:
            await AuthClient(server.site).jwt_login(token)
        assert str(caught.value).startswith(f"{server.site} ")
    assert caught.value.message == ""


@pytest.mark.parametrize("call", KEY_CALLS)
async def test_echoed_api_key_is_redacted(call: str) -> None:
    async def echo(connection: Connection) -> None:
        await connection.read()
        message = server.requests[-1].headers["authorization"] + " " + API_KEY
        body = json.dumps({"result": "error", "msg": message, "code": "UNAUTHORIZED"})
        await connection.write(raw_response(401, body))

    async with ScriptedServer(echo) as server:
        with pytest.raises(zulip_auth.InvalidApiKeyError) as caught:
            await getattr(AuthClient(server.site), call)(evolve(CREDENTIALS, site=server.site))
        assert str(caught.value).startswith(f"{server.site} ")
    assert caught.value.message == ""
    SecretScanner(API_KEY).check_error(caught.value)


ME = {"result": "success", "msg": "", "user_id": 16, "email": USERNAME, "full_name": "Iago"}


@pytest.mark.parametrize("call", KEY_CALLS)
async def test_credentials_for_other_site(call: str) -> None:
    async with ScriptedServer(succeed) as server:
        with pytest.raises(InvalidInputError, match=r"are for a different site, not"):
            await getattr(AuthClient(server.site), call)(CREDENTIALS)
        assert server.connections == 0


@pytest.mark.parametrize("call", KEY_CALLS)
@pytest.mark.parametrize(
    "invalid",
    [
        "the key itself",
        evolve(CREDENTIALS, email="a\ud800b"),
        evolve(CREDENTIALS, api_key=b"the key itself"),  # type: ignore[arg-type]
        evolve(CREDENTIALS, api_key="the key itself"),
    ],
)
async def test_invalid_credentials(call: str, invalid: Any) -> None:
    problem = "must be an instance of Credentials, not str|contain an invalid email or API key"
    with pytest.raises(InvalidInputError, match=rf"^credentials ({problem})\.$") as caught:
        await getattr(AuthClient("http://127.0.0.1"), call)(invalid)
    SecretScanner("the key itself", API_KEY).check_error(caught.value)


@pytest.mark.parametrize("token", ["", "a\nb", 7, "a" * 16_385])
async def test_invalid_token(token: Any) -> None:
    async with ScriptedServer(succeed) as server:
        with pytest.raises(InvalidInputError, match=r"^token "):
            await AuthClient(server.site).jwt_login(token)
        assert server.connections == 0


@pytest.mark.parametrize(
    "fault", [close_without_response, respond(503), faults.reset_before_headers]
)
async def test_verify_uses_all_attempts(fault: Scenario, no_backoff: RetryPolicy) -> None:
    async with ScriptedServer(*[fault] * 4, respond(200, ME)) as server:
        client = AuthClient(server.site, retry=no_backoff)
        assert (await client.verify(evolve(CREDENTIALS, site=server.site))).user_id == 16
        assert len(server.requests) == 5


POSSIBLY_PROCESSED = {
    "lost": (close_without_response, APIConnectionError),
    "reset": (faults.reset_before_headers, APIConnectionError),
    "cut short": (faults.truncate_the_body, APIConnectionError),
    "not HTTP": (faults.garbage_with_the_password, InvalidResponseError),
    "accepted": (respond(202, "{}"), InvalidResponseError),
    "timed out": (respond(408, "{}"), InvalidResponseError),
    "not JSON": (respond(200, "<html>"), InvalidResponseError),
    "500": (INTERNAL_ERROR, ServerError),
    "502": (respond(502, "Bad gateway"), ServerError),
}


@pytest.mark.parametrize(("fault", "exc_type"), POSSIBLY_PROCESSED.values(), ids=POSSIBLY_PROCESSED)
@pytest.mark.parametrize("over", ["httpx", "aiohttp"])
async def test_regenerate_is_sent_once(
    fault: Scenario, exc_type: type[Any], over: str, no_backoff: RetryPolicy
) -> None:
    transport = httpx_aiohttp.AiohttpTransport() if over == "aiohttp" else None
    async with ScriptedServer(fault) as server:
        client = AuthClient(server.site, retry=no_backoff, transport=transport)
        with pytest.raises(exc_type) as caught:
            await client.regenerate_api_key(evolve(CREDENTIALS, site=server.site))
        assert len(server.requests) == 1
        if transport is not None:
            await transport.aclose()
    assert str(caught.value).endswith("log in again to get the new one.")
    assert getattr(caught.value, "sent", True)
    SecretScanner(API_KEY).check_error(caught.value)


@pytest.mark.parametrize("status", [300, 401])
async def test_regenerate_retries_if_not_processed(status: int, no_backoff: RetryPolicy) -> None:
    limited = respond(429, BUSY, {"Retry-After": "0"})
    async with ScriptedServer(limited, respond(status, {})) as server:
        client = AuthClient(server.site, retry=no_backoff)
        with pytest.raises(InvalidResponseError) as caught:
            await client.regenerate_api_key(evolve(CREDENTIALS, site=server.site))
        assert len(server.requests) == 2
        site = server.site
    assert "verify()" not in str(caught.value)
    client = AuthClient(site, retry=no_backoff)
    with pytest.raises(APIConnectionError) as unreachable:
        await client.regenerate_api_key(evolve(CREDENTIALS, site=site))
    assert not unreachable.value.sent
    assert "verify()" not in str(unreachable.value)


BOT_KEY = "3cZDT1IK1CY2St9IehvJtxHQwVoBUo4z"


def bot_list(*bots: dict[str, object]) -> Scenario:
    return respond(200, {"result": "success", "msg": "", "bots": bots})


async def test_bots() -> None:
    [listing] = [e for e in load_recordings("bots: list", level=283) if "two new" in e.name]
    async with ScriptedServer(respond_as_recorded(listing)) as server:
        site = server.site
        bots = await AuthClient(site).bots(evolve(CREDENTIALS, site=site))
        [request] = server.requests
    assert request.line == "GET /api/v1/bots HTTP/1.1"
    assert [bot.username for bot in bots] == [item["username"] for item in listing.json()["bots"]]
    assert bots[0] == Bot(
        "default-bot@zulip.com",
        "Zulip Default Bot",
        Credentials(site, "default-bot@zulip.com", BOT_KEY),
    )
    SecretScanner(BOT_KEY).check(f"{bots} {bots!r}", "the repr")


async def test_bots_without_key_in_list() -> None:
    """Zulip 12 has the key of each bot at another endpoint."""
    names = {"username": "echo-bot@zulip.com", "full_name": "Echo"}
    key = respond(200, {"result": "success", "msg": "", "api_key": BOT_KEY})
    async with ScriptedServer(bot_list({**names, "user_id": 254}), key) as server:
        [bot] = await AuthClient(server.site).bots(evolve(CREDENTIALS, site=server.site))
        assert bot.credentials == Credentials(server.site, "echo-bot@zulip.com", BOT_KEY, 254)
        assert [request.line.split()[1] for request in server.requests] == [
            "/api/v1/bots",
            "/api/v1/bots/254/api_key",
        ]
        authorization = {request.headers["authorization"] for request in server.requests}
        assert len(authorization) == 1


async def test_bot_without_key_and_id() -> None:
    client, bot = AuthClient(CREDENTIALS.site), Bot("echo-bot@zulip.com", "Echo", None)
    with pytest.raises(InvalidInputError, match="neither credentials nor a user ID"):
        await client.bot_credentials(CREDENTIALS, bot)


async def test_regenerate_the_key_of_a_bot_with_an_id() -> None:
    async with FakeZulip(users={USERNAME: PASSWORD}) as server:
        account = server.add_bot(USERNAME, "Echo")
        old = Credentials(server.site, account.email, account.api_key)
        bot = Bot(account.email, "Echo", old, account.user_id)
        client = AuthClient(server.site)
        owner = await client.login(USERNAME, PASSWORD)
        new = await client.regenerate_api_key(owner, bot=bot)
        assert new.api_key == account.api_key != old.api_key
        # The ID was not requested.
        assert server.requests[-1].path == f"/api/v1/bots/{account.user_id}/api_key/regenerate"
        assert len(server.requests) == 2


async def test_bots_share_one_timeout(no_backoff: RetryPolicy) -> None:
    bots = [{"username": "echo-bot@zulip.com", "full_name": "Echo", "user_id": 254}]

    async def respond_late(connection: Connection) -> None:
        await asyncio.sleep(0.1)
        await bot_list(*bots)(connection)

    async with ScriptedServer(respond_late, never_respond) as server:
        client = AuthClient(server.site, timeout=0.4, retry=no_backoff)
        with seconds_between(0.4, 0.8), pytest.raises(APITimeoutError):
            await client.bots(evolve(CREDENTIALS, site=server.site))
        assert [request.line.split()[1] for request in server.requests][:2] == [
            "/api/v1/bots",
            "/api/v1/bots/254/api_key",
        ]


async def test_api_key_lifecycle() -> None:
    async with FakeZulip(users={USERNAME: PASSWORD}) as server:
        client = AuthClient(server.site)
        assert (await client.server_settings()).realm_url == server.site
        old = await client.login(USERNAME, PASSWORD)
        assert (await client.verify(old)).email == USERNAME
        new = await client.regenerate_api_key(old)
        assert (await client.verify(new)).user_id == old.user_id == new.user_id
        with pytest.raises(zulip_auth.InvalidApiKeyError):
            await client.verify(old)
        with pytest.raises(zulip_auth.InvalidApiKeyError):
            await client.verify(evolve(new, user_id=99))
        server.realm.jwt_key = "a key of thirty-two bytes or more"
        token = jwt.encode({"email": USERNAME}, server.realm.jwt_key, "HS256")
        assert (await client.jwt_login(token)).api_key == new.api_key


ERROR_500 = {"result": "error", "msg": "Internal server error"}


async def test_counted_5xx_is_not_sent_again(no_backoff: RetryPolicy) -> None:
    """A 500 with the rate limit's headers has used up an attempt, such as with LDAP down."""
    headers = {"X-RateLimit-Remaining": "3"}
    async with ScriptedServer(respond(500, ERROR_500, headers)) as server:
        error = await login_error(zulip_auth.ServerError, server.site, retry=no_backoff)
        assert sum(bool(request.body) for request in server.requests) == 1
    assert error.attempts_remaining == 3


@pytest.mark.parametrize("call", KEY_CALLS)
async def test_5xx_for_a_key_has_no_attempts(call: str, no_backoff: RetryPolicy) -> None:
    """With a key, the same header counts requests."""
    async with ScriptedServer(respond(500, ERROR_500, {"X-RateLimit-Remaining": "199"})) as server:
        client = AuthClient(server.site, retry=no_backoff)
        with pytest.raises(zulip_auth.ServerError) as caught:
            await getattr(client, call)(evolve(CREDENTIALS, site=server.site))
    assert caught.value.attempts_remaining is None


@pytest.mark.parametrize(
    ("scenario", "status", "sent"),
    [(respond(503), 503, None), (close_without_response, None, True)],
    ids=["status", "lost connection"],
)
async def test_log_record_of_a_retry(
    scenario: Scenario,
    status: int | None,
    sent: bool | None,
    no_backoff: RetryPolicy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It has what a program wants to count, and nothing that leads to the password."""
    caplog.set_level(logging.INFO, "zulip_auth")
    async with ScriptedServer(scenario, succeed) as server:
        await login(server.site, USERNAME, PASSWORD, retry=no_backoff)
    [record] = [record for record in caplog.records if record.name == "zulip_auth"]
    fields = {name: vars(record)[name] for name in ("attempt", "delay", "status_code", "sent")}
    assert fields == {"attempt": 1, "delay": 0.0, "status_code": status, "sent": sent}
    assert record.exc_info is None
    assert not any(isinstance(value, BaseException) for value in record.args or ())
    SecretScanner(PASSWORD, USERNAME).check(repr(vars(record)), "the record")


async def test_owner_of_two_thousand_bots() -> None:
    bots = [
        {"username": f"helper-{number}-bot@zulip.com", "full_name": "Helper", "api_key": API_KEY}
        for number in range(2000)
    ]
    async with ScriptedServer(
        respond(200, {"result": "success", "msg": "", "bots": bots})
    ) as server:
        credentials = Credentials(server.site, USERNAME, API_KEY)
        listed = await AuthClient(server.site).bots(credentials, keys=False)
    assert [bot.username for bot in listed] == [bot["username"] for bot in bots]
