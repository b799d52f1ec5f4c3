"""Endpoints of the stand-in server for accounts and bots."""

from __future__ import annotations

import pytest

from helpers.api_client import APIClient
from zulip_auth import AuthClient, AuthenticationFailedError, login
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
        body = await iago.call("POST", "/users/me/presence", status="busy")
        assert body["msg"] == "Invalid status: busy"
        body = await iago.call("POST", "/users/me/presence", status="active")
        presence = body["presences"]["iago@zulip.com"]
        assert (body["result"], presence["aggregated"]["status"]) == ("success", "active")
        bot = APIClient(server, server.add_bot("iago@zulip.com", "Bot").email)
        body = await bot.call("POST", "/users/me/presence", status="active")
        assert body["msg"] == "This endpoint does not accept bot requests."


async def test_settings() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        body = await iago.call("PATCH", "/settings", full_name=" Iago ", timezone="", color="red")
        assert body["ignored_parameters_unsupported"] == ["color"]
        assert iago.account.full_name == "Iago"


@pytest.mark.parametrize(
    ("params", "msg"),
    [
        ({"short_name": "a"}, "Missing 'full_name' argument"),
        ({"full_name": "Bot"}, "Missing 'short_name' argument"),
        ({"full_name": "Bot", "short_name": "a b"}, "Bad name or username"),
        ({"full_name": "Bot", "short_name": "a", "bot_type": "9"}, "Invalid bot type"),
        ({"full_name": "Bot", "short_name": "a", "bot_type": "x"}, "bot_type is not valid JSON"),
        ({"full_name": "x" * 101, "short_name": "a"}, "Name too long!"),
        ({"full_name": " x", "short_name": "a"}, "Name too short!"),
        ({"full_name": "a*b", "short_name": "a"}, "Invalid characters in name!"),
        ({"full_name": "Echo", "short_name": "echo"}, "Username already in use"),
        ({"full_name": "ECHO", "short_name": "a"}, "Name is already in use!"),
    ],
)
async def test_invalid_bot(params: dict[str, str], msg: str) -> None:
    async with FakeZulip(PASSWORDS) as server:
        server.add_bot("iago@zulip.com", "Echo")
        assert (await APIClient(server, "iago@zulip.com").call("POST", "/bots", **params))[
            "msg"
        ] == msg


@pytest.mark.filterwarnings("ignore:FakeZulip does not serve bots of type 3")
async def test_outgoing_webhooks_are_not_served() -> None:
    async with FakeZulip(PASSWORDS) as server:
        params = {"full_name": "Bot", "short_name": "a", "bot_type": "3"}
        body = await APIClient(server, "iago@zulip.com").call("POST", "/bots", **params)
        assert body["code"] == "NOT_SERVED_BY_FAKE_ZULIP"


# ---- Bots


async def test_add_bot() -> None:
    async with FakeZulip(PASSWORDS) as server:
        bot = server.add_bot("IAGO@zulip.com", "Reminder Bot")
        assert bot.email == "reminder-bot@zulipdev.com"
        assert (bot.full_name, bot.bot_type, bot.is_bot) == ("Reminder Bot", 1, True)
        assert bot.owner is server.account("iago@zulip.com")
        client = AuthClient(server.site)
        credentials = await client.login("iago@zulip.com", "x")
        [listed] = await client.bots(credentials)
        assert (listed.username, listed.full_name) == (bot.email, "Reminder Bot")
        assert listed.credentials is not None
        assert (await client.verify(listed.credentials)).is_bot


@pytest.mark.parametrize(
    ("host", "name", "email"),
    [
        ("chat.example.com", "Echo", "echo-bot@chat.example.com"),
        ("localhost", "Echo & Co.", "echo-co-bot@zulipdev.com"),
        ("127.0.0.1", "शिव", "my-bot@zulipdev.com"),
    ],
)
def test_bot_email(host: str, name: str, email: str) -> None:
    realm = FakeZulip().add_realm(host)
    realm.add_user("iago@zulip.com", "x")
    assert realm.add_bot("iago@zulip.com", name).email == email


def test_add_bot_errors() -> None:
    server = FakeZulip(PASSWORDS)
    server.add_bot("iago@zulip.com", "Echo")
    with pytest.raises(ValueError, match=r"echo-bot@zulipdev\.com is already in use"):
        server.add_bot("hamlet@zulip.com", "Echo Bot")
    with pytest.raises(KeyError):
        server.add_bot("unknown@zulip.com", "Echo")


async def test_bot_has_no_password() -> None:
    async with FakeZulip(PASSWORDS) as server:
        bot = server.add_bot("iago@zulip.com", "Echo")
        with pytest.raises(AuthenticationFailedError) as caught:
            await login(server.site, bot.email, "x")
        assert caught.value.attempts_remaining == 4


async def test_bots_of_others() -> None:
    async with FakeZulip(PASSWORDS) as server:
        bot = server.add_bot("iago@zulip.com", "Echo")
        hamlet = APIClient(server, "hamlet@zulip.com")
        assert (await hamlet.call("GET", "/bots"))["bots"] == []
        path = f"/bots/{bot.user_id}/api_key/regenerate"
        assert (await hamlet.call("POST", path))["msg"] == "Insufficient permission"
        assert (await hamlet.call("DELETE", "/bots/11"))["msg"] == "No such bot"
        assert (await hamlet.call("DELETE", "/bots/99"))["msg"] == "No such bot"
        hamlet.account.role = 200
        assert (await hamlet.call("POST", path))["api_key"] == bot.api_key


async def test_bot_cannot_manage_bots() -> None:
    async with FakeZulip(PASSWORDS) as server:
        bot = APIClient(server, server.add_bot("iago@zulip.com", "Echo").email)
        for method, path in (("GET", "/bots"), ("POST", "/bots"), ("DELETE", "/bots/12")):
            body = await bot.call(method, path)
            assert body["msg"] == "This endpoint does not accept bot requests."
