"""The library against every recorded exchange, byte for byte over a socket."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode
from typing import Any

import pytest

from helpers import server_cases
from helpers.constants import API_KEY, PASSWORD
from helpers.raw_server import Connection, Scenario, ScriptedServer, raw_response, respond
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
CALLED = {exchange: case for exchange in EXCHANGES if (case := find_case(exchange))}
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
        await connection.read()
        line, response = connection._server.requests[-1].line, exchange
        if "server_settings" in line and "server_settings" not in exchange.path:
            response = settings_for(exchange)
        await connection.write(raw_response(response.status, response.body, response.headers))

    return scenario


def credentials_of(exchange: Exchange, site: str) -> Credentials:
    """Return the recorded credentials, or others if the library would not send those."""
    header = exchange.request_headers.get("authorization", "")
    email, api_key = exchange.basic_auth or ("iago@zulip.com", API_KEY)
    if header.startswith("Basic ") and not header.endswith("%"):
        email, _, api_key = b64decode(header.removeprefix("Basic ")).decode().partition(":")
    user_id = 99 if "user_id of another" in exchange.name else None
    return Credentials(site, email, api_key.strip(), user_id)


async def call(method: str, exchange: Exchange, site: str, retry: RetryPolicy) -> Any:
    """Return the result of a call, or its exception."""
    client = AuthClient(site, retry=retry)
    form = exchange.form or {}
    username = form.get("username") or "iago@zulip.com"
    arguments = {
        "login": (username, form.get("password") or PASSWORD),
        "dev_login": (username,),
        "jwt_login": (form.get("token") or "a.b.c",),
        "server_settings": (),
    }.get(method, (credentials_of(exchange, site),))
    try:
        return await getattr(client, method)(*arguments)
    except ZulipAuthError as error:
        return error


def distinct() -> list[Exchange]:
    """Return the exchanges to replay: of those that several servers made alike, the first."""
    found: dict[object, Exchange] = {}
    for exchange, (method, _, case) in CALLED.items():
        if not exchange.name.startswith("sso:"):
            # The time and the limits of the server, and cookies, are not of the exchange.
            ignored = ("vary", "set-cookie", "x-ratelimit-limit", "x-ratelimit-reset")
            headers = {name: exchange.headers[name] for name in exchange.headers.keys() - ignored}
            settings = settings_for(exchange).body if exchange.status == 500 else ""
            parts = (exchange.form, exchange.basic_auth, exchange.request_headers, headers)
            expected = case.expected_at(exchange.level)
            texts = (exchange.path, exchange.status, exchange.body, "another" in exchange.name)
            key = (method, expected, settings, *texts, json.dumps(parts, sort_keys=True))
            found.setdefault(key, exchange)
    return [*found.values()]


@pytest.mark.parametrize("exchange", distinct(), ids=lambda e: f"{e.level} {e.name}")
async def test_recorded_exchange(exchange: Exchange, no_backoff: RetryPolicy) -> None:
    method, _, case = CALLED[exchange]
    scenarios = [exact_server(exchange)]
    is_key_of_bot = exchange.path.startswith("/api/v1/bots/")
    if is_key_of_bot:
        bot = {"username": "echo-bot@zulip.com", "full_name": "Echo", "user_id": 254}
        scenarios.insert(0, respond(200, {"result": "success", "msg": "", "bots": [bot]}))
    async with ScriptedServer(*scenarios) as server:
        result = await call(method, exchange, server.site, no_backoff)
        lines = [request.line for request in server.requests]
    expected = case.expected_at(exchange.level)
    if expected is None:
        check_success(result, exchange, server.site)
    else:
        assert type(result) is expected, repr(result)
        check_error(result, exchange)
    assert lines[0] == f"{PATHS[method]} HTTP/1.1"
    if "server_settings" not in exchange.path:  # the library asks for them after some errors
        assert sum("server_settings" in line for line in lines) <= 1
        lines = [line for line in lines if "server_settings" not in line]
    # Only a 5xx that used no attempt is sent again.
    is_resent = isinstance(result, ServerError) and result.attempts_remaining is None
    assert len(lines) == 1 + is_key_of_bot + is_resent


def check_success(result: Any, exchange: Exchange, site: str) -> None:
    body = exchange.json()
    expected: Any
    if isinstance(result, Credentials):
        recorded_id = body.get("user", body).get("user_id", result.user_id)
        expected = Credentials(site, body.get("email", result.email), body["api_key"], recorded_id)
    elif isinstance(result, Owner):
        role = 200 if body["is_admin"] else 600 if body["is_guest"] else 400
        expected = Owner(
            body["user_id"],
            body.get("delivery_email", body["email"]),
            body["full_name"],
            body.get("role", role),
            body["is_bot"],
        )
    elif isinstance(result, ServerSettings):
        methods = [method["name"] for method in body["external_authentication_methods"]]
        assert [method.name for method in result.external_methods] == methods
        assert result.feature_level == exchange.level == body["zulip_feature_level"]
        names = ("realm_name", "zulip_version", "is_incompatible")
        expected = [*map(body.get, names), body["realm_uri"]]
        expected.append(body["authentication_methods"]["password"])
        result = [getattr(result, name) for name in (*names, "realm_url", "password_enabled")]
    else:
        assert all(isinstance(bot, Bot) for bot in result)
        names = ("username", "full_name", "api_key")
        expected = [tuple(bot[name] for name in names) for bot in body["bots"]]
        result = [(bot.username, bot.full_name, bot.credentials.api_key) for bot in result]
    assert result == expected


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
    "exchange",
    [e for e in CALLED if e.name.startswith("sso:")],
    ids=lambda e: f"{e.level} {e.name}",
)
def test_recorded_redirect(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of the recorded redirect is that of the account's login."""
    monkeypatch.setattr(secrets, "token_hex", lambda length: "ab" * length)
    site = f"http://{exchange.host}"
    flow = AuthClient(site).start_sso(ExternalMethod("remoteuser", "SSO", f"{site}/login"))
    location = exchange.headers["location"]
    if CALLED[exchange][2].expected_at(exchange.level) is InvalidInputError:
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


def test_documented_table_is_fresh() -> None:
    page = server_cases.PAGE.read_text(encoding="utf-8")
    assert server_cases.table() in page, "run `make servers`"
