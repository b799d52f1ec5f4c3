"""Messages: their text, flags and form in the API."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from attrs import Factory, define, frozen

from .accounts import GUEST, Account, Realm
from .errors import bad_request

MAX_CONTENT, MAX_TOPIC = 10_000, 60
EDITABLE_FLAGS = ("read", "starred", "collapsed")
FLAGS = (*EDITABLE_FLAGS, "mentioned", "stream_wildcard_mentioned", "has_alert_word", "historical")


Version = tuple[str, str, str | None]
"""Content, topic and channel."""


@frozen
class Edit:
    """An edit of a message: who made it when, and the version before it."""

    editor: Account
    timestamp: int
    before: Version


@define(eq=False)
class Message:
    """A message.

    Attributes:
        id: Message id.
        realm: Organization.
        sender: Account that sent it.
        recipients: The accounts that received it, sorted by email.
        channel: Name of the channel, or None for a direct message.
        topic: Topic, empty for a direct message.
        content: Content, as it was sent.
        client: Name of the sender's HTTP client.
        timestamp: Unix time.
        reactions: Reactions, as in the API.
    """

    id: int
    realm: Realm
    sender: Account
    recipients: Sequence[Account]
    channel: str | None
    topic: str
    content: str
    client: str
    timestamp: int
    reactions: list[dict[str, Any]] = Factory(list)
    edits: list[Edit] = Factory(list)
    _flags: dict[int, set[str]] = Factory(dict)

    @property
    def type(self) -> str:
        """Return `stream` or `private`, as in the API."""
        return "private" if self.channel is None else "stream"

    @property
    def rendered_content(self) -> str:
        """Return the content as HTML. Markdown is escaped, not rendered."""
        return render(self.content)

    def flags(self, reader: Account) -> list[str]:
        """Return the flags of the message for one reader."""
        if reader not in self.recipients:
            return ["read", "historical"]
        name = re.escape(reader.full_name)
        words = "|".join(map(re.escape, reader.alert_words)) or "(?!)"
        patterns = {
            "mentioned": rf"@\*\*(?:{name}|(?:{name})?\|{reader.user_id})\*\*",
            "stream_wildcard_mentioned": r"@\*\*(?:all|everyone|channel|stream)\*\*",
            "has_alert_word": rf"(?<!\w)(?:{words})(?!\w)",
        }
        found = {flag for flag, p in patterns.items() if re.search(p, self.content, re.IGNORECASE)}
        found |= self._flags.get(reader.user_id, set())
        return [flag for flag in FLAGS if flag in found]

    def set_flag(self, reader: Account, flag: str, *, on: bool) -> bool:
        """Set or clear a flag for one reader, and return whether that changed anything."""
        flags = self._flags.setdefault(reader.user_id, set())
        changed = (flag in flags) is not on
        (flags.add if on else flags.discard)(flag)
        return changed

    def is_visible_to(self, reader: Account) -> bool:
        """Return whether an account can read the message.

        Source: members can read the history of public channels.
        """
        if reader in self.recipients:
            return True
        is_member = self.realm.find(reader.user_id) is reader and reader.role < GUEST
        return self.channel is not None and is_member

    def to_dict(self, *, apply_markdown: bool) -> dict[str, Any]:
        """Return the message as in the API."""
        message = {
            "id": self.id,
            "sender_id": self.sender.user_id,
            "content": self.rendered_content if apply_markdown else self.content,
            "recipient_id": self.recipients[0].user_id if self.recipients else 0,
            "timestamp": self.timestamp,
            "client": self.client,
            "subject": self.topic,
            "topic_links": [],
            "is_me_message": self.content.startswith("/me "),
            "reactions": list(self.reactions),
            "submessages": [],
            "sender_full_name": self.sender.full_name,
            "sender_email": self.realm.visible_email(self.sender),
            "sender_realm_str": "",
            "display_recipient": self.realm.to_recipients(self.recipients),
            "type": self.type,
            "avatar_url": "",
            "content_type": "text/html" if apply_markdown else "text/x-markdown",
        }
        if self.edits:
            message["last_edit_timestamp"] = self.edits[-1].timestamp
            message["edit_history"] = self._history()[::-1]
        if self.channel is not None:
            id_ = self.realm.channel_id(self.channel)
            message |= {"display_recipient": self.channel, "stream_id": id_, "recipient_id": id_}
        return message

    def _history(self) -> list[dict[str, Any]]:
        """Return the edits as in the API, with the values that they replaced, oldest first."""
        versions = [*(edit.before for edit in self.edits), version_of(self)]
        entries = []
        for edit, before, after in zip(self.edits, versions, versions[1:], strict=False):
            entry = {"user_id": edit.editor.user_id, "timestamp": edit.timestamp}
            entries.append(entry | self._changes(before, after))
        return entries

    def _changes(self, before: Version, after: Version) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if before[0] != after[0]:
            fields = {"prev_content": before[0], "prev_rendered_content": render(before[0])}
            fields["prev_rendered_content_version"] = 1
        if before[1] != after[1]:
            fields |= {"topic": after[1], "prev_topic": before[1]}
        if before[2] != after[2] and before[2] and after[2]:
            old, new = self.realm.channel_id(before[2]), self.realm.channel_id(after[2])
            fields |= {"prev_stream": old, "stream": new}
        return fields

    def history(self) -> list[dict[str, Any]]:
        """Return the versions of the message as in the API, oldest first."""
        first = {"user_id": self.sender.user_id, "timestamp": self.timestamp}
        entries = [first, *self._history()]
        versions = [*(edit.before for edit in self.edits), version_of(self)]
        for entry, (content, topic, _) in zip(entries, versions, strict=True):
            entry.pop("prev_rendered_content_version", None)
            entry |= {"topic": topic, "content": content, "rendered_content": render(content)}
            if "prev_content" in entry:
                deleted, inserted = escape(entry["prev_content"]), escape(content)
                entry["content_html_diff"] = (
                    f'<div><p><span class="highlight_text_deleted">{deleted}</span> '
                    f'<span class="highlight_text_inserted">{inserted}</span></p></div>'
                )
        return entries


def version_of(message: Message) -> Version:
    """Return what an edit can change."""
    return message.content, message.topic, message.channel


def edit(message: Message, editor: Account, timestamp: int, version: Version) -> None:
    """Change a message, if the version differs."""
    if version != version_of(message):
        message.edits.append(Edit(editor, timestamp, version_of(message)))
        message.content, message.topic, message.channel = version


def render(content: str) -> str:
    """Return content as HTML. Markdown is escaped, not rendered."""
    return f"<p>{escape(content, quote=False)}</p>"


def normalize_content(content: str) -> str:
    """Return the content as the server stores it.

    Source: Zulip truncates a message that is too long; it does not reject it.

    Raises:
        ErrorResponse: If it is empty, or contains a NUL.
    """
    content = content.rstrip().lstrip("\n")
    if not content:
        raise bad_request("Message must not be empty")
    if "\0" in content:
        raise bad_request("Message must not contain null bytes")
    return _truncate(content, MAX_CONTENT, "\n[message truncated]")


def normalize_topic(topic: str | None) -> str:
    """Return the topic as the server stores it.

    Raises:
        ErrorResponse: If it is missing, empty, or contains a control character.
    """
    if topic is None:
        raise bad_request("Missing topic")
    if not topic.strip():
        raise bad_request("Topic can't be empty!")
    check_characters(topic.strip(), "topic", "!")
    return _truncate(topic.strip(), MAX_TOPIC, "...")


def check_characters(text: str, what: str, end: str) -> None:
    """Raise an error if a name contains a control character."""
    for position, char in enumerate(text, 1):
        if not char.isprintable():
            raise bad_request(f"Invalid character in {what}, at position {position}{end}")


def _truncate(text: str, max_length: int, ending: str) -> str:
    return text if len(text) <= max_length else text[: max_length - len(ending)] + ending


def sort_recipients(accounts: Iterable[Account]) -> list[Account]:
    """Return different accounts in the order of a direct message."""
    return sorted(set(accounts), key=lambda user: user.email)
