"""Event queues: the events that one client has not acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from attrs import Factory, define

from .accounts import Account
from .errors import bad_request

HEARTBEAT = 50.0
"""Seconds until a poll without events returns a heartbeat."""

IDLE_TIMEOUT = 600.0
"""Seconds until a queue expires that is not polled."""


@define(eq=False)
class Queue:
    """The unacknowledged events of one client.

    Attributes:
        owner: Account that registered the queue.
        last_used: Unix time at which the client last polled.
        event_types: Types of events to deliver, or None for all.
        apply_markdown: Whether messages are delivered as HTML.
        all_public_streams: Whether messages of all channels are delivered.
        capabilities: Capabilities that the client has declared.
        accepts_message: Whether the narrow of the queue matches a message.
        lifespan: Seconds until it expires when it is not polled.
        events: Events, oldest first.
        expired: Whether the queue has expired.
    """

    owner: Account
    last_used: float
    event_types: Sequence[str] | None = None
    apply_markdown: bool = False
    all_public_streams: bool = False
    capabilities: Collection[str] = ()
    accepts_message: Callable[[Any], bool] = lambda _: True
    lifespan: float = IDLE_TIMEOUT
    events: list[dict[str, Any]] = Factory(list)
    expired: bool = False
    _next_id: int = 0
    _poll: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def is_idle(self, now: float) -> bool:
        """Return whether the queue has not been polled for its lifespan."""
        return self._poll is None and now - self.last_used >= self.lifespan

    def tick(self, now: float) -> None:
        """Add a heartbeat if a poll waits for long; expire if there was none for long."""
        if self._poll is None:
            self.expired = self.expired or self.is_idle(now)
        elif now - self.last_used >= HEARTBEAT:
            self.add({"type": "heartbeat"})

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
            ErrorResponse: If that event was deleted before, or does not exist.
        """
        first = self.events[0]["id"] if self.events else self._next_id
        if event_id < first - 1:
            raise bad_request(f"An event newer than {event_id} has already been pruned!")
        if event_id >= self._next_id:
            raise bad_request(f"Event {event_id} was not in this queue")
        self.events = [event for event in self.events if event["id"] > event_id]

    def start_poll(self) -> asyncio.Event:
        """Return the event that ends a poll. A queue has one; another one ends it."""
        self.notify()
        event = asyncio.Event()
        self._poll = asyncio.get_running_loop(), event
        return event

    def end_poll(self, event: asyncio.Event) -> None:
        """Forget a poll that has ended, unless there is another one."""
        if self._poll is not None and self._poll[1] is event:
            self._poll = None

    def expire(self) -> None:
        """Mark the queue as expired and end the waiting poll."""
        self.expired = True
        self.notify()

    def notify(self) -> None:
        """End the waiting poll, from any thread."""
        poll, self._poll = self._poll, None
        if poll is not None:
            loop, event = poll
            loop.call_soon_threadsafe(event.set)
