"""Endpoints of presence and typing notifications."""

from __future__ import annotations

from typing import Any, Literal

from zulip_auth.testing.accounts import Account
from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import HUMANS, Fields, UserCall, endpoint

from .users import find_user


def presences(call: UserCall, *, slim: bool = False) -> dict[str, Any]:
    """Return the presences of the organization as in the API."""
    users = [user for user in call.realm.accounts if user.presence]
    if slim:
        return {str(user.user_id): _slim_presence(user) for user in users}
    return {call.realm.visible_email(user): _presence(user) for user in users}


def _slim_presence(user: Account) -> dict[str, Any]:
    status, timestamp = user.presence or ("idle", 0.0)
    return {f"{status}_timestamp": int(timestamp)}


def _presence(user: Account) -> dict[str, Any]:
    status, timestamp = user.presence or ("idle", 0.0)
    entry = {"status": status, "timestamp": int(timestamp)}
    website = {"client": "website", **entry, "pushable": False}
    return {"aggregated": {"client": "website", **entry}, "website": website}


@endpoint(
    "POST /api/v1/users/me/presence",
    HUMANS,
    new_user_input=bool,
    last_update_id=int,
    history_limit_days=int,
)
def update_presence(
    call: UserCall, status: str, ping_only: bool = False, slim_presence: bool = False
) -> Fields:
    """Store the presence of a user, and return the presences of all."""
    if status not in ("active", "idle"):
        raise bad_request(f"Invalid status: {status}")
    now = call.state.now()
    call.account.presence = status, now
    if ping_only:
        return {}
    found = presences(call, slim=slim_presence)
    return {"presences": found, "presence_last_update_id": int(now), "server_timestamp": now}


@endpoint("GET /api/v1/realm/presence")
def get_realm_presence(call: UserCall) -> Fields:
    """Return the presences of the organization."""
    return {"presences": presences(call), "server_timestamp": call.state.now()}


@endpoint("GET /api/v1/users/{user}/presence")
def get_user_presence(call: UserCall, user: str) -> Fields:
    """Return the presence of a user."""
    account = find_user(call.realm, user)
    if account.is_bot:
        raise bad_request("Presence is not supported for bot users.")
    if account.presence is None:
        raise bad_request(f"No presence data for {user}")
    entries = {
        name: {key: entry[key] for key in ("status", "timestamp")}
        for name, entry in _presence(account).items()
    }
    return {"presence": entries}


@endpoint("POST /api/v1/typing")
def notify_typing(
    call: UserCall,
    op: Literal["start", "stop"],
    type_: Literal["direct", "stream", "channel"] = "direct",
    to: list[int] | None = None,
    stream_id: int | None = None,
    topic: str | None = None,
) -> Fields:
    """Send a typing notification to the recipients."""
    sender = {"user_id": call.account.user_id, "email": call.realm.visible_email(call.account)}
    event: dict[str, Any] = {"type": "typing", "op": op, "sender": sender}
    if type_ == "direct":
        if to is None:
            raise bad_request("Missing 'to' argument")
        if not to:
            raise bad_request("Empty 'to' list")
        users = {call.account}
        for user_id in to:
            user = call.realm.find(user_id)
            if user is None:
                raise bad_request(f"Invalid user ID {user_id}")
            users.add(user)
        recipients = [
            {"user_id": user.user_id, "email": call.realm.visible_email(user)}
            for user in sorted(users, key=lambda user: user.user_id)
        ]
        call.deliver(users, {**event, "message_type": "direct", "recipients": recipients})
        return {}
    if stream_id is None:
        raise bad_request("Missing stream_id")
    if topic is None:
        raise bad_request("Missing topic")
    subscribers = call.realm.subscribers(call.channel(stream_id))
    event |= {"message_type": "stream", "stream_id": stream_id, "topic": topic}
    call.deliver(subscribers, event, "stream_typing_notifications")
    return {}
