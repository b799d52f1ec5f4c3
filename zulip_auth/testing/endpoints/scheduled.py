"""Endpoints of scheduled messages. `advance` sends those that are due."""

from __future__ import annotations

from typing import Any, Literal

from zulip_auth.testing.errors import ErrorResponse, bad_request
from zulip_auth.testing.http import Fields, UserCall, endpoint
from zulip_auth.testing.messages import normalize_content, render
from zulip_auth.testing.parameters import Topic
from zulip_auth.testing.state import ScheduledMessage

from .messages import find_recipients


@endpoint("GET /api/v1/scheduled_messages")
def list_scheduled_messages(call: UserCall) -> Fields:
    """Return the own scheduled messages."""
    own = [m for m in call.state.scheduled.values() if m.sender is call.account]
    own.sort(key=lambda message: message.deliver_at)
    return {"scheduled_messages": [_to_dict(call, message) for message in own]}


@endpoint("POST /api/v1/scheduled_messages", read_by_sender=bool)
def schedule_message(
    call: UserCall,
    type_: Literal["direct", "private", "stream", "channel"],
    to: str,
    content: str,
    scheduled_delivery_timestamp: int,
    topic: Topic | None = None,
) -> Fields:
    """Schedule a message."""
    if scheduled_delivery_timestamp <= call.state.now():
        raise bad_request("Scheduled delivery time must be in the future.")
    recipients, topic = find_recipients(call, type_, to, topic)
    id_ = next(call.state.other_ids)
    call.state.scheduled[id_] = ScheduledMessage(
        id_,
        call.realm,
        call.account,
        recipients,
        topic,
        normalize_content(content),
        call.client,
        scheduled_delivery_timestamp,
    )
    return {"scheduled_message_id": id_}


@endpoint("DELETE /api/v1/scheduled_messages/{id_:int}")
def delete_scheduled_message(call: UserCall, id_: int) -> Fields:
    """Delete a scheduled message."""
    message = call.state.scheduled.get(id_)
    if message is None or message.sender is not call.account:
        raise ErrorResponse(404, "BAD_REQUEST", "Scheduled message does not exist")
    del call.state.scheduled[id_]
    return {}


def _to_dict(call: UserCall, message: ScheduledMessage) -> dict[str, Any]:
    target: dict[str, Any]
    if isinstance(message.to, str):
        id_ = call.realm.channel_id(message.to)
        target = {"type": "stream", "to": id_, "topic": message.topic}
    else:
        target = {"type": "private", "to": [user.user_id for user in message.to]}
    return {
        "scheduled_message_id": message.id,
        **target,
        "content": message.content,
        "rendered_content": render(message.content),
        "scheduled_delivery_timestamp": message.deliver_at,
        "failed": False,
    }
