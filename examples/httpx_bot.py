"""A bot that answers "ping" in direct messages, and goes on when its key is revoked.

    python httpx_bot.py chat.example.com bot@example.com --password-file bot.password

It keeps its key in a zuliprc, and logs in when there is none or the server refuses it;
only then does it read the password. Ctrl-C or SIGTERM ends it.
"""

import argparse
import asyncio
import json
import logging
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

import zulip_auth
from zulip_auth.httpx_auth import ApiKeyAuth

log = logging.getLogger("httpx_bot")
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before another try


class RefusedError(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, said: dict[str, Any]) -> None:
        super().__init__(f"status {status}, {said.get('code')}: {said.get('msg')}")
        self.status, self.code = status, said.get("code")
        after = said.get("retry-after")  # seconds, beside a 429
        self.retry_after = after if isinstance(after, int | float) else None


# All that a call can end in.
ERRORS = (RefusedError, httpx.HTTPError, zulip_auth.ZulipAuthError)


def is_passing(error: Exception) -> bool:
    """Tell whether the server is only away or busy; also for a login, if that is what failed."""
    if isinstance(error, RefusedError):
        return error.status == 429 or error.status >= 500
    passing = (zulip_auth.APIConnectionError, zulip_auth.RateLimitedError, zulip_auth.ServerError)
    return isinstance(error, (httpx.TransportError, *passing))


def reply_to(content: str) -> str | None:
    """Return the answer. It is not answered itself, lest two bots talk for ever."""
    return "pong" if content.strip().lower() == "ping" else None


async def ask(http: httpx.AsyncClient, method: str, path: str, **more: Any) -> dict[str, Any]:
    """Make a call of the API, and return the answer if it is no error."""
    response = await http.request(method, path, **more)
    said: dict[str, Any] = {}
    with suppress(ValueError, TypeError):  # such as the web page of a proxy
        said = dict(response.json())
    if said.get("result") != "success":
        raise RefusedError(response.status_code, said)
    return said


async def answer(http: httpx.AsyncClient, message: dict[str, Any], me: int) -> None:
    """Answer somebody else's direct message."""
    text = reply_to(message["content"])
    if text is None or message["type"] != "private" or message["sender_id"] == me:
        return
    to = json.dumps([each["id"] for each in message["display_recipient"]])
    try:
        await ask(http, "POST", "/messages", data={"type": "direct", "to": to, "content": text})
    except (RefusedError, httpx.TransportError) as error:
        not_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
        if not_sent or getattr(error, "status", None) == 429:
            raise  # the event is not ticked off, and comes again
        # The answer may be there already: better none than two.
        log.warning("Message %s may be without an answer: %r", message["id"], error)


async def register(http: httpx.AsyncClient) -> dict[str, Any]:
    """Return a new event queue, and whose it is."""
    me = await ask(http, "GET", "/users/me")
    queue = await ask(http, "POST", "/register", data={"event_types": '["message"]'})
    log.info("Listening.")
    return {**queue, "me": me["user_id"]}


async def poll(http: httpx.AsyncClient, queue: dict[str, Any]) -> None:
    """Wait for events, and answer them. A heartbeat wants nothing but to be ticked off."""
    # After so long at most there is a heartbeat; where that does not come, the line is dead.
    silence = queue.get("event_queue_longpoll_timeout_seconds", 90) + 10
    params = {name: queue[name] for name in ("queue_id", "last_event_id")}
    timeout = httpx.Timeout(10, read=silence)
    for event in (await ask(http, "GET", "/events", params=params, timeout=timeout))["events"]:
        if event["type"] == "message":
            await answer(http, event["message"], queue["me"])
        queue["last_event_id"] = event["id"]


async def run(source: zulip_auth.ApiKeySource) -> None:
    """Answer messages until cancelled, or until the server wants no more of us."""
    queue: dict[str, Any] = {}
    wait = FIRST_WAIT
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=f"{source.site}/api/v1") as http:
        try:
            while True:
                try:
                    queue = queue or await register(http)
                    await poll(http, queue)
                    wait = FIRST_WAIT
                except ERRORS as error:
                    if getattr(error, "code", None) == "BAD_EVENT_QUEUE_ID":
                        queue = {}
                        log.warning("The server has forgotten the queue, and what came since.")
                        continue
                    if not is_passing(error):
                        raise
                    asked = getattr(error, "retry_after", None) or 0.0
                    pause = max(asked, random.uniform(wait / 2, wait))
                    log.warning("%r. Trying again in %.1f s.", error, pause)
                    await asyncio.sleep(pause)
                    wait = min(2 * wait, LONGEST_WAIT)
        finally:
            with suppress(*ERRORS, KeyError, TimeoutError):
                async with asyncio.timeout(3):  # somebody may be waiting for our end
                    await ask(http, "DELETE", "/events", params={"queue_id": queue["queue_id"]})


async def main(options: argparse.Namespace) -> None:
    """Run until SIGTERM or Ctrl-C."""

    async def read_password() -> str:
        text: str = await asyncio.to_thread(options.password_file.read_text)
        return text.rstrip("\r\n")

    if (task := asyncio.current_task()) and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with zulip_auth.AuthClient(options.site, user_agent="httpx-bot/1.0") as client:
        file = options.zuliprc
        await run(zulip_auth.ApiKeySource(client, options.username, read_password, zuliprc=file))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description='Answer "ping".')
    parser.add_argument("site")
    parser.add_argument("username")
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--zuliprc", type=Path, default=Path("~/.httpx-bot.zuliprc"))
    logging.basicConfig(level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for each poll
    try:
        with suppress(asyncio.CancelledError, KeyboardInterrupt):
            asyncio.run(main(parser.parse_args()))
    except (*ERRORS, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
