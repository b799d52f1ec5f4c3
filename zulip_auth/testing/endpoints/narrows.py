"""Endpoints that find messages: by anchor, narrow or id."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from zulip_auth.testing.errors import bad_request
from zulip_auth.testing.http import Fields, UserCall, endpoint
from zulip_auth.testing.messages import Message
from zulip_auth.testing.narrow import (
    ENDS,
    NEWEST,
    includes_history,
    match_narrow,
    select_page,
)
from zulip_auth.testing.parameters import Count

from .messages import message_fields

_MAX_MESSAGES = 5000
_INCOMPATIBLE = (
    "num_before, num_after, anchor, message_ids, include_anchor, use_first_unread_anchor"
)


@endpoint("GET /api/v1/messages", client_gravatar=bool)
def get_messages(
    call: UserCall,
    anchor: str | None = None,
    include_anchor: bool = True,
    num_before: Count = 0,
    num_after: Count = 0,
    narrow: list[Any] | None = None,
    use_first_unread_anchor: bool = False,
    apply_markdown: bool = True,
    message_ids: list[int] | None = None,
) -> Fields:
    """Return the messages around an anchor, or those of some ids."""
    if use_first_unread_anchor:
        anchor = "first_unread"
    if message_ids is not None:
        if num_before or num_after or anchor is not None:
            raise bad_request(f"Unsupported parameter combination: {_INCOMPATIBLE}")
        page = [m for m in _matching(call, narrow, history=True) if m.id in message_ids]
        ends: dict[str, bool] = dict.fromkeys(ENDS, False)
        number = None
    else:
        if num_before + num_after > _MAX_MESSAGES:
            raise bad_request(f"Too many messages requested (maximum {_MAX_MESSAGES}).")
        if num_before > 0 and num_after > 0 and not include_anchor:
            raise bad_request("The anchor can only be excluded at an end of the range")
        messages = _matching(call, narrow, history=includes_history(narrow))
        number = _parse_anchor(call, anchor, messages)
        page, ends = select_page(
            messages, number, num_before, num_after, include_anchor=include_anchor
        )
    fields = [message_fields(call, m, apply_markdown=apply_markdown) for m in page]
    return {"messages": fields, **ends, "anchor": number}


@endpoint("GET /api/v1/messages/matches_narrow")
def match_messages(call: UserCall, msg_ids: list[int], narrow: list[Any]) -> Fields:
    """Return those of some messages that a narrow matches. No match is highlighted."""
    return {
        "messages": {
            str(m.id): {"match_content": m.rendered_content, "match_subject": escape(m.topic)}
            for m in _matching(call, narrow, history=False)
            if m.id in msg_ids
        }
    }


def _matching(call: UserCall, narrow: list[Any] | None, *, history: bool) -> list[Message]:
    """Return the messages that a narrow matches, oldest first.

    Args:
        call: Request.
        narrow: Narrow, or None for all messages.
        history: Whether to include messages that the account has not received.
    """
    matches = match_narrow(call.realm, call.account, narrow)
    visible = [m for m in call.messages if m.is_visible_to(call.account)]
    return [message for message in (visible if history else call.received) if matches(message)]


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
