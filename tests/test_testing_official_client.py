"""Each method of Zulip's own client against the stand-in server.

The table in docs/testing.md lists those that it does not serve.
"""

from __future__ import annotations

import inspect
import io
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zulip

from zulip_auth.testing import FakeZulip

FILE = io.BytesIO(b"text")
FILE.name = "notes.txt"
PAGE = Path(__file__).parent.parent / "docs" / "testing.md"

MESSAGE = {"type": "stream", "to": "general", "topic": "t", "content": "hi"}
MATCH: dict[str, Any] = {"msg_ids": [1], "narrow": [{"operator": "topic", "operand": "t"}]}
# The arguments of each method, called by a bot with message 1, except those of `HUMANS`.
CALLS: dict[str, Callable[[zulip.Client], Any]] = {
    "add_alert_words": lambda c: c.add_alert_words(["tea"]),
    "add_reaction": lambda c: c.add_reaction({"message_id": 1, "emoji_name": "wave"}),
    "add_subscriptions": lambda c: c.add_subscriptions([{"name": "Rome"}]),
    "check_messages_match_narrow": lambda c: c.check_messages_match_narrow(**MATCH),
    "create_user_group": lambda c: c.create_user_group(
        {"name": "cooks", "description": "", "members": [10]}
    ),
    "delete_message": lambda c: c.delete_message(1),
    "deregister": lambda c: c.deregister(c.register()["queue_id"]),
    "get_alert_words": lambda c: c.get_alert_words(),
    "get_attachments": lambda c: c.get_attachments(),
    "get_events": lambda c: c.get_events(
        queue_id=c.register()["queue_id"], last_event_id=-1, dont_block=True
    ),
    "get_message_history": lambda c: c.get_message_history(1),
    "get_messages": lambda c: c.get_messages(
        {"anchor": "newest", "num_before": 9, "num_after": 0, "narrow": [["sender", 10]]}
    ),
    "get_profile": lambda c: c.get_profile(),
    "get_raw_message": lambda c: c.get_raw_message(1),
    "get_realm_emoji": lambda c: c.get_realm_emoji(),
    "get_realm_linkifiers": lambda c: c.get_realm_linkifiers(),
    "get_realm_presence": lambda c: c.get_realm_presence(),
    "get_realm_profile_fields": lambda c: c.get_realm_profile_fields(),
    "get_server_settings": lambda c: c.get_server_settings(),
    "get_storage": lambda c: c.get_storage(),
    "get_stream_id": lambda c: c.get_stream_id("general"),
    "get_stream_topics": lambda c: c.get_stream_topics(1),
    "get_streams": lambda c: c.get_streams(),
    "get_subscribers": lambda c: c.get_subscribers(stream="general"),
    "get_subscription_status": lambda c: c.get_subscription_status(10, 1),
    "get_subscriptions": lambda c: c.get_subscriptions(),
    "get_user_by_id": lambda c: c.get_user_by_id(10),
    "get_user_groups": lambda c: c.get_user_groups(),
    "get_user_presence": lambda c: c.get_user_presence("iago@zulip.com"),
    "get_users": lambda c: c.get_users(),
    "mark_all_as_read": lambda c: c.mark_all_as_read(),
    "mark_stream_as_read": lambda c: c.mark_stream_as_read(1),
    "mark_topic_as_read": lambda c: c.mark_topic_as_read(1, "t"),
    "move_topic": lambda c: c.move_topic("general", "general", "t", "u", message_id=1),
    "mute_topic": lambda c: c.mute_topic({"stream": "general", "topic": "t", "op": "add"}),
    "register": lambda c: c.register(["message"], narrow=[["stream", "general"]]),
    "remove_alert_words": lambda c: c.remove_alert_words(["tea"]),
    "remove_reaction": lambda c: (
        c.add_reaction({"message_id": 1, "emoji_name": "wave"})
        and c.remove_reaction({"message_id": 1, "emoji_name": "wave"})
    ),
    "remove_subscriptions": lambda c: c.remove_subscriptions(["general"]),
    "render_message": lambda c: c.render_message({"content": "hi"}),
    "send_message": lambda c: c.send_message(MESSAGE),
    "set_typing_status": lambda c: c.set_typing_status({"op": "start", "to": [10]}),
    "update_message": lambda c: c.update_message({"message_id": 1, "content": "new"}),
    "update_message_flags": lambda c: c.update_message_flags(
        {"messages": [1], "op": "add", "flag": "read"}
    ),
    "update_presence": lambda c: c.update_presence({"status": "active", "ping_only": False}),
    "update_storage": lambda c: c.update_storage({"storage": {"a": "b"}}),
    "update_subscription_settings": lambda c: c.update_subscription_settings(
        [{"stream_id": 1, "property": "pin_to_top", "value": True}]
    ),
    "update_user_group": lambda c: c.update_user_group({"group_id": 100, "name": "chefs"}),
    "update_user_group_members": lambda c: c.update_user_group_members(100, {"add": [11]}),
    "upload_file": lambda c: c.upload_file(FILE),
}
# Methods that the server rejects for bots.
HUMANS = {"get_user_groups", "update_presence"}
NOT_SERVED: dict[str, Callable[[zulip.Client], Any]] = {
    "add_default_stream": lambda c: c.add_default_stream(1),
    "add_realm_filter": lambda c: c.add_realm_filter("#(?P<id>[0-9]+)", "https://example.com"),
    "create_realm_profile_field": lambda c: c.create_realm_profile_field(name="x"),
    "create_user": lambda c: c.create_user({"email": "x@zulip.com"}),
    "deactivate_user_by_id": lambda c: c.deactivate_user_by_id(10),
    "delete_custom_emoji": lambda c: c.delete_custom_emoji("x"),
    "delete_stream": lambda c: c.delete_stream(1),
    "get_stream_email_address": lambda c: c.get_stream_email_address(1),
    "reactivate_user_by_id": lambda c: c.reactivate_user_by_id(10),
    "remove_realm_filter": lambda c: c.remove_realm_filter(1),
    "remove_realm_profile_field": lambda c: c.remove_realm_profile_field(1),
    "reorder_realm_profile_fields": lambda c: c.reorder_realm_profile_fields(order=[1]),
    "update_notification_settings": lambda c: c.update_notification_settings({}),
    "update_realm_profile_field": lambda c: c.update_realm_profile_field(1, name="x"),
    "update_stream": lambda c: c.update_stream({"stream_id": 1, "description": "x"}),
    "update_user_by_id": lambda c: c.update_user_by_id(10, full_name="x"),
    "upload_custom_emoji": lambda c: c.upload_custom_emoji("x", FILE),
}
# `DELETE /user_groups/{id}` is gone in Zulip 10.0, and so is missing here.
REMOVED = {"remove_user_group"}


