"""A bot of another library, as a process."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from helpers.api_client import EMPTY_CONTEXT, APIClient
from zulip_auth import Credentials
from zulip_auth.testing import Account, FakeZulip

PROGRAMS = Path(__file__).parent / "programs"


class Program:
    """A bot that runs as another process, and the server that it talks to."""

    def __init__(
        self,
        server: FakeZulip,
        home: Path,
        *,
        verify: ssl.SSLContext = EMPTY_CONTEXT,
        cert_bundle: str | None = None,
        client_cert: str | None = None,
    ) -> None:
        self.server = server
        server.add_user("person@example.com", "secret")
        self.person = APIClient(server, "person@example.com", verify=verify)
        self.certificates = {"cert_bundle": cert_bundle, "client_cert": client_cert}
        self.bot: Account = server.add_bot("person@example.com", "Hello Bot")
        self.home = home
        self.environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
        }
        self.zuliprc = home / "zuliprc"
        self.save_key()
        self.output = ""

    def save_key(self) -> None:
        """Write the bot's zuliprc."""
        bot = self.bot
        credentials = Credentials(
            self.server.site, bot.email, bot.api_key, bot.user_id, **self.certificates
        )
        credentials.save(self.zuliprc, overwrite=True)

    @asynccontextmanager
    async def run(self, *command: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a program; enter the block when it polls, and end it afterwards."""
        start = self.count("GET", "/api/v1/events")
        log = self.home / "output.txt"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                cwd=self.home,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
            polling = asyncio.create_task(self.wait_for_polls(start + 1))
            ended = asyncio.create_task(process.wait())
            try:
                await asyncio.wait((polling, ended), return_when=asyncio.FIRST_COMPLETED)
                assert polling.done(), log.read_text(encoding="utf-8")
                polling.result()
                yield process
            finally:
                polling.cancel()
                if process.returncode is None:
                    process.terminate()
                await ended
        self.output = log.read_text(encoding="utf-8")
        assert self.bot.api_key not in self.output

    async def wait_for_polls(self, count: int) -> None:
        await self.server.wait_for("GET", "/api/v1/events", count=count, timeout=30)

    def count(self, method: str, path: str) -> int:
        key = (method, path)
        return sum((request.method, request.path) == key for request in self.server.requests)

    async def ask(self, content: str, **params: str) -> str:
        """Send a message and return the content of the bot's response."""
        queue = await self.person.call("POST", "/register", event_types='["message"]')
        body = await self.person.call("POST", "/messages", content=content, **params)
        assert body["result"] == "success", body
        query = {"queue_id": str(queue["queue_id"]), "last_event_id": "-1"}
        while True:
            events = (await self.person.call("GET", "/events", **query))["events"]
            for event in events:
                query["last_event_id"] = str(event["id"])
                if event["message"]["sender_email"] == self.bot.email:
                    return str(event["message"]["content"])

    async def ask_directly(self) -> str:
        return await self.ask("hello", type="direct", to=self.bot.email)

    async def ask_in_channel(self) -> str:
        content = f"@**{self.bot.full_name}** hello"
        return await self.ask(content, type="channel", to="general", topic="greetings")
