"""The library against every recorded exchange, byte for byte over a socket."""

from __future__ import annotations

import secrets
from base64 import b64decode
from typing import Any

import pytest
from attrs import evolve, frozen

from helpers import server_cases
from helpers.constants import API_KEY, PASSWORD
from helpers.raw_server import Connection, Request, Scenario, ScriptedServer, raw_response, respond
from helpers.recordings import LEVELS, Exchange, load_level
from helpers.secret_scanner import SecretScanner
from helpers.server_cases import CASES, NOT_CALLED, find_case
from zulip_auth import (
    APIStatusError,
    AuthClient,
    AuthenticationFailedError,
    Bot,
    Credentials,
    ExternalMethod,
    InvalidInputError,
    InvalidResponseError,
    Owner,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    ServerSettings,
    ZulipAuthError,
)

EXCHANGES = [exchange for level in LEVELS for exchange in load_level(level)]
CALLED = [exchange for exchange in EXCHANGES if find_case(exchange)]
PATHS = {
    "login": "POST /api/v1/fetch_api_key",
    "dev_login": "POST /api/v1/dev_fetch_api_key",
    "jwt_login": "POST /api/v1/jwt/fetch_api_key",
    "server_settings": "GET /api/v1/server_settings",
    "verify": "GET /api/v1/users/me",
    "regenerate_api_key": "POST /api/v1/users/me/api_key/regenerate",
    "bots": "GET /api/v1/bots",
}
LOGIN_PATHS = ("/fetch_api_key", "/dev_fetch_api_key", "/jwt/fetch_api_key")


def exchange_id(exchange: Exchange) -> str:
    return f"{exchange.level} {exchange.name}"


def settings_for(exchange: Exchange) -> Exchange:
    """Return the settings that the server of an exchange had at the same host."""
    suffix = "realm"
    if "root" in exchange.name:
        suffix = "root, landing page" if "landing" in exchange.name else "root"
    elif "unknown subdomain" in exchange.name:
        suffix = "unknown subdomain"
    names = (f"server_settings: {suffix}", f"settings: {suffix}")
    return next(other for other in load_level(exchange.level) if other.name in names)


def exact_server(exchange: Exchange) -> Scenario:
    """Respond as recorded, and with recorded settings to a request for them."""

    async def scenario(connection: Connection) -> None:
        request = await connection.read_raw_request()
        connection._server.requests.append(request)
        response = exchange
        if "server_settings" in request.line and "server_settings" not in exchange.path:
            response = settings_for(exchange)
        await connection.write(raw_response(response.status, response.body, response.headers))

    return scenario


@frozen
class Replay:
    """The result of a call, an exception included, and the requests that it sent."""

    result: Any
    requests: list[Request]


def credentials_of(exchange: Exchange, site: str) -> Credentials:
    """Return the recorded credentials, or others if the library would not send those."""
    header = exchange.request_headers.get("authorization", "")
    email, api_key = exchange.basic_auth or ("iago@zulip.com", API_KEY)
    if header.startswith("Basic ") and not header.endswith("%"):
        email, _, api_key = b64decode(header.removeprefix("Basic ")).decode().partition(":")
    user_id = 99 if "user_id of another" in exchange.name else None
    return Credentials(site, email, api_key.strip(), user_id)


async def call(method: str, exchange: Exchange, site: str, retry: RetryPolicy) -> Any:
    client = AuthClient(site, retry=retry)
    form = exchange.form or {}
    username = form.get("username") or "iago@zulip.com"
    if method == "login":
        return await client.login(username, form.get("password") or PASSWORD)
    if method == "dev_login":
        return await client.dev_login(username)
    if method == "jwt_login":
        return await client.jwt_login(form.get("token") or "a.b.c")
    if method == "server_settings":
        return await client.server_settings()
    return await getattr(client, method)(credentials_of(exchange, site))


async def replay(method: str, exchange: Exchange, retry: RetryPolicy) -> Replay:
    scenarios = [exact_server(exchange)]
    if method == "bots" and "/bots/" in exchange.path:
        bot = {"username": "echo-bot@zulip.com", "full_name": "Echo", "user_id": 254}
        scenarios.insert(0, respond(200, {"result": "success", "msg": "", "bots": [bot]}))
    async with ScriptedServer(*scenarios) as server:
        try:
            result = await call(method, exchange, server.site, retry)
        except ZulipAuthError as error:
            result = error
        if isinstance(result, Credentials):
            assert result.site == server.site
    return Replay(result, server.requests)


@pytest.mark.parametrize(
    "exchange", [e for e in CALLED if not e.name.startswith("sso:")], ids=exchange_id
)
async def test_recorded_exchange(exchange: Exchange, no_backoff: RetryPolicy) -> None:
    found = find_case(exchange)
    assert found is not None
    method, _, case = found
    expected = case.expected_at(exchange.level)
    result = await replay(method, exchange, no_backoff)
    if expected is None:
        check_success(result.result, exchange)
    else:
        assert type(result.result) is expected, repr(result.result)
        check_error(result.result, exchange)
    assert result.requests[0].line == f"{PATHS[method]} HTTP/1.1"
    assert count_requests(result, exchange) == (2 if is_resent(result.result) else 1)


