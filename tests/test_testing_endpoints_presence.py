"""Endpoints of the stand-in server for presence and typing notifications."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.caller import Organization, org

__all__ = ["org"]

PRESENCE = "POST /users/me/presence"


def test_presence(org: Organization) -> None:
    assert org.iago.error(PRESENCE, status="busy") == "Invalid status: busy"
    assert org.iago.ok(PRESENCE, status="idle", ping_only=True) == {}
    body = org.hamlet.ok(PRESENCE, status="active")
    assert body["presences"].keys() == {"iago@zulip.com", "hamlet@zulip.com"}
    assert body["presences"]["iago@zulip.com"]["aggregated"]["status"] == "idle"
    slim = org.hamlet.ok(PRESENCE, status="active", slim_presence=True)["presences"]
    assert slim[str(org.iago.id)].keys() == {"idle_timestamp"}
    assert org.bot.ok("GET /realm/presence")["presences"].keys() == body["presences"].keys()
    error = org.bot.error(PRESENCE, status="active")
    assert error == "This endpoint does not accept bot requests."


def test_presence_of_a_user(org: Organization) -> None:
    org.iago.ok(PRESENCE, status="active")
    for name in ("iago@zulip.com", str(org.iago.id)):
        presence = org.bot.ok(f"GET /users/{name}/presence")["presence"]
        assert presence["website"]["status"] == "active"
        assert presence["website"].keys() == {"status", "timestamp"}
    for name, error in (
        ("hamlet@zulip.com", "No presence data for hamlet@zulip.com"),
        (str(org.bot.id), "Presence is not supported for bot users."),
        ("99", "No such user"),
    ):
        assert org.bot.error(f"GET /users/{name}/presence") == error


def test_typing(org: Organization) -> None:
    queue = org.hamlet.register(event_types=["typing"])
    channels = {"stream_typing_notifications": True}
    capable = org.hamlet.register(event_types=["typing"], client_capabilities=channels)
    org.bot.ok("POST /typing", op="start", to=[org.hamlet.id])
    org.bot.ok("POST /typing", op="stop", type_="stream", stream_id=1, topic="t")
    [direct] = org.hamlet.events(queue)
    assert (direct["op"], direct["sender"]["user_id"]) == ("start", org.bot.id)
    assert [user["user_id"] for user in direct["recipients"]] == [org.hamlet.id, org.bot.id]
    _, channel = org.hamlet.events(capable)
    assert (channel["message_type"], channel["stream_id"], channel["topic"]) == ("stream", 1, "t")


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({}, "Missing 'op' argument"),
        ({"op": "pause"}, "Invalid op"),
        ({"op": "start"}, "Missing 'to' argument"),
        ({"op": "start", "to": []}, "Empty 'to' list"),
        ({"op": "start", "to": ["x"]}, "to[0] is not an integer"),
        ({"op": "start", "to": [99]}, "Invalid user ID 99"),
        ({"op": "start", "type_": "channel"}, "Missing stream_id"),
        ({"op": "start", "type_": "channel", "stream_id": 1}, "Missing topic"),
        ({"op": "start", "type_": "channel", "stream_id": 9, "topic": "t"}, "Invalid channel ID"),
    ],
)
def test_invalid_typing(params: dict[str, Any], error: str, org: Organization) -> None:
    assert org.bot.error("POST /typing", **params) == error
