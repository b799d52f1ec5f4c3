"""State of the stand-in server: organizations, accounts, limits and recorded requests."""

from __future__ import annotations

import re
import secrets
import string
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from attrs import Factory, define, field, frozen

from .rate_limits import RateLimiter

if TYPE_CHECKING:
    from starlette.responses import Response

    from .messages import Message, Queue

OWNER, ADMINISTRATOR, MEMBER, GUEST = 100, 200, 400, 600
GENERIC_BOT, INCOMING_WEBHOOK = 1, 2

_KEY_LENGTH = 32
_KEY_ALPHABET = string.ascii_letters + string.digits
_DOMAIN_RE = re.compile(r"(?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*")
# FAKE_EMAIL_DOMAIN of Zulip's development environment.
_FAKE_EMAIL_DOMAIN = "zulipdev.com"

DevLogin = Literal["on", "off", "production"]
Failure = tuple["Response | None", float, bool]
"""A response or None for the real one, seconds before it, and whether to drop the connection."""


def _new_api_key() -> str:
    return "".join(secrets.choice(_KEY_ALPHABET) for _ in range(_KEY_LENGTH))


@define(eq=False)
class Account:
    """A user or bot of an organization. Attributes can be set while the server runs.

    Attributes:
        email: Email address, in the server's spelling.
        password: Password of the account; empty for a bot.
        user_id: User id.
        api_key: API key that a login returns.
        full_name: Full name.
        role: 100 owner, 200 administrator, 300 moderator, 400 member, 600 guest.
        active: Whether the account is active, not deactivated.
        password_reset_required: Whether the correct password is rejected until
            it is reset.
        alert_words: Words that set the flag `has_alert_word` on a message.
        bot_type: 1 for a generic bot, 2 for an incoming webhook, or None for a
            user.
        owner: Account that owns the bot, or None for a user.
    """

    email: str
    password: str = field(repr=False)
    user_id: int
    api_key: str = field(repr=False, factory=_new_api_key)
    full_name: str = "Test User"
    role: int = MEMBER
    active: bool = True
    password_reset_required: bool = False
    alert_words: list[str] = Factory(list)
    bot_type: int | None = None
    owner: Account | None = field(default=None, repr=False)

    @property
    def admin(self) -> bool:
        """Return whether the account is an administrator or an owner."""
        return self.role <= ADMINISTRATOR

    @property
    def is_bot(self) -> bool:
        """Return whether the account is a bot."""
        return self.bot_type is not None

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

    def to_dict(self) -> dict[str, Any]:
        """Return the method as in the server's settings."""
        name, url = self.display_name, self.login_path
        urls = {"login_url": url, "signup_url": url.replace("login", "register")}
        return {"name": self.name, "display_name": name, "display_icon": None, **urls}


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
        hide_emails: Whether profiles and messages show an address such as
            `user10@example.com` in place of a user's email.
        channels: Names of the channels. All accounts are subscribed to all of
            them. The id of a channel is its position, from 1.
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
    hide_emails: bool = False
    channels: list[str] = Factory(lambda: ["general", "sandbox"])
    _accounts: dict[str, Account] = Factory(dict)

    @property
    def site(self) -> str:
        """Return the URL of the organization.

        Raises:
            RuntimeError: If the server is not running, or its thread has died.
        """
        self._server.check_error()
        if self._server.port is None:
            raise RuntimeError("FakeZulip is not running: use it with `async with` or `with`.")
        return f"http://{self.host}:{self._server.port}"

    @property
    def accounts(self) -> list[Account]:
        """Return the accounts, bots included, sorted by email."""
        return sorted(self._accounts.values(), key=lambda account: account.email)

    def add_user(self, email: str, password: str) -> Account:
        """Create an account and return it."""
        account = Account(email, password, next(self._server.user_ids))
        self._accounts[email.lower()] = account
        return account

    def add_bot(self, owner_email: str, full_name: str) -> Account:
        """Create a generic bot and return it.

        A bot has an API key and no password. Its email is made of *full_name*,
        such as `reminder-bot@example.com` for "Reminder Bot".

        Args:
            owner_email: Email of the account that owns the bot.
            full_name: Full name of the bot.

        Raises:
            KeyError: If there is no such owner.
            ValueError: If the email is in use.
        """
        slug = re.sub(r"[^a-z0-9]+", "-", full_name.lower()).strip("-").removesuffix("-bot")
        return self.create_bot(self.account(owner_email), full_name, slug or "my", GENERIC_BOT)

    def create_bot(self, owner: Account, full_name: str, short_name: str, type_: int) -> Account:
        """Create a bot of any type with the email of *short_name*."""
        email = f"{short_name}-bot@{self.email_domain}"
        if self.find(email):
            raise ValueError(f"{email} is already in use.")
        bot = self.add_user(email, "")
        bot.full_name, bot.owner, bot.bot_type = full_name, owner, type_
        return bot

    def account(self, email: str) -> Account:
        """Return an account by its case-insensitive email.

        Raises:
            KeyError: If there is no such account.
        """
        return self._accounts[email.lower()]

    def find(self, email_or_id: str | int) -> Account | None:
        """Return an account by its case-insensitive email or its user id, or None."""
        if isinstance(email_or_id, str):
            return self._accounts.get(email_or_id.lower())
        accounts = self._accounts.values()
        return next((account for account in accounts if account.user_id == email_or_id), None)

    def channel_id(self, name: str) -> int:
        """Return the id of a channel."""
        return self.channels.index(name) + 1

    @property
    def email_domain(self) -> str:
        """Return the domain of bots' emails and of addresses that hide emails."""
        return self.host if _DOMAIN_RE.fullmatch(self.host) else _FAKE_EMAIL_DOMAIN

    def visible_email(self, account: Account) -> str:
        """Return the email of an account in profiles and messages."""
        if self.hide_emails and not account.is_bot:
            return f"user{account.user_id}@{self.email_domain}"
        return account.email


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
        body: The whole body.
    """

    method: str
    path: str
    host: str
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    form: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def _no_connection(_client: object) -> None:
    raise ConnectionResetError("The connection was dropped.")


@define(eq=False)
class State:
    """State of one server.

    Attributes:
        attempts: Login attempts by the spelling of the username. They are
            recorded before the password is checked.
        calls: Authenticated requests by account.
        error: The error that ended the server's thread, or None.
        root_landing_page: Whether the root domain has a landing page, so that
            it serves no settings.
        drop_connection: Closes the connection of a client's address.
    """

    dev_login: DevLogin = "on"
    port: int | None = None
    error: BaseException | None = None
    realms: dict[str, Realm] = Factory(dict)
    requests: list[ReceivedRequest] = Factory(list)
    failures: dict[str, list[Failure]] = Factory(dict)
    clock_offset: float = 0.0
    password_check_time: float = 0.0
    root_landing_page: bool = False
    attempts: RateLimiter = Factory(lambda: RateLimiter(5, 1800.0))
    calls: RateLimiter = Factory(lambda: RateLimiter(200, 60.0))
    user_ids: Iterator[int] = Factory(lambda: count(10))
    messages: dict[int, Message] = Factory(dict)
    queues: dict[str, Queue] = Factory(dict)
    drop_connection: Callable[[object], None] = _no_connection

    def now(self) -> float:
        """Return the Unix time of the server's clock."""
        return time.time() + self.clock_offset

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
        owners = [(realm, user) for realm in self.realms.values() for user in realm.accounts]
        return next((owner for owner in owners if owner[1].api_key == api_key), None)

    def is_in_any_realm(self, email: str) -> bool:
        """Return whether any organization has an account with this email."""
        return any(realm.find(email) for realm in self.realms.values())

    def check_error(self) -> None:
        """Raise an error if the server's thread has died."""
        if self.error is not None:
            raise RuntimeError(f"The thread of FakeZulip died: {self.error!r}") from self.error

    def next_failure(self, path: str) -> Failure | None:
        """Return and forget the failure of the next request to *path*, or None."""
        failures = self.failures.get(path)
        return failures.pop(0) if failures else None

    def queues_of(self, accounts: Sequence[Account], event_type: str) -> list[Queue]:
        """Return the queues of some accounts that accept a type of events."""
        queues = self.queues.values()
        return [queue for queue in queues if queue.owner in accounts and queue.accepts(event_type)]

    def expire_queues(self) -> None:
        """Delete all event queues and end their polls."""
        queues, self.queues = self.queues, {}
        for queue in queues.values():
            queue.expire()
