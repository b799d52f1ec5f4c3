"""A bot that replies to "ping" in direct messages and survives a replaced key.

    python httpx_bot.py [ZULIPRC]

A bot has an API key and no password. ZULIPRC (default: $ZULIP_CONFIG or ~/.zuliprc)
contains the key: download it from the settings of the bot, or run `zulip-auth login
--bot`. If the key is replaced in the file, the running bot goes on with the new one.
Ctrl-C or SIGTERM stops the bot.
"""

import argparse
import asyncio
import json
import logging
import random
import signal
import sys
from contextlib import suppress
from typing import Any

import httpx

import zulip_auth
from zulip_auth.httpx_auth import ApiKeyAuth

logger = logging.getLogger("httpx_bot")
INITIAL_BACKOFF, MAX_BACKOFF = 1.0, 60.0  # seconds


class APIError(Exception):
    """An error response from the server."""

    def __init__(self, status: int, data: dict[str, Any]) -> None:
        super().__init__(f"HTTP {status}, {data.get('code')}: {data.get('msg')}")
        self.status, self.code = status, data.get("code")
        after = data.get("retry-after")  # seconds, in a 429 response
        self.retry_after = after if isinstance(after, int | float) else None


# Every exception that a request can raise.
ERRORS = (APIError, httpx.HTTPError, zulip_auth.ZulipAuthError)


def is_transient(error: Exception) -> bool:
    """Return whether a request may succeed if repeated later."""
    if isinstance(error, APIError):
        return error.status == 429 or error.status >= 500
    return bool(getattr(error, "transient", isinstance(error, httpx.TransportError)))


def compose_reply(content: str) -> str | None:
    """Return the reply, if any. "pong" has none, so that two bots do not reply forever."""
    return "pong" if content.strip().lower() == "ping" else None


async def call(http: httpx.AsyncClient, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
    """Send a request and return the data of the response, or raise an APIError."""
    response = await http.request(method, path, **kwargs)
    data: dict[str, Any] = {}
    with suppress(ValueError, TypeError):  # such as the web page of a proxy
        data = dict(response.json())
    if data.get("result") != "success":
        raise APIError(response.status_code, data)
    return data


async def reply(http: httpx.AsyncClient, message: dict[str, Any], user_id: int) -> None:
    """Reply to a direct message from another user."""
    text = compose_reply(message["content"])
    if text is None or message["type"] != "private" or message["sender_id"] == user_id:
        return
    to = json.dumps([user["id"] for user in message["display_recipient"]])
    try:
        await call(http, "POST", "/messages", data={"type": "direct", "to": to, "content": text})
    except (APIError, httpx.TransportError) as error:
        not_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
        if not_sent or getattr(error, "status", None) == 429:
            raise  # the event is not acknowledged, so the server sends it again
        # The reply may have arrived: no reply is better than two.
        logger.warning("Message %s may not have a reply: %r", message["id"], error)


async def register(http: httpx.AsyncClient) -> dict[str, Any]:
    """Return a new event queue, with the user ID of its owner."""
    user = await call(http, "GET", "/users/me")
    queue = await call(http, "POST", "/register", data={"event_types": '["message"]'})
    logger.info("Listening.")
    return {**queue, "user_id": user["user_id"]}


async def poll(http: httpx.AsyncClient, queue: dict[str, Any]) -> None:
    """Wait for events, reply to messages and acknowledge every event."""
    # The server sends a heartbeat within this time; without one, the connection is dead.
    read_timeout = queue.get("event_queue_longpoll_timeout_seconds", 90) + 10
    params = {name: queue[name] for name in ("queue_id", "last_event_id")}
    timeout = httpx.Timeout(10, read=read_timeout)
    for event in (await call(http, "GET", "/events", params=params, timeout=timeout))["events"]:
        if event["type"] == "message":
            await reply(http, event["message"], queue["user_id"])
        queue["last_event_id"] = event["id"]


async def run(source: zulip_auth.ApiKeySource) -> None:
    """Reply to messages until cancelled or until an error is not transient."""
    queue: dict[str, Any] = {}
    backoff = INITIAL_BACKOFF
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=f"{source.site}/api/v1") as http:
        try:
            while True:
                try:
                    queue = queue or await register(http)
                    await poll(http, queue)
                    backoff = INITIAL_BACKOFF
                except ERRORS as error:
                    if getattr(error, "code", None) == "BAD_EVENT_QUEUE_ID":
                        queue = {}
                        logger.warning("The event queue expired; recent messages are lost.")
                        continue
                    if not is_transient(error):
                        raise
                    retry_after = getattr(error, "retry_after", None) or 0.0
                    delay = max(retry_after, random.uniform(backoff / 2, backoff))
                    logger.warning("%r. Retrying in %.1f s.", error, delay)
                    await asyncio.sleep(delay)
                    backoff = min(2 * backoff, MAX_BACKOFF)
        finally:
            with suppress(*ERRORS, KeyError, TimeoutError):
                async with asyncio.timeout(3):  # do not delay the exit for long
                    await call(http, "DELETE", "/events", params={"queue_id": queue["queue_id"]})


async def main(options: argparse.Namespace) -> None:
    """Run the bot until SIGTERM or Ctrl-C."""
    if (task := asyncio.current_task()) and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await run(zulip_auth.ApiKeySource.from_zuliprc(options.zuliprc))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description='Reply to "ping".')
    parser.add_argument("zuliprc", nargs="?")
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line for each poll
    try:
        with suppress(asyncio.CancelledError, KeyboardInterrupt):
            asyncio.run(main(parser.parse_args()))
    except (*ERRORS, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
