"""Bots of the stand-in server."""

from __future__ import annotations

import pytest

from helpers.api_client import APIClient
from zulip_auth import AuthClient, AuthenticationFailedError, login
from zulip_auth.testing import FakeZulip

PASSWORDS = {"iago@zulip.com": "x", "hamlet@zulip.com": "x"}


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
