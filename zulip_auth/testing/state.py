"""State of the stand-in server: organizations, accounts, attempts, requests, events."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Literal

from attrs import Factory, define, field, frozen

VERSION = "10.0-dev+git"
FEATURE_LEVEL = 325
ADMINISTRATOR, MEMBER = 200, 400
HEARTBEAT = 50.0
"""Seconds until a poll without events returns a heartbeat."""

_MAX_ATTEMPTS = 5
_WINDOW = 1800.0
_KEY_LENGTH = 32
_KEY_ALPHABET = string.ascii_letters + string.digits

DevLogin = Literal["on", "off", "production"]


def _new_api_key() -> str:
    return "".join(secrets.choice(_KEY_ALPHABET) for _ in range(_KEY_LENGTH))


@define(eq=False)
class Account:
    """A user of an organization. Attributes can be set while the server runs.

    Attributes:
        email: Email address, in the server's spelling.
        password: Password of the account.
        user_id: User id.
        api_key: API key that a login returns.
        full_name: Full name.
        role: 100 owner, 200 administrator, 300 moderator, 400 member, 600 guest.
        active: Whether the account is active, not deactivated.
        password_reset_required: Whether the correct password is rejected until
            it is reset.
    """

    email: str
    password: str = field(repr=False)
    user_id: int
    api_key: str = field(repr=False, factory=_new_api_key)
    full_name: str = "Test User"
    role: int = MEMBER
    active: bool = True
    password_reset_required: bool = False

    @property
    def admin(self) -> bool:
        """Return whether the account is an administrator or an owner."""
        return self.role <= ADMINISTRATOR

    def regenerate_api_key(self) -> None:
        """Replace the API key. The old one is revoked."""
        self.api_key = _new_api_key()


@frozen
class ExternalMethod:
    """A login method that uses a browser.

    Attributes:
        name: Identifier, such as `google`.
        display_name: Name in user interfaces.
    """

    name: str
    display_name: str

    @property
    def login_path(self) -> str:
        """Return the path of the login page, which lists the accounts."""
        return f"/accounts/login/social/{self.name}"


@define(eq=False)
class Realm:
    """An organization. Attributes can be set while the server runs.

    Attributes:
        host: Host name of its URL.
        active: Whether the organization is active, not deactivated.
        password_login: Whether password login is enabled.
        dev_login: Whether development login is enabled here, if the server has it.
        email_usernames: Whether a username must be an email address.
        name: Name of the organization.
        jwt_key: Key of the JSON web tokens that log in (HS256), or None if JWT
            login is disabled.
        external_methods: Login methods that use a browser.
    """

    host: str
    _server: State = field(repr=False)
    active: bool = True
    password_login: bool = True
    dev_login: bool = True
    email_usernames: bool = True
    name: str = "Zulip Dev"
    jwt_key: str | None = field(default=None, repr=False)
    external_methods: list[ExternalMethod] = Factory(list)
    _accounts: dict[str, Account] = Factory(dict)

    @property
    def site(self) -> str:
        """Return the URL of the organization.

        Raises:
            RuntimeError: If the server is not running.
        """
        if self._server.port is None:
            raise RuntimeError("FakeZulip is not running: use it with `async with` or `with`.")
        return f"http://{self.host}:{self._server.port}"

    @property
    def accounts(self) -> list[Account]:
        """Return the accounts, sorted by email."""
        return sorted(self._accounts.values(), key=lambda account: account.email)

    def add_user(self, email: str, password: str) -> Account:
        """Create an account and return it."""
        account = Account(email, password, next(self._server.user_ids))
        self._accounts[email.lower()] = account
        return account

    def account(self, email: str) -> Account:
        """Return an account by its case-insensitive email.

        Raises:
            KeyError: If there is no such account.
        """
        return self._accounts[email.lower()]

    def find(self, email: str) -> Account | None:
        """Return an account by its case-insensitive email, or None."""
        return self._accounts.get(email.lower())


@frozen
class ReceivedRequest:
    """A request that the server received.

    Attributes:
        method: HTTP method, such as `POST`.
        path: Path of the URL, such as `/api/v1/fetch_api_key`.
        host: Host header, with the port.
        headers: Headers, by lowercase name.
        query: Parameters of the query string.
        form: Parameters of the form body.
    """

    method: str
    path: str
    host: str
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    form: Mapping[str, str] = field(repr=False)


@frozen
class RateLimit:
    """The rate limit after one attempt.

    Attributes:
        remaining: Number of attempts left.
        reset: Unix time at which all attempts are available again.
        retry_after: Seconds until the next attempt, or None if this one is allowed.
    """

    remaining: int
    reset: float
    retry_after: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that report the limit."""
        headers = {
            "X-RateLimit-Limit": str(_MAX_ATTEMPTS),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(int(self.reset)),
        }
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers


