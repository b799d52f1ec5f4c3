"""The stand-in server, compared with the recordings of a real one."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import jwt
import pytest
from attrs import evolve

from helpers.recordings import Exchange, load_recordings
from zulip_auth import (
    AuthClient,
    AuthenticationFailedError,
    Credentials,
    DevAuthDisabledError,
    InvalidSubdomainError,
    PasswordResetRequiredError,
    RateLimitedError,
    RealmDeactivatedError,
    dev_login,
    login,
)
from zulip_auth.testing import ExternalMethod, FakeZulip

PASSWORD = "correct horse & battery=+%é"
ADMINS = ["desdemona", "iago"]
USERS = ["AARON", "ZOE", "cordelia", "hamlet", "othello", "polonius", "prospero", "shiva"]


@pytest.fixture
def server() -> Iterator[FakeZulip]:
    users = {f"{name}@zulip.com": PASSWORD for name in ADMINS + USERS}
    with FakeZulip(users) as server:
        for name in ADMINS:
            server.account(f"{name}@zulip.com").role = 200
        # The recorded server answered at this name.
        realm = server.add_realm("localhost")
        realm._accounts.update(server.realm._accounts)
        server._state.realms.pop("127.0.0.1")
        yield server


def ask(
    server: FakeZulip, exchange: Exchange, auth: tuple[str, str] | None = None
) -> tuple[int, dict[str, str], str]:
    """Send a recorded request as it was, and return status, headers and body."""
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
    answer = connection.getresponse()
    found = (
        answer.status,
        {k.lower(): v for k, v in answer.getheaders()},
        answer.read().decode(),
    )
    connection.close()
    return found


# What had happened on the recorded server between two exchanges.
def one_attempt_more(server: FakeZulip) -> None:
    server._state.record_attempt("hamlet@zulip.com")


def deactivate_othello(server: FakeZulip) -> None:
    server._state.realms["localhost"].account("othello@zulip.com").active = False


def deactivate_the_realm(server: FakeZulip) -> None:
    server._state.realms["localhost"].active = False


def reactivate_it_without_passwords(server: FakeZulip) -> None:
    realm = server._state.realms["localhost"]
    realm.active, realm.password_login = True, False


def forbid_development_logins(server: FakeZulip) -> None:
    server._state.realms["localhost"].dev_login = False


MEANWHILE: dict[str, Callable[[FakeZulip], None]] = {
    "fetch: empty password": one_attempt_more,
    "fetch: user deactivated": deactivate_othello,
    "fetch: realm deactivated": deactivate_the_realm,
    "fetch: password auth disabled": reactivate_it_without_passwords,
    "dev: dev auth disabled in realm": forbid_development_logins,
}


def without_what_differs(body: str) -> object:
    """Return an answer without its keys, ids, times and addresses."""
    try:
        said = json.loads(body)
    except ValueError:
        return body
    for name in ("api_key", "user_id", "retry-after"):
        if name in said:
            said[name] = type(said[name])
    for user in said.get("direct_admins", []) + said.get("direct_users", []):
        user["realm_url"] = urlsplit(user["realm_url"]).hostname
    return said


def test_every_recorded_exchange_is_answered_as_by_the_real_server(server: FakeZulip) -> None:
    exchanges = load_recordings("fetch:", "dev:")
    assert len(exchanges) == 30
    for exchange in exchanges:
        if exchange.name in MEANWHILE:
            MEANWHILE[exchange.name](server)
        status, headers, body = ask(server, exchange)
        assert status == exchange.status, exchange.name
        assert without_what_differs(body) == without_what_differs(exchange.body), exchange.name
        for name in ("content-type", "allow", "x-ratelimit-limit", "x-ratelimit-remaining"):
            assert headers.get(name) == exchange.headers.get(name), exchange.name
        for name in ("x-ratelimit-reset", "retry-after", "set-cookie"):
            assert (name in headers) == (name in exchange.headers), exchange.name
        if "x-ratelimit-reset" in headers:
            assert 1795 < int(headers["x-ratelimit-reset"]) - time.time() <= 1800
        if "retry-after" in headers:
            assert 1795 < float(headers["retry-after"]) <= 1800
            assert float(headers["retry-after"]) == json.loads(body)["retry-after"]


def shape(said: object) -> object:
    """Return which fields there are, in their order, and of which types."""
    if isinstance(said, dict):
        return [(name, shape(value)) for name, value in said.items()]
    return type(said)


NOT_A_SHAPE = ("profile_data", "external_authentication_methods")


def test_questions_about_server_and_key_are_answered_as_by_the_real_server(
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
        status, headers, body = ask(server, exchange, auth.get(exchange.name))
        said, expected = json.loads(body), exchange.json()
        assert status == exchange.status, exchange.name
        if status == 200:
            for name in NOT_A_SHAPE:
                assert type(said.pop(name, None)) is type(expected.pop(name, None)), exchange.name
            assert shape(said) == shape(expected), exchange.name
        else:
            assert said == expected, exchange.name
        for name in ("content-type", "www-authenticate"):
            assert headers.get(name) == exchange.headers.get(name), exchange.name


def test_json_web_tokens_are_answered_as_by_the_real_server(server: FakeZulip) -> None:
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
        status, _, body = ask(server, exchange)
        assert status == exchange.status, exchange.name
        assert without_what_differs(body) == without_what_differs(exchange.body), exchange.name
        server._state.realms["localhost"].jwt_key = key


def test_a_token_does_not_let_in_whom_a_password_would_not(server: FakeZulip) -> None:
    key = "a key of thirty-two bytes or more"
    server._state.realms["localhost"].jwt_key = key
    deactivate_othello(server)
    [exchange] = load_recordings("jwt: success")
    for claims, expected in {
        ("nobody@zulip.com",): (401, "AUTHENTICATION_FAILED"),
        ("othello@zulip.com",): (401, "USER_DEACTIVATED"),
        (7,): (400, "BAD_REQUEST"),
    }.items():
        token = jwt.encode({"email": claims[0]}, key, "HS256")
        status, _, body = ask(server, evolve(exchange, form={"token": token}))
        assert (status, json.loads(body)["code"]) == expected


def test_single_sign_on_is_answered_as_by_the_real_server(server: FakeZulip) -> None:
    realm = server._state.realms["localhost"]
    realm.external_methods.append(ExternalMethod("remoteuser", "SSO"))
    hamlet = realm.account("hamlet@zulip.com")
    chosen, malformed = load_recordings("sso:")
    [same_key] = load_recordings("jwt: success")
    hamlet.api_key, hamlet.user_id = same_key.json()["api_key"], 15
    # The recorded server knew the user without asking.
    path = realm.external_methods[0].login_path
    query = {**chosen.query, "email": hamlet.email}
    status, headers, body = ask(server, evolve(chosen, path=path, query=query))
    assert (status, body) == (chosen.status, chosen.body) == (302, "")
    assert headers["content-type"] == chosen.headers["content-type"]
    port = f"%3A{server._state.port}"
    assert headers["location"].replace(port, "%3A9991") == chosen.headers["location"]
    status, headers, body = ask(server, evolve(malformed, path=path))
    assert (status, body) == (malformed.status, malformed.body)
    assert headers["content-type"] == malformed.headers["content-type"]


@pytest.fixture
def sso() -> Iterator[FakeZulip]:
    with FakeZulip({"iago+1&2@zulip.com": "x", "hamlet@zulip.com": "x"}) as server:
        server.realm.external_methods += [
            ExternalMethod("google", "Google"),
            ExternalMethod("saml:idp_name", "SAML"),
        ]
        yield server


async def test_a_browser_is_shown_the_active_users(sso: FakeZulip) -> None:
    sso.realm.name = "<Zulip>"
    sso.add_user("gone@zulip.com", "x").active = False
    for method in sso.realm.external_methods:
        address = f"{sso.site}{method.login_path}"
        async with httpx.AsyncClient() as browser:
            page = await browser.get(address, params={"mobile_flow_otp": "aB" * 32})
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert "<h1>Log in to &lt;Zulip&gt;</h1>" in page.text
            links = dict(re.findall(r'<a href="(.*?)">(.*?)</a>', page.text))
            assert list(links.values()) == ["hamlet@zulip.com", "iago+1&amp;2@zulip.com"]
            for link, email in links.items():
                chosen = await browser.get(f"{address}{unescape(link)}")
                assert chosen.status_code == 302
                parts = urlsplit(chosen.headers["location"])
                assert (parts.scheme, parts.netloc, parts.path) == ("zulip", "login", "")
                said = dict(parse_qsl(parts.query))
                account = sso.account(unescape(email))
                key = int(said.pop("otp_encrypted_api_key"), 16) ^ int("ab" * 32, 16)
                assert key.to_bytes(32).decode() == account.api_key
                number = str(account.user_id)
                assert said == {"email": account.email, "user_id": number, "realm": sso.site}


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("google", {"mobile_flow_otp": "ab" * 32}, 200),
        ("google", {"mobile_flow_otp": "ab" * 31}, 400),
        ("google", {"mobile_flow_otp": "ab" * 33}, 400),
        ("google", {"mobile_flow_otp": "g" * 64}, 400),
        ("google", {}, 400),
        ("google", {"mobile_flow_otp": "ab" * 32, "email": "nobody@zulip.com"}, 404),
        ("github", {"mobile_flow_otp": "ab" * 32}, 404),
        ("", {"mobile_flow_otp": "ab" * 32}, 404),
    ],
)
async def test_other_questions_to_the_page_are_refused(
    sso: FakeZulip, path: str, query: dict[str, str], status: int
) -> None:
    async with httpx.AsyncClient(base_url=sso.site) as browser:
        answer = await browser.get(f"/accounts/login/social/{path}", params=query)
        assert answer.status_code == status
        if status == 400:
            said = {"result": "error", "msg": "Invalid OTP", "code": "BAD_REQUEST"}
            assert answer.json() == said
        sso.realm.active = False
        assert (await browser.get(answer.url)).status_code == 404
        elsewhere = {"Host": "elsewhere.example.com"}
        assert (await browser.get(answer.url, headers=elsewhere)).status_code == 404


@pytest.mark.parametrize(
    ("header", "msg"),
    [
        ("Bearer abc", "This endpoint requires HTTP basic authentication."),
        ("Basic", "Invalid authorization header for basic auth"),
        ("Basic !", "Invalid authorization header for basic auth"),
        ("Basic YWJj", "Invalid authorization header for basic auth"),
        ("Basic //8=", "Invalid authorization header for basic auth"),
    ],
)
async def test_other_authentication_than_basic_is_refused(header: str, msg: str) -> None:
    async with FakeZulip() as server, httpx.AsyncClient(base_url=server.site) as http:
        answer = await http.get("/api/v1/users/me", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json() == {"result": "error", "msg": msg, "code": "UNAUTHORIZED"}


async def test_a_key_opens_its_own_account_in_its_own_organization_while_both_are_active() -> None:
    async with FakeZulip(users={"iago@zulip.com": "x", "hamlet@zulip.com": "x"}) as server:
        iago = server.account("iago@zulip.com")
        second = server.add_realm("localhost")

        async def me(site: str, email: str) -> str:
            async with httpx.AsyncClient(base_url=site, auth=(email, iago.api_key)) as http:
                said = (await http.get("/api/v1/users/me")).json()
                return str(said.get("delivery_email") or said["msg"])

        assert await me(server.site, "IAGO@zulip.com") == "iago@zulip.com"
        assert await me(server.site, "hamlet@zulip.com") == "Invalid API key"
        assert await me(second.site, iago.email) == "Account is not associated with this subdomain"
        iago.active = False
        assert await me(server.site, iago.email) == "Account is deactivated"
        server.realm.active = False
        assert await me(server.site, iago.email) == "This organization has been deactivated"


# ---- Events


class Bot:
    """What a client of the events API does."""

    def __init__(self, server: FakeZulip, email: str) -> None:
        auth = (email, server.account(email).api_key)
        self.http = httpx.AsyncClient(base_url=f"{server.site}/api/v1", auth=auth)

    async def __aenter__(self) -> Self:
        self.queue_id = (await self.post("/register", {}))["queue_id"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def post(self, path: str, data: dict[str, str]) -> dict[str, Any]:
        said: dict[str, Any] = (await self.http.post(path, data=data)).json()
        return said

    async def poll(self, last_event_id: int | str, **more: str) -> dict[str, Any]:
        params = {"queue_id": self.queue_id, "last_event_id": str(last_event_id), **more}
        said: dict[str, Any] = (await self.http.get("/events", params=params)).json()
        return said


USERS_OF_EVENTS = {"iago@zulip.com": "x", "hamlet@zulip.com": "x", "othello@zulip.com": "x"}


async def test_a_message_reaches_those_it_is_for() -> None:
    async with (
        FakeZulip(users=USERS_OF_EVENTS) as server,
        Bot(server, "iago@zulip.com") as iago,
        Bot(server, "hamlet@zulip.com") as hamlet,
        Bot(server, "othello@zulip.com") as othello,
    ):
        waiting = asyncio.create_task(hamlet.poll(-1))
        direct = {"type": "direct", "to": '["hamlet@zulip.com"]', "content": "hi"}
        sent = await iago.post("/messages", direct)
        assert sent == {"result": "success", "msg": "", "id": 1}
        [event] = (await waiting)["events"]
        assert (event["type"], event["id"]) == ("message", 0)
        assert event["message"]["content"] == "hi"
        assert event["message"]["sender_email"] == "iago@zulip.com"
        assert (await othello.poll(-1, dont_block="true"))["events"] == []
        channel = {"type": "channel", "to": "Verona", "topic": "t", "content": "all"}
        await othello.post("/messages", channel)
        [event] = (await hamlet.poll(0))["events"]
        assert (event["id"], event["message"]["subject"]) == (1, "t")
        assert [each["id"] for each in (await iago.poll(-1))["events"]] == [0, 1]
        by_number = {"type": "private", "to": "[11]", "content": "hi"}
        assert (await iago.post("/messages", by_number))["result"] == "success"
        unknown = {"type": "private", "to": "nobody@zulip.com", "content": "hi"}
        assert (await iago.post("/messages", unknown))["code"] == "BAD_REQUEST"


async def test_a_silent_poll_ends_with_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zulip_auth.testing.state.HEARTBEAT", 0.01)
    async with FakeZulip(users=USERS_OF_EVENTS) as server, Bot(server, "iago@zulip.com") as iago:
        assert (await iago.poll(-1))["events"] == [{"type": "heartbeat", "id": 0}]


async def test_a_queue_is_its_owners_until_it_is_deleted() -> None:
    async with (
        FakeZulip(users=USERS_OF_EVENTS) as server,
        Bot(server, "iago@zulip.com") as iago,
        Bot(server, "hamlet@zulip.com") as hamlet,
    ):
        hamlet.queue_id = iago.queue_id
        assert (await hamlet.poll(-1))["code"] == "BAD_EVENT_QUEUE_ID"
        assert (await iago.poll("x"))["code"] == "BAD_REQUEST"
        gone = await iago.http.delete("/events", params={"queue_id": iago.queue_id})
        assert gone.json() == {"result": "success", "msg": ""}
        assert (await iago.poll(-1))["msg"] == f"Bad event queue ID: {iago.queue_id}"


async def test_a_queue_that_is_deleted_answers_who_waits_for_it() -> None:
    async with FakeZulip(users=USERS_OF_EVENTS) as server, Bot(server, "iago@zulip.com") as iago:
        waiting = asyncio.create_task(iago.poll(-1))
        async with asyncio.timeout(10):
            while server.requests[-1].path != "/api/v1/events":  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert server.requests[-1].query["last_event_id"] == "-1"
        await iago.http.delete("/events", params={"queue_id": iago.queue_id})
        async with asyncio.timeout(10):
            assert (await waiting).get("events", []) == []


async def test_who_writes_to_himself_is_named_once() -> None:
    async with FakeZulip(users=USERS_OF_EVENTS) as server, Bot(server, "iago@zulip.com") as iago:
        note = {"type": "direct", "to": '["iago@zulip.com"]', "content": "remember"}
        await iago.post("/messages", note)
        [event] = (await iago.poll(-1))["events"]
        assert event["message"]["display_recipient"] == [{"id": 10, "email": "iago@zulip.com"}]


async def test_it_stops_at_once_under_a_client_that_polls() -> None:
    server = FakeZulip(users=USERS_OF_EVENTS)
    server.__enter__()
    async with Bot(server, "iago@zulip.com") as iago:
        waiting = asyncio.create_task(iago.poll(-1))
        while server.requests[-1].path != "/api/v1/events":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        start = time.monotonic()
        await server.__aexit__(None, None, None)
        assert time.monotonic() - start < 0.9
        assert (await waiting).get("events", []) == []


async def test_five_attempts_in_half_an_hour_then_even_the_right_password_is_refused() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        for left in (4, 3, 2, 1, 0):
            with pytest.raises(AuthenticationFailedError) as refused:
                await login(server.site, "iago@zulip.com", "a guess")
            assert refused.value.attempts_remaining == left
            server.advance(60)
        with pytest.raises(RateLimitedError) as blocked:
            await login(server.site, "iago@zulip.com", "secret")
        assert blocked.value.retry_after == pytest.approx(1500, abs=5)
        server.advance(1000)
        with pytest.raises(RateLimitedError) as blocked:
            await login(server.site, "iago@zulip.com", "secret")
        # A blocked attempt does not make the block longer.
        assert blocked.value.retry_after == pytest.approx(500, abs=5)
        server.advance(501)
        await login(server.site, "iago@zulip.com", "secret")


async def test_a_success_clears_the_count() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        for _ in range(3):
            for _ in range(4):
                with pytest.raises(AuthenticationFailedError):
                    await login(server.site, "iago@zulip.com", "a guess")
            await login(server.site, "iago@zulip.com", "secret")


async def test_attempts_are_counted_for_each_username_as_it_was_typed() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        for username in ("iago@zulip.com", "IAGO@zulip.com", "hamlet@zulip.com"):
            with pytest.raises(AuthenticationFailedError) as refused:
                await login(server.site, username, "a guess")
            assert refused.value.attempts_remaining == 4


async def test_a_password_may_have_to_be_reset() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        server.account("iago@zulip.com").password_reset_required = True
        with pytest.raises(PasswordResetRequiredError) as refused:
            await login(server.site, "iago@zulip.com", "secret")
        assert refused.value.message == "Your password has been disabled and needs to be reset"
        with pytest.raises(AuthenticationFailedError) as wrong:
            await login(server.site, "iago@zulip.com", "a guess")
        assert wrong.value.code == "AUTHENTICATION_FAILED"


async def test_a_changed_password_and_key_count_at_once() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        account = server.account("IAGO@zulip.com")
        account.password, account.api_key = "new secret", "newkey"
        credentials = await login(server.site, "iago@zulip.com", "new secret")
        assert credentials == Credentials(server.site, "iago@zulip.com", "newkey", 10)


async def test_organizations_answer_each_at_its_host() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        second = server.add_realm("localhost")
        second.add_user("hamlet@zulip.com", "secret")
        assert (await login(second.site, "hamlet@zulip.com", "secret")).user_id == 11
        with pytest.raises(InvalidSubdomainError):  # the account is in the other one
            await login(server.site, "hamlet@zulip.com", "secret")
        second.active = False
        with pytest.raises(RealmDeactivatedError):
            await dev_login(second.site, "hamlet@zulip.com")
        await dev_login(server.site, "iago@zulip.com")


async def test_usernames_may_be_something_else_than_addresses() -> None:
    async with FakeZulip(users={"iago": "secret"}) as server:
        server.realm.email_usernames = False
        assert (await login(server.site, "iago", "secret")).email == "iago"


async def test_development_logins_may_be_off_or_missing() -> None:
    async with FakeZulip(users={"iago@zulip.com": "x"}, dev_login="production") as server:
        with pytest.raises(DevAuthDisabledError) as missing:
            await dev_login(server.site, "iago@zulip.com")
        assert missing.value.status_code == 404
        server.dev_login = "off"
        with pytest.raises(DevAuthDisabledError) as off:
            await dev_login(server.site, "iago@zulip.com")
        assert (off.value.status_code, off.value.code) == (400, "BAD_REQUEST")
        assert server.dev_login == "off"
        server.dev_login = "on"
        await dev_login(server.site, "iago@zulip.com")


def test_the_query_string_is_read_as_the_real_server_does(server: FakeZulip) -> None:
    [success] = [each for each in load_recordings("fetch:") if each.name == "fetch: success"]
    assert server._state.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server._state.port)
    connection.request(
        "POST",
        "/api/v1/fetch_api_key?" + urlencode(success.form or {}),
        headers={"Host": success.host, "Connection": "close"},
    )
    assert connection.getresponse().status == 200
    connection.close()


async def test_requests_are_remembered_without_showing_secrets() -> None:
    async with FakeZulip(users={"iago@zulip.com": "s3cret"}) as server:
        await login(server.site, "iago@zulip.com", "s3cret")
        [request] = server.requests
        assert (request.method, request.path) == ("POST", "/api/v1/fetch_api_key")
        assert request.form == {"username": "iago@zulip.com", "password": "s3cret"}
        assert request.headers["host"] == request.host == urlsplit(server.site).netloc
        for shown in (request, server, server.realm, server.account("iago@zulip.com")):
            assert "s3cret" not in repr(shown)
            assert server.account("iago@zulip.com").api_key not in repr(shown)


def test_it_runs_more_than_once_but_not_twice_at_a_time() -> None:
    server = FakeZulip(users={"iago@zulip.com": "secret"})
    assert repr(server) == "<FakeZulip not running>"
    for _ in range(2):
        with server:
            assert repr(server) == f"<FakeZulip {server.site}>"
            asyncio.run(login(server.site, "iago@zulip.com", "secret"))
            with pytest.raises(RuntimeError, match="already running"):
                server.__enter__()
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.site
    server.__exit__(None, None, None)


async def test_it_stops_under_a_client_that_keeps_its_connection() -> None:
    server = FakeZulip(users={"iago@zulip.com": "secret"})
    server.__enter__()
    async with AuthClient(server.site) as client:
        await client.login("iago@zulip.com", "secret")
        start = time.monotonic()
        await server.__aexit__(None, None, None)
        assert time.monotonic() - start < 1


async def test_it_stops_even_if_the_wait_for_it_is_cancelled() -> None:
    server = FakeZulip()
    server.__enter__()
    running = server._thread
    assert running is not None
    leaving = asyncio.create_task(server.__aexit__(None, None, None))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    running.join()
    assert running._socket.fileno() == -1
    await server.__aexit__(None, None, None)  # once more does no harm


async def test_the_application_works_without_a_socket() -> None:
    server = FakeZulip(users={"iago@zulip.com": "secret"})
    transport = httpx.ASGITransport(server.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9991") as client:
        said = (await client.get("/api/v1/dev_list_users")).json()
    assert said["direct_users"] == [
        {"email": "iago@zulip.com", "realm_url": "http://127.0.0.1:9991"}
    ]


@pytest.mark.parametrize("missing", ["jwt", "starlette", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    script = f"import sys; sys.modules['{missing}'] = None; import zulip_auth.testing"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pip install 'zulip-auth[testing]'" in done.stderr


def test_another_missing_module_is_not_mistaken_for_the_extra() -> None:
    script = "import sys; sys.modules['click'] = None; import zulip_auth.testing"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "click" in done.stderr.splitlines()[-1]
    assert "zulip-auth[testing]" not in done.stderr
