"""A bot of another library, as a process."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from helpers.caller import EMPTY_CONTEXT, Caller
from zulip_auth import Credentials
from zulip_auth._credentials import basic_auth_header
from zulip_auth.testing import Account, FakeZulip

PROGRAMS = Path(__file__).parent / "programs"
EVENTS = "/api/v1/events"


class Program:
    """A bot that runs as another process, and the server that it talks to.

    The options of a connection with a private CA are the context of the person, and the
    certificates of the bot.
    """

    def __init__(
        self,
        server: FakeZulip,
        home: Path,
        *,
        verify: ssl.SSLContext = EMPTY_CONTEXT,
        certificates: tuple[str, str] | None = None,
    ) -> None:
        self.server, self.home, self.certificates = server, home, certificates or (None, None)
        self.person = Caller(server, server.add_user("person@example.com", "x"), verify=verify)
        self.bot: Account = server.add_bot("person@example.com", "Hello Bot")
        self.environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
        self.zuliprc = home / "zuliprc"
        self.save_key()
        self.output = ""

    def save_key(self) -> None:
        """Write the bot's zuliprc."""
        cert_bundle, client_cert = self.certificates
        credentials = Credentials(
            self.server.site,
            self.bot.email,
            self.bot.api_key,
            self.bot.user_id,
            cert_bundle=cert_bundle,
            client_cert=client_cert,
        )
        credentials.save(self.zuliprc, overwrite=True)

    def revoke_key(self) -> str:
        """Replace the bot's key, and return the header of the old one."""
        header = basic_auth_header(Credentials.load(self.zuliprc))
        self.bot.regenerate_api_key()
        return header

    def headers(self, since: int) -> set[str]:
        return {request.headers["authorization"] for request in self.server.requests[since:]}

    @asynccontextmanager
    async def run(self, *command: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a program; enter the block when it polls, and end it afterwards."""
        mark, log = self.server.mark(), self.home / "output.txt"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                cwd=self.home,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
            polling = asyncio.create_task(
                self.server.wait_for("GET", EVENTS, since=mark, timeout=30)
            )
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

    async def check_replies(self) -> None:
        """Check the bot's reply to a direct message and to a mention in a channel."""
        channel = {"type": "channel", "to": "general", "topic": "greetings"}
        for message in (
            {"type": "direct", "to": self.bot.email, "content": "hello"},
            {**channel, "content": f"@**{self.bot.full_name}** hello"},
        ):
            reply = await asyncio.to_thread(self.person.ask, self.bot.email, **message)
            assert reply == "beep boop"
