"""Endpoints that send, change and delete messages, and reactions."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from typing import Any, Literal

from zulip_auth.testing.accounts import GUEST, Account, Realm
from zulip_auth.testing.errors import ErrorResponse, bad_request, reject_if
from zulip_auth.testing.http import WEBHOOKS, Fields, UserCall, endpoint, not_served
from zulip_auth.testing.messages import (
    Message,
    Version,
    edit,
    normalize_content,
    normalize_topic,
    render,
    version_of,
)
from zulip_auth.testing.parameters import Count, Topic

EDIT_LIMIT = DELETE_LIMIT = 600.0
"""Seconds in which a member can edit or delete an own message."""

_REACTION_TYPES = ("unicode_emoji", "realm_emoji", "zulip_extra_emoji")


def find_message(call: UserCall, message_id: int) -> Message:
    """Return a message that the account can read."""
    message = call.state.messages.get(message_id)
    if message is None or not message.is_visible_to(call.account):
        raise bad_request("Invalid message(s)")
    return message


def message_fields(call: UserCall, message: Message, *, apply_markdown: bool) -> dict[str, Any]:
    """Return a message with the account's flags, as in the API."""
    body = message.to_dict(apply_markdown=apply_markdown)
    return body | {"flags": message.flags(call.account)}


def find_recipients(call: UserCall, type_: str, to: str, topic: str | None) -> tuple[Any, str]:
    """Return the accounts or the channel that `to` names, and the topic."""
    if type_ in ("direct", "private"):
        return _find_accounts(call.realm, to), ""
    return _find_channel(call.realm, to), normalize_topic(topic)


@endpoint(
    "POST /api/v1/messages",
    WEBHOOKS,
    time=Any,
)
def send_message(
    call: UserCall,
    content: str,
    type_: Literal["direct", "private", "stream", "channel"],
    to: str = "[]",
    topic: Topic | None = None,
    queue_id: str | None = None,
    local_id: str | None = None,
    read_by_sender: bool = False,
    forged: str | None = None,
    sender: str | None = None,
    widget_content: str | None = None,
) -> Fields:
    """Send a message and add its event to the queues of the recipients."""
    if forged in ("yes", "true"):
        raise bad_request("User not authorized for this query")
    if sender is not None:
        raise bad_request("Invalid mirrored message")
    if widget_content is not None:
        raise not_served(call.state, "widgets (widget_content)")
    recipients, topic = find_recipients(call, type_, to, topic)
    ids = (queue_id, local_id) if queue_id is not None and local_id is not None else None
    message = call.state.send(
        call.realm,
        call.account,
        recipients,
        topic,
        content,
        call.client,
        read=read_by_sender,
        local_id=ids,
    )
    return {"id": message.id}


@endpoint("GET /api/v1/messages/{message_id:int}")
def get_message(call: UserCall, message_id: int, apply_markdown: bool = True) -> Fields:
    """Return a message."""
    message = find_message(call, message_id)
    body = message_fields(call, message, apply_markdown=apply_markdown)
    return {"raw_content": message.content, "message": body}


@endpoint("GET /api/v1/messages/{message_id:int}/history")
def get_message_history(call: UserCall, message_id: int) -> Fields:
    """Return the versions of a message."""
    return {"message_history": find_message(call, message_id).history()}


