"""Credentials: the value that a login returns, saved in a zuliprc."""

from __future__ import annotations

import os
import pathlib
import re
import ssl
import warnings
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import NoReturn, Self, TypeVar
from urllib.parse import urlsplit

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

ENV_VARS = {
    "email": "ZULIP_EMAIL",
    "key": "ZULIP_API_KEY",
    "site": "ZULIP_SITE",
    "cert_bundle": "ZULIP_CERT_BUNDLE",
    "client_cert": "ZULIP_CERT",
    "client_cert_key": "ZULIP_CERT_KEY",
}
_ACCOUNT_OPTIONS = ("site", "email", "key")
ACCOUNT_VARIABLES = (
    *(ENV_VARS[name] for name in _ACCOUNT_OPTIONS),
    *(f"{ENV_VARS[name]}_FILE" for name in _ACCOUNT_OPTIONS),
)
_LOGIN_NAME = "login_name"  # other tools ignore this option, and user_id
_MAX_SECRET_FILE = 64 * 1024
_TLS_OPTIONS = ("cert_bundle", "client_cert", "client_cert_key")
STORED_OPTIONS = (*_ACCOUNT_OPTIONS, "user_id", _LOGIN_NAME, *_TLS_OPTIONS)
"""The options that a login saves."""

_API_KEY_RE = re.compile(r"[\x21-\x7e]{1,1024}")
_EMAIL_RE = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,1024}")
_HIDDEN_EMAIL_RE = re.compile(r"user[0-9]+@.*")
_QUOTED_RE = re.compile(r"([\"']).*\1", re.DOTALL)
USER_ID_RE = re.compile(r"[1-9][0-9]{0,17}")


def is_api_key(value: object) -> bool:
    """Return whether *value* may be an API key."""
    return isinstance(value, str) and _API_KEY_RE.fullmatch(value) is not None


def is_email(value: object) -> bool:
    """Return whether *value* may be the email address of an account."""
    return isinstance(value, str) and _EMAIL_RE.fullmatch(value) is not None


class _Hidden:
    """Keep a value out of the fields, where serializers and error trackers find it."""

    __slots__ = ("get",)

    def __init__(self, value: str) -> None:
        self.get: Callable[[], str] = lambda: value

    def __repr__(self) -> str:
        return "********"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden) and self.get() == other.get()

    def __hash__(self) -> int:
        return hash(self.get())


def _hide(value: str | _Hidden) -> _Hidden:
    return value if isinstance(value, _Hidden) else _Hidden(value)


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
    _api_key: _Hidden = field(alias="api_key", converter=_hide, repr=False)
    user_id: int | None = None
    cert_bundle: str | None = field(default=None, kw_only=True, repr=False)
    client_cert: str | None = field(default=None, kw_only=True, repr=False)
    client_cert_key: str | None = field(default=None, kw_only=True, repr=False)
    login_name: str | None = field(default=None, kw_only=True, repr=False, eq=False)

    @property
    def api_key(self) -> str:
        """The API key."""
        return self._api_key.get()

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
        return load_with_origins(cls, arguments, path=path, section=section, allow_http=allow_http)[
            0
        ]

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


Origins = dict[str, str]
"""For each option, where its value is from, such as `ZULIP_SITE`."""


def load_with_origins(
    cls: type[C],
    arguments: Mapping[str, str | None],
    *,
    path: FilePath | None = None,
    section: str = SECTION,
    allow_http: bool = False,
) -> tuple[C, Origins]:
    """Return the credentials of `Credentials.from_env`, and their origins.

    Args:
        cls: The class to return an instance of.
        arguments: The values that precede the environment.
        path: The zuliprc.
        section: The section of the zuliprc.
        allow_http: Whether plain http is allowed for all hosts.
    """
    layers = [_layer(arguments, lambda name: f"argument {'api_key' if name == 'key' else name}")]
    layers.append(_environment())
    if (os.environ.get("ZULIP_ALLOW_INSECURE") or "false").lower() != "false":
        warnings.warn("ZULIP_ALLOW_INSECURE is ignored; use ZULIP_CERT_BUNDLE.", stacklevel=4)
    source, file_source = "the environment", ""
    if path is not None or not all(any(n in layer for layer in layers) for n in _ACCOUNT_OPTIONS):
        path = resolve_zuliprc_path(path)
        file_source = f"section [{section}] of {path}"
        stored = read_zuliprc(path, section=section, missing_ok=True, stacklevel=6)
        layers.append(_layer(stored, lambda name: f"{name} in {file_source}"))
        source = f"the environment and {file_source}"
    merged = {name: value for layer in reversed(layers) for name, value in layer.items()}
    values = ZuliprcSection({name: value for name, (value, _) in merged.items()})
    if not any("user_id" in layer and "key" in layer for layer in layers):
        values.pop("user_id", None)
    origins = {name: origin for name, (_, origin) in merged.items()}
    credentials = credentials_from_section(
        cls, values, source, labels=origins, allow_http=allow_http
    )
    _check_one_account(layers, merged)
    return credentials, origins


