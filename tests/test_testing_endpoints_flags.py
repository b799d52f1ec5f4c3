"""Endpoints of the stand-in server for message flags."""

from __future__ import annotations

import pytest

from helpers.caller import Organization, org

__all__ = ["org"]


@pytest.fixture(autouse=True)
def messages(org: Organization) -> None:
    for topic in ("a", "b", "A"):
        org.server.send("iago@zulip.com", "general", "@**Echo** hi", topic=topic)
    org.server.send("iago@zulip.com", org.bot.account, "directly")


def unread(org: Organization) -> list[int]:
    narrow = {"anchor": "newest", "num_before": 9, "narrow": [["is", "unread"]]}
    return [message["id"] for message in org.bot.ok("GET /messages", **narrow)["messages"]]


def test_flags(org: Organization) -> None:
    queue = org.bot.register(event_types=["update_message_flags"])
    add = {"messages": [1, 4], "op": "add", "flag": "read"}
    assert org.bot.ok("POST /messages/flags", **add) == {"messages": [1, 4]}
    org.bot.ok("POST /messages/flags", **add)  # no change, and so no event
    assert unread(org) == [2, 3]
    assert org.bot.ok("GET /messages/1")["message"]["flags"] == ["read", "mentioned"]
    org.bot.ok("POST /messages/flags", **{**add, "op": "remove"})
    added, removed = org.bot.events(queue)
    assert (added["op"], added["messages"], "message_details" in added) == ("add", [1, 4], False)
    details = removed["message_details"]
    assert (details["1"]["topic"], details["1"]["mentioned"]) == ("a", True)
    assert details["4"] == {"type": "private", "user_ids": [org.iago.id]}
    for wrong, error in (
        ({"flag": "x"}, "Invalid flag: 'x'"),
        ({"flag": "mentioned"}, "Flag not editable: 'mentioned'"),
        ({"op": "x"}, "Invalid message flag operation: 'x'"),
        ({"messages": [9]}, "Invalid message(s)"),
    ):
        assert org.bot.error("POST /messages/flags", **{**add, **wrong}) == error


def test_flags_in_narrow(org: Organization) -> None:
    page = {"anchor": "oldest", "num_before": 0, "num_after": 2, "narrow": [["topic", "a"]]}
    route, change = "POST /messages/flags/narrow", {"op": "add", "flag": "starred"}
    body = org.bot.ok(route, **page, **change)
    assert body == {
        "processed_count": 2,
        "updated_count": 2,
        "first_processed_id": 1,
        "last_processed_id": 3,
        "found_oldest": True,
        "found_newest": False,
    }
    starred = org.bot.ok("POST /register", event_types=["starred_messages"])["starred_messages"]
    assert starred == [1, 3]
    body = org.bot.ok(route, **{**page, "narrow": [["topic", "x"]]}, **change)
    assert (body["processed_count"], body["first_processed_id"]) == (0, None)


def test_mark_as_read(org: Organization) -> None:
    assert org.bot.ok("POST /mark_topic_as_read", stream_id=1, topic_name="A") == {}
    assert unread(org) == [2, 4]
    error = org.bot.error("POST /mark_topic_as_read", stream_id=1, topic_name="x")
    assert error == "No such topic 'x'"
    assert org.bot.ok("POST /mark_stream_as_read", stream_id=1) == {}
    assert unread(org) == [4]
    assert org.bot.ok("POST /mark_all_as_read") == {"complete": True}
    assert unread(org) == []