def is_resent(result: object) -> bool:
    """Return whether the library sends the request again: after a 5xx that used no attempt."""
    return isinstance(result, ServerError) and result.attempts_remaining is None


def count_requests(result: Replay, exchange: Exchange) -> int:
    """Return the number of requests, without those for settings and for the list of bots."""
    path = exchange.path.partition("?")[0]
    is_list = path.startswith("/api/v1/bots/")
    settings = sum("server_settings" in request.line for request in result.requests)
    others = 0 if "server_settings" in path else settings
    assert others <= 1
    return len(result.requests) - others - is_list


def check_success(result: Any, exchange: Exchange) -> None:
    body = exchange.json()
    if isinstance(result, Credentials):
        recorded_id = body.get("user", body).get("user_id", result.user_id)
        expected = (body.get("email", result.email), body["api_key"], recorded_id)
        assert (result.email, result.api_key, result.user_id) == expected
    elif isinstance(result, Owner):
        assert result.email == body.get("delivery_email", body["email"])
        assert (result.user_id, result.full_name) == (body["user_id"], body["full_name"])
        is_admin, is_guest = body["is_admin"], body["is_guest"]
        assert result.role == body.get("role", 200 if is_admin else 600 if is_guest else 400)
        assert result.is_bot is body["is_bot"]
    elif isinstance(result, ServerSettings):
        assert result.feature_level == exchange.level == body["zulip_feature_level"]
        assert (result.realm_name, result.zulip_version) == (
            body["realm_name"],
            body["zulip_version"],
        )
        assert result.realm_url == body["realm_uri"]
        assert result.password_enabled is body["authentication_methods"]["password"]
        methods = [method["name"] for method in body["external_authentication_methods"]]
        assert [method.name for method in result.external_methods] == methods
        assert result.is_incompatible is body["is_incompatible"]
    else:
        assert all(isinstance(bot, Bot) for bot in result)
        assert [(bot.username, bot.full_name, bot.credentials.api_key) for bot in result] == [
            (bot["username"], bot["full_name"], bot["api_key"]) for bot in body["bots"]
        ]


def check_error(error: Any, exchange: Exchange) -> None:
    form = exchange.form or {}
    values = [form.get(name, "") for name in ("password", "token")]
    SecretScanner(API_KEY, *(value for value in values if len(value) > 8)).check_error(error)
    source = exchange
    if exchange.status == 500 and not isinstance(error, ServerError):
        source = settings_for(exchange)
    assert error.status_code == source.status
    if isinstance(error, InvalidResponseError):
        return
    assert isinstance(error, APIStatusError)
    body = source.json() if source.status != 200 and source.body.startswith("{") else {}
    assert (error.code, error.message) == (body.get("code"), body.get("msg", ""))
    if isinstance(error, AuthenticationFailedError | ServerError) and exchange.path.endswith(
        LOGIN_PATHS
    ):
        remaining = exchange.headers.get("x-ratelimit-remaining")
        assert error.attempts_remaining == (None if remaining is None else int(remaining))
    if isinstance(error, RateLimitedError):
        assert error.retry_after == float(exchange.headers["retry-after"])


@pytest.mark.parametrize(
    "exchange", [e for e in CALLED if e.name.startswith("sso:")], ids=exchange_id
)
def test_recorded_redirect(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of the recorded redirect is that of the account's login."""
    monkeypatch.setattr(secrets, "token_hex", lambda length: "ab" * length)
    site = f"http://{exchange.host}"
    flow = AuthClient(site).start_sso(ExternalMethod("remoteuser", "SSO", f"{site}/login"))
    location = exchange.headers["location"]
    found = find_case(exchange)
    assert found is not None
    if found[2].expected_at(exchange.level) is InvalidInputError:
        with pytest.raises(InvalidInputError):
            flow.finish(location)
        return
    credentials = flow.finish(location)
    assert credentials.site == site
    assert (credentials.user_id is None) is (exchange.level < 122)
    keys = {
        other.json()["api_key"]
        for other in load_level(exchange.level)
        if other.status == 200
        and other.path.endswith(LOGIN_PATHS)
        and other.json()["email"] == credentials.email
    }
    assert credentials.api_key in keys


def test_every_exchange_is_replayed_or_explained(record_property: Any) -> None:
    names = {exchange.name for exchange in EXCHANGES}
    listed = {name for cases in CASES.values() for case in cases.values() for name in case.names}
    assert listed <= names
    unused = [prefix for prefix in NOT_CALLED if not any(n.startswith(prefix) for n in names)]
    assert unused == []
    assert len(EXCHANGES) == 964
    record_property("exchanges replayed", f"{len(CALLED)} of {len(EXCHANGES)}")


def test_no_password_in_query_string() -> None:
    """Servers read it there, and write it to their logs."""
    assert any("password=" in exchange.path for exchange in EXCHANGES)


def test_documented_table_is_fresh() -> None:
    page = server_cases.PAGE.read_text(encoding="utf-8")
    assert server_cases.table() in page, "run `make servers`"


def test_case_of_later_level() -> None:
    case = CASES["login"]["account of another organization"]
    assert case.expected_at(64) is AuthenticationFailedError
    assert case.expected_at(152) is AuthenticationFailedError
    assert evolve(case, expected={27: None}).expected_at(325) is None
