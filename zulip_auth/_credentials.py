"""Credentials: the value that a login returns, saved in a zuliprc."""

from __future__ import annotations

import os
import re
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from attrs import field, frozen

from ._exceptions import InvalidSiteError, NotLoggedInError, ZuliprcError
from ._redaction import hide_locals
from ._site import normalize_site, try_normalize_site
from ._validation import find_problem
from ._zuliprc import (
    SECTION,
    ZuliprcSection,
    os_errors,
    read_zuliprc,
    render_zuliprc,
    resolve_zuliprc_path,
    update_zuliprc,
)

FilePath = str | os.PathLike[str]
C = TypeVar("C", bound="Credentials")

ENV_VARS = {
    "site": "ZULIP_SITE",
    "email": "ZULIP_EMAIL",
    "key": "ZULIP_API_KEY",
    "cert_bundle": "ZULIP_CERT_BUNDLE",
    "client_cert": "ZULIP_CERT",
    "client_cert_key": "ZULIP_CERT_KEY",
}
_ACCOUNT_OPTIONS = ("site", "email", "key")
_SECRET_FILES = {name: f"{ENV_VARS[name]}_FILE" for name in _ACCOUNT_OPTIONS}
ACCOUNT_VARIABLES = (*(ENV_VARS[name] for name in _ACCOUNT_OPTIONS), *_SECRET_FILES.values())
# A login does not return these; other tools ignore login_name, and user_id.
_OPTIONAL = ("cert_bundle", "client_cert", "client_cert_key", "login_name")
# The options that a login saves, with the attributes of Credentials.
STORED_OPTIONS = {n: n for n in ("email", "key", "site", "user_id", *_OPTIONAL)}
STORED_OPTIONS["key"] = "api_key"

_API_KEY_RE = re.compile(r"[\x21-\x7e]{1,1024}")
_EMAIL_RE = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,1024}")
USER_ID_RE = re.compile(r"[1-9][0-9]{0,17}")

# A value that is not in the fields, where serializers and error trackers find it.
_Hidden = Callable[[], str]


def is_api_key(value: object) -> bool:
    """Return whether *value* may be an API key."""
    return isinstance(value, str) and _API_KEY_RE.fullmatch(value) is not None


def is_email(value: object) -> bool:
    """Return whether *value* may be the email address of an account."""
    return isinstance(value, str) and _EMAIL_RE.fullmatch(value) is not None


def _hide(value: str | _Hidden) -> _Hidden:
    return value if callable(value) else lambda: value


