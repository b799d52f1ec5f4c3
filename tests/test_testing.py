"""The stand-in server, compared with the recordings of a real one."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from recordings import Exchange, recorded

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
from zulip_auth.testing import FakeZulip

PASSWORD = "correct horse & battery=+%é"
ADMINS = ["desdemona", "iago"]
USERS = ["AARON", "ZOE", "cordelia", "hamlet", "othello", "polonius", "prospero", "shiva"]


@pytest.fixture
def server() -> Iterator[FakeZulip]:
    users = {f"{name}@zulip.com": PASSWORD for name in ADMINS + USERS}
    with FakeZulip(users) as server:
        for name in ADMINS:
            server.account(f"{name}@zulip.com").admin = True
        # The recorded server answered at this name.
        realm = server.add_realm("localhost")
        realm._accounts.update(server.realm._accounts)
        server._state.realms.pop("127.0.0.1")
        yield server


def ask(server: FakeZulip, exchange: Exchange) -> tuple[int, dict[str, str], str]:
    """Send a recorded request as it was, and return status, headers and body."""
    assert server._state.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server._state.port)
    headers = {"Host": exchange.host, "Connection": "close"}
    body = exchange.raw
    if exchange.form is not None:
        body = urlencode(exchange.form)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(exchange.method, exchange.path, body, headers)
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
    server._state.count_attempt("hamlet@zulip.com")


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
    exchanges = recorded("fetch:", "dev:")
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
    [success] = [each for each in recorded("fetch:") if each.name == "fetch: success"]
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
            with pytest.raises(RuntimeError, match="running already"):
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
    running = server._running
    assert running is not None
    leaving = asyncio.create_task(server.__aexit__(None, None, None))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    running.wait()
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


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    script = f"import sys; sys.modules['{missing}'] = None; import zulip_auth.testing"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pip install 'zulip-auth[testing]'" in done.stderr


def test_another_missing_module_is_not_mistaken_for_the_extra() -> None:
    script = "import sys; sys.modules['click'] = None; import zulip_auth.testing"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "click" in done.stderr.splitlines()[-1]
    assert "zulip-auth[testing]" not in done.stderr
