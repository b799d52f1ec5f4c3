"""The stand-in server's responses, compared with recorded ones."""

from __future__ import annotations

import http.client
import json
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from urllib.parse import urlencode, urlsplit

import jwt
import pytest
from attrs import evolve
from httpx import Request

from helpers.constants import PASSWORD
from helpers.recordings import Exchange, load_level, load_recordings
from zulip_auth.testing import Account, ExternalMethod, FakeZulip

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
    headers = {**exchange.request_headers, "Host": exchange.host, "Connection": "close"}
    body: str | bytes | None = exchange.raw
    if exchange.form is not None and exchange.form.get("multipart"):
        fields = {name: (None, value) for name, value in exchange.form.items() if value is not True}
        request = Request("POST", "http://x", files=fields)
        body, headers["Content-Type"] = request.read(), request.headers["content-type"]
    elif exchange.form is not None:
        body = urlencode(exchange.form)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if credentials := auth or exchange.basic_auth:
        encoded = b64encode(":".join(credentials).encode()).decode()
        headers["Authorization"] = f"Basic {encoded}"
    path = exchange.path + ("?" + urlencode(exchange.query) if exchange.query else "")
    connection.request(exchange.method, path, body, headers)
    response = connection.getresponse()
    received = {name.lower(): value for name, value in response.getheaders()}
    text = response.read().decode()
    connection.close()
    return response.status, received, text


def change(server: FakeZulip, name: str) -> None:
    """Make the changes that the recorded server saw before an exchange."""
    realm = server._state.realms["localhost"]
    match name:
        case "fetch: empty password":
            server._state.attempts.record("hamlet@zulip.com", time.time())
        case "fetch: user deactivated":
            realm.account("othello@zulip.com").active = False
        case "fetch: realm deactivated":
            realm.active = False
        case "fetch: password auth disabled":
            realm.active, realm.password_login = True, False
        case "dev: dev auth disabled in realm":
            realm.dev_login = False


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
        change(server, exchange.name)
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


def test_recorded_settings_and_keys(server: FakeZulip) -> None:
    realm = server._state.realms["localhost"]
    server.add_realm("analytics.zulipdev.com")
    server._state.root_landing_page = True
    realm.hide_emails = True
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


# ---- Feature level 283

# The recorded server had other names for these organizations.
HOSTS = {"127.0.0.1:9991": "zulipdev.com:9991", "127.0.0.2:9991": "analytics.zulipdev.com:9991"}

# Exchanges, the part of the response that differs, and the reason.
DIFFERENCES = {
    ("", "header vary"): "HTTP caches use it; API clients do not.",
    ("", "header content-language"): "FakeZulip has no translations.",
    ("bots:", "avatar_url"): "No URL leads a test to another host.",
    ("me:", "avatar_url"): "No URL leads a test to another host.",
    ("jwt:", "avatar_url"): "No URL leads a test to another host.",
    ("me:", "profile_data"): "FakeZulip has no custom profile fields.",
    ("me:", "timezone"): "FakeZulip has no time zones.",
    ("bots: key", "page"): "The recordings replace web pages.",
    ("settings: root", "zulip_feature_level"): "FakeZulip has feature level 325.",
    ("settings: root", "authentication_methods"): "The recorded server has LDAP and an SSO proxy.",
    ("settings: root", "require_email_format_usernames"): "The recorded server has LDAP.",
    ("settings: root", "external_authentication_methods"): "The recorded server has an SSO proxy.",
    ("settings: root", "push_notifications_enabled"): "FakeZulip sends no notifications.",
}
# Keys, ids and times. Ids that a request or an email contains are set to the recorded ones.
VARYING = {"api_key", "date_joined", "max_message_id", "retry-after"}
Row = tuple[str, object]
WINDOWS = {"5": 1800, "200": 60}


@pytest.fixture
def bot_server() -> Iterator[FakeZulip]:
    """A server with the accounts of the recorded server of level 283."""
    with FakeZulip() as server:
        server._state.realms.clear()
        analytics = server.add_realm("analytics.zulipdev.com")
        realm = server.add_realm("localhost")
        realm.hide_emails, realm.jwt_key = True, "a key of thirty-two bytes or more"
        analytics.add_user("shylock@analytics.ds", PASSWORD).role = 200
        for number, name, role in (
            (26, "a@müller.de", 400),
            (27, "desdemona@zulip.com", 100),
            (29, "iago@zulip.com", 200),
            (28, "hamlet@zulip.com", 400),
            (32, "prospero@zulip.com", 400),
            (33, "shiva@zulip.com", 300),
            (30, "cordelia@zulip.com", 400),
        ):
            server._state.user_ids = count(number)
            realm.add_user(name, "Zulip-passw0rd").role = role
        realm.account("hamlet@zulip.com").full_name = "King Hamlet"
        realm.account("shiva@zulip.com").full_name = "शिव"
        owner = realm.account("desdemona@zulip.com")
        server._state.user_ids = count(34)
        for short_name in ("Default", "Commit", "Nagios", "Trac"):
            bot = realm.create_bot(owner, f"Zulip {short_name} Bot", short_name.lower(), 1)
            rename(server, bot, f"{short_name.lower()}-bot@zulip.com")
        for email in ("hamlet@zulip.com", "shiva@zulip.com"):
            auths = [e.basic_auth for e in load_level(283) if e.status == 200 and e.basic_auth]
            realm.account(email).api_key = next(k.strip() for name, k in auths if name == email)
        realm.create_bot(owner, "Echo", "echo", 1)
        realm.create_bot(owner, "Hook", "hook", 2)
        yield server


