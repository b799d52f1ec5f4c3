"""Endpoints of the stand-in server that log in."""

from __future__ import annotations

import httpx
import jwt
import pytest

from zulip_auth import (
    AuthClient,
    AuthenticationFailedError,
    Credentials,
    DevAuthDisabledError,
    InvalidSubdomainError,
    PasswordResetRequiredError,
    RealmDeactivatedError,
    SubdomainRequiredError,
    dev_login,
    login,
)
from zulip_auth.testing import ExternalMethod, FakeZulip


async def test_jwt_login_of_rejected_account() -> None:
    key = "a key of thirty-two bytes or more"
    async with FakeZulip({"othello@zulip.com": "x"}) as server:
        server.realm.jwt_key = key
        server.account("othello@zulip.com").active = False
        for email, status, code in (
            ("unknown@zulip.com", 401, "AUTHENTICATION_FAILED"),
            ("othello@zulip.com", 401, "USER_DEACTIVATED"),
            (7, 400, "BAD_REQUEST"),
        ):
            token = jwt.encode({"email": email}, key, "HS256")
            async with httpx.AsyncClient(base_url=server.site) as http:
                response = await http.post("/api/v1/jwt/fetch_api_key", data={"token": token})
            assert (response.status_code, response.json()["code"]) == (status, code)


async def test_parameters_in_query_string() -> None:
    async with FakeZulip({"iago@zulip.com": "x"}) as server:
        async with httpx.AsyncClient(base_url=server.site) as http:
            params = {"username": "iago@zulip.com", "password": "x"}
            response = await http.post("/api/v1/fetch_api_key", params=params)
        assert response.status_code == 200
        assert response.json()["api_key"] == server.account("iago@zulip.com").api_key


async def test_password_reset_required() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        server.account("iago@zulip.com").password_reset_required = True
        with pytest.raises(PasswordResetRequiredError) as caught:
            await login(server.site, "iago@zulip.com", "secret")
        assert caught.value.message == "Your password has been disabled and needs to be reset"
        with pytest.raises(AuthenticationFailedError) as wrong:
            await login(server.site, "iago@zulip.com", "a guess")
        assert wrong.value.code == "AUTHENTICATION_FAILED"


async def test_changed_password_and_api_key() -> None:
    async with FakeZulip(users={"iago@zulip.com": "secret"}) as server:
        account = server.account("IAGO@zulip.com")
        account.password, account.api_key = "new secret", "newkey"
        credentials = await login(server.site, "iago@zulip.com", "new secret")
        assert credentials == Credentials(server.site, "iago@zulip.com", "newkey", 10)


async def test_second_realm() -> None:
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


async def test_username_that_is_not_an_email() -> None:
    async with FakeZulip(users={"iago": "secret"}) as server:
        server.realm.email_usernames = False
        assert (await login(server.site, "iago", "secret")).email == "iago"


async def test_dev_login_off_or_missing() -> None:
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


async def test_jwt_login_with_profile() -> None:
    key = "a key of thirty-two bytes or more"
    async with FakeZulip({"othello@zulip.com": "x"}) as server:
        server.realm.jwt_key = key
        form = {"token": jwt.encode({"email": "othello@zulip.com"}, key, "HS256")}
        async with httpx.AsyncClient(base_url=server.site) as http:
            body = (await http.post("/api/v1/jwt/fetch_api_key", data=form)).json()
            assert "user" not in body
            form["include_profile"] = "true"
            body = (await http.post("/api/v1/jwt/fetch_api_key", data=form)).json()
        assert (body["user"]["user_id"], body["user"]["email"]) == (10, "othello@zulip.com")


async def test_bots_are_not_listed_as_users() -> None:
    async with FakeZulip({"iago@zulip.com": "x"}) as server:
        bot = server.add_bot("iago@zulip.com", "Echo")
        async with httpx.AsyncClient(base_url=server.site) as http:
            body = (await http.post("/api/v1/dev_list_users")).json()
        assert [user["email"] for user in body["direct_users"]] == ["iago@zulip.com"]
        assert (await dev_login(server.site, bot.email)).api_key == bot.api_key


async def test_root_settings() -> None:
    async with FakeZulip() as server:
        server.add_realm("acme.localhost")
        root = server.site.replace("127.0.0.1", "localhost")
        async with httpx.AsyncClient(base_url=root) as http:
            body = (await http.get("/api/v1/server_settings")).json()
            assert "realm_name" not in body
            assert body["realm_url"] == body["realm_uri"] == root
        with pytest.raises(SubdomainRequiredError):
            await AuthClient(root).server_settings()


async def test_root_with_landing_page() -> None:
    async with FakeZulip() as server:
        server.add_realm("acme.localhost")
        server._state.root_landing_page = True
        with pytest.raises(SubdomainRequiredError) as caught:
            await AuthClient(server.site.replace("127.0.0.1", "localhost")).server_settings()
        assert caught.value.message == "Subdomain required"


async def test_external_methods_in_settings() -> None:
    async with FakeZulip() as server:
        server.realm.external_methods.append(ExternalMethod("google", "Google"))
        async with httpx.AsyncClient(base_url=server.site) as http:
            body = (await http.get("/api/v1/server_settings")).json()
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


@pytest.mark.parametrize(
    ("username", "valid"),
    [
        ("iago+x@zulip.com", True),
        ("iago@localhost", True),
        ("iago@zülip.example", True),
        ("iago@a-b.c1.org", True),
        ("iago", False),
        ("iago@zulip", False),
        ("i ago@zulip.com", False),
        ("iágo@zulip.com", False),
        (".iago@zulip.com", False),
        ("iago@-zulip.com", False),
        ("iago@zu_lip.com", False),
        ("iago@zulip.c-", False),
        ("iago@zulip.com\n", False),
        (f"{'x' * 311}@zulip.com", False),
    ],
)
async def test_invalid_email_costs_no_attempt(username: str, valid: bool) -> None:
    async with FakeZulip() as server, httpx.AsyncClient(base_url=server.site) as http:
        login = {"username": username, "password": "x"}
        response = await http.post("/api/v1/fetch_api_key", data=login)
        assert response.status_code == (401 if valid else 400)
        assert ("x-ratelimit-remaining" in response.headers) is valid