@frozen
class Credentials:
    """Authenticate the requests of one account.

    Attributes:
        site: The organization URL, such as `https://chat.example.com`.
        email: The account's email address, as the server spells it.
        api_key: The API key. It is in no `repr`, `str`, log or pickle, and not
            among the fields that serializers write.
        user_id: The user ID; None from servers before Zulip 7.0.
        cert_bundle: A file with the trusted CAs, in place of the system's. A
            login leaves this and the next two at None; they are from a zuliprc
            or the environment.
        client_cert: A file with the client certificate.
        client_cert_key: A file with its key, if that is a separate one.
        login_name: The username of the login, if it is not the email, as with
            LDAP.
    """

    site: str
    email: str
    _api_key: _Hidden = field(
        alias="api_key", converter=_hide, repr=False, eq=lambda hidden: hidden()
    )
    user_id: int | None = None
    cert_bundle: str | None = field(default=None, kw_only=True, repr=False)
    client_cert: str | None = field(default=None, kw_only=True, repr=False)
    client_cert_key: str | None = field(default=None, kw_only=True, repr=False)
    login_name: str | None = field(default=None, kw_only=True, repr=False, eq=False)

    @property
    def api_key(self) -> str:
        """The API key."""
        return self._api_key()

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

        It warns if other users can read a file of yours.

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
        return load_with_origins(cls, None, path=path, section=section, allow_http=allow_http)[0]

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
        ZULIP_CERT_KEY), or else of the file that the variable with `_FILE`
        names, as container secrets do, or else of the zuliprc. The zuliprc is
        read only if *path* is given, or if the email, API key or site is
        missing.

        A key goes only to the account and the site that it was stored with: a
        variable that contradicts the zuliprc is an error.

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
            ZuliprcError: If a value is missing or invalid, or the values may be
                of different accounts. The message names them and their sources,
                and does not repeat them.

        Source: https://zulip.com/api/configuring-python-bindings
        """
        arguments = {"email": email, "key": api_key, "site": site, "cert_bundle": cert_bundle}
        credentials, _ = load_with_origins(
            cls, arguments, path=path, section=section, allow_http=allow_http
        )
        return credentials

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
        with os_errors("load cert_bundle"):
            context = ssl.create_default_context(cafile=self.cert_bundle)
        if self.client_cert:
            with os_errors("load client_cert or client_cert_key"):
                # An empty password, so that OpenSSL does not prompt for one.
                context.load_cert_chain(self.client_cert, self.client_cert_key, password="")
        return context

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        # Caches, queues and core dumps contain pickles.
        raise TypeError("cannot pickle Credentials: they contain the API key")


# For each option, its value and its origin, such as `ZULIP_SITE`.
_Values = dict[str, tuple[str | None, str]]


def load_with_origins(
    cls: type[C],
    arguments: Mapping[str, str | None] | None,
    *,
    path: FilePath | None = None,
    section: str = SECTION,
    allow_http: bool = False,
) -> tuple[C, dict[str, str]]:
    """Return the credentials of `Credentials.from_env`, and their origins.

    Args:
        cls: The class to return an instance of.
        arguments: The values that precede the environment; None, as for
            `Credentials.load`, to use the zuliprc only.
        path: The zuliprc.
        section: The section of the zuliprc.
        allow_http: Whether plain http is allowed for all hosts.
    """
    merged: _Values = {}
    source = conflict = ""
    if arguments is not None:
        _add(merged, {n: (v, f"argument {STORED_OPTIONS[n]}") for n, v in arguments.items()})
        conflict = _add(merged, _environment())
        source = "the environment and "
    if path is not None or not all(name in merged for name in _ACCOUNT_OPTIONS):
        path = resolve_zuliprc_path(path)
        stored = read_zuliprc(path, section=section, missing_ok=arguments is not None)
        if "key" in merged:  # these may belong to another one
            stored |= {"user_id": None, "login_name": None}
        file_source = f"section [{section}] of {path}"
        source += file_source
        of_file = {name: (v, f"{name} in {file_source}") for name, v in stored.items()}
        conflict = _add(merged, of_file) or conflict
    values = ZuliprcSection({name: value for name, (value, _) in merged.items()})
    origins = {name: origin for name, (_, origin) in merged.items()}
    credentials = credentials_from_section(
        cls, values, source, labels=origins, allow_http=allow_http
    )
    if conflict:  # of valid values; quotes, for example, have a message of their own
        raise ZuliprcError(conflict)
    return credentials, origins


def _add(merged: _Values, values: _Values) -> str:
    """Add the values of a source, which those of earlier ones precede.

    Returns:
        Why a key would go to a site or an account that it is not stored with; else "".
    """
    conflict = ""
    values = {name: value for name, value in values.items() if value[0]}
    account = [name for name in _ACCOUNT_OPTIONS if name in values]
    is_used = not all(name in merged for name in account)
    if is_used and ("key" in merged or "key" in values):
        for name in account:
            value, origin = merged.get(name, values[name])
            if _comparable(name, value) != _comparable(name, values[name][0]):
                conflict = conflict or (
                    f"{origin} and {values[name][1]} differ, so email, key and site may be of "
                    "different accounts. Set all three in one place."
                )
    merged.update(values | merged)
    return conflict


def _environment() -> _Values:
    """Return the values of the environment, or of the files that it names."""
    values: _Values = {name: (os.environ.get(var), var) for name, var in ENV_VARS.items()}
    for name, variable in _SECRET_FILES.items():
        if path := os.environ.get(variable):
            if values[name][0]:
                raise ZuliprcError(f"{ENV_VARS[name]} and {variable} are both set. Unset one.")
            with os_errors(f"read the file of {variable}"):
                text = Path(path).read_text("utf-8-sig", "surrogateescape")
            if not text.strip():  # a secret that was not filled in; the zuliprc may be another's
                raise ZuliprcError(f"The file of {variable} is empty.")
            values[name] = text.strip(), f"the file of {variable}"
    return values


def _comparable(name: str, value: str | None) -> str | None:
    if name == "site":
        return try_normalize_site(str(value), allow_http=True)
    return str(value).lower() if name == "email" else value


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
    site, email, key = (section.get(name) or "" for name in _ACCOUNT_OPTIONS)
    if missing := [name for name in _ACCOUNT_OPTIONS if not section.get(name)]:
        message = f"No {' and no '.join(missing)} in {source}."
        if section.get("passcmd") and not key:  # of zulip-terminal
            raise ZuliprcError(
                f"{message} Its passcmd is not run; set ZULIP_API_KEY to its output."
            )
        exc_type = ZuliprcError if key else NotLoggedInError
        raise exc_type(f"{message} Run `zulip-auth login`.")
    labels = labels or {name: f"{name} in {source}" for name in STORED_OPTIONS}
    checks = {"email": is_email, "key": is_api_key}
    for name in ("email", "key", *_OPTIONAL):
        value = section.get(name) or ""
        problem = value and find_problem(name, str(value))
        if not isinstance(value, str):
            problem = f"must be a str, not {type(value).__name__}."
        elif name in checks and not checks[name](value):
            problem = problem or "has spaces or other invalid characters."
        if problem:
            raise ZuliprcError(f"{labels[name]} {problem}")
    try:
        site = normalize_site(site, allow_http=allow_http)
    except InvalidSiteError as exc:
        raise ZuliprcError(f"{labels['site']} is invalid: {exc}") from None
    if re.fullmatch(rf"user[0-9]+@{re.escape(urlsplit(site).hostname or '')}", email):
        raise ZuliprcError(
            f"{labels['email']} is an address that Zulip shows in place of a hidden one. Use the "
            "address that the account logs in with."
        )
    user_id = section.get("user_id") or ""
    return cls(
        site,
        email,
        key,
        int(user_id) if USER_ID_RE.fullmatch(user_id) else None,
        **{name: section.get(name) or None for name in _OPTIONAL},
    )


@hide_locals
def save_credentials(
    credentials: Credentials,
    path: Path,
    *,
    section: str = SECTION,
    overwrite: bool = False,
    include_key: bool = True,
) -> None:
    """Save credentials in a zuliprc.

    Args:
        credentials: The credentials.
        path: The file.
        section: The section.
        overwrite: Whether to replace another account's credentials, or a file
            that is not a zuliprc.
        include_key: Whether to save the API key; if not, it is removed.

    Raises:
        ZuliprcError: See `Credentials.save`.
    """
    options = _to_section(credentials)
    cls = type(credentials)
    loaded = credentials_from_section(cls, options, "the credentials", allow_http=True)
    if loaded != credentials:
        raise ZuliprcError("Cannot save: the credentials contain an invalid value.")
    if not include_key:
        options["key"] = None

    def update(existing: ZuliprcSection | None) -> ZuliprcSection:
        if existing is not None and matches_account(credentials.site, credentials.email, existing):
            return ZuliprcSection({n: v for n, v in options.items() if v or n not in _OPTIONAL})
        if overwrite:
            # No option of another site remains, `insecure` in particular.
            return ZuliprcSection(options, insecure=None)
        raise ZuliprcError(
            f"{path} belongs to a different account or is not a zuliprc. "
            "Pass overwrite=True or use another path."
        )

    update_zuliprc(path, update, section=section)


def _to_section(credentials: Credentials) -> ZuliprcSection:
    values = {name: getattr(credentials, attr) for name, attr in STORED_OPTIONS.items()}
    return ZuliprcSection({name: None if v is None else str(v) for name, v in values.items()})


def render_credentials(credentials: Credentials) -> str:
    """Return the text of a zuliprc with these credentials only."""
    return render_zuliprc(_to_section(credentials))


def matches_account(site: str, email: str, section: ZuliprcSection) -> bool:
    """Return whether a section may belong to an account; missing options match any."""
    return all(
        not stored or _comparable(name, stored) == _comparable(name, value)
        for name, value in (("site", site), ("email", email))
        for stored in (section.get(name),)
    )


def basic_auth_header(credentials: Credentials) -> str:
    """Return the value of the Authorization header."""
    return "Basic " + b64encode(":".join(credentials.basic_auth).encode()).decode("ascii")
