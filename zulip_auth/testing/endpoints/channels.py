"""Endpoints of channels, subscriptions and topics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from zulip_auth.testing.accounts import Account
from zulip_auth.testing.errors import ErrorResponse, bad_request, reject_if
from zulip_auth.testing.http import MEMBERS, Fields, UserCall, endpoint, not_served
from zulip_auth.testing.messages import check_characters

_CHANNEL = {
    "is_archived": False,
    "description": "",
    "date_created": 1763933520,
    "creator_id": None,
    "invite_only": False,
    "rendered_description": "",
    "is_web_public": False,
    "stream_post_policy": 1,
    "message_retention_days": None,
    "history_public_to_subscribers": True,
    "first_message_id": None,
    "is_recently_active": True,
    "is_announcement_only": False,
    "can_remove_subscribers_group": 1,
    "can_administer_channel_group": 1,
    "stream_weekly_traffic": None,
}
_SUBSCRIPTION = {
    "audible_notifications": None,
    "color": "#76ce90",
    "desktop_notifications": None,
    "email_notifications": None,
    "in_home_view": True,
    "is_muted": False,
    "pin_to_top": False,
    "push_notifications": None,
    "wildcard_mentions_notify": None,
}
_MAX_NAME = 60


def channel_fields(call: UserCall, name: str) -> dict[str, Any]:
    """Return a channel as in the API."""
    ids = [message.id for message in call.messages if message.channel == name]
    return {
        "stream_id": call.realm.channel_id(name),
        "name": name,
        **_CHANNEL,
        "creator_id": call.realm.creator_id(name),
        "first_message_id": min(ids, default=None),
    }


def subscription_fields(call: UserCall, name: str, *, subscribers: bool = False) -> dict[str, Any]:
    """Return a channel with the settings of the account's subscription."""
    settings = call.realm.subscription_settings.get((call.account.user_id, name), {})
    users = [user.user_id for user in call.realm.subscribers(name)]
    extra = {"subscribers": users} if subscribers else {}
    return {**channel_fields(call, name), **_SUBSCRIPTION, **settings, **extra}


def own_channels(call: UserCall) -> list[str]:
    """Return the names of the channels that the account is subscribed to."""
    return [name for name in call.realm.channels if call.realm.is_subscribed(call.account, name)]


@endpoint(
    "GET /api/v1/streams",
    include_web_public=bool,
    exclude_archived=bool,
    include_all=bool,
    include_all_active=bool,
    include_default=bool,
    include_owner_subscribed=bool,
)
def list_channels(
    call: UserCall, include_public: bool = True, include_subscribed: bool = True
) -> Fields:
    """Return the channels of the organization, all of which are public."""
    own = own_channels(call) if include_subscribed else []
    names = call.realm.channels if include_public else own
    return {"streams": [channel_fields(call, name) for name in names]}


@endpoint("GET /api/v1/streams/{stream_id:int}")
def get_channel(call: UserCall, stream_id: int) -> Fields:
    """Return a channel by its id."""
    return {"stream": channel_fields(call, call.channel(stream_id))}


@endpoint("GET /api/v1/get_stream_id")
def get_channel_id(call: UserCall, stream: str) -> Fields:
    """Return the id of a channel."""
    name = call.realm.find_channel(stream)
    if name is None:
        raise bad_request(f"Invalid channel name '{stream}'")
    return {"stream_id": call.realm.channel_id(name)}


@endpoint("GET /api/v1/streams/{stream_id:int}/members")
def list_subscribers(call: UserCall, stream_id: int) -> Fields:
    """Return the user ids of a channel's subscribers."""
    users = call.realm.subscribers(call.channel(stream_id))
    return {"subscribers": sorted(user.user_id for user in users)}


@endpoint("GET /api/v1/users/{user_id:int}/subscriptions/{stream_id:int}")
def get_subscription_status(call: UserCall, user_id: int, stream_id: int) -> Fields:
    """Return whether an account is subscribed to a channel."""
    user = call.realm.find(user_id)
    if user is None:
        raise bad_request("No such user")
    return {"is_subscribed": call.realm.is_subscribed(user, call.channel(stream_id))}


@endpoint("GET /api/v1/users/me/subscriptions")
def list_subscriptions(
    call: UserCall, include_subscribers: Literal["true", "false"] = "false"
) -> Fields:
    """Return the own subscriptions."""
    subscribers = include_subscribers == "true"
    names = own_channels(call)
    return {"subscriptions": [subscription_fields(call, n, subscribers=subscribers) for n in names]}


