"""Event queues of the stand-in server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from helpers.api_client import APIClient
from zulip_auth.testing import FakeZulip

PASSWORDS = {"iago@zulip.com": "x", "hamlet@zulip.com": "x"}
EVENTS = "/api/v1/events"


async def poll(client: APIClient, queue_id: str, last_event_id: object = -1, **params: str) -> Any:
    query = {"queue_id": queue_id, "last_event_id": str(last_event_id), **params}
    return await client.call("GET", "/events", **query)


async def register(client: APIClient, **params: str) -> str:
    return str((await client.call("POST", "/register", **params))["queue_id"])


async def send_direct(client: APIClient, to: str, content: str = "hi") -> None:
    body = await client.call("POST", "/messages", type="direct", to=to, content=content)
    assert body["result"] == "success"


async def test_poll_waits_for_event() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago, hamlet = APIClient(server, "iago@zulip.com"), APIClient(server, "hamlet@zulip.com")
        queue_id = await register(hamlet)
        waiting = asyncio.create_task(poll(hamlet, queue_id))
        await server.wait_for("GET", EVENTS)
        await send_direct(iago, "hamlet@zulip.com")
        body = await waiting
        assert [event["type"] for event in body["events"]] == ["message"]
        assert body["queue_id"] == queue_id


async def test_events_until_acknowledged() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        queue_id = await register(iago)
        for content in ("one", "two"):
            await send_direct(iago, "iago@zulip.com", content)
        for last_event_id, expected in ((-1, [0, 1]), (-1, [0, 1]), (0, [1])):
            body = await poll(iago, queue_id, last_event_id)
            assert [event["id"] for event in body["events"]] == expected
            assert "queue_id" not in body
        body = await poll(iago, queue_id, 1, dont_block="true")
        assert body["events"] == []


@pytest.mark.parametrize(
    ("last_event_id", "msg"),
    [
        (-1, "An event newer than -1 has already been pruned!"),
        (7, "Event 7 was not in this queue"),
        ("x", "last_event_id is not valid JSON"),
        ('"x"', "last_event_id is not an integer"),
    ],
)
async def test_invalid_last_event_id(last_event_id: object, msg: str) -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        queue_id = await register(iago)
        await send_direct(iago, "iago@zulip.com")
        await poll(iago, queue_id, 0, dont_block="true")
        body = await poll(iago, queue_id, last_event_id)
        assert body == {"result": "error", "msg": msg, "code": "BAD_REQUEST"}


async def test_missing_last_event_id() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        body = await iago.call("GET", "/events", queue_id=await register(iago))
        assert body["msg"] == "Missing 'last_event_id' argument"
        body = await iago.call("GET", "/events")
        assert body["msg"] == "Missing 'queue_id' argument"


async def test_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zulip_auth.testing.queues.HEARTBEAT", 0.01)
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        queue_id = await register(iago, event_types='["message"]')
        assert (await poll(iago, queue_id))["events"] == [{"type": "heartbeat", "id": 0}]


async def test_event_types() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        messages = await register(iago, event_types='["message"]')
        reactions = await register(iago, event_types='["reaction"]')
        await send_direct(iago, "iago@zulip.com")
        await iago.call("POST", "/messages/1/reactions", emoji_name="wave")
        for queue_id, expected in ((messages, "message"), (reactions, "reaction")):
            body = await poll(iago, queue_id, dont_block="true")
            assert [event["type"] for event in body["events"]] == [expected]


async def test_apply_markdown() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        queue_id = await register(iago, apply_markdown="true")
        await send_direct(iago, "iago@zulip.com", "1 < 2")
        [event] = (await poll(iago, queue_id))["events"]
        assert event["message"]["content"] == "<p>1 &lt; 2</p>"
        assert event["message"]["content_type"] == "text/html"


async def test_narrow() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        queue_id = await register(iago, narrow='[["stream", "general"]]')
        server.send("hamlet@zulip.com", "iago@zulip.com", "not in a channel")
        server.send("hamlet@zulip.com", "sandbox", "in another one", topic="t")
        server.send("hamlet@zulip.com", "general", "hi", topic="t")
        [event] = (await poll(iago, queue_id))["events"]
        assert event["message"]["content"] == "hi"
        body = await iago.call("POST", "/register", narrow='[["id", "1"]]')
        assert body["msg"] == "Operator id not supported."


async def test_queue_belongs_to_its_owner() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago, hamlet = APIClient(server, "iago@zulip.com"), APIClient(server, "hamlet@zulip.com")
        queue_id = await register(iago)
        bad_queue = {
            "result": "error",
            "msg": f"Bad event queue ID: {queue_id}",
            "queue_id": queue_id,
            "code": "BAD_EVENT_QUEUE_ID",
        }
        assert await poll(hamlet, queue_id) == bad_queue
        body = await iago.call("DELETE", "/events", queue_id=queue_id)
        assert body == {"result": "success", "msg": ""}
        assert await poll(iago, queue_id) == bad_queue


async def test_deleting_queue_ends_its_poll() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        queue_id = await register(iago)
        waiting = asyncio.create_task(poll(iago, queue_id))
        [request] = await server.wait_for("GET", EVENTS)
        assert request.query["last_event_id"] == "-1"
        await iago.call("DELETE", "/events", queue_id=queue_id)
        assert (await waiting)["events"] == []


async def test_second_poll_ends_first() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        queue_id = await register(iago)
        first = asyncio.create_task(poll(iago, queue_id))
        await server.wait_for("GET", EVENTS)
        second = asyncio.create_task(poll(iago, queue_id))
        assert (await first)["events"] == []
        await send_direct(iago, "iago@zulip.com")
        assert len((await second)["events"]) == 1


async def test_expired_queue() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        idle, polled = await register(iago), await register(iago)
        waiting = asyncio.create_task(poll(iago, polled))
        await server.wait_for("GET", EVENTS)
        server.expire_queues()
        assert (await waiting)["code"] == "BAD_EVENT_QUEUE_ID"
        assert (await poll(iago, idle))["code"] == "BAD_EVENT_QUEUE_ID"


async def test_idle_queue_expires() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        idle, polled = await register(iago), await register(iago)
        waiting = asyncio.create_task(poll(iago, polled))
        await server.wait_for("GET", EVENTS)
        server.advance(49)
        assert server._state.queues[polled].events == []
        server.advance(600)  # the waiting poll keeps its queue, and gets a heartbeat
        assert (await waiting)["events"] == [{"type": "heartbeat", "id": 0}]
        assert list(server._state.queues) == [polled]
        assert (await poll(iago, polled, 0, dont_block="true"))["result"] == "success"
        assert (await poll(iago, idle))["code"] == "BAD_EVENT_QUEUE_ID"


async def test_stop_drops_polls() -> None:
    server = FakeZulip(PASSWORDS)
    server.start()
    iago = APIClient(server, "iago@zulip.com")
    queue_id = await register(iago)
    waiting = asyncio.create_task(poll(iago, queue_id))
    await server.wait_for("GET", EVENTS)
    await server.__aexit__(None, None, None)
    with pytest.raises(httpx.TransportError):
        await waiting


async def test_queues_survive_outage() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        queue_id = await register(iago)
        waiting = asyncio.create_task(poll(iago, queue_id))
        await server.wait_for("GET", EVENTS)
        server.stop()
        with pytest.raises(httpx.TransportError):
            await waiting
        with pytest.raises(httpx.ConnectError):
            await poll(iago, queue_id)
        server.start()
        await send_direct(iago, "iago@zulip.com")
        assert len((await poll(iago, queue_id))["events"]) == 1


async def test_register_with_event_types() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        always = {"result", "msg", "queue_id", "last_event_id", "zulip_version"}
        always |= {"zulip_feature_level", "zulip_merge_base"}
        body = await iago.call("POST", "/register", event_types='["message", "reaction"]')
        assert body.keys() == always | {"max_message_id"}
        types = {"event_types": '["message"]', "fetch_event_types": '["realm_bot", "realm_user"]'}
        server.add_bot("iago@zulip.com", "Echo")
        server.account("hamlet@zulip.com").active = False
        body = await iago.call("POST", "/register", **types)
        assert "max_message_id" not in body
        [bot] = body["realm_bots"]
        assert (bot["full_name"], bot["owner_id"]) == ("Echo", iago.account.user_id)
        assert [user["email"] for user in body["realm_non_active_users"]] == ["hamlet@zulip.com"]
        assert (len(body["realm_users"]), body["full_name"]) == (2, "Test User")
        types = {"fetch_event_types": '["subscription"]'}
        for include, count in (("true", 2), ("false", 0)):
            body = await iago.call("POST", "/register", include_subscribers=include, **types)
            assert len(body["subscriptions"][0].get("subscribers", [])) == count


@pytest.mark.filterwarnings("ignore:FakeZulip does not serve the data of user_settings")
async def test_register_with_unknown_data() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        body = await iago.call("POST", "/register", event_types='["message", "user_settings"]')
        assert body["code"] == "NOT_SERVED_BY_FAKE_ZULIP"
        assert "the data of user_settings in POST /register" in body["msg"]
        assert server._state.queues == {}


async def test_all_public_streams_and_lifespan() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        await iago.call("DELETE", "/users/me/subscriptions", subscriptions='["general"]')
        own = await register(iago)
        public = await register(iago, all_public_streams="true", queue_lifespan_secs="1000")
        server.send("hamlet@zulip.com", "general", "hi", topic="t")
        assert (await poll(iago, own, dont_block="true"))["events"] == []
        assert len((await poll(iago, public))["events"]) == 1
        server.advance(700)
        assert list(server._state.queues) == [public]
        server.advance(1000)
        assert list(server._state.queues) == []


async def test_register_response() -> None:
    async with FakeZulip(PASSWORDS) as server:
        body = await APIClient(server, "iago@zulip.com").call("POST", "/register")
        assert (body["last_event_id"], body["realm_name"]) == (-1, "Zulip Dev")
        assert json.dumps(body["zulip_feature_level"]) == "325"
