"""Endpoints of the stand-in server that find messages."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.caller import Organization, org

__all__ = ["org"]

PAGE = {"anchor": "newest", "num_before": 99}


@pytest.fixture(autouse=True)
def messages(org: Organization) -> None:
    org.server.send("iago@zulip.com", "general", "one https://example.com", topic="✔ lunch")
    org.server.send("hamlet@zulip.com", "sandbox", "two @**Echo**", topic="dinner")
    org.server.send("iago@zulip.com", org.bot.account, "three")
    org.server.send("hamlet@zulip.com", [org.bot.account, org.iago.account], "four")
    org.server.send("iago@zulip.com", org.hamlet.account, "not for the bot")
    org.bot.account.alert_words.append("three")
    for flag in ("starred", "read"):
        org.bot.ok("POST /messages/flags", messages=[1], op="add", flag=flag)
    org.iago.ok("POST /messages/1/reactions", emoji_name="wave")


def ids(body: dict[str, Any]) -> list[int]:
    return [message["id"] for message in body["messages"]]


@pytest.mark.parametrize(
    ("narrow", "expected"),
    [
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
    ],
)
def test_narrow(narrow: list[Any], expected: list[int], org: Organization) -> None:
    assert ids(org.bot.ok("GET /messages", narrow=narrow, **PAGE)) == expected


@pytest.mark.parametrize(
    ("term", "desc"),
    [
        (["color", "red"], "unknown operator color"),
        (["channel", "Rome"], "unknown channel"),
        (["channels", "private"], "unknown channel"),
        (["sender", "x@zulip.com"], "unknown user"),
        (["id", "x"], "invalid operand for 'id'"),
        (["is", "x"], "unknown 'is' operand"),
        (["has", "x"], "unknown 'has' operand"),
        (["in", "x"], "unknown 'in' operand"),
    ],
)
def test_bad_narrow(term: list[Any], desc: str, org: Organization) -> None:
    assert org.bot("GET /messages", narrow=[term], **PAGE) == {
        "result": "error",
        "msg": f"Invalid narrow operator: {desc}",
        "desc": desc,
        "code": "BAD_NARROW",
    }


def test_history_of_a_channel(org: Organization) -> None:
    """Messages that were sent before a subscription are found by a narrow to the channel."""
    other = org.server.add_user("late@zulip.com", "x")
    late = type(org.bot)(org.server, other)
    with late.http:
        assert ids(late.ok("GET /messages", **PAGE)) == []
        body = late.ok("GET /messages", narrow=[["channel", "general"]], **PAGE)
        assert [(m["id"], m["flags"]) for m in body["messages"]] == [(1, ["read", "historical"])]
        narrow = [["channel", "general"], ["is", "unread"]]
        assert ids(late.ok("GET /messages", narrow=narrow, **PAGE)) == []
        assert late.ok("GET /messages/2")["message"]["flags"] == ["read", "historical"]
        assert late.error("GET /messages/3") == "Invalid message(s)"
    other.role = 600
    with type(org.bot)(org.server, other).http:
        assert not org.server.messages[0].is_visible_to(other)


@pytest.mark.parametrize(
    ("params", "expected", "ends"),
    [
        ({"anchor": "2", "num_before": 1, "num_after": 1}, [1, 2, 3], (True, False, False)),
        ({"anchor": "2", "num_before": 2}, [1, 2], (True, True, False)),
        ({"anchor": "2", "num_after": 1, "include_anchor": False}, [3], (False, False, False)),
        ({"anchor": "-5", "num_after": 1}, [1], (False, True, False)),
        ({"anchor": str(10**20), "num_before": 4}, [1, 2, 3, 4], (False, False, True)),
        ({"anchor": "x", "use_first_unread_anchor": True}, [2], (True, False, False)),
        ({"message_ids": [1, 3, 5]}, [1, 3], (False, False, False)),
    ],
)
def test_page(
    params: dict[str, Any],
    expected: list[int],
    ends: tuple[bool, bool, bool],
    org: Organization,
) -> None:
    body = org.bot.ok("GET /messages", **params)
    assert ids(body) == expected
    assert (body["found_anchor"], body["found_oldest"], body["found_newest"]) == ends


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({}, "Missing 'anchor' argument."),
        ({"anchor": "x"}, "Invalid anchor"),
        ({"anchor": "1", "num_before": -1}, "num_before is too small"),
        ({"anchor": "1", "num_before": "x"}, "num_before is not valid JSON"),
        ({"anchor": "1", "num_before": 4000, "num_after": 1001}, "Too many messages requested"),
        (
            {"anchor": "1", "num_before": 1, "num_after": 1, "include_anchor": False},
            "The anchor can only be excluded at an end of the range",
        ),
        ({"anchor": "1", "message_ids": [1]}, "Unsupported parameter combination: "),
        ({"anchor": "1", "narrow": [1]}, "narrow[0] is not a valid term"),
    ],
)
def test_invalid_page(params: dict[str, Any], error: str, org: Organization) -> None:
    assert org.bot.error("GET /messages", **params).startswith(error)


def test_unknown_parameters_are_listed(org: Organization) -> None:
    body = org.bot.ok("GET /messages", color="red", anker="1", **PAGE)
    assert body["ignored_parameters_unsupported"] == ["anker", "color"]


def test_first_unread_anchor_without_unread_messages(org: Organization) -> None:
    org.bot.ok("POST /mark_all_as_read")
    body = org.bot.ok("GET /messages", anchor="first_unread", num_before=1)
    assert (ids(body), body["anchor"]) == ([4], 10**16)


def test_matches_narrow(org: Organization) -> None:
    query = {"msg_ids": [1, 2, 5], "narrow": [["topic", "dinner"]]}
    body = org.bot.ok("GET /messages/matches_narrow", **query)
    assert body["messages"] == {
        "2": {"match_content": "<p>two @**Echo**</p>", "match_subject": "dinner"}
    }
