"""What a Zulip server remembers: organizations, accounts, attempts, requests, events."""

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
"""After how many silent seconds a poll for events is answered all the same."""

_MAX_ATTEMPTS = 5
_WINDOW = 1800.0
_KEY_LENGTH = 32
_KEY_ALPHABET = string.ascii_letters + string.digits

DevLogin = Literal["on", "off", "production"]


def _new_api_key() -> str:
    return "".join(secrets.choice(_KEY_ALPHABET) for _ in range(_KEY_LENGTH))


@define(eq=False)
class Account:
    """A user of an organization. Any attribute may be set while the server runs.

    Attributes:
        email: The address, as the server spells it.
        password: What logs in.
        user_id: The account's number.
        api_key: What a login answers with.
        full_name: The owner's name.
        role: 100 owner, 200 administrator, 300 moderator, 400 member, 600 guest.
        active: Whether the account may log in at all.
        password_reset_required: Whether the right password is answered with
            the demand to reset it.
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
        """Replace the API key; the old one is dead at once."""
        self.api_key = _new_api_key()


@frozen
class ExternalMethod:
    """A way to log in through a browser.

    Attributes:
        name: Its name for programs, such as `google`.
        display_name: Its name for people.
    """

    name: str
    display_name: str

    @property
    def login_path(self) -> str:
        """Return where a login begins: a page on which a browser chooses an account."""
        return f"/accounts/login/social/{self.name}"


@define(eq=False)
class Realm:
    """An organization. Any attribute may be set while the server runs.

    Attributes:
        host: The host name that it answers at.
        active: False where it has been deactivated.
        password_login: Whether it lets anyone in with a password.
        dev_login: Whether it lets anyone in without one, on a server that does.
        email_usernames: Whether a username must be an e-mail address.
        name: The organization's name.
        jwt_key: What the JSON web tokens that log in are signed with (HS256);
            None where no token does.
        external_methods: The ways to log in through a browser.
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
        """Return the organization's address.

        Raises:
            RuntimeError: The server is not running.
        """
        if self._server.port is None:
            raise RuntimeError("FakeZulip is not running: use it with `async with` or `with`.")
        return f"http://{self.host}:{self._server.port}"

    @property
    def accounts(self) -> list[Account]:
        """Return the accounts, in the order of their addresses."""
        return sorted(self._accounts.values(), key=lambda account: account.email)

    def add_user(self, email: str, password: str) -> Account:
        """Create an account and return it."""
        account = Account(email, password, next(self._server.user_ids))
        self._accounts[email.lower()] = account
        return account

    def account(self, email: str) -> Account:
        """Return the account with an address, in any case.

        Raises:
            KeyError: There is none.
        """
        return self._accounts[email.lower()]

    def find(self, email: str) -> Account | None:
        """Return the account with an address, in any case, or None."""
        return self._accounts.get(email.lower())


@frozen
class ReceivedRequest:
    """What the server was sent.

    Attributes:
        method: Such as `POST`.
        path: Such as `/api/v1/fetch_api_key`.
        host: The organization asked for, with the port.
        headers: The headers, by their names in lower case.
        query: The parameters of the address.
        form: The parameters of the body.
    """

    method: str
    path: str
    host: str
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    form: Mapping[str, str] = field(repr=False)


@frozen
class RateLimit:
    """What the server says of one attempt.

    Attributes:
        remaining: How many more there may be.
        reset: When all will be free again, in seconds since 1970.
        retry_after: Seconds until the next may be made; None where this one may.
    """

    remaining: int
    reset: float
    retry_after: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return it as Zulip's headers."""
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
    """The events that one client has not fetched yet.

    Attributes:
        owner: Whose queue it is.
        events: The events, oldest first.
    """

    owner: Account
    events: list[dict[str, Any]] = Factory(list)
    _ids: Iterator[int] = Factory(count)
    _changed: asyncio.Event = Factory(asyncio.Event)
    _loop: asyncio.AbstractEventLoop = Factory(asyncio.get_running_loop)

    def add(self, event: Mapping[str, Any]) -> None:
        """Append an event, and wake the poll that waits for one."""
        self.events.append({**event, "id": next(self._ids)})
        self._changed.set()

    async def wait(self) -> None:
        """Wait for an event, but not for ever: then there is a heartbeat."""
        self._changed.clear()
        try:
            async with asyncio.timeout(HEARTBEAT):
                await self._changed.wait()
        except TimeoutError:
            self.add({"type": "heartbeat"})

    def notify(self) -> None:
        """Answer the poll that waits, from any thread."""
        self._loop.call_soon_threadsafe(self._changed.set)


@define(eq=False)
class State:
    """All that one server remembers."""

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
        """Return the organization that a Host header names, port or not."""
        name = host.lower()
        return self.realms.get(name) or self.realms.get(name.rpartition(":")[0])

    def is_root_domain(self, host: str) -> bool:
        """Tell whether the organizations are at subdomains of what a Host header names."""
        root = "." + host.lower().partition(":")[0]
        return any(name.endswith(root) for name in self.realms)

    def find_key(self, api_key: str) -> tuple[Realm, Account] | None:
        """Return the account with an API key, and its organization, or None."""
        for realm in self.realms.values():
            for account in realm.accounts:
                if account.api_key == api_key:
                    return realm, account
        return None

    def close_queues(self) -> None:
        """Forget the event queues, and answer those who wait for events."""
        queues, self.queues = self.queues, {}
        for queue in queues.values():
            queue.notify()

    def is_in_any_realm(self, email: str) -> bool:
        """Tell whether any organization has an account with an address."""
        return any(realm.find(email) for realm in self.realms.values())

    def record_attempt(self, username: str) -> RateLimit:
        """Count an attempt before its password is looked at, as Zulip does.

        Five for a username, as it was typed, in 30 minutes. An attempt that is
        turned away is not counted, so it does not make the block longer.
        """
        now = time.time() + self.clock_offset
        attempts = [at for at in self._attempts.get(username, []) if at + _WINDOW > now]
        if len(attempts) >= _MAX_ATTEMPTS:
            reset_at = attempts[-_MAX_ATTEMPTS] + _WINDOW
            return RateLimit(remaining=0, reset=reset_at, retry_after=reset_at - now)
        self._attempts[username] = [*attempts, now]
        return RateLimit(remaining=_MAX_ATTEMPTS - len(attempts) - 1, reset=now + _WINDOW)

    def reset_attempts(self, username: str) -> None:
        """Clear the count, as a successful login does."""
        self._attempts.pop(username, None)