@endpoint(
    "PATCH /api/v1/messages/{message_id:int}",
    send_notification_to_old_thread=bool,
    send_notification_to_new_thread=bool,
)
def edit_message(
    call: UserCall,
    message_id: int,
    stream_id: Count | None = None,
    topic: Topic | None = None,
    propagate_mode: Literal["change_later", "change_one", "change_all"] = "change_one",
    content: str | None = None,
) -> Fields:
    """Edit a message, or move it and others to another topic or channel.

    No notification is sent to the topics.
    """
    message, now = find_message(call, message_id), call.state.now()
    edits, moves = content is not None, topic is not None or stream_id is not None
    direct, owned = message.channel is None, message.sender is call.account
    expired, guest = now - message.timestamp > EDIT_LIMIT, call.account.role == GUEST
    reject_if(
        (not edits and not moves, "Nothing to change"),
        (direct and stream_id is not None, "Direct messages cannot be moved to channels."),
        (direct and topic is not None, "Direct messages cannot have topics."),
        (
            propagate_mode != "change_one" and not moves,
            "Invalid propagate_mode without topic edit",
        ),
        (
            edits and stream_id is not None,
            "Cannot change message content while changing channel",
        ),
        (guest and stream_id is not None, "You don't have permission to move this message"),
        (edits and not owned, "You don't have permission to edit this message"),
        (edits and expired, "The time limit for editing this message has passed"),
    )
    moved, before = _moved_messages(call, message, propagate_mode), version_of(message)
    new_topic = message.topic if topic is None else normalize_topic(topic)
    new_channel = None if stream_id is None else _find_channel(call.realm, str(stream_id))
    new_content = None if content is None else normalize_content(content)
    for other in moved:
        changed = new_content if other is message else None
        version = changed or other.content, new_topic, new_channel or other.channel
        edit(other, call.account, int(now), version)
    _deliver_edit(call, message, moved, before, propagate_mode)
    return {"detached_uploads": []}


@endpoint("DELETE /api/v1/messages/{message_id:int}")
def delete_message(call: UserCall, message_id: int) -> Fields:
    """Delete a message: any as an administrator, else one's own, or that of one's bot."""
    message = find_message(call, message_id)
    if not call.account.admin:
        if call.account not in (message.sender, message.sender.owner):
            raise bad_request("You don't have permission to delete this message")
        if call.state.now() - message.timestamp > DELETE_LIMIT:
            raise bad_request("The time limit for deleting this message has passed")
    del call.state.messages[message_id]
    event: dict[str, Any] = {"type": "delete_message", "message_type": message.type}
    if message.channel is not None:
        event |= {"stream_id": call.realm.channel_id(message.channel), "topic": message.topic}
    for queue in call.state.queues.values():
        bulk = "bulk_message_deletion" in queue.capabilities
        ids = {"message_ids": [message_id]} if bulk else {"message_id": message_id}
        if queue.owner in message.recipients and queue.accepts("delete_message"):
            queue.add({**event, **ids})
    return {}


@endpoint("POST /api/v1/messages/render")
def render_message(_call: UserCall, content: str) -> Fields:
    """Return content as HTML."""
    return {"rendered": render(content)}


@endpoint("POST /api/v1/messages/{message_id:int}/reactions")
def add_reaction(
    call: UserCall,
    message_id: int,
    emoji_name: str,
    emoji_code: str | None = None,
    reaction_type: str = "unicode_emoji",
) -> Fields:
    """Add an own reaction. Any name of an emoji is valid."""
    message, code = find_message(call, message_id), emoji_code or emoji_name
    if _find_reaction(call, message, code, reaction_type):
        raise ErrorResponse(400, "REACTION_ALREADY_EXISTS", "Reaction already exists.")
    emoji = {"emoji_name": emoji_name, "emoji_code": code, "reaction_type": reaction_type}
    user = {"id": call.account.user_id, **_reaction_user(call)}
    reaction = {**emoji, "user_id": call.account.user_id, "user": user}
    message.reactions.append(reaction)
    _deliver_reaction(call, message, "add", reaction)
    return {}


@endpoint("DELETE /api/v1/messages/{message_id:int}/reactions")
def remove_reaction(
    call: UserCall,
    message_id: int,
    emoji_name: str | None = None,
    emoji_code: str | None = None,
    reaction_type: str = "unicode_emoji",
) -> Fields:
    """Remove an own reaction."""
    message, code = find_message(call, message_id), emoji_code or emoji_name
    if code is None:
        names = "emoji_name, emoji_code"
        raise bad_request(f"At least one of the following arguments must be present: {names}")
    reaction = _find_reaction(call, message, code, reaction_type)
    if reaction is None:
        raise ErrorResponse(400, "REACTION_DOES_NOT_EXIST", "Reaction doesn't exist.")
    message.reactions.remove(reaction)
    _deliver_reaction(call, message, "remove", reaction)
    return {}


def _find_reaction(
    call: UserCall, message: Message, code: str, reaction_type: str
) -> dict[str, Any] | None:
    if reaction_type not in _REACTION_TYPES:
        raise bad_request("Invalid emoji type.")
    key = call.account.user_id, code, reaction_type
    names = ("user_id", "emoji_code", "reaction_type")
    return next((r for r in message.reactions if tuple(r[name] for name in names) == key), None)


