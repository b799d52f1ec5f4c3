"""Endpoints of the stand-in server that find messages, and their flags."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.caller import Organization

GET, FLAGS = "GET /messages", "POST /messages/flags"
PAGE = {"anchor": "newest", "num_before": 99}


@pytest.fixture(autouse=True)
def messages(org: Organization) -> None:
    org.server.send("iago@zulip.com", "general", "one <https://example.com>", topic="✔ lunch")
    org.server.send("hamlet@zulip.com", "sandbox", "two @**Echo**", topic="dinner")
    org.server.send("iago@zulip.com", org.bot.account, "three")
    org.server.send("hamlet@zulip.com", [org.bot.account, org.iago.account], "four")
    org.server.send("iago@zulip.com", org.hamlet.account, "not for the bot")
    org.bot.account.alert_words.append("three")
    for flag in ("starred", "read"):
        org.bot.ok(FLAGS, messages=[1], op="add", flag=flag)
    org.iago.ok("POST /messages/1/reactions", emoji_name="wave")


def ids(body: dict[str, Any]) -> list[int]:
    return [message["id"] for message in body["messages"]]


def test_narrows(org: Organization) -> None:
    narrows: list[tuple[list[Any], list[int]]] = [
        ([], [1, 2, 3, 4]),
        ([["channel", "GENERAL"]], [1]),
        ([["stream", 2]], [2]),
        ([{"operator": "stream", "operand": 2, "negated": True}], [1, 3, 4]),
        ([["topic", "DINNER"]], [2]),
        ([["topic", "dinner"], ["channel", "general"]], []),
        ([["sender", "hamlet@zulip.com"]], [2, 4]),
        ([["sender", 10]], [1, 3]),
        ([["dm", "iago@zulip.com"]], [3]),
        ([["pm-with", "iago@zulip.com, hamlet@zulip.com"]], [4]),
        ([["dm", [10, 11]]], [4]),
        ([["dm", 10]], [3]),
        ([["dm-including", 11]], [4]),
        ([["id", "2"]], [2]),
        ([["near", 2]], [1, 2, 3, 4]),
        ([["search", "TWO dinner"]], [2]),
        ([["is", "dm"]], [3, 4]),
        ([["is", "unread"], ["is", "private"]], [3, 4]),
        ([["is", "mentioned"]], [2]),
        ([["is", "alerted"]], [3]),
        ([["is", "starred"]], [1]),
        ([["is", "resolved"]], [1]),
        ([["has", "link"]], [1]),
        ([["has", "reaction"]], [1]),
        ([["channels", "public"]], [1, 2]),
        ([["in", "home"]], [1, 2, 3, 4]),
    ]
    for narrow, expected in narrows:
        assert ids(org.bot.ok(GET, narrow=narrow, **PAGE)) == expected, narrow
    query = {"msg_ids": [1, 2, 5], "narrow": [["topic", "dinner"]]}
    body = org.bot.ok("GET /messages/matches_narrow", **query)
    match = {"match_content": "<p>two @**Echo**</p>", "match_subject": "dinner"}
    assert body["messages"] == {"2": match}


def test_bad_narrows(org: Organization) -> None:
    for term, desc in (
        (["color", "red"], "unknown operator color"),
        (["channel", "Rome"], "unknown channel"),
        (["channels", "private"], "unknown channel"),
        (["sender", "x@zulip.com"], "unknown user"),
        (["id", "x"], "invalid operand for 'id'"),
        (["is", "x"], "unknown 'is' operand"),
        (["has", "x"], "unknown 'has' operand"),
        (["in", "x"], "unknown 'in' operand"),
    ):
        assert org.bot(GET, narrow=[term], **PAGE) == {
            "result": "error",
            "msg": f"Invalid narrow operator: {desc}",
            "desc": desc,
            "code": "BAD_NARROW",
        }


def test_history_of_a_channel(org: Organization) -> None:
    """Messages that were sent before a subscription are found by a narrow to the channel."""
    late = org.add(org.server.add_user("late@zulip.com", "x"))
    assert ids(late.ok(GET, **PAGE)) == []
    body = late.ok(GET, narrow=[["channel", "general"]], **PAGE)
    assert [(m["id"], m["flags"]) for m in body["messages"]] == [(1, ["read", "historical"])]
    narrow = [["channel", "general"], ["is", "unread"]]
    assert ids(late.ok(GET, narrow=narrow, **PAGE)) == []
    assert late.ok("GET /messages/2")["message"]["flags"] == ["read", "historical"]
    assert late.error("GET /messages/3") == "Invalid message(s)"
    late.account.role = 600
    assert late.error("GET /messages/1") == "Invalid message(s)"


def test_pages(org: Organization) -> None:
    """The messages, and whether the anchor, the oldest and the newest are among them."""
    pages: list[tuple[dict[str, Any], list[int], tuple[bool, bool, bool]]] = [
        ({"anchor": "newest", "num_before": 2}, [3, 4], (False, False, True)),
        ({"anchor": "oldest", "num_after": 2}, [1, 2], (False, True, False)),
        ({"anchor": "2", "num_before": 1, "num_after": 1}, [1, 2, 3], (True, False, False)),
        ({"anchor": "2", "num_before": 2}, [1, 2], (True, True, False)),
        ({"anchor": "2", "num_after": 1, "include_anchor": False}, [3], (False, False, False)),
        ({"anchor": "-5", "num_after": 1}, [1], (False, True, False)),
        ({"anchor": str(10**20), "num_before": 4}, [1, 2, 3, 4], (False, False, True)),
        ({"anchor": "x", "use_first_unread_anchor": True}, [2], (True, False, False)),
        ({"message_ids": [1, 3, 5]}, [1, 3], (False, False, False)),
    ]
    for params, expected, ends in pages:
        body = org.bot.ok(GET, **params)
        names = ("found_anchor", "found_oldest", "found_newest")
        assert (ids(body), tuple(body[name] for name in names)) == (expected, ends), params
    body = org.bot.ok(GET, **PAGE)
    assert body["messages"][0]["content"] == "<p>one &lt;https://example.com&gt;</p>"
    body = org.bot.ok(GET, apply_markdown=False, color="red", anker="1", **PAGE)
    assert body["messages"][0]["content"] == "one <https://example.com>"
    assert body["ignored_parameters_unsupported"] == ["anker", "color"]


def test_invalid_pages(org: Organization) -> None:
    both = {"num_before": 1, "num_after": 1, "include_anchor": False}
    org.bot.check_errors(
        GET,
        {"anchor": "1"},
        [
            ({"anchor": None}, "Missing 'anchor' argument."),
            ({"anchor": "x"}, "Invalid anchor"),
            ({"num_before": 4000, "num_after": 1001}, "Too many messages requested"),
            (both, "The anchor can only be excluded at an end of the range"),
            ({"message_ids": [1]}, "Unsupported parameter combination: "),
            ({"narrow": [1]}, "narrow[0] is not a valid term"),
        ],
    )


# ---- Flags


def unread(org: Organization) -> list[int]:
    return ids(org.bot.ok(GET, narrow=[["is", "unread"]], **PAGE))


def test_flags(org: Organization) -> None:
    queue = org.bot.register(event_types=["update_message_flags"])
    add = {"messages": [2, 3], "op": "add", "flag": "read"}
    assert org.bot.ok(FLAGS, **add) == {"messages": [2, 3]}
    org.bot.ok(FLAGS, **add)  # no change, and so no event
    assert unread(org) == [4]
    assert org.bot.ok("GET /messages/2")["message"]["flags"] == ["read", "mentioned"]
    org.bot.ok(FLAGS, **add | {"op": "remove"})
    added, removed = org.bot.events(queue)
    assert (added["op"], added["messages"], "message_details" in added) == ("add", [2, 3], False)
    details = removed["message_details"]
    assert (details["2"]["topic"], details["2"]["mentioned"]) == ("dinner", True)
    assert details["3"] == {"type": "private", "user_ids": [org.iago.id]}
    body = org.bot.ok("POST /register", event_types=["starred_messages"])
    assert body["starred_messages"] == [1]
    org.bot.check_errors(
        FLAGS,
        add,
        [
            ({"flag": "x"}, "Invalid flag: 'x'"),
            ({"flag": "mentioned"}, "Flag not editable: 'mentioned'"),
            ({"op": "x"}, "Invalid message flag operation: 'x'"),
            ({"messages": [9]}, "Invalid message(s)"),
        ],
    )


def test_mark_as_read(org: Organization) -> None:
    assert org.bot.ok("POST /mark_topic_as_read", stream_id=2, topic_name="Dinner") == {}
    assert unread(org) == [3, 4]
    error = org.bot.error("POST /mark_topic_as_read", stream_id=1, topic_name="x")
    assert error == "No such topic 'x'"
    org.server.send("iago@zulip.com", "general", "more", topic="t")
    assert org.bot.ok("POST /mark_stream_as_read", stream_id=1) == {}
    assert unread(org) == [3, 4]
    assert org.bot.ok("POST /mark_all_as_read") == {"complete": True}
    assert unread(org) == []
    body = org.bot.ok(GET, anchor="first_unread", num_before=1)
    assert (ids(body), body["anchor"]) == ([6], 10**16)
