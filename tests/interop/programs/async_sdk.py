"""A bot of async-zulip-bot-sdk that replies to each message, with ApiKeyAuth on its session.

usage: async_sdk.py ZULIPRC
"""

import asyncio
import sys

from bot_sdk import BaseBot, BotRunner, CommandSpec

from zulip_auth import ApiKeySource
from zulip_auth.httpx_auth import ApiKeyAuth


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
    source = ApiKeySource.from_zuliprc(zuliprc)
    runner = BotRunner(EchoBot, client_kwargs={"config_file": zuliprc})
    async with runner:
        runner.client.session.auth = ApiKeyAuth(source)
        await runner.run_forever()


asyncio.run(main(sys.argv[1]))
