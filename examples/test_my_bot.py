"""Tests of httpx_bot.py, each with a Zulip server of its own.

    pip install 'zulip-auth[testing]' pytest
    pytest test_my_bot.py

The fixture `fake_zulip` comes with zulip-auth; there is nothing to set up.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import httpx_bot
import pytest

from zulip_auth import ApiKeySource, AuthClient, AuthenticationFailedError, login
from zulip_auth.testing import FakeZulip

BOT, PERSON, PASSWORD = "bot@example.com", "iago@example.com", "correct horse"
pytestmark = pytest.mark.anyio  # anyio comes with httpx


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio; anyio would try other event loops, too."""
    return "asyncio"


def count(server: FakeZulip, path: str) -> int:
    """Return how often an endpoint was asked."""
    return sum(request.path == f"/api/v1/{path}" for request in server.requests)


@asynccontextmanager
async def running_bot(server: FakeZulip) -> AsyncGenerator[None]:
    """Run the bot beside a test, which begins when the bot waits for events."""
    server.add_user(BOT, PASSWORD)
    source = ApiKeySource(AuthClient(server.site), BOT, PASSWORD)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        bot = group.create_task(httpx_bot.run(source))
        while not count(server, "events"):
            await asyncio.sleep(0.005)
        yield
        bot.cancel()


@asynccontextmanager
async def person(server: FakeZulip) -> AsyncGenerator[httpx.AsyncClient]:
    """Log in as somebody who talks with the bot."""
    server.add_user(PERSON, PASSWORD)
    credentials = await login(server.site, PERSON, PASSWORD)
    api = f"{server.site}/api/v1"
    async with httpx.AsyncClient(auth=credentials.basic_auth, base_url=api) as http:
        yield http


async def say(http: httpx.AsyncClient, text: str) -> str:
    """Send a direct message to the bot, and return its answer."""
    queue = await httpx_bot.register(http)
    form = {"type": "direct", "to": json.dumps([BOT]), "content": text}
    await httpx_bot.ask(http, "POST", "/messages", data=form)
    while True:
        params = {name: queue[name] for name in ("queue_id", "last_event_id")}
        for event in (await httpx_bot.ask(http, "GET", "/events", params=params))["events"]:
            queue["last_event_id"] = event["id"]
            if event["type"] == "message" and event["message"]["sender_email"] == BOT:
                return str(event["message"]["content"])


async def test_it_answers(fake_zulip: FakeZulip) -> None:
    async with running_bot(fake_zulip), person(fake_zulip) as http:
        assert await say(http, "ping") == "pong"


async def test_it_goes_on_with_one_more_login_when_its_key_is_revoked(
    fake_zulip: FakeZulip,
) -> None:
    async with running_bot(fake_zulip), person(fake_zulip) as http:
        assert await say(http, "ping") == "pong"
        logins = count(fake_zulip, "fetch_api_key")
        fake_zulip.account(BOT).regenerate_api_key()
        assert await say(http, "ping") == "pong"
        assert await say(http, "Ping ") == "pong"
        assert count(fake_zulip, "fetch_api_key") == logins + 1


async def test_a_wrong_password_ends_it_after_one_attempt(fake_zulip: FakeZulip) -> None:
    fake_zulip.add_user(BOT, PASSWORD)
    source = ApiKeySource(AuthClient(fake_zulip.site), BOT, "a guess")
    with pytest.raises(AuthenticationFailedError):
        await httpx_bot.run(source)
    assert count(fake_zulip, "fetch_api_key") == 1


@pytest.mark.parametrize("text", ["pong", "", "What is a ping?"])
def test_it_has_nothing_to_say_to(text: str) -> None:
    assert httpx_bot.reply_to(text) is None
