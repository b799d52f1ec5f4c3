"""A bot of zulip-agent-adapter that replies to each message, with ApiKeyMiddleware.

usage: agent_adapter.py ZULIPRC
"""

import asyncio
import logging
import sys
from functools import partial

import aiohttp
from zulip_agent_adapter import ZulipAdapter, ZulipConfig

from zulip_auth import ApiKeySource
from zulip_auth.aiohttp_auth import ApiKeyMiddleware


async def main(zuliprc):
    """Run the bot until it is terminated."""
    source = ApiKeySource.from_zuliprc(zuliprc)
    # The adapter creates its session itself.
    aiohttp.ClientSession = partial(aiohttp.ClientSession, middlewares=[ApiKeyMiddleware(source)])
    credentials = await source.get()
    adapter = ZulipAdapter(ZulipConfig(credentials.site, *credentials.basic_auth))

    async def reply(event):
        await adapter.send(event.source.chat_id, "beep boop", topic=event.source.thread_id)

    adapter.on_message = reply
    assert await adapter.connect()
    await asyncio.Event().wait()


logging.basicConfig()
asyncio.run(main(sys.argv[1]))
