"""Endpoints of the stand-in server that log in, and the rate limit of attempts."""

from __future__ import annotations

import re
from html import unescape

import httpx
import jwt
import pytest

from helpers.caller import EMPTY_CONTEXT
from zulip_auth import (
    AuthClient,
    AuthenticationFailedError,
    DevAuthDisabledError,
    RateLimitedError,
    SubdomainRequiredError,
    dev_login,
    login,
)
from zulip_auth.testing import ExternalMethod, FakeZulip

IAGO = "iago@zulip.com"
JWT_KEY = "a key of thirty-two bytes or more"


def request(method: str, server: FakeZulip, path: str, host: str = "127.0.0.1") -> httpx.Response:
    return httpx.request(method, f"{server.site.replace('127.0.0.1', host)}/api/v1{path}")


async def test_dev_login_off_or_missing() -> None:
    async with FakeZulip(users={IAGO: "x"}, dev_login="production") as server:
        for path in ("/dev_fetch_api_key", "/dev_list_users"):
            response = request("POST", server, path)
            assert response.status_code == 404
            assert response.headers["content-type"].startswith("text/html")
        server.dev_login = "off"
        with pytest.raises(DevAuthDisabledError) as off:
            await dev_login(server.site, IAGO)
        assert (off.value.status_code, off.value.code) == (400, "BAD_REQUEST")
        assert server.dev_login == "off"
        server.dev_login = "on"
        bot = server.add_bot(IAGO, "Echo")
        assert (await dev_login(server.site, bot.email)).api_key == bot.api_key
        body = request("POST", server, "/dev_list_users").json()
        assert [user["email"] for user in body["direct_users"]] == [IAGO]


def test_rejected_jwt(server: FakeZulip) -> None:
    """tests/test_testing_recordings.py has the accepted ones."""
    server.realm.jwt_key = JWT_KEY
    server.add_user("othello@zulip.com", "x").active = False
    for email, code in (
        ("unknown@zulip.com", "AUTHENTICATION_FAILED"),
        ("othello@zulip.com", "USER_DEACTIVATED"),
        (7, "BAD_REQUEST"),
    ):
        form = {"token": jwt.encode({"email": email}, JWT_KEY, "HS256")}
        response = httpx.post(f"{server.site}/api/v1/jwt/fetch_api_key", data=form)
        assert response.json()["code"] == code


async def test_settings() -> None:
    """Of an organization, and of the root without and with a landing page."""
    async with FakeZulip() as server:
        server.realm.external_methods.append(ExternalMethod("google", "Google"))
        body = request("GET", server, "/server_settings").json()
        assert body["authentication_methods"]["google"]
        assert body["external_authentication_methods"] == [
            {
                "name": "google",
                "display_name": "Google",
                "display_icon": None,
                "login_url": "/accounts/login/social/google",
                "signup_url": "/accounts/register/social/google",
            }
        ]
        server.add_realm("acme.localhost")
        root = server.site.replace("127.0.0.1", "localhost")
        body = request("GET", server, "/server_settings", host="localhost").json()
        assert "realm_name" not in body
        assert body["realm_url"] == body["realm_uri"] == root
        with pytest.raises(SubdomainRequiredError):
            await AuthClient(root).server_settings()
        server._state.root_landing_page = True
        with pytest.raises(SubdomainRequiredError) as caught:
            await AuthClient(root).server_settings()
        assert caught.value.message == "Subdomain required"


# ---- Attempts


async def test_sixth_attempt_is_blocked(server: FakeZulip) -> None:
    server.account(IAGO).password = "secret"
    for _ in range(2):
        for remaining in (4, 3, 2, 1):
            with pytest.raises(AuthenticationFailedError) as caught:
                await login(server.site, IAGO, "a guess")
            assert caught.value.attempts_remaining == remaining
        await login(server.site, IAGO, "secret")  # resets the attempts
    for username in (IAGO, "IAGO@zulip.com", "hamlet@zulip.com"):  # each spelling has its own
        with pytest.raises(AuthenticationFailedError) as caught:
            await login(server.site, username, "a guess")
        assert caught.value.attempts_remaining == 4
    for _ in range(4):
        server.advance(60)
        with pytest.raises(AuthenticationFailedError):
            await login(server.site, IAGO, "a guess")
    # A blocked attempt does not extend the block.
    for wait, left in ((0, 1560), (1000, 560)):
        server.advance(wait)
        with pytest.raises(RateLimitedError) as blocked:
            await login(server.site, IAGO, "secret")
        assert blocked.value.retry_after == pytest.approx(left, abs=5)
    server.advance(561)
    await login(server.site, IAGO, "secret")


def test_invalid_email_costs_no_attempt(server: FakeZulip) -> None:
    usernames = {
        "iago+x@zulip.com": True,
        "iago@localhost": True,
        "iago@zülip.example": True,
        "iago@a-b.c1.org": True,
        "iago@zulip": False,
        "i ago@zulip.com": False,
        "iago@-zulip.com": False,
        "iago@zulip.com\n": False,
        f"{'x' * 311}@zulip.com": False,
    }
    for username, valid in usernames.items():
        form = {"username": username, "password": "x"}
        url = f"{server.site}/api/v1/fetch_api_key"
        response = httpx.post(url, data=form, verify=EMPTY_CONTEXT)
        assert response.status_code == (401 if valid else 400), username
        assert ("x-ratelimit-remaining" in response.headers) is valid


# ---- Browser


def test_page_lists_active_accounts() -> None:
    with FakeZulip({"iago+1&2@zulip.com": "x", "hamlet@zulip.com": "x"}) as sso:
        sso.realm.name = "<Zulip>"
        sso.add_user("gone@zulip.com", "x").active = False
        method = ExternalMethod("saml:idp_name", "SAML")
        sso.realm.external_methods.append(method)
        url = f"{sso.site}{method.login_path}"
        page = httpx.get(url, params={"mobile_flow_otp": "aB" * 32})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "<h1>Log in to &lt;Zulip&gt;</h1>" in page.text
        links = dict(re.findall(r'<a href="(.*?)">(.*?)</a>', page.text))
        assert list(links.values()) == ["hamlet@zulip.com", "iago+1&amp;2@zulip.com"]
        for link, email in links.items():
            chosen = httpx.get(f"{url}{unescape(link)}")
            params = httpx.URL(chosen.headers["location"]).params
            assert (chosen.status_code, params["email"]) == (302, unescape(email))


def test_page_with_invalid_parameters(server: FakeZulip) -> None:
    server.realm.external_methods.append(ExternalMethod("google", "Google"))
    http = httpx.Client(verify=EMPTY_CONTEXT)
    for path, query, status in (
        ("google", {"mobile_flow_otp": "ab" * 32}, 200),
        ("google", {"mobile_flow_otp": "g" * 64}, 400),
        ("google", {}, 400),
        ("google", {"mobile_flow_otp": "ab" * 32, "email": "unknown@zulip.com"}, 404),
        ("github", {"mobile_flow_otp": "ab" * 32}, 404),
    ):
        url = f"{server.site}/accounts/login/social/{path}"
        server.realm.active = True
        response = http.get(url, params=query)
        assert response.status_code == status
        elsewhere = {"Host": "elsewhere.example.com"}
        assert http.get(url, params=query, headers=elsewhere).status_code == 404
        server.realm.active = False
        assert http.get(url, params=query).status_code == 404
    http.close()
