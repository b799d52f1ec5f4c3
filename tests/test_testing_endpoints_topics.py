"""Endpoints of the stand-in server for topics."""

from __future__ import annotations

from helpers.caller import Organization, org

__all__ = ["org"]


def test_topics(org: Organization) -> None:
    for topic in ("lunch", "dinner", "LUNCH"):
        org.server.send("iago@zulip.com", "general", "hi", topic=topic)
    org.server.send("iago@zulip.com", "sandbox", "hi", topic="other")
    topics = org.bot.ok("GET /users/me/1/topics")["topics"]
    assert topics == [{"name": "LUNCH", "max_id": 3}, {"name": "dinner", "max_id": 2}]
    assert org.bot.error("GET /users/me/9/topics") == "Invalid channel ID"


def test_topic_policies(org: Organization) -> None:
    queue = org.bot.register(event_types=["user_topic"])
    topic = {"topic": "Lunch", "stream_id": 1}
    assert org.bot.ok("POST /user_topics", visibility_policy=3, **topic) == {}
    route = "PATCH /users/me/subscriptions/muted_topics"
    org.bot.ok(route, topic="dinner", stream="General", op="add")
    org.bot.ok(route, topic="lunch", stream_id=1, op="remove")
    policies = [(e["topic_name"], e["visibility_policy"]) for e in org.bot.events(queue)]
    assert policies == [("Lunch", 3), ("dinner", 1), ("lunch", 0)]
    body = org.bot.ok("POST /register", event_types=["user_topic"])
    assert [entry["topic_name"] for entry in body["user_topics"]] == ["dinner"]
    assert org.iago.ok("POST /register", event_types=["user_topic"])["user_topics"] == []
    error = org.bot.error("POST /user_topics", visibility_policy=4, **topic)
    assert error == "Invalid visibility_policy"
    assert org.bot.error(route, topic="t", op="add") == "Missing 'stream_id' argument"
    error = org.bot.error(route, topic="t", op="add", stream="x")
    assert error == "Invalid channel name 'x'"
