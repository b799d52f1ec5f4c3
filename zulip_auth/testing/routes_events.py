"""Endpoints of event queues, messages, reactions and channels."""

from __future__ import annotations

import json
import secrets
from bisect import bisect_left
from typing import Any

from starlette.responses import Response

from .http import ErrorResponse, UserCall, bad_request, fill, success_response
from .messages import Message, Queue
from .state import Account

_REACTION_OPS = {"POST": "add", "DELETE": "remove"}
_ANCHORS = {"newest": 10**16, "first_unread": 10**16, "oldest": 0}


async def register(call: UserCall) -> Response:
    """Register an event queue."""
    reject_narrow(call)
    queue_id = secrets.token_hex(16)
    event_types, apply_markdown = call.get_json("event_types"), call.get_json("apply_markdown")
    call.state.queues[queue_id] = Queue(
        call.account, call.state.now(), event_types, bool(apply_markdown)
    )
    return success_response(**fill("queue", queue_id=queue_id, realm_name=call.realm.name))


async def get_events(call: UserCall) -> Response:
    """Return the events after the last one that the client has, or wait for one.

    Source: only a response that was waited for has the id of the queue.
    """
    queue_id, queue = _find_queue(call)
    try:
        queue.acknowledge(call.get_int("last_event_id"))
    except ValueError as error:
        raise bad_request(str(error)) from None
    if queue.events or call.get_json("dont_block", default=False):
        return success_response(events=queue.events)
    await queue.wait()
    queue.last_used = call.state.now()
    if queue.expired:
        raise _bad_queue(queue_id)
    return success_response(events=queue.events, queue_id=queue_id)


async def delete_queue(call: UserCall) -> Response:
    """Delete an event queue and end its poll."""
    queue_id, queue = _find_queue(call)
    del call.state.queues[queue_id]
    queue.notify()
    return success_response()


async def send_message(call: UserCall) -> Response:
    """Send a message and add its event to the queues of the recipients."""
    type_, content = call.require("type"), _normalize_content(call.require("content"))
    channel, topic = None, ""
    if type_ in ("direct", "private"):
        recipients = _find_recipients(call)
    elif type_ in ("channel", "stream"):
        channel, topic = _find_channel(call), _normalize_topic(call)
        recipients = [user for user in call.realm.accounts if user.active]
    else:
        raise bad_request("Invalid type")
    messages = call.state.messages
    client = call.request.headers.get("user-agent", "").partition("/")[0] or "Unspecified"
    timestamp, new_id = int(call.state.now()), len(messages) + 1
    messages[new_id] = message = Message(
        new_id, call.realm, call.account, recipients, channel, topic, content, client, timestamp
    )
    for queue in call.state.queues_of(recipients, "message"):
        body = message.to_dict(apply_markdown=queue.apply_markdown)
        queue.add({"type": "message", "message": body, "flags": message.flags(queue.owner)})
    return success_response(id=new_id)


async def get_messages(call: UserCall) -> Response:
    """Return the messages around an anchor."""
    reject_narrow(call)
    num_before, num_after = call.get_int("num_before"), call.get_int("num_after")
    name = call.params.get("anchor", "newest")
    anchor = _ANCHORS[name] if name in _ANCHORS else call.get_int("anchor")
    messages = [m for m in call.state.messages.values() if call.account in m.recipients]
    ids = [message.id for message in messages]
    found = anchor in ids
    middle = bisect_left(ids, anchor)
    first, last = max(middle - num_before, 0), middle + found + num_after
    return success_response(
        messages=[_message_with_flags(call, message) for message in messages[first:last]],
        found_anchor=found,
        found_oldest=first == 0,
        found_newest=last >= len(ids),
        history_limited=False,
        anchor=anchor,
    )


async def get_message(call: UserCall) -> Response:
    """Return a message."""
    message = _find_message(call)
    body = _message_with_flags(call, message)
    return success_response(raw_content=message.content, message=body)


async def edit_message(call: UserCall) -> Response:
    """Edit the content of an own message."""
    message = _find_message(call)
    if "content" not in call.params:
        raise bad_request("Nothing to change")
    if message.sender is not call.account:
        raise bad_request("You don't have permission to edit this message")
    message.content = _normalize_content(call.params["content"])
    return success_response()


async def change_reaction(call: UserCall) -> Response:
    """Add or remove an own reaction. Any name of an emoji is valid."""
    message, user, name = _find_message(call), call.account, call.require("emoji_name")
    owner = {"email": call.realm.visible_email(user), "full_name": user.full_name}
    emoji = {
        "emoji_name": name,
        "emoji_code": call.params.get("emoji_code", name),
        "reaction_type": call.params.get("reaction_type", "unicode_emoji"),
        "user_id": user.user_id,
    }
    reaction = {**emoji, "user": {"id": user.user_id, **owner}}
    exists, op = reaction in message.reactions, _REACTION_OPS[call.request.method]
    if op == "add" and exists:
        raise ErrorResponse(400, "REACTION_ALREADY_EXISTS", "Reaction already exists.")
    if op == "remove" and not exists:
        raise ErrorResponse(400, "REACTION_DOES_NOT_EXIST", "Reaction doesn't exist.")
    (message.reactions.remove if exists else message.reactions.append)(reaction)
    # The id of the user has another name in the event.
    event = {**emoji, "user": {"user_id": user.user_id, **owner}, "message_id": message.id}
    for queue in call.state.queues_of(message.recipients, "reaction"):
        queue.add({"type": "reaction", "op": op, **event})
    return success_response()


