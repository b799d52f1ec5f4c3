"""Endpoints of user groups."""

from __future__ import annotations

from typing import Any

from zulip_auth.testing.accounts import ADMINISTRATOR, GUEST, MEMBER, MODERATOR, OWNER, UserGroup
from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import HUMANS, MEMBERS, Fields, UserCall, endpoint
from zulip_auth.testing.parameters import json, text

_SYSTEM_GROUPS = {
    "role:internet": (0, "Everyone on the Internet"),
    "role:owners": (OWNER, "Owners of this organization"),
    "role:administrators": (
        ADMINISTRATOR,
        "Administrators of this organization, including owners",
    ),
    "role:moderators": (
        MODERATOR,
        "Moderators of this organization, including administrators",
    ),
    "role:fullmembers": (
        MEMBER,
        "Members of this organization, not including new accounts and guests",
    ),
    "role:members": (MEMBER, "Members of this organization, not including guests"),
    "role:everyone": (GUEST, "Everyone in this organization, including guests"),
    "role:nobody": (0, "Nobody"),
}
_NOBODY = 8
_FIRST_ID = 100
_MAX_NAME = 100


def all_groups(call: UserCall) -> list[dict[str, Any]]:
    """Return the user groups of the organization as in the API."""
    groups = []
    for id_, (name, (role, description)) in enumerate(_SYSTEM_GROUPS.items(), 1):
        members = [u.user_id for u in call.realm.accounts if u.active and u.role <= role]
        groups.append(_to_dict(id_, name, description, members, system=True))
    for group in call.realm.user_groups.values():
        if not group.deactivated:
            fields = _to_dict(group.id, group.name, group.description, group.members)
            created = {"creator_id": group.creator.user_id, "date_created": int(group.created)}
            groups.append({**fields, **created})
    return groups


def _to_dict(
    id_: int, name: str, description: str, members: list[int], *, system: bool = False
) -> dict[str, Any]:
    settings = ("add_members", "join", "leave", "manage", "mention", "remove_members")
    return {
        "id": id_,
        "creator_id": None,
        "date_created": None,
        "name": name,
        "description": description,
        "members": sorted(members),
        "direct_subgroup_ids": [],
        "is_system_group": system,
        "deactivated": False,
        **{f"can_{setting}_group": _NOBODY for setting in settings},
    }


@endpoint("GET /api/v1/user_groups", HUMANS, MEMBERS, include_deactivated_groups=json(bool, False))
def list_groups(call: UserCall, **_: bool) -> Fields:
    """Return the user groups."""
    return {"user_groups": all_groups(call)}


@endpoint("GET /api/v1/user_groups/{group_id:int}/members", HUMANS, MEMBERS)
def list_members(call: UserCall, group_id: int) -> Fields:
    """Return the user ids of a group's members."""
    for group in all_groups(call):
        if group["id"] == group_id:
            return {"members": group["members"]}
    raise bad_request("Invalid user group")


@endpoint(
    "POST /api/v1/user_groups/create",
    MEMBERS,
    name=text(),
    description=text(),
    members=json(list[int]),
)
def create_group(call: UserCall, name: str, description: str, members: list[int]) -> Fields:
    """Create a user group."""
    name = _check_name(call, name)
    _check_users(call, members)
    id_ = _FIRST_ID + len(call.realm.user_groups)
    call.realm.user_groups[id_] = UserGroup(
        id_, call.account, call.state.now(), name, description, sorted(set(members))
    )
    group = next(group for group in all_groups(call) if group["id"] == id_)
    call.deliver(call.realm.accounts, {"type": "user_group", "op": "add", "group": group})
    return {"group_id": id_}


@endpoint(
    "PATCH /api/v1/user_groups/{group_id:int}",
    MEMBERS,
    name=text(default=None),
    description=text(default=None),
)
def update_group(
    call: UserCall, group_id: int, name: str | None, description: str | None
) -> Fields:
    """Change the name or the description of a user group."""
    if name is None and description is None:
        raise bad_request("No new data supplied")
    group = _find(call, group_id)
    if name is not None and name != group.name:
        group.name = _check_name(call, name)
    group.description = group.description if description is None else description
    data = {"name": group.name, "description": group.description}
    event = {"type": "user_group", "op": "update", "group_id": group_id, "data": data}
    call.deliver(call.realm.accounts, event)
    return {}


@endpoint("POST /api/v1/user_groups/{group_id:int}/deactivate", MEMBERS)
def deactivate_group(call: UserCall, group_id: int) -> Fields:
    """Deactivate a user group."""
    _find(call, group_id).deactivated = True
    event = {"type": "user_group", "op": "remove", "group_id": group_id}
    call.deliver(call.realm.accounts, event)
    return {}


@endpoint(
    "POST /api/v1/user_groups/{group_id:int}/members",
    MEMBERS,
    delete=json(list[int], default=()),
    add=json(list[int], default=()),
)
def update_members(call: UserCall, group_id: int, delete: list[int], add: list[int]) -> Fields:
    """Add and remove members of a user group."""
    if not (add or delete):
        raise bad_request('Nothing to do. Specify at least one of "add" or "delete".')
    group = _find(call, group_id)
    _check_users(call, [*add, *delete])
    for user_id in add:
        if user_id in group.members:
            raise bad_request(f"User {user_id} is already a member of this group")
    for user_id in delete:
        if user_id not in group.members:
            raise bad_request(f"There is no member '{user_id}' in this user group")
    group.members = sorted({*group.members, *add} - set(delete))
    for op, ids in (("add_members", add), ("remove_members", delete)):
        if ids:
            event = {"type": "user_group", "op": op, "group_id": group_id, "user_ids": ids}
            call.deliver(call.realm.accounts, event)
    return {}


def _find(call: UserCall, group_id: int) -> UserGroup:
    group = call.realm.user_groups.get(group_id)
    if group is None or group.deactivated:
        raise bad_request("Invalid user group")
    if group.creator is not call.account and not call.account.admin:
        raise bad_request("Insufficient permission")
    return group


def _check_name(call: UserCall, name: str) -> str:
    if not name.strip():
        raise bad_request("User group name can't be empty!")
    if len(name) > _MAX_NAME:
        raise bad_request(f"User group name cannot exceed {_MAX_NAME} characters.")
    for prefix in ("@", "role:", "user:", "stream:", "channel:"):
        if name.startswith(prefix):
            raise bad_request(f"User group name cannot start with '{prefix}'.")
    if any(group["name"].lower() == name.strip().lower() for group in all_groups(call)):
        raise bad_request(f"User group '{name.strip()}' already exists.")
    return name.strip()


def _check_users(call: UserCall, user_ids: list[int]) -> None:
    for user_id in user_ids:
        if call.realm.find(user_id) is None:
            raise bad_request(f"Invalid user ID: {user_id}")