def _reaction_user(call: UserCall) -> dict[str, str]:
    email, name = call.realm.visible_email(call.account), call.account.full_name
    return {"email": email, "full_name": name}


def _deliver_reaction(call: UserCall, message: Message, op: str, reaction: dict[str, Any]) -> None:
    # The id of the user has another name in the event.
    user = {"user_id": call.account.user_id, **_reaction_user(call)}
    event = {"type": "reaction", "op": op, **reaction, "user": user, "message_id": message.id}
    call.deliver(message.recipients, event)


def _moved_messages(call: UserCall, message: Message, propagate_mode: str) -> Sequence[Message]:
    """Return a message, and those of its topic that an edit changes with it."""
    if propagate_mode == "change_one":
        return [message]
    key = message.channel, message.topic.lower()
    in_topic = [m for m in call.messages if (m.channel, m.topic.lower()) == key]
    return [m for m in in_topic if propagate_mode == "change_all" or m.id >= message.id]


def _deliver_edit(
    call: UserCall,
    message: Message,
    moved: Sequence[Message],
    before: Version,
    propagate_mode: str,
) -> None:
    content, topic, channel = before
    event: dict[str, Any] = {
        "type": "update_message",
        "user_id": call.account.user_id,
        "edit_timestamp": int(call.state.now()),
        "message_id": message.id,
        "message_ids": [m.id for m in moved],
        "rendering_only": False,
    }
    if message.content != content:
        event |= {"orig_content": content, "orig_rendered_content": render(content)}
        event |= {"content": message.content, "rendered_content": message.rendered_content}
        event["is_me_message"] = message.content.startswith("/me ")
    if channel is not None and message.channel is not None:
        event["stream_id"] = call.realm.channel_id(channel)
        if (message.topic, message.channel) != (topic, channel):
            event |= {"propagate_mode": propagate_mode, "orig_subject": topic}
        if message.topic != topic:
            event |= {"subject": message.topic, "topic_links": []}
        if message.channel != channel:
            event["new_stream_id"] = call.realm.channel_id(message.channel)
    for user in message.recipients:
        call.deliver([user], {**event, "flags": message.flags(user)})


def _parse_to(to: str) -> Any:
    """Return the parameter `to`, which is JSON or plain text."""
    try:
        return jsonlib.loads(to)
    except ValueError:
        return to


def _find_channel(realm: Realm, text_: str) -> str:
    """Return the name of the channel that `to` names, by name or id."""
    to = _parse_to(text_)
    if isinstance(to, list):
        if len(to) != 1:
            raise bad_request("Expected exactly one channel")
        to = to[0]
    if type(to) not in (int, str):
        raise bad_request("Invalid data type for channel")
    name = realm.find_channel(to)
    if name is not None:
        return name
    if isinstance(to, int):
        msg = f"Channel with ID '{to}' does not exist"
        raise ErrorResponse(400, "STREAM_DOES_NOT_EXIST", msg, stream_id=to)
    msg = f"Channel '{to}' does not exist"
    raise ErrorResponse(400, "STREAM_DOES_NOT_EXIST", msg, stream=to)


def _find_accounts(realm: Realm, text_: str) -> list[Account]:
    """Return the accounts that `to` names, by email or user id."""
    to = _parse_to(text_)
    names = to.split(",") if isinstance(to, str) else to
    if not isinstance(names, list):
        raise bad_request("Invalid data type for recipients")
    if not names:
        raise bad_request("Message must have recipients!")
    kinds = {type(name) for name in names}
    if not kinds <= {int, str}:
        raise bad_request("Invalid data type for recipients")
    if len(kinds) > 1:
        raise bad_request("Recipient lists may contain emails or user IDs, but not both.")
    recipients = []
    for name in names:
        user = realm.find_visible(name.strip() if isinstance(name, str) else name)
        if user is None:
            is_email = isinstance(name, str)
            raise bad_request(f"Invalid email '{name}'" if is_email else f"Invalid user ID {name}")
        if not user.active:
            raise bad_request(f"'{user.email}' is no longer using Zulip.")
        recipients.append(user)
    return recipients
