"""Test httpx_bot.py against FakeZulip, one server for each test.

    pip install 'zulip-auth[testing]' pytest
    pytest test_my_bot.py

The `fake_zulip` fixture is part of zulip-auth and needs no configuration.
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

BOT, USER, PASSWORD = "bot@example.com", "iago@example.com", "correct horse"
pytestmark = pytest.mark.anyio  # anyio is a dependency of httpx


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio only, not on every event loop that anyio supports."""
    return "asyncio"


def count(server: FakeZulip, path: str) -> int:
    """Return the number of requests to an endpoint."""
    return sum(request.path == f"/api/v1/{path}" for request in server.requests)


@asynccontextmanager
async def running_bot(server: FakeZulip) -> AsyncGenerator[None]:
    """Run the bot in a task; enter the block when it waits for events."""
    server.add_user(BOT, PASSWORD)
    source = ApiKeySource(AuthClient(server.site), BOT, PASSWORD)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        bot = group.create_task(httpx_bot.run(source))
        while not count(server, "events"):
            await asyncio.sleep(0.005)
        yield
        bot.cancel()


@asynccontextmanager
async def user_client(server: FakeZulip) -> AsyncGenerator[httpx.AsyncClient]:
    """Log in as a user and return an authenticated client."""
    server.add_user(USER, PASSWORD)
    credentials = await login(server.site, USER, PASSWORD)
    api = f"{server.site}/api/v1"
    async with httpx.AsyncClient(auth=credentials.basic_auth, base_url=api) as http:
        yield http


async def send(http: httpx.AsyncClient, text: str) -> str:
    """Send a direct message to the bot and return its reply."""
    queue = await httpx_bot.register(http)
    form = {"type": "direct", "to": json.dumps([BOT]), "content": text}
    await httpx_bot.call(http, "POST", "/messages", data=form)
    while True:
        params = {name: queue[name] for name in ("queue_id", "last_event_id")}
        for event in (await httpx_bot.call(http, "GET", "/events", params=params))["events"]:
            queue["last_event_id"] = event["id"]
            if event["type"] == "message" and event["message"]["sender_email"] == BOT:
                return str(event["message"]["content"])


async def test_bot_replies(fake_zulip: FakeZulip) -> None:
    async with running_bot(fake_zulip), user_client(fake_zulip) as http:
        assert await send(http, "ping") == "pong"


async def test_bot_survives_revoked_key(fake_zulip: FakeZulip) -> None:
    async with running_bot(fake_zulip), user_client(fake_zulip) as http:
        assert await send(http, "ping") == "pong"
        logins = count(fake_zulip, "fetch_api_key")
        fake_zulip.account(BOT).regenerate_api_key()
        assert await send(http, "ping") == "pong"
        assert await send(http, "Ping ") == "pong"
        assert count(fake_zulip, "fetch_api_key") == logins + 1


async def test_bot_stops_on_wrong_password(fake_zulip: FakeZulip) -> None:
    fake_zulip.add_user(BOT, PASSWORD)
    source = ApiKeySource(AuthClient(fake_zulip.site), BOT, "a guess")
    with pytest.raises(AuthenticationFailedError):
        await httpx_bot.run(source)
    assert count(fake_zulip, "fetch_api_key") == 1


@pytest.mark.parametrize("text", ["pong", "", "What is a ping?"])
def test_bot_does_not_reply(text: str) -> None:
    assert httpx_bot.compose_reply(text) is None
