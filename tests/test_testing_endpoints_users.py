"""Endpoints of the stand-in server for accounts, bots, groups, presence and stored values."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.caller import Organization
from zulip_auth.testing import FakeZulip

NOT_FOR_BOTS = "This endpoint does not accept bot requests."


def test_own_profile(org: Organization) -> None:
    names = {"is_admin": "a", "is_owner": "o", "is_guest": "g"}
    for role, flags in ((100, "ao"), (200, "a"), (400, ""), (600, "g")):
        org.iago.account.role = role
        profile = org.iago.ok("GET /users/me")
        assert {names[name] for name in names if profile[name]} == set(flags)
    org.server.send("iago@zulip.com", "iago@zulip.com", "note")
    assert org.iago.ok("GET /users/me")["max_message_id"] == 1
    assert org.hamlet.ok("GET /users/me")["max_message_id"] == -1
    body = org.iago.ok("PATCH /settings", full_name=" Iago ", timezone="", color="red")
    assert body["ignored_parameters_unsupported"] == ["color"]
    assert org.iago.account.full_name == "Iago"


def test_other_profiles(org: Organization) -> None:
    for name in ("11", "hamlet@zulip.com"):
        user = org.iago.ok(f"GET /users/{name}")["user"]
        assert (user["user_id"], user["email"]) == (11, "hamlet@zulip.com")
        assert user["bot_type"] is None
    assert org.iago.error("GET /users/unknown@zulip.com") == "No such user"
    org.server.realm.hide_emails = True
    profile = org.iago.ok("GET /users/me")
    assert profile["email"] == "user10@zulipdev.com"
    assert profile["delivery_email"] == "iago@zulip.com"
    emails = {
        user["email"]: user["delivery_email"] for user in org.iago.ok("GET /users")["members"]
    }
    assert emails == {
        "user10@zulipdev.com": "iago@zulip.com",
        "user11@zulipdev.com": None,
        "user12@zulipdev.com": None,
        "echo-bot@zulipdev.com": "echo-bot@zulipdev.com",
    }


# ---- Bots


def test_add_bot() -> None:
    server = FakeZulip({"iago@zulip.com": "x"})
    bot = server.add_bot("IAGO@zulip.com", "Reminder Bot")
    assert (bot.email, bot.full_name) == ("reminder-bot@zulipdev.com", "Reminder Bot")
    assert (bot.bot_type, bot.owner) == (1, server.account("iago@zulip.com"))
    with pytest.raises(ValueError, match=r"reminder-bot@zulipdev\.com is already in use"):
        server.add_bot("iago@zulip.com", "Reminder")
    with pytest.raises(KeyError):
        server.add_bot("unknown@zulip.com", "Echo")
    realm = server.add_realm("chat.example.com")
    realm.add_user("iago@zulip.com", "x")
    assert realm.add_bot("iago@zulip.com", "Echo & Co.").email == "echo-co-bot@chat.example.com"
    assert realm.add_bot("iago@zulip.com", "शिव").email == "my-bot@chat.example.com"


@pytest.mark.filterwarnings("ignore:FakeZulip does not serve bots of type 3")
def test_invalid_bots(org: Organization) -> None:
    org.iago.check_errors(
        "POST /bots",
        {"full_name": "Bot", "short_name": "a"},
        [
            ({"bot_type": 9}, "Invalid bot type"),
            ({"bot_type": 3}, "FakeZulip does not serve bots of type 3"),
            ({"full_name": "x" * 101}, "Name too long!"),
            ({"full_name": " x"}, "Name too short!"),
            ({"full_name": "a*b"}, "Invalid characters in name!"),
            ({"full_name": "ECHO"}, "Name is already in use!"),
        ],
    )
    for route in ("GET /bots", "POST /bots", f"DELETE /bots/{org.bot.id}"):
        assert org.bot.error(route) == NOT_FOR_BOTS


def test_bots_of_others(org: Organization) -> None:
    assert org.hamlet.ok("GET /bots") == {"bots": []}
    route = f"POST /bots/{org.bot.id}/api_key/regenerate"
    assert org.hamlet.error(route) == "Insufficient permission"
    for id_ in (org.iago.id, 99):
        assert org.hamlet.error(f"DELETE /bots/{id_}") == "No such bot"
    org.hamlet.account.role = 200
    assert org.hamlet.ok(route) == {"api_key": org.bot.account.api_key}


# ---- User groups


def groups(org: Organization) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = org.iago.ok("GET /user_groups")["user_groups"]
    return found


def test_system_groups(org: Organization) -> None:
    org.iago.account.role = 100
    members = {group["name"]: group["members"] for group in groups(org)}
    assert len(members) == 8
    assert members["role:owners"] == members["role:moderators"] == [org.iago.id]
    assert members["role:members"] == [org.iago.id, org.hamlet.id, org.bot.id]
    assert members["role:everyone"] == [org.iago.id, org.hamlet.id, org.guest.id, org.bot.id]
    assert members["role:nobody"] == []
    assert org.bot.error("GET /user_groups") == NOT_FOR_BOTS
    assert org.guest.error("GET /user_groups") == "Not allowed for guest users"


def test_user_group(org: Organization) -> None:
    queue = org.iago.register(event_types=["user_group"])
    create = "POST /user_groups/create"
    fields = {"name": "cooks", "description": "They cook.", "members": [org.iago.id]}
    id_ = org.bot.ok(create, **fields)["group_id"]
    update, change = f"PATCH /user_groups/{id_}", f"POST /user_groups/{id_}/members"
    org.bot.ok(update, name="chefs", description="They cook well.")
    org.bot.ok(update, name="chefs")
    org.bot.ok(change, add=[org.hamlet.id], delete=[org.iago.id])
    assert org.bot.ok(change, add=[org.iago.id]) == {}
    group = groups(org)[8]
    assert (group["name"], group["description"]) == ("chefs", "They cook well.")
    assert (group["members"], group["creator_id"]) == ([org.iago.id, org.hamlet.id], org.bot.id)
    operations = [event["op"] for event in org.iago.events(queue)]
    members = ["add_members", "remove_members", "add_members"]
    assert operations == ["add", "update", "update", *members]
    org.bot.check_errors(
        create,
        fields,
        [
            ({"name": "CHEFS"}, "User group 'CHEFS' already exists."),
            ({"name": " "}, "User group name can't be empty!"),
            ({"name": "x" * 101}, "User group name cannot exceed 100 characters."),
            ({"name": "role:cooks"}, "User group name cannot start with 'role:'."),
            ({"members": [99]}, "Invalid user ID: 99"),
        ],
    )
    for caller, route, params, error in (
        (org.bot, update, {}, "No new data supplied"),
        (org.hamlet, update, {"name": "x"}, "Insufficient permission"),
        (org.bot, "PATCH /user_groups/99", {"name": "x"}, "Invalid user group"),
        (org.bot, change, {}, "Nothing to do."),
        (org.bot, change, {"add": [10]}, "User 10 is already a member of this group"),
        (org.bot, change, {"delete": [12]}, "There is no member '12' in this user group"),
    ):
        assert caller.error(route, **params).startswith(error)


# ---- Presence and typing notifications


def test_presence(org: Organization) -> None:
    route = "POST /users/me/presence"
    assert org.bot.error(route, status="active") == NOT_FOR_BOTS
    assert org.iago.error(route, status="busy") == "Invalid status: busy"
    assert org.iago.ok(route, status="idle", ping_only=True) == {}
    found = org.hamlet.ok(route, status="active")["presences"]
    assert found.keys() == {"iago@zulip.com", "hamlet@zulip.com"}
    assert found["iago@zulip.com"]["aggregated"]["status"] == "idle"
    assert org.bot.ok("GET /realm/presence")["presences"] == found
    slim = org.hamlet.ok(route, status="active", slim_presence=True)["presences"]
    assert slim[str(org.iago.id)].keys() == {"idle_timestamp"}
    for name in ("iago@zulip.com", str(org.iago.id)):
        presence = org.bot.ok(f"GET /users/{name}/presence")["presence"]
        assert presence["website"]["status"] == "idle"
        assert presence["website"].keys() == {"status", "timestamp"}
    for name, error in (
        ("polonius@zulip.com", "No presence data for polonius@zulip.com"),
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
    org.bot.check_errors(
        "POST /typing",
        {"op": "start"},
        [
            ({}, "Missing 'to' argument"),
            ({"to": []}, "Empty 'to' list"),
            ({"to": [99]}, "Invalid user ID 99"),
            ({"type_": "channel"}, "Missing stream_id"),
            ({"type_": "channel", "stream_id": 1}, "Missing topic"),
            ({"type_": "channel", "stream_id": 9, "topic": "t"}, "Invalid channel ID"),
        ],
    )


# ---- Alert words and storage


def test_alert_words(org: Organization) -> None:
    queue, route = org.iago.register(event_types=["alert_words"]), "/users/me/alert_words"
    words = ["Lunch", " lunch ", "", "tea"]
    assert org.iago.ok(f"POST {route}", alert_words=words) == {"alert_words": ["Lunch", "tea"]}
    assert org.iago.ok(f"DELETE {route}", alert_words=["LUNCH", "x"]) == {"alert_words": ["tea"]}
    assert org.iago.ok(f"GET {route}") == {"alert_words": ["tea"]}
    assert [event["alert_words"] for event in org.iago.events(queue)] == [["Lunch", "tea"], ["tea"]]


def test_bot_storage(org: Organization) -> None:
    route = "/bot_storage"
    assert org.bot.ok(f"PUT {route}", storage={"a": "1", "b": "2"}) == {}
    assert org.bot.ok(f"GET {route}") == {"storage": {"a": "1", "b": "2"}}
    assert org.bot.ok(f"GET {route}", keys=["b"]) == {"storage": {"b": "2"}}
    assert org.bot.error(f"GET {route}", keys=["c"]) == "Key does not exist."
    assert org.bot.error(f"PUT {route}", storage={"c": 3}) == 'storage["c"] is not a string'
    assert org.bot.ok(f"DELETE {route}", keys=["a"]) == {}
    assert org.bot.ok(f"GET {route}") == {"storage": {"b": "2"}}
    assert org.bot.ok(f"DELETE {route}") == {}
    assert org.bot.ok(f"GET {route}") == org.iago.ok(f"GET {route}") == {"storage": {}}
