"""Endpoints of message flags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import Fields, UserCall, endpoint
from zulip_auth.testing.messages import EDITABLE_FLAGS, FLAGS, Message
from zulip_auth.testing.parameters import json, text

from .channels import find_channel_by_id
from .messages import find_message
from .narrows import PAGE, find_page


def change_flags(call: UserCall, messages: Iterable[Message], op: str, flag: str) -> int:
    """Set or clear a flag, send the event, and return how many messages changed."""
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
    return len(changed)


@endpoint("POST /api/v1/messages/flags", messages=json(list[int]), op=text(), flag=text())
def update_flags(call: UserCall, messages: list[int], op: str, flag: str) -> Fields:
    """Change a flag of some messages."""
    change_flags(call, [find_message(call, id_) for id_ in messages], op, flag)
    return {"messages": messages}


@endpoint("POST /api/v1/messages/flags/narrow", anchor=text(), **PAGE, op=text(), flag=text())
def update_flags_in_narrow(call: UserCall, anchor: str, op: str, flag: str, **page: Any) -> Fields:
    """Change a flag of the messages around an anchor."""
    messages, ends = find_page(call, anchor, **page)
    updated = change_flags(call, messages, op, flag)
    return {
        "processed_count": len(messages),
        "updated_count": updated,
        "first_processed_id": messages[0].id if messages else None,
        "last_processed_id": messages[-1].id if messages else None,
        "found_oldest": ends["found_oldest"],
        "found_newest": ends["found_newest"],
    }


@endpoint("POST /api/v1/mark_all_as_read")
def mark_all_as_read(call: UserCall) -> Fields:
    """Mark all messages as read."""
    change_flags(call, _received(call), "add", "read")
    return {"complete": True}


@endpoint("POST /api/v1/mark_stream_as_read", stream_id=json(int))
def mark_channel_as_read(call: UserCall, stream_id: int) -> Fields:
    """Mark the messages of a channel as read."""
    name = find_channel_by_id(call.realm, stream_id)
    change_flags(call, [m for m in _received(call) if m.channel == name], "add", "read")
    return {}


@endpoint("POST /api/v1/mark_topic_as_read", stream_id=json(int), topic_name=text())
def mark_topic_as_read(call: UserCall, stream_id: int, topic_name: str) -> Fields:
    """Mark the messages of a topic as read."""
    name = find_channel_by_id(call.realm, stream_id)
    messages = [
        m for m in _received(call) if m.channel == name and m.topic.lower() == topic_name.lower()
    ]
    if not messages:
        raise bad_request(f"No such topic '{topic_name}'")
    change_flags(call, messages, "add", "read")
    return {}


def _received(call: UserCall) -> list[Message]:
    return [m for m in call.state.messages.values() if call.account in m.recipients]


def _details(call: UserCall, message: Message) -> dict[str, Any]:
    details: dict[str, Any] = {"type": message.type}
    if "mentioned" in message.flags(call.account):
        details["mentioned"] = True
    if message.channel is None:
        others = [u.user_id for u in message.recipients if u is not call.account]
        return details | {"user_ids": others}
    id_ = call.realm.channel_id(message.channel)
    return details | {"stream_id": id_, "topic": message.topic, "unmuted_stream_msg": True}
