"""Messages and event queues of the stand-in server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from attrs import Factory, define

from .http import fill
from .state import Account, Realm

HEARTBEAT = 50.0
"""Seconds until a poll without events returns a heartbeat."""

IDLE_TIMEOUT = 600.0
"""Seconds until a queue expires that is not polled."""


@define(eq=False)
class Message:
    """A message.

    Attributes:
        recipients: The accounts that receive it, sorted by email.
        channel: Name of the channel, or None for a direct message.
        client: Name of the sender's HTTP client.
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

    @property
    def rendered_content(self) -> str:
        """Return the content as HTML. Markdown is escaped, not rendered."""
        return f"<p>{escape(self.content, quote=False)}</p>"

    def flags(self, reader: Account) -> list[str]:
        """Return the flags of the message for one recipient."""
        name = re.escape(reader.full_name)
        words = "|".join(map(re.escape, reader.alert_words)) or "(?!)"
        patterns = {
            "mentioned": rf"@\*\*(?:{name}|(?:{name})?\|{reader.user_id})\*\*",
            "has_alert_word": rf"(?<!\w)(?:{words})(?!\w)",
        }
        return [flag for flag, p in patterns.items() if re.search(p, self.content, re.IGNORECASE)]

    def to_dict(self, *, apply_markdown: bool) -> dict[str, Any]:
        """Return the message as in the API."""
        message = fill(
            "message",
            id=self.id,
            sender_id=self.sender.user_id,
            content=self.rendered_content if apply_markdown else self.content,
            timestamp=self.timestamp,
            client=self.client,
            subject=self.topic,
            reactions=list(self.reactions),
            sender_full_name=self.sender.full_name,
            sender_email=self.realm.visible_email(self.sender),
            content_type="text/html" if apply_markdown else "text/x-markdown",
        )
        if self.channel is not None:
            id_ = self.realm.channel_id(self.channel)
            message |= {"type": "stream", "display_recipient": self.channel, "stream_id": id_}
            return message | {"recipient_id": id_}
        users = [
            {
                "id": user.user_id,
                "email": self.realm.visible_email(user),
                "full_name": user.full_name,
            }
            for user in self.recipients
        ]
        message["recipient_id"] = users[0]["id"]
        message["display_recipient"] = [user | {"is_mirror_dummy": False} for user in users]
        return message


@define(eq=False)
class Queue:
    """The unacknowledged events of one client.

    Attributes:
        owner: Account that registered the queue.
        last_used: Unix time at which the client last polled.
        event_types: Types of events to deliver, or None for all.
        apply_markdown: Whether messages are delivered as HTML.
        events: Events, oldest first.
        expired: Whether the queue has expired.
    """

    owner: Account
    last_used: float
    event_types: Sequence[str] | None = None
    apply_markdown: bool = False
    events: list[dict[str, Any]] = Factory(list)
    expired: bool = False
    _next_id: int = 0
    _poll: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def is_idle(self, now: float) -> bool:
        """Return whether the client has not polled for `IDLE_TIMEOUT` seconds."""
        return self._poll is None and now - self.last_used >= IDLE_TIMEOUT

    def accepts(self, event_type: str) -> bool:
        """Return whether the client wants events of a type."""
        return self.event_types is None or event_type in self.event_types

    def add(self, event: Mapping[str, Any]) -> None:
        """Append an event and end the waiting poll."""
        self.events.append({**event, "id": self._next_id})
        self._next_id += 1
        self.notify()

    def acknowledge(self, event_id: int) -> None:
        """Delete the events up to *event_id*.

        Raises:
            ValueError: If that event was deleted before, or does not exist.
        """
        first = self.events[0]["id"] if self.events else self._next_id
        if event_id < first - 1:
            raise ValueError(f"An event newer than {event_id} has already been pruned!")
        if event_id >= self._next_id:
            raise ValueError(f"Event {event_id} was not in this queue")
        self.events = [event for event in self.events if event["id"] > event_id]

    async def wait(self) -> None:
        """Wait for an event, or add a heartbeat after `HEARTBEAT` seconds.

        A queue has one waiting poll. Another one ends it.
        """
        self.notify()
        event = asyncio.Event()
        self._poll = poll = asyncio.get_running_loop(), event
        try:
            async with asyncio.timeout(HEARTBEAT):
                await event.wait()
        except TimeoutError:
            self.add({"type": "heartbeat"})
        finally:
            self._poll = None if self._poll is poll else self._poll

    def expire(self) -> None:
        """Mark the queue as expired and end the waiting poll, from any thread."""
        self.expired = True
        self.notify()

    def notify(self) -> None:
        """End the waiting poll, from any thread."""
        poll, self._poll = self._poll, None
        if poll is not None:
            loop, event = poll
            loop.call_soon_threadsafe(event.set)
