"""Endpoints of the stand-in server for channels and subscriptions."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.caller import Organization, org

__all__ = ["org"]


def names(body: dict[str, Any], key: str) -> list[str]:
    return [channel["name"] for channel in body[key]]


def test_channels(org: Organization) -> None:
    org.server.realm.channels.append("Verona")
    assert names(org.bot.ok("GET /streams"), "streams") == ["general", "sandbox", "Verona"]
    org.bot.ok("DELETE /users/me/subscriptions", subscriptions=["sandbox"])
    assert names(org.bot.ok("GET /streams", include_public=False), "streams") == [
        "general",
        "Verona",
    ]
    org.server.send("iago@zulip.com", "Verona", "hi", topic="t")
    stream = org.bot.ok("GET /streams/3")["stream"]
    assert (stream["name"], stream["first_message_id"], stream["creator_id"]) == ("Verona", 1, None)
    assert org.bot.error("GET /streams/4") == "Invalid channel ID"


def test_channel_id(org: Organization) -> None:
    assert org.bot.ok("GET /get_stream_id", stream="SANDBOX") == {"stream_id": 2}
    assert org.bot.error("GET /get_stream_id", stream="x") == "Invalid channel name 'x'"
    assert org.bot.error("GET /get_stream_id") == "Missing 'stream' argument"


def test_subscribers(org: Organization) -> None:
    org.server.account("hamlet@zulip.com").active = False
    org.bot.ok("DELETE /users/me/subscriptions", subscriptions=["general"])
    members = org.iago.ok("GET /streams/1/members")["subscribers"]
    assert members == [org.iago.id, org.guest.id]
    path = f"GET /users/{org.bot.id}/subscriptions"
    assert org.iago.ok(f"{path}/1") == {"is_subscribed": False}
    assert org.iago.ok(f"{path}/2") == {"is_subscribed": True}
    assert org.iago.error("GET /users/99/subscriptions/1") == "No such user"


def test_subscribe_and_unsubscribe(org: Organization) -> None:
    queue, other = org.bot.register(), org.hamlet.register()
    body = org.bot.ok("POST /users/me/subscriptions", subscriptions=[{"name": " Rome "}])
    me = str(org.bot.id)
    assert body == {"subscribed": {me: ["Rome"]}, "already_subscribed": {}}
    body = org.bot.ok("POST /users/me/subscriptions", subscriptions=[{"name": "rome"}])
    assert body == {"subscribed": {}, "already_subscribed": {me: ["Rome"]}}
    # Others are not subscribed to a channel that an account creates.
    assert org.hamlet.ok("GET /streams/3/members") == {"subscribers": [org.bot.id]}
    assert org.hamlet.ok("GET /streams/3")["stream"]["creator_id"] == org.bot.id
    body = org.bot.ok("DELETE /users/me/subscriptions", subscriptions=["Rome", "general"])
    assert body == {"removed": ["Rome", "general"], "not_removed": []}
    body = org.bot.ok("DELETE /users/me/subscriptions", subscriptions=["Rome"])
    assert body == {"removed": [], "not_removed": ["Rome"]}
    assert names(org.bot.ok("GET /users/me/subscriptions"), "subscriptions") == ["sandbox"]
    events = [(event["type"], event["op"]) for event in org.bot.events(queue)]
    removed = [("subscription", "remove")] * 2
    assert events == [("stream", "create"), ("subscription", "add"), *removed]
    peers = [event["op"] for event in org.hamlet.events(other)]
    assert peers == ["create", "peer_add", "peer_remove", "peer_remove"]
    org.server.send("iago@zulip.com", "general", "for subscribers", topic="t")
    assert org.bot.account not in org.server.messages[0].recipients


def test_subscribe_others(org: Organization) -> None:
    rome = {"subscriptions": [{"name": "Rome"}]}
    body = org.bot.ok("POST /users/me/subscriptions", principals=["hamlet@zulip.com"], **rome)
    assert body["subscribed"] == {str(org.hamlet.id): ["Rome"]}
    remove = {"subscriptions": ["Rome"], "principals": [org.hamlet.id]}
    error = org.bot.error("DELETE /users/me/subscriptions", **remove)
    assert error == "Insufficient permission"
    org.bot.account.role = 200
    assert org.bot.ok("DELETE /users/me/subscriptions", **remove)["removed"] == ["Rome"]
    owned = {"subscriptions": ["general"], "principals": [org.bot.id]}
    assert org.iago.ok("DELETE /users/me/subscriptions", **owned)["removed"] == ["general"]
    body = org.bot("POST /users/me/subscriptions", principals=[99], **rome)
    assert (body["code"], body["principal"]) == ("UNAUTHORIZED_PRINCIPAL", 99)


def test_update_subscriptions(org: Organization) -> None:
    body = org.bot.ok("PATCH /users/me/subscriptions", add=[{"name": "Rome"}], delete=["general"])
    assert (body["subscribed"], body["removed"]) == ({str(org.bot.id): ["Rome"]}, ["general"])
    assert org.bot.error("PATCH /users/me/subscriptions").startswith("Nothing to do.")


def test_subscription_settings(org: Organization) -> None:
    route = "POST /users/me/subscriptions/properties"
    change = {"stream_id": 1, "property": "color", "value": "#123456"}
    assert org.bot.ok(route, subscription_data=[change]) == {}
    [general, _] = org.bot.ok("GET /users/me/subscriptions", include_subscribers="true")[
        "subscriptions"
    ]
    assert (general["color"], len(general["subscribers"])) == ("#123456", 4)
    assert "subscribers" not in org.iago.ok("GET /users/me/subscriptions")["subscriptions"][0]
    for wrong, error in (
        ({"property": "size"}, "Unknown subscription property: size"),
        ({"stream_id": 9}, "Invalid channel ID"),
        ({"stream_id": "1"}, "subscription_data[0] is not valid"),
    ):
        assert org.bot.error(route, subscription_data=[change | wrong]) == error
    org.bot.ok("DELETE /users/me/subscriptions", subscriptions=["general"])
    error = org.bot.error(route, subscription_data=[change])
    assert error == "Not subscribed to channel id 1"


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"subscriptions": [{"name": " "}]}, "Channel name can't be empty."),
        (
            {"subscriptions": [{"name": "a\nb"}]},
            "Invalid character in channel name, at position 2.",
        ),
        (
            {"subscriptions": [{"name": "x" * 61}]},
            "Channel name too long (limit: 60 characters).",
        ),
        ({"subscriptions": [{}]}, 'subscriptions[0]["name"] is not a string'),
        ({"subscriptions": ["Rome"]}, "subscriptions[0] is not a dict"),
    ],
)
def test_invalid_channel(params: dict[str, Any], error: str, org: Organization) -> None:
    assert org.bot.error("POST /users/me/subscriptions", **params) == error
    assert org.server.realm.channels == ["general", "sandbox"]


def test_unsubscribe_from_unknown_channel(org: Organization) -> None:
    error = org.bot.error("DELETE /users/me/subscriptions", subscriptions=["Rome", "general"])
    assert error == "Channel(s) (Rome) do not exist"


def test_guest_cannot_subscribe(org: Organization) -> None:
    error = org.guest.error("POST /users/me/subscriptions", subscriptions=[{"name": "Rome"}])
    assert error == "Not allowed for guest users"


@pytest.mark.filterwarnings("ignore:FakeZulip does not serve private channels")
def test_private_channels_are_not_served(org: Organization) -> None:
    rome = {"subscriptions": [{"name": "Rome"}], "invite_only": True}
    body = org.bot("POST /users/me/subscriptions", **rome)
    assert body["code"] == "NOT_SERVED_BY_FAKE_ZULIP"
    assert org.server.unserved == ("private channels (invite_only)",)
