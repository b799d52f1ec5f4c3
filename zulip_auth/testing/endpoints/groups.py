"""Endpoints of user groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zulip_auth.testing.accounts import ADMINISTRATOR, GUEST, MEMBER, MODERATOR, OWNER, UserGroup
from zulip_auth.testing.errors import bad_request, reject_if
from zulip_auth.testing.http import HUMANS, MEMBERS, Fields, UserCall, endpoint

_SYSTEM_GROUPS = (
    ("internet", 0, "Everyone on the Internet"),
    ("owners", OWNER, "Owners of this organization"),
    ("administrators", ADMINISTRATOR, "Administrators of this organization, including owners"),
    ("moderators", MODERATOR, "Moderators of this organization, including administrators"),
    (
        "fullmembers",
        MEMBER,
        "Members of this organization, not including new accounts and guests",
    ),
    ("members", MEMBER, "Members of this organization, not including guests"),
    ("everyone", GUEST, "Everyone in this organization, including guests"),
    ("nobody", 0, "Nobody"),
)
_SETTINGS = ("add_members", "join", "leave", "manage", "mention", "remove_members")
_NOBODY = 8
_FIRST_ID = 100
_MAX_NAME = 100


def all_groups(call: UserCall) -> list[dict[str, Any]]:
    """Return the user groups of the organization as in the API."""
    groups = []
    for id_, (name, role, description) in enumerate(_SYSTEM_GROUPS, 1):
        members = [u.user_id for u in call.realm.accounts if u.active and u.role <= role]
        groups.append(_to_dict(id_, f"role:{name}", description, members))
    for group in call.realm.user_groups.values():
        fields = _to_dict(group.id, group.name, group.description, group.members)
        created = {"creator_id": group.creator.user_id, "date_created": int(group.created)}
        groups.append({**fields, **created})
    return groups


def _to_dict(id_: int, name: str, description: str, members: list[int]) -> dict[str, Any]:
    return {
        "id": id_,
        "creator_id": None,
        "date_created": None,
        "name": name,
        "description": description,
        "members": sorted(members),
        "direct_subgroup_ids": [],
        "is_system_group": id_ < _FIRST_ID,
        "deactivated": False,
        **{f"can_{setting}_group": _NOBODY for setting in _SETTINGS},
    }


@endpoint("GET /api/v1/user_groups", HUMANS, MEMBERS, include_deactivated_groups=bool)
def list_groups(call: UserCall) -> Fields:
    """Return the user groups."""
    return {"user_groups": all_groups(call)}


@endpoint("POST /api/v1/user_groups/create", MEMBERS)
def create_group(call: UserCall, name: str, description: str, members: list[int]) -> Fields:
    """Create a user group."""
    name = _check_name(call, name)
    _check_users(call, members)
    id_ = _FIRST_ID + len(call.realm.user_groups)
    group = UserGroup(id_, call.account, call.state.now(), name, description, sorted(set(members)))
    call.realm.user_groups[id_] = group
    _notify(call, "add", group=all_groups(call)[-1])
    return {"group_id": id_}


@endpoint("PATCH /api/v1/user_groups/{group_id:int}", MEMBERS)
def update_group(
    call: UserCall, group_id: int, name: str | None = None, description: str | None = None
) -> Fields:
    """Change the name or the description of a user group."""
    if name is None and description is None:
        raise bad_request("No new data supplied")
    group = _find(call, group_id)
    if name is not None and name != group.name:
        group.name = _check_name(call, name)
    group.description = group.description if description is None else description
    data = {"name": group.name, "description": group.description}
    _notify(call, "update", group_id=group_id, data=data)
    return {}


@endpoint("POST /api/v1/user_groups/{group_id:int}/members", MEMBERS)
def update_members(
    call: UserCall, group_id: int, delete: Sequence[int] = (), add: Sequence[int] = ()
) -> Fields:
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
            _notify(call, op, group_id=group_id, user_ids=ids)
    return {}


def _find(call: UserCall, group_id: int) -> UserGroup:
    group = call.realm.user_groups.get(group_id)
    if group is None:
        raise bad_request("Invalid user group")
    if group.creator is not call.account and not call.account.admin:
        raise bad_request("Insufficient permission")
    return group


def _notify(call: UserCall, op: str, **fields: int | Sequence[int] | Mapping[str, Any]) -> None:
    call.deliver(call.realm.accounts, {"type": "user_group", "op": op, **fields})


def _check_name(call: UserCall, name: str) -> str:
    stripped, names = name.strip(), {group["name"].lower() for group in all_groups(call)}
    reject_if(
        (not stripped, "User group name can't be empty!"),
        (len(name) > _MAX_NAME, f"User group name cannot exceed {_MAX_NAME} characters."),
        *(
            (name.startswith(prefix), f"User group name cannot start with '{prefix}'.")
            for prefix in ("@", "role:", "user:", "stream:", "channel:")
        ),
        (stripped.lower() in names, f"User group '{stripped}' already exists."),
    )
    return stripped


def _check_users(call: UserCall, user_ids: Iterable[int]) -> None:
    for user_id in user_ids:
        if call.realm.find(user_id) is None:
            raise bad_request(f"Invalid user ID: {user_id}")
