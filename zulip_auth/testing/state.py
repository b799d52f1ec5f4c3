"""State of the stand-in server: organizations, messages, queues, limits, requests."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from attrs import Factory, define, field, frozen

from .accounts import Account, Realm, Upload
from .messages import Message, normalize_content, sort_recipients
from .queues import Queue
from .rate_limits import RateLimiter

if TYPE_CHECKING:
    from starlette.responses import Response

DevLogin = Literal["on", "off", "production"]
Failure = tuple["Response | None", float, bool]
"""A response or None for the real one, seconds before it, and whether to drop the connection."""


@define(eq=False)
class ReceivedRequest:
    """A request that the server received.

    Attributes:
        method: HTTP method, such as `POST`.
        path: Path of the URL, such as `/api/v1/fetch_api_key`.
        host: Host header, with the port.
        headers: Headers, by lowercase name.
        query: Parameters of the query string.
        form: Parameters of the form body.
        body: The whole body.
        status: Status code of the response, or None if there is none yet.
    """

    method: str
    path: str
    host: str
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    form: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int | None = None


@frozen
class ScheduledMessage:
    """A message that is sent later. It is sent when the clock is advanced past its time."""

    id: int
    realm: Realm
    sender: Account
    to: Sequence[Account] | str
    topic: str
    content: str
    client: str
    deliver_at: int


def _no_connection(_client: object) -> None:
    raise ConnectionResetError("The connection was dropped.")


@define(eq=False)
class State:
    """State of one server.

    Attributes:
        lock: Held by each handler while it runs, and by changes from tests.
        attempts: Login attempts by the spelling of the username. They are
            recorded before the password is checked.
        calls: Authenticated requests by account.
        error: The error that ended the server's thread, or None.
        root_landing_page: Whether the root domain has a landing page, so that
            it serves no settings.
        any_host: Whether other host names lead to the first organization.
        unserved: Requests to endpoints of Zulip that this server does not have.
        drop_connection: Closes the connection of a client's address.
    """

    dev_login: DevLogin = "on"
    any_host: bool = False
    scheme: str = "http"
    port: int | None = None
    error: BaseException | None = None
    realms: dict[str, Realm] = Factory(dict)
    requests: list[ReceivedRequest] = Factory(list)
    unserved: list[str] = Factory(list)
    failures: dict[str, list[Failure]] = Factory(dict)
    clock_offset: float = 0.0
    password_check_time: float = 0.0
    root_landing_page: bool = False
    attempts: RateLimiter = Factory(lambda: RateLimiter(5, 1800.0))
    calls: RateLimiter = Factory(lambda: RateLimiter(200, 60.0))
    user_ids: Iterator[int] = Factory(lambda: count(10))
    message_ids: Iterator[int] = Factory(lambda: count(1))
    other_ids: Iterator[int] = Factory(lambda: count(1))
    messages: dict[int, Message] = Factory(dict)
    scheduled: dict[int, ScheduledMessage] = Factory(dict)
    queues: dict[str, Queue] = Factory(dict)
    file_tokens: dict[str, Upload] = Factory(dict)
    drop_connection: Callable[[object], None] = _no_connection
    lock: threading.RLock = Factory(threading.RLock)

    def __attrs_post_init__(self) -> None:
        _states.add(self)

    def now(self) -> float:
        """Return the Unix time of the server's clock."""
        return time.time() + self.clock_offset

    def advance(self, seconds: float) -> None:
        """Advance the clock, with what is due by then."""
        with self.lock:
            self.clock_offset += seconds
            for id_, due in sorted(self.scheduled.items()):
                if due.deliver_at <= self.now():
                    del self.scheduled[id_]
                    self.send(due.realm, due.sender, due.to, due.topic, due.content, due.client)
            for queue in self.queues.values():
                queue.tick(self.now())
            self.queues = {id_: queue for id_, queue in self.queues.items() if not queue.expired}

    def url(self, host: str) -> str:
        """Return the URL of a host.

        Raises:
            RuntimeError: If the server is not running, or its thread has died.
        """
        self.check_error()
        if self.port is None:
            raise RuntimeError("FakeZulip is not running: use it with `async with` or `with`.")
        name = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{name}:{self.port}"

    def add_realm(self, host: str) -> Realm:
        """Create an organization at a host name and return it."""
        realm = Realm(host.lower(), self.url, lambda: next(self.user_ids))
        with self.lock:  # Other threads iterate over the organizations without it.
            self.realms = {**self.realms, realm.host: realm}
        return realm

    def find_realm(self, host: str) -> Realm | None:
        """Return the organization at a Host header, with or without a port."""
        name = host.lower()
        found = self.realms.get(name) or self.realms.get(name.rpartition(":")[0].strip("[]"))
        return found or (next(iter(self.realms.values())) if self.any_host else None)

    def is_root_domain(self, host: str) -> bool:
        """Return whether a Host header is the parent domain of an organization."""
        root = "." + host.lower().partition(":")[0]
        return any(name.endswith(root) for name in self.realms)

    def find_key(self, api_key: str) -> tuple[Realm, Account] | None:
        """Return the organization and the account of an API key, or None."""
        owners = ((realm, user) for realm in self.realms.values() for user in realm.accounts)
        return next((owner for owner in owners if owner[1].api_key == api_key), None)

    def is_in_any_realm(self, email: str) -> bool:
        """Return whether any organization has an account with this email."""
        return any(realm.find(email) for realm in self.realms.values())

    def realm_of(self, account: Account) -> Realm:
        """Return the organization of an account."""
        return next(r for r in self.realms.values() if r.find(account.user_id) is account)

    def check_error(self) -> None:
        """Raise an error if the server's thread has died."""
        if self.error is not None:
            raise RuntimeError(f"The thread of FakeZulip died: {self.error!r}") from self.error

    def next_failure(self, path: str) -> Failure | None:
        """Return and forget the failure of the next request to *path*, or None."""
        failures = self.failures.get(path)
        return failures.pop(0) if failures else None

    def send(
        self,
        realm: Realm,
        sender: Account,
        to: Sequence[Account] | str,
        topic: str,
        content: str,
        client: str,
        *,
        read: bool = False,
        local_id: tuple[str, str] | None = None,
    ) -> Message:
        """Send a message and add its event to the queues of the recipients.

        Args:
            realm: Organization.
            sender: Account that sends it.
            to: Accounts, or the name of a channel.
            topic: Topic, empty for a direct message.
            content: Content.
            client: Name of the HTTP client.
            read: Whether it is marked as read by its sender.
            local_id: Id of the sender's queue, and of the message in it.

        Raises:
            ErrorResponse: If the content is invalid.
        """
        content = normalize_content(content)
        channel = to if isinstance(to, str) else None
        accounts = realm.subscribers(to) if isinstance(to, str) else [sender, *to]
        recipients, timestamp = sort_recipients(accounts), int(self.now())
        with self.lock:
            id_ = next(self.message_ids)
            message = Message(
                id_, realm, sender, recipients, channel, topic, content, client, timestamp
            )
            self.messages[id_] = message
            message.set_flag(sender, "read", on=read)
            for queue_id, queue in self.queues.items():
                public = queue.all_public_streams and message.is_visible_to(queue.owner)
                received = queue.owner in recipients or (public and channel is not None)
                if received and queue.accepts("message") and queue.accepts_message(message):
                    body = message.to_dict(apply_markdown=queue.apply_markdown)
                    event = {
                        "type": "message",
                        "message": body,
                        "flags": message.flags(queue.owner),
                    }
                    if local_id and queue_id == local_id[0]:
                        event["local_message_id"] = local_id[1]
                    queue.add(event)
        return message

    def deliver(
        self, accounts: Iterable[Account], event: Mapping[str, Any], capability: str | None = None
    ) -> None:
        """Add an event to the queues of some accounts, if they want its type."""
        accounts = set(accounts)
        for queue in self.queues.values():
            capable = capability is None or capability in queue.capabilities
            if queue.owner in accounts and queue.accepts(event["type"]) and capable:
                queue.add(event)

    def expire_queues(self) -> None:
        """Delete all event queues and end their polls."""
        with self.lock:
            queues, self.queues = self.queues, {}
            for queue in queues.values():
                queue.expire()


_states: weakref.WeakSet[State] = weakref.WeakSet()


def _replace_locks() -> None:
    """Replace the locks, which another thread may hold in the parent of this process."""
    for state in list(_states):
        state.lock = threading.RLock()


# Windows has no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_replace_locks)
