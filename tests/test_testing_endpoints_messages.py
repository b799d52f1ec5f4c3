"""Messages, reactions and channels of the stand-in server."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from helpers.api_client import APIClient
from helpers.caller import Organization, org
from zulip_auth.testing import FakeZulip

__all__ = ["org"]

PASSWORDS = {"iago@zulip.com": "x", "hamlet@zulip.com": "x", "othello@zulip.com": "x"}


async def send(client: APIClient, content: str = "hi", **params: str) -> dict[str, Any]:
    params = {"type": "channel", "to": "general", "topic": "t", **params}
    return await client.call("POST", "/messages", content=content, **params)


async def events(client: APIClient, queue_id: str) -> list[dict[str, Any]]:
    query = {"queue_id": queue_id, "last_event_id": "-1", "dont_block": "true"}
    found: list[dict[str, Any]] = (await client.call("GET", "/events", **query))["events"]
    return found


async def register(client: APIClient) -> str:
    return str((await client.call("POST", "/register"))["queue_id"])


@pytest.mark.parametrize("to", ["hamlet@zulip.com", '["hamlet@zulip.com"]', "[11]", "11"])
async def test_direct_message(to: str) -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago, hamlet, othello = (APIClient(server, email) for email in PASSWORDS)
        queues = {client: await register(client) for client in (iago, hamlet, othello)}
        to = "[11]" if to == "11" else to
        assert await send(iago, type="direct", to=to) == {"result": "success", "msg": "", "id": 1}
        [event] = await events(hamlet, queues[hamlet])
        message = event["message"]
        assert (event["id"], event["flags"], message["type"]) == (0, [], "private")
        assert message["sender_email"] == "iago@zulip.com"
        assert message["display_recipient"] == [
            {"id": id_, "email": email, "full_name": "Test User", "is_mirror_dummy": False}
            for id_, email in ((11, "hamlet@zulip.com"), (10, "iago@zulip.com"))
        ]
        assert "stream_id" not in message
        assert len(await events(iago, queues[iago])) == 1
        assert await events(othello, queues[othello]) == []


async def test_direct_message_to_self() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        queue_id = await register(iago)
        await send(iago, type="private", to="iago@zulip.com")
        [event] = await events(iago, queue_id)
        assert [user["id"] for user in event["message"]["display_recipient"]] == [10]


@pytest.mark.parametrize("to", ["general", "GENERAL", '"general"', '["general"]', "1"])
async def test_channel_message(to: str) -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago, hamlet, _ = (APIClient(server, email) for email in PASSWORDS)
        server.account("othello@zulip.com").active = False
        queue_id = await register(hamlet)
        await send(iago, to=to)
        [event] = await events(hamlet, queue_id)
        message = event["message"]
        assert (message["type"], message["stream_id"], message["subject"]) == ("stream", 1, "t")
        assert message["display_recipient"] == "general"
        assert len(server._state.messages[1].recipients) == 2


async def test_hidden_emails_in_messages() -> None:
    async with FakeZulip(PASSWORDS) as server:
        server.realm.hide_emails = True
        bot = APIClient(server, server.add_bot("iago@zulip.com", "Echo").email)
        iago = APIClient(server, "iago@zulip.com")
        queue_id = await register(bot)
        await send(iago, type="direct", to=bot.account.email)
        [event] = await events(bot, queue_id)
        message = event["message"]
        assert message["sender_email"] == "user10@zulipdev.com"
        emails = {user["email"] for user in message["display_recipient"]}
        assert emails == {"user10@zulipdev.com", bot.account.email}


@pytest.mark.parametrize(
    ("content", "flags"),
    [
        ("Hello @**King Hamlet**!", ["mentioned"]),
        ("@**king hamlet|11** hello", ["mentioned"]),
        ("@**|11**", ["mentioned"]),
        ("@**King Hamlet|10**", []),
        ("@_**King Hamlet**", []),
        ("@**Test User**", []),
        ("Is PIZZA ready?", ["has_alert_word"]),
        ("pizzas, @**King Hamlet**", ["mentioned"]),
        ("minipizza, C", []),
        ("I like C++.", ["has_alert_word"]),
        ("@**King Hamlet**: pizza", ["mentioned", "has_alert_word"]),
    ],
)
async def test_flags(content: str, flags: list[str]) -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago, hamlet, _ = (APIClient(server, email) for email in PASSWORDS)
        hamlet.account.full_name, hamlet.account.alert_words = "King Hamlet", ["pizza", "c++"]
        queue_id = await register(hamlet)
        await send(iago, content)
        [event] = await events(hamlet, queue_id)
        assert event["flags"] == flags
        message = await hamlet.call("GET", "/messages/1")
        assert message["message"]["flags"] == flags


async def test_client_name() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        await send(iago)
        assert server._state.messages[1].client == f"python-{httpx.__name__}"


NO_CHANNEL = {"code": "STREAM_DOES_NOT_EXIST", "result": "error"}


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"to": "Rome"}, {"msg": "Channel 'Rome' does not exist", "stream": "Rome", **NO_CHANNEL}),
        ({"to": "7"}, {"msg": "Channel with ID '7' does not exist", "stream_id": 7, **NO_CHANNEL}),
        ({"topic": " "}, "Topic can't be empty!"),
        ({"type": "huddle"}, "Invalid type"),
        ({"content": ""}, "Message must not be empty"),
        ({"content": " \n"}, "Message must not be empty"),
        ({"type": "direct", "to": "[]"}, "Message must have recipients!"),
        ({"type": "direct", "to": "7"}, "Invalid data type for recipients"),
        ({"type": "direct", "to": "[{}]"}, "Invalid data type for recipients"),
        ({"type": "direct", "to": "[7]"}, "Invalid user ID 7"),
        ({"type": "direct", "to": "unknown@zulip.com"}, "Invalid email 'unknown@zulip.com'"),
        (
            {"type": "direct", "to": "othello@zulip.com"},
            "'othello@zulip.com' is no longer using Zulip.",
        ),
    ],
)
async def test_rejected_message(params: dict[str, str], error: object) -> None:
    async with FakeZulip(PASSWORDS) as server:
        server.account("othello@zulip.com").active = False
        iago = APIClient(server, "iago@zulip.com")
        if isinstance(error, str):
            error = {"result": "error", "msg": error, "code": "BAD_REQUEST"}
        assert await send(iago, **params) == error
        assert server._state.messages == {}


async def test_missing_topic() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        body = await iago.call("POST", "/messages", type="stream", to="general", content="hi")
        assert body["msg"] == "Missing topic"
        params = {"type": "stream", "to": "general", "subject": "old name"}
        assert (await iago.call("POST", "/messages", content="hi", **params))["id"] == 1
        assert server._state.messages[1].topic == "old name"


async def test_long_message_is_truncated() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        await send(iago, "x" * 10_000, topic="y" * 60)
        await send(iago, "x" * 10_001, topic="y" * 61)
        first, second = server._state.messages.values()
        assert (len(first.content), first.topic) == (10_000, "y" * 60)
        assert len(second.content) == 10_000
        assert second.content.endswith("xx\n[message truncated]")
        assert second.topic == "y" * 57 + "..."


@pytest.mark.parametrize(
    ("anchor", "before", "after", "ids", "found"),
    [
        ("newest", 2, 0, [4, 5], (False, False, True)),
        ("first_unread", 9, 2, [1, 2, 3], (True, True, False)),
        ("oldest", 0, 2, [1, 2], (False, True, False)),
        ("3", 1, 1, [2, 3, 4], (True, False, False)),
    ],
)
async def test_get_messages(
    anchor: str, before: int, after: int, ids: list[int], found: tuple[bool, bool, bool]
) -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago, hamlet, othello = (APIClient(server, email) for email in PASSWORDS)
        for _ in range(5):
            await send(iago, "<b>")
        await send(othello, type="direct", to="hamlet@zulip.com")  # not for iago
        query = {"anchor": anchor, "num_before": str(before), "num_after": str(after)}
        body = await iago.call("GET", "/messages", **query)
        assert [message["id"] for message in body["messages"]] == ids
        assert (body["found_anchor"], body["found_oldest"], body["found_newest"]) == found
        assert body["messages"][0]["content"] == "<p>&lt;b&gt;</p>"
        body = await hamlet.call("GET", "/messages", apply_markdown="false", **query)
        assert body["messages"][0]["content"] == "<b>"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"num_before": "1"}, "BAD_REQUEST"),
        ({"num_before": "1", "num_after": "0", "anchor": "here"}, "BAD_REQUEST"),
        (
            {"num_before": "1", "num_after": "0", "anchor": "newest", "narrow": '[["is","x"]]'},
            "BAD_NARROW",
        ),
    ],
)
async def test_invalid_message_query(params: dict[str, str], code: str) -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        assert (await iago.call("GET", "/messages", **params))["code"] == code


async def test_get_message() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago, hamlet, othello = (APIClient(server, email) for email in PASSWORDS)
        await send(iago, "hi", type="direct", to="hamlet@zulip.com")
        body = await hamlet.call("GET", "/messages/1")
        assert (body["raw_content"], body["message"]["content"]) == ("hi", "<p>hi</p>")
        for client, path in ((othello, "/messages/1"), (hamlet, "/messages/2")):
            assert (await client.call("GET", path))["msg"] == "Invalid message(s)"


async def test_edit_message() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago, hamlet, _ = (APIClient(server, email) for email in PASSWORDS)
        await send(iago, "helo")
        assert (await iago.call("PATCH", "/messages/1", content="hello"))["result"] == "success"
        body = await hamlet.call("PATCH", "/messages/1", content="x")
        assert body["msg"] == "You don't have permission to edit this message"
        assert (await iago.call("PATCH", "/messages/1"))["msg"] == "Nothing to change"
        assert server._state.messages[1].content == "hello"


async def test_edit_message_with_json_body() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago = APIClient(server, "iago@zulip.com")
        await send(iago, "helo")
        async with httpx.AsyncClient(auth=(iago.account.email, iago.account.api_key)) as http:
            response = await http.patch(f"{iago.url}/messages/1", json={"content": "hello"})
        assert response.json()["msg"] == "Nothing to change"


async def test_reactions() -> None:
    async with FakeZulip(PASSWORDS) as server:
        iago, hamlet, _ = (APIClient(server, email) for email in PASSWORDS)
        await send(iago)
        queue_id, path = await register(iago), "/messages/1/reactions"
        assert (await hamlet.call("POST", path, emoji_name="wave"))["result"] == "success"
        body = await hamlet.call("POST", path, emoji_name="wave")
        assert body["code"] == "REACTION_ALREADY_EXISTS"
        [reaction] = (await iago.call("GET", "/messages/1"))["message"]["reactions"]
        assert (reaction["emoji_name"], reaction["user"]["id"]) == ("wave", 11)
        assert (await iago.call("DELETE", path, emoji_name="wave"))["code"] == (
            "REACTION_DOES_NOT_EXIST"
        )
        assert (await hamlet.call("DELETE", path, emoji_name="wave"))["result"] == "success"
        assert (await iago.call("GET", "/messages/1"))["message"]["reactions"] == []
        added, removed = await events(iago, queue_id)
        assert (added["type"], added["op"], removed["op"]) == ("reaction", "add", "remove")
        assert (added["message_id"], added["user"]["user_id"]) == (1, 11)


async def test_channels() -> None:
    async with FakeZulip(PASSWORDS) as server:
        server.realm.channels.append("Verona")
        server.add_realm("localhost").add_user("x@zulip.com", "x")
        iago = APIClient(server, "iago@zulip.com")
        await send(iago, to="Verona")
        streams = (await iago.call("GET", "/streams"))["streams"]
        assert [(stream["stream_id"], stream["name"]) for stream in streams] == [
            (1, "general"),
            (2, "sandbox"),
            (3, "Verona"),
        ]
        stream = (await iago.call("GET", "/streams/3"))["stream"]
        assert (stream["name"], stream["first_message_id"]) == ("Verona", 1)
        assert (await iago.call("GET", "/streams/4"))["msg"] == "Invalid channel ID"
        assert json.dumps(streams[0]["first_message_id"]) == "null"


def test_message_is_checked(org: Organization) -> None:
    message = {"type_": "channel", "to": "general", "topic": "t"}
    for params, error in (
        ({"content": "a\0b"}, "Message must not contain null bytes"),
        ({"content": "a", "topic": "a\nb"}, "Invalid character in topic, at position 2!"),
        ({"content": "a", "to": [1, 2]}, "Expected exactly one channel"),
        ({"content": "a", "to": {}}, "Invalid data type for channel"),
        ({"content": "a", "type_": "direct", "to": [10, "x"]}, "Recipient lists may contain"),
        ({"content": "a", "forged": "yes"}, "User not authorized for this query"),
        ({"content": "a", "sender": "x@zulip.com"}, "Invalid mirrored message"),
        ({}, "Missing 'content' argument"),
    ):
        assert org.bot.error("POST /messages", **{**message, **params}).startswith(error)
    assert org.server.messages == ()


def test_local_id_and_read_by_sender(org: Organization) -> None:
    queue, other = org.bot.register(), org.bot.register()
    message = {"type_": "channel", "to": "general", "topic": "t", "content": "@**all**"}
    ids = {"queue_id": queue, "local_id": "7.1", "read_by_sender": True}
    assert org.bot.ok("POST /messages", **message, **ids) == {"id": 1}
    [event] = org.bot.events(queue)
    assert event["local_message_id"] == "7.1"
    assert event["flags"] == ["read", "stream_wildcard_mentioned"]
    assert "local_message_id" not in org.bot.events(other)[0]


@pytest.mark.filterwarnings("ignore:FakeZulip does not serve widgets")
def test_widgets_are_not_served(org: Organization) -> None:
    message = {"type_": "channel", "to": "general", "topic": "t", "content": "/poll"}
    body = org.bot("POST /messages", widget_content="{}", **message)
    assert body["code"] == "NOT_SERVED_BY_FAKE_ZULIP"


def test_move_topic(org: Organization) -> None:
    for topic in ("a", "A", "a", "b"):
        org.server.send("iago@zulip.com", "general", "hi", topic=topic)
    queue = org.bot.register(event_types=["update_message"])
    org.bot.ok("PATCH /messages/2", topic="A")  # no change
    body = org.bot.ok("PATCH /messages/2", topic="c", propagate_mode="change_later")
    assert body == {"detached_uploads": []}
    assert [message.topic for message in org.server.messages] == ["a", "c", "c", "b"]
    unchanged, event = org.bot.events(queue)
    assert "orig_subject" not in unchanged
    assert (event["orig_subject"], event["subject"], event["message_ids"]) == ("A", "c", [2, 3])
    assert (event["propagate_mode"], "content" in event) == ("change_later", False)
    org.bot.ok("PATCH /messages/2", stream_id=2, propagate_mode="change_all")
    assert [message.channel for message in org.server.messages] == [
        "general",
        "sandbox",
        "sandbox",
        "general",
    ]
    event = org.bot.events(queue)[2]
    assert (event["stream_id"], event["new_stream_id"], "subject" in event) == (1, 2, False)


def test_edited_message(org: Organization) -> None:
    queue = org.iago.register(event_types=["update_message"])
    org.server.send(org.bot.account, "general", "helo", topic="t")
    org.bot.ok("PATCH /messages/1", content="hello @**iago**", topic="u")
    org.bot.ok("PATCH /messages/1", stream_id=2)
    message = org.iago.ok("GET /messages/1")["message"]
    assert [entry.keys() - {"user_id", "timestamp"} for entry in message["edit_history"]] == [
        {"prev_stream", "stream"},
        {"prev_content", "prev_rendered_content", "prev_rendered_content_version"}
        | {"prev_topic", "topic"},
    ]
    history = org.iago.ok("GET /messages/1/history")["message_history"]
    assert [(e["content"], e["topic"]) for e in history] == [
        ("helo", "t"),
        ("hello @**iago**", "u"),
        ("hello @**iago**", "u"),
    ]
    assert history[1]["prev_content"] == "helo" and "content_html_diff" in history[1]
    org.server.send(org.bot.account, org.iago.account, "helo")
    org.bot.ok("PATCH /messages/2", content="hello")
    event, *_, direct = org.iago.events(queue)
    assert (direct["content"], "stream_id" in direct) == ("hello", False)
    assert (event["orig_content"], event["content"]) == ("helo", "hello @**iago**")
    assert event["flags"] == ["mentioned"]


def test_rejected_edits(org: Organization) -> None:
    org.server.send(org.bot.account, "general", "hi", topic="t")
    org.server.send(org.bot.account, org.iago.account, "hi")
    for id_, params, error in (
        (1, {"propagate_mode": "change_all", "content": "x"}, "Invalid propagate_mode without"),
        (1, {"stream_id": 2, "content": "x"}, "Cannot change message content while"),
        (1, {"topic": " "}, "Topic can't be empty!"),
        (2, {"stream_id": 2}, "Direct messages cannot be moved to channels."),
        (2, {"topic": "x"}, "Direct messages cannot have topics."),
        (3, {"topic": "x"}, "Invalid message(s)"),
    ):
        assert org.bot.error(f"PATCH /messages/{id_}", **params).startswith(error)
    error = org.guest.error("PATCH /messages/1", stream_id=2)
    assert error == "You don't have permission to move this message"
    org.server.advance(700)
    error = org.bot.error("PATCH /messages/1", content="x")
    assert error == "The time limit for editing this message has passed"
    assert org.server.messages[0].edits == []


def test_delete_message(org: Organization) -> None:
    for _ in range(3):
        org.server.send(org.bot.account, "general", "hi", topic="t")
    org.server.send(org.bot.account, org.iago.account, "hi")
    old = org.iago.register(event_types=["delete_message"])
    bulk = {"bulk_message_deletion": True}
    new = org.iago.register(event_types=["delete_message"], client_capabilities=bulk)
    reactions = org.iago.register(event_types=["reaction"])
    assert org.bot.ok("DELETE /messages/1") == {}
    assert org.iago.events(reactions) == []
    assert org.iago.ok("DELETE /messages/4") == {}  # the owner of the bot
    error = org.hamlet.error("DELETE /messages/2")
    assert error == "You don't have permission to delete this message"
    assert [event["message_id"] for event in org.iago.events(old)] == [1, 4]
    assert [event["message_ids"] for event in org.iago.events(new)] == [[1], [4]]
    org.server.advance(700)
    error = org.bot.error("DELETE /messages/2")
    assert error == "The time limit for deleting this message has passed"
    org.hamlet.account.role = 200
    assert org.hamlet.ok("DELETE /messages/2") == {}
    assert org.server.send(org.bot.account, "general", "hi", topic="t") == 5  # no id is reused


def test_render(org: Organization) -> None:
    assert org.bot.ok("POST /messages/render", content="a<b") == {"rendered": "<p>a&lt;b</p>"}
    assert org.bot.error("POST /messages/render") == "Missing 'content' argument"


def test_invalid_reaction(org: Organization) -> None:
    org.server.send(org.bot.account, "general", "hi", topic="t")
    route = "POST /messages/1/reactions"
    error = org.bot.error(route, emoji_name="wave", reaction_type="x")
    assert error == "Invalid emoji type."
    assert org.bot.ok(route, emoji_name="wave", emoji_code="1f44b") == {}
    body = org.bot(route, emoji_name="waving", emoji_code="1f44b")
    assert body["code"] == "REACTION_ALREADY_EXISTS"
    route = "DELETE /messages/1/reactions"
    error = org.bot.error(route)
    assert error.startswith("At least one of the following arguments must be present: ")
    assert org.iago(route, emoji_code="1f44b")["code"] == "REACTION_DOES_NOT_EXIST"
    assert org.bot.ok(route, emoji_code="1f44b") == {}
    assert org.server.messages[0].reactions == []
