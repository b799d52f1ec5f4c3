"""Every method of AuthClient, over real sockets."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import pickle
import socket
from base64 import b64encode
from contextlib import suppress
from typing import Any
from unittest.mock import AsyncMock
from urllib.parse import parse_qs

import httpx
import httpx_aiohttp
import jwt
import pytest
from attrs import evolve

import zulip_auth
from helpers import faults
from helpers.constants import API_KEY, PASSWORD, USER_ID, USERNAME
from helpers.errors import error_of, login_error
from helpers.raw_server import (
    Connection,
    Scenario,
    ScriptedServer,
    close_without_response,
    raw_response,
    respond,
    succeed,
)
from helpers.recordings import load_recordings, respond_as_recorded
from helpers.requests import paths
from helpers.secret_scanner import SecretScanner
from zulip_auth import (
    APIConnectionError,
    APITimeoutError,
    AuthClient,
    BadRequestError,
    Bot,
    Credentials,
    InsecureSiteError,
    InvalidApiKeyError,
    InvalidInputError,
    InvalidResponseError,
    RetryPolicy,
    ServerError,
    dev_login,
    login,
)
from zulip_auth.testing import FakeZulip

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJlbWFpbCI6ImhhbWxldEB6dWxpcC5jb20ifQ.6SvmFGE1qtiY3a"
CREDENTIALS = Credentials("http://127.0.0.1", USERNAME, API_KEY, 16)
[REALM] = load_recordings("settings: realm")
KEY_CALLS = ["verify", "regenerate_api_key", "bots"]
ME = {"result": "success", "msg": "", "user_id": 16, "email": USERNAME, "full_name": "Iago"}
BOT_KEY = "3cZDT1IK1CY2St9IehvJtxHQwVoBUo4z"
INTERNAL_ERROR = {"result": "error", "msg": "Internal server error"}
BUSY = respond(
    429, {"result": "error", "msg": "Busy", "code": "RATE_LIMIT_HIT"}, {"Retry-After": "0"}
)


def key_of(server: ScriptedServer) -> Credentials:
    return evolve(CREDENTIALS, site=server.site)


# ---- Requests

PASSWORD_FORM = b"username=iago%40zulip.com&password=correct+horse+%26+battery%3D%2B%25%C3%A9"
TOKEN_FORM = f"token={TOKEN}&include_profile=true".encode()
REQUESTS: dict[str, tuple[str, tuple[Any, ...], bytes]] = {
    "login": ("POST /api/v1/fetch_api_key", (USERNAME, PASSWORD), PASSWORD_FORM),
    "dev_login": ("POST /api/v1/dev_fetch_api_key", (USERNAME,), b"username=iago%40zulip.com"),
    "jwt_login": ("POST /api/v1/jwt/fetch_api_key", (TOKEN,), TOKEN_FORM),
    "verify": ("GET /api/v1/users/me", (CREDENTIALS,), b""),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_request(name: str) -> None:
    line, args, body = REQUESTS[name]
    async with ScriptedServer(respond(200, {**ME, "api_key": API_KEY})) as server:
        args = tuple(key_of(server) if arg is CREDENTIALS else arg for arg in args)
        await getattr(AuthClient(server.site, user_agent="my-bot/2.0"), name)(*args)
        [request] = server.requests
    assert (request.line, request.body) == (f"{line} HTTP/1.1", body)
    key = b64encode(f"{USERNAME}:{API_KEY}".encode()).decode()
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert dict(request.headers) == {
        "host": server.site.removeprefix("http://"),
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "keep-alive",
        "content-length": str(len(body)),
        "user-agent": f"my-bot/2.0 zulip-auth/{zulip_auth.__version__}",
        **(form if body else {"authorization": f"Basic {key}"}),
    }


# ---- Servers before 4.0, whose 500 may mean that there is no organization


async def test_500_without_organization_after_a_rate_limit() -> None:
    [settings] = load_recordings("server_settings: unknown", level=27)
    scenarios = (BUSY, respond(500, INTERNAL_ERROR), respond_as_recorded(settings))
    async with ScriptedServer(*scenarios) as server:
        await login_error(zulip_auth.InvalidSubdomainError, server.site)
        assert paths(server) == ["/fetch_api_key", "/fetch_api_key", "/server_settings"]


@pytest.mark.parametrize(
    "settings",
    [respond_as_recorded(REALM), close_without_response, respond(200, "<html>"), BUSY],
    ids=["organization", "lost", "HTML", "rate limit"],
)
async def test_500_with_organization(settings: Scenario, no_backoff: RetryPolicy) -> None:
    """The settings need no password to find out; test_recordings.py has the other results."""
    async with ScriptedServer(respond(500, INTERNAL_ERROR), settings, succeed) as server:
        credentials = await login(server.site, USERNAME, PASSWORD, retry=no_backoff)
        assert credentials.api_key == API_KEY
        assert len(server.requests) == 3


async def test_500_and_settings_without_end() -> None:
    """The timeout of the login also limits the request for the settings."""
    async with ScriptedServer(respond(500, INTERNAL_ERROR), faults.never_end_1xx) as server:
        async with asyncio.timeout(10):
            await login_error(ServerError, server.site, timeout=0.6)
        assert len(server.requests) == 2


# ---- Retries


@pytest.mark.parametrize("max_sends", [1, 2, 3])
async def test_lost_response_respects_max_sends(max_sends: int) -> None:
    policy = RetryPolicy(max_sends=max_sends, wait_max=0)
    async with ScriptedServer(BUSY, close_without_response, BUSY, respond(503)) as server:
        # A 429 is not counted, since the password was not checked.
        await login_error(
            APIConnectionError if max_sends == 1 else ServerError, server.site, retry=policy
        )
        assert len(server.requests) == {1: 2, 2: 4, 3: 5}[max_sends]


async def test_record_of_a_retry(no_backoff: RetryPolicy, caplog: pytest.LogCaptureFixture) -> None:
    """It has what a program wants to count, and nothing that leads to the password."""
    caplog.set_level(logging.INFO, "zulip_auth")
    async with ScriptedServer(close_without_response, respond(503), succeed) as server:
        policy = evolve(no_backoff, max_sends=3)
        credentials = await login(server.site, USERNAME, PASSWORD, retry=policy)
    assert credentials.api_key == API_KEY
    records = [record for record in caplog.records if record.name == "zulip_auth"]
    names = ("attempt", "delay", "status_code", "sent")
    fields = [tuple(vars(record)[name] for name in names) for record in records]
    assert fields == [(1, 0.0, None, True), (2, 0.0, 503, None)]
    for record in records:
        assert record.exc_info is None
        assert not any(isinstance(value, BaseException) for value in record.args or ())
        SecretScanner(PASSWORD, USERNAME).check(repr(vars(record)), "the record")


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


async def test_error_sent_by_earlier_attempt(no_backoff: RetryPolicy) -> None:
    async def stop(connection: Connection) -> None:
        await connection.read()
        server._server.close()

    async with ScriptedServer(stop) as server:
        error = await login_error(APIConnectionError, server.site, retry=no_backoff)
    assert "Could not connect to" in str(error)
    assert error.sent is True


async def test_expired_deadline_sends_nothing() -> None:
    async with ScriptedServer(succeed) as server:
        error = await login_error(APITimeoutError, server.site, timeout=1e-9)
        assert server.requests == []
    assert error.sent is False


# ---- Options


@pytest.mark.parametrize("call", [login, dev_login])
async def test_login_passes_options_to_client(call: Any) -> None:
    transport = AsyncMock(httpx.AsyncBaseTransport)
    transport.handle_async_request.side_effect = httpx.ConnectError("x")
    arguments = ["http://x.org", USERNAME] + [PASSWORD] * (call is login)
    options: dict[str, Any] = {
        "timeout": 6,
        "retry": RetryPolicy(attempts=3, wait_max=0),
        "transport": transport,
        "user_agent": "my-bot/2.0",
        "headers": {"X-Token": "x"},
        "allow_http": True,
    }
    await error_of(APIConnectionError, call(*arguments, **options))
    transport.aclose.assert_not_called()
    [request], *others = (call.args for call in transport.handle_async_request.call_args_list)
    assert len(others) == 2
    assert request.headers["user-agent"].startswith("my-bot/2.0 ")
    assert request.headers["x-token"] == "x"
    assert request.extensions["timeout"] == {"connect": 2, "read": 3, "write": 3, "pool": 3}
    with pytest.raises(InvalidInputError, match="ssl_context"):
        await call(*arguments, ssl_context="cert.pem", allow_http=True)


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


def test_client_repr_and_pickle() -> None:
    client = AuthClient("Chat.Example.com/api", timeout=5)
    assert client.site == "https://chat.example.com"
    assert repr(client) == "<AuthClient https://chat.example.com>"
    assert repr(AuthClient.__new__(AuthClient)) == "<AuthClient without a site>"
    with pytest.raises(TypeError, match=r"^cannot pickle AuthClient: .* create a client there\.$"):
        pickle.dumps(client)


# ---- Plain http


@pytest.fixture
def development_host(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a host name for development servers, which resolves to 127.0.0.1 here."""
    resolve = socket.getaddrinfo

    def getaddrinfo(_host: object, *args: Any, **kwargs: Any) -> Any:
        return resolve("127.0.0.1", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return "zulip.zulipdev.com"


@pytest.mark.parametrize("call", ["login", "jwt_login", *KEY_CALLS])
async def test_development_site_gets_no_secrets(call: str, development_host: str) -> None:
    async with ScriptedServer(succeed) as server:
        site = f"http://{development_host}:{server.port}"
        args = {"login": (USERNAME, PASSWORD), "jwt_login": (TOKEN,)}.get(
            call, (evolve(CREDENTIALS, site=site),)
        )
        hint = rf"Use https://{development_host}\.$"
        with pytest.raises(InsecureSiteError, match=rf"unencrypted\. {hint}"):
            await getattr(AuthClient(site), call)(*args)
        assert server.connections == 0
        with suppress(InvalidResponseError):  # it is the response to a login
            await getattr(AuthClient(site, allow_http=True), call)(*args)
        assert server.connections == 1
        assert await dev_login(site, USERNAME) == Credentials(site, USERNAME, API_KEY, USER_ID)


async def test_allow_http() -> None:
    methods = [
        {"name": "sso", "display_name": "SSO", "login_url": "/accounts/login/sso/"},
        {"name": "idp", "display_name": "IdP", "login_url": "http://idp.example.com/"},
    ]
    settings = respond(200, {**REALM.json(), "external_authentication_methods": methods})
    async with ScriptedServer(succeed, succeed, settings) as server:
        site = f"http://0.0.0.0:{server.port}"  # not a loopback address, but this machine
        for function, args in ((login, (USERNAME, PASSWORD)), (dev_login, (USERNAME,))):
            await error_of(InsecureSiteError, function(site, *args))
            assert (await function(site, *args, allow_http=True)).site == site
        client = AuthClient(site, allow_http=True)
        sso, idp = (await client.server_settings()).external_methods
        assert len(server.requests) == 3
    assert client.start_sso(sso).url.startswith(f"{site}/accounts/login/sso/?")
    assert client.start_sso(idp).url.startswith("http://idp.example.com/?")
    with pytest.raises(InvalidInputError, match="login_url"):
        AuthClient("localhost").start_sso(sso)


# ---- Keys and tokens


async def test_api_key_lifecycle() -> None:
    async with FakeZulip(users={USERNAME: PASSWORD}) as server:
        client = AuthClient(server.site)
        assert (await client.server_settings()).realm_url == server.site
        old = await client.login("IAGO@zulip.COM", PASSWORD)
        assert old == Credentials(server.site, USERNAME, server.account(USERNAME).api_key, 10)
        assert (await client.verify(old)).email == USERNAME
        new = await client.regenerate_api_key(old)
        assert (await client.verify(new)).user_id == old.user_id == new.user_id
        for other in (old, evolve(new, user_id=99)):
            await error_of(InvalidApiKeyError, client.verify(other))
        server.realm.jwt_key = "a key of thirty-two bytes or more"
        token = jwt.encode({"email": USERNAME}, server.realm.jwt_key, "HS256")
        assert (await client.jwt_login(token)).api_key == new.api_key


async def test_echoed_secrets_are_redacted() -> None:
    async def echo(connection: Connection) -> None:
        await connection.read()
        request = server.requests[-1]
        secret = request.headers.get("authorization") or parse_qs(request.body.decode())["token"][0]
        body = {"result": "error", "msg": f"{secret} {API_KEY}", "code": "UNAUTHORIZED"}
        status = 401 if "authorization" in request.headers else 400
        await connection.write(raw_response(status, json.dumps(body)))

    token = f"{TOKEN}{'a' * 5000}"
    async with ScriptedServer(echo) as server:
        client = AuthClient(server.site)
        for call, argument, expected in (
            *((call, key_of(server), InvalidApiKeyError) for call in KEY_CALLS),
            ("jwt_login", token, BadRequestError),
        ):
            error: Any = await error_of(expected, getattr(client, call)(argument), API_KEY, token)
            assert str(error).startswith(f"{server.site} ")
            assert error.message == ""


@pytest.mark.parametrize("call", KEY_CALLS)
@pytest.mark.parametrize(
    ("invalid", "problem"),
    [
        ("the key itself", "must be an instance of Credentials, not str."),
        (evolve(CREDENTIALS, email="a\ud800b"), "contain an invalid email or API key."),
        (evolve(CREDENTIALS, api_key="the key itself"), "contain an invalid email or API key."),
        (
            evolve(CREDENTIALS, site="https://x.org"),
            "are for a different site, not http://127.0.0.1.",
        ),
    ],
)
async def test_invalid_credentials(call: str, invalid: Any, problem: str) -> None:
    calling = getattr(AuthClient("http://127.0.0.1"), call)(invalid)
    error = await error_of(InvalidInputError, calling, "the key itself", API_KEY)
    assert str(error) == f"credentials {problem}"


@pytest.mark.parametrize("fault", [close_without_response, respond(503)], ids=["lost", "503"])
async def test_verify_uses_all_attempts(fault: Scenario, no_backoff: RetryPolicy) -> None:
    async with ScriptedServer(*[fault] * 4, respond(200, ME)) as server:
        owner = await AuthClient(server.site, retry=no_backoff).verify(key_of(server))
        assert owner.user_id == 16
        assert len(server.requests) == 5


POSSIBLY_PROCESSED = {
    "lost": (close_without_response, APIConnectionError),
    "reset": (faults.reset_before_headers, APIConnectionError),
    "cut short": (faults.truncate_the_body, APIConnectionError),
    "not HTTP": (faults.garbage_with_the_password, InvalidResponseError),
    "accepted": (respond(202, "{}"), InvalidResponseError),
    "timed out": (respond(408, "{}"), InvalidResponseError),
    "not JSON": (respond(200, "<html>"), InvalidResponseError),
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
        error = await error_of(exc_type, client.regenerate_api_key(key_of(server)), API_KEY)
        assert len(server.requests) == 1
        if transport is not None:
            await transport.aclose()
    assert str(error).endswith("if verify() rejects it, log in again.")
    assert getattr(error, "sent", True)


async def test_regenerate_retries_if_not_processed(no_backoff: RetryPolicy) -> None:
    async with ScriptedServer(BUSY, respond(401, {})) as server:
        client = AuthClient(server.site, retry=no_backoff)
        rejected = await error_of(InvalidResponseError, client.regenerate_api_key(key_of(server)))
        assert len(server.requests) == 2
    unreachable = await error_of(APIConnectionError, client.regenerate_api_key(key_of(server)))
    assert not unreachable.sent
    assert "verify()" not in f"{rejected} {unreachable}"


# ---- Bots


def bot_list(*bots: dict[str, object]) -> Scenario:
    return respond(200, {"result": "success", "msg": "", "bots": bots})


ECHO = {"username": "echo-bot@zulip.com", "full_name": "Echo", "user_id": 254}


async def test_bots_without_key_in_list() -> None:
    """Zulip 12 has the key of each bot at another endpoint."""
    key = respond(200, {"result": "success", "msg": "", "api_key": BOT_KEY})
    async with ScriptedServer(bot_list(ECHO), key, bot_list(ECHO), key) as server:
        client = AuthClient(server.site)
        [bot] = bots = await client.bots(key_of(server))
        expected = Credentials(server.site, "echo-bot@zulip.com", BOT_KEY, 254)
        assert bot.credentials == expected
        [without] = await client.bots(key_of(server), keys=False)
        assert without == evolve(bot, credentials=None)
        assert await client.bot_credentials(key_of(server), without) == expected
        assert await client.bot_credentials(key_of(server), bot) == expected
        assert paths(server) == ["/bots", "/bots/254/api_key"] * 2
        assert len({request.headers["authorization"] for request in server.requests}) == 1
    SecretScanner(BOT_KEY).check(f"{bots} {bots!r}", "the repr")


async def test_invalid_bot() -> None:
    bots: dict[Any, str] = {
        Bot("echo-bot@zulip.com", "Echo", None): "bot has neither credentials nor a user ID.",
        "Echo": "bot must be an instance of Bot, not str.",
    }
    for bot, message in bots.items():
        call = AuthClient(CREDENTIALS.site).bot_credentials(CREDENTIALS, bot)
        assert str(await error_of(InvalidInputError, call)) == message


@pytest.mark.parametrize("has_id", [True, False])
async def test_regenerate_the_key_of_a_bot(has_id: bool) -> None:
    """Some servers do not list its user ID, and it is requested then."""
    async with FakeZulip(users={USERNAME: PASSWORD}) as server:
        account = server.add_bot(USERNAME, "Echo")
        old = Credentials(server.site, account.email, account.api_key)
        bot = Bot(account.email, "Echo", old, account.user_id if has_id else None)
        client = AuthClient(server.site)
        owner = await client.login(USERNAME, PASSWORD)
        new = await client.regenerate_api_key(owner, bot=bot)
        assert (new.api_key, new.user_id) == (account.api_key, account.user_id)
        assert new.api_key != old.api_key
        regenerate = f"/bots/{account.user_id}/api_key/regenerate"
        assert paths(server)[1:] == [*["/users/me"] * (not has_id), regenerate]


async def test_bots_share_one_timeout() -> None:
    async def respond_late(connection: Connection) -> None:
        await asyncio.sleep(0.05)
        await respond(200, {"result": "success", "msg": "", "api_key": BOT_KEY})(connection)

    bots = [{**ECHO, "user_id": number} for number in range(1, 21)]  # together, 1 s
    async with ScriptedServer(bot_list(*bots), respond_late) as server:
        await error_of(APITimeoutError, AuthClient(server.site, timeout=0.3).bots(key_of(server)))
