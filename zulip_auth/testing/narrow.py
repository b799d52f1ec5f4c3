"""Narrows: filters of messages, as in `GET /messages` and `POST /register`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .accounts import Account, Realm
from .errors import ErrorResponse, bad_request
from .messages import Message

Predicate = Callable[[Message], bool]

CHANNEL_OPERATORS = ("channel", "stream")
_EVENT_OPERATORS = (*CHANNEL_OPERATORS, "topic", "sender", "is")
_IS_FLAGS = {
    "starred": {"starred"},
    "mentioned": {"mentioned", "stream_wildcard_mentioned"},
    "alerted": {"has_alert_word"},
}
_HAS_RES = {
    "link": re.compile(r"https?://|\[.*\]\(.*\)"),
    "attachment": re.compile(r"/user_uploads/"),
    "image": re.compile(r"/user_uploads/\S+\.(?:png|jpe?g|gif|webp)\b", re.IGNORECASE),
}


def parse_narrow(value: Any) -> list[tuple[str, Any, bool]]:
    """Return operator, operand and negation of each term of a narrow."""
    terms = []
    for number, term in enumerate(value or []):
        if isinstance(term, list) and len(term) == 2 and isinstance(term[0], str):
            terms.append((term[0], term[1], False))
        elif isinstance(term, dict) and {"operator", "operand"} <= term.keys():
            terms.append((term["operator"], term["operand"], term.get("negated") is True))
        else:
            raise bad_request(f"narrow[{number}] is not a valid term")
    return terms


def match_narrow(realm: Realm, reader: Account, value: Any) -> Predicate:
    """Return a function that matches the messages of a narrow."""
    checks = [
        (_match_term(realm, reader, operator, operand), negated)
        for operator, operand, negated in parse_narrow(value)
    ]
    return lambda message: all(check(message) is not negated for check, negated in checks)


def check_event_narrow(value: Any) -> None:
    """Raise an error for a term that event queues do not support."""
    for operator, _, _ in parse_narrow(value):
        if operator not in _EVENT_OPERATORS:
            raise bad_request(f"Operator {operator} not supported.")


def _match_term(realm: Realm, reader: Account, operator: str, operand: Any) -> Predicate:
    match operator:
        case "channel" | "stream":
            name = realm.find_channel(operand)
            if name is None:
                raise _bad("unknown channel")
            return lambda message: message.channel == name
        case "topic" | "subject":
            return lambda m: m.channel is not None and m.topic.lower() == str(operand).lower()
        case "sender" | "from":
            sender = _find_user(realm, operand)
            return lambda message: message.sender is sender
        case "dm" | "pm-with":
            names = operand.split(",") if isinstance(operand, str) else operand
            others = names if isinstance(names, list) else [names]
            users = {reader, *(_find_user(realm, name) for name in others)}
            return lambda message: message.channel is None and set(message.recipients) == users
        case "dm-including" | "group-pm-with":
            user = _find_user(realm, operand)
            return lambda message: message.channel is None and user in message.recipients
        case "id" | "near" | "with":
            if not str(operand).isdigit():
                raise _bad(f"invalid operand for '{operator}'")
            return lambda message: operator == "near" or message.id == int(operand)
        case "search":
            terms = str(operand).lower().split()
            return lambda m: all(term in f"{m.content} {m.topic}".lower() for term in terms)
        case "is":
            return _match_is(reader, operand)
        case "has":
            if operand == "reaction":
                return lambda message: bool(message.reactions)
            if operand not in _HAS_RES:
                raise _bad("unknown 'has' operand")
            return lambda message: bool(_HAS_RES[operand].search(message.content))
        case "channels" | "streams":
            if operand != "public":
                raise _bad("unknown channel")
            return lambda message: message.channel is not None
        case "in":
            if operand not in ("home", "all"):
                raise _bad("unknown 'in' operand")
            return lambda _: True
    raise _bad(f"unknown operator {operator}")


def _match_is(reader: Account, operand: Any) -> Predicate:
    match operand:
        case "dm" | "private":
            return lambda message: message.channel is None
        case "unread":
            return lambda message: "read" not in message.flags(reader)
        case "resolved":
            return lambda message: message.topic.startswith("✔ ")
        case "starred" | "mentioned" | "alerted":
            return lambda message: not _IS_FLAGS[operand].isdisjoint(message.flags(reader))
    raise _bad("unknown 'is' operand")


def includes_history(value: Any) -> bool:
    """Return whether a narrow includes messages that the reader has not received.

    Source: Zulip adds the history of a public channel if the narrow names it,
    or names all public channels, and does not filter by flags.
    """
    terms = parse_narrow(value)
    if any(operator == "is" and operand != "resolved" for operator, operand, _ in terms):
        return False
    return any(
        operator in (*CHANNEL_OPERATORS, "channels", "streams") and not negated
        for operator, _, negated in terms
    )


def select_page(
    messages: Sequence[Message], anchor: int, before: int, after: int, *, include_anchor: bool
) -> tuple[list[Message], dict[str, bool]]:
    """Return the messages around an anchor, and what is known of their ends."""
    to_left, to_right = anchor == 0, anchor >= NEWEST
    older = [message for message in messages if message.id < anchor]
    found = [message for message in messages if message.id == anchor and include_anchor]
    newer = [message for message in messages if message.id > anchor][:after]
    older = older[-before:] if before else []
    oldest, newest = to_left or len(older) < before, to_right or len(newer) < after
    ends = (bool(found), oldest, newest, False)
    return [*older, *found, *newer], dict(zip(ENDS, ends, strict=True))


ENDS: tuple[str, ...] = ("found_anchor", "found_oldest", "found_newest", "history_limited")
NEWEST = 10**16
"""The anchor `newest`, which is above all message ids."""


def _find_user(realm: Realm, name: Any) -> Account:
    user = realm.find_visible(name.strip() if isinstance(name, str) else name)
    if user is None:
        raise _bad("unknown user")
    return user


def _bad(desc: str) -> ErrorResponse:
    msg = f"Invalid narrow operator: {desc}"
    return ErrorResponse(400, "BAD_NARROW", msg, desc=desc)
