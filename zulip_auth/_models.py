"""Data returned by the server: settings, login methods, owners of keys, bots."""

from __future__ import annotations

from attrs import frozen

from ._credentials import Credentials


@frozen
class Owner:
    """The owner of an API key.

    Attributes:
        user_id: The account's user ID.
        email: The email address for logins, if the server reveals it.
        full_name: The owner's name.
        role: 100 organization owner, 200 administrator, 300 moderator,
            400 member, 600 guest.
        is_bot: Whether the account is a bot.
    """

    user_id: int
    email: str
    full_name: str
    role: int
    is_bot: bool = False


@frozen
class Bot:
    """A bot of the account.

    Attributes:
        username: The bot's email address.
        full_name: The bot's name.
        credentials: The bot's credentials. Bots have no password to log in
            with; only incoming webhooks accept the key of an incoming webhook
            bot. None if the key was not requested.
        user_id: The bot's user ID; None from servers that do not list it.
    """

    username: str
    full_name: str
    credentials: Credentials | None
    user_id: int | None = None


@frozen
class ExternalMethod:
    """A login method in a browser.

    Attributes:
        name: The identifier, such as `google`.
        display_name: The name to display.
        login_url: The URL of the login page.
    """

    name: str
    display_name: str
    login_url: str


@frozen(kw_only=True)
class ServerSettings:
    """The settings of an organization, which need no login.

    They do not prove that a login is possible: a deactivated organization
    returns them as well.

    Attributes:
        zulip_version: The version, such as `10.4`.
        feature_level: The API feature level; 0 before Zulip 3.0.
        realm_name: The organization's name.
        realm_url: The organization's canonical URL.
        password_enabled: Whether any kind of password can log in.
        ldap_enabled: Whether LDAP passwords can log in.
        dev_enabled: Whether development login is enabled.
        require_email_format_usernames: Whether usernames are email addresses.
        external_methods: The login methods in a browser, in the server's order;
            empty before Zulip 2.1, which does not report them.
        is_incompatible: Whether the server rejects this client, by its
            User-Agent, as too old.
    """

    zulip_version: str
    feature_level: int
    realm_name: str
    realm_url: str
    password_enabled: bool
    ldap_enabled: bool
    dev_enabled: bool
    require_email_format_usernames: bool
    external_methods: tuple[ExternalMethod, ...]
    is_incompatible: bool = False