@define(eq=False)
class Queue:
    """The unacknowledged events of one client.

    Attributes:
        owner: Account that registered the queue.
        events: Events, oldest first.
    """

    owner: Account
    events: list[dict[str, Any]] = Factory(list)
    _ids: Iterator[int] = Factory(count)
    _changed: asyncio.Event = Factory(asyncio.Event)
    _loop: asyncio.AbstractEventLoop = Factory(asyncio.get_running_loop)

    def add(self, event: Mapping[str, Any]) -> None:
        """Append an event and end the waiting poll."""
        self.events.append({**event, "id": next(self._ids)})
        self._changed.set()

    async def wait(self) -> None:
        """Wait for an event, or add a heartbeat after `HEARTBEAT` seconds."""
        self._changed.clear()
        try:
            async with asyncio.timeout(HEARTBEAT):
                await self._changed.wait()
        except TimeoutError:
            self.add({"type": "heartbeat"})

    def notify(self) -> None:
        """End the waiting poll, from any thread."""
        self._loop.call_soon_threadsafe(self._changed.set)


@define(eq=False)
class State:
    """State of one server."""

    dev_login: DevLogin = "on"
    port: int | None = None
    realms: dict[str, Realm] = Factory(dict)
    requests: list[ReceivedRequest] = Factory(list)
    clock_offset: float = 0.0
    _attempts: dict[str, list[float]] = Factory(dict)
    user_ids: Iterator[int] = Factory(lambda: count(10))
    message_ids: Iterator[int] = Factory(lambda: count(1))
    queues: dict[str, Queue] = Factory(dict)

    def add_realm(self, host: str) -> Realm:
        """Create an organization at a host name and return it."""
        realm = self.realms[host.lower()] = Realm(host.lower(), self)
        return realm

    def find_realm(self, host: str) -> Realm | None:
        """Return the organization at a Host header, with or without a port."""
        name = host.lower()
        return self.realms.get(name) or self.realms.get(name.rpartition(":")[0])

    def is_root_domain(self, host: str) -> bool:
        """Return whether a Host header is the parent domain of an organization."""
        root = "." + host.lower().partition(":")[0]
        return any(name.endswith(root) for name in self.realms)

    def find_key(self, api_key: str) -> tuple[Realm, Account] | None:
        """Return the organization and the account of an API key, or None."""
        for realm in self.realms.values():
            for account in realm.accounts:
                if account.api_key == api_key:
                    return realm, account
        return None

    def close_queues(self) -> None:
        """Delete all event queues and end their polls."""
        queues, self.queues = self.queues, {}
        for queue in queues.values():
            queue.notify()

    def is_in_any_realm(self, email: str) -> bool:
        """Return whether any organization has an account with this email."""
        return any(realm.find(email) for realm in self.realms.values())

    def record_attempt(self, username: str) -> RateLimit:
        """Record a login attempt and return the rate limit after it.

        The limit is five attempts in 30 minutes for one spelling of a
        username. Rejected attempts are not recorded, so they do not extend
        the block.

        Source: recorded exchanges; the server counts an attempt before it
        checks the password.
        """
        now = time.time() + self.clock_offset
        attempts = [at for at in self._attempts.get(username, []) if at + _WINDOW > now]
        if len(attempts) >= _MAX_ATTEMPTS:
            reset_at = attempts[-_MAX_ATTEMPTS] + _WINDOW
            return RateLimit(remaining=0, reset=reset_at, retry_after=reset_at - now)
        self._attempts[username] = [*attempts, now]
        return RateLimit(remaining=_MAX_ATTEMPTS - len(attempts) - 1, reset=now + _WINDOW)

    def reset_attempts(self, username: str) -> None:
        """Delete the attempts of a username after a successful login."""
        self._attempts.pop(username, None)
