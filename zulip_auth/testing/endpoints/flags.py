"""Endpoints of message flags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import Fields, UserCall, endpoint
from zulip_auth.testing.messages import EDITABLE_FLAGS, FLAGS, Message

from .messages import find_message


def _change_flag(call: UserCall, messages: Iterable[Message], op: str, flag: str) -> None:
    """Set or clear a flag of some messages, and send the event."""
    if flag not in FLAGS:
        raise bad_request(f"Invalid flag: '{flag}'")
    if flag not in EDITABLE_FLAGS:
        raise bad_request(f"Flag not editable: '{flag}'")
    if op not in ("add", "remove"):
        raise bad_request(f"Invalid message flag operation: '{op}'")
    changed = [m for m in messages if m.set_flag(call.account, flag, on=op == "add")]
    if changed:
        event: dict[str, Any] = {"type": "update_message_flags", "op": op, "operation": op}
        event |= {"flag": flag, "messages": [m.id for m in changed], "all": False}
        if (op, flag) == ("remove", "read"):
            event["message_details"] = {str(m.id): _details(call, m) for m in changed}
        call.deliver([call.account], event)


@endpoint("POST /api/v1/messages/flags")
def update_flags(call: UserCall, messages: list[int], op: str, flag: str) -> Fields:
    """Change a flag of some messages."""
    _change_flag(call, [find_message(call, id_) for id_ in messages], op, flag)
    return {"messages": messages}


@endpoint("POST /api/v1/mark_all_as_read")
def mark_all_as_read(call: UserCall) -> Fields:
    """Mark all messages as read."""
    _change_flag(call, call.received, "add", "read")
    return {"complete": True}


@endpoint("POST /api/v1/mark_stream_as_read")
def mark_channel_as_read(call: UserCall, stream_id: int) -> Fields:
    """Mark the messages of a channel as read."""
    name = call.channel(stream_id)
    _change_flag(call, [m for m in call.received if m.channel == name], "add", "read")
    return {}


@endpoint("POST /api/v1/mark_topic_as_read")
def mark_topic_as_read(call: UserCall, stream_id: int, topic_name: str) -> Fields:
    """Mark the messages of a topic as read."""
    key = call.channel(stream_id), topic_name.lower()
    messages = [m for m in call.received if (m.channel, m.topic.lower()) == key]
    if not messages:
        raise bad_request(f"No such topic '{topic_name}'")
    _change_flag(call, messages, "add", "read")
    return {}


def _details(call: UserCall, message: Message) -> dict[str, Any]:
    details: dict[str, Any] = {"type": message.type}
    if "mentioned" in message.flags(call.account):
        details["mentioned"] = True
    if message.channel is None:
        others = [u.user_id for u in message.recipients if u is not call.account]
        return details | {"user_ids": others}
    id_ = call.realm.channel_id(message.channel)
    return details | {"stream_id": id_, "topic": message.topic, "unmuted_stream_msg": True}
