"""A bot of sixty lines that replies to "ping" for months.

    python small_bot.py [ZULIPRC]

It survives a restart of the server, an expired event queue, rate limits, a lost network, and a
new API key from `zulip-auth rotate`, or from a person who puts it into the ZULIPRC within five
minutes. If a connection is lost, a reply may arrive twice.
"""

import sys
from asyncio import run, sleep
from typing import Any

import httpx

from zulip_auth import ApiKeySource, ZulipAuthError
from zulip_auth.httpx_auth import ApiKeyAuth

QUEUE, TIMEOUT = {"event_types": '["message"]'}, httpx.Timeout(10, read=120)  # polls take 90 s


async def call(http: httpx.AsyncClient, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
    """Send a request until the server processes it, and return the data."""
    while True:
        delay = 5.0
        try:
            response = await http.request(method, path, **kwargs)
        except (httpx.TransportError, ZulipAuthError) as error:
            if not getattr(error, "transient", True):
                raise
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        else:
            if response.status_code != 429 and response.status_code < 500:
                data: dict[str, Any] = response.json()
                if data.get("code") != "BAD_EVENT_QUEUE_ID":
                    response.raise_for_status()
                return data
            delay = float(response.headers.get("retry-after", delay))
        await sleep(delay)


async def serve(source: ApiKeySource) -> None:
    """Reply to direct messages until a request is rejected."""
    api, queue = f"{source.site}/api/v1", dict[str, Any]()
    async with httpx.AsyncClient(auth=ApiKeyAuth(source), base_url=api, timeout=TIMEOUT) as http:
        while True:
            queue = queue or await call(http, "POST", "/register", data=QUEUE)
            poll = {name: queue[name] for name in ("queue_id", "last_event_id")}
            events = (await call(http, "GET", "/events", params=poll)).get("events")
            queue = queue if events else {}  # without events, the queue has expired
            for event in events or ():
                queue["last_event_id"] = event["id"]
                message = event.get("message", {"content": ""})
                if message["content"] == "ping" and message["type"] == "private":
                    form = {"type": "direct", "to": f"[{message['sender_id']}]", "content": "pong"}
                    await call(http, "POST", "/messages", data=form)


if __name__ == "__main__":
    run(serve(ApiKeySource.from_zuliprc(*sys.argv[1:2], wait=300)))
