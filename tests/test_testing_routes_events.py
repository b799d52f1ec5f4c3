"""Event queues and messages of the stand-in server."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

import httpx
import pytest

from zulip_auth.testing import FakeZulip

PASSWORDS = {"iago@zulip.com": "x", "hamlet@zulip.com": "x", "othello@zulip.com": "x"}


class EventClient:
    """A client of the events API."""

    def __init__(self, server: FakeZulip, email: str) -> None:
        auth = (email, server.account(email).api_key)
        self.http = httpx.AsyncClient(base_url=f"{server.site}/api/v1", auth=auth)

    async def __aenter__(self) -> Self:
        self.queue_id = (await self.post("/register", {}))["queue_id"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def post(self, path: str, data: dict[str, str]) -> dict[str, Any]:
        body: dict[str, Any] = (await self.http.post(path, data=data)).json()
        return body

    async def poll(self, last_event_id: int | str, **params: str) -> dict[str, Any]:
        query = {"queue_id": self.queue_id, "last_event_id": str(last_event_id), **params}
        body: dict[str, Any] = (await self.http.get("/events", params=query)).json()
        return body


async def test_message_reaches_its_recipients() -> None:
    async with (
        FakeZulip(users=PASSWORDS) as server,
        EventClient(server, "iago@zulip.com") as iago,
        EventClient(server, "hamlet@zulip.com") as hamlet,
        EventClient(server, "othello@zulip.com") as othello,
    ):
        poll = asyncio.create_task(hamlet.poll(-1))
        direct = {"type": "direct", "to": '["hamlet@zulip.com"]', "content": "hi"}
        sent = await iago.post("/messages", direct)
        assert sent == {"result": "success", "msg": "", "id": 1}
        [event] = (await poll)["events"]
        assert (event["type"], event["id"]) == ("message", 0)
        assert event["message"]["content"] == "hi"
        assert event["message"]["sender_email"] == "iago@zulip.com"
        assert (await othello.poll(-1, dont_block="true"))["events"] == []
        channel = {"type": "channel", "to": "Verona", "topic": "t", "content": "all"}
        await othello.post("/messages", channel)
        [event] = (await hamlet.poll(0))["events"]
        assert (event["id"], event["message"]["subject"]) == (1, "t")
        assert [event["id"] for event in (await iago.poll(-1))["events"]] == [0, 1]
        by_user_id = {"type": "private", "to": "[11]", "content": "hi"}
        assert (await iago.post("/messages", by_user_id))["result"] == "success"
        unknown = {"type": "private", "to": "nobody@zulip.com", "content": "hi"}
        assert (await iago.post("/messages", unknown))["code"] == "BAD_REQUEST"


async def test_poll_without_events_returns_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zulip_auth.testing.state.HEARTBEAT", 0.01)
    async with FakeZulip(users=PASSWORDS) as server, EventClient(server, "iago@zulip.com") as iago:
        assert (await iago.poll(-1))["events"] == [{"type": "heartbeat", "id": 0}]


async def test_queue_belongs_to_its_owner() -> None:
    async with (
        FakeZulip(users=PASSWORDS) as server,
        EventClient(server, "iago@zulip.com") as iago,
        EventClient(server, "hamlet@zulip.com") as hamlet,
    ):
        hamlet.queue_id = iago.queue_id
        assert (await hamlet.poll(-1))["code"] == "BAD_EVENT_QUEUE_ID"
        assert (await iago.poll("x"))["code"] == "BAD_REQUEST"
        deleted = await iago.http.delete("/events", params={"queue_id": iago.queue_id})
        assert deleted.json() == {"result": "success", "msg": ""}
        assert (await iago.poll(-1))["msg"] == f"Bad event queue ID: {iago.queue_id}"


async def test_deleting_queue_ends_its_poll() -> None:
    async with FakeZulip(users=PASSWORDS) as server, EventClient(server, "iago@zulip.com") as iago:
        poll = asyncio.create_task(iago.poll(-1))
        async with asyncio.timeout(10):
            while server.requests[-1].path != "/api/v1/events":  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert server.requests[-1].query["last_event_id"] == "-1"
        await iago.http.delete("/events", params={"queue_id": iago.queue_id})
        async with asyncio.timeout(10):
            assert (await poll).get("events", []) == []


async def test_message_to_self() -> None:
    async with FakeZulip(users=PASSWORDS) as server, EventClient(server, "iago@zulip.com") as iago:
        note = {"type": "direct", "to": '["iago@zulip.com"]', "content": "remember"}
        await iago.post("/messages", note)
        [event] = (await iago.poll(-1))["events"]
        assert event["message"]["display_recipient"] == [{"id": 10, "email": "iago@zulip.com"}]


async def test_stop_ends_polls() -> None:
    server = FakeZulip(users=PASSWORDS)
    server.__enter__()
    async with EventClient(server, "iago@zulip.com") as iago:
        poll = asyncio.create_task(iago.poll(-1))
        while server.requests[-1].path != "/api/v1/events":  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        start = time.monotonic()
        await server.__aexit__(None, None, None)
        assert time.monotonic() - start < 0.9
        assert (await poll).get("events", []) == []
