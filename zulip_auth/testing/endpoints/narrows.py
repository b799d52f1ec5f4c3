"""Endpoints that find messages: by anchor, narrow or id."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import Fields, UserCall, endpoint
from zulip_auth.testing.messages import Message
from zulip_auth.testing.narrow import NEWEST, includes_history, match_narrow, select_page
from zulip_auth.testing.parameters import Parameter, json, text

from .messages import message_fields

_MAX_MESSAGES = 5000
_INCOMPATIBLE = (
    "num_before, num_after, anchor, message_ids, include_anchor, use_first_unread_anchor"
)

PAGE: dict[str, Parameter] = {
    "include_anchor": json(bool, default=True),
    "num_before": json(int, default=0, minimum=0),
    "num_after": json(int, default=0, minimum=0),
    "narrow": json(list[Any], default=None),
}


def find_page(
    call: UserCall,
    anchor: str | None,
    include_anchor: bool,
    num_before: int,
    num_after: int,
    narrow: list[Any] | None,
) -> tuple[list[Message], dict[str, Any]]:
    """Return the messages around an anchor, and what is known of their ends."""
    if num_before > 0 and num_after > 0 and not include_anchor:
        raise bad_request("The anchor can only be excluded at an end of the range")
    messages = _matching(call, narrow)
    number = _parse_anchor(call, anchor, messages)
    page, ends = select_page(messages, number, num_before, num_after, include_anchor=include_anchor)
    return page, {**ends, "anchor": number}


@endpoint(
    "GET /api/v1/messages",
    anchor=text(default=None),
    **PAGE,
    use_first_unread_anchor=json(bool, default=False),
    client_gravatar=json(bool, default=True),
    apply_markdown=json(bool, default=True),
    message_ids=json(list[int], default=None),
)
def get_messages(
    call: UserCall,
    anchor: str | None,
    include_anchor: bool,
    num_before: int,
    num_after: int,
    narrow: list[Any] | None,
    use_first_unread_anchor: bool,
    apply_markdown: bool,
    message_ids: list[int] | None,
    **_: bool,
) -> Fields:
    """Return the messages around an anchor, or those of some ids."""
    ends: dict[str, Any]
    if message_ids is not None:
        if num_before or num_after or anchor is not None or use_first_unread_anchor:
            raise bad_request(f"Unsupported parameter combination: {_INCOMPATIBLE}")
        page = [m for m in _matching(call, narrow, history=True) if m.id in message_ids]
        names = ("found_anchor", "found_oldest", "found_newest", "history_limited")
        ends = {**dict.fromkeys(names, False), "anchor": None}
    else:
        anchor = "first_unread" if use_first_unread_anchor else anchor
        if num_before + num_after > _MAX_MESSAGES:
            raise bad_request(f"Too many messages requested (maximum {_MAX_MESSAGES}).")
        page, ends = find_page(call, anchor, include_anchor, num_before, num_after, narrow)
    fields = [message_fields(call, m, apply_markdown=apply_markdown) for m in page]
    return {"messages": fields, **ends}


@endpoint("GET /api/v1/messages/matches_narrow", msg_ids=json(list[int]), narrow=json(list[Any]))
def match_messages(call: UserCall, msg_ids: list[int], narrow: list[Any]) -> Fields:
    """Return those of some messages that a narrow matches. No match is highlighted."""
    return {
        "messages": {
            str(m.id): {"match_content": m.rendered_content, "match_subject": escape(m.topic)}
            for m in _matching(call, narrow, history=False)
            if m.id in msg_ids
        }
    }


def _matching(
    call: UserCall, narrow: list[Any] | None, *, history: bool | None = None
) -> list[Message]:
    """Return the messages that a narrow matches, oldest first.

    Args:
        call: Request.
        narrow: Narrow, or None for all messages that the account has received.
        history: Whether to include messages that the account has not received;
            by default if the narrow does.
    """
    matches = match_narrow(call.realm, call.account, narrow)
    if history is None:
        history = includes_history(narrow)
    return [
        message
        for message in call.state.messages.values()
        if message.realm is call.realm
        and (
            call.account in message.recipients or (history and message.is_visible_to(call.account))
        )
        and matches(message)
    ]


def _parse_anchor(call: UserCall, anchor: str | None, messages: Sequence[Message]) -> int:
    if anchor is None:
        raise bad_request("Missing 'anchor' argument.")
    if anchor == "first_unread":
        unread = (m.id for m in messages if "read" not in m.flags(call.account))
        return min(unread, default=NEWEST)
    names = {"oldest": 0, "newest": NEWEST}
    try:
        return names[anchor] if anchor in names else min(max(int(anchor), 0), NEWEST)
    except ValueError:
        raise bad_request("Invalid anchor") from None
