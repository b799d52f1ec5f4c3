"""Organizations and their accounts, channels, user groups and uploads."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable, Iterable
from typing import Any

from attrs import Factory, define, field, frozen

OWNER, ADMINISTRATOR, MODERATOR, MEMBER, GUEST = 100, 200, 300, 400, 600
GENERIC_BOT, INCOMING_WEBHOOK = 1, 2

_KEY_LENGTH = 32
_KEY_ALPHABET = string.ascii_letters + string.digits
_DOMAIN_RE = re.compile(r"(?:[a-z0-9-]+\.)+[a-z][a-z0-9-]*")
# FAKE_EMAIL_DOMAIN of Zulip's development environment.
_FAKE_EMAIL_DOMAIN = "zulipdev.com"


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
        storage: Values that a bot has stored, by key.
        presence: Status (`active` or `idle`) that a user has sent last, and its
            Unix time.
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
    storage: dict[str, str] = field(factory=dict, repr=False)
    presence: tuple[str, float] | None = field(default=None, repr=False)

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
class UserGroup:
    """A user group that an account has created."""

    id: int
    creator: Account
    created: float
    name: str
    description: str
    members: list[int]


@frozen
class Upload:
    """A file that an account has uploaded."""

    id: int
    owner: Account
    created: float
    name: str
    path: str
    content: bytes


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
        channels: Names of the channels, all public. The id of a channel is its
            position, from 1. Each account is subscribed until it unsubscribes,
            but to a channel that an account has created only its subscribers.
    """

    host: str
    _url: Callable[[str], str] = field(repr=False)
    _new_user_id: Callable[[], int] = field(repr=False, default=lambda: 10)
    active: bool = True
    password_login: bool = True
    dev_login: bool = True
    email_usernames: bool = True
    name: str = "Zulip Dev"
    jwt_key: str | None = field(default=None, repr=False)
    external_methods: list[ExternalMethod] = Factory(list)
    hide_emails: bool = False
    channels: list[str] = Factory(lambda: ["general", "sandbox"])
    user_groups: dict[int, UserGroup] = field(factory=dict, repr=False, init=False)
    uploads: dict[str, Upload] = field(factory=dict, repr=False, init=False)
    subscription_settings: dict[tuple[int, str], dict[str, Any]] = field(
        factory=dict, repr=False, init=False
    )
    topic_policies: dict[tuple[int, str, str], dict[str, Any]] = field(
        factory=dict, repr=False, init=False
    )
    _accounts: dict[str, Account] = field(factory=dict, repr=False)
    _subscriptions: dict[tuple[int, str], bool] = field(factory=dict, repr=False, init=False)
    _creators: dict[str, Account] = field(factory=dict, repr=False, init=False)

    @property
    def site(self) -> str:
        """Return the URL of the organization.

        Raises:
            RuntimeError: If the server is not running, or its thread has died.
        """
        return self._url(self.host)

    @property
    def accounts(self) -> list[Account]:
        """Return the accounts, bots included, sorted by email."""
        return sorted(self._accounts.values(), key=lambda account: account.email)

    def add_user(self, email: str, password: str, *, full_name: str = "Test User") -> Account:
        """Create an account and return it.

        Args:
            email: Email address.
            password: Password.
            full_name: Full name, as in a mention.
        """
        account = Account(email, password, self._new_user_id(), full_name=full_name)
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
        bot = self.add_user(email, "", full_name=full_name)
        bot.owner, bot.bot_type = owner, type_
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
        return next((user for user in self.accounts if user.user_id == email_or_id), None)

    def find_visible(self, email_or_id: str | int) -> Account | None:
        """Return an account by its email in profiles, its user id, or None."""
        hidden = (user for user in self.accounts if self.visible_email(user) == email_or_id)
        return self.find(email_or_id) or next(hidden, None)

    def channel_id(self, name: str) -> int:
        """Return the id of a channel."""
        return self.channels.index(name) + 1

    def find_channel(self, name_or_id: str | int) -> str | None:
        """Return the name of a channel by its case-insensitive name or its id, or None."""
        if isinstance(name_or_id, int):
            known = 0 < name_or_id <= len(self.channels)
            return self.channels[name_or_id - 1] if known else None
        name = name_or_id.strip().lower()
        return next((channel for channel in self.channels if channel.lower() == name), None)

    def create_channel(self, name: str, creator: Account) -> str:
        """Create a channel without subscribers."""
        self._creators[name] = creator
        self.channels.append(name)
        return name

    def creator_id(self, channel: str) -> int | None:
        """Return the user id of the account that created a channel, or None."""
        creator = self._creators.get(channel)
        return None if creator is None else creator.user_id

    def is_subscribed(self, account: Account, channel: str) -> bool:
        """Return whether an account is subscribed to a channel."""
        default = channel not in self._creators
        return self._subscriptions.get((account.user_id, channel), default)

    def subscribe(self, account: Account, channel: str, *, subscribed: bool) -> bool:
        """Subscribe or unsubscribe an account, and return whether that changed anything."""
        changed = self.is_subscribed(account, channel) is not subscribed
        self._subscriptions[account.user_id, channel] = subscribed
        return changed

    def subscribers(self, channel: str) -> list[Account]:
        """Return the active accounts that are subscribed to a channel."""
        return [user for user in self.accounts if user.active and self.is_subscribed(user, channel)]

    @property
    def email_domain(self) -> str:
        """Return the domain of bots' emails and of addresses that hide emails."""
        return self.host if _DOMAIN_RE.fullmatch(self.host) else _FAKE_EMAIL_DOMAIN

    def visible_email(self, account: Account) -> str:
        """Return the email of an account in profiles and messages."""
        if self.hide_emails and not account.is_bot:
            return f"user{account.user_id}@{self.email_domain}"
        return account.email

    def to_recipients(self, accounts: Iterable[Account]) -> list[dict[str, Any]]:
        """Return the accounts as in a message."""
        return [
            {
                "id": user.user_id,
                "email": self.visible_email(user),
                "full_name": user.full_name,
                "is_mirror_dummy": False,
            }
            for user in accounts
        ]
