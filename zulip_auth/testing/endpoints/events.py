"""Endpoints of event queues, and the data that a client fetches with one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Literal

from zulip_auth.testing import queues
from zulip_auth.testing.errors import ErrorResponse
from zulip_auth.testing.http import Fields, UserCall, endpoint, not_served
from zulip_auth.testing.messages import MAX_CONTENT, MAX_TOPIC
from zulip_auth.testing.narrow import check_event_narrow, match_narrow
from zulip_auth.testing.queues import Queue

from .channels import channel_fields, list_channels, own_channels, subscription_fields
from .groups import all_groups
from .logins import VERSION
from .presence import get_realm_presence
from .scheduled import list_scheduled_messages
from .storage import list_alert_words
from .topics import user_topics
from .users import BOT_SETTINGS, all_profiles, max_message_id, own_profile

_MAX_LIFESPAN = 7 * 24 * 3600
_OWN_FIELDS = (
    "user_id",
    "email",
    "delivery_email",
    "full_name",
    "is_admin",
    "is_owner",
    "is_guest",
)


def _realm_data(call: UserCall) -> Fields:
    return {
        "realm_name": call.realm.name,
        "realm_description": "",
        "realm_url": call.url(call.realm.host),
        "realm_uri": call.url(call.realm.host),
        "realm_bot_domain": call.realm.email_domain,
        "realm_email_auth_enabled": call.realm.password_login,
        "realm_password_auth_enabled": call.realm.password_login,
        "realm_message_content_edit_limit_seconds": 600,
        "realm_message_content_delete_limit_seconds": 600,
        "max_message_length": MAX_CONTENT,
        "max_topic_length": MAX_TOPIC,
        "max_stream_name_length": 60,
        "event_queue_longpoll_timeout_seconds": 90,
    }


def _user_data(call: UserCall) -> Fields:
    users, own = all_profiles(call), own_profile(call.realm, call.account)
    return {
        "realm_users": [user for user in users if user["is_active"]],
        "realm_non_active_users": [user for user in users if not user["is_active"]],
        "cross_realm_bots": [],
        **{name: own[name] for name in _OWN_FIELDS},
    }


def _subscription_data(call: UserCall) -> Fields:
    own, subscribers = own_channels(call), call.params.get("include_subscribers") == "true"
    others = [name for name in call.realm.channels if name not in own]
    return {
        "subscriptions": [subscription_fields(call, n, subscribers=subscribers) for n in own],
        "unsubscribed": [],
        "never_subscribed": [channel_fields(call, name) for name in others],
    }


def _bot_data(call: UserCall) -> Fields:
    return {
        "realm_bots": [
            {
                "user_id": bot.user_id,
                "email": bot.email,
                "full_name": bot.full_name,
                "bot_type": bot.bot_type,
                "is_active": bot.active,
                "api_key": bot.api_key,
                "owner_id": call.account.user_id,
                **BOT_SETTINGS,
                "services": [],
            }
            for bot in call.bots
        ]
    }


def _starred_data(call: UserCall) -> Fields:
    starred = [m.id for m in call.messages if "starred" in m.flags(call.account)]
    return {"starred_messages": starred}


_DATA: dict[str, Callable[[UserCall], Fields]] = {
    "message": lambda call: {"max_message_id": max_message_id(call)},
    "realm": _realm_data,
    "realm_user": _user_data,
    "subscription": _subscription_data,
    "stream": list_channels,
    "realm_bot": _bot_data,
    "starred_messages": _starred_data,
    "presence": get_realm_presence,
    "scheduled_messages": list_scheduled_messages,
    "alert_words": list_alert_words,
    "user_group": lambda call: {"realm_user_groups": all_groups(call)},
    # Organizations here have none of these.
    "realm_emoji": lambda _: {"realm_emoji": {}},
    "realm_linkifiers": lambda _: {"realm_linkifiers": []},
    "custom_profile_fields": lambda _: {"custom_profile_fields": []},
    "user_topic": user_topics,
    "muted_users": lambda _: {"muted_users": []},
}
"""The data of each type of events."""

_WITHOUT_DATA = {
    "attachment",
    "delete_message",
    "heartbeat",
    "reaction",
    "restart",
    "submessage",
    "typing",
    "update_message",
    "update_message_flags",
}
"""Types of events for which the server has no data."""


@endpoint(
    "POST /api/v1/register",
    client_gravatar=bool,
    slim_presence=bool,
    include_subscribers=Literal["true", "false", "partial"],  # of the data
)
def register(
    call: UserCall,
    apply_markdown: bool = False,
    all_public_streams: bool = False,
    client_capabilities: dict[str, Any] | None = None,
    event_types: list[str] | None = None,
    fetch_event_types: list[str] | None = None,
    narrow: Sequence[Any] = (),
    queue_lifespan_secs: int = 0,
) -> Fields:
    """Register an event queue."""
    check_event_narrow(narrow)
    wanted = event_types if fetch_event_types is None else fetch_event_types
    unknown = {*(wanted or ())} - _DATA.keys() - _WITHOUT_DATA
    if unknown:
        raise not_served(call.state, f"the data of {', '.join(sorted(unknown))} in POST /register")
    data: dict[str, Any] = {}
    for name in _DATA:
        if wanted is None or name in wanted:
            data |= _DATA[name](call)
    queue_id = secrets.token_hex(16)
    call.state.queues[queue_id] = Queue(
        call.account,
        call.state.now(),
        event_types,
        apply_markdown,
        all_public_streams,
        [name for name, value in (client_capabilities or {}).items() if value is True],
        match_narrow(call.realm, call.account, narrow),
        min(queue_lifespan_secs, _MAX_LIFESPAN) or queues.IDLE_TIMEOUT,
    )
    return {"queue_id": queue_id, "last_event_id": -1, **VERSION, **data}


@endpoint("GET /api/v1/events")
async def get_events(
    call: UserCall, queue_id: str, last_event_id: int, dont_block: bool = False
) -> Fields:
    """Return the events after the last one that the client has, or wait for one.

    Source: only a response that was waited for has the id of the queue.
    """
    with call.state.lock:
        queue = _find_queue(call, queue_id)
        queue.acknowledge(last_event_id)
        if queue.events or dont_block:
            return {"events": list(queue.events)}
        poll = queue.start_poll()
    try:
        async with asyncio.timeout(queues.HEARTBEAT):
            await poll.wait()
    except TimeoutError:
        with call.state.lock:
            queue.add({"type": "heartbeat"})
    finally:
        queue.end_poll(poll)
    with call.state.lock:
        queue.last_used = call.state.now()
        if queue.expired:
            raise _bad_queue(queue_id)
        return {"events": list(queue.events), "queue_id": queue_id}


@endpoint("DELETE /api/v1/events")
def delete_queue(call: UserCall, queue_id: str) -> Fields:
    """Delete an event queue and end its poll."""
    queue = _find_queue(call, queue_id)
    del call.state.queues[queue_id]
    queue.notify()
    return {}


def _find_queue(call: UserCall, queue_id: str) -> Queue:
    queue, now = call.state.queues.get(queue_id), call.state.now()
    if queue is None or queue.owner is not call.account or queue.is_idle(now):
        raise _bad_queue(queue_id)
    queue.last_used = now
    return queue


def _bad_queue(queue_id: str) -> ErrorResponse:
    msg = f"Bad event queue ID: {queue_id}"
    return ErrorResponse(400, "BAD_EVENT_QUEUE_ID", msg, queue_id=queue_id)
