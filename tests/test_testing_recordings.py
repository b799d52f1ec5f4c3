"""The stand-in server's responses, compared with recorded ones."""

from __future__ import annotations

import http.client
import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from urllib.parse import urlencode, urlsplit

import jwt
import pytest
from attrs import evolve

from helpers.constants import PASSWORD
from helpers.recordings import Exchange, load_recordings
from zulip_auth.testing import ExternalMethod, FakeZulip

ADMINS = ["desdemona", "iago"]
USERS = ["AARON", "ZOE", "cordelia", "hamlet", "othello", "polonius", "prospero", "shiva"]


@pytest.fixture
def server() -> Iterator[FakeZulip]:
    users = {f"{name}@zulip.com": PASSWORD for name in ADMINS + USERS}
    with FakeZulip(users) as server:
        for name in ADMINS:
            server.account(f"{name}@zulip.com").role = 200
        # The recorded organization has this host name.
        realm = server.add_realm("localhost")
        realm._accounts.update(server.realm._accounts)
        server._state.realms.pop("127.0.0.1")
        yield server


def send(
    server: FakeZulip, exchange: Exchange, auth: tuple[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    """Send a recorded request and return status, headers and body."""
    assert server._state.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server._state.port)
    headers = {"Host": exchange.host, "Connection": "close"}
    body = exchange.raw
    if exchange.form is not None:
        body = urlencode(exchange.form)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if auth is not None:
        headers["Authorization"] = "Basic " + b64encode(":".join(auth).encode()).decode()
    path = exchange.path + ("?" + urlencode(exchange.query) if exchange.query else "")
    connection.request(exchange.method, path, body, headers)
    response = connection.getresponse()
    result = (
        response.status,
        {k.lower(): v for k, v in response.getheaders()},
        response.read().decode(),
    )
    connection.close()
    return result


# Changes on the recorded server between two exchanges.
def one_more_attempt(server: FakeZulip) -> None:
    server._state.record_attempt("hamlet@zulip.com")


def deactivate_othello(server: FakeZulip) -> None:
    server._state.realms["localhost"].account("othello@zulip.com").active = False


def deactivate_realm(server: FakeZulip) -> None:
    server._state.realms["localhost"].active = False


def reactivate_realm_without_passwords(server: FakeZulip) -> None:
    realm = server._state.realms["localhost"]
    realm.active, realm.password_login = True, False


def disable_dev_login(server: FakeZulip) -> None:
    server._state.realms["localhost"].dev_login = False


STEPS: dict[str, Callable[[FakeZulip], None]] = {
    "fetch: empty password": one_more_attempt,
    "fetch: user deactivated": deactivate_othello,
    "fetch: realm deactivated": deactivate_realm,
    "fetch: password auth disabled": reactivate_realm_without_passwords,
    "dev: dev auth disabled in realm": disable_dev_login,
}


def normalized(body: str) -> object:
    """Return a body without keys, ids, times and ports."""
    try:
        parsed = json.loads(body)
    except ValueError:
        return body
    for name in ("api_key", "user_id", "retry-after"):
        if name in parsed:
            parsed[name] = type(parsed[name])
    for user in parsed.get("direct_admins", []) + parsed.get("direct_users", []):
        user["realm_url"] = urlsplit(user["realm_url"]).hostname
    return parsed


def test_recorded_logins(server: FakeZulip) -> None:
    exchanges = load_recordings("fetch:", "dev:")
    assert len(exchanges) == 30
    for exchange in exchanges:
        if exchange.name in STEPS:
            STEPS[exchange.name](server)
        status, headers, body = send(server, exchange)
        assert status == exchange.status, exchange.name
        assert normalized(body) == normalized(exchange.body), exchange.name
        for name in ("content-type", "allow", "x-ratelimit-limit", "x-ratelimit-remaining"):
            assert headers.get(name) == exchange.headers.get(name), exchange.name
        for name in ("x-ratelimit-reset", "retry-after", "set-cookie"):
            assert (name in headers) == (name in exchange.headers), exchange.name
        if "x-ratelimit-reset" in headers:
            assert 1795 < int(headers["x-ratelimit-reset"]) - time.time() <= 1800
        if "retry-after" in headers:
            assert 1795 < float(headers["retry-after"]) <= 1800
            assert float(headers["retry-after"]) == json.loads(body)["retry-after"]


def shape(value: object) -> object:
    """Return the names of fields, in order, and the types of their values."""
    if isinstance(value, dict):
        return [(name, shape(item)) for name, item in value.items()]
    return type(value)


UNCOMPARED = ("profile_data", "external_authentication_methods")


def test_recorded_settings_and_keys(
    server: FakeZulip,
) -> None:
    realm = server._state.realms["localhost"]
    server.add_realm("analytics.zulipdev.com")
    iago = realm.account("iago@zulip.com")
    auth = {
        "me: success": (iago.email, iago.api_key),
        "me: bad key": (iago.email, "x" * 32),
        "me: malformed key": (iago.email, "x"),
        "me: no auth": None,
        "regenerate: success": (iago.email, iago.api_key),
        "me: key revoked by regenerate": (iago.email, iago.api_key),
    }
    exchanges = load_recordings("settings:", "me:", "regenerate:")
    assert len(exchanges) == 10
    for exchange in exchanges:
        realm.password_login = exchange.name != "settings: password auth disabled"
        status, headers, body = send(server, exchange, auth.get(exchange.name))
        actual, expected = json.loads(body), exchange.json()
        assert status == exchange.status, exchange.name
        if status == 200:
            for name in UNCOMPARED:
                assert type(actual.pop(name, None)) is type(expected.pop(name, None)), exchange.name
            assert shape(actual) == shape(expected), exchange.name
        else:
            assert actual == expected, exchange.name
        for name in ("content-type", "www-authenticate"):
            assert headers.get(name) == exchange.headers.get(name), exchange.name


def test_recorded_jwt_logins(server: FakeZulip) -> None:
    key = "a key of thirty-two bytes or more"
    tokens = {
        "jwt: success": jwt.encode({"email": "hamlet@zulip.com"}, key, "HS256"),
        "jwt: wrong key": jwt.encode({"email": "hamlet@zulip.com"}, key[::-1], "HS256"),
        "jwt: no email claim": jwt.encode({"sub": "hamlet@zulip.com"}, key, "HS256"),
    }
    exchanges = load_recordings("jwt:")
    assert len(exchanges) == 6
    for exchange in exchanges:
        if exchange.name in tokens:
            exchange = evolve(exchange, form={"token": tokens[exchange.name]})
        status, _, body = send(server, exchange)
        assert status == exchange.status, exchange.name
        assert normalized(body) == normalized(exchange.body), exchange.name
        server._state.realms["localhost"].jwt_key = key


def test_recorded_sso(server: FakeZulip) -> None:
    realm = server._state.realms["localhost"]
    realm.external_methods.append(ExternalMethod("remoteuser", "SSO"))
    hamlet = realm.account("hamlet@zulip.com")
    chosen, malformed = load_recordings("sso:")
    [same_key] = load_recordings("jwt: success")
    hamlet.api_key, hamlet.user_id = same_key.json()["api_key"], 15
    # The recorded server did not show a list of accounts.
    path = realm.external_methods[0].login_path
    query = {**chosen.query, "email": hamlet.email}
    status, headers, body = send(server, evolve(chosen, path=path, query=query))
    assert (status, body) == (chosen.status, chosen.body) == (302, "")
    assert headers["content-type"] == chosen.headers["content-type"]
    port = f"%3A{server._state.port}"
    assert headers["location"].replace(port, "%3A9991") == chosen.headers["location"]
    status, headers, body = send(server, evolve(malformed, path=path))
    assert (status, body) == (malformed.status, malformed.body)
    assert headers["content-type"] == malformed.headers["content-type"]
