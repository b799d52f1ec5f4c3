"""Test httpx_bot.py against FakeZulip, one server for each test.

    pip install 'zulip-auth[testing]' pytest
    pytest test_my_bot.py

The `fake_zulip` fixture is part of zulip-auth and needs no configuration.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import httpx_bot
import pytest

from zulip_auth import ApiKeySource, Credentials, login
from zulip_auth.testing import Account, FakeZulip

BOT, USER, PASSWORD = "ping-bot@zulipdev.com", "iago@example.com", "correct horse"
pytestmark = pytest.mark.anyio  # anyio is a dependency of httpx


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio only, not on every event loop that anyio supports."""
    return "asyncio"


def count(server: FakeZulip, path: str) -> int:
    """Return the number of requests to an endpoint."""
    return sum(request.path == f"/api/v1/{path}" for request in server.requests)


@pytest.fixture
def bot(fake_zulip: FakeZulip) -> Account:
    """Create a bot, with an API key and without a password, and its owner."""
    fake_zulip.add_user(USER, PASSWORD)
    return fake_zulip.add_bot(USER, "Ping")


@pytest.fixture
def zuliprc(fake_zulip: FakeZulip, bot: Account, tmp_path: Path) -> Path:
    """Save the key of the bot, as a download from its settings does."""
    path = tmp_path / "zuliprc"
    Credentials(fake_zulip.site, bot.email, bot.api_key).save(path)
    return path


@asynccontextmanager
async def running_bot(server: FakeZulip, zuliprc: Path) -> AsyncGenerator[None]:
    """Run the bot in a task; enter the block when it waits for events."""
    source = ApiKeySource.from_zuliprc(zuliprc)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(httpx_bot.run(source))
        while not count(server, "events"):
            await asyncio.sleep(0.005)
        yield
        task.cancel()


@asynccontextmanager
async def user_client(server: FakeZulip) -> AsyncGenerator[httpx.AsyncClient]:
    """Log in as a user and return an authenticated client."""
    credentials = await login(server.site, USER, PASSWORD)
    api = f"{server.site}/api/v1"
    async with httpx.AsyncClient(auth=credentials.basic_auth, base_url=api, timeout=30) as http:
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


async def test_bot_replies(fake_zulip: FakeZulip, zuliprc: Path) -> None:
    async with running_bot(fake_zulip, zuliprc), user_client(fake_zulip) as http:
        assert await send(http, "ping") == "pong"


async def test_bot_survives_replaced_key(
    fake_zulip: FakeZulip, bot: Account, zuliprc: Path
) -> None:
    async with running_bot(fake_zulip, zuliprc), user_client(fake_zulip) as http:
        assert await send(http, "ping") == "pong"
        bot.regenerate_api_key()
        Credentials(fake_zulip.site, bot.email, bot.api_key).save(zuliprc)
        assert await send(http, "ping") == "pong"
        assert await send(http, "Ping ") == "pong"
        assert count(fake_zulip, "fetch_api_key") == 1  # by the user


async def test_bot_stops_on_rejected_key(
    fake_zulip: FakeZulip, bot: Account, zuliprc: Path
) -> None:
    bot.regenerate_api_key()
    with pytest.raises(httpx_bot.APIError, match="HTTP 401"):
        await httpx_bot.run(ApiKeySource.from_zuliprc(zuliprc))
    assert count(fake_zulip, "users/me") == 1


@pytest.mark.parametrize("text", ["pong", "", "What is a ping?"])
def test_bot_does_not_reply(text: str) -> None:
    assert httpx_bot.compose_reply(text) is None