@pytest.fixture
def server() -> Iterator[FakeZulip]:
    with FakeZulip({"iago@zulip.com": "x", "hamlet@zulip.com": "x"}) as server:
        bot = server.add_bot("iago@zulip.com", "Echo")
        server.send(bot, "general", "hi", topic="t")
        server.account("iago@zulip.com").presence = "active", time.time()
        yield server


def client(server: FakeZulip, name: str) -> zulip.Client:
    email = "iago@zulip.com" if name in HUMANS else "echo-bot@zulipdev.com"
    key = server.account(email).api_key
    return zulip.Client(email=email, api_key=key, site=server.site, retry_on_errors=False)


@pytest.mark.parametrize("name", CALLS)
def test_served_method(name: str, server: FakeZulip) -> None:
    api = client(server, name)
    if name.startswith("update_user_group"):
        CALLS["create_user_group"](api)
    response = CALLS[name](api)
    assert response["result"] == "success", response
    # The client repeats the ids in the path.
    assert {*response.get("ignored_parameters_unsupported", [])} <= {
        "group_id",
        "message_id",
        "stream",
    }


@pytest.mark.parametrize("name", NOT_SERVED)
@pytest.mark.filterwarnings("ignore:FakeZulip does not serve")
def test_method_that_is_not_served(name: str, server: FakeZulip) -> None:
    response = NOT_SERVED[name](client(server, name))
    assert response["code"] == "NOT_SERVED_BY_FAKE_ZULIP", response
    [request] = [r for r in server.requests if r.path != "/api/v1/server_settings"]
    [noted] = server.unserved
    assert noted == f"{request.method} {request.path}"
    assert noted in response["msg"]


def test_removed_method(server: FakeZulip) -> None:
    response = client(server, "").remove_user_group(100)
    assert response["msg"] == "Method Not Allowed"


def test_every_method_is_listed() -> None:
    methods = {
        name
        for name, method in inspect.getmembers(zulip.Client, inspect.isfunction)
        if re.search(r"\.(call_endpoint|do_api_query)\(", inspect.getsource(method))
    }
    methods -= {"call_endpoint"}
    assert methods == CALLS.keys() | NOT_SERVED.keys() | REMOVED
    text = PAGE.read_text(encoding="utf-8").partition("## Endpoints that it does not serve")[2]
    documented = re.findall(r"`(\w+)\(\)`", text)
    assert sorted(documented) == sorted(NOT_SERVED.keys() | REMOVED)
    assert f"{len(CALLS)} of the {len(methods)} methods" in text


def test_warning_names_what_is_not_served() -> None:
    server = FakeZulip({"iago@zulip.com": "x"})
    server.start()
    for _ in range(2):
        client(server, "update_presence").delete_stream(1)
    with pytest.warns(UserWarning, match="FakeZulip") as caught:
        server.__exit__(None, None, None)
    [warning] = caught
    assert str(warning.message) == "FakeZulip does not serve DELETE /api/v1/streams/1."
    assert warning.filename == __file__
