"""Endpoints of the stand-in server for channels, subscriptions and topics."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.caller import Organization

SUBSCRIPTIONS = "/users/me/subscriptions"
ROME = {"subscriptions": [{"name": "Rome"}]}


def names(body: dict[str, Any], key: str = "subscriptions") -> list[str]:
    return [channel["name"] for channel in body[key]]


def test_channels(org: Organization) -> None:
    org.server.realm.channels.append("Verona")
    org.server.add_realm("localhost").add_user("x@zulip.com", "x")
    assert names(org.bot.ok("GET /streams"), "streams") == ["general", "sandbox", "Verona"]
    org.bot.ok(f"DELETE {SUBSCRIPTIONS}", subscriptions=["sandbox"])
    body = org.bot.ok("GET /streams", include_public=False)
    assert names(body, "streams") == ["general", "Verona"]
    body = org.bot.ok("GET /streams", include_public=False, include_subscribed=False)
    assert body == {"streams": []}
    org.server.send("iago@zulip.com", "Verona", "hi", topic="t")
    stream = org.bot.ok("GET /streams/3")["stream"]
    assert (stream["name"], stream["first_message_id"], stream["creator_id"]) == ("Verona", 1, None)
    assert org.bot.ok("GET /get_stream_id", stream="SANDBOX") == {"stream_id": 2}
    for route, params, error in (
        ("GET /streams/4", {}, "Invalid channel ID"),
        ("GET /get_stream_id", {"stream": "x"}, "Invalid channel name 'x'"),
        ("GET /users/99/subscriptions/1", {}, "No such user"),
    ):
        assert org.bot.error(route, **params) == error


def test_subscribers(org: Organization) -> None:
    org.hamlet.account.active = False
    org.bot.ok(f"DELETE {SUBSCRIPTIONS}", subscriptions=["general"])
    members = org.iago.ok("GET /streams/1/members")["subscribers"]
    assert members == [org.iago.id, org.guest.id]
    for stream_id, subscribed in ((1, False), (2, True)):
        body = org.iago.ok(f"GET /users/{org.bot.id}/subscriptions/{stream_id}")
        assert body == {"is_subscribed": subscribed}


def test_subscribe_and_unsubscribe(org: Organization) -> None:
    queue, other = org.bot.register(), org.hamlet.register()
    me = str(org.bot.id)
    body = org.bot.ok(f"POST {SUBSCRIPTIONS}", subscriptions=[{"name": " Rome "}])
    assert body == {"subscribed": {me: ["Rome"]}, "already_subscribed": {}}
    body = org.bot.ok(f"POST {SUBSCRIPTIONS}", subscriptions=[{"name": "rome"}])
    assert body == {"subscribed": {}, "already_subscribed": {me: ["Rome"]}}
    # Others are not subscribed to a channel that an account creates.
    assert org.hamlet.ok("GET /streams/3/members") == {"subscribers": [org.bot.id]}
    assert org.hamlet.ok("GET /streams/3")["stream"]["creator_id"] == org.bot.id
    for subscriptions, removed in ((["Rome", "general"], True), (["Rome"], False)):
        body = org.bot.ok(f"DELETE {SUBSCRIPTIONS}", subscriptions=subscriptions)
        assert body["removed" if removed else "not_removed"] == subscriptions
    assert names(org.bot.ok(f"GET {SUBSCRIPTIONS}")) == ["sandbox"]
    events = [(event["type"], event["op"]) for event in org.bot.events(queue)]
    left = [("subscription", "remove")] * 2
    assert events == [("stream", "create"), ("subscription", "add"), *left]
    peers = [event["op"] for event in org.hamlet.events(other)]
    assert peers == ["create", "peer_add", "peer_remove", "peer_remove"]
    org.server.send("iago@zulip.com", "general", "for subscribers", topic="t")
    assert org.bot.account not in org.server.messages[0].recipients


def test_subscribe_others(org: Organization) -> None:
    body = org.bot.ok(f"POST {SUBSCRIPTIONS}", principals=["hamlet@zulip.com"], **ROME)
    assert body["subscribed"] == {str(org.hamlet.id): ["Rome"]}
    remove = {"subscriptions": ["Rome"], "principals": [org.hamlet.id]}
    assert org.bot.error(f"DELETE {SUBSCRIPTIONS}", **remove) == "Insufficient permission"
    org.bot.account.role = 200
    assert org.bot.ok(f"DELETE {SUBSCRIPTIONS}", **remove)["removed"] == ["Rome"]
    owned = {"subscriptions": ["general"], "principals": [org.bot.id]}
    assert org.iago.ok(f"DELETE {SUBSCRIPTIONS}", **owned)["removed"] == ["general"]
    body = org.bot(f"POST {SUBSCRIPTIONS}", principals=[99], **ROME)
    assert (body["code"], body["principal"]) == ("UNAUTHORIZED_PRINCIPAL", 99)


@pytest.mark.filterwarnings("ignore:FakeZulip does not serve private channels")
def test_rejected_subscriptions(org: Organization) -> None:
    long = "Channel name too long (limit: 60 characters)."
    org.bot.check_errors(
        f"POST {SUBSCRIPTIONS}",
        {},
        [
            ({"subscriptions": [{"name": " "}]}, "Channel name can't be empty."),
            ({"subscriptions": [{"name": "a\nb"}]}, "Invalid character in channel name, at posit"),
            ({"subscriptions": [{"name": "x" * 61}]}, long),
            ({"subscriptions": [{}]}, 'subscriptions[0]["name"] is not a string'),
            (ROME | {"invite_only": True}, "FakeZulip does not serve private channels"),
        ],
    )
    assert org.server.unserved == ("private channels (invite_only)",)
    assert org.server.realm.channels == ["general", "sandbox"]
    assert org.guest.error(f"POST {SUBSCRIPTIONS}", **ROME) == "Not allowed for guest users"
    error = org.bot.error(f"DELETE {SUBSCRIPTIONS}", subscriptions=["Rome", "general"])
    assert error == "Channel(s) (Rome) do not exist"


def test_subscription_settings(org: Organization) -> None:
    route = f"POST {SUBSCRIPTIONS}/properties"
    change = {"stream_id": 1, "property": "color", "value": "#123456"}
    assert org.bot.ok(route, subscription_data=[change]) == {}
    body = org.bot.ok(f"GET {SUBSCRIPTIONS}", include_subscribers="true")
    general = body["subscriptions"][0]
    assert (general["color"], len(general["subscribers"])) == ("#123456", 4)
    assert "subscribers" not in org.iago.ok(f"GET {SUBSCRIPTIONS}")["subscriptions"][0]
    org.bot.ok(f"DELETE {SUBSCRIPTIONS}", subscriptions=["sandbox"])
    for wrong, error in (
        ({"property": "size"}, "Unknown subscription property: size"),
        ({"stream_id": 9}, "Invalid channel ID"),
        ({"stream_id": "1"}, "subscription_data[0] is not valid"),
        ({"stream_id": 2}, "Not subscribed to channel id 2"),
    ):
        assert org.bot.error(route, subscription_data=[change | wrong]) == error


# ---- Topics


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
    route = f"PATCH {SUBSCRIPTIONS}/muted_topics"
    org.bot.ok(route, topic="dinner", stream="General", op="add")
    org.bot.ok(route, topic="lunch", stream_id=1, op="remove")
    policies = [(e["topic_name"], e["visibility_policy"]) for e in org.bot.events(queue)]
    assert policies == [("Lunch", 3), ("dinner", 1), ("lunch", 0)]
    body = org.bot.ok("POST /register", event_types=["user_topic"])
    assert [entry["topic_name"] for entry in body["user_topics"]] == ["dinner"]
    assert org.iago.ok("POST /register", event_types=["user_topic"])["user_topics"] == []
    policy = "Invalid visibility_policy"
    org.bot.check_errors("POST /user_topics", topic, [({"visibility_policy": 4}, policy)])
    org.bot.check_errors(
        route,
        {"topic": "t", "op": "add"},
        [
            ({}, "Missing 'stream_id' argument"),
            ({"stream": "x"}, "Invalid channel name 'x'"),
            ({"topic": "x" * 61}, "topic is too long (limit: 60 characters)"),
        ],
    )
