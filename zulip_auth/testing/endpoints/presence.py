"""Endpoints of presence and typing notifications."""

from __future__ import annotations

from typing import Any

from zulip_auth.testing.accounts import Account
from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import HUMANS, Fields, UserCall, endpoint
from zulip_auth.testing.parameters import choice, json, text

from .channels import find_channel_by_id
from .users import find_user


def presences(call: UserCall, *, slim: bool = False) -> dict[str, Any]:
    """Return the presences of the organization as in the API."""
    users = [user for user in call.realm.accounts if user.presence]
    if slim:
        return {
            str(user.user_id): {f"{status}_timestamp": int(timestamp)}
            for user in users
            for status, timestamp in [user.presence or ("", 0.0)]
        }
    return {call.realm.visible_email(user): _presence(user) for user in users}


def _presence(user: Account) -> dict[str, Any]:
    status, timestamp = user.presence or ("idle", 0.0)
    entry = {"status": status, "timestamp": int(timestamp)}
    website = {"client": "website", **entry, "pushable": False}
    return {"aggregated": {"client": "website", **entry}, "website": website}


@endpoint(
    "POST /api/v1/users/me/presence",
    HUMANS,
    status=text(),
    ping_only=json(bool, default=False),
    new_user_input=json(bool, default=False),
    slim_presence=json(bool, default=False),
    last_update_id=json(int, default=None),
    history_limit_days=json(int, default=None),
)
def update_presence(
    call: UserCall, status: str, ping_only: bool, slim_presence: bool, **_: object
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


@endpoint(
    "POST /api/v1/typing",
    type_=choice("direct", "stream", "channel", default="direct"),
    op=choice("start", "stop"),
    to=json(list[int], default=None),
    stream_id=json(int, default=None),
    topic=text(default=None),
)
def notify_typing(
    call: UserCall,
    type_: str,
    op: str,
    to: list[int] | None,
    stream_id: int | None,
    topic: str | None,
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
    subscribers = call.realm.subscribers(find_channel_by_id(call.realm, stream_id))
    event |= {"message_type": "stream", "stream_id": stream_id, "topic": topic}
    call.deliver(subscribers, event, "stream_typing_notifications")
    return {}