@endpoint(
    "POST /api/v1/users/me/subscriptions",
    MEMBERS,
    announce=bool,
    authorization_errors_fatal=bool,
)
def add_subscriptions(
    call: UserCall,
    subscriptions: list[dict[str, Any]],
    invite_only: bool = False,
    principals: Sequence[Any] = (),
) -> Fields:
    """Subscribe accounts to channels. Create those that do not exist."""
    if invite_only:
        raise not_served(call.state, "private channels (invite_only)")
    users = _find_principals(call, principals)
    texts = [_check_channel_name(item.get("name")) for item in subscriptions]
    changed: dict[bool, dict[str, list[str]]] = {True: {}, False: {}}
    for text in texts:
        name = call.realm.find_channel(text)
        if name is None:
            name = call.realm.create_channel(text, call.account)
            created = {"type": "stream", "op": "create", "streams": [channel_fields(call, name)]}
            call.deliver(call.realm.accounts, created)
        for user in users:
            change = call.realm.subscribe(user, name, subscribed=True)
            changed[change].setdefault(str(user.user_id), []).append(name)
            if change:
                _notify(call, user, "add", [subscription_fields(call, name, subscribers=True)])
    return {"subscribed": changed[True], "already_subscribed": changed[False]}


@endpoint("DELETE /api/v1/users/me/subscriptions")
def remove_subscriptions(
    call: UserCall, subscriptions: list[str], principals: Sequence[Any] = ()
) -> Fields:
    """Unsubscribe accounts from channels."""
    users = _find_principals(call, principals)
    own = {call.account, *call.bots}
    if not (own.issuperset(users) or call.account.admin):
        raise bad_request("Insufficient permission")
    names = {name: call.realm.find_channel(name) for name in subscriptions}
    if unknown := [name for name, channel in names.items() if channel is None]:
        raise bad_request(f"Channel(s) ({', '.join(unknown)}) do not exist")
    changed: dict[bool, list[str]] = {True: [], False: []}
    for name in filter(None, names.values()):
        for user in users:
            change = call.realm.subscribe(user, name, subscribed=False)
            changed[change].append(name)
            if change:
                id_ = call.realm.channel_id(name)
                _notify(call, user, "remove", [{"name": name, "stream_id": id_}])
    return {"removed": changed[True], "not_removed": changed[False]}


@endpoint("POST /api/v1/users/me/subscriptions/properties")
def update_subscription_settings(call: UserCall, subscription_data: list[dict[str, Any]]) -> Fields:
    """Change the settings of own subscriptions."""
    for change in subscription_data:
        stream_id, name = change.get("stream_id"), change.get("property")
        if type(stream_id) is not int or "value" not in change:
            raise bad_request("subscription_data[0] is not valid")
        channel = call.channel(stream_id)
        if not call.realm.is_subscribed(call.account, channel):
            raise bad_request(f"Not subscribed to channel id {stream_id}")
        if name not in _SUBSCRIPTION:
            raise bad_request(f"Unknown subscription property: {name}")
        settings = call.realm.subscription_settings
        settings.setdefault((call.account.user_id, channel), {})[name] = change["value"]
    return {}


def _find_principals(call: UserCall, principals: Sequence[Any]) -> list[Account]:
    """Return the accounts to subscribe, by email or user id; by default the own one."""
    users = []
    for principal in principals:
        user = call.realm.find_visible(principal)
        if user is None:
            msg = f"User not authorized to execute queries on behalf of '{principal}'"
            raise ErrorResponse(403, "UNAUTHORIZED_PRINCIPAL", msg, principal=principal)
        users.append(user)
    return users or [call.account]


def _check_channel_name(name: object) -> str:
    if not isinstance(name, str):
        raise bad_request('subscriptions[0]["name"] is not a string')
    name = name.strip()
    reject_if(
        (not name, "Channel name can't be empty."),
        (len(name) > _MAX_NAME, f"Channel name too long (limit: {_MAX_NAME} characters)."),
    )
    check_characters(name, "channel name", ".")
    return name


def _notify(call: UserCall, user: Account, op: str, subscriptions: list[dict[str, Any]]) -> None:
    """Send the events of a changed subscription to the account and to the others."""
    call.deliver([user], {"type": "subscription", "op": op, "subscriptions": subscriptions})
    others = [other for other in call.realm.accounts if other is not user]
    ids = {"stream_ids": [item["stream_id"] for item in subscriptions]}
    peers = {"type": "subscription", "op": f"peer_{op}", **ids, "user_ids": [user.user_id]}
    call.deliver(others, peers)
