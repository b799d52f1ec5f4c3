"""What a server says of itself, of its ways in, and of an account."""

from __future__ import annotations

from attrs import frozen


@frozen
class Owner:
    """Whose an API key is.

    Attributes:
        user_id: The account's number.
        email: The address that logs in, where the server tells it.
        full_name: The owner's name.
        role: 100 owner of the organization, 200 administrator, 300 moderator,
            400 member, 600 guest.
    """

    user_id: int
    email: str
    full_name: str
    role: int


@frozen
class ExternalMethod:
    """A way to log in through a browser.

    Attributes:
        name: Its name for programs, such as `google`.
        display_name: Its name for people.
        login_url: Where it begins.
    """

    name: str
    display_name: str
    login_url: str


@frozen(kw_only=True)
class ServerSettings:
    """What a server says before anybody has logged in.

    It says so for a deactivated organization, too: none of it is a proof that
    a login works.

    Attributes:
        zulip_version: Such as `10.4`.
        feature_level: What the API can do; 0 before Zulip 3.0.
        realm_name: The organization's name.
        realm_url: The organization's address, as the server knows it.
        password_enabled: Whether any kind of password logs in.
        ldap_enabled: Whether LDAP passwords do.
        dev_enabled: Whether development logins are offered.
        require_email_format_usernames: Whether usernames are e-mail addresses.
        external_methods: The ways in through a browser, in the server's order;
            empty before Zulip 2.1, which does not tell them.
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
