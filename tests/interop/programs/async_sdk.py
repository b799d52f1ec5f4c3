"""A bot of async-zulip-bot-sdk that replies to each message, with the SDK's login layer replaced.

usage: async_sdk.py ZULIPRC
"""

import asyncio
import sys

import httpx
from bot_sdk import AsyncClient, BaseBot, BotRunner, CommandSpec, runner

from zulip_auth import ApiKeySource
from zulip_auth.httpx_auth import ApiKeyAuth


class Client(AsyncClient):
    """Read the zuliprc, the variables and the certificates, and renew the key, with zulip-auth."""

    def __init__(self, email=None, api_key=None, config_file=None, site=None, client=None):
        """Load the credentials."""
        self.source = ApiKeySource.from_env(
            email=email, api_key=api_key, site=site, path=config_file, wait=5
        )
        self.base_url = f"{self.source.site}/api/"
        self.client_name = client or "ZulipPythonAsync"
        self.verbose, self.retry_on_errors = False, True
        self.session, self.has_connected = None, False

    async def ensure_session(self):
        """Create the HTTP client."""
        if self.session is None:
            context = (await self.source.get()).ssl_context()
            self.session = httpx.AsyncClient(
                auth=ApiKeyAuth(self.source),
                verify=context or True,
                headers={"User-agent": self.get_user_agent()},
            )


class EchoBot(BaseBot):
    """Reply to messages to the bot. A mention is a command."""

    def register_commands(self):
        """Register the command."""
        spec = CommandSpec(name="hello", description="Say hello", handler=self.reply)
        self.command_parser.register_spec(spec)

    async def reply(self, _invocation, message, _bot):
        """Reply to one command."""
        await self.send_reply(message, "beep boop")

    async def on_message(self, message):
        """Reply to one message."""
        await self.send_reply(message, "beep boop")


async def main(zuliprc):
    """Run the bot until it is terminated."""
    runner.AsyncClient = Client
    async with BotRunner(EchoBot, client_kwargs={"config_file": zuliprc}) as bot_runner:
        await bot_runner.run_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