_Layer = dict[str, tuple[str, str]]
"""For each option, its value and its origin."""


def _layer(values: Mapping[str, str | None], origin: Callable[[str], str]) -> _Layer:
    return {name: (value, origin(name)) for name, value in values.items() if value}


def _environment() -> _Layer:
    """Return the values of the environment, or of the files that it names."""
    layer = _layer({n: os.environ.get(v) for n, v in ENV_VARS.items()}, ENV_VARS.__getitem__)
    for name in _ACCOUNT_OPTIONS:
        variable = f"{ENV_VARS[name]}_FILE"
        if path := os.environ.get(variable):
            if name in layer:
                raise ZuliprcError(f"{ENV_VARS[name]} and {variable} are both set. Unset one.")
            layer[name] = (_read_secret(path, variable), f"the file of {variable}")
    return layer


def _read_secret(path: str, variable: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            data = file.read(_MAX_SECRET_FILE + 1)
        if len(data) <= _MAX_SECRET_FILE:
            return data.decode("utf-8-sig").strip()
        reason = f"larger than {_MAX_SECRET_FILE // 1024} KiB"
    except UnicodeDecodeError:
        reason = "not valid UTF-8"
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "invalid path"
    raise ZuliprcError(f"Could not read the file of {variable}: {reason}.")


def _check_one_account(layers: list[_Layer], merged: _Layer) -> None:
    """Raise ZuliprcError if a key would go to an account or a site that it is not stored with."""
    for layer in layers:
        if "key" not in layer or "key" not in merged:
            continue
        # The layer's key is used, with another address; or its address, with another key.
        names = [name for name in _ACCOUNT_OPTIONS if name in layer]
        differing = [name for name in names if not _is_same(name, layer[name][0], merged[name][0])]
        is_used = any(merged[name] == layer[name] for name in names)
        if differing and is_used:
            name = differing[0]
            raise ZuliprcError(
                f"{merged[name][1]} and {layer[name][1]} differ, so email, key and site may be of "
                "different accounts. Set all three in one place."
            )


def _is_same(name: str, value: str, other: str) -> bool:
    if name == "site":
        # An invalid one is reported later.
        value = try_normalize_site(value, allow_http=True) or value
        other = try_normalize_site(other, allow_http=True) or other
    return value == other or (name == "email" and value.lower() == other.lower())


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
        if "key" in missing and section.get("passcmd"):
            raise ZuliprcError(
                f"No key in {source}, and its passcmd, an option of zulip-terminal, is not run. "
                "Set ZULIP_API_KEY to the output of that command."
            )
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
    email, host = section["email"] or "", urlsplit(site).hostname or ""
    if _HIDDEN_EMAIL_RE.fullmatch(email) and email.endswith(f"@{host}"):
        label = labels.get("email", f"email in {source}")
        raise ZuliprcError(
            f"{label} is an address that Zulip shows in place of a hidden one. Use the address "
            "that the account logs in with."
        )
    user_id = section.get("user_id")
    return cls(
        site,
        email,
        section["key"] or "",
        int(user_id) if user_id and USER_ID_RE.fullmatch(user_id) else None,
        login_name=section.get(_LOGIN_NAME),
        **{name: section.get(name) or None for name in _TLS_OPTIONS},
    )


@hide_locals
def save_credentials(
    credentials: Credentials,
    path: pathlib.Path,
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
    loaded = credentials_from_section(
        type(credentials), options, "the credentials", allow_http=True
    )
    if loaded != credentials:
        raise ZuliprcError("Cannot save: the credentials contain an invalid value.")
    if not include_key:
        options["key"] = None

    def update(existing: ZuliprcSection | None) -> ZuliprcSection:
        if existing is not None and matches_account(credentials.site, credentials.email, existing):
            # A login does not return these options.
            optional = (*_TLS_OPTIONS, _LOGIN_NAME)
            return ZuliprcSection({n: v for n, v in options.items() if v or n not in optional})
        if overwrite:
            # No option of another site remains, `insecure` in particular.
            return ZuliprcSection(options, insecure=None)
        raise ZuliprcError(
            f"{path} belongs to a different account or is not a zuliprc. "
            "Pass overwrite=True or use another path."
        )

    update_zuliprc(path, update, section=section)


def _to_section(credentials: Credentials) -> ZuliprcSection:
    user_id = credentials.user_id
    return ZuliprcSection(
        email=credentials.email,
        key=credentials.api_key,
        site=credentials.site,
        user_id=None if user_id is None else str(user_id),
        login_name=credentials.login_name,
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
