"""Endpoints of the stand-in server for scheduled messages."""

from __future__ import annotations

import time
from typing import Any

from helpers.caller import Organization

ROUTE = "/scheduled_messages"


def direct(org: Organization, seconds: int) -> dict[str, Any]:
    time_ = int(time.time()) + seconds
    to = [org.hamlet.id]
    return {
        "type_": "direct",
        "to": to,
        "content": "later",
        "scheduled_delivery_timestamp": time_,
    }


def listed(org: Organization) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = org.bot.ok(f"GET {ROUTE}")["scheduled_messages"]
    return found


def test_scheduled_messages_are_sent(org: Organization) -> None:
    org.bot.ok(f"POST {ROUTE}", **direct(org, 100))
    channel = {"type_": "stream", "to": "general", "topic": "t"}
    org.bot.ok(f"POST {ROUTE}", **direct(org, 50) | channel)
    earlier, later = listed(org)
    assert (earlier["to"], earlier["topic"], later["scheduled_message_id"]) == (1, "t", 1)
    assert (later["to"], later["type"]) == ([org.hamlet.id], "private")
    assert org.iago.ok(f"GET {ROUTE}") == {"scheduled_messages": []}
    queue = org.hamlet.register(event_types=["message"])
    org.server.advance(60)
    [event] = org.hamlet.events(queue)
    assert (event["message"]["content"], event["message"]["subject"]) == ("later", "t")
    org.server.advance(60)
    assert listed(org) == []
    assert [message.channel for message in org.server.messages] == ["general", None]


def test_rejected_and_deleted(org: Organization) -> None:
    org.bot.check_errors(
        f"POST {ROUTE}",
        direct(org, 100),
        [
            ({"to": [99]}, "Invalid user ID 99"),
            ({"content": "\0"}, "Message must not contain null bytes"),
            ({"type_": "stream", "to": "general"}, "Missing topic"),
            ({"scheduled_delivery_timestamp": 1}, "Scheduled delivery time must be in the future"),
        ],
    )
    id_ = org.bot.ok(f"POST {ROUTE}", **direct(org, 100))["scheduled_message_id"]
    assert org.iago.error(f"DELETE {ROUTE}/{id_}") == "Scheduled message does not exist"
    assert org.bot.ok(f"DELETE {ROUTE}/{id_}") == {}
    assert org.bot.error(f"DELETE {ROUTE}/{id_}") == "Scheduled message does not exist"