def rename(server: FakeZulip, account: Account, email: str) -> None:
    accounts = server._state.realms["localhost"]._accounts
    del accounts[account.email.lower()]
    account.email = email
    accounts[email] = account


def prepare(server: FakeZulip, exchange: Exchange) -> Exchange:
    """Make the changes that the recorded server saw before an exchange."""
    state = server._state
    realm = state.realms["localhost"]
    match exchange.name:
        case "fetch: a bot account":
            state.attempts.record("default-bot@zulip.com", time.time())
        case "bots: list":
            for _ in range(6):
                state.calls.record(realm.account("desdemona@zulip.com"), time.time())
        case "bots: create":
            realm._accounts.pop("echo-bot@zulipdev.com", None)
            realm._accounts.pop("hook-bot@zulipdev.com", None)
            state.user_ids = count(254)
        case "bots: create, name taken":
            assert realm.account("echo-bot@zulipdev.com").user_id == 254
        case "me: deactivated account":
            realm.account("shiva@zulip.com").active = False
        case "me: reactivated account, same key":
            realm.account("shiva@zulip.com").active = True
        case "me: more than 200 a minute":
            for _ in range(200):
                state.calls.record(realm.account("prospero@zulip.com"), time.time())
        case "jwt: success" | "jwt: success, include_profile":
            token = jwt.encode({"email": "hamlet@zulip.com"}, realm.jwt_key or "", "HS256")
            exchange = evolve(exchange, form={**(exchange.form or {}), "token": token})
    return evolve(exchange, host=HOSTS.get(exchange.host, exchange.host))


def use_recorded_key(server: FakeZulip, exchange: Exchange, body: str) -> None:
    """Give an account whose key was created or fetched the recorded key."""
    realm = server._state.realms["localhost"]
    if exchange.status != 200 or '"api_key":' not in exchange.body or "bots" in exchange.json():
        return
    named = re.fullmatch(r"/api/v1/bots/(\d+)/api_key/regenerate", exchange.path)
    account = realm.find(int(named[1]) if named else json.loads(body).get("user_id", -1))
    if account is None:
        email = exchange.json().get("email") or (exchange.basic_auth or ("",))[0]
        account = realm.account(email)
    account.api_key = exchange.json()["api_key"]


def flatten(value: object, path: str = "") -> Iterable[tuple[str, object]]:
    """Return the values in a JSON document with their paths, in order."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from flatten(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from flatten(item, f"{path}[{number}]")
    else:
        varies = path.rpartition(".")[2] in VARYING
        yield path, type(value) if varies else value


def is_part(path: str, part: str) -> bool:
    return part == path or part in re.split(r"[.\[]", path)


def parts(rows: list[Row], part: str) -> list[Row]:
    return [row for row in rows if is_part(row[0], part)]


def others(rows: list[Row], part: str) -> list[Row]:
    return [row for row in rows if not is_part(row[0], part)]


def response_parts(
    status: int, headers: Mapping[str, str], body: str, names: Iterable[str]
) -> Iterable[Row]:
    """Return what is compared of a response."""
    yield "status", status
    for name in names:
        value: object = headers.get(name)
        if name in ("x-ratelimit-reset", "retry-after", "set-cookie"):
            value = name in headers
        yield f"header {name}", value
    try:
        yield from flatten(json.loads(body))
    except ValueError:
        yield "page", body


def test_recorded_level_283(bot_server: FakeZulip) -> None:
    exchanges = load_level(283)
    assert len(exchanges) == 48
    names = sorted({name for exchange in exchanges for name in exchange.headers})
    used = set()
    for recorded in exchanges:
        exchange = prepare(bot_server, recorded)
        status, headers, body = send(bot_server, exchange)
        if recorded.body.endswith("…"):  # the recording is cut off
            beginning = recorded.body.removesuffix("…")
            assert body.startswith(beginning)
            body = recorded.body
        actual = list(response_parts(status, headers, body, names))
        expected = list(response_parts(recorded.status, recorded.headers, recorded.body, names))
        for prefix, part in DIFFERENCES:
            if recorded.name.startswith(prefix):
                if parts(actual, part) != parts(expected, part):
                    used.add((prefix, part))
                actual, expected = others(actual, part), others(expected, part)
        assert actual == expected, recorded.name
        check_times(headers, body)
        use_recorded_key(bot_server, recorded, body)
    assert used == DIFFERENCES.keys()


def check_times(headers: dict[str, str], body: str) -> None:
    if "x-ratelimit-limit" in headers:
        window = WINDOWS[headers["x-ratelimit-limit"]]
        assert window - 10 < int(headers["x-ratelimit-reset"]) - time.time() <= window
    if "retry-after" in headers:
        assert float(headers["retry-after"]) == json.loads(body)["retry-after"]
