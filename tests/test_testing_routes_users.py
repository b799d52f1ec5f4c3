"""Endpoints of the stand-in server for profiles, settings and presence."""

from __future__ import annotations

import pytest

from helpers.api_client import APIClient
from zulip_auth.testing import FakeZulip

PASSWORDS = {"iago@zulip.com": "x", "hamlet@zulip.com": "x"}


@pytest.mark.parametrize(("role", "flags"), [(100, "ao"), (200, "a"), (400, ""), (600, "g")])
async def test_role_in_own_profile(role: int, flags: str) -> None:
    async with FakeZulip(PASSWORDS) as server:
        server.account("iago@zulip.com").role = role
        body = await APIClient(server, "iago@zulip.com").call("GET", "/users/me")
        names = {"is_admin": "a", "is_owner": "o", "is_guest": "g"}
        assert {name for name in names if body[name]} == {n for n, f in names.items() if f in flags}


async def test_max_message_id() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        hamlet = APIClient(server, "hamlet@zulip.com")
        await iago.call("POST", "/messages", type="direct", to="iago@zulip.com", content="note")
        assert (await iago.call("GET", "/users/me"))["max_message_id"] == 1
        assert (await hamlet.call("GET", "/users/me"))["max_message_id"] == -1


async def test_hidden_emails() -> None:
    async with FakeZulip(PASSWORDS) as server:
        server.realm.hide_emails = True
        bot = server.add_bot("iago@zulip.com", "Reminder Bot")
        iago = APIClient(server, "iago@zulip.com")
        profile = await iago.call("GET", "/users/me")
        assert profile["email"] == "user10@zulipdev.com"
        assert profile["delivery_email"] == "iago@zulip.com"
        members = (await iago.call("GET", "/users"))["members"]
        assert [(user["email"], user["delivery_email"]) for user in members] == [
            ("user11@zulipdev.com", None),
            ("user10@zulipdev.com", "iago@zulip.com"),
            (bot.email, bot.email),
        ]
        server.realm.hide_emails = False
        assert (await iago.call("GET", "/users/me"))["email"] == "iago@zulip.com"


async def test_user_by_id_or_email() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        for name in ("11", "hamlet@zulip.com"):
            user = (await iago.call("GET", f"/users/{name}"))["user"]
            assert (user["user_id"], user["email"]) == (11, "hamlet@zulip.com")
            assert user["bot_type"] is None
        body = await iago.call("GET", "/users/unknown@zulip.com")
        assert body == {"result": "error", "msg": "No such user", "code": "BAD_REQUEST"}


async def test_presence() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        body = await iago.call("GET", "/users/iago@zulip.com/presence")
        assert body["msg"] == "No presence data for iago@zulip.com"
        body = await iago.call("POST", "/users/me/presence", status="busy")
        assert body["msg"] == "Invalid status: busy"
        body = await iago.call("POST", "/users/me/presence", status="active")
        assert list(body["presences"]) == ["iago@zulip.com"]
        hamlet = APIClient(server, "hamlet@zulip.com")
        presence = (await hamlet.call("GET", "/users/10/presence"))["presence"]
        assert presence["aggregated"] == presence["website"]
        assert presence["aggregated"]["status"] == "active"
        assert presence["aggregated"]["timestamp"] == int(body["server_timestamp"])


async def test_presence_of_bot() -> None:
    async with FakeZulip(PASSWORDS) as server:
        bot = APIClient(server, server.add_bot("iago@zulip.com", "Bot").email)
        body = await bot.call("POST", "/users/me/presence", status="active")
        assert body["msg"] == "This endpoint does not accept bot requests."
        body = await bot.call("GET", f"/users/{bot.account.email}/presence")
        assert body["msg"] == "Presence is not supported for bot users."
