"""Endpoints of the stand-in server that send and change messages, and reactions."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from helpers.caller import Organization

SEND = "POST /messages"
CHANNEL = {"type_": "channel", "to": "general", "topic": "t", "content": "hi"}
DIRECT = {"type_": "direct", "to": [11], "content": "hi"}


def test_direct_message(org: Organization) -> None:
    queues = {caller: caller.register() for caller in (org.iago, org.hamlet, org.bot)}
    for to in ("hamlet@zulip.com", '["hamlet@zulip.com"]', [11]):
        org.iago.ok(SEND, type_="direct", to=to, content="hi")
    assert org.iago.ok(SEND, type_="private", to="iago@zulip.com", content="note") == {"id": 4}
    events = org.hamlet.events(queues[org.hamlet])
    assert [(event["id"], event["flags"]) for event in events] == [(0, []), (1, []), (2, [])]
    for event in events:
        message = event["message"]
        assert (message["type"], message["sender_email"]) == ("private", "iago@zulip.com")
        assert "stream_id" not in message
        assert message["display_recipient"] == [
            {"id": id_, "email": f"{name}@zulip.com", "full_name": name, "is_mirror_dummy": False}
            for id_, name in ((11, "hamlet"), (10, "iago"))
        ]
    note = org.iago.events(queues[org.iago])[3]["message"]
    assert [user["id"] for user in note["display_recipient"]] == [10]
    assert note["client"] == f"python-{httpx.__name__}"
    assert org.bot.events(queues[org.bot]) == []


def test_channel_message(org: Organization) -> None:
    queue = org.hamlet.register()
    for to in ("general", "GENERAL", '"general"', '["general"]', "1"):
        org.iago.ok(SEND, **CHANNEL | {"to": to})
    org.iago.ok(SEND, type_="stream", to="general", subject="t", content="the old name")
    for message in (event["message"] for event in org.hamlet.events(queue)):
        assert (message["type"], message["stream_id"], message["subject"]) == ("stream", 1, "t")
        assert message["display_recipient"] == "general"
    assert len(org.server.messages) == 6
    org.hamlet.account.active = False
    org.iago.ok(SEND, **CHANNEL)
    assert org.hamlet.account not in org.server.messages[6].recipients


def test_hidden_emails_in_messages(org: Organization) -> None:
    org.server.realm.hide_emails = True
    queue = org.bot.register()
    org.iago.ok(SEND, type_="direct", to=org.bot.account.email, content="hi")
    message = org.bot.events(queue)[0]["message"]
    assert message["sender_email"] == "user10@zulipdev.com"
    emails = {user["email"] for user in message["display_recipient"]}
    assert emails == {"user10@zulipdev.com", org.bot.account.email}


def test_flags_of_content(org: Organization) -> None:
    account = org.hamlet.account
    account.full_name, account.alert_words = "King Hamlet", ["pizza", "c++"]
    flags = {
        "Hello @**King Hamlet**!": ["mentioned"],
        "@**|11**": ["mentioned"],
        "@**King Hamlet|10**": [],
        "@_**King Hamlet**": [],
        "Is PIZZA ready?": ["has_alert_word"],
        "pizzas, @**King Hamlet**": ["mentioned"],
        "minipizza, C": [],
        "I like C++.": ["has_alert_word"],
        "@**King Hamlet**: pizza": ["mentioned", "has_alert_word"],
        "@**all**": ["stream_wildcard_mentioned"],
    }
    queue = org.hamlet.register()
    for content in flags:
        org.iago.ok(SEND, **CHANNEL | {"content": content})
    events = org.hamlet.events(queue)
    assert {event["message"]["content"]: event["flags"] for event in events} == flags
    assert org.hamlet.ok("GET /messages/1")["message"]["flags"] == ["mentioned"]


@pytest.mark.filterwarnings("ignore:FakeZulip does not serve widgets")
def test_rejected_messages(org: Organization) -> None:
    org.guest.account.active = False
    for to, name in (("Rome", "stream"), (7, "stream_id")):
        body = org.iago(SEND, **CHANNEL | {"to": to})
        assert (body["code"], body[name]) == ("STREAM_DOES_NOT_EXIST", to)
        assert body["msg"].startswith("Channel ")
    org.iago.check_errors(
        SEND,
        CHANNEL,
        [
            ({"topic": None}, "Missing topic"),
            ({"topic": "a\nb"}, "Invalid character in topic, at position 2!"),
            ({"subject": "t"}, "Can't decide between 'topic' and 'subject' arguments"),
            ({"content": " \n"}, "Message must not be empty"),
            ({"content": "a\0b"}, "Message must not contain null bytes"),
            ({"to": [1, 2]}, "Expected exactly one channel"),
            ({"to": {}}, "Invalid data type for channel"),
            ({"forged": "yes"}, "User not authorized for this query"),
            ({"sender": "x@zulip.com"}, "Invalid mirrored message"),
            ({"widget_content": "{}"}, "FakeZulip does not serve widgets"),
        ],
    )
    org.iago.check_errors(
        SEND,
        DIRECT,
        [
            ({"to": []}, "Message must have recipients!"),
            ({"to": "7"}, "Invalid data type for recipients"),
            ({"to": [{}]}, "Invalid data type for recipients"),
            ({"to": [7]}, "Invalid user ID 7"),
            ({"to": [10, "x"]}, "Recipient lists may contain emails or user IDs, but not both."),
            ({"to": "unknown@zulip.com"}, "Invalid email 'unknown@zulip.com'"),
            ({"to": "polonius@zulip.com"}, "'polonius@zulip.com' is no longer using Zulip."),
        ],
    )
    assert org.server.messages == ()


def test_long_message_is_truncated(org: Organization) -> None:
    for extra in (0, 1):
        long = {"content": "x" * (10_000 + extra), "topic": "y" * (60 + extra)}
        org.iago.ok(SEND, **CHANNEL | long)
    first, second = org.server.messages
    assert (len(first.content), first.topic) == (10_000, "y" * 60)
    assert (len(second.content), second.topic) == (10_000, "y" * 57 + "...")
    assert second.content.endswith("xx\n[message truncated]")


def test_local_id_and_read_by_sender(org: Organization) -> None:
    queue, other = org.bot.register(), org.bot.register()
    ids = {"queue_id": queue, "local_id": "7.1", "read_by_sender": True}
    assert org.bot.ok(SEND, **CHANNEL, **ids) == {"id": 1}
    [event] = org.bot.events(queue)
    assert (event["local_message_id"], event["flags"]) == ("7.1", ["read"])
    assert "local_message_id" not in org.bot.events(other)[0]


def test_move_topic(org: Organization) -> None:
    for topic in ("a", "A", "a", "b"):
        org.server.send("iago@zulip.com", "general", "hi", topic=topic)
    queue = org.bot.register(event_types=["update_message"])
    org.bot.ok("PATCH /messages/2", topic="A")  # no change
    assert "edit_history" not in org.bot.ok("GET /messages/2")["message"]
    body = org.bot.ok("PATCH /messages/2", topic="c", propagate_mode="change_later")
    assert body == {"detached_uploads": []}
    assert [message.topic for message in org.server.messages] == ["a", "c", "c", "b"]
    org.bot.ok("PATCH /messages/2", stream_id=2, propagate_mode="change_all")
    names = ["general", "sandbox", "sandbox", "general"]
    assert [message.channel for message in org.server.messages] == names
    unchanged, event, moved = org.bot.events(queue)
    assert "orig_subject" not in unchanged
    assert (event["orig_subject"], event["subject"], event["message_ids"]) == ("A", "c", [2, 3])
    assert (event["propagate_mode"], "content" in event) == ("change_later", False)
    assert (moved["stream_id"], moved["new_stream_id"], "subject" in moved) == (1, 2, False)


def test_edited_message(org: Organization) -> None:
    queue = org.iago.register(event_types=["update_message"])
    org.server.send(org.bot.account, "general", "helo", topic="t")
    org.bot.ok("PATCH /messages/1", content="hello @**iago**", topic="u")
    org.bot.ok("PATCH /messages/1", stream_id=2)
    body = org.iago.ok("GET /messages/1")
    message, content = body["message"], "hello @**iago**"
    assert (body["raw_content"], message["content"]) == (content, f"<p>{content}</p>")
    body = org.iago.ok("GET /messages/1", apply_markdown=False)
    assert body["message"]["content"] == content
    assert [entry.keys() - {"user_id", "timestamp"} for entry in message["edit_history"]] == [
        {"prev_stream", "stream"},
        {"prev_content", "prev_rendered_content", "prev_rendered_content_version"}
        | {"prev_topic", "topic"},
    ]
    history = org.iago.ok("GET /messages/1/history")["message_history"]
    versions = [("helo", "t"), ("hello @**iago**", "u"), ("hello @**iago**", "u")]
    assert [(entry["content"], entry["topic"]) for entry in history] == versions
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
    content = {"content": "x"}
    for caller, id_, params, error in (
        (org.bot, 1, {}, "Nothing to change"),
        (org.bot, 1, {"propagate_mode": "change_all"} | content, "Invalid propagate_mode without"),
        (org.bot, 1, {"stream_id": 2} | content, "Cannot change message content while"),
        (org.bot, 1, {"topic": " "}, "Topic can't be empty!"),
        (org.bot, 2, {"stream_id": 2}, "Direct messages cannot be moved to channels."),
        (org.bot, 2, {"topic": "x"}, "Direct messages cannot have topics."),
        (org.bot, 3, {"topic": "x"}, "Invalid message(s)"),
        (org.iago, 1, content, "You don't have permission to edit this message"),
        (org.guest, 1, {"stream_id": 2}, "You don't have permission to move this message"),
    ):
        assert caller.error(f"PATCH /messages/{id_}", **params).startswith(error)
    org.server.advance(700)
    error = org.bot.error("PATCH /messages/1", content="x")
    assert error == "The time limit for editing this message has passed"
    assert org.server.messages[0].edits == []


def test_delete_message(org: Organization) -> None:
    for _ in range(3):
        org.server.send(org.bot.account, "general", "hi", topic="t")
    org.server.send(org.bot.account, org.iago.account, "hi")
    types: dict[str, Any] = {"event_types": ["delete_message"]}
    old = org.iago.register(**types)
    new = org.iago.register(**types, client_capabilities={"bulk_message_deletion": True})
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


def test_reactions(org: Organization) -> None:
    org.server.send(org.iago.account, "general", "hi", topic="t")
    queue, route = org.iago.register(), "/messages/1/reactions"
    wave = {"emoji_name": "wave", "emoji_code": "1f44b"}
    assert org.bot.error(f"POST {route}", reaction_type="x", **wave) == "Invalid emoji type."
    assert org.bot.ok(f"POST {route}", **wave) == {}
    body = org.bot(f"POST {route}", **wave | {"emoji_name": "waving"})
    assert body["code"] == "REACTION_ALREADY_EXISTS"
    [reaction] = org.iago.ok("GET /messages/1")["message"]["reactions"]
    assert (reaction["emoji_name"], reaction["user"]["id"]) == ("wave", org.bot.id)
    error = org.bot.error(f"DELETE {route}")
    assert error.startswith("At least one of the following arguments must be present: ")
    assert org.iago(f"DELETE {route}", **wave)["code"] == "REACTION_DOES_NOT_EXIST"
    assert org.bot.ok(f"DELETE {route}", emoji_code="1f44b") == {}
    assert org.server.messages[0].reactions == []
    added, removed = org.iago.events(queue)
    assert (added["type"], added["op"], removed["op"]) == ("reaction", "add", "remove")
    assert (added["message_id"], added["user"]["user_id"]) == (1, org.bot.id)
