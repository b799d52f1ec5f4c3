"""Endpoints of topics: their list, and what accounts have muted or followed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import Fields, UserCall, endpoint
from zulip_auth.testing.parameters import Rule

from .channels import get_channel_id

_INHERIT, _MUTED, _FOLLOWED = 0, 1, 3
_Topic = Annotated[str, Rule(max_length=60)]


@endpoint("GET /api/v1/users/me/{stream_id:int}/topics")
def list_topics(call: UserCall, stream_id: int) -> Fields:
    """Return the topics of a channel, the newest first."""
    name = call.channel(stream_id)
    in_channel = [message for message in call.messages if message.channel == name]
    newest = {message.topic.lower(): (message.topic, message.id) for message in in_channel}
    topics = sorted(newest.values(), key=lambda topic: -topic[1])
    return {"topics": [{"name": topic, "max_id": id_} for topic, id_ in topics]}


def user_topics(call: UserCall) -> Fields:
    """Return the topics whose visibility the account has set."""
    policies = call.realm.topic_policies
    return {"user_topics": [v for key, v in policies.items() if key[0] == call.account.user_id]}


@endpoint("POST /api/v1/user_topics")
def set_topic_policy(
    call: UserCall, stream_id: int, topic: _Topic, visibility_policy: int
) -> Fields:
    """Mute, unmute or follow a topic."""
    if not _INHERIT <= visibility_policy <= _FOLLOWED:
        raise bad_request("Invalid visibility_policy")
    key = call.account.user_id, call.channel(stream_id), topic.lower()
    fields: dict[str, Any] = {"stream_id": stream_id, "topic_name": topic}
    fields |= {"last_updated": int(call.state.now()), "visibility_policy": visibility_policy}
    call.realm.topic_policies.pop(key, None)
    if visibility_policy != _INHERIT:
        call.realm.topic_policies[key] = fields
    call.deliver([call.account], {"type": "user_topic", **fields})
    return {}


@endpoint("PATCH /api/v1/users/me/subscriptions/muted_topics")
def mute_topic(
    call: UserCall,
    topic: _Topic,
    op: Literal["add", "remove"],
    stream_id: int | None = None,
    stream: str | None = None,
) -> Fields:
    """Mute a topic, or end that."""
    if stream_id is None:
        if stream is None:
            raise bad_request("Missing 'stream_id' argument")
        stream_id = int(get_channel_id(call, stream)["stream_id"])
    return set_topic_policy(call, stream_id, topic, _MUTED if op == "add" else _INHERIT)
