"""Credentials: the value that a login returns, saved in a zuliprc."""

from __future__ import annotations

import os
import pathlib
import re
import ssl
import warnings
from base64 import b64encode
from collections.abc import Mapping
from typing import NoReturn, Self, TypeVar

from attrs import field, frozen

from ._exceptions import InvalidSiteError, NotLoggedInError, ZuliprcError
from ._redaction import hide_locals
from ._site import normalize_site, try_normalize_site
from ._zuliprc import (
    SECTION,
    ZuliprcSection,
    read_zuliprc,
    render_zuliprc,
    resolve_zuliprc_path,
    update_zuliprc,
)

FilePath = str | os.PathLike[str]
C = TypeVar("C", bound="Credentials")

LOGIN_NAME = "login_name"
"""Option for the username of the login if it differs from the email; other tools ignore it."""

ENV_VARS = {
    "email": "ZULIP_EMAIL",
    "key": "ZULIP_API_KEY",
    "site": "ZULIP_SITE",
    "cert_bundle": "ZULIP_CERT_BUNDLE",
    "client_cert": "ZULIP_CERT",
    "client_cert_key": "ZULIP_CERT_KEY",
}
_ACCOUNT_OPTIONS = ("site", "email", "key")
_TLS_OPTIONS = ("cert_bundle", "client_cert", "client_cert_key")
_API_KEY_RE = re.compile(r"[\x21-\x7e]{1,1024}")
_EMAIL_RE = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,1024}")
_QUOTED_RE = re.compile(r"([\"']).*\1", re.DOTALL)
USER_ID_RE = re.compile(r"[1-9][0-9]{0,17}")


def is_api_key(value: object) -> bool:
    """Return whether *value* may be an API key."""
    return isinstance(value, str) and _API_KEY_RE.fullmatch(value) is not None


def is_email(value: object) -> bool:
    """Return whether *value* may be the email address of an account."""
    return isinstance(value, str) and _EMAIL_RE.fullmatch(value) is not None


