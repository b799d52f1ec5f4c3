"""Endpoints of the stand-in server that log in."""

from __future__ import annotations

import httpx
import jwt
import pytest

from zulip_auth import (
    AuthenticationFailedError,
    Credentials,
    DevAuthDisabledError,
    InvalidSubdomainError,
    PasswordResetRequiredError,
    RealmDeactivatedError,
    dev_login,
    login,
)
from zulip_auth.testing import FakeZulip


async def test_jwt_login_of_rejected_account() -> None:
    key = "a key of thirty-two bytes or more"
    async with FakeZulip({"othello@zulip.com": "x"}) as server:
        server.realm.jwt_key = key
        server.account("othello@zulip.com").active = False
        for email, status, code in (
            ("nobody@zulip.com", 401, "AUTHENTICATION_FAILED"),
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
