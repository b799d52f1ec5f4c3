"""Event queues of the stand-in server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from helpers.caller import Caller, Organization


def send(org: Organization, content: str = "hi") -> None:
    org.server.send("iago@zulip.com", org.bot.account, content)


def poll(caller: Caller, queue_id: str, last_event_id: int = -1) -> Any:
    return caller("GET /events", queue_id=queue_id, last_event_id=last_event_id)


async def start_poll(caller: Caller, queue_id: str) -> asyncio.Future[Any]:
    """Return a poll that waits for an event."""
    queue = caller.server._state.queues[queue_id]
    previous = queue._poll
    polling = asyncio.create_task(asyncio.to_thread(poll, caller, queue_id))
    while queue._poll in (None, previous):  # noqa: ASYNC110 - set in another thread
        await asyncio.sleep(0.001)
    return polling


async def test_polls_wait(org: Organization) -> None:
    """Until there is an event, another poll, or no queue."""
    queue = org.bot.register()
    polling = await start_poll(org.bot, queue)
    send(org)
    body = await polling
    assert ([event["type"] for event in body["events"]], body["queue_id"]) == (["message"], queue)
    queue = org.bot.register()
    first = await start_poll(org.bot, queue)
    second = await start_poll(org.bot, queue)
    assert (await first)["events"] == []
    assert org.bot.ok("DELETE /events", queue_id=queue) == {}
    assert (await second)["events"] == []
    assert poll(org.bot, queue)["code"] == "BAD_EVENT_QUEUE_ID"


def test_events_until_acknowledged(org: Organization) -> None:
    queue = org.bot.register()
    for content in ("one", "two"):
        send(org, content)
    for last_event_id, expected in ((-1, [0, 1]), (-1, [0, 1]), (0, [1])):
        body = poll(org.bot, queue, last_event_id)
        assert [event["id"] for event in body["events"]] == expected
        assert "queue_id" not in body
    org.bot.check_errors(
        "GET /events",
        {"queue_id": queue, "last_event_id": 1},
        [
            ({"last_event_id": -1}, "An event newer than -1 has already been pruned!"),
            ({"last_event_id": 7}, "Event 7 was not in this queue"),
            ({"last_event_id": None}, "Missing 'last_event_id' argument"),
            ({"queue_id": None}, "Missing 'queue_id' argument"),
        ],
    )
    query = {"queue_id": queue, "last_event_id": 1, "dont_block": True}
    assert org.bot.ok("GET /events", **query) == {"events": []}


def test_heartbeat(org: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zulip_auth.testing.queues.HEARTBEAT", 0.01)
    queue = org.bot.register(event_types=["message"])
    assert poll(org.bot, queue)["events"] == [{"type": "heartbeat", "id": 0}]


def test_queues_by_options(org: Organization) -> None:
    """Types of events, narrow, other channels, form of the content, lifespan."""
    org.bot.ok("DELETE /users/me/subscriptions", subscriptions=["sandbox"])
    options: dict[str, tuple[dict[str, Any], list[str]]] = {
        "own": ({}, ["message", "message", "reaction"]),
        "reactions": ({"event_types": ["reaction"]}, ["reaction"]),
        "narrow": ({"narrow": [["stream", "general"]]}, ["message", "reaction"]),
        "public": ({"all_public_streams": True, "queue_lifespan_secs": 1000}, ["message"] * 3),
    }
    queues = {name: org.bot.register(**params) for name, (params, _) in options.items()}
    html = org.bot.register(apply_markdown=True)
    send(org, "1 < 2")
    for channel in ("general", "sandbox"):
        org.server.send("hamlet@zulip.com", channel, "hi", topic="t")
    org.iago.ok("POST /messages/2/reactions", emoji_name="wave")
    for name, (_, expected) in options.items():
        types = [event["type"] for event in org.bot.events(queues[name])]
        assert types[: len(expected)] == expected, name
    message = org.bot.events(html)[0]["message"]
    assert (message["content"], message["content_type"]) == ("<p>1 &lt; 2</p>", "text/html")
    error = org.bot.error("POST /register", narrow=[["id", "1"]])
    assert error == "Operator id not supported."
    org.server.advance(700)
    assert list(org.server._state.queues) == [queues["public"]]
    org.server.advance(1000)
    assert list(org.server._state.queues) == []


def test_queue_belongs_to_its_owner(org: Organization) -> None:
    queue = org.bot.register()
    assert poll(org.hamlet, queue) == {
        "result": "error",
        "msg": f"Bad event queue ID: {queue}",
        "queue_id": queue,
        "code": "BAD_EVENT_QUEUE_ID",
    }


async def test_expired_queues(org: Organization) -> None:
    idle, polled = org.bot.register(), org.bot.register()
    polling = await start_poll(org.bot, polled)
    org.server.advance(49)
    assert org.server._state.queues[polled].events == []
    org.server.advance(600)  # the waiting poll keeps its queue, and gets a heartbeat
    assert (await polling)["events"] == [{"type": "heartbeat", "id": 0}]
    assert poll(org.bot, idle)["code"] == "BAD_EVENT_QUEUE_ID"
    idle, polling = org.bot.register(), await start_poll(org.bot, org.bot.register())
    org.server.expire_queues()
    assert (await polling)["code"] == "BAD_EVENT_QUEUE_ID"
    assert poll(org.bot, idle)["code"] == "BAD_EVENT_QUEUE_ID"


async def test_outage_drops_polls_and_keeps_queues(org: Organization) -> None:
    queue = org.bot.register()
    polling = await start_poll(org.bot, queue)
    org.server.stop()
    with pytest.raises(httpx.TransportError):
        await polling
    with pytest.raises(httpx.ConnectError):
        poll(org.bot, queue)
    org.server.start()
    send(org)
    assert len(poll(org.bot, queue)["events"]) == 1


@pytest.mark.filterwarnings("ignore:FakeZulip does not serve the data of user_settings")
def test_register_with_data(org: Organization) -> None:
    body = org.iago.ok("POST /register")
    assert (body["last_event_id"], body["realm_name"]) == (-1, "Zulip Dev")
    assert json.dumps(body["zulip_feature_level"]) == "325"
    always = {"queue_id", "last_event_id", "zulip_version", "zulip_feature_level"}
    always.add("zulip_merge_base")
    body = org.iago.ok("POST /register", event_types=["message", "reaction"])
    assert body.keys() == always | {"max_message_id"}
    org.hamlet.account.active = False
    types = {"event_types": ["message"], "fetch_event_types": ["realm_bot", "realm_user"]}
    body = org.iago.ok("POST /register", **types)
    assert "max_message_id" not in body
    [bot] = body["realm_bots"]
    assert (bot["full_name"], bot["owner_id"]) == ("Echo", org.iago.id)
    assert [user["email"] for user in body["realm_non_active_users"]] == ["hamlet@zulip.com"]
    assert (len(body["realm_users"]), body["full_name"]) == (3, "iago")
    for include, count in (("true", 3), ("false", 0)):
        params = {"include_subscribers": include, "fetch_event_types": ["subscription"]}
        body = org.iago.ok("POST /register", **params)
        assert len(body["subscriptions"][0].get("subscribers", [])) == count
    count = len(org.server._state.queues)
    body = org.iago("POST /register", event_types=["message", "user_settings"])
    assert body["code"] == "NOT_SERVED_BY_FAKE_ZULIP"
    assert "the data of user_settings in POST /register" in body["msg"]
    assert len(org.server._state.queues) == count
