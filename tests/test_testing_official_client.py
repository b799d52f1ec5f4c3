"""Each method of Zulip's own client against the stand-in server.

The table in docs/testing.md lists those that it does not serve.
"""

from __future__ import annotations

import inspect
import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
import zulip

from zulip_auth.testing import FakeZulip
from zulip_auth.testing.queues import Queue

FILE = io.BytesIO(b"text")
FILE.name = "notes.txt"
PAGE = Path(__file__).parent.parent / "docs" / "testing.md"

MESSAGE = {"type": "stream", "to": "general", "topic": "t", "content": "hi"}
NEWEST = {"anchor": "newest", "num_before": 9, "num_after": 0, "narrow": [["sender", 10]]}
GROUP = {"name": "cooks", "description": "", "members": [10]}
WAVE = {"message_id": 1, "emoji_name": "wave"}
PIN = {"stream_id": 1, "property": "pin_to_top", "value": True}
# The positional or named arguments of each method. A bot calls it, except `HUMANS`. There are
# message 1, the queue "q" and, for the methods that change it, the user group 100.
CALLS: dict[str, list[Any] | dict[str, Any]] = {
    "add_alert_words": [["tea"]],
    "add_reaction": [WAVE],
    "add_subscriptions": [[{"name": "Rome"}]],
    "check_messages_match_narrow": {"msg_ids": [1], "narrow": [["topic", "t"]]},
    "create_user_group": [GROUP],
    "delete_message": [1],
    "deregister": ["q"],
    "get_alert_words": [],
    "get_attachments": [],
    "get_events": {"queue_id": "q", "last_event_id": -1, "dont_block": True},
    "get_message_history": [1],
    "get_messages": [NEWEST],
    "get_profile": [],
    "get_raw_message": [1],
    "get_realm_emoji": [],
    "get_realm_linkifiers": [],
    "get_realm_presence": [],
    "get_realm_profile_fields": [],
    "get_server_settings": [],
    "get_storage": [],
    "get_stream_id": ["general"],
    "get_stream_topics": [1],
    "get_streams": [],
    "get_subscribers": {"stream": "general"},
    "get_subscription_status": [10, 1],
    "get_subscriptions": [],
    "get_user_by_id": [10],
    "get_user_groups": [],
    "get_user_presence": ["iago@zulip.com"],
    "get_users": [],
    "mark_all_as_read": [],
    "mark_stream_as_read": [1],
    "mark_topic_as_read": [1, "t"],
    "move_topic": ["general", "general", "t", "u", 1],
    "mute_topic": [{"stream": "general", "topic": "t", "op": "add"}],
    "register": [["message"], [["stream", "general"]]],
    "remove_alert_words": [["tea"]],
    "remove_reaction": [WAVE],
    "remove_subscriptions": [["general"]],
    "render_message": [{"content": "hi"}],
    "send_message": [MESSAGE],
    "set_typing_status": [{"op": "start", "to": [10]}],
    "update_message": [{"message_id": 1, "content": "new"}],
    "update_message_flags": [{"messages": [1], "op": "add", "flag": "read"}],
    "update_presence": [{"status": "active", "ping_only": False}],
    "update_storage": [{"storage": {"a": "b"}}],
    "update_subscription_settings": [[PIN]],
    "update_user_group": [{"group_id": 100, "name": "chefs"}],
    "update_user_group_members": [100, {"add": [11]}],
    "upload_file": [FILE],
}
# Methods that the server rejects for bots.
HUMANS = {"get_user_groups", "update_presence"}
NOT_SERVED: dict[str, list[Any] | dict[str, Any]] = {
    "add_default_stream": [1],
    "add_realm_filter": ["#(?P<id>[0-9]+)", "https://example.com"],
    "create_realm_profile_field": {"name": "x"},
    "create_user": [{"email": "x@zulip.com"}],
    "deactivate_user_by_id": [10],
    "delete_custom_emoji": ["x"],
    "delete_stream": [1],
    "get_stream_email_address": [1],
    "reactivate_user_by_id": [10],
    "remove_realm_filter": [1],
    "remove_realm_profile_field": [1],
    "reorder_realm_profile_fields": {"order": [1]},
    "update_notification_settings": [{}],
    "update_realm_profile_field": {"field_id": 1, "name": "x"},
    "update_stream": [{"stream_id": 1, "description": "x"}],
    "update_user_by_id": {"user_id": 10, "full_name": "x"},
    "upload_custom_emoji": ["x", FILE],
}
# `DELETE /user_groups/{id}` is gone in Zulip 10.0, and so is missing here.
REMOVED: dict[str, list[Any]] = {"remove_user_group": [100]}


