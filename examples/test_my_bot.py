"""Test httpx_bot.py against FakeZulip, one server for each test.

    pip install 'zulip-auth[testing]' pytest
    pytest test_my_bot.py

The `fake_zulip` fixture is part of zulip-auth and needs no configuration.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx_bot
import pytest

from zulip_auth import ApiKeySource, Credentials
from zulip_auth.testing import Account, FakeZulip

USER = "iago@example.com"
pytestmark = pytest.mark.anyio  # anyio is a dependency of httpx


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio only, not on every event loop that anyio supports."""
    return "asyncio"


@pytest.fixture
def bot(fake_zulip: FakeZulip) -> Account:
    """Create a bot, with an API key and without a password, and its owner."""
    fake_zulip.add_user(USER, "correct horse")
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
        await server.wait_for("GET", "/api/v1/events", timeout=20)
        yield
        task.cancel()


async def ask(server: FakeZulip, bot: Account, text: str) -> str:
    """Send a direct message to the bot and return its reply."""
    mark = server.mark()
    server.send(USER, bot, text)
    await server.wait_for(
        "POST", "/api/v1/messages", match=lambda request: request.status == 200, since=mark
    )
    return server.messages[-1].content


async def test_bot_replies(fake_zulip: FakeZulip, bot: Account, zuliprc: Path) -> None:
    async with running_bot(fake_zulip, zuliprc):
        assert await ask(fake_zulip, bot, "ping") == "pong"


async def test_bot_survives_replaced_key(
    fake_zulip: FakeZulip, bot: Account, zuliprc: Path
) -> None:
    async with running_bot(fake_zulip, zuliprc):
        assert await ask(fake_zulip, bot, "ping") == "pong"
        bot.regenerate_api_key()
        Credentials(fake_zulip.site, bot.email, bot.api_key).save(zuliprc)
        assert await ask(fake_zulip, bot, "ping") == "pong"
        assert await ask(fake_zulip, bot, "Ping ") == "pong"


async def test_bot_stops_on_rejected_key(
    fake_zulip: FakeZulip, bot: Account, zuliprc: Path
) -> None:
    bot.regenerate_api_key()
    with pytest.raises(httpx_bot.APIError, match="HTTP 401"):
        await httpx_bot.run(ApiKeySource.from_zuliprc(zuliprc))
    assert fake_zulip.count("GET", "/api/v1/users/me") == 1


@pytest.mark.parametrize("text", ["pong", "", "What is a ping?"])
def test_bot_does_not_reply(text: str) -> None:
    assert httpx_bot.compose_reply(text) is None
