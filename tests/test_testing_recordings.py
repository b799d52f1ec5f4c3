"""The stand-in server's responses, compared with recorded ones."""

from __future__ import annotations

import http.client
import json
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping
from itertools import count
from urllib.parse import urlencode

import jwt
from attrs import evolve
from httpx import Request

from helpers.constants import API_KEY, PASSWORD, USERNAME
from helpers.recordings import Exchange, load_level, load_recordings
from zulip_auth.testing import Account, ExternalMethod, FakeZulip

JWT_KEY = "a key of thirty-two bytes or more"
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
    ("settings: root", "require_email_format_usernames"): "The recorded server has LDAP.",
    ("settings:", "external_authentication_methods"): "The recorded servers have others.",
    ("settings:", "realm_web_public_access_enabled"): "FakeZulip has no public access.",
    ("settings:", "push_notifications_enabled"): "FakeZulip sends no notifications.",
}
# Keys, ids, times and login methods. Ids that a request or an email contains are set to the
# recorded ones.
VARYING = {"api_key", "date_joined", "max_message_id", "retry-after"}
VARYING_PREFIXES = ("authentication_methods.", "realm_icon", "realm_description")
Row = tuple[str, object]
WINDOWS = {"5": 1800, "200": 60}


def add_accounts_of_level_325(server: FakeZulip) -> None:
    realm = server.add_realm("localhost")
    server.add_realm("analytics.zulipdev.com")
    server._state.root_landing_page = True
    realm.hide_emails = True
    users = ("AARON", "ZOE", "cordelia", "othello", "polonius", "prospero", "shiva")
    for number, name in ((15, "hamlet"), (16, "iago"), (17, "desdemona")):
        server._state.user_ids = count(number)
        realm.add_user(f"{name}@zulip.com", PASSWORD, full_name=name.title())
    for name in users:
        realm.add_user(f"{name}@zulip.com", PASSWORD)
    for name in ("desdemona", "iago"):
        realm.account(f"{name}@zulip.com").role = 200


def add_accounts_of_level_283(server: FakeZulip) -> None:
    analytics = server.add_realm("analytics.zulipdev.com")
    realm = server.add_realm("localhost")
    realm.hide_emails, realm.jwt_key = True, JWT_KEY
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


def rename(server: FakeZulip, account: Account, email: str) -> None:
    accounts = server._state.realms["localhost"]._accounts
    del accounts[account.email.lower()]
    account.email = email
    accounts[email] = account


def with_token(exchange: Exchange, claim: str, key: str) -> Exchange:
    token = jwt.encode({claim: "hamlet@zulip.com"}, key, "HS256")
    return evolve(exchange, form={**(exchange.form or {}), "token": token})


def prepare(server: FakeZulip, exchange: Exchange) -> Exchange:
    """Make the changes that the recorded server saw before an exchange."""
    state = server._state
    realm = state.realms["localhost"]
    realm.password_login = "password auth disabled" not in exchange.name
    match exchange.name:
        case "fetch: empty password":
            state.attempts.record("hamlet@zulip.com", time.time())
        case "fetch: user deactivated":
            realm.account("othello@zulip.com").active = False
        case "fetch: realm deactivated":
            realm.active = False
        case "fetch: password auth disabled":
            realm.active = True
        case "dev: dev auth disabled in realm":
            realm.dev_login = False
        case "me: bad key" | "me: malformed key":
            key = "x" * (32 if exchange.name == "me: bad key" else 1)
            exchange = evolve(exchange, basic_auth=exchange.basic_auth or (USERNAME, key))
        case "me: success" | "regenerate: success" | "me: key revoked by regenerate":
            exchange = evolve(exchange, basic_auth=exchange.basic_auth or (USERNAME, API_KEY))
        case "sso: remote user, mobile flow" | "sso: malformed otp":
            # The recorded server did not show a list of accounts.
            realm.external_methods = [ExternalMethod("remoteuser", "SSO")]
            query = {**exchange.query, "email": "hamlet@zulip.com"}
            path = realm.external_methods[0].login_path
            exchange = evolve(exchange, path=path, query=query)
            [login] = load_recordings("jwt: success")
            realm.account("hamlet@zulip.com").api_key = login.json()["api_key"]
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
            realm.jwt_key = JWT_KEY
            exchange = with_token(exchange, "email", JWT_KEY)
        case "jwt: wrong key":
            exchange = with_token(exchange, "email", JWT_KEY[::-1])
        case "jwt: no email claim":
            exchange = with_token(exchange, "sub", JWT_KEY)
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


def flatten(value: object, path: str = "") -> Iterable[Row]:
    """Return the values in a JSON document with their paths."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from flatten(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from flatten(item, f"{path}[{number}]")
    else:
        varies = path.rpartition(".")[2] in VARYING or path.startswith(VARYING_PREFIXES)
        yield path, type(value) if varies else value


def is_part(path: str, part: str) -> bool:
    return part == path or part in re.split(r"[.\[]", path)


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


def test_recorded_responses() -> None:
    used = set()
    for level, add_accounts in ((283, add_accounts_of_level_283), (325, add_accounts_of_level_325)):
        with FakeZulip() as server:
            server._state.realms.clear()
            add_accounts(server)
            used |= check_level(level, server)
    assert used == DIFFERENCES.keys()


def check_level(level: int, server: FakeZulip) -> set[tuple[str, str]]:
    """Replay a level, and return the differences that were found."""
    exchanges, used = load_level(level), set[tuple[str, str]]()
    assert len(exchanges) >= 48
    names = sorted({name for exchange in exchanges for name in exchange.headers})
    for recorded in exchanges:
        exchange = prepare(server, recorded)
        status, headers, body = send(server, exchange)
        if recorded.body.endswith("…"):  # the recording is cut off
            beginning = recorded.body.removesuffix("…")
            assert body.startswith(beginning)
            body = recorded.body
        actual = dict(response_parts(status, headers, body, names))
        expected = dict(response_parts(recorded.status, recorded.headers, recorded.body, names))
        for path in {path for path, _ in actual.items() ^ expected.items()}:
            reasons = {
                (prefix, part)
                for prefix, part in DIFFERENCES
                if recorded.name.startswith(prefix) and is_part(path, part)
            }
            assert reasons, (level, recorded.name, path, actual.get(path), expected.get(path))
            used |= reasons
        check_times(headers, body)
        use_recorded_key(server, exchange, body)
    return used


def check_times(headers: dict[str, str], body: str) -> None:
    if "x-ratelimit-limit" in headers:
        window = WINDOWS[headers["x-ratelimit-limit"]]
        assert window - 10 < int(headers["x-ratelimit-reset"]) - time.time() <= window
    if "retry-after" in headers:
        assert float(headers["retry-after"]) == json.loads(body)["retry-after"]
