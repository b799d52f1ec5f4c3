"""Endpoints of topics: their list, and what accounts have muted or followed."""

from __future__ import annotations

from typing import Any

from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import Fields, UserCall, endpoint
from zulip_auth.testing.parameters import choice, json, text

from .channels import find_channel_by_id

_INHERIT, _MUTED, _UNMUTED, _FOLLOWED = range(4)
_POLICIES = (_INHERIT, _MUTED, _UNMUTED, _FOLLOWED)


@endpoint("GET /api/v1/users/me/{stream_id:int}/topics")
def list_topics(call: UserCall, stream_id: int) -> Fields:
    """Return the topics of a channel, the newest first."""
    name = find_channel_by_id(call.realm, stream_id)
    newest: dict[str, tuple[str, int]] = {}
    for m in call.state.messages.values():
        if m.realm is call.realm and m.channel == name:
            newest[m.topic.lower()] = m.topic, m.id
    topics = sorted(newest.values(), key=lambda topic: -topic[1])
    return {"topics": [{"name": topic, "max_id": id_} for topic, id_ in topics]}


def user_topics(call: UserCall) -> Fields:
    """Return the topics whose visibility the account has set."""
    policies = call.realm.topic_policies
    return {"user_topics": [v for key, v in policies.items() if key[0] == call.account.user_id]}


@endpoint(
    "POST /api/v1/user_topics",
    stream_id=json(int),
    topic=text(max_length=60),
    visibility_policy=json(int),
)
def set_topic_policy(call: UserCall, stream_id: int, topic: str, visibility_policy: int) -> Fields:
    """Mute, unmute or follow a topic."""
    if visibility_policy not in _POLICIES:
        raise bad_request("Invalid visibility_policy")
    key = call.account.user_id, find_channel_by_id(call.realm, stream_id), topic.lower()
    fields: dict[str, Any] = {"stream_id": stream_id, "topic_name": topic}
    fields |= {"last_updated": int(call.state.now()), "visibility_policy": visibility_policy}
    call.realm.topic_policies.pop(key, None)
    if visibility_policy != _INHERIT:
        call.realm.topic_policies[key] = fields
    call.deliver([call.account], {"type": "user_topic", **fields})
    return {}


@endpoint(
    "PATCH /api/v1/users/me/subscriptions/muted_topics",
    stream_id=json(int, default=None),
    stream=text(default=None),
    topic=text(max_length=60),
    op=choice("add", "remove"),
)
def mute_topic(
    call: UserCall, stream_id: int | None, stream: str | None, topic: str, op: str
) -> Fields:
    """Mute a topic, or end that."""
    if stream_id is None:
        if stream is None:
            raise bad_request("Missing 'stream_id' argument")
        name = call.realm.find_channel(stream)
        if name is None:
            raise bad_request(f"Invalid channel name '{stream}'")
        stream_id = call.realm.channel_id(name)
    return set_topic_policy(call, stream_id, topic, _MUTED if op == "add" else _INHERIT)
