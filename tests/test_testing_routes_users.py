"""Endpoints of the stand-in server that require an API key."""

from __future__ import annotations

import httpx
import pytest

from zulip_auth.testing import FakeZulip


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
async def test_authorization_other_than_basic(header: str, msg: str) -> None:
    async with FakeZulip() as server, httpx.AsyncClient(base_url=server.site) as http:
        response = await http.get("/api/v1/users/me", headers={"Authorization": header})
    assert response.status_code == 401
    assert response.json() == {"result": "error", "msg": msg, "code": "UNAUTHORIZED"}


async def test_api_key_of_other_or_inactive_account() -> None:
    async with FakeZulip(users={"iago@zulip.com": "x", "hamlet@zulip.com": "x"}) as server:
        iago = server.account("iago@zulip.com")
        second = server.add_realm("localhost")

        async def me(site: str, email: str) -> str:
            async with httpx.AsyncClient(base_url=site, auth=(email, iago.api_key)) as http:
                body = (await http.get("/api/v1/users/me")).json()
                return str(body.get("delivery_email") or body["msg"])

        assert await me(server.site, "IAGO@zulip.com") == "iago@zulip.com"
        assert await me(server.site, "hamlet@zulip.com") == "Invalid API key"
        assert await me(second.site, iago.email) == "Account is not associated with this subdomain"
        iago.active = False
        assert await me(server.site, iago.email) == "Account is deactivated"
        server.realm.active = False
        assert await me(server.site, iago.email) == "This organization has been deactivated"