async def list_channels(call: UserCall) -> Response:
    """Return the channels of the organization."""
    return success_response(streams=[_channel(call, name) for name in call.realm.channels])


async def get_channel(call: UserCall) -> Response:
    """Return a channel by its id."""
    for name in call.realm.channels:
        if call.realm.channel_id(name) == call.request.path_params["stream_id"]:
            return success_response(stream=_channel(call, name))
    raise bad_request("Invalid channel ID")


def reject_narrow(call: UserCall) -> None:
    """Raise an error for a narrow, which the stand-in does not support."""
    if call.get_json("narrow"):
        msg = "Invalid narrow operator: FakeZulip supports no narrow"
        raise ErrorResponse(400, "BAD_NARROW", msg)


def _normalize_content(content: str) -> str:
    """Return the content as it is stored.

    Source: Zulip truncates a message that is too long; it does not reject it.
    """
    content = content.rstrip().lstrip("\n")
    if not content:
        raise bad_request("Message must not be empty")
    return _truncate(content, 10_000, "\n[message truncated]")


def _normalize_topic(call: UserCall) -> str:
    topic = call.params.get("topic", call.params.get("subject"))
    if topic is None:
        raise bad_request("Missing topic")
    if not topic.strip():
        raise bad_request("Topic can't be empty!")
    return _truncate(topic.strip(), 60, "...")


def _truncate(text: str, max_length: int, ending: str) -> str:
    return text if len(text) <= max_length else text[: max_length - len(ending)] + ending


def _parse_to(call: UserCall) -> Any:
    """Return the parameter `to`, which is JSON or plain text."""
    to = call.params.get("to", "[]")
    try:
        return json.loads(to)
    except ValueError:
        return to


def _find_channel(call: UserCall) -> str:
    """Return the name of the channel that `to` names, by name or id."""
    to = _parse_to(call)
    to = to[0] if isinstance(to, list) and to else to
    for name in call.realm.channels:
        if to == call.realm.channel_id(name) or str(to).strip().lower() == name.lower():
            return name
    if isinstance(to, int):
        msg = f"Channel with ID '{to}' does not exist"
        raise ErrorResponse(400, "STREAM_DOES_NOT_EXIST", msg, stream_id=to)
    msg = f"Channel '{to}' does not exist"
    raise ErrorResponse(400, "STREAM_DOES_NOT_EXIST", msg, stream=to)


def _find_recipients(call: UserCall) -> list[Account]:
    """Return the sender and the accounts that `to` names, by email or user id."""
    to = _parse_to(call)
    names = to.split(",") if isinstance(to, str) else to
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        raise bad_request("Invalid data type for recipients")
    if not names:
        raise bad_request("Message must have recipients!")
    recipients = {call.account}
    for name in names:
        user = call.realm.find(name.strip() if isinstance(name, str) else name)
        if user is None:
            is_email = isinstance(name, str)
            raise bad_request(f"Invalid email '{name}'" if is_email else f"Invalid user ID {name}")
        if not user.active:
            raise bad_request(f"'{user.email}' is no longer using Zulip.")
        recipients.add(user)
    return sorted(recipients, key=lambda user: user.email)


def _find_message(call: UserCall) -> Message:
    message = call.state.messages.get(call.request.path_params["message_id"])
    if message is None or call.account not in message.recipients:
        raise bad_request("Invalid message(s)")
    return message


def _message_with_flags(call: UserCall, message: Message) -> dict[str, Any]:
    apply_markdown = call.get_json("apply_markdown", default=True)
    body = message.to_dict(apply_markdown=apply_markdown)
    return body | {"flags": message.flags(call.account)}


def _channel(call: UserCall, name: str) -> dict[str, Any]:
    key = (call.realm, name)
    ids = [m.id for m in call.state.messages.values() if (m.realm, m.channel) == key]
    id_, first = call.realm.channel_id(name), min(ids, default=None)
    return fill("channel", stream_id=id_, name=name, first_message_id=first)


def _find_queue(call: UserCall) -> tuple[str, Queue]:
    queue_id = call.require("queue_id")
    queue, now = call.state.queues.get(queue_id), call.state.now()
    if queue is None or queue.owner is not call.account or queue.is_idle(now):
        raise _bad_queue(queue_id)
    queue.last_used = now
    return queue_id, queue


def _bad_queue(queue_id: str) -> ErrorResponse:
    msg = f"Bad event queue ID: {queue_id}"
    return ErrorResponse(400, "BAD_EVENT_QUEUE_ID", msg, queue_id=queue_id)