@pytest.fixture
def server(fake_zulip: FakeZulip) -> FakeZulip:
    for email in ("iago@zulip.com", "hamlet@zulip.com"):
        fake_zulip.add_user(email, "x")
    bot = fake_zulip.add_bot("iago@zulip.com", "Echo")
    fake_zulip.send(bot, "general", "hi", topic="t")
    fake_zulip.account("iago@zulip.com").presence = "active", time.time()
    fake_zulip._state.queues["q"] = Queue(bot, time.time())
    return fake_zulip


def call(server: FakeZulip, name: str) -> Any:
    """Call a method of the client."""
    email = "iago@zulip.com" if name in HUMANS else "echo-bot@zulipdev.com"
    key = server.account(email).api_key
    client = zulip.Client(email=email, api_key=key, site=server.site, retry_on_errors=False)
    arguments = {**CALLS, **NOT_SERVED, **REMOVED}[name]
    method = getattr(client, name)
    return method(**arguments) if isinstance(arguments, dict) else method(*arguments)


@pytest.mark.parametrize("name", CALLS)
def test_served_method(name: str, server: FakeZulip) -> None:
    if name.startswith("update_user_group"):
        call(server, "create_user_group")
    if name == "remove_reaction":
        call(server, "add_reaction")
    response = call(server, name)
    assert response["result"] == "success", response
    # The client repeats the ids in the path.
    ignored = {*response.get("ignored_parameters_unsupported", [])}
    assert ignored <= {"group_id", "message_id", "stream"}


@pytest.mark.filterwarnings("ignore:FakeZulip does not serve")
def test_methods_that_are_not_served(server: FakeZulip) -> None:
    for name in NOT_SERVED:
        response = call(server, name)
        assert response["code"] == "NOT_SERVED_BY_FAKE_ZULIP", response
        noted = f"{server.requests[-1].method} {server.requests[-1].path}"
        assert server.unserved[-1] == noted and noted in response["msg"]
    assert call(server, "remove_user_group")["msg"] == "Method Not Allowed"


def test_every_method_is_listed() -> None:
    methods = {
        name
        for name, method in inspect.getmembers(zulip.Client, inspect.isfunction)
        if re.search(r"\.(call_endpoint|do_api_query)\(", inspect.getsource(method))
    }
    methods -= {"call_endpoint"}
    assert methods == CALLS.keys() | NOT_SERVED.keys() | REMOVED.keys()
    text = PAGE.read_text(encoding="utf-8").partition("## Endpoints that it does not serve")[2]
    documented = re.findall(r"`(\w+)\(\)`", text)
    assert sorted(documented) == sorted(NOT_SERVED.keys() | REMOVED.keys())
    assert f"{len(CALLS)} of the {len(methods)} methods" in text


def test_warning_names_what_is_not_served() -> None:
    server = FakeZulip({"iago@zulip.com": "x"})
    server.start()
    server.add_bot("iago@zulip.com", "Echo")
    for _ in range(2):
        call(server, "delete_stream")
    with pytest.warns(UserWarning, match="FakeZulip") as caught:
        server.__exit__(None, None, None)
    [warning] = caught
    assert str(warning.message) == "FakeZulip does not serve DELETE /api/v1/streams/1."
    assert warning.filename == __file__
