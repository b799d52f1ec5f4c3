"""Endpoints of the stand-in server for user groups."""

from __future__ import annotations

import pytest

from helpers.caller import Organization, org

__all__ = ["org"]


def test_system_groups(org: Organization) -> None:
    org.iago.account.role = 100
    groups = {g["name"]: g["members"] for g in org.iago.ok("GET /user_groups")["user_groups"]}
    assert len(groups) == 8
    assert groups["role:owners"] == groups["role:moderators"] == [org.iago.id]
    assert groups["role:members"] == [org.iago.id, org.hamlet.id, org.bot.id]
    assert groups["role:everyone"] == [org.iago.id, org.hamlet.id, org.guest.id, org.bot.id]
    assert groups["role:nobody"] == []
    assert org.hamlet.ok("GET /user_groups/2/members") == {"members": [org.iago.id]}
    assert org.hamlet.error("GET /user_groups/99/members") == "Invalid user group"


def test_life_of_a_group(org: Organization) -> None:
    queue = org.iago.register(event_types=["user_group"])
    fields = {"name": "cooks", "description": "They cook.", "members": [org.iago.id]}
    id_ = org.bot.ok("POST /user_groups/create", **fields)["group_id"]
    path = f"/user_groups/{id_}"
    org.bot.ok(f"PATCH {path}", name="chefs", description="They cook well.")
    org.bot.ok(f"PATCH {path}", name="chefs")
    org.bot.ok(f"POST {path}/members", add=[org.hamlet.id], delete=[org.iago.id])
    [group] = org.iago.ok("GET /user_groups")["user_groups"][8:]
    assert (group["name"], group["description"]) == ("chefs", "They cook well.")
    assert (group["members"], group["creator_id"]) == ([org.hamlet.id], org.bot.id)
    assert org.bot.ok(f"POST {path}/members", add=[org.iago.id]) == {}
    assert org.bot.ok(f"POST {path}/deactivate") == {}
    assert org.bot.error(f"PATCH {path}", name="x") == "Invalid user group"
    assert len(org.iago.ok("GET /user_groups")["user_groups"]) == 8
    operations = [event["op"] for event in org.iago.events(queue)]
    members = ["add_members", "remove_members", "add_members"]
    assert operations == ["add", "update", "update", *members, "remove"]


def test_rejected_changes(org: Organization) -> None:
    fields = {"name": "cooks", "description": "", "members": [org.iago.id]}
    id_ = org.bot.ok("POST /user_groups/create", **fields)["group_id"]
    path = f"/user_groups/{id_}"
    create = "POST /user_groups/create"
    error = org.bot.error(create, **{**fields, "name": "COOKS"})
    assert error == "User group 'COOKS' already exists."
    assert org.bot.error(create, **{**fields, "name": " "}) == "User group name can't be empty!"
    error = org.bot.error(create, **{**fields, "name": "x" * 101})
    assert error == "User group name cannot exceed 100 characters."
    error = org.bot.error(create, **{**fields, "name": "role:cooks"})
    assert error == "User group name cannot start with 'role:'."
    error = org.bot.error(create, **{**fields, "name": "x", "members": [99]})
    assert error == "Invalid user ID: 99"
    assert org.bot.error(f"PATCH {path}") == "No new data supplied"
    assert org.hamlet.error(f"PATCH {path}", name="x") == "Insufficient permission"
    assert org.bot.error(f"POST {path}/members").startswith("Nothing to do.")
    error = org.bot.error(f"POST {path}/members", add=[org.iago.id])
    assert error == f"User {org.iago.id} is already a member of this group"
    error = org.bot.error(f"POST {path}/members", delete=[org.hamlet.id])
    assert error == f"There is no member '{org.hamlet.id}' in this user group"


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("bot", "This endpoint does not accept bot requests."),
        ("guest", "Not allowed for guest users"),
    ],
)
def test_groups_are_for_members(name: str, error: str, org: Organization) -> None:
    assert getattr(org, name).error("GET /user_groups") == error