@frozen
class Credentials:
    """Authenticate the requests of one account.

    Attributes:
        site: The organization URL, such as `https://chat.example.com`.
        email: The account's email address, as the server spells it.
        api_key: The API key. It is in no `repr`, `str`, log or pickle.
        user_id: The user ID; None from servers before Zulip 7.0.
        cert_bundle: A file with the trusted CAs, in place of the system's. A
            login leaves this and the next two at None; they are from a zuliprc
            or the environment.
        client_cert: A file with the client certificate.
        client_cert_key: A file with its key, if that is a separate one.
    """

    site: str
    email: str
    api_key: str = field(repr=False)
    user_id: int | None = None
    cert_bundle: str | None = field(default=None, kw_only=True, repr=False)
    client_cert: str | None = field(default=None, kw_only=True, repr=False)
    client_cert_key: str | None = field(default=None, kw_only=True, repr=False)

    @property
    def basic_auth(self) -> tuple[str, str]:
        """The email and the API key, for Basic authentication."""
        return self.email, self.api_key

    @classmethod
    @hide_locals
    def load(
        cls, path: FilePath | None = None, *, section: str = SECTION, allow_http: bool = False
    ) -> Self:
        """Load the credentials from a zuliprc, the file that Zulip's tools share.

        It warns if other users can read a file of yours, and if the file has
        the option `insecure`, which is ignored.

        Args:
            path: The file; the default is that of the environment variable
                ZULIP_CONFIG, or else `~/.zuliprc`.
            section: The section of the file. A `botserverrc` has one for each
                bot.
            allow_http: Whether plain http is allowed for all hosts.

        Raises:
            NotLoggedInError: If there is no such file, section or API key.
            ZuliprcError: If the file or a value in it is invalid. The message
                names the value and does not repeat it.

        Source: https://zulip.com/api/configuring-python-bindings
        """
        path = resolve_zuliprc_path(path)
        return credentials_from_section(
            cls,
            read_zuliprc(path, section=section),
            f"section [{section}] of {path}",
            allow_http=allow_http,
        )

    @classmethod
    @hide_locals
    def from_env(
        cls,
        *,
        email: str | None = None,
        api_key: str | None = None,
        site: str | None = None,
        cert_bundle: str | None = None,
        path: FilePath | None = None,
        section: str = SECTION,
        allow_http: bool = False,
    ) -> Self:
        """Load the credentials from the environment, and missing ones from a zuliprc.

        Each value is that of the argument, or else of its environment variable
        (ZULIP_EMAIL, ZULIP_API_KEY, ZULIP_SITE, ZULIP_CERT_BUNDLE, ZULIP_CERT or
        ZULIP_CERT_KEY), or else of the file. The file is read only if *path* is
        given, or if the email, API key or site is missing.

        Args:
            email: The account's email address.
            api_key: Its API key.
            site: The organization URL.
            cert_bundle: A file with the trusted CAs.
            path: The zuliprc; the default is that of `load`.
            section: The section of the zuliprc.
            allow_http: Whether plain http is allowed for all hosts.

        Raises:
            NotLoggedInError: If there is no API key.
            ZuliprcError: If a value is missing or invalid. The message names it
                and its source, and does not repeat it.

        Source: https://zulip.com/api/configuring-python-bindings
        """
        arguments = {"email": email, "key": api_key, "site": site, "cert_bundle": cert_bundle}
        values, labels, source = ZuliprcSection(), {}, "the environment"
        for name, variable in ENV_VARS.items():
            if value := arguments.get(name) or os.environ.get(variable):
                values[name] = value
                labels[name] = variable
                if arguments.get(name):
                    labels[name] = f"argument {'api_key' if name == 'key' else name}"
        if (os.environ.get("ZULIP_ALLOW_INSECURE") or "false").lower() != "false":
            warnings.warn("ZULIP_ALLOW_INSECURE is ignored; use ZULIP_CERT_BUNDLE.", stacklevel=3)
        if path is not None or not values.keys() >= set(_ACCOUNT_OPTIONS):
            path = resolve_zuliprc_path(path)
            stored = read_zuliprc(path, section=section, missing_ok=True)
            values = ZuliprcSection({**stored, **values})
            if any(values.get(name) != stored.get(name) for name in _ACCOUNT_OPTIONS):
                values.pop("user_id", None)  # it may be another account's
            source = f"section [{section}] of {path}"
            labels = {name: f"{name} in {source}" for name in stored} | labels
            source = f"the environment and {source}"
        return credentials_from_section(cls, values, source, labels=labels, allow_http=allow_http)

    @hide_locals
    def save(self, path: FilePath | None = None, *, overwrite: bool = False) -> None:
        """Save the credentials in a zuliprc, which only its owner can read.

        The file is replaced atomically. Its other sections, options and
        comments are preserved.

        Args:
            path: The file; the default is that of `load`.
            overwrite: Whether to replace another account's credentials, or a
                file that is not a zuliprc.

        Raises:
            ZuliprcError: If the file belongs to another account, is a symbolic
                link, or cannot be replaced. It is left unchanged.
        """
        save_credentials(self, resolve_zuliprc_path(path), overwrite=overwrite)

    @hide_locals
    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the `ssl_context` for `AuthClient`; None without `cert_bundle` and `client_cert`.

        Raises:
            ZuliprcError: If a file cannot be loaded.
        """
        if not (self.cert_bundle or self.client_cert):
            return None
        option = "cert_bundle"
        try:
            context = ssl.create_default_context(cafile=self.cert_bundle)
            if self.client_cert:
                option = "client_cert or client_cert_key"
                # An empty password, so that OpenSSL does not prompt for one.
                context.load_cert_chain(self.client_cert, self.client_cert_key, password="")
        except (OSError, ValueError, TypeError) as exc:
            reason = getattr(exc, "strerror", None) or "invalid path or file"
            raise ZuliprcError(f"Could not load {option}: {reason}.") from None
        return context

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        # Caches, queues and core dumps contain pickles.
        raise TypeError("cannot pickle Credentials: they contain the API key")


@hide_locals
def credentials_from_section(
    cls: type[C],
    section: ZuliprcSection,
    source: str,
    *,
    labels: Mapping[str, str] | None = None,
    allow_http: bool = False,
) -> C:
    """Return the credentials of a zuliprc or the environment.

    Args:
        cls: The class to return an instance of.
        section: The values.
        source: Their source, such as `section [api] of PATH`.
        labels: Other names of values, such as `ZULIP_SITE`.
        allow_http: Whether plain http is allowed for all hosts.

    Raises:
        NotLoggedInError: If there is no API key.
        ZuliprcError: If a value is missing or invalid.
    """
    if missing := [name for name in _ACCOUNT_OPTIONS if not section.get(name)]:
        exc_type = NotLoggedInError if "key" in missing else ZuliprcError
        raise exc_type(f"No {' and no '.join(missing)} in {source}. Run `zulip-auth login`.")
    labels = labels or {}
    checks = {"email": is_email, "key": is_api_key}
    for name in (*_ACCOUNT_OPTIONS, *_TLS_OPTIONS):
        value, label = section.get(name) or "", labels.get(name, f"{name} in {source}")
        if not isinstance(value, str):
            raise ZuliprcError(f"{label} must be a str, not {type(value).__name__}.")
        if _QUOTED_RE.fullmatch(value):
            raise ZuliprcError(f"{label} is in quotation marks. Remove them.")
        if name in checks and not checks[name](value):
            raise ZuliprcError(f"{label} is too long, or has spaces or other invalid characters.")
    try:
        site = normalize_site(section["site"] or "", allow_http=allow_http)
    except InvalidSiteError as exc:
        label = labels.get("site", f"site in {source}")
        raise ZuliprcError(f"{label} is invalid: {exc}") from None
    user_id = section.get("user_id")
    return cls(
        site,
        section["email"] or "",
        section["key"] or "",
        int(user_id) if user_id and USER_ID_RE.fullmatch(user_id) else None,
        **{name: section.get(name) or None for name in _TLS_OPTIONS},
    )


@hide_locals
def save_credentials(
    credentials: Credentials,
    path: pathlib.Path,
    *,
    overwrite: bool = False,
    include_key: bool = True,
    login_name: str | None = None,
) -> None:
    """Save credentials in a zuliprc.

    Args:
        credentials: The credentials.
        path: The file.
        overwrite: Whether to replace another account's credentials, or a file
            that is not a zuliprc.
        include_key: Whether to save the API key; if not, it is removed.
        login_name: The username of the login, if it is not the email.

    Raises:
        ZuliprcError: See `Credentials.save`.
    """
    section = _to_section(credentials)
    loaded = credentials_from_section(
        type(credentials), section, "the credentials", allow_http=True
    )
    if loaded != credentials:
        raise ZuliprcError("Cannot save: the credentials contain an invalid value.")
    section |= {LOGIN_NAME: login_name} if include_key else {LOGIN_NAME: login_name, "key": None}

    def update(existing: ZuliprcSection | None) -> ZuliprcSection:
        if existing is not None and matches_account(credentials.site, credentials.email, existing):
            # A login does not return these options.
            optional = (*_TLS_OPTIONS, LOGIN_NAME)
            return ZuliprcSection({n: v for n, v in section.items() if v or n not in optional})
        if overwrite:
            # No option of another site remains, `insecure` in particular.
            return ZuliprcSection(section, insecure=None)
        raise ZuliprcError(
            f"{path} belongs to a different account or is not a zuliprc. "
            "Pass overwrite=True or use another path."
        )

    update_zuliprc(path, update)


def _to_section(credentials: Credentials) -> ZuliprcSection:
    user_id = credentials.user_id
    return ZuliprcSection(
        email=credentials.email,
        key=credentials.api_key,
        site=credentials.site,
        user_id=None if user_id is None else str(user_id),
        **{name: getattr(credentials, name) for name in _TLS_OPTIONS},
    )


def render_credentials(credentials: Credentials) -> str:
    """Return the text of a zuliprc with these credentials only."""
    return render_zuliprc(_to_section(credentials))


def matches_account(site: str, email: str, section: ZuliprcSection) -> bool:
    """Return whether a section may belong to an account; missing options match any."""
    existing_email, existing_site = section.get("email"), section.get("site")
    return (existing_email is None or existing_email.lower() == email.lower()) and (
        existing_site is None or try_normalize_site(existing_site, allow_http=True) == site
    )


def basic_auth_header(credentials: Credentials) -> str:
    """Return the value of the Authorization header."""
    return "Basic " + b64encode(":".join(credentials.basic_auth).encode()).decode("ascii")
