"""Endpoints of the stand-in server for scheduled messages."""

from __future__ import annotations

import time
from typing import Any

import pytest

from helpers.caller import Organization, org

__all__ = ["org"]

ROUTE = "/scheduled_messages"


def schedule(org: Organization, seconds: int = 100, **params: Any) -> int:
    fields = {"type_": "direct", "to": [org.hamlet.id], "content": "later", **params}
    time_ = int(time.time()) + seconds
    body = org.bot.ok(f"POST {ROUTE}", scheduled_delivery_timestamp=time_, **fields)
    return int(body["scheduled_message_id"])


def listed(org: Organization) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = org.bot.ok(f"GET {ROUTE}")["scheduled_messages"]
    return found


def test_scheduled_messages_are_sent(org: Organization) -> None:
    first = schedule(org)
    second = schedule(org, 50, type_="stream", to="general", topic="t")
    assert [message["scheduled_message_id"] for message in listed(org)] == [second, first]
    assert (listed(org)[0]["to"], listed(org)[0]["topic"]) == (1, "t")
    assert (listed(org)[1]["to"], listed(org)[1]["type"]) == ([org.hamlet.id], "private")
    assert org.iago.ok(f"GET {ROUTE}") == {"scheduled_messages": []}
    queue = org.hamlet.register(event_types=["message"])
    org.server.advance(60)
    [event] = org.hamlet.events(queue)
    assert (event["message"]["content"], event["message"]["subject"]) == ("later", "t")
    org.server.advance(60)
    assert listed(org) == []
    assert [message.channel for message in org.server.messages] == ["general", None]


def test_edit_and_delete(org: Organization) -> None:
    id_ = schedule(org)
    path, time_ = f"PATCH {ROUTE}/{id_}", int(time.time()) + 500
    org.bot.ok(path, content="new", scheduled_delivery_timestamp=time_)
    org.bot.ok(path, type_="stream", to="sandbox", topic="t")
    org.bot.ok(path, topic="t2")
    [message] = listed(org)
    expected = {"type": "stream", "to": 2, "topic": "t2", "content": "new"}
    assert expected.items() <= message.items()
    assert message["scheduled_delivery_timestamp"] == time_
    org.bot.ok(path, to=[2])
    for params, error in (
        ({}, "Nothing to change"),
        ({"type_": "direct"}, "Recipient required when updating type of scheduled message."),
        (
            {"type_": "stream", "to": "general"},
            "Topic required when updating scheduled message type to channel.",
        ),
        (
            {"scheduled_delivery_timestamp": 1},
            "Scheduled delivery time must be in the future.",
        ),
    ):
        assert org.bot.error(path, **params) == error
    assert org.iago.error(f"DELETE {ROUTE}/{id_}") == "Scheduled message does not exist"
    assert org.bot.ok(f"DELETE {ROUTE}/{id_}") == {}
    assert org.bot.error(path, content="x") == "Scheduled message does not exist"


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"to": [99]}, "Invalid user ID 99"),
        ({"content": "\0"}, "Message must not contain null bytes"),
        ({"type_": "channel", "to": "general"}, "Missing topic"),
    ],
)
def test_invalid_scheduled_message(params: dict[str, Any], error: str, org: Organization) -> None:
    fields = {"type_": "direct", "to": [org.hamlet.id], "content": "later", **params}
    time_ = int(time.time()) + 9
    assert org.bot.error(f"POST {ROUTE}", scheduled_delivery_timestamp=time_, **fields) == error
